//! The rights that this login needs in the cluster, each with the commands that fail without it.

use crate::domain::reachability::finding::{CheckResult, Finding};
use crate::domain::reachability::path::Known;

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// In MetalLB's namespace, and not in that of the service.
    pub metallb: bool,
    /// `get`, `list`, `create`.
    pub verb: &'static str,
    /// The resource, with its group where that is not the core's.
    pub resource: &'static str,
    /// Its subresource.
    pub subresource: Option<&'static str>,
    /// The commands that need it.
    pub needed_by: &'static str,
    /// `kmsctl notifier manifest` grants it on request alone, so a login without it is as intended.
    pub optional: bool,
}

const fn own_right(
    verb: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    needed_by: &'static str,
) -> Right {
    Right {
        metallb: false,
        verb,
        resource,
        subresource,
        needed_by,
        optional: false,
    }
}

/// Every right that some command needs, in the order in which they are told.
pub const RIGHTS: [Right; 9] = [
    own_right(
        "get",
        "services",
        None,
        "`verify`, `doctor`, `notifier status`",
    ),
    own_right(
        "list",
        "pods",
        None,
        "`verify`, `doctor`, `status`, `notifier`",
    ),
    own_right("get", "pods", None, "`notifier logs`"),
    own_right(
        "get",
        "pods",
        Some("log"),
        "`notifier status`, `notifier logs`, `status`",
    ),
    own_right(
        "get",
        "pods",
        Some("proxy"),
        "`notifier status`, `notifier metrics`, `status`",
    ),
    Right {
        optional: true,
        ..own_right("create", "pods", Some("exec"), "`notifier logs --server`")
    },
    own_right("list", "events", None, "`notifier status`"),
    own_right(
        "list",
        "endpointslices.discovery.k8s.io",
        None,
        "`verify`, `doctor`",
    ),
    Right {
        metallb: true,
        ..own_right(
            "list",
            "servicel2statuses.metallb.io",
            None,
            "`verify`, `doctor`",
        )
    },
];

impl Right {
    /// Says what it is, where, and what is lost without it.
    fn told(&self, namespace: &str) -> String {
        let part = self
            .subresource
            .map(|part| format!("/{part}"))
            .unwrap_or_default();
        format!(
            "{} {}{part} in {namespace} (needed by {})",
            self.verb, self.resource, self.needed_by
        )
    }
}

/// Judges the answers, each with the namespace that was asked about.
pub fn rights_findings(answers: &[(Right, &str, Known<bool>)]) -> Finding {
    let check = "kubectl-rights";
    let lacking = |optional: bool| -> Vec<String> {
        answers
            .iter()
            .filter(|(right, _, answer)| *answer == Ok(false) && right.optional == optional)
            .map(|(right, namespace, _)| right.told(namespace))
            .collect()
    };
    let (missing, refused) = (lacking(false), lacking(true));
    let unseen = answers
        .iter()
        .find_map(|(_, _, answer)| answer.as_ref().err());
    let more = match refused.as_slice() {
        [] => String::new(),
        _ => format!(" Not granted, as by default: {}.", refused.join("; ")),
    };
    if !missing.is_empty() {
        return Finding::wrong(
            check,
            format!("This login may not: {}.{more}", missing.join("; ")),
            "Ask for these rights (`kmsctl notifier manifest` renders them), or use a login that has them (cluster.context).",
        );
    }
    if let Some(trouble) = unseen {
        return trouble.finding(check);
    }
    if refused.is_empty() {
        return Finding::ok(check, "This login may do everything that kmsctl asks for.");
    }
    let told = format!("This login may do what most commands ask for.{more}");
    Finding::new(check, CheckResult::Ok, told)
        .fix("`kmsctl notifier manifest --exec` renders the rights with that one.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reachability::path::Trouble;

    fn without(lacking: &dyn Fn(&Right) -> bool) -> Finding {
        let answers = RIGHTS.map(|right| (right, "kms", Ok(!lacking(&right))));
        rights_findings(&answers)
    }

    #[test]
    fn each_missing_right_names_what_it_costs() {
        for right in RIGHTS {
            let finding = without(&|other| *other == right);
            let told = format!("in kms (needed by {})", right.needed_by);
            assert!(finding.evidence.contains(&told), "{finding:?}");
            let expected = if right.optional {
                CheckResult::Ok
            } else {
                CheckResult::Wrong
            };
            assert_eq!(finding.result, expected, "{finding:?}");
            assert!(finding.fix.is_some(), "{finding:?}");
        }
        let both = without(&|right| right.verb != "list");
        assert_eq!(both.evidence.matches("needed by").count(), 5, "{both:?}");
        assert_eq!(without(&|_| false).fix, None);
    }

    #[test]
    fn what_could_not_be_asked_is_unknown_unless_something_is_missing() {
        let mut answers = RIGHTS.map(|right| (right, "kms", Ok(true)));
        answers[0].2 = Err(Trouble::new("kubectl is not installed"));
        assert_eq!(rights_findings(&answers).result, CheckResult::Unknown);
        answers[1].2 = Ok(false);
        assert_eq!(rights_findings(&answers).result, CheckResult::Wrong);
    }
}
