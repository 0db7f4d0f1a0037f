//! pfSense's default item, its variants, and the moment an entry is let go.

use super::*;

const DEFAULT: &str = "/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot";

fn table() -> TableName {
    TableName::new("virusprot").unwrap()
}

fn item(minute: &str, command: &str) -> CronItem {
    let any = || "*".to_owned();
    let minute = minute.to_owned();
    CronItem {
        minute,
        hour: any(),
        mday: any(),
        month: any(),
        wday: any(),
        who: "root".into(),
        command: command.into(),
    }
}

fn find(command: &str) -> Expiry {
    Expiry::find(&[item("*/60", command)], &table())
}

fn release(expiry: &Expiry, since: &str, now: &str) -> Option<String> {
    let run = expiry.release_at(since.parse().unwrap(), now.parse().unwrap(), &TimeZone::UTC);
    run.map(|run| run.to_string())
}

fn older_than(expiry: &Expiry) -> Option<u64> {
    match expiry {
        Expiry::Cron { older_than_seconds, .. } => Some(*older_than_seconds),
        Expiry::None | Expiry::Unknown { .. } => None,
    }
}

#[test]
fn pfsense_frees_between_one_and_two_hours() {
    let expiry = find(DEFAULT);
    assert_eq!(older_than(&expiry), Some(3600));
    let cases = [
        ("2026-11-22T12:30:00Z", "2026-11-22T14:00:00Z"),
        ("2026-11-22T12:59:59Z", "2026-11-22T14:00:00Z"),
        // Exactly 3600 s old at 14:00 is not older: it waits for the next run.
        ("2026-11-22T13:00:00Z", "2026-11-22T15:00:00Z"),
    ];
    for (since, expected) in cases {
        assert_eq!(release(&expiry, since, since).as_deref(), Some(expected), "{since}");
    }
}

#[test]
fn an_overdue_entry_goes_at_the_next_run() {
    let run = release(&find(DEFAULT), "2026-11-20T00:00:00Z", "2026-11-22T13:26:00Z");
    assert_eq!(run.as_deref(), Some("2026-11-22T14:00:00Z"));
}

#[test]
fn every_spelling_of_the_age() {
    let cases = [
        ("/usr/local/sbin/expiretable -t 1h30m virusprot", 5400),
        ("expiretable -vt3600 virusprot", 3600),
        ("/usr/bin/nice -n 20 expiretable -v  -t 1d virusprot > /dev/null 2>&1", 86_400),
        ("/sbin/pfctl -q -t virusprot -T expire 7200", 7200),
        ("nice -20 pfctl -t virusprot -T expire 60 >/dev/null", 60),
    ];
    for (command, expected) in cases {
        assert_eq!(older_than(&find(command)), Some(expected), "{command}");
    }
}

#[test]
fn items_that_free_nothing_of_ours() {
    let others = [
        "/usr/local/sbin/expiretable -v -t 3600 sshguard",
        "# /usr/local/sbin/expiretable -t 3600 virusprot",
        "/root/notify /var/log/virusprot.log",
        "expiretable -t 3600 $TABLE",
    ];
    for command in others {
        assert_eq!(find(command), Expiry::None, "{command}");
    }
    assert_eq!(Expiry::find(&[], &table()), Expiry::None);
    assert_eq!(Expiry::find(&[item("#*/60", DEFAULT)], &table()), Expiry::None);
}

#[test]
fn what_is_not_understood_is_unknown() {
    let doubtful = [
        "expiretable virusprot",
        "expiretable -t soon virusprot",
        "expiretable -t 0 virusprot",
        "expiretable -t  virusprot",
        "expiretable -t 1h30 virusprot",
        "expiretable -t 99999999999999999999d virusprot",
        "expiretable -d -t 3600 virusprot",
        "expiretable -n -t 3600 virusprot",
        "expiretable -a inner -t 3600 virusprot",
        "pfctl -a inner -t virusprot -T expire 60",
        "pfctl -t virusprot -T expire $AGE",
        "pfctl -T expire 60 -t virusprot",
        "/sbin/pfctl -t virusprot -T flush",
        "/sbin/pfctl -t virusprot -T show",
        "echo expiretable -t 5 virusprot",
        "/bin/sh -c \"/usr/local/sbin/expiretable -v -t 3600 virusprot\"",
        "/usr/bin/true ; expiretable -t 3600 virusprot",
        "expiretable -t 3600 virusprot; /root/notify virusprot",
        "test -e /x && expiretable -t 3600 virusprot",
        "(expiretable -t 3600 virusprot)",
        "expiretable -t 3600 'virusprot",
        "expiretable -t 3600 sshguard virusprot",
    ];
    for command in doubtful {
        let expiry = find(command);
        assert!(matches!(expiry, Expiry::Unknown { .. }), "{command}: {expiry:?}");
        assert_eq!(release(&expiry, "2026-11-22T12:30:00Z", "2026-11-22T12:30:00Z"), None);
    }
    let odd = Expiry::find(&[item("@hourly", DEFAULT)], &table());
    assert!(matches!(odd, Expiry::Unknown { .. }), "{odd:?}");
}

#[test]
fn the_earliest_release_of_several_items_counts() {
    let daily = CronItem { hour: "3".into(), ..item("0", "expiretable -t 600 virusprot") };
    let items = [daily, item("*/60", DEFAULT)];
    let expiry = Expiry::find(&items, &table());
    assert_eq!(
        older_than(&expiry),
        Some(3600),
        "the hourly one frees soonest as a rule, and is shown"
    );
    let run = release(&expiry, "2026-11-22T12:30:00Z", "2026-11-22T12:30:00Z");
    assert_eq!(run.as_deref(), Some("2026-11-22T14:00:00Z"));
    let night = release(&expiry, "2026-11-22T02:30:00Z", "2026-11-22T02:30:00Z");
    assert_eq!(night.as_deref(), Some("2026-11-22T03:00:00Z"));
    assert_eq!(expiry.warning(&table()), None);
}

#[test]
fn an_item_that_is_not_understood_beside_one_that_is() {
    let items = [
        item("*/60", "expiretable virusprot"),
        item("0", DEFAULT),
        item("*/5", "expiretable -t 600 virusprot"),
    ];
    let expiry = Expiry::find(&items, &table());
    assert_eq!(older_than(&expiry), Some(600));
    assert_eq!(expiry.warning(&table()).unwrap().code, "expiry-doubtful");
}

#[test]
fn only_a_known_expiry_goes_without_warning() {
    assert_eq!(find(DEFAULT).warning(&table()), None);
    assert_eq!(Expiry::None.warning(&table()).unwrap().code, "no-expiry");
    assert_eq!(Expiry::unread().warning(&table()).unwrap().code, "expiry-unknown");
}

fn entries(text: &str) -> Vec<Entry> {
    crate::domain::pf::table::parse_table_entries(text.as_bytes()).value
}

/// Judges the job with entries at 12:26:30.
fn judged(expiry: Expiry, text: &str) -> Judged {
    let now = "2026-11-28T12:26:30Z".parse().unwrap();
    Judged::of(expiry, &entries(text), now, &TimeZone::UTC)
}

const FRESH: &str = "   203.0.113.201\n\tCleared:     Sat Nov 28 12:01:02 2026\n";

#[test]
fn json_has_the_four_keys_in_every_kind() {
    let json = |expiry: Expiry| serde_json::to_string(&judged(expiry, FRESH)).unwrap();
    assert_eq!(
        json(find(DEFAULT)),
        r#"{"kind":"cron","older_than_seconds":3600,"schedule":"*/60 * * * *","working":true}"#
    );
    assert_eq!(
        json(Expiry::None),
        r#"{"kind":"none","older_than_seconds":null,"schedule":null,"working":null}"#
    );
    assert_eq!(
        json(Expiry::unread()),
        r#"{"kind":"unknown","older_than_seconds":null,"schedule":null,"working":null}"#
    );
}

#[test]
fn an_overdue_entry_proves_a_dead_job() {
    let old = "   203.0.113.200\n\tCleared:     Fri Nov 27 22:01:02 2026\n";
    let dead = judged(find(DEFAULT), &format!("{FRESH}{old}"));
    assert_eq!(dead.working(), Some(false));
    let overdue = dead.overdue.as_ref().unwrap();
    assert_eq!(overdue.first.to_string(), "203.0.113.200/32");
    assert_eq!((overdue.late_seconds, overdue.count), (12 * 3600 + 26 * 60 + 30, 1));
    let since = "2026-11-28T12:01:02Z".parse().unwrap();
    let now = "2026-11-28T12:26:30Z".parse().unwrap();
    assert_eq!(dead.release_at(since, now, &TimeZone::UTC), None, "no promise");
    assert_eq!(dead.warning(&table()).unwrap().code, "expiry-not-working");

    for (text, working) in [
        // Ripe at 12:00:00, so it goes at the next full hour.
        ("   192.0.2.1\n\tCleared:     Sat Nov 28 11:00:00 2026\n", true),
        // It should have gone at 12:00:00.
        ("   192.0.2.1\n\tCleared:     Sat Nov 28 10:59:58 2026\n", false),
        ("   2001:db8::/32\n\tCleared:     Sat Nov 28 02:00:00 2026\n", false),
        // Its age is not known, and an excluded address blocks nothing.
        ("   192.0.2.1\n", true),
        ("  !192.0.2.1\n\tCleared:     Sat Nov 28 02:00:00 2026\n", true),
        ("", true),
    ] {
        assert_eq!(judged(find(DEFAULT), text).working(), Some(working), "{text}");
    }
    let daily = Expiry::find(&[item("0", "pfctl -t virusprot -T expire 3600")], &table());
    assert_eq!(judged(daily, old).working(), Some(false));
    let yearly =
        CronItem { month: "1".into(), mday: "1".into(), hour: "0".into(), ..item("0", DEFAULT) };
    assert_eq!(judged(Expiry::find(&[yearly], &table()), old).working(), Some(true));
}

proptest::proptest! {
    #[test]
    fn reading_a_command_never_panics(command in ".{0,80}", tail in "[ -dnvptahm0-9/]{0,30}") {
        let _ = find(&command);
        let _ = find(&format!("expiretable {tail} virusprot"));
        let _ = find(&format!("pfctl -t virusprot -T expire {tail}"));
    }
}

#[test]
fn a_crontab_is_read_without_its_comments_and_settings() {
    let text = b"# pfSense specific crontab entries\nSHELL=/bin/sh\nPATH = /etc:/bin\n\n\
        1,31\t0-5\t*\t*\t*\troot\t/usr/bin/nice -n20 adjkerntz -a\n\
        */60\t*\t*\t*\t*\troot\t/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot\n\
        @reboot root /bin/true\n* * * *\n\xff\xff\n";
    let items = crontab_items(text);
    assert_eq!(items.len(), 2, "{items:?}");
    let table = TableName::new("virusprot").expect("a name");
    assert_eq!(older_than(&Expiry::find(&items, &table)), Some(3600));
    let gone = crontab_items(b"#*/60 * * * * root expiretable -t 3600 virusprot\n");
    assert_eq!(Expiry::find(&gone, &table), Expiry::None);
}
