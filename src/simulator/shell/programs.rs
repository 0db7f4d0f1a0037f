//! The small programs of the simulated box: what they print is fixed, but for the time.

use crate::simulator::pfctl::PfctlOutput;
use crate::simulator::scenario::Scenario;
use crate::simulator::world::World;

/// What `ifconfig -a` prints on the box.
const IFCONFIG: &str = include_str!("ifconfig.txt");
/// What `route -n get default` prints.
const ROUTE: &str = include_str!("route.txt");
/// Who the box believes is connected: a workstation in its LAN, not the loopback address of this machine.
const CONNECTION: &str = "10.0.10.5 51022 10.0.20.1 22\n";

/// What `df -k /cf/conf` prints.
const DF: &str = "Filesystem           1024-blocks   Used   Avail Capacity  Mounted on\n\
    pfSense/ROOT/default     9345672 812345 8533327     9%    /\n";

/// The same where a change would not fit any more.
const DF_FULL: &str = "Filesystem           1024-blocks    Used Avail Capacity  Mounted on\n\
    pfSense/ROOT/default     9345672 9345652    20   100%    /\n";

const PROGRAMS: [(&str, &str); 12] = [
    ("cat", "/bin/cat"),
    ("date", "/bin/date"),
    ("df", "/bin/df"),
    ("env", "/usr/bin/env"),
    ("find", "/usr/bin/find"),
    ("ifconfig", "/sbin/ifconfig"),
    ("ls", "/bin/ls"),
    ("pfctl", "/sbin/pfctl"),
    ("php", "/usr/local/bin/php"),
    ("printenv", "/usr/bin/printenv"),
    ("route", "/sbin/route"),
    ("sysctl", "/sbin/sysctl"),
];

/// Says whether the box has this program under this name or path.
pub fn has_program(base: &str, program: &str) -> bool {
    PROGRAMS.iter().any(|(name, path)| *name == base && (program == *path || program == *name))
}

/// Says whether the command reads its input to the end before it does anything.
pub fn reads_input(words: &[String]) -> bool {
    let base = words.first().and_then(|program| program.rsplit('/').next());
    let from_input = words
        .windows(2)
        .any(|pair| matches!(pair, [flag, file] if flag.ends_with('f') && file == "-"));
    base == Some("php") || (base == Some("pfctl") && from_input)
}

/// Runs one of the programs that are neither pfctl nor PHP.
pub fn run_small_program(world: &World, base: &str, arguments: &[String]) -> PfctlOutput {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match (base, arguments.as_slice()) {
        ("date", ["+%s"]) => PfctlOutput::data(format!("{}\n", world.now.div_euclid(1000))),
        // The box's own time zone is UTC.
        ("env", ["-u", "TZ", "/bin/date", "+%s %z"]) => {
            PfctlOutput::data(format!("{} +0000\n", world.now.div_euclid(1000)))
        }
        ("cat", ["/etc/crontab"]) => PfctlOutput::data(print_crontab(world)),
        // The folder as the base system leaves it.
        ("find", ["/etc/cron.d", "-type", "f", "-exec", "/bin/cat", "{}", "+"]) => {
            PfctlOutput::data(
                "PATH=/etc:/bin:/sbin:/usr/bin:/usr/sbin\n*/5\t*\t*\t*\t*\troot\t/usr/libexec/atrun\n",
            )
        }
        ("df", ["-k", "/cf/conf"]) if world.scenario == Scenario::DiskFull => {
            PfctlOutput::data(DF_FULL)
        }
        ("df", ["-k", "/cf/conf"]) => PfctlOutput::data(DF),
        // The folder as the base system leaves it.
        ("ls", ["-1", "/etc/cron.d"]) => PfctlOutput::data("at\n"),
        ("sysctl", ["-n", "net.pf.request_maxcount"]) => PfctlOutput::data("65535\n"),
        ("ifconfig", ["-a"] | []) => PfctlOutput::data(print_interfaces(world.scenario)),
        ("printenv", ["SSH_CONNECTION"]) => PfctlOutput::data(CONNECTION),
        ("printenv", [_]) => PfctlOutput { status: 1, ..PfctlOutput::default() },
        ("route", ["-n", "get", "default"] | ["-n", "get", "-inet", "default"]) => {
            PfctlOutput::data(ROUTE)
        }
        ("route", ["-n", "get", "-inet6", "default"]) => {
            PfctlOutput::failure(1, "route: route has not been found")
        }
        _ => PfctlOutput::failure(127, super::UNSUPPORTED),
    }
}

/// The interfaces; the outside one of a pair's node has its role.
fn print_interfaces(scenario: Scenario) -> String {
    const OWN: &str = "broadcast 192.168.1.255\n";
    let role = match scenario {
        Scenario::HaBackup => "BACKUP",
        Scenario::HaPeer => "MASTER",
        _ => return IFCONFIG.to_owned(),
    };
    IFCONFIG.replacen(OWN, &format!("{OWN}\tcarp: {role} vhid 1 advbase 1 advskew 0\n"), 1)
}

/// The crontab as pfSense writes it from the configuration's items.
fn print_crontab(world: &World) -> String {
    let mut text =
        String::from("SHELL=/bin/sh\nPATH=/etc:/bin:/sbin:/usr/bin:/usr/sbin\nHOME=/var/log\n\n");
    for item in world.configuration.tree.list("cron", "item") {
        let fields = ["minute", "hour", "mday", "month", "wday", "who", "command"];
        let fields = fields.map(|field| item.child_text(field).unwrap_or_default());
        text.push_str(&fields.join("\t"));
        text.push('\n');
    }
    text
}
