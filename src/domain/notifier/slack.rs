//! Activations as Slack messages: one activation a message, or a digest of many. Text that a client or the log
//! chose is shown, never obeyed (Slack's formatting rules: docs.slack.dev, "Formatting message text").

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::source::ClientSource;
use crate::domain::kms_log::products;
use crate::domain::kms_log::{Guid, KmsRequest, RequestOutcome};
use crate::text::counted;

/// Most characters shown of a name.
const LONGEST: usize = 64;
/// Most characters shown of a command.
const LONGEST_COMMAND: usize = 200;
/// Most lines of a digest; the rest is a number.
const DIGEST_LINES: usize = 20;
/// Most characters of those lines: Slack takes 3,000 in one text object, and head and foot need some.
const DIGEST_CHARACTERS: usize = 2_800;

/// What is posted about one activation. Small and complete, as it waits in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When it was answered, Unix seconds.
    pub at: i64,
    pub client: String,
    pub source: ClientSource,
    pub workstation: String,
    pub product: String,
    /// The product's GUID, where neither server nor kmsctl has a name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<Guid>,
    pub status: String,
    /// The refusal's code, if it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u32>,
    /// The connection ended before the server had answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
    /// The client may be another.
    #[serde(default)]
    pub uncertain: bool,
    /// It is no activation: the firewall has blocked the client at that time, and this command frees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

impl Notice {
    pub fn from_request(request: &KmsRequest, source: ClientSource) -> Self {
        Self {
            at: request.at,
            client: request
                .peer
                .map_or_else(|| "address unknown".to_owned(), |peer| peer.address.to_string()),
            source,
            workstation: request.workstation.clone().unwrap_or_default(),
            product: products::display_product(request).to_owned(),
            unnamed: products::unnamed_product(request),
            status: request
                .status
                .map_or("unknown", crate::domain::kms_log::RequestStatus::as_str)
                .to_owned(),
            refused: match request.outcome {
                RequestOutcome::Refused(code) => Some(code),
                _ => None,
            },
            unanswered: request.outcome == RequestOutcome::Unanswered,
            uncertain: !request.address_sure,
            blocked: None,
        }
    }
}

/// Makes text that a client chose safe inside a Slack code span: controls are shown, at most 64 characters
/// stay, backticks become a look-alike, and `&`, `<`, `>` are escaped. Empty text becomes `?`, as Slack refuses it.
pub fn escape_for_code_span(text: &str) -> String {
    escape_span(text, LONGEST)
}

fn escape_span(text: &str, longest: usize) -> String {
    let mut safe = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == longest {
            safe.push('…');
            break;
        }
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '`' => safe.push('\u{2cb}'),
            other if acts_on_screen(other) => {
                let _ = write!(safe, "\\x{:02x}", u32::from(other));
            }
            other => safe.push(other),
        }
    }
    if safe.is_empty() { "?".to_owned() } else { safe }
}

/// Returns whether a character acts on a reader's screen instead of being shown.
fn acts_on_screen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns the payload of one message: a single notice in today's words, several as a digest. `dropped` activations
/// were counted and are not listed.
pub fn message_payload(notices: &[Notice], dropped: u64, channel: Option<&str>) -> Value {
    let text = match notices {
        [notice] if dropped == 0 => single_message(notice),
        _ => digest_message(notices, dropped),
    };
    let section =
        json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } });
    let mut payload = json!({
        "text": text,
        "blocks": [section],
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if let (Some(channel), Some(fields)) = (channel, payload.as_object_mut()) {
        fields.insert("channel".to_owned(), channel.into());
    }
    payload
}

fn single_message(notice: &Notice) -> String {
    if let Some(command) = &notice.blocked {
        return format!(
            ":no_entry: The firewall blocks a customer since {}\n• *Client:* `{}`\n• *Free it:* `{}`",
            slack_time(notice.at),
            escape_for_code_span(&notice.client),
            escape_span(command, LONGEST_COMMAND),
        );
    }
    let title = match notice.refused {
        Some(code) => format!(":no_entry: KMS activation refused (0x{code:08X})"),
        None if notice.unanswered => ":warning: KMS activation — not answered".to_owned(),
        None => ":computer: KMS activation".to_owned(),
    };
    let doubt = if notice.uncertain { " — client uncertain" } else { "" };
    format!(
        "{title} at {}\n• *Client:* `{}` ({}){doubt}\n• *Workstation:* `{}`\n• *Product:* `{}`\n• *Status before:* `{}`",
        slack_time(notice.at),
        escape_for_code_span(&notice.client),
        notice.source.name(),
        escape_for_code_span(&notice.workstation),
        product_words(&notice.product, notice.unnamed),
        escape_for_code_span(&notice.status),
    )
}

/// Names a product; one without a name by its GUID.
fn product_words(name: &str, unnamed: Option<Guid>) -> String {
    match unnamed {
        Some(id) => format!("{} {id}", escape_for_code_span(name)),
        None => escape_for_code_span(name),
    }
}

/// Writes a time that Slack shows by the reader's own clock; UTC where it cannot.
fn slack_time(at: i64) -> String {
    let utc = jiff::Timestamp::from_second(at).unwrap_or_default();
    let utc = utc.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("<!date^{at}^{{date_num}} {{time_secs}}|{utc}>")
}

/// What is one line of a digest: repeated requests of one machine for one product.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct NewsKind<'a> {
    /// As a number: by its text 192.0.2.10 would come before 192.0.2.9.
    address: Option<IpAddr>,
    client: &'a str,
    product: &'a str,
    unnamed: Option<Guid>,
    workstation: &'a str,
    source: ClientSource,
    refused: bool,
    unanswered: bool,
    uncertain: bool,
    blocked: Option<&'a str>,
}

impl NewsKind<'_> {
    fn news_line(&self, count: u64) -> String {
        if let Some(command) = self.blocked {
            return format!(
                "\n• `{}`: `{}`",
                escape_for_code_span(self.client),
                escape_span(command, LONGEST_COMMAND),
            );
        }
        let doubt = if self.uncertain { " — client uncertain" } else { "" };
        let times = if count > 1 { format!(" ×{count}") } else { String::new() };
        format!(
            "\n• `{}` ({}){doubt}: `{}`, `{}`{times}{}",
            escape_for_code_span(self.client),
            self.source.name(),
            escape_for_code_span(self.workstation),
            product_words(self.product, self.unnamed),
            match (self.refused, self.unanswered) {
                (true, _) => ", refused",
                (false, true) => " — not answered",
                (false, false) => "",
            },
        )
    }
}

fn digest_message(notices: &[Notice], dropped: u64) -> String {
    let mut kinds: BTreeMap<NewsKind, u64> = BTreeMap::new();
    for notice in notices {
        let kind = NewsKind {
            address: notice.client.parse().ok(),
            client: &notice.client,
            product: &notice.product,
            unnamed: notice.unnamed,
            workstation: &notice.workstation,
            source: notice.source,
            refused: notice.refused.is_some(),
            unanswered: notice.unanswered,
            uncertain: notice.uncertain,
            blocked: notice.blocked.as_deref(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let total = notices.len() as u64 + dropped;
    let mut text = if notices.iter().any(|notice| notice.blocked.is_some()) {
        let total = counted(total, "customer", "customers");
        format!(":no_entry: The firewall blocks {total}")
    } else {
        let total = counted(total, "activation", "activations");
        format!(":computer: KMS: {total} while messages were waiting")
    };
    let times = || notices.iter().map(|notice| notice.at);
    if let (Some(first), Some(last)) = (times().min(), times().max()) {
        let _ = write!(text, ", {} to {}", slack_time(first), slack_time(last));
    }
    let mut room = DIGEST_CHARACTERS;
    let mut listed = 0;
    for (kind, count) in kinds.iter().take(DIGEST_LINES) {
        let line = kind.news_line(*count);
        // What a name's escapes take from the room, the lines behind it lack; they are counted all the same.
        let Some(left) = room.checked_sub(line.chars().count()) else {
            break;
        };
        room = left;
        listed += 1;
        text.push_str(&line);
    }
    let more = kinds.len() - listed;
    if more > 0 {
        let more = counted(more as u64, "more client or product", "more clients and products");
        let _ = write!(text, "\n• and {more}");
    }
    if dropped > 0 {
        let _ = write!(text, "\n• and {dropped} that did not fit into the outbox");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn notice(workstation: &str) -> Notice {
        Notice {
            at: 0,
            client: "203.0.113.9".to_owned(),
            source: ClientSource::External,
            workstation: workstation.to_owned(),
            product: "Windows 10 Professional".to_owned(),
            unnamed: None,
            status: "Licensed".to_owned(),
            refused: None,
            unanswered: false,
            uncertain: false,
            blocked: None,
        }
    }

    #[test]
    fn the_words_of_today_stay() {
        insta::assert_snapshot!(single_message(&notice("DESKTOP-1")), @r"
        :computer: KMS activation at <!date^0^{date_num} {time_secs}|1970-01-01 00:00:00 UTC>
        • *Client:* `203.0.113.9` (external)
        • *Workstation:* `DESKTOP-1`
        • *Product:* `Windows 10 Professional`
        • *Status before:* `Licensed`
        ");
    }

    #[test]
    fn a_blocked_customer_comes_with_its_command() {
        let blocked = |client: &str| Notice {
            client: client.to_owned(),
            blocked: Some(format!("kmsctl virusprot delete {client}")),
            ..notice("")
        };
        insta::assert_snapshot!(single_message(&blocked("203.0.113.65")), @r"
        :no_entry: The firewall blocks a customer since <!date^0^{date_num} {time_secs}|1970-01-01 00:00:00 UTC>
        • *Client:* `203.0.113.65`
        • *Free it:* `kmsctl virusprot delete 203.0.113.65`
        ");
        let [one, other] = ["2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", "192.0.2.1"].map(blocked);
        insta::assert_snapshot!(digest_message(&[one, other], 0), @r"
        :no_entry: The firewall blocks 2 customers, <!date^0^{date_num} {time_secs}|1970-01-01 00:00:00 UTC> to <!date^0^{date_num} {time_secs}|1970-01-01 00:00:00 UTC>
        • `192.0.2.1`: `kmsctl virusprot delete 192.0.2.1`
        • `2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff`: `kmsctl virusprot delete 2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff`
        ");
    }

    #[test]
    fn a_request_without_an_answer_says_so() {
        let cut = Notice { unanswered: true, ..notice("DESKTOP-1") };
        let alone = single_message(&cut);
        assert!(alone.starts_with(":warning: KMS activation — not answered at "), "{alone}");
        let many = digest_message(&[cut.clone(), notice("DESKTOP-1"), cut], 0);
        assert!(many.contains("`Windows 10 Professional`\n"), "the answered one: {many}");
        assert!(many.ends_with("`Windows 10 Professional` ×2 — not answered"), "{many}");
    }

    #[test]
    fn nothing_a_client_writes_is_obeyed() {
        assert_eq!(
            escape_for_code_span("<!channel> & `rm`"),
            "&lt;!channel&gt; &amp; \u{2cb}rm\u{2cb}"
        );
        assert_eq!(escape_for_code_span("a\r\n\x1b[2J"), "a\\x0d\\x0a\\x1b[2J");
        assert_eq!(escape_for_code_span(" "), "?");
        assert_eq!(escape_for_code_span(&"x".repeat(200)).chars().count(), 65);
    }

    #[test]
    fn a_digest_stays_within_slacks_limits() {
        let many: Vec<Notice> = (0..300)
            .map(|number| Notice {
                client: format!("192.0.2.{}", number % 100),
                ..notice(&"<".repeat(64))
            })
            .collect();
        let text = digest_message(&many, 7);
        let lines = text.matches(" ×3").count();
        assert!(
            lines > 5
                && text.contains("307 activations while")
                && text.contains(&format!("and {} more", 100 - lines))
                && text.contains("7 that did not fit"),
            "{text}"
        );
        assert!(text.chars().count() < 3_000);
        let short: Vec<Notice> =
            many.iter().map(|one| Notice { workstation: "PC".to_owned(), ..one.clone() }).collect();
        assert!(digest_message(&short, 0).contains("and 80 more"), "20 lines at most");
        assert_eq!(message_payload(&many[..1], 0, Some("#alerts"))["channel"], "#alerts");
    }

    #[test]
    fn a_digest_names_machines_and_doubts() {
        let doubted = Notice { uncertain: true, ..notice("DESKTOP-2") };
        let refused = Notice { refused: Some(0xC004_F042), ..notice("") };
        let notices = [notice("DESKTOP-1"), doubted, refused, notice("DESKTOP-1")];
        insta::assert_snapshot!(digest_message(&notices, 0), @r"
        :computer: KMS: 4 activations while messages were waiting, <!date^0^{date_num} {time_secs}|1970-01-01 00:00:00 UTC> to <!date^0^{date_num} {time_secs}|1970-01-01 00:00:00 UTC>
        • `203.0.113.9` (external): `?`, `Windows 10 Professional`, refused
        • `203.0.113.9` (external): `DESKTOP-1`, `Windows 10 Professional` ×2
        • `203.0.113.9` (external) — client uncertain: `DESKTOP-2`, `Windows 10 Professional`
        ");
    }

    #[test]
    fn a_digest_is_sorted_by_address() {
        let at = |client: &str| Notice { client: client.to_owned(), ..notice("PC") };
        let text = digest_message(&[at("192.0.2.10"), at("192.0.2.9"), at("2001:db8::1")], 0);
        let places = ["192.0.2.9`", "192.0.2.10`", "2001:db8::1`"].map(|client| text.find(client));
        assert!(places.is_sorted() && places[0].is_some(), "{text}");
        assert!(digest_message(&[], 1).contains("KMS: 1 activation while"));
    }

    #[test]
    fn a_product_without_a_name_is_its_guid() {
        let unknown = Notice {
            product: "Windows".to_owned(),
            unnamed: Guid::parse(b"00000000-0000-4000-8000-00000000cafe"),
            ..notice("PC")
        };
        let named = "`Windows 00000000-0000-4000-8000-00000000cafe`";
        assert!(single_message(&unknown).contains(named));
        assert!(digest_message(&[unknown.clone(), unknown], 0).contains(named));
    }

    proptest! {
        #[test]
        fn no_name_breaks_out_of_its_code_span(name in any::<String>()) {
            let safe = escape_for_code_span(&name);
            prop_assert!(!safe.contains(['`', '<', '>', '\n', '\r']) && !safe.is_empty());
            prop_assert!(single_message(&notice(&name)).lines().count() == 5);
            let many: Vec<Notice> = (0..30)
                .map(|number| Notice { client: number.to_string(), ..notice(&name) })
                .collect();
            prop_assert!(digest_message(&many, u64::MAX / 2).chars().count() < 3_000);
        }
    }
}
