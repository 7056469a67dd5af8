//! What a follower of the group is told, and handing changes out and in.
//!
//! A follower holds a [`Cursor`] and asks for what came since: nothing waits for it in memory, however slow it is, and what it was told is what is on disk. It
//! reads changes in the order in which this node took them in, which is the order of the store, so a number means the same after a restart.

use std::collections::VecDeque;

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::replica::{Incoming, Verdict};
use side_ledger::block::Height;
use side_ledger::group::Taken;

use super::show::Around;
use super::{Member, News};
use crate::daemon::exchange::{Cursor, Events, Imported, Page};
use crate::daemon::glance::{GLANCE_VERSION, Told};
use crate::export::{ChangeLine, LineError, MAX_BATCH_BYTES, MAX_BATCH_CHANGES};

/// Events after which a follower is answered; the last change may bring some more.
const MAX_EVENTS: usize = 256;
/// Most blocks that a cursor remembers: so far back it is found where another chain leaves the one that was told.
const MAX_REMEMBERED: usize = 256;

impl Member {
    /// Where a follower stands that is to be told the changes from number `from` on, and the blocks above `height`; by default what comes from now on.
    fn cursor(&self, from: Option<u64>, height: Option<u64>) -> Cursor {
        let chain = self.core.group.chain();
        let (changes, top) = (self.core.replica().len() as u64, chain.height().0);
        let base = height.map_or(top, |height| height.min(top));
        let blocks = chain.blocks()[..base as usize].iter().rev().take(MAX_REMEMBERED);
        let mut blocks: VecDeque<(u64, String)> =
            blocks.map(|sealed| (sealed.block.height.0, sealed.id.to_string())).collect();
        blocks.make_contiguous().reverse();
        Cursor {
            generation: self.core.replica().generation(),
            change: from.map_or(changes, |from| from.min(changes)),
            base: base.saturating_sub(blocks.len() as u64),
            blocks,
            final_height: self.engine.final_height(&self.core.group).map(|height| height.0),
            mark: self.glance_mark(),
        }
    }

    /// What has happened since; without a cursor it begins.
    pub fn events(
        &self,
        cursor: Option<Cursor>,
        from: Option<u64>,
        height: Option<u64>,
        around: &Around<'_>,
    ) -> Events {
        let mut events = Vec::new();
        let mut cursor = cursor.unwrap_or_else(|| {
            let cursor = self.cursor(from, height);
            events.push(Told::Start {
                version: GLANCE_VERSION,
                group: self.id().to_string(),
                changes: cursor.change,
                height: cursor.height(),
            });
            cursor
        });
        let more = self.tell_changes(&mut cursor, &mut events) || self.tell_blocks(&mut cursor, &mut events);
        if !more {
            let final_height = self.engine.final_height(&self.core.group).map(|height| height.0);
            if final_height > cursor.final_height {
                events.extend(final_height.map(|height| Told::Final { height }));
            }
            cursor.final_height = final_height;
            let mark = self.glance_mark();
            if mark != cursor.mark && events.is_empty() {
                events.push(Told::Status { revision: around.revision });
            }
            cursor.mark = mark;
        }
        Events { events, cursor, more }
    }

    /// Tells changes, and whether there are more.
    fn tell_changes(&self, cursor: &mut Cursor, events: &mut Vec<Told>) -> bool {
        let (replica, ledger) = (self.core.replica(), self.core.group.ledger());
        let end = replica.len() as u64;
        if cursor.generation != replica.generation() {
            // Changes were taken out again, so that the others have new numbers.
            events.push(Told::Missed { events: end.saturating_sub(cursor.change) });
            (cursor.generation, cursor.change) = (replica.generation(), end);
        }
        while cursor.change < end {
            if events.len() >= MAX_EVENTS {
                return true;
            }
            let index = ChangeIdx(cursor.change as u32);
            let positions = ledger.kinds_in(replica.lamport(index), replica.id(index)).map(|(position, _)| position);
            let lines = positions.filter_map(|position| self.line_at(&position));
            events.extend(lines.map(|line| Told::Entry { number: cursor.change, line: Box::new(line) }));
            cursor.change += 1;
        }
        false
    }

    /// Tells blocks, and whether there are more.
    fn tell_blocks(&self, cursor: &mut Cursor, events: &mut Vec<Told>) -> bool {
        let chain = self.core.group.chain();
        let told = cursor.height();
        let stands = |height: u64, id: &str| chain.at(Height(height)).is_some_and(|sealed| sealed.id.to_string() == id);
        while cursor.blocks.back().is_some_and(|(height, id)| !stands(*height, id)) {
            cursor.blocks.pop_back();
        }
        // Below what is remembered nothing is known: only how far the chain goes.
        cursor.base = cursor.base.min(chain.height().0);
        if cursor.height() < told {
            events.push(Told::TakenBack { height: cursor.height() });
        }
        while let Some(sealed) = chain.at(Height(cursor.height() + 1)) {
            if events.len() >= MAX_EVENTS {
                return true;
            }
            events.push(Told::Block { block: self.block_line(sealed) });
            cursor.blocks.push_back((sealed.block.height.0, sealed.id.to_string()));
            if cursor.blocks.len() > MAX_REMEMBERED {
                cursor.base += u64::from(cursor.blocks.pop_front().is_some());
            }
        }
        false
    }

    /// Signed changes from a number on and up to another, as lines of an export: as many as make a page.
    pub fn changes(&self, from: u64, until: u64) -> Page {
        let replica = self.core.replica();
        let total = replica.len() as u64;
        let end = until.min(total);
        let (mut lines, mut bytes, mut next) = (Vec::new(), 0, from.min(end));
        while next < end && lines.len() < MAX_BATCH_CHANGES && bytes < MAX_BATCH_BYTES {
            let index = ChangeIdx(next as u32);
            next += 1;
            if replica.is_compacted(index) {
                continue;
            }
            let incoming = Incoming { change: replica.change(index), voucher: replica.voucher(index) };
            let line = ChangeLine::of(&incoming, self.genesis()).line();
            bytes += line.len();
            lines.push(line);
        }
        Page { lines, next, total, generation: replica.generation() }
    }

    /// Takes in changes whose signatures were checked, in the order given. They are on disk once [`Member::durable`] was called after the next
    /// [`Member::take_staged`]. With the place of the first one that is refused, if one is: those before it are taken in.
    pub fn import(&mut self, batch: Vec<Incoming>, now_ms: u64) -> Imported {
        let (digested, taken, applied) = self.core.import(batch);
        self.news[0].extend(digested.entries.into_iter().map(News::Entry));
        for author in digested.equivocators {
            let text = self.core.equivocation(&author);
            self.news[0].push(News::Notice(text));
        }
        self.changed(None, now_ms);
        let mut imported =
            Imported { applied: applied.iter().map(ChangeId::to_string).collect(), ..Imported::default() };
        for (place, (_, taken)) in taken.into_iter().enumerate() {
            let refused = match taken {
                Taken::Judged(Verdict::Applied) => {
                    imported.new += 1;
                    continue;
                }
                Taken::Judged(Verdict::AlreadyKnown) => {
                    imported.known += 1;
                    continue;
                }
                Taken::Judged(verdict @ (Verdict::Waiting { .. } | Verdict::HeldBack | Verdict::Unsupported)) => {
                    imported.aside.push(place as u64);
                    if let Verdict::Waiting { missing } = verdict {
                        imported.missing.extend(missing.iter().map(ChangeId::to_string));
                    }
                    continue;
                }
                Taken::NotAdmitted => {
                    imported.strangers.push(place as u64);
                    continue;
                }
                Taken::Judged(Verdict::Unauthenticated) => LineError::Signature.to_string(),
                Taken::Judged(Verdict::Malformed(why)) => why.to_string(),
                Taken::Judged(Verdict::Invalid(why)) => why.to_string(),
                Taken::Judged(Verdict::Dropped) => "there is no room for what waits for others".to_owned(),
            };
            imported.refused = imported.refused.or(Some((place as u64, refused)));
        }
        imported
    }
}
