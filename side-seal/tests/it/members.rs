//! A few members of a group whose messages a test carries by hand.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::replica::Incoming;
use side_ledger::block::Block;
use side_ledger::genesis::{Admission, Genesis, GroupSpec, Limits, Rules, Sealing};
use side_ledger::group::Group;
use side_ledger::ledger::Position;
use side_ledger::names::Name;
use side_ledger::transaction::Transaction;
use side_seal::effect::Refusal;
use side_seal::{Effect, Event, Leader, Message, Record, SignedBlock, Warrant};

/// The founders' key pairs, the first sealer's first.
pub(crate) fn keypair(number: usize) -> Keypair {
    let mut founders: Vec<Keypair> = (1..5).map(|seed| Keypair::from_seed(&[seed; 32])).collect();
    founders.sort_by_key(Keypair::author);
    founders.into_iter().nth(number).unwrap_or_else(|| {
        // More than a byte tells apart: of those the first bytes are the number.
        let mut seed = [(number % 156) as u8 + 100; 32];
        if number >= 156 {
            seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
        }
        Keypair::from_seed(&seed)
    })
}

pub(crate) fn key(number: usize) -> AuthorId {
    keypair(number).author()
}

pub(crate) struct Member {
    pub(crate) number: usize,
    pub(crate) group: Group,
    pub(crate) leader: Leader,
    pub(crate) kept: Vec<Record>,
}

impl Member {
    pub(crate) fn new(number: usize) -> Self {
        Self::under(Rules::First, number)
    }

    /// A founder of a group with these rules.
    pub(crate) fn under(rules: Rules, number: usize) -> Self {
        let spec = GroupSpec {
            name: Name::new("friends").unwrap(),
            created_ms: 1,
            nonce: [3; 32],
            founders: (0..4).map(key).collect(),
            admission: Admission::Open,
            allocation: (0..4).map(|number| (key(number), 100)).collect(),
            sealing: Sealing::Leader { interval_ms: 1000 },
            limits: Limits { note_bytes: 100, block_changes: 1000 },
        };
        let group = Group::open(Genesis::founded(spec, None, rules).unwrap(), Some(key(number)), Default::default());
        Self { number, group, leader: Leader::new(Some(keypair(number))), kept: Vec::new() }
    }

    /// The four founders.
    pub(crate) fn founders() -> [Self; 4] {
        [0, 1, 2, 3].map(Self::new)
    }

    pub(crate) fn log(&self) -> Vec<Incoming> {
        self.group.replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect()
    }

    pub(crate) fn write(&mut self, transaction: impl Into<Transaction>) -> Position {
        self.group.write(&[transaction.into()], &keypair(self.number), 5).unwrap().entries[0]
    }

    pub(crate) fn note(&mut self) -> Position {
        self.write(Transaction::note("hi", 100).unwrap())
    }

    pub(crate) fn learn(&mut self, changes: Vec<Incoming>) -> Vec<Effect> {
        self.group.apply_batch(changes);
        let effects = self.leader.changed(&mut self.group);
        self.keep(effects)
    }

    pub(crate) fn hear(&mut self, message: Message) -> Vec<Effect> {
        let (effects, fault) = self.leader.hear(&mut self.group, message);
        assert_eq!(fault, None);
        self.keep(effects)
    }

    pub(crate) fn tick(&mut self, now_ms: u64) -> Vec<Effect> {
        let effects = self.leader.tick(&mut self.group, now_ms);
        self.keep(effects)
    }

    fn keep(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        for effect in &effects {
            if let Effect::Keep(record) = effect {
                self.kept.push(record.clone());
            }
        }
        effects
    }

    pub(crate) fn vote(&mut self, sealer: usize) -> Position {
        let vote = self.leader.vote(&self.group, key(sealer)).unwrap();
        self.write(vote)
    }

    pub(crate) fn height(&self) -> u64 {
        self.group.chain().height().0
    }

    /// What this member's group would seal next, signed by whomever; its own chain is as before.
    pub(crate) fn forge(&mut self, by: usize, change: impl FnOnce(Block) -> Block, warrant: Warrant) -> SignedBlock {
        let block = self.group.seal(9_000, None).unwrap();
        self.group.undo().unwrap();
        SignedBlock::sign(change(block), &keypair(by), warrant).unwrap()
    }
}

/// Everybody has everybody's changes.
pub(crate) fn share(members: &mut [Member]) {
    let all: Vec<Incoming> = members.iter().flat_map(Member::log).collect();
    members.iter_mut().for_each(|member| drop(member.learn(all.clone())));
}

/// Some blocks as one message.
pub(crate) fn blocks(signed: &[&SignedBlock]) -> Message {
    Message::Blocks(signed.iter().map(|signed| (*signed).clone()).collect())
}

/// Why a member does not take a block.
pub(crate) fn refused(member: &mut Member, signed: SignedBlock) -> Option<Refusal> {
    let (before, tip) = (member.group.state_root(), member.group.chain().tip_id());
    let (effects, fault) = member.leader.hear(&mut member.group, Message::Blocks(vec![signed]));
    assert_eq!((member.group.state_root(), member.group.chain().tip_id()), (before, tip));
    fault.or_else(|| {
        shown(&effects).into_iter().find_map(|event| match event {
            Event::Refused(_, refusal) => Some(refusal),
            _ => None,
        })
    })
}

/// The messages among effects.
pub(crate) fn told(effects: &[Effect]) -> Vec<Message> {
    let told = |effect: &Effect| match effect {
        Effect::Tell(message) => Some(message.clone()),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

pub(crate) fn shown(effects: &[Effect]) -> Vec<Event> {
    let shown = |effect: &Effect| match effect {
        Effect::Show(event) => Some(event.clone()),
        _ => None,
    };
    effects.iter().filter_map(shown).collect()
}

/// Carries what was told to these members, and what they tell then to one another, until nobody says anything new.
pub(crate) fn carry(members: &mut [Member], effects: Vec<Effect>) -> Vec<Event> {
    let (mut messages, mut events) = (told(&effects), Vec::new());
    while let Some(message) = messages.pop() {
        for member in members.iter_mut() {
            let effects = member.hear(message.clone());
            events.extend(shown(&effects));
            messages.extend(told(&effects).into_iter().filter(|told| *told != message));
        }
    }
    events
}
