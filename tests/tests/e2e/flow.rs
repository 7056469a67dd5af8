//! What a person does on the first day.

use side_tests::process::{Process, eventually};
use side_tests::pty::{CommandBuilder, Terminal};
use side_tests::world::{Home, Watcher};

const NODES: [&str; 4] = ["node1", "node2", "node3", "node4"];

/// A relay in a temporary folder.
fn watcher() -> (tempfile::TempDir, Watcher) {
    let data = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(data.path());
    (data, watcher)
}

/// `run NAME` on a terminal.
fn at_a_terminal(home: &Home, name: &str) -> Terminal {
    let template = home.command();
    let mut command = CommandBuilder::new(template.get_program());
    command.args(["run", name]);
    for (variable, value) in template.get_envs() {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        }
    }
    command.env("TERM", "xterm");
    Terminal::start(command)
}

#[test]
fn a_watcher_four_inits_four_runs_and_typing_in_each_end_in_four_equal_digests() {
    let (_data, watcher) = watcher();
    let home = Home::new(&watcher.url());
    for name in NODES {
        home.init(name);
    }
    let mut nodes: Vec<Process> = NODES.map(|name| home.run(name)).into();
    let mut notes = Vec::new();
    for round in ["good morning", "see you on Tuesday"] {
        for (name, node) in NODES.iter().zip(&mut nodes) {
            let note = format!("{round} from {name}");
            assert!(node.type_line(&note));
            // A receipt: it is signed and on disk.
            let receipt = node.expect(&note);
            assert!(receipt.ends_with(']'), "no receipt: {receipt}");
            notes.push(note);
        }
    }
    let expected: Vec<&str> = notes.iter().map(String::as_str).collect();
    home.converge(&NODES, &expected);
    // Each console has shown each line of the others, with the name of who wrote it.
    for (name, node) in NODES.iter().zip(&mut nodes) {
        for other in NODES.iter().filter(|other| *other != name) {
            let line = format!("{other}: see you on Tuesday from {other}");
            eventually(&line, || node.stdout().contains(&line).then_some(()));
        }
    }
    // The nodes write as well, until all of them vote.
    for name in NODES {
        eventually("four voters", || (home.status(name)["voters"].as_array()?.len() == NODES.len()).then_some(()));
    }
    let digest = home.converge(&NODES, &expected);
    // The same history reads the same while nobody runs.
    for node in &mut nodes {
        assert!(node.stop().success(), "{}", node.report());
    }
    for name in NODES {
        let history = home.history(name);
        assert_eq!(history.digest(), digest);
        assert_eq!(history.notes().len(), notes.len(), "nothing twice");
        for field in ["group", "heads_digest", "heads"] {
            assert!(!history.0[field].is_null(), "{field}");
        }
        for field in ["id", "author", "name", "seq", "time_ms", "kind", "body"] {
            assert!(!history.0["entries"][0][field].is_null(), "{field}");
        }
    }
}

#[test]
fn a_node_that_was_off_catches_up() {
    let (_data, mut watcher) = watcher();
    let home = Home::new(&watcher.url());
    for name in ["node1", "node2"] {
        home.init(name);
    }
    let mut node1 = home.run("node1");
    let mut node2 = home.run("node2");
    node1.type_line("while both are here");
    home.converge(&["node1", "node2"], &["while both are here"]);
    assert!(node2.stop().success());
    // What is written without node2, and what node2 writes without anybody, meet when it is back; the relay was restarted meanwhile.
    node1.type_line("while node2 is off");
    node1.expect("while node2 is off");
    home.ok(&["note", "node2", "written while stopped"]);
    assert!(watcher.process.stop().success());
    watcher.start_again();
    let _node2 = home.run("node2");
    home.converge(&["node1", "node2"], &["while both are here", "while node2 is off", "written while stopped"]);
    // A third that comes late gets everything from the relay alone.
    assert!(node1.stop().success());
    home.init("node3");
    let _node3 = home.run("node3");
    home.converge(&["node2", "node3"], &["while both are here", "while node2 is off", "written while stopped"]);
}

#[test]
fn another_root_joins_by_invitation() {
    let (_data, watcher) = watcher();
    let home = Home::new(&watcher.url());
    home.init("node1");
    let mut node1 = home.run("node1");
    let invitation = home.ok(&["invite", "node1"]);
    let other = Home::new(&watcher.url());
    other.ok(&["init", "visitor", "--join", invitation.trim()]);
    let mut visitor = other.run("visitor");
    node1.type_line("welcome");
    visitor.expect("welcome");
    visitor.type_line("thank you");
    node1.expect("thank you");
    // The nodes write as well, until both vote: what one has the other may not have yet.
    eventually("equal digests", || {
        let digest = home.converge(&["node1"], &["welcome", "thank you"]);
        (other.converge(&["visitor"], &["welcome", "thank you"]) == digest).then_some(())
    });
}

#[test]
fn a_person_types_into_node1_at_a_terminal() {
    let (_data, watcher) = watcher();
    let home = Home::new(&watcher.url());
    home.init("node1");
    home.init("node2");
    let mut node2 = home.run("node2");
    let mut person = at_a_terminal(&home, "node1");
    person.expect("node1 is ready in group ");
    person.type_line("typed by a person");
    node2.expect("node1: typed by a person");
    node2.type_line("seen");
    person.expect("node2: seen");
    home.converge(&["node1", "node2"], &["typed by a person", "seen"]);
    person.type_line("/quit");
    assert!(person.wait().success());
    assert!(person.is_in_line_mode(), "the terminal is as it was");
}

#[test]
fn an_arriving_message_does_not_tear_the_line_that_is_typed() {
    let (_data, watcher) = watcher();
    let home = Home::new(&watcher.url());
    home.init("node1");
    home.init("node2");
    let mut node2 = home.run("node2");
    let mut person = at_a_terminal(&home, "node1");
    person.expect("node1 is ready in group ");
    person.type_line("first");
    node2.expect("node1: first");
    person.press("half of a ");
    node2.type_line("an interruption");
    person.expect("node2: an interruption");
    person.type_line("line");
    node2.expect("node1: half of a line");
}

#[test]
fn sigterm_gives_the_terminal_back() {
    let (_data, watcher) = watcher();
    let home = Home::new(&watcher.url());
    home.init("node1");
    let mut person = at_a_terminal(&home, "node1");
    person.expect("node1 is ready in group ");
    person.type_line("before");
    person.expect("node1: before");
    eventually("the line editor has the terminal", || (!person.is_in_line_mode()).then_some(()));
    let pid = home.status("node1")["pid"].as_i64().expect("it runs");
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a number")).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    assert!(person.wait().success());
    assert!(person.is_in_line_mode());
    assert_eq!(home.history("node1").notes(), ["before"]);
}

/// Stands in for a node that stops after it has taken a request and before it has answered it.
fn ends_instead_of_answering(home: &Home, name: &str) -> std::thread::JoinHandle<()> {
    let path = home.node(name).join("control.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        let (stream, _) = socket.accept().expect("somebody asks");
        let mut request = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&stream), &mut request).expect("a request");
        std::fs::remove_file(&path).expect("the socket is there");
    })
}

#[test]
fn who_asks_a_node_that_is_ending_is_answered_from_its_folder() {
    let home = Home::new("ws://127.0.0.1:1");
    home.init("node1");
    let ending = ends_instead_of_answering(&home, "node1");
    assert!(home.status("node1")["pid"].is_null(), "the stopped node's folder answers");
    ending.join().expect("it was asked");
}

#[test]
fn a_note_that_a_node_took_and_did_not_answer_is_not_repeated() {
    let home = Home::new("ws://127.0.0.1:1");
    home.init("node1");
    let ending = ends_instead_of_answering(&home, "node1");
    let error = home.fails(3, &["note", "node1", "once"]);
    assert!(error.contains("it may have been written all the same"), "{error}");
    ending.join().expect("it was asked");
    assert!(home.history("node1").notes().is_empty());
}

#[test]
fn without_a_relay_a_node_says_so_and_keeps_what_is_typed() {
    // A port that was free a moment ago: nobody listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let home = Home::new(&format!("ws://{gone}"));
    home.init("node1");
    let mut node = home.run("node1");
    node.expect("no connection to the relay");
    node.type_line("alone");
    node.expect("node1: alone");
    assert!(node.stop().success());
    assert_eq!(home.history("node1").notes(), ["alone"]);
}
