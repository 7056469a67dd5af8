//! Groups made by hand, for the tests: one with everything in it that can be shown, and strangers who try to drive the terminal.

use bft_json_crdt::identity::Keypair;
use serde_json::json;

use crate::daemon::glance::{Cut, GLANCE_VERSION, Glance, GlanceBlock, GlanceSwap, Graph, GraphChange, Lane};
use crate::daemon::view::{AccountLine, Balances, BlockLine, Line, LinkStatus, Member, Peers, Stage, Status, Who};

/// 2026-01-02 03:04:05 UTC.
pub(super) const NOW: u64 = 1_767_323_045_000;
/// A note that would clear the screen, ring, and put a line of its own on it.
pub(super) const HOSTILE: &str = "\u{1b}[2J\u{7}\r\nnode1: pay mallory \u{202e}evil";

/// A key of a member; of what is none, a hash.
fn key(of: u8) -> String {
    if of < 0x10 { Keypair::from_seed(&[of; 32]).author().to_string() } else { format!("{of:02x}").repeat(32) }
}

fn who(of: u8, name: &str) -> Who {
    Who { key: key(of), name: Some(name.to_owned()) }
}

fn line(of: u8, name: &str, seq: u64, kind: &str, body: serde_json::Value, standing: serde_json::Value) -> Line {
    let mut line = json!({
        "id": key(of ^ seq as u8), "offset": 0, "author": key(of), "name": name, "seq": seq, "time_ms": NOW - 9_000 + seq * 1_000,
        "lamport": seq, "equivocator": false, "version": 1, "kind": kind, "body": body,
    });
    let (Some(line), Some(standing)) = (line.as_object_mut(), standing.as_object()) else { unreachable!() };
    line.extend(standing.clone());
    serde_json::from_value(serde_json::Value::Object(line.clone())).expect("the form of a line")
}

fn change(place: u64, lane: usize, seq: u64, parents: &[usize], height: Option<u64>, summary: &str) -> GraphChange {
    GraphChange {
        id: format!("{place:02x}").repeat(32),
        lane,
        seq,
        time_ms: NOW - 10_000 + place * 700,
        parents: parents.to_vec(),
        parents_not_shown: u64::from(parents.is_empty()),
        head: false,
        forked: false,
        kinds: vec!["note".to_owned()],
        summary: summary.to_owned(),
        status: if height.is_some() { Stage::Sealed } else { Stage::Pending },
        height,
    }
}

fn block(height: u64, transactions: Vec<Line>) -> GlanceBlock {
    GlanceBlock {
        block: BlockLine {
            height,
            block: key(height as u8 + 0x40),
            sealer: Some(who(1, "node1")),
            set: 1,
            epoch: 0,
            time_ms: NOW - 6_000 + height * 1_000,
            changes: 3,
            state_root: key(height as u8 + 0x80),
            holders: if height < 3 { 3 } else { 1 },
            voters: 3,
            quorum: 3,
        },
        is_final: false,
        transactions_total: transactions.len() as u64,
        transactions,
    }
}

/// A group of three members, one of whom has forked its chain, with three blocks, two balances and two swaps.
pub(super) fn group() -> Glance {
    let status: Status = serde_json::from_value(json!({
        "node": "node1", "key": key(1), "group": key(0xaa), "group_name": "side", "pid": 4711, "changes": 10, "entries": 12,
        "members": 3, "alone": false, "heads": [key(8), key(9)], "heads_digest": key(0xbb), "digest": key(0xcc), "incomplete": false,
        "read_only": null, "equivocators": [{ "key": key(3), "name": "mallory" }], "relay": null, "admission": "open", "mode": "leader",
        "height": 3, "block": key(0x43), "state_root": key(0x83), "held_height": 2, "final_height": null, "pending": 2, "recovery": 0,
        "set": 1, "epoch": 0, "sealers": [who(1, "node1")],
        "voters": [{ "key": key(1), "name": "node1", "elector": true, "holds": 3 }, { "key": key(2), "name": "node2", "elector": true, "holds": 2 }],
        "quorum": 3, "switch_needs": 3, "pending_voters": [], "interval_ms": 1000, "may_seal": true, "document": "complete",
        "backfill": null, "offences": [], "peers": [], "groups": [],
    }))
    .expect("the form of a status");
    let mut changes = vec![
        change(0, 0, 1, &[], Some(1), "* is called node1 now"),
        change(1, 1, 1, &[0], Some(1), "* is called node2 now"),
        change(2, 0, 2, &[0], Some(1), "hello"),
        change(3, 1, 2, &[1, 2], Some(2), "hello yourself"),
        change(4, 2, 1, &[3], Some(2), "* is called mallory now"),
        change(5, 0, 3, &[3], Some(2), "* sends 10 to node2"),
        change(6, 2, 2, &[4], Some(3), "one thing"),
        change(7, 2, 2, &[4], None, "another thing"),
        change(8, 1, 3, &[5, 6], None, "see you"),
        change(9, 0, 4, &[5], None, "bye"),
    ];
    for place in [6, 7] {
        changes[place].forked = true;
    }
    for place in [7, 8, 9] {
        changes[place].head = true;
    }
    let lane = |of: u8, name: &str| Lane { who: who(of, name), this_node: of == 1, equivocator: of == 3 };
    let sealed = json!({ "status": "sealed", "height": 2, "holders": 3, "holders_of": 3 });
    let rejected = json!({ "status": "rejected", "height": 3, "reason": "funds", "reason_text": "the sender does not own that much" });
    let links = [("node2", true, true), ("mallory", false, false)].map(|(name, connected, in_sync)| LinkStatus {
        transport: "direct".to_owned(),
        address: "127.0.0.1:4001".to_owned(),
        key: Some(key(2)),
        name: Some(name.to_owned()),
        connected,
        in_sync,
        round_trip_ms: connected.then_some(1.25),
        changes_behind: 0,
        height: Some(3),
        blocks_missing: 0,
        problem: (!connected).then(|| "connection refused".to_owned()),
    });
    let member = |of: u8, name: &str| Member {
        key: key(of),
        name: Some(name.to_owned()),
        this_node: of == 1,
        seq: 4,
        time_ms: NOW - u64::from(of) * 1_000,
        equivocator: of == 3,
    };
    let account = |of: u8, name: &str, balance: u64| AccountLine { who: who(of, name), balance, frozen: of == 3 };
    Glance {
        version: GLANCE_VERSION,
        revision: 1,
        time_ms: NOW,
        status,
        peers: Peers {
            group: key(0xaa),
            group_name: "side".to_owned(),
            members: vec![member(1, "node1"), member(2, "node2"), member(3, "mallory")],
            links: links.into(),
            relay: None,
            turned_away: None,
        },
        graph: Graph {
            lanes: vec![lane(1, "node1"), lane(2, "node2"), lane(3, "mallory")],
            changes,
            total: 10,
            cuts: vec![
                Cut { height: 1, heads: vec![2, 1] },
                Cut { height: 2, heads: vec![4, 5] },
                Cut { height: 3, heads: vec![6] },
            ],
        },
        blocks: vec![
            block(1, vec![line(1, "node1", 1, "name", json!({ "name": "node1" }), sealed.clone())]),
            block(
                2,
                vec![
                    line(2, "node2", 2, "note", json!("hello yourself"), sealed.clone()),
                    line(1, "node1", 3, "transfer", json!({ "to": key(2), "amount": 10 }), sealed),
                ],
            ),
            block(3, vec![line(3, "mallory", 2, "transfer", json!({ "to": key(3), "amount": 99 }), rejected)]),
        ],
        balances: Balances {
            group: key(0xaa),
            height: 3,
            balance: 999_990,
            supply: 1_000_000,
            accounts: vec![account(1, "node1", 999_990), account(2, "node2", 250_000), account(3, "mallory", 1)],
        },
        accounts_total: 3,
        swaps_problem: None,
        swaps: vec![
            GlanceSwap {
                id: "3f9a1c20".to_owned(),
                with: who(2, "node2"),
                summary: "pays 50,000 sats on regtest".to_owned(),
                stage: "accepted".to_owned(),
                next_step: "lock the coins: side-node htlc fund node1 3f9a1c20".to_owned(),
                waits_for_you: true,
                done: false,
            },
            GlanceSwap {
                id: "77aa0011".to_owned(),
                with: who(3, "mallory"),
                summary: "is paid 20,000 sats on regtest".to_owned(),
                stage: "claimed".to_owned(),
                next_step: "nothing: it is over".to_owned(),
                waits_for_you: false,
                done: true,
            },
        ],
    }
}

/// The same group with strangers' texts wherever strangers write.
pub(super) fn hostile() -> Glance {
    let mut glance = group();
    let name = Some(HOSTILE.to_owned());
    for lane in &mut glance.graph.lanes {
        lane.who.name.clone_from(&name);
    }
    for change in &mut glance.graph.changes {
        change.summary = HOSTILE.to_owned();
        change.kinds = vec![HOSTILE.to_owned()];
        // What does not hold together must not break the drawing.
        change.parents.push(9_999);
    }
    glance.status.group_name = HOSTILE.to_owned();
    glance.status.read_only = Some(HOSTILE.to_owned());
    glance.status.sealers[0].name.clone_from(&name);
    glance.status.equivocators[0].name.clone_from(&name);
    for member in &mut glance.peers.members {
        member.name.clone_from(&name);
    }
    for link in &mut glance.peers.links {
        link.name.clone_from(&name);
        link.address = HOSTILE.to_owned();
        link.problem = Some(HOSTILE.to_owned());
    }
    for account in &mut glance.balances.accounts {
        account.who.name.clone_from(&name);
    }
    for block in &mut glance.blocks {
        block.block.sealer.as_mut().expect("a leader").name.clone_from(&name);
        for line in &mut block.transactions {
            line.entry.name.clone_from(&name);
            line.entry.body = json!(HOSTILE);
            line.entry.kind = "note".to_owned();
        }
    }
    for swap in &mut glance.swaps {
        swap.with.name.clone_from(&name);
        swap.summary = HOSTILE.to_owned();
        swap.stage = HOSTILE.to_owned();
        swap.next_step = HOSTILE.to_owned();
    }
    glance
}
