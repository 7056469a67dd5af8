//! What members of a group send through the relay who keep to no rule. After each attack the honest nodes converge and nobody was harmed.

use bft_json_crdt::change::{Change, ChangeId, Header, MAX_SAFE};
use bft_json_crdt::encoding::Write as _;
use bft_json_crdt::identity::{AuthorId, Keypair, Signature};
use bft_json_crdt::ops::{ContainerNo, Kind, OpsBuilder, Parent, Ref, Unit};
use bft_json_crdt::replica::{Limits, Replica};
use side_ledger::Genesis;
use side_tests::attacker::{Attacker, key, no_ops, note};
use side_tests::process::eventually;
use side_tests::world::{Home, Stage, Watcher};
use side_watcher::protocol::CloseReason;

/// Where verdicts on changes are counted.
fn verdict(name: &str) -> String {
    format!("changes_total{{reason=\"{name}\"}}")
}

/// Where faults of connections are counted.
fn strike(name: &str) -> String {
    format!("strikes_total{{reason=\"{name}\"}}")
}

/// A relay with two honest nodes, and a member who is about to attack them.
fn stage() -> (Stage, Attacker) {
    let stage = Stage::set();
    let mallory = Attacker::join(&stage.watcher.url(), &stage.genesis(), key(66));
    (stage, mallory)
}

/// Somebody honest who has written.
fn victim(attacker: &Attacker) -> AuthorId {
    attacker.replica.authors().find(|author| *author != attacker.keypair.author()).expect("the nodes have written")
}

/// The victim's last change.
fn last_change(attacker: &Attacker, author: &AuthorId) -> Change {
    let tip = attacker.replica.own_tip(author).expect("the author has written");
    attacker.replica.change(tip.index)
}

/// Operations that set the register "k" of the root to a value whose bytes are given (docs/protocol.md, section 4.5).
fn set_to(value: &[u8]) -> Vec<u8> {
    [&[1, 2, 1, 1, 0, 1, 1, b'k', 0, 0, 1][..], value].concat()
}

/// Sends changes one a frame, waits until the relay has counted them, and checks that the honest nodes are well.
fn each_is(verdict_name: &str, changes: &[(&str, Change)]) {
    let (mut stage, mut mallory) = stage();
    // Each by a key of its own: two changes of one author and number would be an equivocation beside.
    let changes: Vec<(&str, Change)> =
        (100..).zip(changes).map(|(seed, (what, change))| (*what, readdress(change, &mallory, &key(seed)))).collect();
    send_each(&mut stage, &mut mallory, verdict_name, &changes);
    stage.unharmed();
}

fn send_each(stage: &mut Stage, mallory: &mut Attacker, verdict_name: &str, changes: &[(&str, Change)]) {
    for (number, (what, change)) in changes.iter().enumerate() {
        let before = stage.watcher.metric(&verdict(verdict_name));
        assert_eq!(before, number as f64, "before {what}");
        mallory.send_changes([change]);
        let counted = || (stage.watcher.metric(&verdict(verdict_name)) > before).then_some(());
        eventually(&format!("{what} is {verdict_name}: {:?}", stage.watcher.metrics()), counted);
    }
}

/// The same operations as the next change of a key in the group at hand.
fn readdress(change: &Change, attacker: &Attacker, keypair: &Keypair) -> Change {
    let header = Header { version: change.header().version, ..attacker.header(keypair) };
    Change::sign(keypair, header, change.ops())
}

/// Operations in a change of no group, for [`each_is`].
fn with_ops(version: u64, ops: &[u8]) -> Change {
    let header = Header {
        version,
        document: bft_json_crdt::change::DocumentId([0; 32]),
        author: key(66).author(),
        seq: 1,
        previous: None,
        deps: Vec::new(),
        time_ms: 1,
        ops_hash: [0; 32],
    };
    Change::sign(&key(66), header, ops)
}

#[test]
fn forged_author() {
    let (mut stage, mut mallory) = stage();
    let alice = victim(&mallory);
    let tip = mallory.replica.own_tip(&alice).expect("she has written");
    // Her next change, in her name, under another signature.
    let header = Header {
        author: alice,
        seq: tip.seq + 1,
        previous: Some(tip.id),
        deps: Vec::new(),
        ..mallory.header(&mallory.keypair)
    };
    let forged = Change::sign(&mallory.keypair, header, &no_ops());
    mallory.send_changes([&forged]);
    stage.watcher.counted(&verdict("unauthenticated"), 1.0);
    stage.watcher.counted(&strike("unauthenticated"), 1.0);
    stage.unharmed();
    for name in ["node1", "node2"] {
        assert_eq!(stage.home.status(name)["equivocators"], serde_json::json!([]), "nobody is convicted by a forgery");
    }
}

#[test]
fn tampered_content() {
    let (mut stage, mut mallory) = stage();
    let change = last_change(&mallory, &victim(&mallory));
    let ops: Vec<u8> = change.ops().iter().map(|byte| if *byte == b'f' { b'F' } else { *byte }).collect();
    assert_ne!(ops, change.ops());
    mallory.send_changes([&Change::from_parts(change.header().clone(), &ops, change.signature())]);
    stage.watcher.counted(&verdict("unauthenticated"), 1.0);
    // Other bytes under the old hash are no change at all: the connection ends.
    let mut bytes = change.bytes().to_vec();
    let at = bytes.len() - 65;
    bytes[at] ^= 1;
    mallory.send_bytes([bytes.into()]);
    assert_eq!(mallory.raw.closed(), Some(CloseReason::Strikes));
    stage.watcher.counted(&strike("peer-fault"), 1.0);
    stage.unharmed();
}

#[test]
fn true_change_with_a_wrong_signature_sent_first() {
    let (mut stage, mut mallory) = stage();
    let mut carol = Attacker::join(&stage.watcher.url(), &stage.genesis(), key(3));
    let change = carol.note("true words of carol");
    mallory.send_changes([&Change::from_parts(change.header().clone(), change.ops(), Signature([1; 64]))]);
    stage.watcher.counted(&verdict("unauthenticated"), 1.0);
    // Nothing is remembered about the id: the true copy is taken.
    carol.send_changes([&change]);
    stage.home.converge(&["node1", "node2"], &["true words of carol"]);
    stage.unharmed();
}

#[test]
fn tip_that_vouches_for_a_bad_interior_signature() {
    let (mut stage, mut mallory) = stage();
    let texts: Vec<String> = (0..5).map(|n| format!("vouched {n}")).collect();
    let chain: Vec<Change> = texts.iter().map(|text| mallory.note(text)).collect();
    let mut frame: Vec<Change> = chain[..4]
        .iter()
        .map(|change| Change::from_parts(change.header().clone(), change.ops(), Signature([1; 64])))
        .collect();
    // Without the tip nobody vouches.
    mallory.send_changes(&frame);
    stage.watcher.counted(&verdict("unauthenticated"), 4.0);
    frame.push(chain[4].clone());
    mallory.send_changes(&frame);
    let expected: Vec<&str> = texts.iter().map(String::as_str).collect();
    stage.home.converge(&["node1", "node2"], &expected);
    // They are passed on with their vouchers, to those who come later too.
    stage.home.init("node3");
    let _node3 = stage.home.run("node3");
    stage.home.converge(&["node1", "node2", "node3"], &expected);
    stage.unharmed();
}

#[test]
fn replay_into_another_document() {
    let (mut stage, mut mallory) = stage();
    let elsewhere = Genesis::new(side_ledger::GroupSpec { nonce: [9; 32], ..stage.genesis().spec().clone() });
    let elsewhere = elsewhere.expect("a genesis").id().document();
    let mut other = Replica::new(elsewhere, Limits::default());
    let change = note(&mut other, &key(3), "said elsewhere");
    mallory.send_changes([&change]);
    stage.watcher.counted(&verdict("malformed"), 1.0);
    stage.unharmed();
    assert!(!stage.home.history("node1").notes().contains(&"said elsewhere"));
}

#[test]
fn wrong_previous() {
    let (mut stage, mut mallory) = stage();
    let alice = last_change(&mallory, &victim(&mallory));
    let own = mallory.note("a first change of mallory");
    mallory.send_changes([&own]);
    let next = Header { deps: Vec::new(), ..mallory.header(&mallory.keypair) };
    let stolen = Header { previous: Some(alice.id()), seq: alice.header().seq + 1, ..next.clone() };
    let jump = Header { seq: 7, ..next };
    let changes = [("another's change", stolen), ("a jump", jump)]
        .map(|(what, header)| (what, Change::sign(&mallory.keypair, header, &no_ops())));
    send_each(&mut stage, &mut mallory, "invalid", &changes);
    stage.unharmed();
}

#[test]
fn a_reference_outside_the_causal_past() {
    let (mut stage, mut mallory) = stage();
    let alice = last_change(&mallory, &victim(&mallory));
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(alice.id()).expect("a table entry");
    builder.push(Unit::Delete { target: Ref { source, offset: 0 } }).expect("a unit");
    let ops = builder.finish().encode().expect("an encoding");
    // The same delete with the change among its ancestors is a delete that everybody may make.
    let unseen = Header { deps: Vec::new(), ..mallory.header(&mallory.keypair) };
    let unseen = Change::sign(&mallory.keypair, unseen, &ops);
    let nowhere = {
        let mut builder = OpsBuilder::new();
        let source = builder.foreign(alice.id()).expect("a table entry");
        builder.push(Unit::Delete { target: Ref { source, offset: 4_711 } }).expect("a unit");
        let ops = builder.finish().encode().expect("an encoding");
        Change::sign(&key(67), mallory.header(&key(67)), &ops)
    };
    send_each(
        &mut stage,
        &mut mallory,
        "invalid",
        &[("a reference to the unseen", unseen), ("a reference to nothing", nowhere)],
    );
    stage.unharmed();
}

#[test]
fn unknown_version_and_kind() {
    each_is(
        "unsupported",
        &[
            ("version 2", with_ops(2, b"whatever a later version says")),
            ("operation 8", with_ops(1, &[1, 8])),
            ("container kind 7", with_ops(1, &[1, 2, 1, 7])),
        ],
    );
}

#[test]
fn unknown_container() {
    let (mut stage, mut mallory) = stage();
    let alice = last_change(&mallory, &victim(&mallory));
    // A counter said to be inside of her note, which is a plain value.
    let mut builder = OpsBuilder::new();
    let source = builder.foreign(alice.id()).expect("a table entry");
    let inside = builder.container(Parent::Element(Ref { source, offset: 0 }), Kind::Counter).expect("a container");
    builder.push(Unit::Add(inside, 1)).expect("a unit");
    let inside = mallory.craft(&builder.finish().encode().expect("an encoding"));
    send_each(&mut stage, &mut mallory, "invalid", &[("a counter inside of a value", inside)]);
    // Entry 2 of a table with one entry.
    let beyond = mallory.craft(&[1, 2, 1, 1, 0, 1, 1, b'k', 0, 0, 2, 0]);
    send_each(&mut stage, &mut mallory, "malformed", &[("an entry beyond the table", beyond)]);
    stage.unharmed();
}

#[test]
fn wrong_type() {
    let (mut stage, mut mallory) = stage();
    // A list is not set: the bytes alone tell.
    let set_a_list = mallory.craft(&[1, 2, 1, 5, 0, 1, 1, b'k', 0, 0, 1, 0]);
    send_each(&mut stage, &mut mallory, "malformed", &[("a list that is set", set_a_list)]);
    // A number among the transactions, and a counter where the list should be, are valid and harm nobody.
    let written = mallory.replica.transact(&mallory.keypair, 1, |tx| {
        use bft_json_crdt::document::{ContainerIdx, NewElement};
        let list = tx.child(ContainerIdx::ROOT, "transactions", Kind::List)?;
        tx.insert_in_order(list, NewElement::Value(42u64.into()))?;
        tx.insert_in_order(list, NewElement::Container(Kind::Text))?;
        let counter = tx.child(ContainerIdx::ROOT, "transactions", Kind::Counter)?;
        tx.add(counter, 1)
    });
    let (change, inner, _) = written.expect("valid");
    inner.expect("valid");
    mallory.send_changes([&change]);
    let shown = || {
        let history = stage.home.history("node2");
        let malformed = history.0["entries"].as_array()?.iter().filter(|entry| entry["kind"] == "malformed").count();
        (malformed == 2).then_some(())
    };
    eventually("both are shown as malformed", shown);
    stage.unharmed();
}

#[test]
fn depth_and_length_bombs() {
    let mut deep = [7u8, 1].repeat(100_000);
    deep.push(0);
    let mut long_text = vec![6];
    long_text.put_varint(1 << 60);
    let mut many = vec![7];
    many.put_varint(1 << 60);
    let mut runs = Vec::new();
    runs.put_varint(1 << 60);
    // A list of 2⁴⁰ inserts in a run of a few bytes.
    let mut run = vec![1, 4, 1, 5, 0, 0, 1, 1, b'k', 0, 0];
    run.put_varint(1 << 40);
    run.extend([1, 0]);
    each_is(
        "malformed",
        &[
            ("an array in an array, 100,000 times", with_ops(1, &set_to(&deep))),
            ("a string of 2⁶⁰ bytes", with_ops(1, &set_to(&long_text))),
            ("an array of 2⁶⁰ values", with_ops(1, &set_to(&many))),
            ("2⁶⁰ runs", with_ops(1, &runs)),
            ("a run of 2⁴⁰ units", with_ops(1, &run)),
        ],
    );
}

#[test]
fn containers_deeper_than_allowed() {
    let mut builder = OpsBuilder::new();
    let mut map = ContainerNo::ROOT;
    for _ in 0..200 {
        map = builder.container(Parent::Key(map, "k".into()), Kind::Map).expect("a container");
    }
    builder.push(Unit::Ensure(map)).expect("a unit");
    let ops = builder.finish().encode().expect("an encoding");
    each_is("invalid", &[("a map in a map, 200 times", with_ops(1, &ops))]);
}

#[test]
fn nan_and_huge_numbers() {
    let float = |bits: u64| [&[5][..], &bits.to_be_bytes()].concat();
    each_is(
        "malformed",
        &[
            ("a NaN", with_ops(1, &set_to(&float(f64::NAN.to_bits())))),
            ("an infinity", with_ops(1, &set_to(&float(f64::INFINITY.to_bits())))),
            ("2⁷⁰", with_ops(1, &set_to(&[&[3][..], &[0xff; 9], &[0x7f]].concat()))),
            ("−2⁶⁴", with_ops(1, &set_to(&[&[4][..], &[0xff; 9], &[1]].concat()))),
        ],
    );
}

#[test]
fn huge_numbers_in_a_header() {
    let (mut stage, _) = stage();
    for wrong in [|header: &mut Header| header.seq = MAX_SAFE + 1, |header: &mut Header| header.time_ms = MAX_SAFE + 1]
    {
        let mut mallory = Attacker::join(&stage.watcher.url(), &stage.genesis(), key(66));
        let mut header = mallory.header(&mallory.keypair);
        wrong(&mut header);
        header.previous = (header.seq > 1).then_some(ChangeId([1; 32]));
        mallory.send_changes([&Change::sign(&mallory.keypair, header, &no_ops())]);
        assert_eq!(mallory.raw.closed(), Some(CloseReason::Strikes));
    }
    stage.watcher.counted(&strike("peer-fault"), 2.0);
    // The largest numbers that there are hold: nothing overflows.
    let mut mallory = Attacker::join(&stage.watcher.url(), &stage.genesis(), key(67));
    let header = Header { time_ms: MAX_SAFE, ..mallory.header(&mallory.keypair) };
    let applied = stage.watcher.metric(&verdict("applied"));
    let change = Change::sign(&mallory.keypair, header, &set_to(&[&[3][..], &[0xff; 9], &[1]].concat()));
    mallory.send_changes([&change]);
    stage.watcher.counted(&verdict("applied"), applied + 1.0);
    stage.unharmed();
}

#[test]
fn non_canonical_encoding() {
    let (mut stage, mut mallory) = stage();
    let cases: [(&str, &[u8]); 6] = [
        ("left-over bytes", &[0, 0, 0, 0, 0]),
        ("a varint with a trailing zero group", &[0x80, 0, 0, 0, 0]),
        ("an unused key", &[0, 0, 0, 1, 1, b'k']),
        ("a longer integer", &set_to(&[3, 0x85, 0])),
        ("keys out of order", &set_to(&[8, 2, 1, b'b', 0, 1, b'a', 0])),
        ("ill-formed UTF-8", &set_to(&[6, 1, 0xff])),
    ];
    let changes = cases.map(|(what, ops)| (what, mallory.craft(ops)));
    send_each(&mut stage, &mut mallory, "malformed", &changes);
    // The one encoding of the same is fine.
    let applied = stage.watcher.metric(&verdict("applied"));
    mallory.send_changes([&mallory.craft(&set_to(&[3, 5]))]);
    stage.watcher.counted(&verdict("applied"), applied + 1.0);
    // Dependencies out of order are no header.
    let header = Header { deps: vec![ChangeId([2; 32]), ChangeId([1; 32])], ..mallory.header(&mallory.keypair) };
    mallory.send_changes([&Change::sign(&mallory.keypair, header, &no_ops())]);
    assert_eq!(mallory.raw.closed(), Some(CloseReason::Strikes));
    stage.unharmed();
}

#[test]
fn key_of_small_order() {
    let (mut stage, _) = stage();
    // The neutral element, a point of order 8, and one that is encoded in a second way (RFC 8032, section 5.1.3).
    let neutral = "0100000000000000000000000000000000000000000000000000000000000000";
    let eighth = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let second = "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
    for weak in [neutral, eighth, second] {
        let mut mallory = Attacker::join(&stage.watcher.url(), &stage.genesis(), key(66));
        let change = mallory.craft(&no_ops());
        let mut bytes = change.bytes().to_vec();
        let own = mallory.keypair.author();
        let at =
            bytes.windows(32).position(|window| window == own.as_bytes()).expect("the author stands in the header");
        hex::decode_to_slice(weak, &mut bytes[at..at + 32]).expect("hexadecimal digits");
        mallory.send_bytes([bytes.into()]);
        assert_eq!(mallory.raw.closed(), Some(CloseReason::Strikes), "{weak}");
    }
    stage.watcher.counted(&strike("peer-fault"), 3.0);
    stage.unharmed();
}

#[test]
fn orphans_flood() {
    let (mut stage, mut mallory) = stage();
    // More than a replica keeps waiting (16,384), each signed, none with its ancestor.
    let orphans: u32 = 20_000;
    let header = mallory.header(&mallory.keypair);
    let mut frame = Vec::new();
    for number in 0..orphans {
        let mut nobody = [0xaa; 32];
        nobody[..4].copy_from_slice(&number.to_be_bytes());
        let (seq, previous) = (u64::from(number) + 2, Some(ChangeId(nobody)));
        let header = Header { seq, previous, deps: Vec::new(), ..header.clone() };
        frame.push(Change::sign(&mallory.keypair, header, &no_ops()));
        if frame.len() == 2_000 {
            mallory.send_changes(&frame);
            frame.clear();
        }
    }
    let judged = || {
        let metrics = stage.watcher.metrics();
        let count = |name: &str| metrics.get(&verdict(name)).copied().unwrap_or(0.0);
        (count("waiting") + count("dropped") >= f64::from(orphans)).then_some(())
    };
    eventually("all orphans are judged", judged);
    stage.unharmed();
    // A later member is not bothered by them.
    stage.home.init("node3");
    let _node3 = stage.home.run("node3");
    stage.home.converge(&["node1", "node3"], &["after from node1", "after from node2"]);
}

#[test]
fn a_thousand_branches_of_one_author() {
    let (mut stage, mut mallory) = stage();
    let header = mallory.header(&mallory.keypair);
    let branches: Vec<Change> = (0..1_000)
        .map(|number| Change::sign(&mallory.keypair, Header { time_ms: number, ..header.clone() }, &no_ops()))
        .collect();
    let before = stage.watcher.metric(&verdict("applied"));
    mallory.send_changes(&branches);
    stage.watcher.counted(&verdict("held-back"), 998.0);
    let applied = stage.watcher.metric(&verdict("applied")) - before;
    assert!((1.0..=200.0).contains(&applied), "{applied} branches were let in");
    let convicted = || {
        let statuses = ["node1", "node2"].map(|name| stage.home.status(name));
        statuses.iter().all(|status| status["equivocators"].as_array().is_some_and(|all| all.len() == 1)).then_some(())
    };
    eventually("both nodes hold the proof", convicted);
    stage.unharmed();
}

#[test]
fn equivocation_shown_branch_by_branch_to_two_nodes() {
    let (data1, data2) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (one, two) = (Watcher::start(data1.path()), Watcher::start(data2.path()));
    let home = Home::new(&one.url());
    home.init("node1");
    home.init("node2");
    let mut node1 = home.run("node1");
    let elsewhere = two.url();
    let mut command = home.command();
    command.args(["run", "node2", "--relay", &elsewhere]);
    let mut node2 = side_tests::process::Process::start("node2", command);
    node2.expect(" is ready in group ");
    // Two different first changes of one author, each shown to one half of the group.
    let genesis = home.genesis("node1");
    let mallory = key(66);
    let fork = |text: &str| note(&mut Replica::new(genesis.id().document(), Limits::default()), &mallory, text);
    let (left, right) = (fork("I owe you ten"), fork("I owe you nothing"));
    let mut at_one = Attacker::join(&one.url(), &genesis, mallory.clone());
    let mut at_two = Attacker::join(&two.url(), &genesis, mallory.clone());
    at_one.send_changes([&left]);
    at_two.send_changes([&right]);
    node1.expect("I owe you ten");
    node2.expect("I owe you nothing");
    node1.type_line("mallory owes me ten");
    node1.expect("mallory owes me ten");
    node2.type_line("mallory owes me nothing");
    node2.expect("mallory owes me nothing");
    // The halves meet.
    assert!(node2.stop().success());
    let _node2 = home.run("node2");
    let notes = ["I owe you ten", "I owe you nothing", "mallory owes me ten", "mallory owes me nothing"];
    home.converge(&["node1", "node2"], &notes);
    let proven = serde_json::json!(mallory.author().to_string());
    for name in ["node1", "node2"] {
        let status = home.status(name);
        assert_eq!(status["equivocators"].as_array().map(Vec::len), Some(1), "{status}");
        assert_eq!(status["equivocators"][0]["key"], proven);
    }
    // Nobody takes more of it on either branch.
    let mut own = Replica::new(genesis.id().document(), Limits::default());
    own.apply(left.clone().into());
    let more = note(&mut own, &mallory, "one more thing");
    at_one.send_changes([&more]);
    one.counted(&verdict("held-back"), 1.0);
    node1.type_line("still here");
    home.converge(&["node1", "node2"], &["still here"]);
    assert!(!home.history("node2").notes().contains(&"one more thing"));
}
