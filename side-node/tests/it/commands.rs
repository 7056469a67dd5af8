//! The tree of commands as one: help with examples everywhere, errors in JSON everywhere, and no secret anywhere.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::CommandFactory as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use side_node::btc::seed::Seed;
use side_node::cli::Cli;

use crate::support::TestRoot;

const PROGRAM: &str = env!("CARGO_BIN_EXE_side-node");
/// How long a command may run before it is stopped: commands that end by themselves take seconds.
const LONGEST: Duration = Duration::from_secs(30);
/// An address of regtest: what the tests of BIP 173 have.
const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
const NO_ID: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// A command without commands below it: its words, and what it takes.
struct Leaf {
    words: Vec<String>,
    command: clap::Command,
}

fn leaves() -> Vec<Leaf> {
    fn walk(command: &clap::Command, words: &[String], leaves: &mut Vec<Leaf>) {
        for inner in command.get_subcommands() {
            let mut words = words.to_vec();
            words.push(inner.get_name().to_owned());
            if inner.has_subcommands() {
                walk(inner, &words, leaves);
            } else {
                leaves.push(Leaf { words, command: inner.clone() });
            }
        }
    }
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut leaves = Vec::new();
    walk(&program, &[], &mut leaves);
    leaves
}

impl Leaf {
    /// A command line with something for everything that is needed, about the node `node`.
    ///
    /// A new kind of argument needs a row here.
    fn line(&self, node: &str) -> Vec<String> {
        let mut line = self.words.clone();
        for arg in self.command.get_arguments() {
            let names = arg.get_value_names().unwrap_or_default();
            let is_node = names.first().is_some_and(|name| name.as_str() == "NODE");
            if !(arg.is_required_set() || (is_node && arg.is_positional())) {
                continue;
            }
            let id = arg.get_id().as_str();
            let value = match id {
                _ if is_node => node,
                "name" if self.words == ["group", "create"] => "team",
                "name" => node,
                "node" => node,
                "text" | "group" | "to" | "payload" => "nobody",
                "amount" if self.words == ["btc", "send"] => "1000",
                "amount" => "1000",
                "what" => "ask",
                "transaction" | "txid" | "id" | "swap" | "offer" | "change" => NO_ID,
                "address" => ADDRESS,
                "invitation" => "side://nonsense",
                "shell" => "bash",
                "file" | "folder" | "path" => "/nonexistent/file",
                other => panic!("{:?} takes {other:?}: give this test a value for it", self.words),
            };
            if let Some(long) = arg.get_long() {
                line.push(format!("--{long}"));
            }
            line.push(value.to_owned());
        }
        line
    }

    fn is(&self, words: &[&str]) -> bool {
        self.words == words
    }
}

/// Runs a command on a root, with nothing of the environment, and with `typed` on stdin.
fn run(test: &TestRoot, line: &[String], typed: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(line).env_clear().env("SIDE_HOME", test.root.path()).env("HOME", test.folder.path());
    // No command of these tests may leave this machine: nobody listens here.
    command.env("SIDE_BTC_NETWORK", "regtest").env("SIDE_BTC_ESPLORA", "http://127.0.0.1:9");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("side-node starts");
    // Whoever reads no line may have ended already.
    let _ = child.stdin.take().expect("a pipe").write_all(typed.as_bytes());
    // A command that goes on until somebody stops it is stopped.
    let pid = Pid::from_child(&child);
    let (ended, wait) = mpsc::channel::<()>();
    let stopper = thread::spawn(move || {
        if wait.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("side-node ends");
    drop(ended);
    stopper.join().expect("the stopper ends");
    output
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn every_command_has_help_with_an_example() {
    let test = TestRoot::new();
    for leaf in leaves() {
        let mut line = leaf.words.clone();
        line.push("--help".to_owned());
        let output = run(&test, &line, "");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{line:?}");
        let example = format!("side-node {}", leaf.words.join(" "));
        let after = text.split_once("Options:").map_or("", |(_, after)| after);
        assert!(after.contains(&example), "the help of {line:?} has no example {example:?}:\n{text}");
        for arg in leaf.command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            assert!(arg.get_help().is_some(), "{:?} of {line:?} has no help", arg.get_id());
        }
    }
}

#[test]
fn every_error_is_a_document_with_kind_message_and_hint_and_the_exit_code_of_its_kind() {
    let test = TestRoot::new();
    for leaf in leaves() {
        let mut line = leaf.line("nobody");
        // Commands without a node to get wrong get something else wrong.
        if leaf.is(&["init"]) {
            line = strings(&["init", "not a name"]);
        } else if leaf.is(&["completions"]) {
            line = strings(&["completions", "no-shell"]);
        } else if leaf.is(&["man"]) {
            line.extend(strings(&["--page", "nothing"]));
        } else if leaf.is(&["verify"]) {
            line.push("/nonexistent/file".to_owned());
        }
        line.push("--json".to_owned());
        let output = run(&test, &line, "");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr, "", "{line:?}");
        let document: Value =
            serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line:?}: {error}: {stdout}"));
        let error = &document["error"];
        let text = |field: &str| error[field].as_str().unwrap_or_else(|| panic!("{line:?} has no {field}: {stdout}"));
        let code = match text("kind") {
            "user" => 1,
            "usage" => 2,
            "remote" => 3,
            other => panic!("{line:?} is {other}: {stdout}"),
        };
        assert_eq!(output.status.code(), Some(code), "{line:?}: {stdout}");
        assert!(!text("message").is_empty() && !text("hint").is_empty(), "{stdout}");
        assert!(!text("message").contains('\n'), "{stdout}");
        // Nothing was made for a node that is not there.
        assert!(!test.root.path().join("nobody").exists(), "{line:?} made a folder");
    }
}

#[test]
fn wrong_usage_is_a_document_too() {
    let test = TestRoot::new();
    for line in [
        &["status", "--json"][..],
        &["--json", "statsu"],
        &["--json"],
        &["btc", "--json"],
        &["note", "a", "--frob", "--json"],
    ] {
        let output = run(&test, &strings(line), "");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&document["error"]["kind"], output.status.code()), (&"usage".into(), Some(2)), "{line:?}");
        assert!(output.stderr.is_empty(), "{line:?}");
    }
}

#[test]
fn no_command_prints_the_key_or_the_words_of_the_wallet() {
    let test = TestRoot::new();
    let made = run(&test, &strings(&["init", "node1"]), "");
    assert!(made.status.success(), "{made:?}");
    let home = test.root.node("node1");
    let seed = fs::read_to_string(home.key_file()).unwrap().trim().to_owned();
    let words = Seed::load(&home.seed_file(), home.keyring()).unwrap().words().to_string();
    let words: Vec<&str> = words.split(' ').collect();
    assert!(seed.len() == 64 && words.len() == 12);
    let check = |line: &[String], output: &Output| {
        for said in [&output.stdout, &output.stderr] {
            let said = String::from_utf8_lossy(said);
            assert!(!said.contains(&seed), "{line:?} prints the key's seed");
            // Two words beside each other are no accident.
            let spoken: Vec<&str> =
                said.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty()).collect();
            let leaked = spoken.windows(2).any(|pair| words.windows(2).any(|secret| pair == secret));
            assert!(!leaked, "{line:?} prints words of the wallet");
        }
    };
    check(&strings(&["init", "node1"]), &made);
    for leaf in leaves() {
        // A node of its own: the one above stays as it is.
        let node = if leaf.is(&["init"]) { "node2" } else { "node1" };
        let typed = if leaf.is(&["run"]) { "hello\n/status\n/quit\n" } else { "" };
        for flags in [&["-vvv"][..], &["--json"]] {
            let mut line = leaf.line(node);
            if leaf.is(&["verify"]) {
                line.push("/nonexistent/file".to_owned());
            }
            line.extend(strings(flags));
            check(&line, &run(&test, &line, typed));
        }
    }
    // The one command that prints them does so only if asked, and the test would see it.
    let line = strings(&["btc", "export", "node1", "--words"]);
    let output = run(&test, &line, "");
    assert!(String::from_utf8_lossy(&output.stdout).contains(&words.join(" ")));
}

#[test]
fn whoever_stops_listening_is_no_error() {
    let test = TestRoot::new();
    assert!(run(&test, &strings(&["init", "node1"]), "").status.success());
    for line in [
        "--help",
        "man",
        "completions bash",
        "history node1",
        "status node1 --json",
        "config show node1",
        "doctor node1",
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(line.split(' ')).env_clear().env("SIDE_HOME", test.root.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{line}");
    }
}

#[test]
fn bash_loads_the_completions() {
    let test = TestRoot::new();
    let script = test.folder.path().join("side-node.bash");
    fs::write(&script, run(&test, &strings(&["completions", "bash"]), "").stdout).unwrap();
    let ask = format!(
        "source {}; complete -p side-node; complete=$(complete -p side-node); complete=${{complete#*-F }}; \
         COMP_WORDS=(side-node btc s); COMP_CWORD=2; ${{complete%% *}} side-node s btc; echo \"${{COMPREPLY[*]}}\"",
        script.display()
    );
    let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("-F _side"), "{output:?}");
    assert!(text.lines().last().unwrap().split(' ').any(|word| word == "send"), "{text}");
    // And the nodes of this machine, where a name may stand.
    for name in ["node1", "node2", "other"] {
        assert!(run(&test, &strings(&["init", name]), "").status.success());
    }
    let complete = |words: &str, at: usize| {
        let ask = format!(
            "source {}; SIDE_HOME={}; COMP_WORDS=({words}); COMP_CWORD={at}; set -- ${{COMP_WORDS[@]}}; \
             _side__node_and_names side-node \"${{COMP_WORDS[at]}}\" \"$2\"; echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            test.root.path().display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("side-node status no", 2), "node1 node2");
    assert_eq!(complete("side-node htlc list o", 3), "other");
    assert_eq!(complete("side-node status nobody", 2), "");
    assert!(!complete("side-node --home no", 2).contains("node1"), "a folder is asked for");
}

#[test]
fn the_manual_is_written_to_a_folder() {
    let test = TestRoot::new();
    let folder = test.folder.path().join("man/man1");
    let output = run(&test, &strings(&["man", folder.to_str().unwrap(), "--json"]), "");
    let written: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(written["pages"].as_array().unwrap().len(), fs::read_dir(&folder).unwrap().count());
    for leaf in leaves() {
        assert!(folder.join(format!("side-node-{}.1", leaf.words.join("-"))).exists(), "{:?}", leaf.words);
    }
}

#[test]
fn a_node_need_not_be_named_where_there_is_one() {
    let test = TestRoot::new();
    let path = || run(&test, &strings(&["config", "path", "--json"]), "");
    assert_eq!(path().status.code(), Some(1));
    assert!(run(&test, &strings(&["init", "node1"]), "").status.success());
    let found: Value = serde_json::from_slice(&path().stdout).unwrap();
    assert_eq!((&found["node"], &found["exists"]), (&"node1".into(), &true.into()));
    assert!(run(&test, &strings(&["init", "node2"]), "").status.success());
    let output = path();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("one of: node1, node2"));
}
