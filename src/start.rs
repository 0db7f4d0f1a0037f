//! One run of kmsctl: everything that is decided before any connection, and the exit code of what came of it.

use std::io::Write as _;
use std::path::PathBuf;

use crate::app::Context;
use crate::cli::{self, Cli, Command};
use crate::clock::Clock;
use crate::error::{Failure, FailureKind, Result};
use crate::settings::{Cluster, Environment, Layers, Settings, SettingsReader};
use crate::terminal::{Carried, CarriedFlags, ColorChoice, Mode, Pager, Terminal};
use crate::text;

/// Runs a parsed command line and returns the exit code.
pub fn run_kmsctl(cli: &Cli) -> u8 {
    let environment = Environment::of_process();
    let context = match build_context(cli, environment) {
        Ok(context) => context,
        Err((terminal, failure)) => {
            terminal.fail(&failure);
            return failure.kind.exit_code();
        }
    };
    match within_runtime(&context, cli) {
        Ok(()) => 0,
        Err(failure) => {
            match failure.kind {
                FailureKind::ReaderGone => {}
                // The data has said so already; this is talk, unless there is something to do next.
                FailureKind::No | FailureKind::Inconclusive | FailureKind::Interrupted
                    if failure.hints.is_empty() =>
                {
                    context.terminal.say(&failure.message);
                }
                _ => context.terminal.fail(&failure),
            }
            failure.kind.exit_code()
        }
    }
}

/// Prints what the parser has to say (help, version, or a usage error) and returns the exit code. Where JSON was asked for,
/// a usage error is JSON too; the words are looked at, as nothing was parsed.
pub fn print_parser_answer(mut error: clap::Error, words: &[String]) -> u8 {
    use clap::error::ContextKind;
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    suggest_one(&mut error);
    let error = &error;
    let help = matches!(error.kind(), DisplayHelp | DisplayVersion);
    let environment = Environment::of_process();
    let mode = typed_value(words, "--output", Some("-o"))
        .or_else(|| environment.variable("KMSCTL_OUTPUT"))
        .and_then(Mode::named)
        .unwrap_or_default();
    let color = color_choice(typed_value(words, "--color", None), &environment);
    let global = typed_flags(words);
    let demo = switch_setting(global.demo.is_some(), "KMSCTL_DEMO", &environment);
    let demo = demo.unwrap_or(global.demo.is_some());
    let terminal = Terminal::new(mode, color, lacks_color(&environment), false, false)
        .carrying(carried(&global, &environment, demo, None));
    if !help && matches!(mode, Mode::Json | Mode::Ndjson) {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = match nearest(error) {
            Some(command) => Failure::usage(message).hint(did_you_mean(&command)),
            None => Failure::usage(message),
        };
        terminal.fail(&failure.hint("Run the command with --help."));
        return FailureKind::Usage.exit_code();
    }
    let rendered = |colored: bool| {
        let styled = error.render();
        if colored { styled.ansi().to_string() } else { styled.to_string() }
    };
    if help {
        let written = terminal.write(&rendered(terminal.stdout_color));
        return match written {
            Err(failure) if failure.kind != FailureKind::ReaderGone => {
                terminal.fail(&failure);
                failure.kind.exit_code()
            }
            Ok(()) | Err(_) => 0,
        };
    }
    let is_hostile = |word: &String| word.len() > 200 || word.chars().any(text::acts_on_terminal);
    let answer = if words.iter().any(is_hostile) {
        quoted_safely(error, words)
    } else {
        rendered(terminal.stderr_color)
    };
    let _ = std::io::stderr().write_all(answer.as_bytes());
    // clap knows the commands of one place only.
    let suggested = error.get(ContextKind::SuggestedSubcommand);
    if let Some(command) = nearest(error).filter(|_| suggested.is_none()) {
        terminal.hint(&did_you_mean(&command));
    }
    FailureKind::Usage.exit_code()
}

/// Finds the flags that printed commands carry among words that were not parsed.
fn typed_flags(words: &[String]) -> cli::Global {
    let mut demo = words.iter().filter_map(|word| {
        let name = word.strip_prefix("--demo")?;
        let name = if name.is_empty() { name } else { name.strip_prefix('=')? };
        cli::demo_scenario(name).ok()
    });
    cli::Global {
        config: typed_value(words, "--config", None).map(Into::into),
        context: typed_value(words, "--context", None).map(str::to_owned),
        alone: words.iter().any(|word| word == "--alone"),
        demo: demo.next_back(),
        ..cli::Global::default()
    }
}

/// Finds the value of a flag among words that were not parsed, the last one.
fn typed_value<'a>(words: &'a [String], long: &str, short: Option<&str>) -> Option<&'a str> {
    let mut values = words.iter().enumerate().filter_map(|(place, word)| {
        if word == long || Some(word.as_str()) == short {
            return words.get(place + 1).map(String::as_str);
        }
        let joined = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        let close = || Some(word.strip_prefix(short?)?.trim_start_matches('='));
        joined.or_else(close)
    });
    values.next_back()
}

fn color_choice(typed: Option<&str>, environment: &Environment) -> ColorChoice {
    let word = typed.or_else(|| environment.variable("KMSCTL_COLOR"));
    word.and_then(ColorChoice::named).unwrap_or_default()
}

fn lacks_color(environment: &Environment) -> bool {
    environment.no_color || environment.dumb_terminal
}

/// Renders a usage error in which no word of the command line acts on the terminal, looks like a line of its own, or fills
/// the screen.
fn quoted_safely(error: &clap::Error, words: &[String]) -> String {
    let mut rendered = error.render().to_string();
    // The renderer takes what looks like colours out of the words, too.
    let plain = |part: &str| anstream::adapter::strip_str(part).to_string();
    let mut parts: Vec<String> = words
        .iter()
        .flat_map(|word| {
            [Some(word.as_str()), word.split_once('=').map(|(_, value)| value), word.get(2..)]
        })
        .flatten()
        .flat_map(|part| [part.to_owned(), plain(part)])
        .filter(|part| part.contains('\n'))
        .collect();
    // The longest come first: one word may be part of another.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    for part in parts {
        rendered = rendered.replace(&part, &text::clean_text(&part));
    }
    rendered
        .lines()
        .map(|line| format!("{}\n", text::shorten_words(&text::clean_text(line))))
        .collect()
}

/// Of the words that a parser suggests for a wrong one, leaves the one that is most like it, where one is like it at all.
fn suggest_one(error: &mut clap::Error) {
    use clap::error::{ContextKind, ContextValue};
    for (wrong, kind) in [
        (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        (ContextKind::InvalidValue, ContextKind::SuggestedValue),
    ] {
        let Some(ContextValue::String(word)) = error.get(wrong) else { continue };
        let suggested = match error.get(kind) {
            Some(ContextValue::Strings(words)) => words.clone(),
            Some(ContextValue::String(one)) => vec![one.clone()],
            _ => continue,
        };
        let score = |suggested: &String| text::word_likeness(word, suggested);
        match (text::nearest_word(suggested, 0.5, score), kind) {
            (None, _) => error.remove(kind),
            (Some(nearest), ContextKind::SuggestedSubcommand) => {
                error.insert(kind, ContextValue::Strings(vec![nearest]))
            }
            (Some(nearest), _) => error.insert(kind, ContextValue::String(nearest)),
        };
    }
}

/// Returns the command that a wrong one most likely means.
fn nearest(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue};
    match error.get(ContextKind::InvalidSubcommand)? {
        ContextValue::String(word) => cli::nearest_command(word),
        _ => None,
    }
}

fn did_you_mean(command: &str) -> String {
    format!("Did you mean `kmsctl {command}`?")
}

/// Decides everything that can be decided before any connection. The terminal comes back with a failure, so that
/// the failure is shown in the form that was asked for.
fn build_context(
    cli: &Cli,
    mut environment: Environment,
) -> std::result::Result<Context, (Terminal, Failure)> {
    let global = &cli.global;
    let no_color = lacks_color(&environment);
    let color = color_choice(global.color.as_deref(), &environment);
    let word = global.output.as_deref().or_else(|| environment.variable("KMSCTL_OUTPUT"));
    let early = Terminal::new(
        word.and_then(Mode::named).unwrap_or_default(),
        color,
        no_color,
        false,
        false,
    );
    let switched = |flag: bool, name: &str| {
        switch_setting(flag, name, &environment).map_err(|failure| (early, failure))
    };
    let quiet = switched(global.quiet, "KMSCTL_QUIET")?;
    let verbose = switched(global.verbose, "KMSCTL_VERBOSE")?;
    let demo = switched(global.demo.is_some(), "KMSCTL_DEMO")?;
    choose_scenario(global, &mut environment);
    let early = early.carrying(carried(global, &environment, demo, None));
    let (layers, mut problem) = read_layers(global, &environment, demo);
    if matches!(cli.command, Command::Config(_)) {
        let broken = layers.broken_contexts.values().next();
        problem = problem.or_else(|| broken.map(|failure| failure.without_cause()));
    }
    let settings = match Settings::resolve(&SettingsReader::new(&layers, &environment)) {
        Ok(mut settings) => {
            settings.firewall.peer.take_if(|_| global.alone);
            // The demo's service has that name.
            if !demo && layers.leaves_built_in("service.host") {
                settings.service.host.clear();
            }
            settings
        }
        Err(failure) => {
            problem = problem.or(Some(failure));
            Settings::resolve(&SettingsReader::new(&Layers::built_in(), &environment))
                .map_err(|failure| (early, failure))?
        }
    };
    let terminal = if problem.is_some() {
        Terminal::new(early.mode, color, no_color, quiet, verbose)
    } else {
        let mode = Mode::named(settings.output).unwrap_or_default();
        let color = ColorChoice::named(settings.color).unwrap_or_default();
        Terminal::new(mode, color, no_color, quiet, verbose)
    };
    let one_cluster = Some(&settings.cluster).filter(|_| !global.all_contexts);
    let terminal = terminal
        .fitted_to(global.width)
        .carrying(carried(global, &environment, demo, one_cluster))
        .paging(pager(global, &environment));
    if let Some(failure) = problem
        .as_ref()
        .filter(|_| !cli.command.does_without_configuration())
        .filter(|_| !global.all_contexts || layers.contexts.is_empty())
    {
        return Err((terminal, failure.without_cause()));
    }
    if global.all_contexts && !cli.command.reads_every_context() {
        let failure = Failure::usage(
            "--all-contexts is for status, doctor, verify, expose show and virusprot show or history, without --watch; every other command takes exactly one context.",
        );
        return Err((terminal, failure.hint("Name it with --context.")));
    }
    let needs_one = !demo && !global.all_contexts && !cli.command.does_without_configuration();
    if needs_one && layers.lack_a_context() {
        let failure = Failure::usage(
            "The configuration names its firewalls in contexts only, and none is chosen.",
        );
        let names = layers.context_names();
        return Err((terminal, failure.hint(format!("Choose one with --context: {names}."))));
    }
    let clock = fixed_clock(&environment).map_err(|failure| (terminal, failure))?;
    terminal.warn(&layers.warnings);
    Ok(Context {
        terminal,
        demo,
        demo_name: layers.demo_name(),
        settings,
        layers,
        problem,
        environment,
        clock,
        config_named: global.config.clone(),
        seen: std::sync::OnceLock::new(),
    })
}

/// Starts the demo in the scenario that `--demo=SCENARIO` names.
fn choose_scenario(global: &cli::Global, environment: &mut Environment) {
    let named = global.demo.as_deref().filter(|name| !name.is_empty());
    if let Some(scenario) = named {
        let name = "KMSCTL_DEMO_SCENARIO".to_owned();
        environment.variables.insert(name, scenario.to_owned());
    }
}

/// Reads the layers. The demo stands alone: of files it reads only one that its own command line names.
fn read_layers(
    global: &cli::Global,
    environment: &Environment,
    demo: bool,
) -> (Layers, Option<Failure>) {
    let alone = demo.then(|| environment.without_configuration());
    let read_by = alone.as_ref().unwrap_or(environment);
    Layers::read(read_by, global.config.as_deref(), &global.layers())
}

/// Returns a path as a command has it that is pasted anywhere: a message of the exporter is read on another screen.
fn from_anywhere(path: PathBuf) -> String {
    std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
}

/// Commands of kubectl that messages name.
const KUBECTL_COMMANDS: &str = "cluster-info config delete describe get logs patch rollout top";

/// Returns the flags that the commands it prints must carry: those of this run, and the cluster's place once it is known.
fn carried(
    global: &cli::Global,
    environment: &Environment,
    demo: bool,
    cluster: Option<&Cluster>,
) -> Option<&'static Carried> {
    let variable = environment.variable("KMSCTL_CONFIG").filter(|_| !demo);
    let named = global.config.clone().or_else(|| Some(environment.expand(variable?)));
    let config = named.map(from_anywhere);
    let mut flags = Vec::new();
    flags.extend(config.as_deref().map(|path| ("--config", Some(path))));
    let variable = environment.variable("KMSCTL_CONTEXT");
    let context = global.context.as_deref().or(variable);
    flags.extend(context.map(|name| ("--context", Some(name))));
    flags.extend(global.alone.then_some(("--alone", None)));
    let scenario = global.demo.as_deref().filter(|name| !name.is_empty());
    let scenario = scenario.map(|scenario| format!("--demo={scenario}"));
    flags.extend(demo.then(|| (scenario.as_deref().unwrap_or("--demo"), None)));
    let kmsctl = (!flags.is_empty()).then(|| {
        let tree = cli::command_tree();
        let commands = tree.get_subcommands().map(|command| command.get_name().to_owned());
        CarriedFlags::new("kmsctl", &flags, commands.collect())
    });
    let kubectl = cluster.filter(|cluster| cluster.configured || demo).map(|cluster| {
        let file = cluster.kubeconfig.clone().map(from_anywhere);
        let mut place = Vec::new();
        place.extend(file.as_deref().map(|path| ("--kubeconfig", Some(path))));
        place.extend(cluster.context.as_deref().map(|name| ("--context", Some(name))));
        place.push(("-n", Some(&cluster.namespace)));
        CarriedFlags::new(
            "kubectl",
            &place,
            KUBECTL_COMMANDS.split(' ').map(str::to_owned).collect(),
        )
    });
    // One for the whole run, as the run itself is one.
    let carried = Carried::new(kmsctl.into_iter().chain(kubectl));
    carried.map(|carried| &*Box::leak(Box::new(carried)))
}

/// Returns the operator's pager, unless it is not wanted.
fn pager(global: &cli::Global, environment: &Environment) -> Option<&'static Pager> {
    if global.no_pager || environment.dumb_terminal {
        return None;
    }
    let named = environment.pager.clone();
    Some(Box::leak(Box::new(Pager {
        command: named.unwrap_or_else(|| "less".to_owned()),
        has_less_options: environment.has_less_options,
    })))
}

/// Returns whether a switch is on, by its flag or its environment name; a word that is neither yes nor no is refused,
/// so that invented data is not mistaken for real data because of `KMSCTL_DEMO=off`.
fn switch_setting(flag: bool, name: &str, environment: &Environment) -> Result<bool> {
    match environment.variable(name).map(str::to_lowercase).as_deref() {
        Some("1" | "true" | "yes" | "on") => Ok(true),
        None | Some("0" | "false" | "no" | "off") => Ok(flag),
        Some(word) => {
            let failure = Failure::usage(format!("{name}={word} is neither yes nor no."));
            let is_scenario = name == "KMSCTL_DEMO" && cli::demo_scenario(word).is_ok();
            let hint = format!("A scenario is named behind --demo={word}.");
            Err(if is_scenario { failure.hint(hint) } else { failure })
        }
    }
}

/// `KMSCTL_DEMO_NOW` stops the demo's clock, so that documentation and tests can show the same answer twice.
fn fixed_clock(environment: &Environment) -> Result<Clock> {
    match environment.variable("KMSCTL_DEMO_NOW") {
        None => Ok(Clock::System),
        Some(text) => text.parse().map(Clock::Fixed).map_err(|_| {
            Failure::usage("KMSCTL_DEMO_NOW wants a time such as 2026-01-02T03:04:05Z.")
        }),
    }
}

fn within_runtime(context: &Context, cli: &Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::failed(format!("The runtime cannot start: {error}.")))?;
    let result = runtime.block_on(cli::run_command(context, cli));
    // What is still blocked (a resolver, say) must not hold the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    let _ = std::io::stdout().flush();
    result
}

#[cfg(test)]
mod tests;
