//! The sync lane: what comes is collected, applied in one batch, encoded once, handed to everybody and given to the disk.

use std::collections::HashMap;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::evidence::EquivocationProof;
use bft_json_crdt::replica::{Incoming, Verdict};
use bft_json_crdt::sync::{Action, Message, Packet};
use bytes::Bytes;
use side_ledger::group::{Merged, Taken};

use super::{Task, Waiting};
use crate::metrics::count;
use crate::protocol::CloseReason;
use crate::server::peer::PeerId;
use crate::server::persist::Job;

/// Changes that are applied in one batch: enough to check signatures cheaply, few enough to keep other groups' tasks waiting for a few
/// milliseconds only.
const APPLY_BATCH: usize = 256;
/// Most bytes of changes in one shared live frame; a batch of large changes is cut into several.
const LIVE_FRAME_BYTES: usize = 256 << 10;

impl Task {
    pub(super) fn on_sync(&mut self, at: usize, payload: &Bytes) {
        let subscriber = &mut self.subscribers[at];
        let Ok(message) = Message::decode(payload) else {
            return subscriber.peer.strike("malformed-message");
        };
        subscriber.due = true;
        let from = subscriber.peer.id;
        match subscriber.session.receive(self.setup.group.replica(), message) {
            Ok(actions) => {
                for action in actions {
                    match action {
                        Action::Apply(changes) => self.collect(from, changes),
                        Action::Proof(proof) => self.on_proof(from, proof),
                    }
                }
            }
            Err(fault) => {
                count(&self.setup.metrics.strikes, "peer-fault");
                subscriber.peer.close(CloseReason::Strikes, &fault.to_string());
            }
        }
    }

    fn collect(&mut self, from: PeerId, changes: Vec<Incoming>) {
        if self.is_full(from) {
            // Neither kept nor acknowledged: the sender sees that it is not stored.
            return count(&self.setup.metrics.changes, "group-full");
        }
        self.origins.push((from, changes.len()));
        self.batch.extend(changes);
        if self.batch.len() >= APPLY_BATCH {
            self.apply();
        }
    }

    fn on_proof(&mut self, from: PeerId, proof: EquivocationProof) {
        // What came before it is judged before it.
        self.apply();
        let first = self.setup.group.replica().len();
        match self.setup.group.apply_proof(proof) {
            Some(merged) => self.took(first, merged, Vec::new(), &[], &HashMap::new()),
            None => self.strike(from, "bad-proof"),
        }
    }

    /// Applies what was collected, hands it on, and gives it to the disk.
    pub(super) fn apply(&mut self) {
        if self.origins.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let origins = std::mem::take(&mut self.origins);
        let senders: Vec<PeerId> = origins.iter().flat_map(|&(peer, count)| std::iter::repeat_n(peer, count)).collect();
        let from = batch.iter().zip(&senders).map(|(incoming, peer)| (incoming.change.id(), *peer)).collect();
        let first = self.setup.group.replica().len();
        let merged = if batch.is_empty() { Merged::default() } else { self.setup.group.apply_batch(batch) };
        self.took(first, merged, origins.into_iter().map(|(peer, _)| peer).collect(), &senders, &from);
    }

    /// Deals with what came of handing something to the group, whose log had `first` changes before.
    /// `senders` sent what the verdicts speak of, one for each; `from` names one who sent a change.
    fn took(
        &mut self,
        first: usize,
        merged: Merged,
        messages: Vec<PeerId>,
        senders: &[PeerId],
        from: &HashMap<ChangeId, PeerId>,
    ) {
        for (peer, taken) in blame(&merged, senders, from) {
            count(&self.setup.metrics.changes, label(taken));
            let (Some(peer), Some(verdict)) = (peer, taken) else { continue };
            match verdict {
                Verdict::Unauthenticated => self.strike(peer, "unauthenticated"),
                Verdict::Malformed(_) => self.strike(peer, "malformed-change"),
                Verdict::Waiting { missing } => {
                    if let Some(&at) = self.index.get(&peer) {
                        let subscriber = &mut self.subscribers[at];
                        subscriber.session.missing(missing.iter().copied());
                        subscriber.due = true;
                    }
                }
                _ => {}
            }
        }
        if !merged.proofs.is_empty() {
            // Nothing in the log tells the sessions of a proof: they pass it on when they are asked.
            for subscriber in &mut self.subscribers {
                subscriber.due = true;
            }
        }
        if merged.rebuilt {
            // All numbers are void. Does not happen to a writer's replica (see above).
            for subscriber in &self.subscribers {
                subscriber.peer.close(CloseReason::Restart, "the relay has rebuilt this group");
            }
        } else {
            self.broadcast(first, from);
        }
        self.keep_changes(&merged.applied, merged.proofs.clone(), messages);
        if !merged.applied.is_empty() || merged.rebuilt {
            self.group_changed();
        }
    }

    /// Encodes the log from `first` on, once for all, cut where the origin changes, and hands it to every subscriber that is in step.
    pub(super) fn broadcast(&mut self, first: usize, from: &HashMap<ChangeId, PeerId>) {
        let end = self.setup.group.replica().len();
        let mut start = first;
        while start < end {
            let replica = self.setup.group.replica();
            let origin_of = |at: usize| from.get(&replica.id(ChangeIdx(at as u32))).copied();
            let origin = origin_of(start);
            let mut packets = Vec::new();
            let mut bytes = 0;
            let mut to = start;
            while to < end && bytes < LIVE_FRAME_BYTES && origin_of(to) == origin {
                let index = ChangeIdx(to as u32);
                let change = replica.bytes(index);
                let voucher = replica.voucher(index).map(|voucher| Bytes::from(voucher.encode()));
                bytes += change.len() + voucher.as_ref().map_or(0, Bytes::len);
                packets.push(Packet { change, voucher });
                to += 1;
            }
            let frame = self.setup.channel.envelope(&Message::Changes(packets).encode());
            let mut delivered = 0;
            for subscriber in &mut self.subscribers {
                if Some(subscriber.peer.id) == origin {
                    subscriber.due |= !subscriber.session.skip_live(start, to);
                    continue;
                }
                subscriber.absorb_ack(replica);
                if subscriber.peer.has_room() && subscriber.session.take_live(start, to, frame.len()) {
                    subscriber.peer.push(frame.clone());
                    delivered += 1;
                } else {
                    subscriber.due = true;
                }
            }
            self.setup.metrics.deliveries.inc_by(delivered * (to - start) as u64);
            start = to;
        }
    }

    /// Gives what is new to the disk. `messages` are acknowledged when it is there.
    pub(super) fn keep_changes(
        &mut self,
        applied: &[ChangeIdx],
        proofs: Vec<EquivocationProof>,
        messages: Vec<PeerId>,
    ) {
        let replica = self.setup.group.replica();
        let record = |&index: &ChangeIdx| Incoming { change: replica.change(index), voucher: replica.voucher(index) };
        let records: Vec<Incoming> = applied.iter().map(record).collect();
        if records.is_empty() && proofs.is_empty() && self.waiting.is_empty() {
            return self.handled(&messages);
        }
        let waiting = Waiting { changes: records.len(), from: messages, ..Waiting::default() };
        self.submit(Job { records, proofs, ..Job::new(self.setup.group.id(), &self.durable) }, waiting);
    }

    /// Queues a job; what is to be done afterwards waits for it.
    pub(super) fn submit(&mut self, mut job: Job, mut waiting: Waiting) {
        job.ticket = self.next_ticket;
        self.next_ticket += 1;
        let changes = job.records.iter().map(|incoming| incoming.change.bytes().len());
        waiting.bytes = changes.chain(job.seals.iter().map(Bytes::len)).sum();
        waiting.ticket = job.ticket;
        self.setup.bytes += waiting.bytes as u64;
        self.unpersisted += waiting.bytes;
        self.setup.metrics.unpersisted.inc_by(waiting.changes as i64);
        self.waiting.push_back(waiting);
        self.setup.persist.submit(job);
    }
}

/// Each verdict (none: not admitted) with who sent the copy that it judges. By place, not by id: somebody else may have sent the same change under a
/// signature that is not good, and the honest one must not be struck for it.
fn blame<'a>(
    merged: &'a Merged,
    senders: &'a [PeerId],
    from: &'a HashMap<ChangeId, PeerId>,
) -> impl Iterator<Item = (Option<PeerId>, Option<&'a Verdict>)> {
    let fresh = merged.taken.iter().enumerate().map(|(at, (_, taken))| {
        let verdict = match taken {
            Taken::Judged(verdict) => Some(verdict),
            Taken::NotAdmitted => None,
        };
        (senders.get(at).copied(), verdict)
    });
    fresh.chain(merged.settled.iter().map(|(id, verdict)| (from.get(id).copied(), Some(verdict))))
}

fn label(verdict: Option<&Verdict>) -> &'static str {
    match verdict {
        None => "not-admitted",
        Some(Verdict::Applied) => "applied",
        Some(Verdict::AlreadyKnown) => "already-known",
        Some(Verdict::Waiting { .. }) => "waiting",
        Some(Verdict::Unsupported) => "unsupported",
        Some(Verdict::Unauthenticated) => "unauthenticated",
        Some(Verdict::Malformed(_)) => "malformed",
        Some(Verdict::Invalid(_)) => "invalid",
        Some(Verdict::HeldBack) => "held-back",
        Some(Verdict::Dropped) => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sent_the_bad_copy_is_struck() {
        let (mallory, honest, id) = (PeerId(1), PeerId(2), ChangeId([7; 32]));
        let taken = vec![
            (id, Taken::Judged(Verdict::Unauthenticated)),
            (id, Taken::Judged(Verdict::Applied)),
            (id, Taken::NotAdmitted),
        ];
        let merged = Merged { taken, ..Merged::default() };
        let from = HashMap::from([(id, honest)]);
        let senders = [mallory, honest, mallory];
        let blamed: Vec<_> = blame(&merged, &senders, &from).collect();
        let expected = [
            (Some(mallory), Some(&Verdict::Unauthenticated)),
            (Some(honest), Some(&Verdict::Applied)),
            (Some(mallory), None),
        ];
        assert_eq!(blamed, expected);
        let merged = Merged { settled: vec![(id, Verdict::Unsupported)], ..Merged::default() };
        assert_eq!(blame(&merged, &[], &from).collect::<Vec<_>>(), [(Some(honest), Some(&Verdict::Unsupported))]);
    }
}
