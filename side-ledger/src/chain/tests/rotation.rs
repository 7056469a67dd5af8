//! A rotated key's things move once and as a whole, its seat never counts twice, and nobody else's key is touched; whatever the order, and also where blocks are taken back.

use super::*;
use crate::accounts::Rotation;
use crate::block::SetNumber;
use crate::genesis::Rules;
use crate::transaction::{KeyApprove, KeyRotate, TransactionError};

fn rotating(admission: Admission) -> Genesis {
    under(Rules::LATEST, admission)
}

fn under(rules: Rules, admission: Admission) -> Genesis {
    Genesis::founded(genesis(admission, 1000).spec().clone(), None, rules).unwrap()
}

fn member(number: usize) -> Member {
    Member::with(rotating(Admission::Open), number)
}

fn share(members: &mut [Member]) {
    for at in 0..members.len() {
        let logs: Vec<Vec<Incoming>> = members.iter().map(Member::log).collect();
        logs.into_iter().for_each(|log| drop(members[at].group.apply_batch(log)));
    }
}

/// The first of them seals what all have written, and the others follow.
fn seal(members: &mut [Member]) -> Block {
    share(members);
    let block = members[0].seal();
    members[1..].iter_mut().for_each(|member| member.accept(&block));
    block
}

impl Member {
    fn propose(&mut self, new: usize) -> Position {
        let rotate = KeyRotate::sign(self.group.id(), &key(self.number), &keypair(new));
        self.write(rotate)
    }

    fn approve(&mut self, old: usize, new: usize) -> Position {
        let set = self.group.chain().governance().set;
        self.write(KeyApprove { set, old: key(old), new: key(new) })
    }

    fn close(&mut self) -> Position {
        let set = self.group.chain().governance().set;
        self.write(SetClose { set })
    }

    fn voters(&self) -> Vec<AuthorId> {
        self.group.chain().governance().voters.iter().copied().collect()
    }

    fn account(&self, number: usize) -> Account {
        self.group.chain().account(&key(number))
    }

    fn note(&mut self) -> Position {
        self.write(Transaction::note("hello", 100).unwrap())
    }
}

fn keys(numbers: &[usize]) -> Vec<AuthorId> {
    let mut keys: Vec<AuthorId> = numbers.iter().map(|number| key(*number)).collect();
    keys.sort_unstable();
    keys
}

/// Four founders of an open group; 3 has proposed 10, and all others have approved.
fn decided() -> Vec<Member> {
    decided_for(Rules::LATEST, 10)
}

fn decided_for(rules: Rules, new: usize) -> Vec<Member> {
    let genesis = under(rules, Admission::Open);
    let mut members: Vec<Member> = (0..4).map(|number| Member::with(genesis.clone(), number)).collect();
    members[3].propose(new);
    seal(&mut members);
    for voter in 0..3 {
        assert_eq!(members[0].account(3).rotation, Some(Rotation::Proposed(key(new))));
        members[voter].approve(3, new);
        seal(&mut members);
    }
    members
}

#[test]
fn one_vote_moves_balance_and_seat_and_retires_the_old_key() {
    let mut members = decided();
    let (old, new) = (members[1].account(3), members[1].account(10));
    assert_eq!((old.balance, old.rotation), (0, Some(Rotation::Rotated(key(10)))));
    assert_eq!((new.balance, new.rotation), (100, Some(Rotation::Succeeds(key(3)))));
    assert_eq!(members[0].voters(), keys(&[0, 1, 2, 3]), "the seat moves with the closes of the set");
    assert_eq!(members[0].group.chain().replaced(&key(3)), None);
    // What the old key writes from now on counts for nothing; what is paid to it is the new one's.
    let late = [members[3].pay(1, 1), members[3].note(), members[3].approve(1, 11), members[3].propose(12)];
    let paid = members[1].pay(3, 7);
    let mut new = member(10);
    new.hear(&members[0]);
    for height in 1..=4 {
        let block = members[0].group.chain().at(Height(height)).unwrap().block.clone();
        new.accept(&block);
    }
    let first = new.pay(2, 40);
    members.push(new);
    seal(&mut members);
    for member in &members {
        assert_eq!(late.map(|position| member.reason(&position)), [Some(Reason::Rotated); 4]);
        assert_eq!([paid, first].map(|position| member.reason(&position)), [None, None]);
        assert_eq!((member.account(3).balance, member.account(10).balance, member.account(2).balance), (0, 67, 140));
    }
    // The seat: out with one close, in with the next, and no vote about the old key in between.
    members[0].close();
    seal(&mut members);
    assert_eq!(members[0].voters(), keys(&[0, 1, 2]));
    assert_eq!(members[0].group.chain().replaced(&key(3)), None);
    let about = MemberVote { set: SetNumber(1), key: key(3), role: Role::Voter };
    let about = members[1].write(about);
    let early = members[4].approve(1, 11);
    members[0].close();
    seal(&mut members);
    assert_eq!(members[2].reason(&about), Some(Reason::Rotated));
    assert_eq!(members[2].reason(&early), Some(Reason::NotVoter));
    assert_eq!(members[0].voters(), keys(&[0, 1, 2, 10]));
    assert_eq!(members[0].group.chain().replaced(&key(3)), Some(key(10)));
    assert!(members[0].group.chain().governance().pending.is_empty());
    // All of it can be taken back, block by block, and comes to the same again.
    let blocks: Vec<Block> = members[2].group.chain().blocks().iter().map(|sealed| sealed.block.clone()).collect();
    for left in (0..blocks.len()).rev() {
        members[2].group.undo().unwrap().unwrap();
        members[2].check();
        let root = left.checked_sub(1).map_or(member(0).group.state_root(), |at| blocks[at].state_root);
        assert_eq!(members[2].group.state_root(), root);
    }
    assert_eq!(members[2].account(3).balance, 100);
    blocks.iter().for_each(|block| members[2].accept(block));
    assert_eq!(members[2].voters(), keys(&[0, 1, 2, 10]));
}

#[test]
fn a_sealer_that_is_rotated_ends_the_sets_until_its_new_key_seals() {
    let mut members: Vec<Member> = (0..4).map(member).collect();
    members[0].propose(10);
    share(&mut members);
    (1..4).for_each(|voter| {
        members[voter].approve(0, 10);
    });
    seal(&mut members);
    assert_eq!(members[1].account(0).successor(), Some(key(10)));
    let not_sealer = members[1].close();
    let both = [Transaction::note("x", 9).unwrap(), SetClose { set: SetNumber(0) }.into()];
    let both = members[0].group.write(&both, &keypair(0), 5).unwrap().entries;
    seal(&mut members);
    assert_eq!(members[1].reason(&not_sealer), Some(Reason::NotSealer));
    assert_eq!([both[0], both[1]].map(|position| members[1].reason(&position)), [Some(Reason::Rotated), None]);
    let sealers = |members: &[Member]| {
        let governance = members[1].group.chain().governance();
        (governance.sealers.clone(), governance.office.clone())
    };
    assert_eq!((members[1].voters(), sealers(&members)), (keys(&[1, 2, 3]), (keys(&[0]), keys(&[0]))));
    members[0].close();
    seal(&mut members);
    assert_eq!((members[1].voters(), sealers(&members)), (keys(&[1, 2, 3, 10]), (keys(&[10]), keys(&[10]))));
    assert!(!members[1].group.chain().electorate().elects(&key(10)));
    let late = members[0].close();
    seal(&mut members);
    assert_eq!(members[1].reason(&late), Some(Reason::Rotated));
    members[1].group.undo().unwrap();
    members[1].group.undo().unwrap();
    assert_eq!(sealers(&members), (keys(&[0]), keys(&[0])));
}

#[test]
fn a_sealer_that_is_replaced_before_its_new_key_came_is_not_brought_back() {
    let mut members: Vec<Member> = (0..4).map(member).collect();
    members[0].propose(10);
    share(&mut members);
    (1..4).for_each(|voter| {
        members[voter].approve(0, 10);
    });
    seal(&mut members);
    let switch = Switch { epoch: Epoch(1), sealers: vec![key(1)] };
    let block = members[1].group.seal(2_000, Some(&switch)).unwrap();
    members[0].group.accept(&block, Some(&switch)).unwrap();
    let ended = members[0].close();
    let log = members[0].log();
    members[1].group.apply_batch(log);
    members[1].close();
    members[1].seal();
    assert_eq!(members[1].reason(&ended), Some(Reason::Rotated));
    members[1].close();
    members[1].seal();
    let governance = members[1].group.chain().governance();
    assert_eq!((members[1].voters(), governance.sealers.clone()), (keys(&[1, 2, 3, 10]), keys(&[1])));
}

/// A replaced sealer that does not vote any more must not stay for as long as a rotation takes: with it in the set all the others are needed to choose another sealer (seed 100,040 of the
/// simulated world).
#[test]
fn a_sealer_that_was_replaced_leaves_before_a_rotated_key_where_the_group_has_the_rule() {
    for (rules, first) in [(Rules::Rotation, 3), (Rules::FailedFirst, 0)] {
        let mut members = decided_for(rules, 10);
        let switch = Switch { epoch: Epoch(1), sealers: vec![key(1)] };
        let sealed = members[1].group.seal(2_000, Some(&switch)).unwrap();
        members[1].check();
        assert_eq!(sealed.epoch, Epoch(1));
        let mut left = members[1].voters();
        for gone in [first, 3 - first] {
            members[1].close();
            members[1].seal();
            left.retain(|voter| *voter != key(gone));
            assert_eq!(members[1].voters(), left, "{rules:?}");
        }
        members[1].close();
        members[1].seal();
        assert_eq!(members[1].voters(), keys(&[1, 2, 10]));
    }
}

#[test]
fn what_cannot_be_rotated_is_refused_with_the_reason() {
    let mut members: Vec<Member> = (0..6).map(member).collect();
    members[4].note();
    share(&mut members);
    let group = members[0].group.id();
    let forged = KeyRotate { proof: KeyRotate::sign(group, &key(1), &keypair(10)).proof, new: key(11) };
    let others = KeyRotate::sign(group, &key(2), &keypair(10));
    let elsewhere = KeyRotate::sign(GroupId([9; 32]), &key(1), &keypair(10));
    let refused: Vec<Position> = [
        forged,
        others,
        elsewhere,
        KeyRotate::sign(group, &key(1), &keypair(0)),
        KeyRotate::sign(group, &key(1), &keypair(4)),
    ]
    .into_iter()
    .map(|rotate| members[1].write(rotate))
    .collect();
    let early = members[2].approve(1, 10);
    let good = members[1].propose(10);
    let again = members[1].propose(10);
    seal(&mut members);
    let reasons: Vec<Option<Reason>> = refused.iter().map(|position| members[0].reason(position)).collect();
    use Reason::{KeyInUse, NoChange, NotProposed, NotVoter, OtherSet, Proof, Rotated};
    assert_eq!(reasons, [Some(Proof), Some(Proof), Some(Proof), Some(KeyInUse), Some(KeyInUse)]);
    assert_eq!([good, again].map(|position| members[0].reason(&position)), [None, Some(NoChange)]);
    // The one order decides which of the two came first; if the proposal did, the word of somebody who had not seen it counts.
    assert!([None, Some(NotProposed)].contains(&members[0].reason(&early)));
    let wrong = [
        members[2].approve(1, 11),
        members[2].approve(3, 10),
        members[1].approve(1, 10),
        members[4].approve(1, 10),
        members[3].write(KeyApprove { set: SetNumber(1), old: key(1), new: key(10) }),
    ];
    // Somebody who votes no more than it owns: no consent needed, and none asked for.
    let own = members[4].propose(14);
    let twice = members[5].propose(14);
    seal(&mut members);
    assert_eq!(
        wrong.map(|position| members[0].reason(&position)),
        [Some(NotProposed), Some(NotProposed), Some(NotVoter), Some(NotVoter), Some(OtherSet)]
    );
    let two = [own, twice].map(|position| members[0].reason(&position));
    assert!(two == [None, Some(KeyInUse)] || two == [Some(KeyInUse), None], "two members do not become one: {two:?}");
    let (gone, heir) = if two[0].is_none() { (4, 14) } else { (5, 14) };
    assert_eq!(members[0].account(gone).successor(), Some(key(heir)));
    let about = members[0].approve(gone, heir);
    seal(&mut members);
    assert_eq!(members[0].reason(&about), Some(Rotated));
}

#[test]
fn another_proposal_voids_what_was_approved_before() {
    let mut members: Vec<Member> = (0..4).map(member).collect();
    members[3].propose(10);
    share(&mut members);
    members[0].approve(3, 10);
    members[1].approve(3, 10);
    seal(&mut members);
    members[3].propose(11);
    seal(&mut members);
    assert!(members[0].group.chain().governance().ballots.is_empty());
    let stale = members[2].approve(3, 10);
    members[2].approve(3, 11);
    seal(&mut members);
    assert_eq!(members[0].reason(&stale), Some(Reason::NotProposed));
    assert_eq!(members[0].account(3).successor(), None);
    members[0].approve(3, 11);
    members[1].approve(3, 11);
    seal(&mut members);
    assert_eq!(members[0].account(3).successor(), Some(key(11)));
    assert!(members[0].group.chain().governance().ballots.is_empty());
}

#[test]
fn what_the_old_key_had_voted_for_counts_no_more_and_votes_about_it_are_void() {
    let mut members: Vec<Member> = (0..4).map(member).collect();
    let faster = ParameterVote { set: SetNumber(0), parameter: Parameter::IntervalMs, value: 50 };
    members[3].write(faster.clone());
    members[0].write(MemberVote { set: SetNumber(0), key: key(3), role: Role::None });
    members[3].propose(10);
    share(&mut members);
    for voter in &mut members[..3] {
        voter.approve(3, 10);
    }
    seal(&mut members);
    assert_eq!(members[0].account(3).successor(), Some(key(10)));
    members[0].write(faster.clone());
    members[1].write(faster.clone());
    seal(&mut members);
    assert_eq!(members[0].group.chain().governance().interval_ms, 1000, "two of the three others are not enough");
    assert_eq!(members[0].group.chain().governance().ballots.len(), 2);
    members[2].write(faster);
    seal(&mut members);
    assert_eq!(members[0].group.chain().governance().interval_ms, 50);
}

#[test]
fn a_key_that_acts_before_it_takes_the_place_is_somebody_and_takes_none() {
    let mut members: Vec<Member> = (0..4).map(member).collect();
    members[3].propose(10);
    seal(&mut members);
    // Anybody can pay a key that it reads in a proposal; that hinders nothing.
    members[1].pay(10, 5);
    share(&mut members);
    members[0].approve(3, 10);
    members[1].approve(3, 10);
    let mut new = member(10);
    new.hear(&members[0]);
    new.note();
    members[0].hear(&new);
    seal(&mut members);
    let last = members[2].approve(3, 10);
    seal(&mut members);
    assert_eq!(members[0].reason(&last), Some(Reason::KeyInUse));
    assert_eq!(members[0].account(3).successor(), None);
    members[3].propose(11);
    members[2].pay(11, 1);
    share(&mut members);
    (0..3).for_each(|voter| {
        members[voter].approve(3, 11);
    });
    seal(&mut members);
    assert_eq!(members[0].account(11).balance, 101);
}

#[test]
fn a_seat_that_cannot_move_stays_where_it_is() {
    // The only voter: nobody could approve.
    let alone = Genesis::founded(
        GroupSpec { founders: vec![key(0)], ..rotating(Admission::Open).spec().clone() },
        None,
        Rules::LATEST,
    );
    let mut alone = Member::with(alone.unwrap(), 0);
    let proposed = alone.propose(10);
    alone.seal();
    assert_eq!(alone.reason(&proposed), Some(Reason::Seat));
    // Somebody who is about to leave, and somebody who is about to come.
    let mut members: Vec<Member> = [0, 1, 2, 3, 5].map(member).into();
    members[3].propose(10);
    let ask = VoterAsk { block: members[4].group.chain().tip_id() };
    members[4].write(ask);
    share(&mut members);
    (0..3).for_each(|voter| {
        members[voter].write(MemberVote { set: SetNumber(0), key: key(3), role: Role::None });
    });
    seal(&mut members);
    assert_eq!(members[0].group.chain().governance().pending.len(), 2);
    let refused = [members[0].approve(3, 10), members[3].propose(11), members[4].propose(12)];
    seal(&mut members);
    assert_eq!(refused.map(|position| members[0].reason(&position)), [Some(Reason::Seat); 3]);
    // A sealer that does not vote.
    members[0].close();
    seal(&mut members);
    members[0].close();
    seal(&mut members);
    let switch = Switch { epoch: Epoch(1), sealers: vec![key(6)] };
    members[0].group.seal(2_000, Some(&switch)).unwrap();
    let mut relay = member(6);
    relay.hear(&members[0]);
    let proposed = relay.propose(13);
    members[0].hear(&relay);
    members[0].seal();
    assert_eq!(members[0].reason(&proposed), Some(Reason::Seat));
}

#[test]
fn a_frozen_key_is_not_rotated_and_a_rotated_one_that_forks_freezes_itself_alone() {
    let mut members = decided();
    let mut twin = member(3);
    twin.note();
    // Somebody who has seen nothing else depends on the other branch.
    let mut witness = member(5);
    witness.hear(&twin);
    witness.note();
    members[0].hear(&witness);
    members[0].seal();
    assert!(members[0].account(3).frozen.is_some());
    assert_eq!((members[0].account(10).frozen, members[0].account(10).balance), (None, 100));
    assert_eq!(members[0].group.chain().governance().pending.get(&key(10)), Some(&true));
    // Forked before it is decided.
    let mut members: Vec<Member> = (0..4).map(member).collect();
    members[3].propose(10);
    seal(&mut members);
    members[0].hear(&witness);
    let late = members[0].approve(3, 10);
    members[0].seal();
    assert_eq!(members[0].reason(&late), Some(Reason::Frozen));
}

#[test]
fn in_a_closed_group_the_voters_decide_about_every_member_and_the_new_key_is_one() {
    let mut members: Vec<Member> = (0..4).map(|number| Member::with(rotating(Admission::Closed), number)).collect();
    let mut newcomer = Member::with(rotating(Admission::Closed), 5);
    let vote = MemberVote { set: SetNumber(0), key: key(5), role: Role::Member };
    (0..3).for_each(|voter| {
        members[voter].write(vote.clone());
    });
    seal(&mut members);
    newcomer.hear(&members[0]);
    let block = members[0].group.chain().at(Height(1)).unwrap().block.clone();
    newcomer.accept(&block);
    newcomer.propose(15);
    members.push(newcomer);
    members[3].pay(5, 30);
    share(&mut members);
    members[0].approve(5, 15);
    members[1].approve(5, 15);
    seal(&mut members);
    assert!(members[0].account(5).member && !members[0].account(15).member);
    members[2].approve(5, 15);
    seal(&mut members);
    let (old, new) = (members[0].account(5), members[0].account(15));
    assert_eq!((old.member, old.balance, new.member, new.balance), (false, 0, true, 30));
    assert!(members[0].group.admits(&key(15), &ChangeId([0; 32])));
    let late = members[4].note();
    seal(&mut members);
    assert_eq!(members[0].reason(&late), Some(Reason::Rotated));
    assert!(members[0].group.chain().governance().pending.is_empty(), "it had no seat");
    // A member that was voted out meanwhile is not.
    members[3].propose(13);
    share(&mut members);
    members[0].approve(3, 13);
    let out = MemberVote { set: SetNumber(0), key: key(3), role: Role::None };
    (0..3).for_each(|voter| {
        members[voter].write(out.clone());
    });
    seal(&mut members);
    let late = members[1].approve(3, 13);
    seal(&mut members);
    assert_eq!(members[0].reason(&late), Some(Reason::NotMember));
}

#[test]
fn a_new_key_comes_before_who_asked_and_an_old_one_leaves_in_the_order_of_the_rules() {
    // Numbers whose keys lie on either side of the rotated ones.
    let new = (10..20).max_by_key(|number| key(*number)).unwrap();
    let asker = (20..60).find(|number| key(*number) < key(new)).unwrap();
    let leaver = (0..3).find(|number| key(*number) < key(3)).unwrap();
    for rules in [Rules::Rotation, Rules::FailedFirst] {
        let mut members = decided_for(rules, new);
        let mut early = Member::with(under(rules, Admission::Open), asker);
        early.hear(&members[0]);
        early.write(VoterAsk { block: BlockId::origin(members[0].group.id()) });
        members.push(early);
        share(&mut members);
        let out = MemberVote { set: SetNumber(0), key: key(leaver), role: Role::None };
        (0..3).for_each(|voter| {
            members[voter].write(out.clone());
        });
        members[0].close();
        share(&mut members);
        members[0].seal();
        let first = if rules == Rules::Rotation { 3 } else { leaver };
        let stay: Vec<usize> = (0..4).filter(|number| *number != first).collect();
        assert_eq!(members[0].voters(), keys(&stay), "{rules:?}: who left first");
        members[0].close();
        members[0].seal();
        members[0].close();
        members[0].seal();
        let rest: Vec<usize> = (0..3).filter(|number| *number != leaver).chain([new]).collect();
        assert_eq!(members[0].voters(), keys(&rest), "and its new key came before who asked");
    }
}

#[test]
fn payments_and_names_follow_for_a_while() {
    let mut sealer = member(0);
    let mut last = 40;
    let mut founder = member(40);
    founder.write(Transaction::name(&Name::new("ann").unwrap()));
    sealer.hear(&founder);
    let mut heirs = 0;
    while heirs < MAX_HOPS + 1 {
        let mut holder = member(last);
        holder.hear(&sealer);
        holder.propose(last + 1);
        sealer.hear(&holder);
        sealer.seal();
        (last, heirs) = (last + 1, heirs + 1);
        if heirs <= MAX_HOPS {
            assert_eq!(sealer.group.ledger().name_of(&key(last)).as_deref(), Some("ann"));
            assert_eq!(sealer.group.ledger().resolve("ann", |_| None), Ok(key(last)));
        }
    }
    let (far, near) = (sealer.pay(40, 5), sealer.pay(41, 5));
    sealer.seal();
    assert_eq!([far, near].map(|position| sealer.reason(&position)), [Some(Reason::Rotated), None]);
    assert_eq!((sealer.account(0).balance, sealer.account(last).balance), (95, 5));
    // A block that is taken back takes the name back.
    for _ in 0..MAX_HOPS + 1 {
        sealer.group.undo().unwrap();
    }
    assert_eq!(sealer.group.ledger().resolve("ann", |_| None), Ok(key(41)));
    sealer.group.undo().unwrap();
    assert_eq!(sealer.group.ledger().resolve("ann", |_| None), Ok(key(40)));
    assert_eq!(sealer.group.ledger().name_of(&key(41)), None);
}

/// A build that does not know these kinds shows and counts them, whatever stands in them. So does this one, where the group has not the rule.
#[test]
fn in_groups_without_the_rule_nothing_is_meant_by_it() {
    let mut members: Vec<Member> = (0..4).map(Member::new).collect();
    let broken = Transaction { version: 1, kind: "key.rotate".into(), body: bft_json_crdt::value::Value::Null };
    assert!(matches!(broken.clone().known(9), Err(TransactionError::Body { .. })));
    let all = [members[3].propose(10), members[3].write(broken), members[2].approve(3, 10), members[1].approve(3, 10)];
    members[0].approve(3, 10);
    seal(&mut members);
    assert_eq!(all.map(|position| members[0].reason(&position)), [None; 4]);
    assert_eq!((members[0].account(3).balance, members[0].account(3).rotation), (100, None));
    assert!(members[0].group.chain().governance().ballots.is_empty());
    let kinds: Vec<String> = members[0].group.history(None).map(|entry| entry.kind).collect();
    assert!(kinds.iter().all(|kind| kind.starts_with("key.")), "{kinds:?}");
}

#[test]
fn the_golden_rotation_keeps_its_roots() {
    let members = decided_for(Rules::Rotation, 10);
    let mut lines = String::new();
    for sealed in members[0].group.chain().blocks() {
        lines += &format!("{}\n", hex::encode(sealed.block.state_root));
    }
    for number in [3, 10] {
        lines += &format!("{}\n", hex::encode(members[0].account(number).encode(&key(number))));
    }
    assert_eq!(lines, include_str!("../../../tests/golden/rotation.hex"));
}

#[test]
fn a_leaf_reads_back_with_every_state_of_a_rotation_and_in_no_other_way() {
    let states = [Rotation::Proposed(key(1)), Rotation::Rotated(key(2)), Rotation::Succeeds(key(3))];
    for rotation in states.map(Some).into_iter().chain([None]) {
        let account = Account { balance: 7, tip: Some(ChangeId([4; 32])), rotation, ..Account::default() };
        let leaf = account.encode(&key(9));
        assert!(leaf.len() <= crate::snapshot::MAX_ACCOUNT_BYTES);
        assert_eq!(Account::decode(&leaf), Ok((*key(9).as_bytes(), account)));
        for cut in 0..leaf.len() {
            // Without the rotation it is the leaf of an account that has none.
            let whole = rotation.is_some() && cut + 33 == leaf.len();
            assert_eq!(Account::decode(&leaf[..cut]).is_ok(), whole, "{cut} of {}", leaf.len());
        }
    }
}

/// A small generator, so that a failing history is named by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// The keys of a history: founders, a twin of the last founder, a member without a vote, and the next keys of all of them, twice.
const NUMBERS: [usize; 16] = [0, 1, 2, 3, 3, 5, 10, 11, 12, 13, 15, 20, 21, 22, 23, 25];

#[derive(Debug, Default)]
struct Seen {
    rotations: usize,
    seats: usize,
    sealers: usize,
    taken_back: usize,
}

/// Plays a random history: transfers, proposals, approvals, asks, forks, closes, blocks and blocks that are taken back, heard in any order.
fn play(seed: u64, seen: &mut Seen) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let closed = seed.is_multiple_of(3);
    let founded = || rotating(if closed { Admission::Closed } else { Admission::Open });
    let mut members: Vec<Member> = NUMBERS.map(|number| Member::with(founded(), number)).into();
    // Few of them are rotated in one history, so that it comes to something.
    let focus = [dice.below(4), dice.below(4)];
    for _ in 0..140 {
        let rotated = |members: &[Member]| {
            members[0].group.chain().accounts().iter().filter(|(_, a)| a.successor().is_some()).count()
        };
        let set = members[0].group.chain().governance().set;
        let write = |members: &mut [Member], at: usize, what: Transaction| {
            let by = keypair(NUMBERS[at]);
            // A stranger to a closed group cannot write.
            drop(members[at].group.write(&[what], &by, 5));
        };
        match dice.below(20) {
            0..=2 => {
                let (from, to, amount) = (dice.below(16), NUMBERS[dice.below(16)], 1 + dice.below(60) as u64);
                write(&mut members, from, Transfer { to: key(to), amount }.into());
            }
            3..=4 => {
                let from = focus[dice.below(2)];
                let at = [from, from + 6 - usize::from(from == 5), dice.below(16)][dice.below(3)];
                let new = if NUMBERS[at] >= 20 { 0 } else { NUMBERS[at] + 10 };
                let rotate = KeyRotate::sign(members[0].group.id(), &key(NUMBERS[at]), &keypair(new));
                write(&mut members, at, rotate.into());
            }
            5..=9 => {
                // Mostly what stands to be decided, by somebody who votes, and heard at once.
                let chain = members[0].group.chain();
                let open = |account: &Account| matches!(account.rotation, Some(Rotation::Proposed(_)));
                let proposed = chain.accounts().iter().find(|(_, account)| open(account)).map(|(key, _)| *key);
                let voters = &chain.governance().voters;
                let at = (0..11).filter(|_| dice.below(3) == 0).find(|at| voters.contains(&key(NUMBERS[*at])));
                let guess = focus[dice.below(2)];
                let old = (0..14).find(|number| Some(key(*number)) == proposed).unwrap_or(guess);
                let at = at.unwrap_or(dice.below(11));
                write(&mut members, at, KeyApprove { set, old: key(old), new: key(old + 10) }.into());
                if dice.below(4) > 0 {
                    let log = members[at].log();
                    members[0].group.apply_batch(log);
                }
            }
            10 => {
                let block = members[0].group.chain().tip_id();
                write(&mut members, dice.below(16), VoterAsk { block }.into());
            }
            11 if dice.below(6) == 0 => drop(members[4].group.note("fork", &keypair(3), 5)),
            11 => {
                let (at, about) = (dice.below(11), NUMBERS[dice.below(16)]);
                let role = [Role::None, Role::Voter][dice.below(2)];
                write(&mut members, at, MemberVote { set, key: key(about), role }.into());
            }
            12 => {
                let sealer = members[0].group.chain().governance().sealers[0];
                let at = NUMBERS.iter().position(|number| key(*number) == sealer).unwrap();
                write(&mut members, at, SetClose { set }.into());
                let log = members[at].log();
                members[0].group.apply_batch(log);
            }
            13..=15 => {
                // The sealing replica hears of everybody, the others of somebody.
                let from = dice.below(16);
                let log = members[from].log();
                members[0].group.apply_batch(log);
                let to = dice.below(16);
                let log = members[0].log();
                members[to].group.apply_batch(log);
                for sealed in members[0].group.chain().blocks().to_vec() {
                    drop(members[to].group.accept(&sealed.block, None));
                }
            }
            16..=18 => {
                let before =
                    (rotated(&members), members[0].voters(), members[0].group.chain().governance().sealers.clone());
                match members[0].group.seal(7, None) {
                    Ok(_) | Err(Fault::Nothing) => members[0].check(),
                    Err(fault) => panic!("seed {seed}: {fault}"),
                }
                let governance = members[0].group.chain().governance();
                let came = governance.voters.iter().find(|key| !before.1.contains(key));
                let in_place = |key: &AuthorId| members[0].group.chain().account(key).predecessor().is_some();
                seen.rotations += rotated(&members).saturating_sub(before.0);
                seen.seats += usize::from(came.is_some_and(in_place));
                seen.sealers += usize::from(governance.sealers != before.2);
                let change: Vec<_> =
                    before.1.iter().filter(|key| !governance.voters.contains(*key)).chain(came).collect();
                assert!(change.len() <= 1, "seed {seed}: a close carried out {change:?}");
            }
            _ => {
                let roots: Vec<_> =
                    members[0].group.chain().blocks().iter().map(|sealed| sealed.block.state_root).collect();
                for _ in 0..1 + dice.below(3) {
                    let before = rotated(&members);
                    members[0].group.undo().unwrap();
                    members[0].check();
                    seen.taken_back += before - rotated(&members);
                    if let Some(root) = members[0].group.chain().blocks().len().checked_sub(1).map(|at| roots[at]) {
                        assert_eq!(members[0].group.state_root(), root, "seed {seed}");
                    }
                }
            }
        }
    }
    // Somebody who hears all of it the other way round, and in pieces, comes to the same.
    let mut replay = Member::with(founded(), 2);
    let mut log = members[0].log();
    log.reverse();
    let middle = dice.below(log.len() + 1);
    log.rotate_left(middle);
    let blocks = members[0].group.chain().blocks().to_vec();
    for sealed in &blocks {
        // A closed group takes in what a new member wrote once it is one: by the block before.
        while replay.group.accept(&sealed.block, None) != Ok(sealed.id) {
            let before = replay.group.replica().len();
            log.chunks(7).for_each(|piece| drop(replay.group.apply_batch(piece.to_vec())));
            assert!(replay.group.replica().len() > before, "seed {seed}: {:?}", sealed.block.height);
        }
        replay.check();
    }
    assert_eq!(replay.group.state_root(), members[0].group.state_root(), "seed {seed}");
}

#[test]
fn random_histories_with_rotations_keep_the_supply_and_one_seat_for_each() {
    let mut seen = Seen::default();
    for seed in 0..40 {
        play(seed, &mut seen);
    }
    // Else it would have tested something else.
    assert!(seen.rotations > 60 && seen.seats > 8 && seen.sealers > 3 && seen.taken_back > 30, "{seen:?}");
}
