//! A cron item's command line: does it age out the table, and at what age? Only plain command lines are read; one
//! that names the table in any other way is not understood, and says so.

use crate::domain::pf::table::TableName;
use crate::text::quoted;

/// What a command line does with the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Age {
    NotOurs,
    /// It names the table, and is not understood: a sentence without full stop.
    Unread(String),
    /// It frees entries older than this.
    Seconds(u64),
}

/// Finds the command that ages out the table in a cron command line, behind `nice`, `env` and the like.
pub(super) fn age_of(command: &str, table: &TableName) -> Age {
    if !names_table(command, table) {
        return Age::NotOurs;
    }
    let Some(commands) = simple_commands(command) else {
        return unread_command(command);
    };
    let mut doubt = Age::NotOurs;
    for (conditional, words) in commands {
        match parse_expire_command(&words, table, command) {
            // What runs only if another command says so may never run.
            Age::Seconds(_) if conditional => doubt = unread_command(command),
            Age::Seconds(age) => return Age::Seconds(age),
            Age::Unread(why) => doubt = Age::Unread(why),
            Age::NotOurs => {}
        }
    }
    doubt
}

fn names_table(text: &str, table: &TableName) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || "_-./".contains(letter);
    text.split(|letter| !inside(letter)).any(|word| word == table.as_str())
}

fn unread_command(command: &str) -> Age {
    let shown: String = command.chars().take(120).collect();
    Age::Unread(format!("the cron item {} is not understood", quoted(&shown)))
}

/// Reads one simple command: what stands before the program is looked through only where it changes nothing.
fn parse_expire_command(words: &[String], table: &TableName, command: &str) -> Age {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let named = words.iter().any(|word| names_table(word, table));
    for _ in 0..8 {
        match wrapper_words(&words) {
            0 => break,
            length => words.drain(..length),
        };
    }
    let Some((program, arguments)) = words.split_first() else {
        return Age::NotOurs;
    };
    match program.rsplit('/').next().unwrap_or_default() {
        "expiretable" => expiretable_age(arguments, table),
        "pfctl" => pfctl_expire_age(arguments, table),
        // These print their words, or do nothing with them.
        ":" | "echo" | "false" | "logger" | "printf" | "true" => Age::NotOurs,
        _ if named => unread_command(command),
        _ => Age::NotOurs,
    }
}

/// Returns how many words belong to `nice`, `env`, `nohup`, `exec` or an assignment at the front.
fn wrapper_words(words: &[&str]) -> usize {
    let Some(first) = words.first() else { return 0 };
    let assigns = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        })
    };
    match first.rsplit('/').next().unwrap_or_default() {
        "exec" | "nohup" => 1,
        "nice" => match words.get(1) {
            Some(&"-n") => 3,
            Some(option) if option.starts_with('-') => 2,
            _ => 1,
        }
        .min(words.len()),
        "env" => {
            let taken = words.iter().skip(1).take_while(|word| assigns(word) || **word == "-i");
            1 + taken.count()
        }
        _ => usize::from(assigns(first)),
    }
}

/// Splits a shell's command line into simple commands without redirections, and says which run only if another one
/// succeeded or failed; `None` for anything beyond quotes, `;`, `&`, `&&`, `||` and `|`.
fn simple_commands(text: &str) -> Option<Vec<(bool, Vec<String>)>> {
    let mut commands = Vec::new();
    let mut current: (bool, Vec<String>) = (false, Vec::new());
    let mut rest = text.chars().peekable();
    // crontab(5): what follows an unescaped `%` is the command's input.
    while let Some(letter) = rest.next().filter(|letter| *letter != '%') {
        match letter {
            ' ' | '\t' => {}
            '#' => break,
            ';' | '&' | '|' | '\n' => {
                let doubled = matches!(letter, '&' | '|') && rest.next_if_eq(&letter).is_some();
                commands.push(std::mem::replace(&mut current, (doubled, Vec::new())));
            }
            '<' | '>' => {
                while rest.next_if(|next| ">&| \t".contains(*next)).is_some() {}
                let first = rest.next()?;
                next_word(first, &mut rest)?;
            }
            _ => {
                let word = next_word(letter, &mut rest)?;
                // The number before `>` is a file descriptor.
                let number = word.bytes().all(|byte| byte.is_ascii_digit());
                if !(number && rest.peek().is_some_and(|next| matches!(next, '<' | '>'))) {
                    current.1.push(word);
                }
            }
        }
    }
    commands.push(current);
    Some(commands)
}

/// Reads one word from its first letter on, quotes removed.
fn next_word(first: char, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut word = String::new();
    let mut next = Some(first);
    while let Some(letter) = next {
        match letter {
            '\'' | '"' => loop {
                match rest.next()? {
                    end if end == letter => break,
                    '\\' if letter == '"' => word.push(rest.next()?),
                    inside => word.push(inside),
                }
            },
            '\\' => word.push(rest.next()?),
            '(' | ')' | '`' => return None,
            plain => word.push(plain),
        }
        next = rest.next_if(|next| !" \t\n;&|<>%".contains(*next));
    }
    Some(word)
}

/// `expiretable [-dnvp] [-a anchor] [-t age] table`, as its manual has it.
fn expiretable_age(arguments: &[&str], table: &TableName) -> Age {
    let mut age = None;
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let Some(flags) = word.strip_prefix('-') else {
            return match age {
                _ if *word != table.as_str() => Age::NotOurs,
                Some(text) => parse_age_seconds(text).map_or_else(
                    || Age::Unread(format!("expiretable's age {} is not understood", quoted(text))),
                    Age::Seconds,
                ),
                None => Age::Unread("expiretable is started without an age (-t)".into()),
            };
        };
        // Letters can be joined; the value of -t or -a is the rest of the word or the next one.
        for (place, flag) in flags.char_indices() {
            match flag {
                't' | 'a' => {
                    let joined = flags.get(place + 1..).filter(|text| !text.is_empty());
                    let value = joined.or_else(|| rest.next().copied());
                    if flag == 'a' {
                        return Age::NotOurs;
                    }
                    age = value;
                    break;
                }
                'v' => {}
                'n' => return Age::NotOurs,
                _ => {
                    return Age::Unread(format!(
                        "expiretable runs with -{flag}, so cron does not decide when"
                    ));
                }
            }
        }
    }
    Age::NotOurs
}

/// `pfctl -t table -T expire seconds`: options first, in any order, as getopt(3) of FreeBSD reads them.
fn pfctl_expire_age(arguments: &[&str], table: &TableName) -> Age {
    let (mut name, mut verb, mut idle) = (None, None, false);
    let mut rest = arguments.iter();
    let mut operand = None;
    while let Some(word) = rest.next() {
        let Some(flags) = word.strip_prefix('-').filter(|flags| !flags.is_empty()) else {
            operand = Some(*word);
            break;
        };
        for (place, flag) in flags.char_indices() {
            if !"aDfFikKopstTx".contains(flag) {
                idle |= flag == 'n';
                continue;
            }
            let joined = flags.get(place + 1..).filter(|text| !text.is_empty());
            let value = joined.or_else(|| rest.next().copied());
            match flag {
                't' => name = value,
                'T' => verb = value,
                // Another anchor has tables of its own.
                'a' => idle |= value.is_some_and(|anchor| !anchor.is_empty()),
                _ => {}
            }
            break;
        }
    }
    match (name, verb) {
        _ if idle => Age::NotOurs,
        (Some(name), _) if name != table.as_str() => Age::NotOurs,
        (Some(_), Some("add" | "show" | "test" | "zero")) => Age::NotOurs,
        (Some(_), Some("expire")) => operand.and_then(|age| age.parse().ok()).map_or_else(
            || Age::Unread("pfctl's expire has no age that is understood".into()),
            Age::Seconds,
        ),
        (Some(_), Some(verb)) => Age::Unread(format!("a cron item runs pfctl -T {verb} on it")),
        _ => Age::Unread("a cron item runs pfctl in a way that is not understood".into()),
    }
}

/// Reads an age: seconds, or numbers with `d`, `h`, `m`, `s`; expiretable takes less than 100 million seconds.
fn parse_age_seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit))?);
            continue;
        }
        let unit = match letter {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let total = match number {
        Some(plain) if total == 0 => plain,
        Some(_) => return None,
        None => total,
    };
    (1..100_000_000).contains(&total).then_some(total)
}
