//! Groups made up for tests and for looking at the page without a node.

use serde_json::json;

use crate::daemon::glance::{Cut, GLANCE_VERSION, Glance, GlanceBlock, GlanceSwap, Graph, GraphChange, Lane};
use crate::daemon::view::{
    AccountLine, Balances, BlockLine, Document, Equivocator, Line, LinkStatus, Member, Peers, RelayStatus, Stage,
    Status, Voter, Who,
};

const START: u64 = 1_795_000_000_000;

fn hex(word: &str) -> String {
    hex::encode(bft_json_crdt::hash::hash("side/node/sample", word.as_bytes()))
}

/// The key of a member of this name.
fn key(name: &str) -> String {
    let seed = bft_json_crdt::hash::hash("side/node/sample", name.as_bytes());
    bft_json_crdt::identity::Keypair::from_seed(&seed).author().to_string()
}

fn who(name: &str) -> Who {
    Who { key: key(name), name: Some(name.to_owned()) }
}

/// A change of the author in this lane.
struct Written(usize, u64, &'static [usize], Option<u64>, &'static str, &'static str);

fn change(at: usize, written: &Written) -> GraphChange {
    let Written(lane, seq, parents, height, kind, summary) = *written;
    GraphChange {
        id: hex(&format!("change {at}")),
        lane,
        seq,
        time_ms: START + at as u64 * 4_000,
        parents: parents.to_vec(),
        parents_not_shown: u64::from(at == 0),
        head: false,
        forked: false,
        kinds: vec![kind.to_owned()],
        summary: summary.to_owned(),
        status: if height.is_some() { Stage::Sealed } else { Stage::Pending },
        height,
    }
}

/// A group in which something is going on: four members, one of whom has forked its chain, a payment that was refused, and changes that wait.
pub(crate) fn lively() -> Glance {
    let names = ["bakery", "dairy", "market", "mill"];
    let written = [
        Written(0, 1, &[], Some(1), "name", "is called bakery now"),
        Written(1, 1, &[0], Some(1), "name", "is called dairy now"),
        Written(3, 1, &[0], Some(1), "name", "is called mill now"),
        Written(2, 1, &[1, 2], Some(1), "name", "is called market now"),
        Written(0, 2, &[0, 3], Some(2), "note", "good morning from the bakery"),
        Written(3, 2, &[2, 3], Some(2), "note", "the mill delivers forty sacks on Tuesday"),
        Written(1, 2, &[1, 4, 5], Some(2), "transfer", "sends 25 to mill"),
        Written(2, 2, &[3], Some(3), "note", "the market opens at seven"),
        Written(2, 2, &[3], Some(3), "note", "the market opens at eight"),
        Written(0, 3, &[4, 6], Some(3), "vote.sealers", "votes for mill as the sealer, in epoch 1"),
        Written(3, 3, &[5, 6], Some(3), "transfer", "sends 9,000 to dairy"),
        Written(1, 3, &[6, 7, 8, 9], Some(4), "swap.offer", "offers 1,200 sats against 40"),
        Written(0, 4, &[9, 11], None, "note", "then we bake on Wednesday"),
        Written(3, 4, &[10, 11], None, "note", "and the flour is with you on Tuesday evening, all forty sacks of it"),
        Written(1, 4, &[11], None, "transfer", "sends 3 to bakery"),
    ];
    let mut changes: Vec<GraphChange> = written.iter().enumerate().map(|(at, one)| change(at, one)).collect();
    for fork in [7, 8] {
        changes[fork].forked = true;
    }
    for head in [12, 13, 14] {
        changes[head].head = true;
    }
    changes[10].status = Stage::Rejected;
    let lane = |(at, name): (usize, &&str)| Lane { who: who(name), this_node: at == 0, equivocator: at == 2 };
    let graph = Graph {
        lanes: names.iter().enumerate().map(lane).collect(),
        changes,
        total: 15,
        cuts: vec![
            Cut { height: 1, heads: vec![3] },
            Cut { height: 2, heads: vec![6] },
            Cut { height: 3, heads: vec![7, 8, 9, 10] },
            Cut { height: 4, heads: vec![11] },
        ],
    };
    of(graph, &names)
}

/// Many members and as many changes as are shown at most.
pub(crate) fn wide(members: usize, many: usize) -> Glance {
    let names: Vec<String> = (0..members).map(|at| format!("member{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut last: Vec<Option<usize>> = vec![None; members];
    let changes = (0..many).map(|at| {
        let lane = (at * 7 + at / 5) % members;
        let mut parents: Vec<usize> = last[lane].into_iter().collect();
        if at > 3 && !parents.contains(&(at - 3)) {
            parents.push(at - 3);
        }
        last[lane] = Some(at);
        let height = (at + 12 < many).then_some(1 + at as u64 / 9);
        let base = change(at, &Written(lane, at as u64 + 1, &[], height, "note", "one of many"));
        GraphChange { parents, ..base }
    });
    let changes: Vec<GraphChange> = changes.collect();
    let lane = |(at, name): (usize, &&str)| Lane { who: who(name), this_node: at == 0, equivocator: false };
    let lanes = names.iter().enumerate().map(lane).collect();
    of(Graph { lanes, changes, total: 10_000, cuts: Vec::new() }, &names)
}

/// A node that has just been made.
pub(crate) fn fresh() -> Glance {
    let mut glance = of(Graph { lanes: Vec::new(), changes: Vec::new(), total: 0, cuts: Vec::new() }, &["bakery"]);
    glance.blocks.clear();
    glance.swaps.clear();
    glance.balances.accounts.clear();
    glance.status.peers.clear();
    glance.status.relay = None;
    glance.status.alone = true;
    glance.status.height = 0;
    glance.peers.members.clear();
    glance
}

fn of(graph: Graph, names: &[&str]) -> Glance {
    let node = who(names[0]);
    let height = graph.changes.iter().filter_map(|change| change.height).max().unwrap_or(0);
    let equivocators = graph.lanes.iter().filter(|lane| lane.equivocator);
    let status = Status {
        node: names[0].to_owned(),
        key: node.key.clone(),
        group: hex("group"),
        group_name: "village".to_owned(),
        pid: Some(4711),
        changes: graph.total,
        entries: graph.total,
        members: names.len() as u64,
        alone: names.len() == 1,
        heads: graph.changes.iter().filter(|change| change.head).map(|change| change.id.clone()).collect(),
        heads_digest: hex("heads"),
        digest: hex("digest"),
        incomplete: false,
        read_only: None,
        equivocators: equivocators
            .map(|lane| Equivocator { key: lane.who.key.clone(), name: lane.who.name.clone() })
            .collect(),
        relay: Some(RelayStatus { url: "ws://127.0.0.1:8080".to_owned(), ..RelayStatus::default() }),
        admission: "open".to_owned(),
        mode: "leader".to_owned(),
        height,
        block: hex("block"),
        state_root: hex("state"),
        held_height: height.saturating_sub(1),
        final_height: None,
        pending: graph.changes.iter().filter(|change| change.height.is_none()).count() as u64,
        recovery: 0,
        set: 2,
        epoch: 1,
        sealers: vec![node.clone()],
        voters: names.iter().take(4).map(|name| Voter { who: who(name), elector: true, holds: height }).collect(),
        quorum: 3,
        switch_needs: 3,
        pending_voters: Vec::new(),
        rotations: Vec::new(),
        sealer_votes: Vec::new(),
        interval_ms: 1000,
        may_seal: true,
        sealer_problem: None,
        document: Document::Complete,
        backfill: None,
        offences: Vec::new(),
        peers: names.iter().skip(1).take(6).map(|name| link(name, height)).collect(),
        groups: Vec::new(),
        page: Some("http://127.0.0.1:4080/".to_owned()),
    };
    let members = names.iter().enumerate().map(|(at, name)| Member {
        key: key(name),
        name: Some((*name).to_owned()),
        this_node: at == 0,
        seq: graph.changes.iter().filter(|change| change.lane == at).count() as u64,
        time_ms: START + 50_000,
        equivocator: graph.lanes.get(at).is_some_and(|lane| lane.equivocator),
    });
    let accounts = names.iter().zip([1200, 410, 0, 390]).map(|(name, balance)| AccountLine {
        who: who(name),
        balance,
        frozen: *name == "market",
    });
    Glance {
        version: GLANCE_VERSION,
        revision: 7,
        time_ms: START + 70_000,
        peers: Peers {
            group: status.group.clone(),
            group_name: status.group_name.clone(),
            members: members.collect(),
            links: status.peers.clone(),
            relay: status.relay.clone(),
            turned_away: None,
        },
        blocks: (1..=height).map(|height| block(height, &graph, &node)).collect(),
        balances: Balances {
            group: status.group.clone(),
            height,
            balance: 1200,
            supply: 2000,
            accounts: accounts.collect(),
        },
        accounts_total: 4,
        swaps_problem: None,
        swaps: vec![GlanceSwap {
            id: hex("swap"),
            with: who("dairy"),
            summary: "1,200 sats on regtest against 40 of the group".to_owned(),
            stage: "offered".to_owned(),
            next_step: "accept it with side-node htlc accept".to_owned(),
            waits_for_you: true,
            done: false,
        }],
        status,
        graph,
    }
}

fn link(name: &str, height: u64) -> LinkStatus {
    LinkStatus {
        transport: "direct".to_owned(),
        address: "127.0.0.1:40133".to_owned(),
        key: Some(key(name)),
        name: Some(name.to_owned()),
        connected: name != "mill",
        in_sync: true,
        round_trip_ms: Some(0.41),
        changes_behind: 0,
        height: Some(height),
        blocks_missing: 0,
        problem: (name == "mill").then(|| "connection refused".to_owned()),
    }
}

fn block(height: u64, graph: &Graph, sealer: &Who) -> GlanceBlock {
    let sealed = graph.changes.iter().filter(|change| change.height == Some(height));
    let transactions: Vec<Line> = sealed.clone().map(|change| line(graph, change)).collect();
    GlanceBlock {
        block: BlockLine {
            height,
            block: hex(&format!("block {height}")),
            sealer: Some(sealer.clone()),
            set: 2,
            epoch: 1,
            time_ms: START + height * 15_000,
            changes: sealed.count() as u64,
            state_root: hex(&format!("state {height}")),
            holders: if height == 4 { 2 } else { 4 },
            voters: 4,
            quorum: 3,
        },
        is_final: false,
        transactions_total: transactions.len() as u64,
        transactions,
    }
}

fn line(graph: &Graph, change: &GraphChange) -> Line {
    let who = &graph.lanes[change.lane].who;
    let rejected = change.status == Stage::Rejected;
    serde_json::from_value(json!({
        "id": change.id, "offset": 0, "lamport": 1, "author": who.key, "name": who.name, "seq": change.seq, "time_ms": change.time_ms,
        "version": 1, "kind": "note", "body": change.summary, "status": change.status, "height": change.height,
        "reason_text": rejected.then_some("the account has less than that"),
    }))
    .expect("a line")
}
