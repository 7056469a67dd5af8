//! The state first: a member whose invitation names a block that it has not comes to the ledger state at once, and to the history afterwards. And what it answers
//! to others who are where it was.
//!
//! Until the history is here and executing it has come to the same, the member neither seals, nor gives its word, nor asks to vote. It writes from the start.

use std::collections::VecDeque;

use bytes::Bytes;
use side_ledger::invitation::Checkpoint;
use side_seal::certificate::{can_anchor, held_at};
use side_seal::newcomer::{Agreement, Newcomer, Post, StateMessage, View, serve};

use super::{Member, News};
use crate::daemon::view::{Backfill, Document};
use crate::net::LinkId;

/// Most questions of one peer about the state that wait for their answer: an honest one asks and waits.
const MAX_QUESTIONS: usize = 4;

/// What a member that lacks the history knows of the state.
pub(super) struct CatchUp {
    checkpoint: Checkpoint,
    newcomer: Newcomer,
    /// Links that came (or went) since the last tick, which knows the time.
    links: Vec<(LinkId, bool)>,
    /// Whether people have been told of the first state, and that the history leads elsewhere.
    told: bool,
    told_other: bool,
}

/// What is said about the state on one link.
#[derive(Default)]
pub(super) struct StateLane {
    asked: VecDeque<StateMessage>,
    out: VecDeque<Bytes>,
}

impl StateLane {
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.out.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }
}

impl Member {
    /// Tells the member which block its invitation names. Where the chain has not got it, the state comes first.
    pub fn begin_with(&mut self, checkpoint: Option<Checkpoint>) {
        let Some(checkpoint) = checkpoint else { return };
        let here =
            self.core.group.chain().at(checkpoint.rank.height).is_some_and(|sealed| sealed.id == checkpoint.block);
        if here {
            return;
        }
        let newcomer = Newcomer::new(self.genesis().clone(), Some(checkpoint));
        self.stop_sealing();
        self.catch_up = Some(CatchUp { checkpoint, newcomer, links: Vec::new(), told: false, told_other: false });
    }

    /// A block that newcomers may begin with: the last that enough voters hold.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let group = &self.core.group;
        let mut height = held_at(group, &self.engine, side_ledger::block::Height(1)).ok()?;
        // In leader mode the last block of a set does not serve; the one before it does.
        while height.0 > 0 && !can_anchor(group, &self.engine, height) {
            height.0 -= 1;
        }
        let sealed = group.chain().at(height)?;
        Some(Checkpoint { rank: sealed.block.rank(), block: sealed.id, state_root: sealed.block.state_root })
    }

    /// The state that is shown while the history is missing: where the chain here has come further, that is shown.
    pub(super) fn view(&self) -> Option<&View> {
        let view = self.catch_up.as_ref()?.newcomer.view()?;
        (view.block.rank() > self.core.group.chain().rank()).then_some(view)
    }

    /// Whether the history is here.
    pub(super) fn document(&self) -> (Document, Option<Backfill>) {
        let Some(catch_up) = &self.catch_up else { return (Document::Complete, None) };
        let want = catch_up.newcomer.view().map(|view| view.changes);
        let have = self.core.replica().len() as u64;
        (Document::Incomplete, want.map(|want| Backfill { have: have.min(want), want }))
    }

    /// Whether changes are not asked for yet: the state comes first.
    pub(super) fn holds_sync_back(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.newcomer.comes_first())
    }

    /// A link came or went.
    pub(super) fn state_link(&mut self, link: LinkId, up: bool) {
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.links.push((link, up));
        }
    }

    pub(super) fn state_deadline(&self) -> Option<u64> {
        self.catch_up.as_ref()?.newcomer.deadline()
    }

    /// Time has passed, and perhaps the chain has grown.
    pub(super) fn tick_state(&mut self, now_ms: u64) {
        let Some(CatchUp { newcomer, links, .. }) = &mut self.catch_up else { return };
        let mut posts: Vec<Post> = Vec::new();
        for (link, up) in std::mem::take(links) {
            posts.extend(if up { newcomer.joined(link.0, now_ms) } else { newcomer.left(link.0, now_ms) });
        }
        posts.extend(newcomer.tick(now_ms));
        posts.into_iter().for_each(|post| self.post(Some(post)));
        self.compare();
    }

    /// A message about the state came.
    pub(super) fn hear_state(&mut self, link: LinkId, message: &Bytes, now_ms: u64) {
        if !self.links.contains_key(&link) {
            return;
        }
        if StateMessage::is_answer(message) {
            let Some(catch_up) = &mut self.catch_up else { return };
            let (post, fault) = catch_up.newcomer.hear(link.0, message, now_ms);
            self.post(post);
            if let Some(fault) = fault {
                self.fault(link, format!("what it says about the state is not good: {fault}"));
            }
            return self.tell_state();
        }
        let spec = self.core.genesis().spec();
        match StateMessage::decode(message, spec) {
            Err(error) => self.fault(link, format!("it sent a malformed message about the state: {error}")),
            Ok(question) => {
                let Some(there) = self.links.get_mut(&link) else { return };
                if there.state.asked.len() >= MAX_QUESTIONS {
                    there.state.asked.pop_front();
                }
                there.state.asked.push_back(question);
            }
        }
    }

    /// Puts an answer together once the one before has gone out: what waits for a peer is bounded by one answer.
    pub(super) fn answer_state(&mut self, link: LinkId) {
        let Some(there) = self.links.get_mut(&link) else { return };
        while there.state.out.is_empty() {
            let Some(question) = there.state.asked.pop_front() else { return };
            let answers = serve(&mut self.core.group, &self.engine, &question);
            there.state.out.extend(answers.into_iter().map(|answer| Bytes::from(answer.encode())));
        }
    }

    fn post(&mut self, post: Option<Post>) {
        let Some((link, message)) = post else { return };
        if let Some(there) = self.links.get_mut(&LinkId(link)) {
            there.state.out.push_back(message.into());
        }
    }

    /// Tells people of the first state.
    fn tell_state(&mut self) {
        let Some(catch_up) = &mut self.catch_up else { return };
        let Some(view) = catch_up.newcomer.view().filter(|_| !catch_up.told) else { return };
        catch_up.told = true;
        let text = format!(
            "this node has the state of block {} ({} accounts); the history that led to it, {} changes, follows",
            view.block.height.0,
            view.accounts(),
            view.changes
        );
        self.news[0].push(News::Notice(text));
    }

    /// Ends the catch-up once the history has come to the block of the invitation and to the state that was shown.
    fn compare(&mut self) {
        let Some(catch_up) = &mut self.catch_up else { return };
        let group = &self.core.group;
        let named = group.chain().at(catch_up.checkpoint.rank.height);
        let agreement = match named {
            None => Agreement::Behind,
            Some(sealed) if sealed.id != catch_up.checkpoint.block => Agreement::Other(sealed.id),
            Some(_) if catch_up.newcomer.view().is_none() => Agreement::Same,
            Some(_) => catch_up.newcomer.compare(group),
        };
        match agreement {
            Agreement::Behind => {}
            Agreement::Same => {
                self.catch_up = None;
                let text = "the whole history is here, and executing it comes to the same state".to_owned();
                self.news[0].push(News::Notice(text));
            }
            Agreement::Other(block) => {
                if !std::mem::replace(&mut catch_up.told_other, true) {
                    let text = format!(
                        "the history that came leads to block {block}, not to what was shown of the state: this node shows both and neither seals nor \
                         votes. Ask whoever invited you which one is the group's"
                    );
                    self.news[0].push(News::Notice(text));
                }
            }
        }
    }
}
