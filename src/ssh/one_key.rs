//! A configuration for the system's `ssh` that says what the user's own says, and names no key: ssh adds up all key files
//! that is named to it, on its command line too, and each is a failed login that a firewall counts. Where the values do not
//! survive the way through `ssh -G`, there is none, and ssh reads the user's own.

use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use super::control_master::printed_configuration;
use crate::settings::target::Target;

/// Writes the configuration; it goes with the value.
pub(crate) async fn write_keyless_configuration(
    target: &Target,
    identity: &Path,
) -> Option<NamedTempFile> {
    let of_file = |path: &Path| Target { ssh_config: Some(path.to_owned()), ..target.clone() };
    let whole = printed_configuration(target, Some(identity)).await;
    let built_in = printed_configuration(&of_file(Path::new("/dev/null")), Some(identity)).await;
    let mut file = NamedTempFile::new_in(&target.runtime_directory).ok()?;
    let text = keyless_text(&target.host, target.ssh_config.as_deref(), &whole, &built_in);
    file.write_all(text.as_bytes()).ok()?;
    let checked = printed_configuration(&of_file(file.path()), Some(identity)).await;
    let is_same = without_keys(&checked).eq(without_keys(&whole));
    let keys = checked.lines().filter(|line| is_key(line)).count();
    let survive = !text.lines().any(is_ambiguous);
    (survive && is_same && keys == 1).then_some(file)
}

/// Options whose value is the rest of the line, or two words that are no paths.
const SPACED: [&str; 6] =
    ["include", "match", "proxycommand", "knownhostscommand", "ipqos", "rekeylimit"];

/// Returns whether a value has blanks: `ssh -G` prints two files and one with a blank in its name alike.
fn is_ambiguous(line: &str) -> bool {
    let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
    value.contains(' ') && !SPACED.contains(&keyword.to_ascii_lowercase().as_str())
}

/// Returns what differs from ssh's built-in values, for this target alone; its jump hosts have the user's files.
fn keyless_text(host: &str, given: Option<&Path>, whole: &str, built_in: &str) -> String {
    let mut text = format!("Match originalhost {host}\n");
    let built_in: Vec<&str> = built_in.lines().collect();
    for line in without_keys(whole).filter(|line| !built_in.contains(line)) {
        text += &format!("{line}\n");
    }
    text += &format!("Match !originalhost {host}\n");
    match given {
        Some(given) => text += &format!("Include \"{}\"\n", given.display()),
        None => text += "Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\n",
    }
    text
}

fn without_keys(printed: &str) -> impl Iterator<Item = &str> {
    printed.lines().filter(|line| !is_key(line))
}

fn is_key(line: &str) -> bool {
    line.starts_with("identityfile ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_does_not_survive() {
        for line in
            ["userknownhostsfile /k/my files/known_hosts", "setenv A=b c", "certificatefile /a b"]
        {
            assert!(is_ambiguous(line), "{line}");
        }
        for line in
            ["userknownhostsfile /k/known_hosts", "proxycommand nc %h %p", "Include \"/c d\""]
        {
            assert!(!is_ambiguous(line), "{line}");
        }
    }

    #[test]
    fn only_what_differs_is_said_and_no_key() {
        let built_in = "host fw\nport 22\nidentityfile /k/one\n";
        let whole = "host fw\nport 2222\nidentityfile /k/one\nidentityfile /k/two\n";
        assert_eq!(
            keyless_text("fw", Some(Path::new("/c d")), whole, built_in),
            "Match originalhost fw\nport 2222\nMatch !originalhost fw\nInclude \"/c d\"\n"
        );
    }
}
