//! A few sealers whose messages and votes a test carries by hand.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::replica::Incoming;
use commonware_codec::Encode as _;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Activity, ConflictingNotarize, Finalization, Finalize, Notarize, Proposal};
use commonware_consensus::types::{Epoch as SimplexEpoch, Round, View};
use commonware_cryptography::certificate::Signers;
use commonware_cryptography::ed25519::certificate::Certificate as SimplexCertificate;
use commonware_cryptography::sha256::Digest;
use side_ledger::block::BlockId;
use side_ledger::genesis::{Genesis, Rules};
use side_ledger::group::Group;
use side_ledger::ledger::Position;
use side_ledger::transaction::Transaction;
use side_seal::bft::certificate::Certificate;
use side_seal::bft::evidence::Evidence;
use side_seal::bft::request::{Reply, Request, Ticket};
use side_seal::bft::run::FinalRun;
use side_seal::bft::seat::Seat;
use side_seal::bft::{IDLE_MS, START_MS};
use side_seal::effect::Refusal;
use side_seal::{Bft, Effect, Message, Record};

use super::world::{INTERVAL_MS, genesis};

/// The founders' key pairs in the order of their keys; beyond them, strangers'.
pub(super) fn keypair(number: usize) -> Keypair {
    let mut founders = genesis(0).1;
    founders.sort_by_key(Keypair::author);
    founders.into_iter().nth(number).unwrap_or_else(|| Keypair::from_seed(&[number as u8 + 100; 32]))
}

pub(super) fn key(number: usize) -> AuthorId {
    keypair(number).author()
}

pub(super) struct Member {
    pub(super) number: usize,
    pub(super) group: Group,
    pub(super) bft: Bft,
    pub(super) kept: Vec<Record>,
    pub(super) now_ms: u64,
    tickets: u64,
}

impl Member {
    pub(super) fn new(number: usize) -> Self {
        let group = Group::open(genesis(0).0, Some(key(number)), Default::default());
        let bft = Bft::new(Some(keypair(number)));
        Self { number, group, bft, kept: Vec::new(), now_ms: 1_000_000, tickets: 0 }
    }

    /// A member of the same group with the rule that keys can be rotated.
    pub(super) fn rotating(number: usize) -> Self {
        let genesis = Genesis::founded(genesis(0).0.spec().clone(), None, Rules::LATEST).unwrap();
        let group = Group::open(genesis, Some(key(number)), Default::default());
        Self { group, ..Self::new(number) }
    }

    pub(super) fn founders() -> [Self; 4] {
        [0, 1, 2, 3].map(Self::new)
    }

    /// The same from its disk.
    pub(super) fn restarted(&self) -> Self {
        let mut member = Self::new(self.number);
        member.group.load(self.log()).unwrap();
        let records = self.kept.iter().map(|record| Record::decode(&record.encode()).unwrap());
        member.bft.restore(&mut member.group, records);
        (member.kept, member.now_ms, member.tickets) = (self.kept.clone(), self.now_ms, self.tickets);
        member
    }

    pub(super) fn log(&self) -> Vec<Incoming> {
        self.group.replica().log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect()
    }

    pub(super) fn write(&mut self, transaction: impl Into<Transaction>) -> Position {
        self.group.write(&[transaction.into()], &keypair(self.number), 5).unwrap().entries[0]
    }

    pub(super) fn note(&mut self) -> Position {
        self.write(Transaction::note("hi", 100).unwrap())
    }

    pub(super) fn learn(&mut self, changes: Vec<Incoming>) -> Vec<Effect> {
        self.group.apply_batch(changes);
        let effects = self.bft.changed(&mut self.group);
        self.keep(effects)
    }

    pub(super) fn try_hear(&mut self, message: Message) -> (Vec<Effect>, Option<Refusal>) {
        let (effects, refusal) = self.bft.hear(&mut self.group, message);
        (self.keep(effects), refusal)
    }

    pub(super) fn hear(&mut self, message: Message) -> Vec<Effect> {
        let (effects, refusal) = self.try_hear(message);
        assert_eq!(refusal, None);
        effects
    }

    pub(super) fn later(&mut self, ms: u64) -> Vec<Effect> {
        self.now_ms += ms;
        let effects = self.bft.tick(&mut self.group, self.now_ms);
        self.keep(effects)
    }

    pub(super) fn request(&mut self, request: Request) -> (Vec<Effect>, Option<Refusal>) {
        let (effects, refusal) = self.bft.request(&mut self.group, request, self.now_ms);
        (self.keep(effects), refusal)
    }

    /// Its simplex leads a view upon this block.
    pub(super) fn lead(&mut self, parent: BlockId) -> Vec<Effect> {
        self.tickets += 1;
        let epoch = self.seat().epoch;
        self.request(Request::Propose { ticket: Ticket(self.tickets), epoch, parent }).0
    }

    /// The same once the time to begin has passed.
    pub(super) fn lead_now(&mut self, parent: BlockId) -> Vec<Effect> {
        let mut effects = self.lead(parent);
        effects.extend(self.later(START_MS));
        effects
    }

    /// Its simplex asks whether to vote.
    pub(super) fn judge(&mut self, parent: BlockId, block: BlockId) -> Vec<Effect> {
        self.tickets += 1;
        let epoch = self.seat().epoch;
        self.request(Request::Verify { ticket: Ticket(self.tickets), epoch, parent, block }).0
    }

    pub(super) fn keep(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        for effect in &effects {
            if let Effect::Keep(record) = effect {
                self.kept.push(record.clone());
            }
        }
        effects
    }

    pub(super) fn seat(&self) -> Seat {
        Seat::next(&self.group).0
    }

    pub(super) fn tip(&self) -> BlockId {
        self.group.chain().tip_id()
    }

    pub(super) fn height(&self) -> u64 {
        self.group.chain().height().0
    }
}

/// Everybody has everybody's changes.
pub(super) fn share(members: &mut [Member]) {
    let all: Vec<Incoming> = members.iter().flat_map(Member::log).collect();
    members.iter_mut().for_each(|member| drop(member.learn(all.clone())));
}

/// What is told to everybody.
pub(super) fn told(effects: &[Effect]) -> Vec<Message> {
    let told = |effect: &Effect| match effect {
        Effect::Tell(message) => Some(message.clone()),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

/// What simplex is answered: the blocks to propose.
pub(super) fn proposed(effects: &[Effect]) -> Vec<BlockId> {
    let proposed = |effect: &Effect| match effect {
        Effect::Reply(Reply::Propose(_, id)) => Some(*id),
        _ => None,
    };
    effects.iter().filter_map(proposed).collect()
}

/// What simplex is answered: whether to vote.
pub(super) fn judged(effects: &[Effect]) -> Vec<bool> {
    let judged = |effect: &Effect| match effect {
        Effect::Reply(Reply::Verify(_, verdict)) => Some(*verdict),
        _ => None,
    };
    effects.iter().filter_map(judged).collect()
}

/// A certificate by these sealers of a seat, be they enough or not.
pub(super) fn certificate(seat: &Seat, signers: &[Keypair], view: u64, block: BlockId) -> Certificate {
    Certificate::new(finalization(seat, signers, view, block))
}

/// The same as simplex has it.
pub(super) fn finalization(
    seat: &Seat,
    signers: &[Keypair],
    view: u64,
    block: BlockId,
) -> Finalization<Scheme, Digest> {
    let round = Round::new(SimplexEpoch::new(seat.epoch.0), View::new(view));
    let proposal = Proposal::new(round, View::new(view - 1), Digest(block.0));
    let schemes = signers.iter().filter_map(|keypair| seat.signer(keypair));
    let mut votes: Vec<_> = schemes
        .map(|scheme| Finalize::<Scheme, Digest>::sign(&scheme, proposal.clone()).unwrap().attestation)
        .collect();
    votes.sort_by_key(|vote| vote.signer);
    let signers = Signers::new(seat.sealers.len() as u32, votes.iter().map(|vote| vote.signer)).unwrap();
    let signatures = votes.into_iter().map(|vote| vote.signature).collect();
    Finalization { proposal, certificate: SimplexCertificate { signers, signatures } }
}

/// Something new is final: the first member proposes it, the others vote, and all hear of it. Gives its id.
pub(super) fn agree(members: &mut [Member]) -> BlockId {
    members[0].note();
    agree_on(members)
}

/// What is pending is made final.
pub(super) fn agree_on(members: &mut [Member]) -> BlockId {
    share(members);
    members.iter_mut().for_each(|member| drop(member.later(INTERVAL_MS)));
    let parent = members[0].tip();
    let mut effects = members[0].lead(parent);
    if proposed(&effects).is_empty() {
        let more: Vec<_> = members.iter_mut().map(|member| member.later(START_MS)).collect();
        effects.extend(more.into_iter().flatten());
    }
    let (block, messages) = (proposed(&effects)[0], told(&effects));
    for member in &mut members[1..] {
        messages.iter().for_each(|message| drop(member.hear(message.clone())));
        assert_eq!(judged(&member.judge(parent, block)), [true]);
    }
    let seat = members[0].seat();
    let signers: Vec<Keypair> = (0..3).map(keypair).collect();
    let view = members[0].height() + 1;
    let certificate = certificate(&seat, &signers, view, block);
    for member in members {
        assert_eq!(member.request(Request::Finalized(certificate.clone())).1, None);
        assert_eq!(member.tip(), block);
    }
    block
}

/// How long a leader waits at most.
pub(super) fn idle(member: &mut Member) -> Vec<Effect> {
    member.later(IDLE_MS)
}

pub(super) fn final_run(member: &Member) -> FinalRun {
    let last = member.bft.greet().into_iter().find_map(|message| match message {
        Message::Final(run) => Some(run),
        _ => None,
    });
    last.unwrap()
}

pub(super) fn two_votes(seat: &Seat, by: usize) -> Evidence {
    let scheme = seat.signer(&keypair(by)).unwrap();
    let round = Round::new(SimplexEpoch::new(seat.epoch.0), View::new(5));
    let vote = |payload| {
        let proposal = Proposal::new(round, View::new(4), Digest(payload));
        Notarize::<Scheme, _>::sign(&scheme, proposal).unwrap()
    };
    let found = ConflictingNotarize::new(vote([1; 32]), vote([2; 32]));
    assert!(!found.encode().is_empty());
    Evidence::new(&Activity::ConflictingNotarize(found)).unwrap()
}

/// What leads and follows a first block: the four founders, and somebody who does not seal.
pub(super) fn founders_and_a_reader() -> Vec<Member> {
    Member::founders().into_iter().chain([Member::new(4)]).collect()
}

pub(super) fn asks(effects: &[Effect]) -> Vec<(BlockId, Vec<BlockId>)> {
    let ask = |effect: &Effect| match effect {
        Effect::Ask(Message::Ask { want, have }) => Some((*want, have.clone())),
        _ => None,
    };
    effects.iter().filter_map(ask).collect()
}
