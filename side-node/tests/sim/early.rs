//! What a member hears before its chain has come to it, message by message, without chance.

use std::collections::BTreeMap;

use bft_json_crdt::identity::AuthorId;
use side_ledger::block::Epoch;
use side_ledger::{Admission, BlockId, Genesis, GroupSpec, Limits, Name, Sealing};
use side_node::api::control::{Ballot, Verb};
use side_node::member::Member;
use side_node::net::{LinkId, Peer, Stream};
use side_seal::Message;
use side_seal::bft::request::{Reply, Request, Ticket};
use side_store::{MemoryStore, Store as _};

use crate::agreement::{certificate, evidence};
use crate::world::keypair;

/// Four sealers, each linked to each. The link from one to another has the name `10 * one + other`.
struct Four {
    members: Vec<(Member, MemoryStore)>,
    now_ms: u64,
    /// Whether messages about blocks reach the last one.
    blocks_reach_the_last: bool,
}

impl Four {
    fn new() -> Self {
        let spec = GroupSpec {
            name: Name::new("four").unwrap(),
            created_ms: 1,
            nonce: [9; 32],
            founders: (0..4).map(|number| keypair(number).author()).collect(),
            admission: Admission::Open,
            allocation: BTreeMap::new(),
            sealing: Sealing::Bft { interval_ms: 100, term: 0 },
            limits: Limits::default(),
        };
        let genesis = Genesis::new(spec).unwrap();
        let start = |number: usize| {
            let mut store = MemoryStore::new();
            let name = Name::new(&format!("node{number}")).unwrap();
            let mut member = Member::load(name, genesis.clone(), keypair(number), &mut store).unwrap();
            member.begin(1).unwrap();
            for other in (0..4).filter(|other| *other != number) {
                let peer = Peer { key: keypair(other).author(), transport: "direct", address: format!("node{other}") };
                member.link_up(link(number, other), peer);
            }
            (member, store)
        };
        let mut four = Self { members: (0..4).map(start).collect(), now_ms: 1_000_000, blocks_reach_the_last: true };
        four.settle();
        four
    }

    /// Lets everything pass that there is to pass.
    fn settle(&mut self) {
        loop {
            let mut passed = Vec::new();
            for (number, (member, store)) in self.members.iter_mut().enumerate() {
                member.tick(self.now_ms);
                store.commit(&member.take_staged()).unwrap();
                member.durable();
                for other in (0..4).filter(|other| *other != number) {
                    while let Some((stream, message)) = member.poll_send(link(number, other)) {
                        passed.push((number, other, stream, message));
                    }
                }
                assert_eq!(member.take_endings(), []);
            }
            if passed.is_empty() {
                return;
            }
            for (from, to, stream, message) in passed {
                let is_evidence = || matches!(Message::decode(&message), Ok(Message::Evidence(_)));
                if to != 3 || stream != Stream::Seal || self.blocks_reach_the_last || is_evidence() {
                    self.members[to].0.receive(link(to, from), stream, &message, self.now_ms);
                }
            }
        }
    }

    /// What is pending becomes final: the first one proposes it, and three vote for it.
    fn agree(&mut self) -> BlockId {
        let seat = self.members[0].0.seat().unwrap();
        let (epoch, parent) = (seat.epoch, self.tip(0));
        self.members[0].0.request(Request::Propose { ticket: Ticket(0), epoch, parent }, self.now_ms);
        let block = loop {
            self.now_ms += 100;
            self.settle();
            let replies = self.members[0].0.take_replies();
            let proposed = replies.into_iter().find_map(|reply| match reply {
                Reply::Propose(_, id) => Some(id),
                _ => None,
            });
            if let Some(id) = proposed {
                break id;
            }
        };
        assert_ne!(block, parent, "something is new");
        let signers = [0, 1, 2].map(keypair);
        let made = certificate(&seat, &signers, self.members[0].0.group().chain().height().0 + 1, block);
        self.members[0].0.request(Request::Finalized(made), self.now_ms);
        self.settle();
        block
    }

    fn tip(&self, number: usize) -> BlockId {
        self.members[number].0.group().chain().tip_id()
    }

    fn proofs(&self, number: usize) -> Vec<(AuthorId, Epoch)> {
        self.members[number].0.engine().proofs().into_iter().map(|guilt| (guilt.sealer, guilt.epoch)).collect()
    }
}

fn link(one: usize, other: usize) -> LinkId {
    LinkId((10 * one + other) as u64)
}

#[test]
fn a_proof_that_comes_before_the_epoch_that_it_is_of_counts_once_that_has_begun() {
    let mut four = Four::new();
    four.agree();
    let leader = keypair(1).author().to_string();
    for number in 0..3 {
        let (verb, now_ms) = (Verb::Vote { ballot: Ballot::Leader { node: leader.clone() } }, four.now_ms);
        four.members[number].0.say(&verb, &|_| None, now_ms).unwrap().unwrap();
    }
    four.settle();
    // The last one does not hear of the block that ends the epoch.
    let before = four.tip(3);
    four.blocks_reach_the_last = false;
    four.agree();
    let seat = four.members[0].0.seat().unwrap();
    assert_ne!(seat.epoch, Epoch(0));
    assert_eq!(four.tip(3), before);
    // What comes of the proof there waits, and nobody tells it again.
    let proof = evidence(&seat, &keypair(1), 5, [BlockId([1; 32]), BlockId([2; 32])]).unwrap();
    let now_ms = four.now_ms;
    four.members[0].0.request(Request::Offence(proof), now_ms);
    four.settle();
    let proven = vec![(keypair(1).author(), seat.epoch)];
    assert_eq!(
        [0, 1, 2, 3].map(|number| four.proofs(number)),
        [proven.clone(), proven.clone(), proven.clone(), vec![]]
    );
    four.blocks_reach_the_last = true;
    let (verb, now_ms) = (Verb::Note { text: "on".to_owned() }, four.now_ms);
    four.members[0].0.say(&verb, &|_| None, now_ms).unwrap().unwrap();
    let last = four.agree();
    assert_eq!(four.tip(3), last);
    assert_eq!(four.proofs(3), proven);
}
