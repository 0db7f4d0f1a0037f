//! The awk program of [`crate::ssh::script::AWK_FILTER`], without awk: the same lines for the same lines.

use std::net::IpAddr;

use crate::ssh::script::OutputFilter;

/// Runs bytes through the filter; lines that begin with the nonce pass.
pub fn apply_filter(filter: &OutputFilter, nonce: &str, bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut kept = String::new();
    let mut keep = false;
    for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
        if line.starts_with(nonce) {
            // The program has taken the newline before a marker for a line of its own and puts it back.
            kept.push('\n');
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        if line.starts_with(|first| first != ' ' && first != '\t') {
            keep = names_port(line, filter.port)
                && filter
                    .address
                    .is_none_or(|address| names_address(line, address));
        }
        if keep && line.split_whitespace().next().is_some() {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept.into_bytes()
}

/// Says whether `:PORT` or `[PORT]` stands in the line as a whole number.
fn names_port(line: &str, port: u16) -> bool {
    let port = port.to_string();
    line.match_indices(port.as_str()).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        let after = line.get(at + port.len()..).unwrap_or_default();
        before.ends_with([':', '[']) && (after.is_empty() || after.starts_with([']', ' ', ')']))
    })
}

fn names_address(line: &str, address: IpAddr) -> bool {
    let address = address.to_string();
    line.split_whitespace()
        .skip(2)
        .any(|field| strip_host(field) == address)
}

/// Strips brackets and port from a field, as the program's three substitutions do.
fn strip_host(field: &str) -> String {
    let plain: String = field
        .chars()
        .filter(|letter| !"()".contains(*letter))
        .collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bracketed = plain
        .strip_suffix(']')
        .and_then(|rest| rest.rsplit_once('['));
    let plain = match bracketed {
        Some((host, port)) if digits(port) => host.to_owned(),
        _ => plain,
    };
    let plain = match plain.rsplit_once(':') {
        Some((host, port)) if plain.matches(':').count() < 2 && digits(port) => host.to_owned(),
        _ => plain,
    };
    plain.split('%').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::IpAddr;
    use std::process::Stdio;

    use super::{OutputFilter, apply_filter};
    use crate::ssh::script::AWK_FILTER;

    #[expect(
        clippy::disallowed_methods,
        reason = "the real awk is what the filter is compared with"
    )]
    fn awk(filter: &OutputFilter, nonce: &str, input: &[u8]) -> Option<Vec<u8>> {
        let address = filter
            .address
            .map(|address| address.to_string())
            .unwrap_or_default();
        let mut child = std::process::Command::new("awk")
            .args([
                "-v",
                &format!("n={nonce}"),
                "-v",
                &format!("port={}", filter.port),
            ])
            .args(["-v", &format!("address={address}"), AWK_FILTER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        Some(output.stdout)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the test decides from the environment whether it may skip"
    )]
    #[test]
    fn filters_as_awk_does() {
        let mut text = Vec::new();
        for sample in [
            "ss-vv-floating.14.txt",
            "ss-vv.14.txt",
            "ss-vv-gen200.14.txt",
            "ss.14.txt",
        ] {
            let path = format!(
                "{}/tests/fixtures/pfctl/{sample}",
                env!("CARGO_MANIFEST_DIR")
            );
            text.extend(std::fs::read(path).unwrap());
        }
        text.extend_from_slice(
            b"all udp 10.0.0.1:51820 <- 203.0.113.7:51688       MULTIPLE:MULTIPLE\n",
        );
        text.extend_from_slice(
            b"all tcp 10.0.0.1:16880 <- 203.0.113.7:1       A:B\n\nkmsctl00 e 0 0\n",
        );
        let addresses = [
            None,
            Some("198.51.100.23"),
            Some("2001:db8:ffff::77"),
            Some("198.51.100.2"),
        ];
        for address in addresses.map(|address| address.map(|text| text.parse::<IpAddr>().unwrap()))
        {
            let filter = OutputFilter {
                port: 1688,
                address,
            };
            let ours = apply_filter(&filter, "kmsctl00", &text);
            let Some(theirs) = awk(&filter, "kmsctl00", &text) else {
                assert!(
                    std::env::var_os("KMSCTL_TESTS_MUST_RUN").is_none(),
                    "awk is not installed"
                );
                eprintln!("SKIPPED: filters_as_awk_does because awk is not installed");
                return;
            };
            assert_eq!(
                String::from_utf8(ours).unwrap(),
                String::from_utf8(theirs).unwrap(),
                "{address:?}"
            );
        }
    }
}
