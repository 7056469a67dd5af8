//! The seed's commands on one machine: nodes of one root find each other by themselves.

use side_tests::mesh::{direct_links, lonely};
use side_tests::process::{Process, eventually};

#[test]
fn four_inits_and_four_runs_need_neither_a_watcher_nor_a_flag() {
    let home = lonely();
    let names = ["node1", "node2", "node3", "node4"];
    names.iter().for_each(|name| home.init(name));
    let mut nodes: Vec<Process> = names.iter().map(|name| home.run(name)).collect();
    let mut notes = Vec::new();
    for (name, node) in names.iter().zip(&mut nodes) {
        for number in 0..5 {
            let note = format!("{number} from {name}");
            assert!(node.type_line(&note));
            notes.push(note);
        }
    }
    // Everybody's console shows what the others typed.
    for node in &mut nodes {
        for name in names {
            let text = format!("{name}: 4 from {name}");
            eventually(&text, || node.stdout().iter().any(|line| line.contains(&text)).then_some(()));
        }
    }
    let notes: Vec<&str> = notes.iter().map(String::as_str).collect();
    home.converge(&names, &notes);
    for name in names {
        let status = eventually("links to all others", || {
            let status = home.status(name);
            (direct_links(&status) == 3).then_some(status)
        });
        assert_eq!(status["relay"]["connected"], false, "{status}");
        let latency = eventually("a latency", || {
            let peers = home.status(name)["peers"].as_array()?.clone();
            peers
                .iter()
                .filter(|peer| peer["connected"] == true)
                .map(|peer| peer["round_trip_ms"].as_f64())
                .collect::<Option<Vec<_>>>()
        });
        assert!(latency.len() == 3 && latency.iter().all(|ms| *ms >= 0.0), "{latency:?}");
    }
    // A person sees how each is reached.
    nodes[0].type_line("/peers");
    nodes[0].expect("direct");
    for node in &mut nodes {
        assert!(node.stop().success(), "{}", node.report());
    }
}

#[test]
fn a_node_that_is_made_while_others_run_is_found() {
    let home = lonely();
    home.init("node1");
    let mut first = home.run("node1");
    first.type_line("before");
    first.expect("node1: before");
    home.init("node2");
    let mut second = home.run("node2");
    second.type_line("later");
    home.converge(&["node1", "node2"], &["before", "later"]);
    // Who was away comes back.
    second.kill_9();
    first.type_line("meanwhile");
    let _second = home.run("node2");
    home.converge(&["node1", "node2"], &["before", "later", "meanwhile"]);
}

#[test]
fn what_is_typed_before_quitting_reaches_the_others() {
    let home = lonely();
    home.init("node1");
    home.init("node2");
    let mut first = home.run("node1");
    for round in 0..3 {
        let mut second = home.start("node2");
        second.type_line(&format!("round {round}"));
        second.type_line("/quit");
        assert!(second.wait().success(), "{}", second.report());
        first.expect(&format!("node2: round {round}"));
    }
}

#[test]
fn a_taken_port_is_told_and_another_one_registered() {
    let home = lonely();
    home.init("node1");
    home.init("node2");
    let port = |name: &str| {
        let text = std::fs::read_to_string(home.path().join("registry.json")).expect("a registry");
        let registry: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        u16::try_from(registry["nodes"][name]["port"].as_u64().expect("a port")).expect("a port")
    };
    let before = port("node1");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", before)).expect("init left it free");
    let mut first = home.run("node1");
    first.expect(&format!("port {before} is taken"));
    assert_ne!(port("node1"), before);
    let mut second = home.run("node2");
    second.type_line("found nevertheless");
    home.converge(&["node1", "node2"], &["found nevertheless"]);
}
