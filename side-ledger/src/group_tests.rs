//! Members of a group come to the same history; a closed group takes strangers' changes only where a member depends on them.

use super::*;
use crate::genesis::{GroupSpec, Limits, Sealing};
use crate::ledger::MALFORMED_KIND;
use bft_json_crdt::value::Value;

fn keypair(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn genesis(admission: Admission) -> Genesis {
    Genesis::new(GroupSpec {
        name: Name::new("friends").unwrap(),
        created_ms: 1,
        nonce: [3; 32],
        founders: vec![keypair(1).author(), keypair(2).author()],
        admission,
        allocation: Default::default(),
        sealing: Sealing::Leader { interval_ms: 1000 },
        limits: Limits { note_bytes: 100, ..Limits::default() },
    })
    .unwrap()
}

fn group(admission: Admission, seed: u8) -> Group {
    Group::open(genesis(admission), Some(keypair(seed).author()), Default::default())
}

fn log(group: &Group) -> Vec<Incoming> {
    group.replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect()
}

fn notes(group: &Group) -> Vec<String> {
    group.history(None).filter(|entry| entry.kind == "note").map(|e| e.body.as_str().unwrap().to_owned()).collect()
}

#[test]
fn members_that_exchange_their_changes_show_one_history() {
    let mut groups: Vec<Group> = (1..=4).map(|seed| group(Admission::Open, seed)).collect();
    for (seed, group) in (1u8..).zip(&mut groups) {
        let name = Name::new(&format!("node{seed}")).unwrap();
        group.claim_name(&name, &keypair(seed), 10).unwrap();
        for n in 0..3 {
            let written = group.note(&format!("note {n} of {seed}"), &keypair(seed), 11).unwrap();
            assert_eq!(written.entries.len(), 1);
            assert_eq!(group.ledger().get(&written.entries[0]).unwrap().name, Some(format!("node{seed}")));
        }
    }
    let all: Vec<Incoming> = groups.iter().flat_map(log).collect();
    for (turn, group) in groups.iter_mut().enumerate() {
        let mut all = all.clone();
        all.rotate_left(turn * 5);
        let merged = group.apply_batch(all);
        assert_eq!(merged.entries.len(), 12);
        assert!(merged.taken.iter().all(|(_, taken)| matches!(taken, Taken::Judged(_))));
    }
    let summary = groups[0].summary();
    assert_eq!((summary.members, summary.changes, summary.entries, summary.waiting), (4, 16, 16, 0));
    let history: Vec<Entry> = groups[0].history(None).collect();
    for group in &groups[1..] {
        assert_eq!(group.summary(), summary);
        assert_eq!(group.history(None).collect::<Vec<_>>(), history);
    }
    // The list in the document stands in the same order as the history.
    let Value::Object(view) = groups[0].replica().view() else { panic!("the root is a map") };
    let Some(Value::Array(list)) = view.get(TRANSACTIONS_KEY) else { panic!("no transactions in {view:?}") };
    let shown: Vec<serde_json::Value> =
        list.iter().map(|value| serde_json::Value::from(value)["body"].clone()).collect();
    assert_eq!(shown, history.iter().map(|entry| entry.body.clone()).collect::<Vec<_>>());
}

#[test]
fn a_group_loads_what_it_wrote() {
    let mut first = group(Admission::Open, 1);
    for n in 0..5 {
        first.note(&format!("{n}"), &keypair(1), n).unwrap();
    }
    let mut again = group(Admission::Open, 1);
    let merged = again.load(log(&first)).unwrap();
    assert_eq!((merged.applied.len(), merged.entries.len()), (5, 5));
    assert_eq!(again.summary(), first.summary());
    again.note("and on", &keypair(1), 9).unwrap();
    assert_eq!(notes(&again), ["0", "1", "2", "3", "4", "and on"]);
}

#[test]
fn deleting_or_clearing_the_list_changes_no_history() {
    let mut group = group(Admission::Open, 1);
    group.note("one", &keypair(1), 1).unwrap();
    group.note("two", &keypair(1), 1).unwrap();
    let (change, result, _) = group
        .replica
        .transact(&keypair(1), 2, |tx| {
            let list = tx.child(ContainerIdx::ROOT, TRANSACTIONS_KEY, Kind::List)?;
            tx.delete(list, 0, 1)?;
            tx.clear(list)
        })
        .unwrap();
    result.unwrap();
    let Value::Object(view) = group.replica().view() else { panic!("the root is a map") };
    assert!(view.get(TRANSACTIONS_KEY).is_none_or(|list| *list == Value::Array(Vec::new())));
    assert_eq!(notes(&group), ["one", "two"]);
    let mut other = self::group(Admission::Open, 2);
    other.apply_batch(log(&group));
    assert!(other.replica().get(&change.id()).is_some());
    assert_eq!(notes(&other), ["one", "two"]);
}

#[test]
fn a_note_that_no_member_would_show_is_refused_before_it_is_signed() {
    let mut group = group(Admission::Open, 1);
    let refused = group.note(&"x".repeat(101), &keypair(1), 1).unwrap_err();
    assert_eq!(refused, GroupError::Transaction(TransactionError::NoteTooLong { found: 101, limit: 100 }));
    assert!(group.note("", &keypair(1), 1).is_err());
    assert_eq!(group.replica().len(), 0);
    assert!(group.history(None).all(|entry| entry.kind != MALFORMED_KIND));
}

#[test]
fn a_closed_group_takes_a_strangers_change_only_where_a_member_depends_on_it() {
    // The stranger writes into the same document as if it were open, and a founder that saw it goes on from there.
    let mut stranger = Group::open(genesis(Admission::Closed), Some(keypair(9).author()), Default::default());
    assert_eq!(stranger.note("hi", &keypair(9), 1).unwrap_err(), GroupError::NotAdmitted(stranger.id()));
    for n in 0..3 {
        let (_, result, _) = stranger
            .replica
            .transact(&keypair(9), n, |tx| {
                let list = tx.child(ContainerIdx::ROOT, TRANSACTIONS_KEY, Kind::List)?;
                tx.insert_in_order(list, NewElement::Value(Transaction::note("spam", 100).unwrap().to_value()))
                    .map(drop)
            })
            .unwrap();
        result.unwrap();
    }
    let strangers = log(&stranger);
    stranger.replica.set_writer(Some(keypair(1).author()));
    let founders = stranger.note("I have seen them", &keypair(1), 5).unwrap().change;

    let mut member = group(Admission::Closed, 2);
    let merged = member.apply_batch(strangers.clone());
    assert!(merged.taken.iter().all(|(_, taken)| *taken == Taken::NotAdmitted));
    assert_eq!(member.summary().changes, 0);
    // A forged change in a founder's name opens no door.
    let mut bytes = founders.bytes().to_vec();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    let forged = Change::decode(bytes.into()).unwrap();
    let mut batch = strangers.clone();
    batch.push(forged.into());
    let merged = member.apply_batch(batch);
    assert_eq!(merged.taken[3].1, Taken::Judged(Verdict::Unauthenticated));
    assert_eq!(member.summary().changes, 0);
    // The founder's true change does, in one batch and in two.
    let mut batch = strangers.clone();
    batch.push(founders.clone().into());
    let merged = member.apply_batch(batch);
    assert_eq!((merged.applied.len(), merged.entries.len()), (4, 4));
    let mut other = group(Admission::Closed, 2);
    assert_eq!(other.apply_batch(vec![founders.into()]).applied.len(), 0);
    assert_eq!(other.apply_batch(strangers).applied.len(), 4);
    assert_eq!(other.summary(), member.summary());
}

#[test]
fn what_is_wanted_is_bounded() {
    let mut admitter = Admitter::new(genesis(Admission::Closed));
    let id = |n: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        ChangeId(bytes)
    };
    let count = 2 * MAX_WANTED as u64;
    admitter.want(&(0..count).map(id).collect::<Vec<_>>());
    assert_eq!((admitter.wanted.len(), admitter.oldest.len()), (MAX_WANTED, MAX_WANTED));
    let stranger = keypair(9).author();
    assert!(admitter.admits(&stranger, &id(count - 1)) && !admitter.admits(&stranger, &id(0)));
}
