//! What Kubernetes accepts as names. A name that the API server would refuse is refused before anything is printed,
//! so that no text of the configuration can become a field of its own. Rules: Kubernetes' "Object Names and IDs" and
//! "Labels and Selectors".

/// What is wrong with a value: what was wanted, without a full stop.
pub type Wanted = &'static str;

/// Checks a label of a DNS name (RFC 1123): namespaces, containers, volumes.
pub fn check_dns_label(text: &str) -> Result<(), Wanted> {
    let fits = text.len() <= 63
        && edges_fit(text, is_lower_alphanumeric)
        && text
            .bytes()
            .all(|byte| is_lower_alphanumeric(byte) || byte == b'-');
    fits.then_some(())
        .ok_or("a name of 1 to 63 small letters, digits and -, with a letter or digit at both ends")
}

/// Checks the name of a Service (RFC 1035): a label that begins with a letter.
pub fn check_service_name(text: &str) -> Result<(), Wanted> {
    let letter = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    (check_dns_label(text).is_ok() && letter)
        .then_some(())
        .ok_or("a name of 1 to 63 small letters, digits and - that begins with a letter and does not end with -")
}

/// Checks a DNS subdomain (RFC 1123): most other objects.
pub fn check_dns_subdomain(text: &str) -> Result<(), Wanted> {
    let fits = text.len() <= 253
        && text
            .split('.')
            .all(|part| edges_fit(part, is_lower_alphanumeric) && label_or_long(part));
    fits.then_some(())
        .ok_or("a name of small letters, digits, - and ., with a letter or digit at both ends of each part")
}

/// Checks a reference to an image: what registries can hold, which is more than letters but never a blank or quote.
pub fn check_image_reference(text: &str) -> Result<(), Wanted> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._/:@-".contains(&byte);
    let fits = (1..=512).contains(&text.len())
        && text.bytes().all(inner)
        && edges_fit(text, |byte| byte.is_ascii_alphanumeric());
    fits.then_some(())
        .ok_or("an image such as ghcr.io/owner/name:1.0.0")
}

/// Checks a key of a Secret.
pub fn check_secret_key(text: &str) -> Result<(), Wanted> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=253).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with("..")
        && text != ".";
    fits.then_some(())
        .ok_or("a file name of letters, digits, ., _ and -")
}

/// Reads `KEY=VALUE,…`, the only form of a selector that a Service can have.
pub fn parse_selector(text: &str) -> Result<Vec<(String, String)>, Wanted> {
    let wanted = "labels such as app=kms-service,tier=aux; a Service knows no other selectors";
    let pair = |part: &str| {
        let (name, value) = part.trim().split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        let (prefix, short) = name
            .rsplit_once('/')
            .map_or((None, name), |(prefix, short)| (Some(prefix), short));
        let fits = prefix.is_none_or(|prefix| check_dns_subdomain(prefix).is_ok())
            && label_value(short)
            && (value.is_empty() || label_value(value));
        fits.then(|| (name.to_owned(), value.to_owned()))
    };
    text.split(',')
        .map(|part| pair(part).ok_or(wanted))
        .collect()
}

/// Checks a path inside a container that a volume is mounted at.
pub fn check_mount_path(text: &str) -> Result<(), Wanted> {
    let fits = text.len() > 1
        && text.starts_with('/')
        && !text.contains([':', '\0'])
        && text
            .split('/')
            .skip(1)
            .all(|part| !part.is_empty() && part != "." && part != "..");
    fits.then_some(())
        .ok_or("an absolute path below / without :, ., .. or empty parts")
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A part of a subdomain may be longer than a label.
fn label_or_long(text: &str) -> bool {
    text.bytes()
        .all(|byte| is_lower_alphanumeric(byte) || byte == b'-')
}

fn label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= 63
        && edges_fit(text, |byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

fn edges_fit(text: &str, fits: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| fits(*byte)) && bytes.last().is_some_and(|byte| fits(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 9] = ["", "-a", "a b", "a\nb", "a: b", "A", "a\"", "../x", "a$b"];

    #[test]
    fn names_are_those_of_the_api_server() {
        for text in HOSTILE {
            assert!(
                check_dns_label(text).is_err()
                    && check_service_name(text).is_err()
                    && check_dns_subdomain(text).is_err(),
                "{text}"
            );
        }
        assert!(check_dns_label("1a").is_ok() && check_service_name("1a").is_err());
        assert!(
            check_dns_subdomain("a.b-c.1").is_ok()
                && check_dns_subdomain("a..b").is_err()
                && check_dns_label("a.b").is_err()
        );
        assert!(
            check_dns_label(&"a".repeat(63)).is_ok() && check_dns_label(&"a".repeat(64)).is_err()
        );
    }

    #[test]
    fn images_keys_and_mounts() {
        assert!(check_image_reference("ghcr.io/a/b:1.0@sha256:00").is_ok());
        assert!(
            check_secret_key("url").is_ok()
                && check_secret_key("a/b").is_err()
                && check_secret_key("..").is_err()
        );
        assert!(check_mount_path("/var/log/vlmcsd").is_ok());
        for text in ["/", "var", "/a/../b", "/a//b", "/a:b", ""] {
            assert!(check_mount_path(text).is_err(), "{text}");
        }
        for text in ["", "a b", "a\n", ":a", "a;b"] {
            assert!(check_image_reference(text).is_err(), "{text}");
        }
    }

    #[test]
    fn selectors_are_equalities() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parse_selector("app=kms"), Ok(vec![pair("app", "kms")]));
        assert_eq!(
            parse_selector("app.kubernetes.io/name==a, tier=aux"),
            Ok(vec![
                pair("app.kubernetes.io/name", "a"),
                pair("tier", "aux")
            ])
        );
        for text in [
            "",
            "app",
            "app!=a",
            "app in (a,b)",
            "!app",
            "a=b c",
            "a=b\nc: d",
            "=a",
        ] {
            assert!(parse_selector(text).is_err(), "{text}");
        }
    }
}
