//! The commands of the development loop to the letter, as a person types them in side-node/ and side-watcher/.
//!
//! They compile, so they wait for minutes on a cold machine. The target folder is that of the tests, the home a temporary one.

use std::process::{Command, Stdio};
use std::time::Duration;

use side_tests::process::{Process, binary, cargo, foreign_variables, target, workspace};
use side_tests::pty::{CommandBuilder, Terminal};
use side_tests::world::{Home, Watcher};

/// What compiling everything may take on a cold and busy machine.
const COMPILING: Duration = Duration::from_secs(1200);

/// `cargo` in a folder of the workspace, for nodes of `home`.
fn cargo_in(folder: &str, home: &Home, relay: &str) -> Command {
    let mut cargo = cargo();
    cargo
        .current_dir(workspace().join(folder))
        .env("CARGO_TARGET_DIR", target().0)
        .env("SIDE_HOME", home.path())
        .env("SIDE_RELAY", relay);
    cargo
}

/// The same command on a terminal.
fn on_a_terminal(command: &Command) -> CommandBuilder {
    let mut typed = CommandBuilder::new(command.get_program());
    typed.args(command.get_args());
    for name in foreign_variables() {
        typed.env_remove(name);
    }
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            typed.env(name, value);
        }
    }
    typed.cwd(command.get_current_dir().expect("a folder"));
    typed.env("TERM", "xterm");
    typed
}

fn require_cargo_watch() {
    let found = Command::new("cargo-watch").arg("--version").stdout(Stdio::null()).status();
    assert!(found.is_ok(), "this test types through cargo watch: cargo install --locked cargo-watch");
}

#[test]
fn cargo_run_init_and_run_work_from_side_node() {
    // Most of the compiling happens here, where it is told apart from a hanging test.
    binary("side-node");
    let data = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(data.path());
    let home = Home::new(&watcher.url());
    for name in ["node1", "node2"] {
        let made = cargo_in("side-node", &home, &watcher.url()).args(["run", "--", "init", name]).output();
        let made = made.expect("cargo starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let run = |args: &[&str], name: &str| {
        let mut command = cargo_in("side-node", &home, &watcher.url());
        command.args(args);
        let mut node = Process::start(name, command);
        node.expect_within(" is ready in group ", COMPILING);
        node
    };
    let mut node1 = run(&["run", "--", "run", "node1"], "node1");
    let mut node2 = run(&["run", "--", "run", "--", "node2"], "node2");
    node1.type_line("through cargo run");
    node2.expect("node1: through cargo run");
    node2.type_line("and with two dashes more");
    node1.expect("node2: and with two dashes more");
    home.converge(&["node1", "node2"], &["through cargo run", "and with two dashes more"]);
    for node in [&mut node1, &mut node2] {
        node.type_line("/quit");
        assert!(node.wait().success());
    }
}

#[test]
fn a_person_types_into_node1_through_cargo_watch() {
    require_cargo_watch();
    binary("side-node");
    let data = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(data.path());
    let home = Home::new(&watcher.url());
    home.init("node1");
    home.init("node2");
    let mut node2 = home.run("node2");
    let mut command = cargo_in("side-node", &home, &watcher.url());
    command.args(["watch", "-x", "run -- run -- node1"]);
    let mut person = Terminal::start(on_a_terminal(&command));
    person.expect_within("node1 is ready in group ", COMPILING);
    person.type_line("typed through cargo watch");
    node2.expect("node1: typed through cargo watch");
    node2.type_line("seen");
    person.expect("node2: seen");
    home.converge(&["node1", "node2"], &["typed through cargo watch", "seen"]);
    assert!(person.is_in_line_mode(), "nobody restores a terminal under cargo watch");
    // Ctrl-C, as a person ends it.
    person.press("\x03");
    person.wait();
    side_tests::process::eventually("the node has ended", || home.status("node1")["pid"].is_null().then_some(()));
}

#[test]
fn cargo_watch_runs_the_watcher_from_side_watcher() {
    require_cargo_watch();
    binary("side-watcher");
    let home = Home::new("ws://127.0.0.1:1");
    let mut command = cargo_in("side-watcher", &home, "");
    command.env("SIDE_LISTEN", "127.0.0.1:0").args(["watch", "-x", "run"]);
    let mut person = Terminal::start(on_a_terminal(&command));
    let address = person.expect_within("side-watcher ready on ws://", COMPILING);
    let nodes = Home::new(&format!("ws://{}", address.trim_end_matches('/')));
    nodes.init("node1");
    nodes.init("node2");
    let mut node1 = nodes.run("node1");
    let mut node2 = nodes.run("node2");
    node1.type_line("over a watched watcher");
    node2.expect("node1: over a watched watcher");
    person.press("\x03");
    person.wait();
    node1.expect("no connection to the relay");
}
