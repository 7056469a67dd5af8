//! A console gets the lines that a person types, in every way of starting it, and never takes lines that were meant for
//! somebody else. See docs/adr/0001-console-under-cargo-watch.md.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use side_tests::pty::{CommandBuilder, Terminal};

const PROBE: &str = env!("CARGO_BIN_EXE_console-probe");
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";

/// `sh` with job control that survives Ctrl-C, as a person's shell does, running `script`, in which `$PROBE` is the probe.
fn shell(script: &str) -> CommandBuilder {
    let mut command = CommandBuilder::new("sh");
    command.args(["-c", &format!("set -m; trap : INT; {script}")]);
    command.env("PROBE", PROBE);
    command.env("TERM", "xterm");
    command
}

/// A folder to watch, and a shell that runs the probe under cargo-watch and then does `afterwards`.
fn watched(afterwards: &str) -> (tempfile::TempDir, Terminal) {
    let found = Command::new("cargo-watch").arg("--version").stdout(Stdio::null()).status();
    assert!(found.is_ok(), "this test types through cargo watch: cargo install --locked cargo-watch");
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("source"), "1").expect("a file to change");
    let mut command = shell(&format!("cargo-watch watch -w \"$WATCHED\" -s '\"$PROBE\"'; {afterwards}"));
    command.env("WATCHED", folder.path());
    command.cwd(env!("CARGO_MANIFEST_DIR"));
    (folder, Terminal::start(command))
}

#[test]
fn in_the_foreground_a_line_editor_may_take_over() {
    let mut terminal = Terminal::start(shell("\"$PROBE\""));
    terminal.expect("ready Editor");
    terminal.type_line("hello");
    terminal.expect("line <hello>");
    terminal.press(CTRL_D);
    terminal.expect("end Typed");
}

#[test]
fn in_the_background_it_neither_stops_nor_takes_the_shells_lines() {
    let script = "\"$PROBE\" & read first; echo \"shell got <$first>\"; jobs; fg";
    let mut terminal = Terminal::start(shell(script));
    terminal.expect("ready Lines");
    terminal.type_line("for the shell");
    terminal.expect("shell got <for the shell>");
    terminal.expect("Running");
    terminal.type_line("for the node");
    terminal.expect("line <for the node>");
}

#[test]
fn under_cargo_watch_it_gets_typed_lines_before_and_after_a_restart() {
    let (folder, mut terminal) = watched("while :; do echo \"shell is back\"; sleep 0.1; done");
    let first = terminal.expect("ready Lines as ");
    terminal.type_line("before");
    terminal.expect("line <before>");
    assert!(terminal.is_in_line_mode(), "nobody restores a terminal under cargo watch");

    fs::write(folder.path().join("source"), "2").expect("the file changes");
    let second = terminal.expect("ready Lines as ");
    assert_ne!(first, second);
    terminal.type_line("after");
    terminal.expect("line <after>");

    // Ctrl-C also throws away what is on its way to the screen, so the shell has to say more than once that it is back.
    terminal.press(CTRL_C);
    terminal.expect("shell is back");
    assert!(terminal.is_in_line_mode());
}

#[test]
fn while_cargo_watch_is_suspended_lines_are_the_shells() {
    let script = "echo suspended; read line; echo \"shell got <$line>\"; fg";
    let (_folder, mut terminal) = watched(script);
    terminal.expect("ready Lines");
    terminal.press(CTRL_Z);
    terminal.expect("suspended");
    terminal.type_line("for the shell");
    terminal.expect("shell got <for the shell>");
    terminal.type_line("for the node");
    terminal.expect("line <for the node>");
    assert!(!terminal.shown().contains("line <for the shell>"));
}

#[test]
fn once_cargo_watch_was_killed_it_ends_and_lines_are_the_shells() {
    let script = "read line; echo \"shell got <$line>\"; read line; echo \"shell got <$line>\"";
    let (_folder, mut terminal) = watched(script);
    let probe = terminal.expect("ready Lines as ");
    let stat = fs::read_to_string(Path::new("/proc").join(&probe).join("stat")).expect("the probe runs");
    // Fields of proc(5) after the name: state, parent, group, session. Its session's first process is cargo-watch's child.
    let session = stat.rsplit_once(") ").expect("a record").1.split(' ').nth(3).expect("a session").to_owned();
    let stat = fs::read_to_string(Path::new("/proc").join(session).join("stat")).expect("the session's leader runs");
    let watcher = stat.rsplit_once(") ").expect("a record").1.split(' ').nth(1).expect("a parent").to_owned();
    let watcher = rustix::process::Pid::from_raw(watcher.parse().expect("a number")).expect("a process");
    rustix::process::kill_process(watcher, rustix::process::Signal::KILL).expect("cargo-watch is ours");

    terminal.expect("end OwnerGone");
    terminal.type_line("for the shell");
    terminal.expect("shell got <for the shell>");
    terminal.type_line("again");
    terminal.expect("shell got <again>");
}
