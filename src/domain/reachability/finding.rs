//! Findings: one per thing that was looked at, with its evidence and, where there is something to do, the fix. Hops of
//! the path and checks of `doctor` have the same form, so that monitoring reads both alike.
//!
//! [`super::doctor`] judges kmsctl's assumptions about the firewall; the path is [`super::path`]'s.

use serde::Serialize;

use crate::text::word_enum;

word_enum! {
pub enum CheckResult {
    Ok = "ok",
    /// Proven not to be.
    Wrong = "wrong",
    /// It could not be seen.
    Unknown = "unknown",
    /// It does not apply here.
    Skipped = "skipped",
}
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable name; scripts may match on it.
    pub check: &'static str,
    pub result: CheckResult,
    /// What was seen, in full sentences.
    pub evidence: String,
    pub fix: Option<String>,
    /// It is wrong that this cannot be read: of what would be read nothing is proven.
    #[serde(skip)]
    pub unread: bool,
    /// The check that explains this one where it is wrong: people read of both as of one.
    #[serde(skip)]
    pub follows: Option<&'static str>,
}

impl Finding {
    pub fn new(check: &'static str, result: CheckResult, evidence: impl Into<String>) -> Self {
        Self { check, result, evidence: evidence.into(), fix: None, unread: false, follows: None }
    }

    pub fn ok(check: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(check, CheckResult::Ok, evidence)
    }

    /// Makes one that is proven not to be, with what to do.
    pub fn wrong(check: &'static str, evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, CheckResult::Wrong, evidence).fix(fix)
    }

    /// Makes one that could not be seen.
    pub fn unknown(check: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(check, CheckResult::Unknown, evidence)
    }

    /// Makes one that does not apply.
    pub fn skipped(check: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(check, CheckResult::Skipped, evidence)
    }

    #[must_use]
    pub fn follows(mut self, check: &'static str) -> Self {
        self.follows = Some(check);
        self
    }

    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

pub fn count_findings(findings: &[Finding], outcome: CheckResult) -> usize {
    findings.iter().filter(|finding| finding.result == outcome).count()
}
