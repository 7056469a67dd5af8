//! Sync of a few missing changes in a long history: two replicas of ours, messages as bytes, in memory.

use std::collections::VecDeque;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::document::ContainerIdx;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Incoming, Limits, Replica};
use bft_json_crdt::sync::{Action, Message, SessionLimits, SyncSession};
use bytes::Bytes;

use crate::engines::ours::{DOCUMENT, keypair};
use crate::measure::{Meter, Reading};

const AUTHORS: usize = 4;
/// Changes handed over at a time while the second replica is filled.
const PIECE: usize = 4096;

/// Two replicas of which the first holds more.
pub struct Pair {
    ahead: Replica,
    behind: Replica,
    keys: Vec<Keypair>,
}

impl Pair {
    /// Both hold `count` changes: letters typed by four authors in turn.
    pub fn new(count: usize) -> Self {
        let fresh = || {
            let mut replica = Replica::new(DOCUMENT, Limits::default());
            replica.tell_events(false);
            replica
        };
        let mut pair = Self { ahead: fresh(), behind: fresh(), keys: (0..AUTHORS).map(keypair).collect() };
        pair.write(count);
        let all: Vec<Incoming> = pair.ahead.log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect();
        for piece in all.chunks(PIECE) {
            pair.behind.load(piece.to_vec()).expect("our own changes");
        }
        pair
    }

    /// Two replicas that hold these changes.
    pub fn of(changes: &[Incoming]) -> Self {
        let mut pair = Self::new(0);
        for piece in changes.chunks(PIECE) {
            pair.ahead.load(piece.to_vec()).expect("our own changes");
            pair.behind.load(piece.to_vec()).expect("our own changes");
        }
        pair
    }

    /// The one that holds more.
    pub fn ahead(&self) -> &Replica {
        &self.ahead
    }

    /// The first writes more.
    pub fn write(&mut self, count: usize) {
        for _ in 0..count {
            let key = &self.keys[self.ahead.len() % AUTHORS];
            let written = self.ahead.transact(key, 0, |tx| {
                let text = tx.child(ContainerIdx::ROOT, "body", Kind::Text).expect("the root takes it");
                let end = tx.document().len(text);
                tx.text_insert(text, end, "x").expect("at the end");
            });
            written.expect("a letter");
        }
    }

    /// One session from its start to rest. Answers its cost, bytes in both directions.
    pub fn sync(&mut self, count: bool) -> (Reading, usize) {
        let mut meter = Meter::new(count);
        meter.begin();
        let limits = SessionLimits::default();
        let mut sessions = [SyncSession::new(&self.ahead, limits), SyncSession::new(&self.behind, limits)];
        let mut wires: [VecDeque<Bytes>; 2] = Default::default();
        let mut bytes = 0;
        loop {
            let mut moved = false;
            for side in 0..2 {
                let replica = if side == 0 { &mut self.ahead } else { &mut self.behind };
                while let Some(message) = sessions[side].poll_send(replica) {
                    let message = Bytes::from(message.encode());
                    bytes += message.len();
                    wires[1 - side].push_back(message);
                    moved = true;
                }
                while let Some(message) = wires[side].pop_front() {
                    moved = true;
                    let message = Message::decode(&message).expect("our own bytes");
                    for action in sessions[side].receive(replica, message).expect("an honest peer") {
                        match action {
                            Action::Apply(batch) => {
                                replica.apply_batch(batch);
                                sessions[side].handled();
                                sessions[side].missing(replica.missing(64));
                            }
                            Action::Proof(_) => unreachable!("nobody forked"),
                        }
                    }
                }
            }
            if !moved {
                break;
            }
        }
        meter.end();
        assert_eq!(self.ahead.len(), self.behind.len(), "everything crossed");
        assert_eq!(self.ahead.heads_digest(), self.behind.heads_digest(), "everything crossed");
        (meter.reading().expect("it ended"), bytes)
    }
}
