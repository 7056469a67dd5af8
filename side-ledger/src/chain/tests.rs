//! Blocks move what they say, every member comes to the same state, and what was done can be undone.

mod rotation;

use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Limits as ReplicaLimits};
use proptest::prelude::*;

use super::*;
use crate::genesis::{GroupSpec, Limits, Sealing};
use crate::group::Group;
use crate::names::Name;
use crate::transaction::vote::{Parameter, Role};
use crate::transaction::{MemberVote, ParameterVote, SetClose, Transaction, Transfer, VoterAsk};

/// The key pair of a member. Founders are 0, 1, 2, 3 in the order of their keys, so that 0 is the first sealer.
fn keypair(number: usize) -> Keypair {
    // Making one costs more than anything else here.
    static KEYS: std::sync::OnceLock<Vec<Keypair>> = std::sync::OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let mut founders: Vec<Keypair> = (1..5).map(|seed| Keypair::from_seed(&[seed; 32])).collect();
        founders.sort_by_key(Keypair::author);
        founders.into_iter().chain((4..64).map(|number| Keypair::from_seed(&[number + 100; 32]))).collect()
    });
    keys[number].clone()
}

fn key(number: usize) -> AuthorId {
    keypair(number).author()
}

fn genesis(admission: Admission, block_changes: u64) -> Genesis {
    Genesis::new(GroupSpec {
        name: Name::new("friends").unwrap(),
        created_ms: 1,
        nonce: [3; 32],
        founders: (0..4).map(key).collect(),
        admission,
        allocation: (0..4).map(|number| (key(number), 100)).collect(),
        sealing: Sealing::Leader { interval_ms: 1000 },
        limits: Limits { note_bytes: 100, block_changes },
    })
    .unwrap()
}

struct Member {
    number: usize,
    group: Group,
}

impl Member {
    fn with(genesis: Genesis, number: usize) -> Self {
        Self { number, group: Group::open(genesis, Some(key(number)), ReplicaLimits::default()) }
    }

    fn new(number: usize) -> Self {
        Self::with(genesis(Admission::Open, 1000), number)
    }

    fn write(&mut self, transaction: impl Into<Transaction>) -> Position {
        self.group.write(&[transaction.into()], &keypair(self.number), 5).unwrap().entries[0]
    }

    fn pay(&mut self, to: usize, amount: u64) -> Position {
        self.write(Transfer { to: key(to), amount })
    }

    fn log(&self) -> Vec<Incoming> {
        self.group.replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect()
    }

    fn hear(&mut self, other: &Member) {
        self.group.apply_batch(other.log());
    }

    fn seal(&mut self) -> Block {
        let block = self.group.seal(1_000, None).unwrap();
        self.check();
        block
    }

    fn accept(&mut self, block: &Block) {
        self.group.accept(block, None).unwrap();
        self.check();
    }

    fn check(&mut self) {
        let (chain, replica) = self.group.parts();
        chain.debug_check(replica);
    }

    fn balances(&self) -> Vec<u64> {
        (0..6).map(|number| self.group.chain().account(&key(number)).balance).collect()
    }

    fn reason(&self, position: &Position) -> Option<Reason> {
        match self.group.status(position).unwrap() {
            Status::Rejected { reason, .. } => Some(reason),
            Status::Sealed { .. } => None,
            Status::Pending => panic!("{position} is pending"),
        }
    }
}

fn first_offset(member: &Member, id: ChangeId) -> u32 {
    member.group.history(None).find(|entry| entry.id == id).unwrap().offset
}

#[test]
fn a_transfer_is_pending_then_sealed_and_every_member_comes_to_the_same_state() {
    let (mut sealer, mut other) = (Member::new(0), Member::new(1));
    let paid = sealer.pay(5, 30);
    assert_eq!(sealer.group.status(&paid), Some(Status::Pending));
    assert_eq!(sealer.balances(), [100, 100, 100, 100, 0, 0]);
    let block = sealer.seal();
    assert_eq!(sealer.group.status(&paid), Some(Status::Sealed { height: Height(1) }));
    assert_eq!(sealer.balances(), [70, 100, 100, 100, 0, 30]);
    // A block that covers what is not here yet waits.
    assert_eq!(other.group.accept(&block, None), Err(Fault::Unknown(vec![paid.id])));
    other.hear(&sealer);
    other.accept(&block);
    assert_eq!(other.balances(), sealer.balances());
    assert_eq!(other.group.seal(1, None), Err(Fault::Nothing));
    assert_eq!(other.group.chain().tip_id(), sealer.group.chain().tip_id());
}

#[test]
fn of_a_double_spend_the_later_in_the_one_order_is_rejected_by_everybody() {
    let mut members: Vec<Member> = (0..4).map(Member::new).collect();
    // Member 1 owns 100 and pays 80 twice; what it receives counts from there on.
    let pay = |to| Transaction::from(Transfer { to: key(to), amount: 80 });
    let twice = members[1].group.write(&[pay(4), pay(5)], &keypair(1), 5).unwrap().entries;
    let (first, second) = (twice[0], twice[1]);
    members[2].write(Transaction::note("later in the one order", 100).unwrap());
    let gift = members[2].pay(1, 60);
    let log = members[2].log();
    members[1].group.apply_batch(log);
    let third = members[1].pay(5, 80);
    for at in 0..4 {
        let logs: Vec<Vec<Incoming>> = (0..4).map(|turn| members[(at + turn) % 4].log()).collect();
        logs.into_iter().for_each(|log| drop(members[at].group.apply_batch(log)));
    }
    let block = members[0].seal();
    for member in &mut members[1..] {
        member.accept(&block);
    }
    for member in &members {
        assert_eq!(
            [first, second, gift, third].map(|position| member.reason(&position)),
            [None, Some(Reason::Balance), None, None]
        );
        assert_eq!(member.balances(), [100, 0, 40, 100, 80, 80]);
    }
}

#[test]
fn of_a_forked_chain_at_most_one_branch_counts_and_the_author_is_frozen_where_both_are_covered() {
    // Two machines with one key: member 3 pays its 100 twice, to different people, and goes on on both branches.
    let (mut left, mut right) = (Member::new(3), Member::new(3));
    let before = left.pay(0, 10);
    right.hear(&left);
    let forked = [[left.pay(4, 90), right.pay(5, 90)], [left.pay(4, 1), right.pay(5, 1)]];
    // Somebody has seen the left branch only, and what it writes depends on it.
    let mut witness = Member::new(2);
    witness.hear(&left);
    witness.pay(1, 1);
    for separately in [false, true] {
        let mut sealer = Member::new(0);
        let mut blocks = Vec::new();
        sealer.hear(&right);
        if separately {
            blocks.push(sealer.seal());
        }
        sealer.hear(&witness);
        // A member that may write acknowledges what it holds of both branches.
        sealer.group.acknowledge(&keypair(0), 6).unwrap();
        blocks.push(sealer.seal());
        assert_eq!(sealer.group.seal(6, None), Err(Fault::Nothing));
        let mut other = Member::new(1);
        other.group.apply_batch(sealer.log());
        blocks.iter().for_each(|block| other.accept(block));
        for member in [&sealer, &other] {
            assert_eq!(member.reason(&before), None);
            let of = |branch: usize| [member.reason(&forked[0][branch]), member.reason(&forked[1][branch])];
            let right_won = of(1)[0].is_none();
            assert!(right_won || !separately, "what was sealed first wins");
            let (won, lost) = if right_won { (of(1), of(0)) } else { (of(0), of(1)) };
            assert_eq!(won, if separately { [None, Some(Reason::Balance)] } else { [None, Some(Reason::Frozen)] });
            assert_eq!(lost, [Some(Reason::Fork), Some(Reason::Frozen)]);
            let balances = member.balances();
            assert_eq!((balances[3], balances[4] + balances[5]), (0, 90));
            assert_eq!(member.group.chain().account(&key(3)).frozen, Some(Height(blocks.len() as u64)));
        }
        // It will leave the set, and what it signs later counts for nothing.
        assert_eq!(sealer.group.chain().governance().pending.get(&key(3)), Some(&false));
        let late = left.write(Transaction::note("late", 100).unwrap());
        witness.hear(&left);
        witness.pay(1, 1);
        sealer.hear(&witness);
        sealer.seal();
        assert_eq!(sealer.reason(&late), Some(Reason::Frozen));
    }
}

#[test]
fn a_proven_equivocators_flood_does_not_keep_others_from_being_sealed() {
    let small = || genesis(Admission::Open, 3);
    let (mut left, mut right) = (Member::with(small(), 3), Member::with(small(), 3));
    right.pay(1, 1);
    for _ in 0..10 {
        left.pay(0, 1);
    }
    let mut sealer = Member::with(small(), 0);
    sealer.hear(&left);
    sealer.hear(&right);
    // Others may not hold what nobody else depends on.
    assert_eq!(sealer.group.seal(1, None), Err(Fault::Nothing));
    let honest = sealer.pay(1, 7);
    // The honest change names what it saw, so all is covered in the end, three changes a block.
    while sealer.group.status(&honest) == Some(Status::Pending) {
        assert!(sealer.seal().cut.len() <= 2);
    }
    assert_eq!(sealer.reason(&honest), None);
}

#[test]
fn blocks_that_do_not_follow_are_refused_and_leave_no_trace() {
    let (mut sealer, mut other) = (Member::new(0), Member::new(1));
    sealer.pay(1, 1);
    let first = sealer.seal();
    sealer.pay(2, 1);
    sealer.write(Transaction::note("x", 10).unwrap());
    let second = sealer.seal();
    other.hear(&sealer);
    assert_eq!(other.group.accept(&second, None), Err(Fault::Parent));
    other.accept(&first);
    let before = other.group.state_root();
    let past = |cut: &[ChangeId]| vec![sealer.group.replica().id(ChangeIdx(1)), cut[0]];
    let mut past = past(&second.cut);
    past.sort_unstable();
    let bad: Vec<(Block, Fault)> = vec![
        (Block { group: GroupId([9; 32]), ..second.clone() }, Fault::Group),
        (Block { height: Height(3), ..second.clone() }, Fault::Parent),
        (Block { parent: BlockId([9; 32]), ..second.clone() }, Fault::Parent),
        (Block { epoch: Epoch(1), ..second.clone() }, Fault::Seat),
        (Block { set: crate::block::SetNumber(1), ..second.clone() }, Fault::Seat),
        (Block { recovery: Recovery(1), ..second.clone() }, Fault::Seat),
        (Block { time_ms: 999, ..second.clone() }, Fault::Time),
        (Block { cut: first.cut.clone(), ..second.clone() }, Fault::Nothing),
        (Block { cut: vec![], ..second.clone() }, Fault::Cut),
        (Block { cut: past, ..second.clone() }, Fault::Cut),
        (Block { cut: vec![ChangeId([9; 32])], ..second.clone() }, Fault::Unknown(vec![ChangeId([9; 32])])),
        (Block { state_root: [9; 32], ..second.clone() }, Fault::StateRoot),
        (Block { receipts_root: [9; 32], ..second.clone() }, Fault::ReceiptsRoot),
    ];
    for (block, fault) in bad {
        assert_eq!(other.group.accept(&block, None), Err(fault));
        assert_eq!(other.group.state_root(), before);
        other.check();
    }
    let switch = |epoch| Switch { epoch: Epoch(epoch), sealers: vec![key(1)] };
    assert_eq!(other.group.accept(&second, Some(&switch(0))), Err(Fault::Seat));
    assert_eq!(other.group.accept(&second, Some(&switch(1))), Err(Fault::Seat));
    other.accept(&second);
}

#[test]
fn a_block_seals_no_more_than_it_may_and_names_no_more_heads_than_fit() {
    let small = || genesis(Admission::Open, 2);
    let mut sealer = Member::with(small(), 0);
    for _ in 0..5 {
        sealer.pay(1, 1);
    }
    let mut large = Member::with(genesis(Admission::Open, 5), 0);
    for _ in 0..5 {
        large.pay(1, 1);
    }
    let sizes: Vec<usize> = std::iter::from_fn(|| {
        sealer.group.seal(9, None).ok()?;
        sealer.group.chain().tip().map(Sealed::len)
    })
    .collect();
    assert_eq!(sizes, [2, 2, 1]);
    let whole = Block {
        cut: sealer.group.replica().heads().to_vec(),
        ..sealer.group.chain().at(Height(1)).unwrap().block.clone()
    };
    let mut other = Member::with(small(), 1);
    other.hear(&sealer);
    assert_eq!(other.group.accept(&whole, None), Err(Fault::TooMany));
    // 1,100 authors who do not know of each other.
    let mut sealer = Member::new(0);
    let heads: Vec<Incoming> = (0..1_100u32)
        .flat_map(|number| {
            let mut seed = [7; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            let keypair = Keypair::from_seed(&seed);
            let mut group =
                Group::open(genesis(Admission::Open, 1000), Some(keypair.author()), ReplicaLimits::default());
            group.note("hi", &keypair, 1).unwrap();
            Member { number: 0, group }.log()
        })
        .collect();
    sealer.group.apply_batch(heads);
    assert_eq!(sealer.seal().cut.len(), 1000);
    assert_eq!(sealer.seal().cut.len(), crate::block::MAX_CUT);
    assert_eq!(sealer.group.seal(9, None), Err(Fault::Nothing));
    sealer.group.acknowledge(&keypair(0), 6).unwrap();
    while sealer.group.chain().pending() > 0 {
        sealer.seal();
    }
    assert_eq!(sealer.group.chain().tip().unwrap().block.cut.len(), 1);
}

#[test]
fn in_a_closed_group_only_members_count_and_voters_take_them_in() {
    let closed = || genesis(Admission::Closed, 1000);
    let mut members: Vec<Member> = (0..4).map(|number| Member::with(closed(), number)).collect();
    let vote = |role| MemberVote { set: crate::block::SetNumber(0), key: key(4), role };
    let share = |members: &mut [Member]| {
        for at in 0..members.len() {
            let logs: Vec<Vec<Incoming>> = members.iter().map(Member::log).collect();
            logs.into_iter().for_each(|log| drop(members[at].group.apply_batch(log)));
        }
    };
    let seal = |members: &mut [Member]| {
        let block = members[0].seal();
        members[1..].iter_mut().for_each(|member| member.accept(&block));
    };
    // A stranger writes into an open twin of the group; a founder's change depends on it.
    let mut stranger = Member::with(closed(), 4);
    let mut twin = Replica::new(closed().id().document(), ReplicaLimits::default());
    for number in [5, 3] {
        twin.set_writer(Some(key(number)));
        let note = Transaction::note("hello", 100).unwrap().to_value();
        let written = twin.transact(&keypair(number), 1, |tx| {
            let list = tx.child(ContainerIdx::ROOT, crate::transaction::TRANSACTIONS_KEY, Kind::List)?;
            tx.insert_in_order(list, NewElement::Value(note)).map(drop)
        });
        written.unwrap().1.unwrap();
    }
    let stranger_id = twin.id(ChangeIdx(0));
    let founders: Vec<Incoming> = twin.log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect();
    members[3].group.apply_batch(founders);
    assert!(stranger.group.write(&[Transaction::note("hi", 9).unwrap()], &keypair(4), 1).is_err());
    members[0].write(vote(Role::Member));
    members[1].write(vote(Role::Member));
    let revoked = members[2].write(vote(Role::Voter));
    let other_set = members[3].write(MemberVote { set: crate::block::SetNumber(7), ..vote(Role::Member) });
    share(&mut members);
    seal(&mut members);
    let offset = first_offset(&members[1], stranger_id);
    let by_stranger = Position { lamport: 1, id: stranger_id, offset };
    assert_eq!(members[1].reason(&by_stranger), Some(Reason::NotMember));
    assert_eq!(members[1].reason(&other_set), Some(Reason::OtherSet));
    assert_eq!(members[1].reason(&revoked), None);
    assert!(!members[1].group.chain().account(&key(4)).member);
    members[2].write(vote(Role::Member));
    share(&mut members);
    seal(&mut members);
    assert!(members[3].group.chain().account(&key(4)).member);
    let again = members[3].write(vote(Role::Member));
    // Now it may write, and others take it in.
    stranger.hear(&members[0]);
    for height in 1..=2 {
        let block = members[0].group.chain().at(Height(height)).unwrap().block.clone();
        stranger.accept(&block);
    }
    let note = stranger.write(Transaction::note("thanks", 100).unwrap());
    let not_a_voter = stranger.write(vote(Role::Voter));
    members.push(stranger);
    share(&mut members);
    seal(&mut members);
    assert_eq!(members[2].reason(&note), None);
    assert_eq!(members[2].reason(&not_a_voter), Some(Reason::NotVoter));
    assert_eq!(members[2].reason(&again), Some(Reason::NoChange));
    let block = members[4].group.chain().tip_id();
    let asked = members[4].write(VoterAsk { block });
    share(&mut members);
    seal(&mut members);
    assert_eq!(members[0].reason(&asked), Some(Reason::NotOpen));
}

#[test]
fn the_set_changes_where_the_sealer_closes_it_and_an_undo_brings_it_back() {
    let set = crate::block::SetNumber;
    let mut sealer = Member::new(0);
    let mut asker = Member::new(5);
    let stale = asker.write(VoterAsk { block: BlockId([8; 32]) });
    let asked = asker.write(VoterAsk { block: asker.group.chain().tip_id() });
    sealer.hear(&asker);
    let early = sealer.write(SetClose { set: set(1) });
    sealer.seal();
    assert_eq!(
        [stale, asked, early].map(|p| sealer.reason(&p)),
        [Some(Reason::OldBlock), None, Some(Reason::OtherSet)]
    );
    assert_eq!((sealer.group.chain().rank().set, sealer.group.chain().electorate().voters.len()), (set(0), 4));
    let not_sealer = asker.write(SetClose { set: set(0) });
    sealer.hear(&asker);
    sealer.seal();
    assert_eq!(sealer.reason(&not_sealer), Some(Reason::NotSealer));
    let vote = sealer.write(MemberVote { set: set(0), key: key(3), role: Role::None });
    let close = sealer.write(SetClose { set: set(0) });
    let twice = sealer.write(SetClose { set: set(0) });
    let before = sealer.group.state_root();
    let block = sealer.seal();
    assert_eq!([vote, close, twice].map(|p| sealer.reason(&p)), [None, None, Some(Reason::NothingPending)]);
    // That block was the last of its set; open ballots of the old set are void.
    let chain = sealer.group.chain();
    assert_eq!((chain.rank().set, chain.governance().set), (set(0), set(1)));
    assert_eq!((chain.electorate().voters.len(), chain.tip().unwrap().electorate.voters.len()), (5, 4));
    assert!(chain.governance().ballots.is_empty() && chain.governance().pending.is_empty());
    sealer.group.undo().unwrap().unwrap();
    sealer.check();
    assert_eq!(sealer.group.state_root(), before);
    assert_eq!(sealer.group.chain().electorate().voters.len(), 4);
    sealer.accept(&block);
    let nothing = sealer.write(SetClose { set: set(1) });
    assert_eq!(sealer.seal().set, set(1));
    assert_eq!(sealer.reason(&nothing), Some(Reason::NothingPending));
}

#[test]
fn parameters_change_once_more_than_two_thirds_say_the_same() {
    let mut members: Vec<Member> = (0..4).map(Member::new).collect();
    let vote = |value| ParameterVote { set: crate::block::SetNumber(0), parameter: Parameter::IntervalMs, value };
    for (number, value) in [(0, 50), (1, 50), (2, 60)] {
        members[number].write(vote(value));
        let log = members[number].log();
        members[0].group.apply_batch(log);
    }
    members[0].seal();
    assert_eq!(members[0].group.chain().governance().interval_ms, 1000);
    members[3].write(vote(50));
    let log = members[3].log();
    members[0].group.apply_batch(log);
    members[0].seal();
    assert_eq!(members[0].group.chain().governance().interval_ms, 50);
    assert!(members[0].group.chain().governance().ballots.is_empty());
}

#[test]
fn a_switch_makes_others_seal_and_the_replaced_leave() {
    let mut sealer = Member::new(0);
    sealer.pay(1, 1);
    sealer.seal();
    let mut next = Member::new(1);
    next.hear(&sealer);
    let first = sealer.group.chain().at(Height(1)).unwrap().block.clone();
    next.accept(&first);
    let switch = Switch { epoch: Epoch(3), sealers: vec![key(1)] };
    // The first block of an epoch may seal nothing.
    let block = next.group.seal(2_000, Some(&switch)).unwrap();
    next.check();
    assert_eq!((block.epoch, block.set.0, block.cut == first.cut), (Epoch(3), 0, true));
    assert_eq!(next.group.chain().governance().pending.get(&key(0)), Some(&false));
    assert_eq!(sealer.group.accept(&block, None), Err(Fault::Seat));
    sealer.group.accept(&block, Some(&switch)).unwrap();
    assert_eq!(sealer.group.chain().governance().sealers, [key(1)]);
    let close = next.write(SetClose { set: crate::block::SetNumber(0) });
    next.seal();
    assert_eq!(next.reason(&close), None);
    let governance = next.group.chain().governance();
    assert_eq!((governance.set.0, governance.epoch.0, &governance.office), (1, 3, &vec![key(1)]));
    assert!(!governance.voters.contains(&key(0)));
    sealer.check();
}

#[test]
fn settled_blocks_are_not_undone() {
    let mut sealer = Member::new(0);
    for _ in 0..3 {
        sealer.pay(1, 1);
        sealer.seal();
    }
    sealer.group.settle(Height(2));
    assert!(sealer.group.undo().unwrap().is_some());
    assert_eq!(sealer.group.undo().unwrap_err(), Settled(Height(2)));
    assert_eq!(Member::new(0).group.undo().unwrap().map(|sealed| sealed.id), None);
}

#[test]
fn the_golden_chain_keeps_its_roots() {
    let mut sealer = Member::new(0);
    let mut lines = format!("{}\n", hex::encode(sealer.group.state_root()));
    sealer.pay(5, 30);
    sealer.pay(5, 80);
    sealer.seal();
    sealer.write(Transaction::note("hello", 10).unwrap());
    sealer.write(MemberVote { set: crate::block::SetNumber(0), key: key(5), role: Role::Voter });
    sealer.seal();
    for sealed in sealer.group.chain().blocks() {
        lines += &format!("{}\n{}\n", hex::encode(sealed.block.state_root), hex::encode(sealed.block.receipts_root));
        lines += &format!("{}\n", sealed.id);
    }
    assert_eq!(lines, include_str!("../../tests/golden/chain.hex"));
}

#[derive(Debug, Clone)]
enum Step {
    Pay { from: usize, to: usize, amount: u64 },
    Hear { to: usize, from: usize },
    Fork,
    Ask(usize),
    Close,
    Seal,
    Undo(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..4, 0usize..6, 1u64..120).prop_map(|(from, to, amount)| Step::Pay { from, to, amount }),
        6 => (0usize..4, 0usize..5).prop_map(|(to, from)| Step::Hear { to, from }),
        1 => Just(Step::Fork),
        1 => (0usize..4).prop_map(Step::Ask),
        1 => Just(Step::Close),
        4 => Just(Step::Seal),
        2 => (1usize..4).prop_map(Step::Undo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is written, heard, sealed and undone in whatever order: balances add up, and whoever replays the chain comes to the same.
    #[test]
    fn random_chains_replay_to_the_same_state(steps in proptest::collection::vec(step(), 1..60), limit in 1u64..8) {
        // Member 4 is a twin of member 3: it forks that chain.
        let open = || genesis(Admission::Open, limit);
        let mut members: Vec<Member> = [0, 1, 2, 3, 3].map(|number| Member::with(open(), number)).into();
        for step in steps {
            match step {
                Step::Pay { from, to, amount } => {
                    let transfer = Transfer { to: key(to), amount };
                    let by = keypair(members[from].number);
                    drop(members[from].group.write(&[transfer.into()], &by, 5));
                }
                Step::Fork => drop(members[4].group.note("fork", &keypair(3), 5)),
                Step::Hear { to, from } => {
                    let log = members[from].log();
                    members[to].group.apply_batch(log);
                    let by = keypair(members[to].number);
                    drop(members[to].group.acknowledge(&by, 6));
                }
                Step::Ask(number) => {
                    let ask = VoterAsk { block: members[0].group.chain().tip_id() };
                    let by = keypair(members[number].number);
                    drop(members[number].group.write(&[ask.into()], &by, 5));
                }
                Step::Close => {
                    let set = members[0].group.chain().governance().set;
                    drop(members[0].group.write(&[SetClose { set }.into()], &keypair(0), 5));
                }
                Step::Seal => {
                    match members[0].group.seal(7, None) {
                        Ok(_) | Err(Fault::Nothing) => members[0].check(),
                        Err(fault) => panic!("{fault}"),
                    }
                }
                Step::Undo(count) => {
                    let roots: Vec<_> =
                        members[0].group.chain().blocks().iter().map(|sealed| sealed.block.state_root).collect();
                    for _ in 0..count {
                        members[0].group.undo().unwrap();
                        members[0].check();
                        let left = members[0].group.chain().blocks().len();
                        if left > 0 {
                            prop_assert_eq!(members[0].group.state_root(), roots[left - 1]);
                        }
                    }
                }
            }
        }
        let mut replay = Member::with(open(), 2);
        replay.group.apply_batch(members[0].log());
        for sealed in members[0].group.chain().blocks().to_vec() {
            replay.accept(&sealed.block);
            for index in &sealed.changes {
                let receipt = members[0].group.chain().receipt(members[0].group.replica(), *index);
                let there = replay.group.replica().index_of(&members[0].group.replica().id(*index)).unwrap();
                prop_assert_eq!(receipt, replay.group.chain().receipt(replay.group.replica(), there));
            }
        }
        prop_assert_eq!(replay.balances(), members[0].balances());
    }
}
