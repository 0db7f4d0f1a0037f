//! The judgement, case by case.

use super::*;
use crate::domain::notifier::event_log::EventKind;
use crate::domain::notifier::source::ClientSource;
use crate::domain::reachability::finding::CheckResult;
use crate::domain::reachability::path::Trouble;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn names() -> ObjectNames {
    ObjectNames {
        service: "windows-kms".into(),
        deployment: "kms".into(),
        selector: "app=kms-service".into(),
        server: "windows-kms".into(),
        notifier: "slack-notifier".into(),
    }
}

/// A healthy pod as Kubernetes reports it.
fn pod() -> Pod {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": "kms-1"},
        "spec": {"nodeName": "node3", "containers": [
            {"name": "windows-kms", "readinessProbe": {"tcpSocket": {"port": 1688}}},
            {"name": "slack-notifier", "ports": [{"name": "metrics", "containerPort": 9101}]},
        ]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
            {"name": "windows-kms", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "slack-notifier", "ready": true, "restartCount": 0, "state": {"running": {}}},
        ]},
    }))
    .unwrap()
}

/// A page read so many seconds after `now`, with more or other lines.
fn page(after: i64, more: &[(&str, i64)]) -> MetricsReading {
    let at = now() + jiff::SignedDuration::from_secs(after);
    let second = at.as_second();
    let mut values = std::collections::BTreeMap::from([
        ("kms_slack_notifier_up", 1),
        ("kms_log_lines_total", 1000 + after),
        ("kms_log_unparsed_lines_total", 0),
        ("kms_log_read_lag_bytes", 0),
        ("kms_log_last_read_timestamp_seconds", second),
        ("kms_log_last_line_timestamp_seconds", second - 4),
        ("kms_slack_queue_length", 0),
        ("kms_slack_last_success_timestamp_seconds", second - 900),
        ("kms_slack_posts_total{result=\"ok\"}", 7),
    ]);
    values.extend(more.iter().copied());
    let text: String = values.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    MetricsReading::from_page(&text, at)
}

fn healthy() -> PodEvidence {
    PodEvidence {
        name: "kms-1".into(),
        pod: Some(pod()),
        ready: Some(true),
        first: Ok(page(0, &[])),
        no_page: None,
        second: Some(page(2, &[])),
        log: Ok(Vec::new()),
    }
}

fn judged(pods: Known<Vec<PodEvidence>>, policy: &str) -> Report {
    let mut service = KubernetesService::default();
    service.spec.external_traffic_policy = Some(policy.into());
    judge_pipeline(&Evidence {
        names: &names(),
        now: now() + jiff::SignedDuration::from_secs(2),
        pods,
        unlisted: None,
        service: Ok(service),
        events: Ok(Vec::new()),
    })
}

fn wrong(report: &Report) -> Vec<&'static str> {
    let wrong = |finding: &&Finding| finding.result == CheckResult::Wrong;
    report.findings.iter().filter(wrong).map(|finding| finding.check).collect()
}

/// Judges the healthy pod with other values on both pages.
fn with(more: &[(&str, i64)]) -> Report {
    let pod = PodEvidence { first: Ok(page(0, more)), second: Some(page(2, more)), ..healthy() };
    judged(Ok(vec![pod]), "Local")
}

#[test]
fn a_healthy_one_is_ok_and_says_how_fast() {
    let report = judged(Ok(vec![healthy()]), "Local");
    assert_eq!((report.health, wrong(&report)), (Health::Ok, vec![]));
    assert_eq!(report.rates.lines, Some(1.0));
    assert_eq!((report.lag_bytes, report.lag_seconds), (Some(0), Some(0)));
    assert_eq!(report.last_hour, Some(Held::default()));
}

#[test]
fn idle_is_not_dead() {
    // The loop goes on looking, and there is no line: idle; as the kubelet should have made some, that is odd.
    let old = now().as_second() - 600;
    let idle = with(&[("kms_log_last_line_timestamp_seconds", old)]);
    assert_eq!((idle.health, wrong(&idle)), (Health::Idle, vec!["lines"]));
    let mut unprobed = healthy();
    let quiet = [("kms_log_last_line_timestamp_seconds", 0)];
    unprobed.first = Ok(page(0, &quiet));
    unprobed.second = Some(page(2, &quiet));
    unprobed.pod.as_mut().unwrap().spec.containers.clear();
    let idle = judged(Ok(vec![unprobed]), "Local");
    assert_eq!((idle.health, wrong(&idle)), (Health::Idle, vec![]));
    // The process answers, but the loop stands still.
    let dead = with(&[("kms_log_last_read_timestamp_seconds", now().as_second())]);
    assert_eq!((dead.health, wrong(&dead)), (Health::Dead, vec!["reading"]));
    let none = judged(Ok(Vec::new()), "Local");
    assert_eq!((none.health, wrong(&none)), (Health::Dead, vec!["pods"]));
}

#[test]
fn faults_stand_first() {
    let report = judged(Ok(vec![healthy()]), "Cluster");
    let finding = report.finding("notifier");
    assert_eq!((report.health, finding.result), (Health::Ok, CheckResult::Wrong));
    let (fault, well) = (report.faults()[0], "The notifier is ok");
    assert_eq!(fault, "client-addresses");
    let evidence = &finding.evidence;
    assert!(evidence.contains(well) && !evidence.starts_with(well), "{evidence}");
    let dead = judged(Ok(Vec::new()), "Local").finding("notifier");
    assert!(dead.evidence.starts_with("The notifier is dead"), "{dead:?}");
    let fine = judged(Ok(vec![healthy()]), "Local").finding("notifier");
    assert_eq!(fine.evidence, "The notifier is ok: it reads the log, and nothing waits.");
}

#[test]
fn a_stopped_container_is_dead() {
    let mut crashing = healthy();
    let statuses = &mut crashing.pod.as_mut().unwrap().status.container_statuses;
    statuses[1].state =
        serde_json::from_str(r#"{"waiting": {"reason": "CrashLoopBackOff"}}"#).unwrap();
    statuses[1].restart_count = 7;
    let report = judged(Ok(vec![crashing.clone()]), "Local");
    assert_eq!((report.health, wrong(&report)), (Health::Dead, vec!["container"]));
    assert!(report.why.contains("CrashLoopBackOff"), "{}", report.why);
    // Another pod does the work meanwhile.
    let report = judged(Ok(vec![crashing.clone(), healthy()]), "Local");
    assert_eq!(report.health, Health::Ok);
    crashing.pod.as_mut().unwrap().status.container_statuses.remove(1);
    let report = judged(Ok(vec![crashing]), "Local");
    assert!(report.why.contains("has no notifier"), "{}", report.why);
}

#[test]
fn behind_the_log_and_behind_slack() {
    let far = with(&[("kms_log_read_lag_bytes", 3 << 20)]);
    assert_eq!((far.health, wrong(&far)), (Health::Behind, vec!["lag"]));
    // A few bytes are read in the next moment.
    assert_eq!(with(&[("kms_log_read_lag_bytes", 500)]).health, Health::Ok);
    let stuck = with(&[("kms_slack_queue_length", 3)]);
    assert_eq!((stuck.health, wrong(&stuck)), (Health::Behind, vec!["outbox"]));
    let one = [("kms_slack_queue_length", 1)];
    assert_eq!(with(&one).why, "1 message waits for Slack");
    let moving = [
        ("kms_slack_queue_length", 1),
        ("kms_slack_last_success_timestamp_seconds", now().as_second() - 2),
    ];
    let moving = with(&moving);
    assert_eq!(moving.health, Health::Ok);
    assert_eq!(moving.why, "it reads the log, and 1 message waits");
    assert_eq!(wrong(&with(&[("kms_log_unparsed_lines_total", 900)])), ["unparsed"]);
}

#[test]
fn a_notifier_without_a_webhook_is_not_well() {
    let report = with(&[("kms_slack_configured", 0)]);
    assert_eq!((report.health, wrong(&report)), (Health::Ok, vec!["webhook"]));
    assert!(report.why.contains("no webhook"), "{}", report.why);
    assert_eq!(report.outcome(), CheckResult::Wrong);
    assert!(wrong(&with(&[("kms_slack_configured", 1)])).is_empty());
}

#[test]
fn the_last_answer_of_slack_decides() {
    let ago = |seconds: i64| now().as_second() - seconds;
    let report_of = |taken: i64, refused: i64, dropped: i64| {
        with(&[
            ("kms_slack_last_success_timestamp_seconds", taken),
            ("kms_slack_last_rejected_timestamp_seconds", refused),
            ("kms_slack_last_dropped_timestamp_seconds", dropped),
            ("kms_slack_posts_total{result=\"rejected\"}", i64::from(refused > 0)),
            ("kms_slack_posts_total{result=\"dropped\"}", i64::from(dropped > 0)),
        ])
    };
    // Revoked after it had worked for long, and before anything was taken.
    for taken in [ago(7_200), 0] {
        let report = report_of(taken, ago(60), 0);
        assert_eq!(wrong(&report), ["posts"]);
        assert!(report.why.contains("Slack refuses"), "{}", report.why);
    }
    assert!(wrong(&report_of(ago(30), ago(60), 0)).is_empty(), "renewed");
    assert_eq!(wrong(&report_of(ago(7_200), 0, ago(7_100))), ["posts"]);
    assert_eq!(wrong(&report_of(ago(30), 0, ago(60))), ["posts"], "just now");
    assert!(wrong(&report_of(ago(7_000), 0, ago(7_100))).is_empty(), "over");
    // The webhook's file has another address since, and no message was taken yet.
    let renewed = [
        ("kms_slack_posts_total{result=\"ok\"}", 0),
        ("kms_slack_posts_total{result=\"rejected\"}", 2),
        ("kms_slack_last_rejected_timestamp_seconds", 0),
    ];
    assert!(wrong(&with(&renewed)).is_empty());
    // An older notifier has counters only.
    let refused = ("kms_slack_posts_total{result=\"rejected\"}", 2);
    assert!(wrong(&with(&[refused])).is_empty());
    let none = ("kms_slack_posts_total{result=\"ok\"}", 0);
    assert_eq!(wrong(&with(&[refused, none])), ["posts"]);
    let dropped = ("kms_slack_posts_total{result=\"dropped\"}", 1);
    assert_eq!(wrong(&with(&[dropped])), ["posts"]);
}

#[test]
fn an_unreadable_log_is_named() {
    let note = |text: &str| EventRecord {
        at: Some(now()),
        text: Some(text.into()),
        ..EventRecord::default()
    };
    let report_of = |first: i64, second: i64| {
        let more = |last| {
            [
                ("kms_log_open", 0),
                ("kms_log_last_read_timestamp_seconds", last),
                ("kms_log_last_line_timestamp_seconds", 0),
            ]
        };
        let pod = PodEvidence {
            first: Ok(page(0, &more(first))),
            second: Some(page(2, &more(second))),
            log: Ok(vec![
                note("The log /l cannot be read: it is not a regular file."),
                note("Slack answers with HTTP 503."),
            ]),
            ..healthy()
        };
        judged(Ok(vec![pod]), "Local")
    };
    // Never read, and no longer read.
    for last in [0, now().as_second() - 3] {
        let report = report_of(last, last);
        assert_eq!((report.health, wrong(&report)), (Health::Behind, vec!["log"]));
        let finding = report.findings.iter().find(|finding| finding.check == "log");
        assert_eq!(
            finding.map(|finding| finding.evidence.as_str()),
            Some("The log /l cannot be read: it is not a regular file.")
        );
    }
    let report = report_of(now().as_second(), now().as_second() + 2);
    assert_eq!((report.health, wrong(&report)), (Health::Idle, vec!["lines"]));
}

/// A log that is gone, and one of another server: the notifier looks at it all the same, and that is not all that there is
/// to say.
#[test]
fn a_log_that_says_nothing_is_named() {
    for (metric, note, shown) in [
        ("kms_log_open", "The log /l is gone; waiting for it.", None),
        ("kms_log_open", "", Some("The log is gone; the notifier waits for it.")),
        (
            "kms_log_understood",
            "No line of the log /l is the KMS server's. It seems to be a log of py-kms.",
            None,
        ),
    ] {
        let none = [(metric, 0)];
        let note =
            EventRecord { at: Some(now()), text: Some(note.into()), ..EventRecord::default() };
        let shown = shown.map_or_else(|| note.text.clone(), |shown| Some(shown.to_owned()));
        let pod = PodEvidence {
            first: Ok(page(0, &none)),
            second: Some(page(2, &none)),
            log: Ok(vec![note]),
            ..healthy()
        };
        let report = judged(Ok(vec![pod]), "Local");
        assert_eq!((report.health, wrong(&report)), (Health::Behind, vec!["log"]), "{metric}");
        let finding = report.findings.iter().find(|finding| finding.check == "log");
        assert_eq!(finding.map(|finding| finding.evidence.clone()), shown);
    }
}

/// A pod's name comes from the API server: none that is a flag gets into a command to paste.
#[test]
fn a_name_that_no_pod_has_is_in_no_command() {
    let pod = PodEvidence {
        name: "--kubeconfig=/etc/x".to_owned(),
        first: Ok(page(0, &[])),
        second: Some(page(0, &[])),
        ..healthy()
    };
    let report = judged(Ok(vec![pod]), "Local");
    let fixes: Vec<_> =
        report.findings.iter().filter_map(|finding| finding.fix.as_deref()).collect();
    assert!(fixes.iter().any(|fix| fix.contains("`kubectl delete pod POD`")), "{fixes:?}");
    assert!(!fixes.iter().any(|fix| fix.contains("--kubeconfig")), "{fixes:?}");
}

fn activation(source: ClientSource, address: &str) -> EventRecord {
    EventRecord {
        event: EventKind::Activation,
        at: Some(now()),
        source: Some(source),
        address: address.parse().ok(),
        ..EventRecord::default()
    }
}

#[test]
fn one_address_for_all_clients_is_a_fault() {
    let log = |list: Vec<EventRecord>| PodEvidence { log: Ok(list), ..healthy() };
    let node = || activation(ClientSource::ClusterNode, "10.0.20.103");
    let outside = || activation(ClientSource::External, "203.0.113.9");
    let check = |list: Vec<EventRecord>, policy: &str| {
        !wrong(&judged(Ok(vec![log(list)]), policy)).is_empty()
    };
    assert!(check(vec![node(), node()], "Local"));
    assert!(!check(vec![node()], "Local"), "one says nothing");
    assert!(!check(vec![node(), outside()], "Local"));
    assert!(check(vec![outside(), outside()], "Cluster"));
}

#[test]
fn one_thing_forbidden_hides_nothing_else() {
    let denied = || Trouble::new("this login may not look at that");
    let mut blind = healthy();
    blind.first = Err(denied());
    blind.no_page = Some(NoPage::Forbidden);
    blind.second = None;
    blind.log = Ok(vec![activation(ClientSource::External, "203.0.113.9")]);
    let report = judged(Ok(vec![blind.clone()]), "Local");
    assert_eq!((report.health, wrong(&report)), (Health::Ok, vec![]));
    assert_eq!(report.last_hour.as_ref().map(|hour| hour.activations), Some(1));
    blind.no_page = Some(NoPage::Silent);
    assert_eq!(wrong(&judged(Ok(vec![blind.clone()]), "Local")), ["metrics"]);
    blind.no_page = Some(NoPage::Unanswered);
    let report = judged(Ok(vec![blind.clone()]), "Local");
    assert_eq!((report.health, wrong(&report)), (Health::Unknown, vec![]));
    blind.no_page = Some(NoPage::Forbidden);
    blind.log = Err(denied());
    let report = judged(Ok(vec![blind]), "Local");
    assert_eq!((report.health, wrong(&report)), (Health::Unknown, vec![]));
    let report = judged(Err(denied()), "Cluster");
    assert_eq!(report.health, Health::Unknown);
    assert_eq!(wrong(&report), ["client-addresses"]);
}

#[test]
fn a_pod_known_by_name_is_not_ready() {
    let names = names();
    let report_of = |ready: Option<bool>| {
        let event = serde_json::json!({"type": "Warning", "reason": "BackOff", "message": "again",
            "involvedObject": {"kind": "Pod", "name": "kms-1"}, "lastTimestamp": "2026-03-01T09:00:00Z"});
        let pod = PodEvidence { pod: None, ready, ..healthy() };
        let report = judge_pipeline(&Evidence {
            names: &names,
            now: now(),
            pods: Ok(vec![pod]),
            unlisted: Some(Trouble::new("this login may not list pods in kms")),
            service: Ok(KubernetesService::default()),
            events: Ok(vec![serde_json::from_value(event).unwrap()]),
        });
        let of = |check: &str| {
            let mut findings = report.findings.iter();
            findings.find(|finding| finding.check == check).map(|finding| finding.result)
        };
        assert_eq!(report.pods[0].ready, ready);
        assert_eq!(of("pods"), Some(CheckResult::Unknown), "the right is missing");
        (of("container"), of("events"), report.outcome())
    };
    let (wrong, unknown) = (Some(CheckResult::Wrong), Some(CheckResult::Unknown));
    assert_eq!(report_of(Some(false)), (wrong, wrong, CheckResult::Wrong));
    assert_eq!(report_of(None), (None, unknown, CheckResult::Ok));
    assert_eq!(report_of(Some(true)), (None, Some(CheckResult::Ok), CheckResult::Ok));
}

#[test]
fn the_script_is_judged_by_what_it_prints() {
    let old = "kms_slack_notifier_up 1\nkms_connection_probes_total{source=\"external\"} 17\n";
    let mut pod = healthy();
    pod.first = Ok(MetricsReading::from_page(old, now()));
    pod.second = Some(MetricsReading::from_page(old, now()));
    let report = judged(Ok(vec![pod.clone()]), "Local");
    assert_eq!(report.health, Health::Unknown);
    assert_eq!(report.probes.map(|probes| probes.external), Some(17));
    assert_eq!(report.activations.total, Some(0));
    pod.log = Ok(vec![activation(ClientSource::External, "203.0.113.9")]);
    assert_eq!(judged(Ok(vec![pod]), "Local").health, Health::Ok);
}

#[test]
fn the_log_side_adds_the_pods_up() {
    let mut one = healthy();
    one.log = Ok(vec![activation(ClientSource::External, "203.0.113.9")]);
    let mut other = healthy();
    other.first = Err(Trouble::new("no"));
    let side = LogSide::of(&[one, other], now());
    assert_eq!(side.last_activation_at, Some(now()));
    assert_eq!(side.last_day.map(|day| day.activations), Some(1));
    assert_eq!(side.unknown, ["The notifier's numbers: no."]);
}

#[test]
fn a_clock_is_off_by_hours_or_days() {
    for (skew, words) in [
        (-7_200, "2h behind"),
        (20_700, "5h 45m ahead"),
        (-3 * 86_400 - 40_000, "3 days behind"),
        (400 * 86_400, "400 days ahead"),
    ] {
        assert_eq!(
            clocks_differ(skew),
            format!("The server's clock is {words}; its stamps are not used.")
        );
    }
}
