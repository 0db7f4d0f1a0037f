//! A rule's words → fields, in any order pfctl of FreeBSD 12, 14 or 15 (`print_rule`) prints them.

use std::net::IpAddr;

use super::super::text::{take_digits, whole_number};
use super::tokens::{Tokens, without_counts};
use super::{
    Action, Direction, Endpoint, Family, Flush, Hop, Interface, Keep, Overload, Rate, Rule,
    StateOptions,
};

/// Reads the action, the first words.
pub(super) fn parse_action(words: &mut Tokens<'_>) -> Option<Action> {
    let first = words.next()?;
    Some(match first {
        "pass" => Action::Pass,
        "match" => Action::Match,
        "scrub" => Action::Scrub,
        "block" => {
            words.take_if(|word| word == "drop" || word.starts_with("return"));
            Action::Block
        }
        "nat" | "binat" | "rdr" => {
            let pass = words.take("pass");
            match first {
                "nat" => Action::Nat,
                "binat" => Action::Binat,
                _ => Action::Rdr { pass },
            }
        }
        "no" => {
            let what = words.take_if(|word| matches!(word, "nat" | "rdr" | "binat" | "scrub"))?;
            Action::No(what.to_owned())
        }
        "anchor" | "nat-anchor" | "rdr-anchor" | "binat-anchor" => {
            // An anchor whose name begins with `_` is printed without its name.
            let name = words.take_if(|word| word.starts_with('"')).unwrap_or_default();
            Action::Anchor { kind: first.to_owned(), name: name.trim_matches('"').to_owned() }
        }
        _ => return None,
    })
}

/// Reads all other words into `rule`; false if there was one we do not know.
pub(super) fn parse_conditions(rule: &mut Rule, words: &mut Tokens<'_>) -> bool {
    let mut understood = true;
    while let Some(word) = words.next() {
        understood &= who_and_where(rule, word, words)
            .or_else(|| parse_keep_state(rule, word, words))
            .unwrap_or_else(|| parse_unjudged(rule, word, words));
    }
    understood
}

/// Reads direction, interface, family, protocol and endpoints; `None` if the word begins none of them.
fn who_and_where(rule: &mut Rule, word: &str, words: &mut Tokens<'_>) -> Option<bool> {
    match word {
        "in" => rule.direction = Some(Direction::In),
        "out" => rule.direction = Some(Direction::Out),
        "quick" => rule.quick = true,
        "inet" => rule.family = Some(Family::Inet),
        "inet6" => rule.family = Some(Family::Inet6),
        "all" => {}
        "on" => {
            let negated = words.take("!");
            let name = words.next().unwrap_or_default().to_owned();
            rule.interface = (!name.is_empty()).then_some(Interface { negated, name });
            return Some(rule.interface.is_some());
        }
        "proto" => rule.protocol = Some(words.next()?.to_owned()),
        "from" => {
            return Some(parse_rule_endpoint(words).map(|endpoint| rule.from = endpoint).is_some());
        }
        "to" => {
            return Some(parse_rule_endpoint(words).map(|endpoint| rule.to = endpoint).is_some());
        }
        "reply-to" => {
            rule.reply_to = words.peek().and_then(parse_hop);
            return Some(skip_pool(words));
        }
        "route-to" | "dup-to" => return Some(skip_pool(words)),
        _ => return None,
    }
    Some(true)
}

/// Reads `keep state` and its options.
fn parse_keep_state(rule: &mut Rule, word: &str, words: &mut Tokens<'_>) -> Option<bool> {
    if let Some(list) = word.strip_prefix('(') {
        let list = list.strip_suffix(')')?;
        return Some(parse_state_options(&mut rule.state_options, list));
    }
    let keep = match word {
        "no" => Keep::No,
        "keep" => Keep::Keep,
        "modulate" => Keep::Modulate,
        "synproxy" => Keep::Synproxy,
        _ => return None,
    };
    rule.keep = Some(keep);
    Some(words.take("state"))
}

/// Reads the words that kmsctl does not judge, with what belongs to them.
fn parse_unjudged(rule: &mut Rule, word: &str, words: &mut Tokens<'_>) -> bool {
    match word {
        "fastroute" | "allow-opts" | "once" | "no-df" | "random-id" | "divert-reply" => true,
        "!" => words.peek().is_some_and(|next| matches!(next, "tagged" | "received-on")),
        "log" => {
            words.take_if(|next| next.starts_with('('));
            true
        }
        "fragment" => {
            words.take("no");
            words.take_if(|next| matches!(next, "reassemble" | "crop" | "drop-ovl"));
            true
        }
        "user" | "group" => parse_port_operation(words).is_some(),
        "icmp-type" | "icmp6-type" => {
            let read = words.next().is_some();
            read && (!words.take("code") || words.next().is_some())
        }
        "divert-to" => {
            let read = words.next().is_some();
            read && (!words.take("port") || words.next().is_some())
        }
        "received-on" => {
            words.take("!");
            words.next().is_some()
        }
        "ridentifier" => {
            rule.ridentifier = words.next().and_then(whole_number);
            rule.ridentifier.is_some()
        }
        "flags" | "tos" | "prio" | "max-pkt-rate" | "max-pkt-size" | "set" | "probability"
        | "reassemble" | "min-ttl" | "max-mss" | "set-tos" | "dnpipe" | "dnqueue" | "queue"
        | "tag" | "tagged" | "rtable" => words.next().is_some(),
        _ => ["dnpipe(", "dnqueue(", "queue("].iter().any(|list| word.starts_with(list)),
    }
}

/// Reads `[! ]HOST[ - HOST][ port OPERATION][ os "NAME"]`.
fn parse_rule_endpoint(words: &mut Tokens<'_>) -> Option<Endpoint> {
    let negated = words.take("!");
    let printed = words.next()?;
    let mut host = without_counts(printed);
    if words.take("-") {
        host = format!("{host} - {}", words.next()?);
    }
    let port = if words.take("port") { Some(parse_port_operation(words)?) } else { None };
    if words.take("os") {
        words.next()?;
    }
    Some(Endpoint { negated, host, port, entries: entries_of_table(printed) })
}

/// Returns the count of `<TABLE:COUNT>`.
fn entries_of_table(printed: &str) -> Option<u32> {
    let (_, count) = printed.strip_prefix('<')?.strip_suffix('>')?.rsplit_once(':')?;
    if count == "*" { Some(0) } else { whole_number(count) }
}

/// Reads `= 80`, `!= 80`, `25:587`, `1000 >< 2000`; joined by single blanks.
fn parse_port_operation(words: &mut Tokens<'_>) -> Option<String> {
    let first = words.next()?;
    if matches!(first, "=" | "!=" | "<" | "<=" | ">" | ">=") {
        return Some(format!("{first} {}", words.next()?));
    }
    match words.take_if(|word| matches!(word, "><" | "<>")) {
        Some(range) => Some(format!("{first} {range} {}", words.next()?)),
        None => Some(first.to_owned()),
    }
}

/// Reads `(IF ADDR)`; a pool in braces is not one hop.
fn parse_hop(word: &str) -> Option<Hop> {
    let inside = word.strip_prefix('(')?.strip_suffix(')')?;
    let (interface, address) = inside.split_once(' ').unwrap_or((inside, ""));
    Some(Hop { interface: interface.to_owned(), address: address.parse::<IpAddr>().ok() })
}

/// Skips a pool of route-to and its like, and how it is used.
fn skip_pool(words: &mut Tokens<'_>) -> bool {
    let read = words.next().is_some();
    loop {
        let option = words.take_if(|word| {
            matches!(
                word,
                "round-robin"
                    | "random"
                    | "bitmask"
                    | "source-hash"
                    | "static-port"
                    | "sticky-address"
                    | "least-states"
                    | "prefer-ipv6-nexthop"
                    | "endpoint-independent"
            )
        });
        match option {
            Some("source-hash") => {
                words.take_if(|word| word.starts_with("0x"));
            }
            Some(_) => {}
            None => return read,
        }
    }
}

/// pf knows some thirty options of a state.
const MOST_OPTIONS: usize = 64;

/// Reads the list in the brackets of `keep state (…)`.
fn parse_state_options(options: &mut StateOptions, list: &str) -> bool {
    let mut understood = true;
    for option in list.split(',').map(|option| option.trim_matches(' ')) {
        let (name, value) = option.split_once(' ').unwrap_or((option, ""));
        understood &= match name {
            "max-src-conn" => set_once(&mut options.max_src_conn, whole_number(value)),
            "max-src-conn-rate" => set_once(&mut options.max_src_conn_rate, parse_pf_rate(value)),
            "max-src-states" => set_once(&mut options.max_src_states, whole_number(value)),
            "max-src-nodes" => set_once(&mut options.max_src_nodes, whole_number(value)),
            "overload" => set_once(&mut options.overload, parse_overload(value)),
            _ if options.other.len() >= MOST_OPTIONS => false,
            _ => {
                options.other.push(option.to_owned());
                !option.is_empty()
            }
        };
    }
    understood
}

fn set_once<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    *place = value;
    place.is_some()
}

/// Reads `10/60`.
fn parse_pf_rate(text: &str) -> Option<Rate> {
    let (connections, rest) = take_digits(text)?;
    Some(Rate {
        connections: u32::try_from(connections).ok()?,
        seconds: whole_number(rest.strip_prefix('/')?)?,
    })
}

/// Reads `<TABLE>[ flush[ global]]`.
fn parse_overload(text: &str) -> Option<Overload> {
    let (table, rest) = text.strip_prefix('<')?.split_once('>')?;
    let flush = match rest {
        "" => Flush::None,
        " flush" => Flush::Rule,
        " flush global" => Flush::Global,
        _ => return None,
    };
    Some(Overload { table: table.to_owned(), flush })
}
