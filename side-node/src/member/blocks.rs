//! What the engine wants done is done: kept, told, asked for, shown.

use bytes::Bytes;
use side_ledger::block::BlockId;
use side_seal::bft::request::{Reply, Request};
use side_seal::bft::seat::Seat;
use side_seal::effect::Refusal;
use side_seal::message::MessageError;
use side_seal::{Effect, Engine, Event, Message, Record};
use side_store::{LoadBounds, Store, Write};

use super::core::damaged;
use super::learn::Learning;
use super::link::Link;
use super::{Member, News, store_error};
use crate::error::CommandError;
use crate::net::LinkId;

/// After how long an unanswered question is asked again, of another peer if there is one.
const ASK_AGAIN_MS: u64 = 1_000;
/// How often it is asked before it is given up. The next message about a block brings it up anew.
const MAX_ASKS: u32 = 8;
/// Most blocks that are asked for at a time.
const MAX_ASKED: usize = 64;

/// A question that is out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Where the chain ended then: once it has grown the question is another one.
    tip: BlockId,
    link: LinkId,
    at_ms: u64,
    times: u32,
}

/// How soon an engine in BFT mode that did nothing at its deadline is asked again: it waits for other sealers.
const BFT_PAUSE_MS: u64 = 20;

/// Under which key a store remembers that this node must not seal a group's blocks yet, and what others have shown it of its own.
fn suspended_key(member: &Member) -> String {
    format!("sealing.suspended.{}", member.id())
}

impl Member {
    /// Reads what was kept of sealing, after the changes.
    pub(super) fn load_seals(&mut self, store: &mut impl Store) -> Result<(), CommandError> {
        if let Some(kept) = store.meta(&suspended_key(self)).map_err(store_error)? {
            self.sealing = false;
            self.learning = Learning::of_kept(&kept)
                .ok_or_else(|| damaged("what was kept of its own blocks and words is not good".to_owned()))?;
        }
        if !self.core.is_stored() {
            return Ok(());
        }
        let id = self.id();
        let mut records = Vec::new();
        loop {
            let page = store.seals(&id, records.len() as u64, LoadBounds::default()).map_err(store_error)?;
            if page.is_empty() {
                break;
            }
            for bytes in page {
                let record = Record::decode(&bytes)
                    .map_err(|e| damaged(format!("record {} of sealing is not good: {e}", records.len())))?;
                records.push(record);
            }
        }
        self.engine.restore(&mut self.core.group, records);
        if !self.sealing {
            let effects = self.engine.set_sealing(&self.core.group, false);
            self.carry_out(effects, None, None, 0);
            self.learning.made().into_iter().for_each(|rank| self.engine.shown(rank));
        }
        Ok(())
    }

    /// Ties what this node has voted (BFT mode) to the journal of that name: it is kept beside the database. With another journal than the database has seen
    /// nobody knows what this node has voted in the present epoch, so it takes no part in it.
    pub fn tie_votes(&mut self, store: &mut impl Store, journal: &Bytes) -> Result<(), CommandError> {
        if matches!(self.engine, Engine::Leader(_)) {
            return Ok(());
        }
        let key = format!("sealing.votes.{}", self.id());
        let known = store.meta(&key).map_err(store_error)?;
        if known.as_ref() == Some(journal) {
            return Ok(());
        }
        // A database that has never had one has never voted.
        if known.is_some() {
            self.lose_votes("the journal of this node's votes on blocks is not the one that its database knows");
        }
        self.stage(Write::Meta { key, value: Some(journal.clone()) });
        Ok(())
    }

    /// Nobody knows any more what this node has voted in the present epoch (BFT mode), so it takes no part in it. `what` tells people why.
    pub fn lose_votes(&mut self, what: &str) {
        if !self.sealing {
            return;
        }
        for may_seal in [false, true] {
            let effects = self.engine.set_sealing(&self.core.group, may_seal);
            self.carry_out(effects, None, None, 0);
        }
        self.news[0].push(News::Notice(format!("{what}: it takes no part in the present epoch")));
    }

    /// The epoch for which this node is to run simplex now; never in leader mode. To be asked after each round.
    pub fn seat(&self) -> Option<Seat> {
        self.engine.seat(&self.core.group)
    }

    /// The agreement asks or tells something. Its answer comes with [`Member::take_replies`], once what it rests on is on disk.
    pub fn request(&mut self, request: Request, now_ms: u64) {
        let (effects, refusal) = self.engine.request(&mut self.core.group, request, now_ms);
        self.carry_out(effects, None, None, now_ms);
        if let Some(refusal) = refusal {
            tracing::warn!(%refusal, "refused what the agreement says");
        }
    }

    /// Answers to the agreement whose blocks are on disk.
    pub fn take_replies(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.replies[2])
    }

    /// The group has more changes: blocks that waited for them may become the chain.
    pub(super) fn changed(&mut self, from: Option<LinkId>, now_ms: u64) {
        let effects = self.engine.changed(&mut self.core.group);
        self.carry_out(effects, from, None, now_ms);
    }

    /// A message about blocks came.
    pub(super) fn hear_blocks(&mut self, link: LinkId, message: &Bytes, now_ms: u64) {
        let Some(there) = self.links.get_mut(&link) else { return };
        if !there.may_cost(now_ms) {
            return self.fault(link, "it sent more about blocks than anybody has to say".to_owned());
        }
        let message = match Message::decode(message) {
            Ok(message) => message,
            // A later version of Side knows it.
            Err(MessageError::Unknown(_)) => return,
            Err(error) => return self.fault(link, format!("it sent a malformed message about blocks: {error}")),
        };
        there.heard(&message);
        if let Message::Ask { want, have } = message {
            there.learns |= want == BlockId::origin(self.core.group.id());
            return there.asked(want, have);
        }
        if self.engine.is_early(&self.core.group, &message) {
            return there.keep_early(message);
        }
        self.learn_from(&message);
        self.take_in(link, message, now_ms);
    }

    /// Takes in what peers said of epochs to which the chain here has come only now. Nobody says it again.
    pub(super) fn hear_early(&mut self, now_ms: u64) {
        let (engine, group) = (&self.engine, &self.core.group);
        let due = |there: &mut Link| there.take_due(|message| engine.is_early(group, message));
        let due: Vec<(LinkId, Vec<Message>)> =
            self.links.iter_mut().map(|(link, there)| (*link, due(there))).filter(|(_, due)| !due.is_empty()).collect();
        for (link, messages) in due {
            messages.into_iter().for_each(|message| self.take_in(link, message, now_ms));
        }
    }

    fn take_in(&mut self, link: LinkId, message: Message, now_ms: u64) {
        let (effects, refusal) = self.engine.hear(&mut self.core.group, message.clone());
        self.carry_out(effects, Some(link), Some(&message), now_ms);
        match refusal {
            // That there are too many blocks is not the fault of whoever brings one more.
            None | Some(Refusal::Full) => {}
            Some(refusal) => {
                tracing::debug!(%refusal, "refused what a peer says about blocks");
                if self.links.get_mut(&link).is_some_and(Link::refused) {
                    self.fault(link, format!("it sent too much about blocks that is not good, at last: {refusal}"));
                }
            }
        }
    }

    /// Seals if it is this node's turn.
    pub(super) fn seal(&mut self, now_ms: u64) {
        let effects = self.engine.tick(&mut self.core.group, now_ms);
        // Whatever keeps it from sealing ends with an event, not with time alone; so it need not look again at once.
        self.duties.looked_ms = Some(now_ms);
        self.carry_out(effects, None, None, now_ms);
    }

    /// When the engine seals next.
    pub(super) fn sealing_deadline(&self) -> Option<u64> {
        let due = self.engine.deadline(&self.core.group)?;
        let pause = match self.engine {
            Engine::Leader(_) => self.core.group.chain().governance().interval_ms,
            Engine::Bft(_) => BFT_PAUSE_MS,
        };
        // A deadline that has passed without a block: the engine waits for others.
        let passed = self.duties.looked_ms.filter(|looked| *looked >= due);
        Some(passed.map_or(due, |looked| looked.saturating_add(pause)))
    }

    /// Carries effects out in their order. What is to be kept is staged, and nothing is sent before it is on disk. `heard` came on the link `from`: it is
    /// not told back.
    fn carry_out(&mut self, effects: Vec<Effect>, from: Option<LinkId>, heard: Option<&Message>, now_ms: u64) {
        for effect in effects {
            match effect {
                Effect::Keep(record) => {
                    let write = Write::Seal { group: self.id(), record: record.encode().into() };
                    self.stage(write);
                }
                Effect::Tell(message) => {
                    let echo = heard == Some(&message);
                    for (link, there) in &mut self.links {
                        if !echo || from != Some(*link) {
                            there.tell(&message);
                        }
                    }
                }
                Effect::Ask(message) => self.ask(message, from, now_ms),
                Effect::Show(event) => self.show_event(event),
                Effect::Reply(reply) => self.replies[0].push(reply),
            }
        }
    }

    fn show_event(&mut self, event: Event) {
        let news = match event {
            Event::Extended(height, id) => News::Sealed(height, id),
            Event::Returned(height, id) => News::Returned(height, id),
            Event::Refused(id, refusal) => News::Notice(format!("block {id} is not good: {refusal}")),
            Event::Doubled(signer, rank) => News::Notice(format!(
                "there is a proof that {} ({signer}) sealed two blocks at height {}: nothing more of it is taken in this epoch; the voters can choose \
                 another sealer with /vote leader NODE",
                self.core.name_of(&signer),
                rank.height.0
            )),
            Event::Offended(guilt) => News::Notice(format!(
                "there is a proof that {} ({}) voted against itself in epoch {}: {:?}",
                self.core.name_of(&guilt.sealer),
                guilt.sealer,
                guilt.epoch.0,
                guilt.offence
            )),
        };
        self.news[0].push(news);
    }

    /// Asks `from` for blocks, or anybody; not again what was just asked.
    fn ask(&mut self, message: Message, from: Option<LinkId>, now_ms: u64) {
        let Message::Ask { want, .. } = &message else { return };
        let want = *want;
        let tip = self.core.group.chain().tip_id();
        let before = self.asked.get(&want).copied();
        // In BFT mode the engine paces its questions itself.
        let paced = matches!(self.engine, Engine::Bft(_));
        if !paced && before.is_some_and(|asked| asked.tip == tip && now_ms < asked.at_ms.saturating_add(ASK_AGAIN_MS)) {
            return;
        }
        if before.is_none() && self.asked.len() >= MAX_ASKED {
            return;
        }
        let last = before.map(|asked| asked.link);
        let Some(link) = from.filter(|from| self.links.contains_key(from)).or_else(|| self.link_after(last)) else {
            return;
        };
        let times = before.filter(|asked| asked.tip == tip).map_or(1, |asked| asked.times + 1);
        self.asked.insert(want, Asked { tip, link, at_ms: now_ms, times });
        if let Some(there) = self.links.get_mut(&link) {
            there.ask(message);
        }
    }

    /// The next link in turn, so that one that does not answer is not asked for ever.
    fn link_after(&self, last: Option<LinkId>) -> Option<LinkId> {
        let next = last.and_then(|last| self.links.range(last..).map(|(link, _)| *link).find(|link| *link != last));
        next.or_else(|| self.links.keys().next().copied())
    }

    /// Asks others what was not answered.
    pub(super) fn ask_again(&mut self, now_ms: u64) {
        self.asked.retain(|want, asked| self.engine.block(want).is_none() && asked.times < MAX_ASKS);
        let due = |asked: &Asked| asked.at_ms.saturating_add(ASK_AGAIN_MS) <= now_ms;
        if !self.asked.values().any(due) {
            return;
        }
        for message in self.engine.wanted(&self.core.group) {
            self.ask(message, None, now_ms);
        }
        self.changed(None, now_ms);
        // Whatever is not wanted any more is not asked for again.
        self.asked.retain(|_, asked| !due(asked));
    }

    /// When a question is asked again.
    pub(super) fn asking_deadline(&self) -> Option<u64> {
        self.asked.values().map(|asked| asked.at_ms.saturating_add(ASK_AGAIN_MS)).min()
    }

    /// A link is gone: what was asked on it is asked elsewhere at once.
    pub(super) fn forget_asked_on(&mut self, link: LinkId) {
        for asked in self.asked.values_mut().filter(|asked| asked.link == link) {
            asked.at_ms = 0;
        }
    }

    /// This node may have forgotten blocks that it sealed, or words that it gave.
    pub(super) fn stop_sealing(&mut self) {
        if std::mem::replace(&mut self.sealing, false) {
            let effects = self.engine.set_sealing(&self.core.group, false);
            self.carry_out(effects, None, None, 0);
            self.keep_suspended();
        }
    }

    /// The store remembers it.
    pub(super) fn keep_suspended(&mut self) {
        let write = Write::Meta { key: suspended_key(self), value: Some(self.learning.kept()) };
        self.stage(write);
    }

    /// Its owner says that it has not.
    pub(super) fn trust_sealing(&mut self) {
        // What others show under this node's own signature says more: it has forgotten something, so it seals in no epoch in which it may have sealed.
        if !self.has_forgotten_blocks() {
            let effects = self.engine.trust(&self.core.group);
            self.carry_out(effects, None, None, 0);
        }
        self.allow_sealing();
    }

    /// It has not, or has learnt them again.
    pub(super) fn allow_sealing(&mut self) {
        if !std::mem::replace(&mut self.sealing, true) {
            let effects = self.engine.set_sealing(&self.core.group, true);
            self.carry_out(effects, None, None, 0);
            let write = Write::Meta { key: suspended_key(self), value: None };
            self.stage(write);
        }
    }
}
