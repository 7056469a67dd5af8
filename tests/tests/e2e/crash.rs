//! kill -9 in the middle of writes: what was acknowledged is there afterwards, and everybody shows the same.
//!
//! Each round three members write as fast as they can: two nodes through their consoles, and one that speaks to the relay itself and so hears
//! what the *relay* acknowledges. After some receipts somebody is killed. Which lines were acknowledged is what the processes had said by then.

use std::collections::BTreeSet;

use side_tests::attacker::{Attacker, key};
use side_tests::process::{Process, eventually};
use side_tests::world::{Home, Watcher, receipts};

/// Lines that each member writes in a round.
const LINES: usize = 12;
const NODES: [&str; 2] = ["node1", "node2"];

struct Group {
    watcher: Watcher,
    home: Home,
    nodes: Vec<Process>,
    carol: Attacker,
    /// Everything that anybody was told is on disk.
    acknowledged: BTreeSet<String>,
    /// What carol has sent in frames that the relay has not acknowledged on this connection.
    unacknowledged: Vec<(u64, String)>,
    _data: tempfile::TempDir,
}

impl Group {
    fn found() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let watcher = Watcher::start(data.path());
        let home = Home::new(&watcher.url());
        for name in NODES {
            home.init(name);
        }
        let nodes = NODES.map(|name| home.run(name)).into();
        let carol = Attacker::join(&watcher.url(), &home.genesis("node1"), key(3));
        let (acknowledged, unacknowledged) = Default::default();
        Self { watcher, home, nodes, carol, acknowledged, unacknowledged, _data: data }
    }

    /// Counts what the nodes' consoles have shown as written.
    fn collect_receipts(&mut self) -> usize {
        for (name, node) in NODES.iter().zip(&self.nodes) {
            self.acknowledged.extend(receipts(name, node));
        }
        self.acknowledged.len()
    }

    fn collect_acks(&mut self) {
        let acked = self.carol.acknowledged;
        let (done, open) = std::mem::take(&mut self.unacknowledged).into_iter().partition(|(frame, _)| *frame <= acked);
        self.unacknowledged = open;
        let done: Vec<(u64, String)> = done;
        self.acknowledged.extend(done.into_iter().map(|(_, text)| text));
    }

    /// Everybody writes; after `receipts` of the nodes' lines and half of carol's acknowledgements the victims are killed.
    fn write_and_kill(&mut self, round: usize, receipts: usize) {
        let before = self.collect_receipts();
        for line in 0..LINES {
            for (name, node) in NODES.iter().zip(&mut self.nodes) {
                assert!(node.type_line(&format!("{name} round {round} line {line}")), "{}", node.report());
            }
            let text = format!("carol round {round} line {line}");
            let change = self.carol.note(&text);
            self.carol.send_changes([&change]);
            self.unacknowledged.push((self.carol.sent(), text));
        }
        eventually("receipts come", || (self.collect_receipts() >= before + receipts).then_some(()));
        let enough = self.carol.sent() - (LINES / 2) as u64;
        self.carol.until("the relay acknowledges", |carol| carol.acknowledged >= enough);
        self.collect_acks();
        let (node1, node2, relay) = match round % 4 {
            0 => (true, false, false),
            1 => (false, true, false),
            2 => (false, false, true),
            _ => (true, true, true),
        };
        for (node, _) in self.nodes.iter_mut().zip([node1, node2]).filter(|(_, victim)| *victim) {
            node.kill_9();
        }
        if relay {
            self.watcher.process.kill_9();
            // What it had acknowledged before it died is still on its way.
            while self.carol.take().is_ok() {}
            self.collect_acks();
        }
        for (node, _) in self.nodes.iter_mut().zip([node1, node2]).filter(|(_, victim)| *victim) {
            node.hear_out();
        }
        self.collect_receipts();
        if relay {
            self.restart_relay(node1 && node2);
        }
        for (at, victim) in [node1, node2].into_iter().enumerate() {
            if victim {
                self.nodes[at] = self.home.run(NODES[at]);
            }
        }
    }

    /// Starts the relay again. If `alone`, nobody else is there who could bring it what it should have: it must hold by itself what it had
    /// acknowledged to carol.
    fn restart_relay(&mut self, alone: bool) {
        self.watcher.start_again();
        let genesis = self.home.genesis("node1");
        if alone {
            let reader = Attacker::join(&self.watcher.url(), &genesis, key(4));
            let view = serde_json::to_string(&reader.replica.view()).expect("JSON");
            let lost: Vec<&String> = self
                .acknowledged
                .iter()
                .filter(|text| text.starts_with("carol") && !view.contains(&format!("\"{text}\"")))
                .collect();
            assert!(lost.is_empty(), "the relay lost what it had acknowledged: {lost:?}");
        }
        let replica = std::mem::replace(
            &mut self.carol.replica,
            bft_json_crdt::replica::Replica::new(genesis.id().document(), Default::default()),
        );
        self.unacknowledged.clear();
        self.carol = Attacker::resume(&self.watcher.url(), &genesis, key(3), replica);
    }

    /// Nothing acknowledged is missing anywhere, and the digests are equal.
    fn check(&mut self) {
        // Carol answers, and sends what the relay lacks, only while somebody reads.
        let sent = self.carol.sent();
        self.carol.until("the relay has all of carol's", |carol| carol.acknowledged >= sent);
        self.collect_acks();
        self.collect_receipts();
        let acknowledged: Vec<&str> = self.acknowledged.iter().map(String::as_str).collect();
        // More than once, since the voters write by themselves as well.
        let (home, carol) = (&self.home, &mut self.carol);
        eventually("carol shows the same", || {
            let digest = home.converge(&NODES, &acknowledged);
            let len = home.status("node1")["changes"].as_u64().expect("a number") as usize;
            carol.until("carol has everything", |carol| carol.replica.len() >= len);
            (hex::encode(carol.replica.digest()) == digest).then_some(())
        });
        for name in NODES {
            assert_eq!(self.home.status(name)["equivocators"], serde_json::json!([]), "a crash makes nobody a liar");
        }
    }
}

fn rounds(count: usize) {
    let mut group = Group::found();
    for round in 0..count {
        // Sooner and later in the stream of writes.
        group.write_and_kill(round, 1 + (round * 7) % (2 * LINES - 2));
        group.check();
    }
    println!("{count} rounds, {} acknowledged lines", group.acknowledged.len());
}

#[test]
fn kill_9_in_the_middle_of_writes_loses_nothing_acknowledged() {
    rounds(10);
}

#[test]
#[ignore = "slow: 100 rounds of kill -9, some minutes"]
fn kill_9_a_hundred_times_loses_nothing_acknowledged() {
    rounds(100);
}
