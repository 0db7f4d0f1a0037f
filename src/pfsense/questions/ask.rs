//! Which command answers which question.

use super::Question;
use crate::domain::exposure::upnp::UPNP_ANCHOR;
use crate::domain::pf::table::TableName;
use crate::domain::service::Service;
use crate::domain::shell_word::ShellWord;
use crate::pfsense::agent;
use crate::pfsense::agent::ReadRequest;
use crate::ssh::script::{Nonce, OutputFilter, ScriptCommand};

/// Every reading has its time, so the clock is always the first question. The lists of rules stand side by side, so that a
/// reload seldom falls between them; what can be long stands at the end, so that a flood takes no other answer with it.
/// PHP takes the longest to start, so it is started first, and its answer is read when the rules have been.
pub(super) fn in_order(questions: &[Question]) -> Vec<Question> {
    let place = |question: &Question| match question.itself() {
        Question::Rules => 1,
        Question::Translation => 2,
        Question::Configured => 3,
        Question::Table | Question::Test(_) => 4,
        Question::Sources => 5,
        Question::States(_) => 6,
        _ => 0,
    };
    let mut others: Vec<Question> =
        questions.iter().filter(|question| **question != Question::Clock).cloned().collect();
    others.sort_by_key(place);
    if let Some(place) = others.iter().position(|asked| *asked == Question::Crontab) {
        others.insert(place + 1, Question::CronFolder);
    }
    // A translation alone, or a filter rule alone, is no path.
    if let Some(place) = others.iter().position(|asked| *asked == Question::Translation)
        && others.contains(&Question::Rules)
    {
        others.insert(place + 1, Question::UpnpRules);
        others.insert(place + 2, Question::UpnpTranslation);
    }
    others.insert(0, Question::Clock);
    others
}

#[derive(Clone, Debug)]
pub struct Paths {
    pub crontab: ShellWord,
    pub pfctl: ShellWord,
    /// What the questions to pfctl go through.
    pub pfctl_sudo: Option<ShellWord>,
    pub php: ShellWord,
}

/// Returns the folder `cron.d` beside the system's crontab.
fn cron_folder(crontab: &ShellWord) -> ShellWord {
    let parent = crontab.as_str().rsplit_once('/').map(|(parent, _)| parent);
    let folder = parent.and_then(|parent| ShellWord::path(&format!("{parent}/cron.d")));
    folder.unwrap_or_else(|| ShellWord::fixed("/etc/cron.d"))
}

pub(super) fn question_command(
    question: &Question,
    service: &Service,
    paths: &Paths,
    agent_nonce: &Nonce,
) -> ScriptCommand {
    let pfctl = |words: &[&'static str]| {
        let sudo = paths.pfctl_sudo.iter().cloned();
        let sudo = sudo.flat_map(|sudo| [sudo, ShellWord::fixed("-n")]);
        let program = sudo.chain([paths.pfctl.clone()]);
        ScriptCommand::new(program.chain(words.iter().map(|word| ShellWord::fixed(word))))
    };
    let of_table = |table: ShellWord, words: &[&'static str]| {
        let mut command = pfctl(&["-t"]);
        command.words.push(table);
        command.words.extend(words.iter().map(|word| ShellWord::fixed(word)));
        command
    };
    let plain = |words: &[&'static str]| {
        ScriptCommand::new(words.iter().map(|word| ShellWord::fixed(word)))
    };
    match question {
        // The shell runs with TZ=UTC; without it `%z` is the zone that the firewall's cron works in.
        Question::Clock => plain(&["/usr/bin/env", "-u", "TZ", "/bin/date", "+%s %z"]),
        Question::Client => plain(&["/usr/bin/printenv", "SSH_CONNECTION"]),
        Question::Interfaces => plain(&["/sbin/ifconfig", "-a"]),
        Question::Gateway => plain(&["/sbin/route", "-n", "get", "default"]),
        Question::Crontab => {
            ScriptCommand::new([ShellWord::fixed("/bin/cat"), paths.crontab.clone()])
        }
        Question::CronFolder => {
            let mut command = plain(&["/usr/bin/find"]);
            command.words.push(cron_folder(&paths.crontab));
            command
                .words
                .extend(["-type", "f", "-exec", "/bin/cat", "{}", "+"].map(ShellWord::fixed));
            command
        }
        Question::Table => of_table(ShellWord::table(&service.table), &["-T", "show", "-v"]),
        Question::AliasTable => of_table(alias_table(service), &["-T", "show"]),
        Question::Test(addresses) => {
            let mut command =
                of_table(ShellWord::table(&service.table), &["-T", "test", "-vv", "-f", "-"]);
            command.input =
                addresses.iter().flat_map(|address| format!("{address}\n").into_bytes()).collect();
            command
        }
        Question::Rules => pfctl(&["-vvPsr"]),
        Question::Translation => pfctl(&["-vvPsn"]),
        Question::UpnpRules => pfctl(&["-a", UPNP_ANCHOR, "-vvPsr"]),
        Question::UpnpTranslation => pfctl(&["-a", UPNP_ANCHOR, "-vvPsn"]),
        Question::States(source) => {
            let mut command = pfctl(&["-vvss"]);
            command.filter = Some(OutputFilter { port: service.port, address: *source });
            command
        }
        Question::Sources => pfctl(&["-vsS"]),
        Question::Info => pfctl(&["-vsi"]),
        Question::Limits => pfctl(&["-sm"]),
        Question::FreeSpace => plain(&["/bin/df", "-k", "/cf/conf"]),
        Question::RequestLimit => plain(&["/sbin/sysctl", "-n", "net.pf.request_maxcount"]),
        Question::Armed => plain(&["/bin/ls", "-1", "/etc/cron.d"]),
        Question::Dispensable(question) => question_command(question, service, paths, agent_nonce),
        Question::Configured => {
            agent::read_command(&ReadRequest::from(service), &paths.php, agent_nonce)
        }
    }
}

/// What is no name of a table is none of an alias; pfctl refuses the empty one.
fn alias_table(service: &Service) -> ShellWord {
    let name = TableName::new(&service.alias);
    name.map_or_else(|| ShellWord::fixed(""), |name| ShellWord::table(&name))
}
