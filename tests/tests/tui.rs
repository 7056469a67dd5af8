//! `side-node tui` with a person at a terminal: pages turn, what is written elsewhere appears, and the terminal is given back.

use rustix::process::{Pid, Signal, kill_process};
use side_tests::mesh::lonely;
use side_tests::process::binary;
use side_tests::pty::{CommandBuilder, Terminal};
use side_tests::world::Home;

/// What leaves the other screen, and what enters it.
const LEAVE: &str = "\u{1b}[?1049l";
const ENTER: &str = "\u{1b}[?1049h";

fn open(home: &Home) -> Terminal {
    let mut command = CommandBuilder::new(binary("side-node"));
    command.args(["tui", "node1"]);
    command.env_clear();
    command.env("SIDE_HOME", home.path());
    command.env("TERM", "xterm-256color");
    Terminal::start(command)
}

#[test]
fn a_person_turns_pages_and_sees_what_others_write() {
    let home = lonely();
    home.init("node1");
    let mut node = home.run("node1");
    let mut terminal = open(&home);
    terminal.see(ENTER);
    terminal.see("pending");
    terminal.press("2");
    terminal.see("sealed");
    home.ok(&["note", "node1", "unmistakable"]);
    terminal.see("unmistakable");
    terminal.press("3");
    terminal.see("height");
    terminal.press("\r");
    terminal.see("state");
    terminal.press("\u{1b}[Z");
    terminal.press("4");
    terminal.see("1000000");
    terminal.resize(40, 12);
    terminal.press("5");
    terminal.see("members");
    // More room is used at once, without a key: narrow terminals tell the other pages by number alone.
    terminal.resize(100, 30);
    terminal.see("1 Overview");
    terminal.press("?");
    terminal.see("quit");
    terminal.press("6");
    terminal.press("6");
    terminal.see("swaps");
    // A node that goes away is told, and one that comes back is shown again.
    assert!(node.stop().success());
    terminal.see("old");
    let _node = home.run("node1");
    terminal.press("1");
    terminal.see("pending");
    terminal.press("q");
    terminal.see(LEAVE);
    assert!(terminal.wait().success());
    assert!(terminal.is_in_line_mode());
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let home = lonely();
    home.init("node1");
    let _node = home.run("node1");
    let mut terminal = open(&home);
    terminal.see("pending");
    assert!(!terminal.is_in_line_mode());
    kill_process(Pid::from_raw(terminal.pid()).expect("a number"), Signal::TERM).expect("it runs");
    terminal.see(LEAVE);
    assert!(terminal.wait().success());
    assert!(terminal.is_in_line_mode());
}

#[test]
fn without_a_running_node_it_says_what_to_do() {
    let home = lonely();
    home.init("node1");
    let mut terminal = open(&home);
    terminal.expect("does not run");
    terminal.expect("side-node run node1");
    assert!(!terminal.wait().success());
    assert!(!terminal.shown().contains(ENTER));
    // And without a terminal, too.
    assert!(home.fails(2, &["tui", "node1"]).contains("side-node status node1 --json"));
}
