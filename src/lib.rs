//! kmsctl: the map of the house.
//!
//! ```text
//! main → cli → commands → { firewall, simulator, terminal, settings }
//!                   everything → domain → (std, serde, jiff, ipnet only)
//! ```
//!
//! * [`cli`] — the root parser: global flags and the list of groups.
//! * [`settings`] — defaults < file < environment < flags; each value remembers where it came from.
//! * [`commands`] — one file a group, its arguments beside its code. A read command lists its questions
//!   ([`firewall::facts::Question`]), gets one reading for them, hands it to the domain and shows one view.
//! * [`domain`] — pure: pf's text ↔ values (`pf`), what config.xml says (`configured`), and every judgement:
//!   `exposure`, `ratelimit`, `expiry`, `blocked`, `connections`, `overload`. No file, process, network or clock.
//! * [`firewall`] — the pfSense edge. `link` connects (system ssh or built in), `script` and `demux` frame one
//!   remote shell, `facts` turns replies into typed answers, `agent` asks pfSense's own PHP.
//! * [`simulator`] — the embedded firewall behind `--demo`: a pf in memory, served over real SSH on loopback.
//! * [`terminal`] — streams, modes, tables, prompts; foreign text is cleaned here.
//! * [`error`] — one [`error::Failure`] with kind and hints, and the table from kind to exit code.
//! * [`notifier`] — the side-car around the pure log core (`domain::vlmcsd`, `decision`, `dedup`, `announce`).
//! * [`clock`] — the only place that asks for the time.
//!
//! `firewall` and `terminal` never import each other; `domain` imports none of the others (a test holds both).
//! One word, five places: command `virusprot` ⇔ `src/commands/virusprot.rs` ⇔ `runbooks/virusprot.md` ⇔
//! `tests/cli/virusprot.rs`, its thinking in `src/domain`.

pub mod cli;
pub mod clock;
pub mod commands;
pub mod domain;
pub mod error;
pub mod firewall;
pub mod notifier;
pub mod settings;
pub mod simulator;
pub mod terminal;

use std::io::Write as _;

use cli::Cli;
use clock::Clock;
use commands::context::Context;
use error::{Failure, Kind, Result};
use settings::{Environment, Layers, Settings};
use terminal::{ColorChoice, Mode, Terminal};

/// Runs a parsed command line and returns the exit code.
pub fn run(cli: &Cli) -> u8 {
    let environment = Environment::of_process();
    let context = match build(cli, environment) {
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
                Kind::ReaderGone => {}
                // The data has said so already; this is talk.
                Kind::No | Kind::Interrupted => context.terminal.say(&failure.message),
                _ => context.terminal.fail(&failure),
            }
            failure.kind.exit_code()
        }
    }
}

/// Prints what the parser has to say (help, version, or a usage error) and returns the exit code.
pub fn refuse(error: &clap::Error) -> u8 {
    let printed = error.print();
    match error.kind() {
        clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion => 0,
        _ if printed.is_err() => 0,
        _ => Kind::Usage.exit_code(),
    }
}

/// Decides everything that can be decided before any connection. The terminal comes back with a failure, so that
/// the failure is told in the form that was asked for.
fn build(cli: &Cli, environment: Environment) -> std::result::Result<Context, (Terminal, Failure)> {
    let global = &cli.global;
    let switched = |flag: bool, name: &str| {
        flag || environment
            .variable(name)
            .is_some_and(|value| value != "0" && value != "false")
    };
    let quiet = switched(global.quiet, "KMSCTL_QUIET");
    let verbose = switched(global.verbose, "KMSCTL_VERBOSE");
    let no_color = environment.no_color || environment.dumb_terminal;
    let early_mode = Mode::from_word(
        global
            .output
            .as_deref()
            .or_else(|| environment.variable("KMSCTL_OUTPUT"))
            .unwrap_or_default(),
    );
    let early = Terminal::new(early_mode, ColorChoice::Auto, no_color, quiet, verbose);
    let layers = Layers::read(&environment, global.config.as_deref(), &global.layers())
        .map_err(|failure| (early, failure))?;
    let settings = Settings::resolve(&layers, &environment).map_err(|failure| (early, failure))?;
    let terminal = Terminal::new(settings.output, settings.color, no_color, quiet, verbose);
    let clock = fixed_clock(&environment).map_err(|failure| (terminal, failure))?;
    terminal.warn(&layers.warnings);
    Ok(Context {
        terminal,
        demo: switched(global.demo, "KMSCTL_DEMO"),
        settings,
        layers,
        environment,
        clock,
        config_named: global.config.clone(),
    })
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Failure::failed(format!("The runtime cannot start: {error}.")))?;
    let result = runtime.block_on(commands::run(context, &cli.command));
    // What is still blocked (a resolver, say) must not hold the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    let _ = std::io::stdout().flush();
    result
}
