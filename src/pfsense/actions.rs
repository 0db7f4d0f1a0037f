//! What changes the firewall, as typed actions: which commands they are, and what their replies mean. Only the
//! procedure may use this (a test holds it): nothing else in kmsctl changes anything.
//!
//! Never used, even to save work: `-T zero` (resets ages), `-T flush` and `-F` (more than was looked at), `-T add`
//! to a table that was not just seen to exist (pfctl would make it), and two-address `-k` (broken in FreeBSD 15).

use std::net::IpAddr;

use serde::de::DeserializeOwned;

use super::agent;
use super::agent::{AgentRequest, ApplyRequest, CleanRequest, KeepRequest, OutcomeRequest};
use super::questions::{AskedQuestions, FactError, Paths, Reader, ReaderNote, Reading};
use crate::domain::pf::table::{self, Mark, TableName};
use crate::domain::pfsense::change::{ChangeOutcome, Kept, OutcomeAnswer};
use crate::domain::pfsense::leftovers::Cleaned;
use crate::domain::plan::{Address, PlannedState};
use crate::domain::shell_word::ShellWord;
use crate::error::Failure;
use crate::ssh::script::{NOT_RUN, Nonce, Script, ScriptCommand};
use crate::ssh::shell::Shell;

/// Something that changes the firewall, or asks how a change ended.
#[derive(Clone, Debug)]
pub enum FirewallAction {
    Delete(TableName, Vec<Address>),
    /// Adds these entries, if the table exists.
    Add(TableName, Vec<Address>),
    /// Forgets what pf counted of an address, under every rule.
    ForgetSource(IpAddr),
    KillLabel(String),
    KillState(PlannedState),
    Apply(Box<ApplyRequest>),
    Outcome(OutcomeRequest),
    Keep(KeepRequest),
    Clean(CleanRequest),
}

#[derive(Debug)]
pub enum Done {
    /// The entries that were really deleted or added.
    Changed(Vec<Address>),
    /// How many states were ended, or source nodes removed.
    Killed(u64),
    Applied(Box<ChangeOutcome>),
    Answered(OutcomeAnswer),
    Kept(Kept),
    Cleaned(Cleaned),
}

/// Actions and the questions that prove them, in one shell and one round.
pub struct ActionRun {
    survey: Reader,
    actions: Vec<FirewallAction>,
}

impl ActionRun {
    /// Renders the script: the actions in order, then the questions.
    pub fn render_script(actions: &[FirewallAction], proof: &AskedQuestions) -> Script {
        let mut commands: Vec<ScriptCommand> = Vec::new();
        for action in actions {
            commands_of(action, proof.paths(), proof.agent_nonce(), &mut commands);
        }
        commands.extend(proof.script().commands);
        Script { commands }
    }

    /// Wraps an open shell that was given [`ActionRun::render_script`] of the same actions and questions.
    pub fn new(shell: Shell, actions: Vec<FirewallAction>, proof: AskedQuestions) -> Self {
        Self { survey: Reader::new(shell, proof), actions }
    }

    /// Runs the actions and asks the questions: one round trip. Not to be called twice.
    pub async fn run_actions(
        &mut self,
    ) -> Result<(Vec<Result<Done, FactError>>, Reading), Failure> {
        let count = self.actions.iter().map(command_count).sum();
        let (notes, reading) = self.survey.read_after(count).await?;
        let mut notes = notes.into_iter();
        let done = self.actions.iter().map(|action| {
            let replies: Vec<ReaderNote> = notes.by_ref().take(command_count(action)).collect();
            self.action_meaning(action, &replies)
        });
        Ok((done.collect(), reading))
    }

    /// Returns the shell, to ask something else in it.
    pub fn into_shell(self) -> Shell {
        self.survey.into_shell()
    }

    fn action_meaning(
        &self,
        action: &FirewallAction,
        replies: &[ReaderNote],
    ) -> Result<Done, FactError> {
        let paths = self.survey.asked().paths();
        let nonce = self.survey.asked().agent_nonce();
        let Some(reply) = replies.last() else {
            return Err(FactError::NotAsked);
        };
        let pfctl = paths.pfctl.as_str();
        match action {
            FirewallAction::Delete(table, _) => parse_changed(reply, table, Mark::Deleted, pfctl),
            FirewallAction::Add(table, _) => {
                if reply.status == NOT_RUN {
                    replies.first().unwrap_or(reply).check(table.as_str(), pfctl)?;
                }
                parse_changed(reply, table, Mark::Added, pfctl)
            }
            FirewallAction::ForgetSource(_)
            | FirewallAction::KillLabel(_)
            | FirewallAction::KillState(_) => parse_killed(reply, pfctl),
            FirewallAction::Apply(_) => {
                let outcome: ChangeOutcome = read_agent_reply(reply, paths, nonce)?;
                Ok(Done::Applied(Box::new(outcome.with_fingerprints())))
            }
            FirewallAction::Outcome(_) => {
                let answer = match read_agent_reply(reply, paths, nonce)? {
                    OutcomeAnswer::Ended { outcome } => {
                        OutcomeAnswer::Ended { outcome: Box::new(outcome.with_fingerprints()) }
                    }
                    other => other,
                };
                Ok(Done::Answered(answer))
            }
            FirewallAction::Keep(_) => read_agent_reply(reply, paths, nonce).map(Done::Kept),
            FirewallAction::Clean(_) => read_agent_reply(reply, paths, nonce).map(Done::Cleaned),
        }
    }
}

fn command_count(action: &FirewallAction) -> usize {
    match action {
        FirewallAction::Add(..) => 2,
        _ => 1,
    }
}

fn commands_of(
    action: &FirewallAction,
    paths: &Paths,
    agent_nonce: &Nonce,
    commands: &mut Vec<ScriptCommand>,
) {
    let pfctl = |words: Vec<ShellWord>| {
        ScriptCommand::new(std::iter::once(paths.pfctl.clone()).chain(words))
    };
    let of_table = |table: &TableName, words: &[&'static str]| {
        let mut all = vec![ShellWord::fixed("-t"), ShellWord::table(table), ShellWord::fixed("-T")];
        all.extend(words.iter().map(|word| ShellWord::fixed(word)));
        pfctl(all)
    };
    let kill = |kind: &'static str, what: ShellWord| {
        pfctl(vec![ShellWord::fixed("-k"), ShellWord::fixed(kind), ShellWord::fixed("-k"), what])
    };
    let agent = |request: AgentRequest| request.command(&paths.php, agent_nonce);
    let command = match action {
        FirewallAction::Delete(table, addresses) => ScriptCommand {
            input: address_lines(addresses),
            ..of_table(table, &["delete", "-v", "-f", "-"])
        },
        FirewallAction::Add(table, addresses) => {
            let seen = commands.len();
            commands.push(of_table(table, &["show"]));
            ScriptCommand {
                input: address_lines(addresses),
                only_after: Some(seen),
                ..of_table(table, &["add", "-v", "-f", "-"])
            }
        }
        FirewallAction::ForgetSource(address) => {
            pfctl(vec![ShellWord::fixed("-K"), ShellWord::address(*address)])
        }
        // A label that is none of pfSense's trackers names no rule of ours; `id:0` kills nothing.
        FirewallAction::KillLabel(label) => {
            kill("label", ShellWord::label(label).unwrap_or_else(|| ShellWord::fixed("id:0")))
        }
        FirewallAction::KillState(state) => kill("id", ShellWord::state(state.id, state.creator)),
        FirewallAction::Apply(request) => agent(AgentRequest::Apply(request.clone())),
        FirewallAction::Outcome(request) => agent(AgentRequest::Outcome(request.clone())),
        FirewallAction::Keep(request) => agent(AgentRequest::Keep(request.clone())),
        FirewallAction::Clean(request) => agent(AgentRequest::Clean(request.clone())),
    };
    commands.push(command);
}

fn address_lines(addresses: &[Address]) -> Vec<u8> {
    let mut text = Vec::with_capacity(addresses.len() * 16);
    for address in addresses {
        text.extend_from_slice(address.to_string().as_bytes());
        text.push(b'\n');
    }
    text
}

/// Reads what `-T delete|add -v` printed: one line for each entry that was really changed.
fn parse_changed(
    reply: &ReaderNote,
    table: &TableName,
    mark: Mark,
    pfctl: &str,
) -> Result<Done, FactError> {
    reply.check(table.as_str(), pfctl)?;
    let marked = table::parse_changes(&reply.stdout).value;
    let addresses = marked
        .into_iter()
        .filter(|marked| marked.mark == mark)
        .map(|marked| Address { net: marked.net.trunc(), negated: marked.negated });
    Ok(Done::Changed(addresses.collect()))
}

fn parse_killed(reply: &ReaderNote, pfctl: &str) -> Result<Done, FactError> {
    reply.check("", pfctl)?;
    let said = String::from_utf8_lossy(&reply.stderr);
    // `killed 4 states from 1 sources and 0 destinations`, `killed 1 src nodes`
    let counts = said.lines().filter_map(|line| {
        let (count, _) = line.strip_prefix("killed ")?.split_once(' ')?;
        count.parse::<u64>().ok()
    });
    Ok(Done::Killed(counts.sum()))
}

fn read_agent_reply<T: DeserializeOwned>(
    reply: &ReaderNote,
    paths: &Paths,
    nonce: &Nonce,
) -> Result<T, FactError> {
    if matches!(reply.status, 126 | 127) {
        return Err(FactError::ProgramMissing { program: paths.php.as_str().to_owned() });
    }
    Ok(agent::read_reply(&reply.stdout, nonce)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exposure::fixtures;
    use crate::domain::pf::rule::Direction;

    fn rendered(actions: &[FirewallAction]) -> String {
        let paths = Paths {
            crontab: ShellWord::fixed("/etc/crontab"),
            pfctl: ShellWord::fixed("/sbin/pfctl"),
            pfctl_sudo: None,
            php: ShellWord::fixed("/usr/local/bin/php"),
        };
        let nonce = Nonce::new([7; 16]);
        let proof = AskedQuestions::new(&[], fixtures::service(), paths, nonce.clone());
        let script = ActionRun::render_script(actions, &proof);
        String::from_utf8(script.render(&nonce)).unwrap()
    }

    fn virusprot() -> TableName {
        TableName::new("virusprot").unwrap()
    }

    fn addresses() -> Vec<Address> {
        ["192.0.2.1", "2001:db8::/32"].map(|text| text.parse().unwrap()).to_vec()
    }

    #[test]
    fn entries_travel_on_stdin_and_nothing_is_flushed() {
        let script = rendered(&[FirewallAction::Delete(virusprot(), addresses())]);
        assert!(script.contains("'-t' 'virusprot' '-T' 'delete' '-v' '-f' '-' <<"), "{script}");
        assert!(script.contains("\n192.0.2.1\n2001:db8::/32\n"), "{script}");
        for never in ["'flush'", "'zero'", "'-F'"] {
            assert!(!script.contains(never), "{never}");
        }
    }

    #[test]
    fn nothing_is_added_to_a_table_that_does_not_exist() {
        let script = rendered(&[FirewallAction::Add(virusprot(), addresses())]);
        let shown = script.find("b 0; '/sbin/pfctl' '-t' 'virusprot' '-T' 'show'").unwrap();
        let added = script
            .find("b 1; if [ \"$s0\" = 0 ]; then '/sbin/pfctl' '-t' 'virusprot' '-T' 'add'")
            .unwrap();
        assert!(shown < added);
        assert!(script.contains("; else e 1 125; fi"), "{script}");
    }

    #[test]
    fn a_source_is_forgotten_by_its_own_address() {
        let script = rendered(&[
            FirewallAction::ForgetSource([192, 0, 2, 1].into()),
            FirewallAction::ForgetSource("2001:db8::7".parse().unwrap()),
        ]);
        assert!(script.contains("'/sbin/pfctl' '-K' '192.0.2.1' "), "{script}");
        assert!(script.contains("'/sbin/pfctl' '-K' '2001:db8::7' "), "{script}");
        assert_eq!(script.matches("'-K'").count(), 2, "one address a call");
    }

    #[test]
    fn states_are_named_with_the_host_that_made_them() {
        let state = PlannedState {
            id: 0x5f00_0000_0000_00aa,
            creator: 0x1a,
            client: [192, 0, 2, 1].into(),
            direction: Direction::In,
            age_seconds: 1,
        };
        let script = rendered(&[
            FirewallAction::KillLabel("id:1763000004".into()),
            FirewallAction::KillState(state),
        ]);
        assert!(script.contains("'-k' 'label' '-k' 'id:1763000004' "), "{script}");
        assert!(script.contains("'-k' 'id' '-k' '5f000000000000aa/0000001a' "), "{script}");
        let hostile = rendered(&[FirewallAction::KillLabel("USER_RULE'; reboot; '".into())]);
        assert!(!hostile.contains("reboot"), "{hostile}");
    }

    #[test]
    fn replies_are_read_by_what_really_changed() {
        let wording = |status, stdout: &str, stderr: &str| ReaderNote {
            status,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let reply = wording(0, "D  192.0.2.1\n", "1/2 addresses deleted.\n");
        let Ok(Done::Changed(gone)) = parse_changed(&reply, &virusprot(), Mark::Deleted, "pfctl")
        else {
            panic!("not read");
        };
        assert_eq!(gone, addresses()[..1]);
        let missing = wording(255, "", "pfctl: Table does not exist.\n");
        assert!(matches!(
            parse_changed(&missing, &virusprot(), Mark::Deleted, "pfctl"),
            Err(FactError::NoTable { .. })
        ));
        assert!(matches!(
            parse_killed(&wording(0, "", "killed 3 states\n"), "pfctl"),
            Ok(Done::Killed(3))
        ));
        assert!(matches!(
            parse_killed(&wording(1, "", "pfctl: /dev/pf: Permission denied\n"), "pfctl"),
            Err(FactError::Denied)
        ));
    }
}
