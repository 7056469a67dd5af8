//! Lines that are cut, and a leader that is gone.

use side_tests::mesh::{Mesh, direct_links, lonely};
use side_tests::process::{Process, eventually};

#[test]
fn two_cut_from_two_go_on_and_agree_when_the_lines_are_back() {
    let mut mesh = Mesh::start(4);
    for at in 0..4 {
        mesh.nodes[at].say(&format!("before from {at}"));
    }
    let before = ["before from 0", "before from 1", "before from 2", "before from 3"];
    mesh.converge(&[0, 1, 2, 3], &before);
    mesh.cut(&[0, 1]);
    for at in 0..4 {
        eventually("only one link is left", || (direct_links(&mesh.nodes[at].status()) == 1).then_some(()));
    }
    for at in 0..4 {
        mesh.nodes[at].say(&format!("meanwhile from {at}"));
    }
    let left = mesh.converge(&[0, 1], &["meanwhile from 0", "meanwhile from 1"]);
    let right = mesh.converge(&[2, 3], &["meanwhile from 2", "meanwhile from 3"]);
    assert_ne!(left, right);
    let notes = |at: usize| mesh.nodes[at].home.history(&mesh.nodes[at].name);
    assert!(!notes(0).notes().contains(&"meanwhile from 2") && !notes(3).notes().contains(&"meanwhile from 0"));
    mesh.heal(&[0, 1]);
    let all = ["meanwhile from 0", "meanwhile from 1", "meanwhile from 2", "meanwhile from 3"];
    mesh.converge(&[0, 1, 2, 3], &all);
    mesh.until_linked(3);
    for node in &mut mesh.nodes {
        assert!(node.process.as_mut().is_some_and(Process::runs));
    }
}

#[test]
fn the_leader_is_killed_and_the_voters_choose_another() {
    let home = lonely();
    let names = ["node1", "node2", "node3", "node4"];
    names.iter().for_each(|name| home.init(name));
    let mut nodes: Vec<Process> = names.iter().map(|name| home.run(name)).collect();
    for (name, node) in names.iter().zip(&mut nodes) {
        node.type_line(&format!("hello from {name}"));
    }
    eventually("four voters", || {
        names
            .iter()
            .all(|name| home.status(name)["voters"].as_array().is_some_and(|voters| voters.len() == 4))
            .then_some(())
    });
    nodes[0].kill_9();
    let before = home.status("node2")["height"].as_u64().expect("a height");
    for node in &mut nodes[1..] {
        node.type_line("/vote leader node2");
    }
    eventually("node2 seals", || {
        names[1..].iter().all(|name| home.status(name)["sealers"][0]["name"] == "node2").then_some(())
    });
    nodes[2].type_line("after the vote");
    eventually("blocks go on, and all have them", || {
        let statuses: Vec<_> = names[1..].iter().map(|name| home.status(name)).collect();
        let tip = |at: usize| {
            (statuses[at]["height"].as_u64(), statuses[at]["block"].clone(), statuses[at]["state_root"].clone())
        };
        let grown = statuses.iter().all(|status| status["height"].as_u64() > Some(before) && status["pending"] == 0);
        (grown && tip(0) == tip(1) && tip(1) == tip(2)).then_some(())
    });
    home.converge(&names[1..], &["after the vote"]);
    // The old leader comes back and follows.
    nodes[0] = home.run("node1");
    home.converge(&names, &["after the vote"]);
    eventually("node1 has the new leader", || (home.status("node1")["sealers"][0]["name"] == "node2").then_some(()));
}
