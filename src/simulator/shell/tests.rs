//! The shell against the script that kmsctl renders.

use super::{ShellReply, SimulatedShell, split_words};
use crate::domain::pf::table::TableName;
use crate::domain::shell_word::ShellWord;
use crate::simulator::scenario::Scenario;
use crate::simulator::world::World;
use crate::ssh::script::{Nonce, OutputFilter, REMOTE_SHELL, ROUND, Script, ScriptCommand};

const NOW: i64 = 1_790_000_000_000;

fn world() -> World {
    World::fresh_world(Scenario::Open, 1, NOW)
}

/// A script in which the agent, whose answer is its third, is started first.
fn script_with_agent() -> Script {
    let php = ShellWord::fixed("/usr/local/bin/php");
    let request = crate::pfsense::agent::ReadRequest {
        alias: "k8s_kms_lb".into(),
        address: [10, 0, 20, 202].into(),
        port: 1688,
        interface: "wan".into(),
        table: TableName::new("virusprot").unwrap(),
    };
    let mut script = script();
    script.commands.insert(
        2,
        ScriptCommand {
            starts_ahead: 2,
            ..crate::pfsense::agent::read_command(&request, &php, &nonce())
        },
    );
    script
}

fn script() -> Script {
    let fixed = |words: &[&'static str]| {
        ScriptCommand::new(words.iter().map(|word| ShellWord::fixed(word)))
    };
    let mut states = fixed(&["/sbin/pfctl", "-vvss"]);
    states.filter =
        Some(OutputFilter { port: 1688, address: Some("198.51.100.200".parse().unwrap()) });
    let mut test = fixed(&["/sbin/pfctl", "-t"]);
    test.words.push(ShellWord::table(&TableName::new("virusprot").unwrap()));
    test.words.extend(["-T", "test", "-f", "-"].map(ShellWord::fixed));
    test.input = b"192.0.2.99\n}\nd\n".to_vec();
    Script { commands: vec![fixed(&["/bin/date", "+%s"]), states, test, fixed(&["/nosuch", "-x"])] }
}

fn nonce() -> Nonce {
    Nonce::new(*b"0123456789abcdef")
}

#[test]
fn a_rendered_script_runs_once_a_round_however_it_is_cut() {
    let mut text = script().render(&nonce());
    text.extend_from_slice(ROUND);
    let mut whole = world();
    let (mut shell, said) = SimulatedShell::start(REMOTE_SHELL.as_bytes(), &mut whole);
    assert_eq!(said, ShellReply::default());
    let reply = shell.feed(&text, &mut whole);
    assert_eq!(reply.exit, None);
    let stdout = String::from_utf8(reply.stdout.clone()).unwrap();
    let mark = nonce().as_str().to_owned();
    assert!(
        stdout
            .starts_with(&format!("\n{mark} b 0\n1790000000\n\n{mark} e 0 0\n\n{mark} b 1\nall ")),
        "{stdout:.200}"
    );
    assert!(stdout.ends_with(&format!("\n{mark} e 3 127\n\n{mark} d\n")));
    let stderr = String::from_utf8(reply.stderr.clone()).unwrap();
    assert!(
        stderr.contains(&format!("\n{mark} b 3\nsh: /nosuch: not found\n\n{mark} e 3 127\n")),
        "{stderr}"
    );
    assert!(stderr.contains("no IP address found for }\n"));

    let mut bytewise = world();
    let (mut shell, _) = SimulatedShell::start(REMOTE_SHELL.as_bytes(), &mut bytewise);
    let mut pieces = ShellReply::default();
    for byte in &text {
        let piece = shell.feed(&[*byte], &mut bytewise);
        pieces.stdout.extend(piece.stdout);
        pieces.stderr.extend(piece.stderr);
    }
    assert_eq!(pieces, reply);
    assert_eq!(shell.feed(ROUND, &mut bytewise).stdout, reply.stdout);
    assert_eq!(shell.finish(&mut bytewise).exit, Some(0));
}

#[test]
fn a_shell_takes_one_script_after_another() {
    let mut world = world();
    let (mut shell, _) = SimulatedShell::start(REMOTE_SHELL.as_bytes(), &mut world);
    let mark = nonce().as_str().to_owned();
    for _ in 0..2 {
        let text = [script_with_agent().render(&nonce()), ROUND.to_vec()].concat();
        let reply = shell.feed(&text, &mut world);
        assert_eq!(reply.exit, None, "{}", String::from_utf8_lossy(&reply.stderr));
        let stdout = String::from_utf8(reply.stdout).unwrap();
        assert!(stdout.contains(&format!("\n{mark} b 2\n\nagent {mark} begin\n{{")));
        assert!(stdout.contains(&format!("\nagent {mark} end\n\n{mark} e 2 0\n")));
        assert!(stdout.ends_with(&format!("\n{mark} e 4 127\n\n{mark} d\n")));
        let text = [script().render(&nonce()), ROUND.to_vec()].concat();
        let stdout = String::from_utf8(shell.feed(&text, &mut world).stdout).unwrap();
        assert!(stdout.ends_with(&format!("\n{mark} e 3 127\n\n{mark} d\n")));
    }
    let other = script().render(&Nonce::new([7; 16]));
    assert_eq!(shell.feed(&other, &mut world).exit, Some(127));
}

#[test]
fn a_line_of_another_hand_ends_the_shell() {
    let text = String::from_utf8(script_with_agent().render(&nonce())).unwrap();
    for (from, to) in [
        ("{ w 2 ", "{ w 3 "),
        ("b 2; /bin/cat;", "b 2; /bin/rm;"),
        (" 2>&1; printf", " 2>&1; id; printf"),
        ("}\nd\n}\n", "d\n}\n"),
        ("b 0; ", "b 7; "),
        ("\nw 0 ", "\nw 7 "),
        ("'/bin/date'", "/bin/date"),
        ("\nd\n}\n", "\nd\n}\nid\n"),
        ("{ keep = 0;", "{ keep = 1;"),
        ("m() {", "m() { id;"),
    ] {
        assert!(text.contains(from), "{from}");
        let mut world = world();
        let (mut shell, _) = SimulatedShell::start(REMOTE_SHELL.as_bytes(), &mut world);
        let reply = shell.feed((text.replacen(from, to, 1) + "t\n").as_bytes(), &mut world);
        assert_eq!(reply.exit, Some(127), "{from}");
        assert_eq!(reply.stderr, b"sh: unsupported by the simulated firewall\n");
        assert_eq!(reply.stdout, b"");
        assert_eq!(shell.feed(b"t\n", &mut world), ShellReply::default());
    }
}

#[test]
fn a_cut_script_does_not_end_well() {
    let text = script().render(&nonce());
    let mut world = world();
    let (mut shell, _) = SimulatedShell::start(REMOTE_SHELL.as_bytes(), &mut world);
    shell.feed(&text[..text.len() - 3], &mut world);
    assert_eq!(shell.finish(&mut world).exit, Some(127));
}

#[test]
fn plain_commands_run_and_shell_words_do_not() {
    let mut world = world();
    let mut run = |command: &str| SimulatedShell::start(command.as_bytes(), &mut world).1;
    assert_eq!(run("env TZ=UTC /bin/date +%s").stdout, b"1790000000\n");
    assert_eq!(run("pfctl -t virusprot -T show -v").exit, Some(0));
    assert_eq!(run("/usr/bin/printenv SSH_CONNECTION").stdout, b"10.0.10.5 51022 10.0.20.1 22\n");
    assert_eq!(run("pfctl -k label -k 'USER_RULE: nothing'").stderr, b"killed 0 states\n");
    assert_eq!(run("sudo pfctl -sr").exit, Some(1));
    for command in [
        "pfctl -ss | grep x",
        "id",
        "pfctl -sr; id",
        "echo $HOME",
        "echo `id`",
        "/bin/sh -c id",
        "pfctl 'x",
    ] {
        let reply = run(command);
        assert_eq!(reply.exit, Some(127), "{command}");
        assert_eq!(reply.stdout, b"", "{command}");
    }
}

#[test]
fn words_are_split_as_sh_does() {
    assert_eq!(split_words("exec env A=1  a 'b c'\"d\" ''").unwrap(), ["a", "b cd", ""]);
    assert_eq!(split_words("a 'b"), None);
}
