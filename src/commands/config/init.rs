//! `kmsctl config init`: from nothing to a configuration that works. It finds or makes a key, has the host key compared
//! by its fingerprint, logs in once, reads the port forwards off the box, and writes the file. What was answered is kept
//! beside it until then, so that an interrupted run goes on where it was.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args as ClapArgs;

use super::completion::offer_completion;
use super::{configuration_path, refuse_existing};
use crate::app::Context;
use crate::commands::status;
use crate::domain::pf::rule::Rule;
use crate::error::{Failure, FailureKind, Result};
use crate::kubectl::Kubectl;
use crate::own_files::replace_private_file;
use crate::pfsense::questions::{Question, Reading};
use crate::plain_file::read_plain_text;
use crate::settings::target::Target;
use crate::settings::{Layers, Settings, SettingsReader, keys, values};
use crate::ssh::first_contact;
use crate::ssh::first_contact::Presented;
use crate::ssh::known_hosts::HostKeyVerdict;
use crate::terminal::prompt;

/// What the questions ask, for scripts.
#[derive(Debug, Default, ClapArgs)]
pub struct Args {
    /// pfSense box: address, name or Host of your ssh_config
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Account on it
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Port of its SSH server
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Private key file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    identity: Option<String>,
    /// The host key's fingerprint, compared instead of asking
    #[arg(long, value_name = "SHA256:…", value_parser = values::parse_fingerprint)]
    fingerprint: Option<String>,
    /// Alias of the service in pfSense
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Address behind the alias
    #[arg(long, value_name = "ADDR")]
    address: Option<String>,
    /// TCP port of the service
    #[arg(long, value_name = "PORT")]
    service_port: Option<String>,
    /// pfSense's name of the outside interface
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// What its server speaks: kms, or tcp for any other
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// Public name of the service
    #[arg(long, value_name = "NAME")]
    service_host: Option<String>,
    /// kubectl context of the cluster behind the service
    #[arg(long, value_name = "CONTEXT")]
    cluster_context: Option<String>,
    /// A host outside that you can log in to, to test the service from
    #[arg(long, value_name = "USER@HOST")]
    vantage: Option<String>,
    /// Write without asking; what is not given keeps its default
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    fn given(&self, key: &str) -> Option<&String> {
        match key {
            "firewall.host" => self.host.as_ref(),
            "firewall.user" => self.user.as_ref(),
            "firewall.port" => self.port.as_ref(),
            "firewall.identity" => self.identity.as_ref(),
            "service.alias" => self.alias.as_ref(),
            "service.address" => self.address.as_ref(),
            "service.port" => self.service_port.as_ref(),
            "service.interface" => self.interface.as_ref(),
            "service.protocol" => self.protocol.as_ref(),
            "service.host" => self.service_host.as_ref(),
            "cluster.context" => self.cluster_context.as_ref(),
            _ => None,
        }
    }

    /// Checks every answer that is given, before anything is asked or connected to.
    fn check(&self) -> Result<()> {
        let usage = |key: &str, problem| Failure::usage(format!("{key}: {problem}."));
        for key in keys::KEYS.iter() {
            if let Some(given) = self.given(key.path) {
                (key.check)(given).map_err(|problem| usage(key.path, problem))?;
            }
        }
        let vantage = self.vantage.iter().try_for_each(|given| check_vantage(given));
        vantage.map_err(|problem| usage("--vantage", problem))
    }
}

/// Splits `USER@HOST` as ssh does; the account may be missing.
fn split_vantage(answer: &str) -> (&str, &str) {
    none_of(answer).rsplit_once('@').unwrap_or(("", none_of(answer)))
}

fn check_vantage(answer: &str) -> Result<(), String> {
    let (user, host) = split_vantage(answer);
    values::parse_account(user)?;
    if host.is_empty() && !answer.contains('@') {
        return Ok(());
    }
    values::parse_host(host).map(drop)
}

/// A run of the wizard.
struct Wizard<'a> {
    context: &'a Context,
    arguments: &'a Args,
    asks: bool,
    path: PathBuf,
    answers: Vec<(String, String)>,
    /// Defaults, with what an interrupted run has answered.
    defaults: Layers,
}

/// Runs `kmsctl config init`.
pub async fn run_wizard(context: &Context, arguments: &Args) -> Result<()> {
    if context.demo {
        let message =
            "This writes the configuration of a real firewall, and the demo reads none of it.";
        return Err(Failure::usage(message).hint("Leave out --demo, and KMSCTL_DEMO."));
    }
    let path = configuration_path(context)?;
    refuse_existing(&path)?;
    arguments.check()?;
    let asks = context.terminal.interactive && !arguments.yes;
    if !asks {
        require_flags(context, arguments)?;
    }
    let mut wizard = Wizard {
        context,
        arguments,
        asks,
        defaults: context.layers.clone(),
        answers: Vec::new(),
        path,
    };
    wizard.take_up_draft();
    let asked = Box::pin(wizard.ask_everything()).await;
    if asked.as_ref().is_err_and(|failure| failure.kind == FailureKind::Interrupted) {
        let kept = "What was answered is kept, and asked with it as default: `kmsctl config init`";
        context.terminal.hint(kept);
    }
    asked?;
    context.terminal.say(&format!("Wrote {}.", wizard.path.display()));
    let ready = wizard.configured_context()?;
    status::run_status(&ready, &status::Args::default()).await?;
    if wizard.asks {
        offer_completion(context)?;
    }
    context
        .terminal
        .hint("`kmsctl doctor` checks every assumption; `kmsctl runbook` has the procedures.");
    Ok(())
}

/// Without questions the box and its key must be named; nothing about them is guessed.
fn require_flags(context: &Context, arguments: &Args) -> Result<()> {
    if arguments.host.is_none() {
        let message = if context.terminal.interactive {
            "With --yes the pfSense box must be named."
        } else {
            "This asks questions, and there is no terminal to ask on."
        };
        return Err(Failure::new(FailureKind::NotConfirmed, message)
            .hint("Answer by flags: `kmsctl config init --host HOST --fingerprint SHA256:…`"));
    }
    if arguments.fingerprint.is_none() {
        return Err(Failure::usage(
            "Without questions the host key must be named: --fingerprint SHA256:…",
        )
        .hint("On pfSense's console: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`"));
    }
    Ok(())
}

impl Wizard<'_> {
    /// Asks from the first question to the last, and writes the file.
    async fn ask_everything(&mut self) -> Result<()> {
        self.answer_host()?;
        self.answer_key("firewall.port", "Port of its SSH server")?;
        self.answer_key("firewall.user", "Account on it (a dash leaves it to ssh_config)")?;
        self.check_host_key().await?;
        self.choose_login_key()?;
        let reading = self.log_in().await?;
        self.choose_forward(&reading)?;
        self.answer_key("service.protocol", "What its server speaks (kms; tcp for any other)")?;
        self.choose_public_name()?;
        self.choose_cluster().await?;
        self.choose_vantage()?;
        self.write_configuration()
    }

    fn say_sentence(&self, sentence: &str) {
        self.context.terminal.say(sentence);
    }

    fn default(&self, key: &str) -> String {
        self.defaults.key_text(key).to_owned()
    }

    /// Answers a key by its flag, by a question, or by its default.
    fn answer_key(&mut self, key: &'static str, question: &str) -> Result<()> {
        let answer = match self.arguments.given(key) {
            Some(given) => given.clone(),
            None if self.asks => {
                let check = |text: &str| {
                    keys::find_key(key).map_or(Ok(()), |key| (key.check)(none_of(text)))
                };
                let typed =
                    prompt::ask_text(self.context.terminal, question, &self.default(key), check)?;
                none_of(&typed).to_owned()
            }
            None => self.default(key),
        };
        self.set_answer(key, answer)
    }

    /// Answers which box it is. The built-in one is another operator's, so it is no default; a port that is typed with it is the
    /// next default.
    fn answer_host(&mut self) -> Result<()> {
        const KEY: &str = "firewall.host";
        if self.arguments.host.is_some() || !self.asks {
            return self.answer_key(KEY, "");
        }
        let known = self.defaults.names_key(KEY).then(|| self.default(KEY));
        let typed = prompt::ask_text(
            self.context.terminal,
            "pfSense box (address, name or ssh Host)",
            &known.unwrap_or_default(),
            |text| values::parse_host(&split_port(text).0).map(drop),
        )?;
        let (host, port) = split_port(&typed);
        if let Some(port) = port {
            self.defaults.set_answers(&[("firewall.port".to_owned(), port.to_string())])?;
        }
        self.set_answer(KEY, host)
    }

    fn set_answer(&mut self, key: &str, answer: String) -> Result<()> {
        self.answers.retain(|(known, _)| known != key);
        self.answers.push((key.to_owned(), answer));
        self.keep_draft()
    }

    fn draft_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".draft");
        name.into()
    }

    /// Keeps what was answered, so that an interrupted run goes on. What flags answer is in no other run's questions.
    fn keep_draft(&self) -> Result<()> {
        if !self.asks {
            return Ok(());
        }
        let path = self.draft_path();
        make_directory_of(&path)?;
        let text = render_answers(&self.answers, &Layers::built_in());
        replace_private_file(&path, text.as_bytes()).map_err(|error| not_written(&path, &error))
    }

    fn take_up_draft(&mut self) {
        let path = self.draft_path();
        if !self.asks || !path.is_file() {
            return;
        }
        let nothing = self.context.environment.without_configuration();
        let (layers, problem) = Layers::read(&nothing, Some(&path), &[]);
        if problem.is_none() {
            self.say_sentence("An earlier run did not end; its answers are the defaults now.");
            self.defaults = layers;
        }
    }

    fn configured_context(&self) -> Result<Context> {
        let environment = self.context.environment.clone();
        let mut layers = Layers::built_in();
        layers.set_answers(&self.answers)?;
        layers.file = Some(self.path.clone());
        Ok(Context {
            terminal: self.context.terminal,
            settings: Settings::resolve(&SettingsReader::new(&layers, &environment))?,
            layers,
            problem: None,
            environment,
            clock: self.context.clock,
            demo: false,
            demo_name: String::new(),
            config_named: Some(self.path.clone()),
            seen: std::sync::OnceLock::new(),
        })
    }

    fn login_target(&self) -> Result<Target> {
        Ok(self.configured_context()?.settings.firewall.target)
    }

    /// Has the host key compared where it is not known yet, and keeps it beside the configuration. A box behind a jump
    /// host is not reached from here: then ssh's own known_hosts must have its key already.
    async fn check_host_key(&mut self) -> Result<()> {
        let known_hosts = self.path.with_file_name("known_hosts");
        if known_hosts.is_file() {
            self.set_answer("firewall.known_hosts", known_hosts.display().to_string())?;
        }
        let target = self.login_target()?;
        let fetched = self.context.within_time(first_contact::fetch_host_key(&target)).await;
        let presented = match fetched {
            Ok(presented) => presented,
            Err(failure) if failure.kind == FailureKind::Unreachable && self.asks => {
                self.context.terminal.caution(&failure.message);
                self.say_sentence("It is not reached directly. If ssh reaches it another way, go on; its host key must be known to ssh.");
                return if prompt::ask_yes_no(self.context.terminal, "Go on?")? {
                    Ok(())
                } else {
                    Err(Failure::new(FailureKind::Unreachable, failure.message))
                };
            }
            Err(failure) => return Err(failure),
        };
        self.judge_host_key(&presented, &known_hosts)
    }

    fn judge_host_key(&mut self, presented: &Presented, known_hosts: &Path) -> Result<()> {
        let pinned = self.arguments.fingerprint.as_deref();
        if pinned.is_some_and(|pin| presented.key.fingerprint != *pin) {
            return Err(Failure::unreachable(format!(
                "The box presents another host key: {}. Nothing was kept.",
                presented.key
            ))
            .hint(
                "Compare it on pfSense's console: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`",
            ));
        }
        match &presented.verdict {
            HostKeyVerdict::Known => return Ok(()),
            HostKeyVerdict::Unknown => {}
            HostKeyVerdict::Changed { path, line, .. } => {
                return Err(Failure::unreachable(format!(
                    "The host key is not the one in {} line {line}: {}.",
                    path.display(),
                    presented.key
                ))
                .hint("Find out why before you go on; another machine may stand in between."));
            }
            HostKeyVerdict::Revoked { path } => {
                return Err(Failure::unreachable(format!(
                    "The host key is marked as revoked in {}.",
                    path.display()
                )));
            }
        }
        if pinned.is_none() {
            self.say_sentence(&format!("The box presents this host key: {}", presented.key));
            self.say_sentence("Compare it on pfSense's console (option 8), or under Diagnostics > Command Prompt:");
            self.say_sentence("  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
            if !prompt::ask_yes_no(self.context.terminal, "Is it the same?")? {
                return Err(Failure::new(
                    FailureKind::NotConfirmed,
                    "The host key was not confirmed; nothing was kept, and kmsctl did not log in.",
                ));
            }
        }
        make_directory_of(known_hosts)?;
        presented.remember(known_hosts).map_err(|error| not_written(known_hosts, &error))?;
        self.set_answer("firewall.known_hosts", known_hosts.display().to_string())
    }

    /// Finds a key to log in with, or makes one.
    fn choose_login_key(&mut self) -> Result<()> {
        if self.arguments.identity.is_some() || !self.asks {
            return self.answer_key("firewall.identity", "");
        }
        let home = self.context.environment.home.clone().unwrap_or_default();
        let ssh = home.join(".ssh");
        let usual = ["id_ed25519", "id_ecdsa"].map(|name| ssh.join(name));
        let own = ssh.join("id_kmsctl");
        let found = usual.iter().chain([&own]).find(|path| path.is_file());
        let default = match found {
            Some(found) => found.display().to_string(),
            None if self.context.environment.agent_socket.is_some() => "-".to_owned(),
            None => "new".to_owned(),
        };
        let check = |text: &str| {
            let path = self.context.environment.expand(text);
            if matches!(text, "-" | "new") || path.is_file() {
                Ok(())
            } else {
                Err(format!("There is no file {}", path.display()))
            }
        };
        let answer = prompt::ask_text(
            self.context.terminal,
            "Private key file (a dash: ssh's agent; new: make one)",
            &default,
            check,
        )?;
        let path = match answer.as_str() {
            "-" => return self.set_answer("firewall.identity", String::new()),
            "new" => own,
            typed => self.context.environment.expand(typed),
        };
        if !path.is_file() {
            make_directory_of(&path)?;
            first_contact::make_login_key(&path).map_err(|error| not_written(&path, &error))?;
            self.say_sentence(&format!("Made {} (Ed25519, no passphrase).", path.display()));
        }
        if let Ok(public) = read_plain_text(&path.with_extension("pub"), 64 << 10) {
            self.say_sentence("Unless pfSense has it already, paste this line under System > User Manager > Edit > Authorized SSH Keys, and see that System > Advanced > Admin Access has Secure Shell enabled:");
            self.context.terminal.write(&format!("{}\n", public.trim()))?;
            prompt::wait_for_enter(self.context.terminal, "Press Enter when it is there.")?;
        }
        self.set_answer("firewall.identity", path.display().to_string())
    }

    /// Logs in once and reads what the rest is chosen from.
    async fn log_in(&self) -> Result<Reading> {
        let context = self.configured_context()?;
        let questions = [Question::Interfaces, Question::Translation, Question::Configured];
        let reading = context.read(&questions).await.map_err(|failure| {
            failure
                .hint("Your answers are kept; run `kmsctl config init` again when this is mended.")
        })?;
        if let Ok(configured) = &reading.configured {
            let version = configured.system.version.as_deref().unwrap_or("?");
            self.say_sentence(&format!("Logged in: pfSense {version}."));
        }
        Ok(reading)
    }

    /// Lets one of the loaded port forwards be chosen.
    fn choose_forward(&mut self, reading: &Reading) -> Result<()> {
        let forwards: Vec<Forward> = reading
            .translation
            .iter()
            .flatten()
            .filter_map(|rule| Forward::from_rule(rule, reading))
            .take(MOST_FORWARDS)
            .collect();
        let wanted = self.default("service.port");
        let named = self.arguments.alias.is_some() || self.arguments.service_port.is_some();
        if self.asks && !named && !forwards.is_empty() {
            self.say_sentence("Port forwards that pf has loaded:");
            for (number, forward) in (1..).zip(&forwards) {
                self.say_sentence(&format!("  {number}  {forward}"));
            }
            let usual = forwards.iter().position(|forward| forward.port == wanted);
            let usual = usual.map_or_else(|| "0".to_owned(), |place| (place + 1).to_string());
            let most = forwards.len();
            let check = |text: &str| match text.parse::<usize>() {
                Ok(number) if number <= most => Ok(()),
                _ => Err(format!("It wants a number from 0 to {most}")),
            };
            let question = "Which one is the service? (0: none of them)";
            let answer = prompt::ask_text(self.context.terminal, question, &usual, check)?;
            let number: usize = answer.parse().unwrap_or_default();
            if let Some(forward) = number.checked_sub(1).and_then(|place| forwards.get(place)) {
                return self.take_forward(forward, reading);
            }
        }
        self.answer_key("service.alias", "Alias of the service in pfSense")?;
        self.find_address(reading)?;
        self.answer_key("service.port", "TCP port of the service")?;
        self.answer_key("service.interface", "pfSense's name of the outside interface")?;
        if self.asks { Ok(()) } else { self.check_answers(&forwards) }
    }

    /// Refuses answers that the port forwards of the box contradict.
    fn check_answers(&self, forwards: &[Forward]) -> Result<()> {
        let answer = |key: &str| {
            let mut answers = self.answers.iter();
            answers.find(|(known, _)| known == key).map_or("", |(_, answer)| answer)
        };
        let (port, interface) = (answer("service.port"), answer("service.interface"));
        let targets = [format!("<{}>", answer("service.alias")), answer("service.address").into()];
        let leads = |forward: &&Forward| targets.contains(&forward.target);
        let related = forwards.iter().filter(|forward| forward.port == port || leads(forward));
        let related: Vec<&Forward> = related.collect();
        let agrees = |forward: &&Forward| {
            let known = forward.interface.as_deref();
            forward.port == port && leads(forward) && known.is_none_or(|name| name == interface)
        };
        if related.is_empty() || related.iter().any(agrees) {
            return Ok(());
        }
        let shown: Vec<String> = related.iter().map(ToString::to_string).collect();
        Err(Failure::usage(format!(
            "The port forwards of the box are other ones, and nothing was written: {}.",
            shown.join("; ")
        ))
        .hint("Name what is right with --alias, --service-port and --interface."))
    }

    /// Answers the address: without a person by what the alias holds, and never by the built-in one, which is that of another network.
    fn find_address(&mut self, reading: &Reading) -> Result<()> {
        const KEY: &str = "service.address";
        if self.asks || self.arguments.given(KEY).is_some() || self.defaults.names_key(KEY) {
            return self.answer_key(KEY, "Address behind the alias");
        }
        let alias = self.answers.iter().find(|(known, _)| known == "service.alias");
        match alias.and_then(|(_, alias)| only_member(reading, alias)) {
            Some(member) => self.set_answer(KEY, member),
            None => Ok(()),
        }
    }

    fn take_forward(&mut self, forward: &Forward, reading: &Reading) -> Result<()> {
        self.set_answer("service.port", forward.port.clone())?;
        let inner = forward.target.strip_prefix('<');
        if let Some(table) = inner.and_then(|rest| rest.strip_suffix('>')) {
            self.set_answer("service.alias", table.to_owned())?;
            match only_member(reading, table) {
                Some(member) => self.set_answer("service.address", member)?,
                None => self.answer_key("service.address", "Address behind the alias")?,
            }
        } else {
            self.set_answer("service.address", forward.target.clone())?;
            self.answer_key("service.alias", "Alias of the service in pfSense")?;
        }
        match &forward.interface {
            Some(name) => self.set_answer("service.interface", name.clone()),
            None => self.answer_key("service.interface", "pfSense's name of the outside interface"),
        }
    }

    /// Asks for the public name. The built-in one is one operator's own: it is no default for others, whose commands would ask
    /// for it.
    fn choose_public_name(&mut self) -> Result<()> {
        const KEY: &str = "service.host";
        if self.default(KEY) == Layers::built_in().key_text(KEY) {
            self.defaults.set_answers(&[(KEY.to_owned(), String::new())])?;
        }
        self.answer_key(KEY, "Public name of the service (Enter: it has none)")?;
        let is_empty = |(key, answer): &(String, String)| key == KEY && answer.is_empty();
        if self.answers.iter().any(is_empty) {
            self.say_sentence(
                "Without a public name no command looks at DNS; service.host names it later.",
            );
        }
        Ok(())
    }

    /// Offers the contexts of kubectl.
    async fn choose_cluster(&mut self) -> Result<()> {
        if self.arguments.cluster_context.is_some() || !self.asks {
            return self.answer_key("cluster.context", "");
        }
        let kubectl = Kubectl::new(&self.context.settings.cluster);
        let Ok(names) = kubectl.list_contexts().await else {
            return Ok(());
        };
        if names.is_empty() {
            return Ok(());
        }
        self.say_sentence(&format!("Contexts of kubectl: {}.", names.join(", ")));
        let known = |text: &str| {
            if text == "-" || names.iter().any(|name| name == text) {
                Ok(())
            } else {
                Err("There is no such context".to_owned())
            }
        };
        let question = "Context of the cluster behind the service (a dash: none)";
        let answer = prompt::ask_text(self.context.terminal, question, "-", known)?;
        self.set_answer("cluster.context", none_of(&answer).to_owned())
    }

    fn choose_vantage(&mut self) -> Result<()> {
        let answer = match &self.arguments.vantage {
            Some(given) => given.clone(),
            None if self.asks => prompt::ask_text(
                self.context.terminal,
                "A host outside that you can log in to, to test from (USER@HOST; a dash: none)",
                "-",
                check_vantage,
            )?,
            None => return Ok(()),
        };
        let (user, host) = split_vantage(&answer);
        if host.is_empty() {
            return Ok(());
        }
        self.set_answer("vantages.outside.host", host.to_owned())?;
        if user.is_empty() {
            return Ok(());
        }
        self.set_answer("vantages.outside.user", user.to_owned())
    }

    fn write_configuration(&self) -> Result<()> {
        // What does not go together is found before anything is written.
        self.configured_context()?;
        let question = format!("Write {}?", self.path.display());
        if self.asks && !prompt::confirm_default_yes(self.context.terminal, &question)? {
            return Err(Failure::new(FailureKind::NotConfirmed, "Nothing was written.")
                .hint("Your answers are kept; `kmsctl config init` goes on with them."));
        }
        write_new(&self.path, &render_answers(&self.answers, &Layers::built_in()))?;
        let _ = fs::remove_file(self.draft_path());
        Ok(())
    }
}

/// More port forwards are not offered.
const MOST_FORWARDS: usize = 40;

struct Forward {
    port: String,
    target: String,
    device: String,
    interface: Option<String>,
}

impl Forward {
    fn from_rule(rule: &Rule, reading: &Reading) -> Option<Self> {
        let tcp = rule.protocol.as_deref().is_none_or(|name| name == "tcp");
        if !rule.text.starts_with("rdr ") || !tcp || rule.depth > 0 {
            return None;
        }
        let port = rule.to.port.as_deref()?.strip_prefix("= ")?;
        let port = port.parse::<u16>().ok()?.to_string();
        let target = (*rule.target_hosts().first()?).to_owned();
        let device = rule.interface.as_ref()?.name.clone();
        let configured = reading.configured.as_ref().ok();
        let interface = configured.and_then(|configured| configured.interface.as_ref());
        let interface = interface.filter(|known| known.device.as_deref() == Some(&*device));
        Some(Self { port, target, interface: interface.map(|known| known.name.clone()), device })
    }
}

impl std::fmt::Display for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let interface = self.interface.as_ref().unwrap_or(&self.device);
        write!(f, "{interface} port {} -> {}", self.port, self.target)
    }
}

/// Returns what an alias of this name holds on the box, where that is one address.
fn only_member(reading: &Reading, name: &str) -> Option<String> {
    let configured = reading.configured.as_ref().ok()?;
    configured.alias.as_ref().filter(|alias| alias.name == name)?;
    match configured.alias_networks().as_slice() {
        [member] => Some(member.addr().to_string()),
        _ => None,
    }
}

/// Takes apart what is typed for a host: `HOST:PORT`, or an address in brackets.
fn split_port(text: &str) -> (String, Option<u16>) {
    if let Ok((host, port)) = values::parse_endpoint(text) {
        return (host, Some(port));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    (bare.unwrap_or(text).to_owned(), None)
}

/// A question with a default cannot be answered with nothing; a dash is nothing.
fn none_of(answer: &str) -> &str {
    if answer == "-" { "" } else { answer }
}

/// Renders the answers that differ from the built-in values as a TOML document; the box and the service's address are always
/// named.
fn render_answers(answers: &[(String, String)], built_in: &Layers) -> String {
    let mut text =
        String::from("# Written by `kmsctl config init`; config.example.toml has every key.\n");
    let mut sections: Vec<&str> = Vec::new();
    let differs = |path: &str, answer: &str| {
        ["firewall.host", "service.address"].contains(&path) || built_in.key_text(path) != answer
    };
    let answers: Vec<(&str, &str, &str)> = answers
        .iter()
        .filter(|(path, answer)| differs(path, answer))
        .filter_map(|(path, answer)| {
            let (section, name) = path.rsplit_once('.')?;
            Some((section, name, answer.as_str()))
        })
        .collect();
    for (section, _, _) in &answers {
        if !sections.contains(section) {
            sections.push(section);
        }
    }
    for section in sections {
        text.push_str(&format!("\n[{section}]\n"));
        for (_, name, answer) in answers.iter().filter(|(other, _, _)| *other == section) {
            let key = keys::find_key(&format!("{section}.{name}"));
            let literal = match key {
                Some(key) if key.is_number() => (*answer).to_owned(),
                _ => toml::Value::String((*answer).to_owned()).to_string(),
            };
            text.push_str(&format!("{name} = {literal}\n"));
        }
    }
    text
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written: {error}.", path.display()))
}

/// Makes the directory that a file goes into, for its owner only.
fn make_directory_of(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory.map_or(Ok(()), |directory| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| not_written(directory, &error))
    })
}

/// Creates the file 0600; never follows or replaces what is there.
pub(super) fn write_new(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    make_directory_of(path)?;
    let write = || {
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| not_written(path, &error))
}
