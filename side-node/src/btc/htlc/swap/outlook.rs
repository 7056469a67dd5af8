//! What happens next with a swap and by when: in words, in blocks and in hours.

use bitcoin::absolute::Height;
use serde::Serialize;

use super::super::margins::{LATE_CLAIM_GRACE_BLOCKS, burial, confirmations, min_timeout, reveal_margin};
use super::super::terms::Terms;
use super::act::{blocks_between, blocks_left};
use super::{Hold, Level, Outcome, Place, Role, Servers, Stage, Swap, View};

/// What happens next, and by when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// One or two clauses, without a full stop at the end.
    pub words: String,
    /// How much it matters.
    pub level: Level,
    /// The height that matters next, if there is one.
    pub next: Option<Deadline>,
}

/// A height that matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deadline {
    /// What happens there, or must have happened by then.
    pub what: &'static str,
    /// The height.
    pub height: Height,
    /// Blocks from the last seen tip to it; zero if it is past.
    pub blocks: u32,
    /// The same in seconds, at the chain's average.
    pub seconds: u64,
}

impl Deadline {
    fn new(what: &'static str, height: u32, view: &View, interval: u32) -> Option<Self> {
        let height = Height::from_consensus(height).ok()?;
        let blocks = blocks_between(view.tip, height);
        Some(Self { what, height, blocks, seconds: u64::from(blocks) * u64::from(interval) })
    }

    /// `at block 900 (in 12 blocks, about 2 hours)`.
    pub fn words(&self) -> String {
        format!("at block {} (in {}, {})", self.height, plural(u64::from(self.blocks), "block"), about(self.seconds))
    }
}

/// A time in words, as exact as is honest for something that blocks decide.
pub fn about(seconds: u64) -> String {
    match seconds {
        0..60 => "now".to_owned(),
        60..5_400 => format!("about {}", plural(seconds.div_ceil(60), "minute")),
        5_400..172_800 => format!("about {}", plural((seconds + 1_800) / 3_600, "hour")),
        _ => format!("about {}", plural((seconds + 43_200) / 86_400, "day")),
    }
}

fn plural(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

impl Swap {
    /// What happens next and by when, as of the last observation.
    pub fn outlook(&self) -> Outlook {
        let (words, level, next) = self.reckon();
        let words = match &next {
            Some(deadline) => format!("{words}; {} {}", deadline.what, deadline.words()),
            None => words,
        };
        Outlook { words, level, next }
    }

    fn reckon(&self) -> (String, Level, Option<Deadline>) {
        let plain = |words: &str| (words.to_owned(), Level::Info, None);
        match (self.stage, &self.terms, &self.view) {
            (Stage::Done(outcome), _, _) => plain(self.ended(outcome)),
            (Stage::Offered, _, None) => plain("offered, waiting for the other side to accept"),
            (Stage::Offered, _, Some(view)) => {
                let least = min_timeout(&self.offer.chain, self.offer.amount);
                let last = self.offer.timeout.to_consensus_u32().saturating_sub(least);
                let interval = self.offer.chain.block_interval_seconds();
                let next = Deadline::new("too late to accept", last + 1, view, interval);
                ("offered, waiting for the other side to accept".to_owned(), Level::Info, next)
            }
            (_, Some(terms), Some(view)) => self.on_the_way(terms, view),
            _ => plain("the chain has not been looked at yet"),
        }
    }

    fn ended(&self, outcome: Outcome) -> &'static str {
        match (outcome, self.role) {
            (Outcome::Claimed, Role::Payer) => "done: the payee has the coins, you have the preimage",
            (Outcome::Claimed, Role::Payee) => "done: you have the coins",
            (Outcome::Refunded, Role::Payer) => "done: you have your coins back",
            (Outcome::Refunded, Role::Payee) => "done: the payer took the coins back",
            (Outcome::Cancelled, _) => "withdrawn before anything was locked",
            (Outcome::Expired, _) => "expired: the timeout passed with nothing locked",
        }
    }

    fn on_the_way(&self, terms: &Terms, view: &View) -> (String, Level, Option<Deadline>) {
        let interval = terms.chain().block_interval_seconds();
        let at = |what, height| Deadline::new(what, height, view, interval);
        let timeout = terms.timeout().to_consensus_u32();
        let depth = view.lock.as_ref().map_or(0, |lock| lock.place.depth(view.tip));
        let refund = || at("the refund becomes possible", timeout);
        match (self.stage, self.role) {
            (Stage::Accepted, Role::Payer) => {
                let last = timeout.saturating_sub(min_timeout(terms.chain(), terms.amount()));
                ("accepted, you fund the lock next".to_owned(), Level::Info, at("too late to fund", last + 1))
            }
            (Stage::Accepted, Role::Payee) => {
                ("accepted, waiting for the payer's lock".to_owned(), Level::Info, refund())
            }
            (Stage::Funding, Role::Payer) => self.funding_words(terms, view, refund()),
            (Stage::Locked, Role::Payer) if timeout > view.tip.to_consensus_u32() => {
                let words = format!("locked with {}, waiting for the claim", plural(u64::from(depth), "confirmation"));
                (words, Level::Info, refund())
            }
            (Stage::Locked, Role::Payer) if view.hold.is_some() => (
                "your refund waits: its fee would eat the amount, or it cannot be made".to_owned(),
                Level::Urgent,
                None,
            ),
            (Stage::Locked, Role::Payer) => {
                let next = at("your refund", timeout + LATE_CLAIM_GRACE_BLOCKS);
                ("the preimage is known, the lock is left to the claim for a while".to_owned(), Level::Info, next)
            }
            (Stage::Claiming, Role::Payer) => {
                let next = at("your refund, if it is still unconfirmed", timeout + LATE_CLAIM_GRACE_BLOCKS);
                ("the payee's claim is on its way, you have the preimage".to_owned(), Level::Info, next)
            }
            (Stage::Funding | Stage::Locked, Role::Payee) => self.hold_words(terms, view, depth),
            (Stage::Claiming, Role::Payee) => {
                let left = blocks_left(terms, view.tip);
                let level =
                    if left <= reveal_margin(terms.chain(), terms.amount()) { Level::Urgent } else { Level::Info };
                let what = "it must be in a block before the refund becomes possible";
                (format!("your claim is on its way{}", self.fee_words()), level, at(what, timeout))
            }
            (Stage::Refunding, Role::Payer) => {
                (format!("your refund is on its way{}", self.fee_words()), Level::Info, None)
            }
            (Stage::Refunding, Role::Payee) => ("the payer's refund is on its way".to_owned(), Level::Urgent, None),
            (stage, role) => {
                let whose = match (stage, role) {
                    (Stage::Claimed, Role::Payee) => "your claim",
                    (Stage::Claimed, Role::Payer) => "the payee's claim",
                    (_, Role::Payer) => "your refund",
                    (_, Role::Payee) => "the payer's refund",
                };
                self.burial_words(terms, view, whose, interval)
            }
        }
    }

    fn burial_words(
        &self,
        terms: &Terms,
        view: &View,
        whose: &str,
        interval: u32,
    ) -> (String, Level, Option<Deadline>) {
        let spend = view.lock.as_ref().and_then(|lock| lock.spend.as_ref());
        let need = burial(terms.chain(), terms.amount());
        let have = spend.map_or(0, |spend| spend.place.depth(view.tip));
        let next = match spend.map(|spend| spend.place) {
            Some(Place::Confirmed(height)) => {
                Deadline::new("it is final", height.to_consensus_u32() + need - 1, view, interval)
            }
            _ => None,
        };
        (format!("{whose} is in a block, {have} of {need} confirmations"), Level::Info, next)
    }

    fn funding_words(&self, terms: &Terms, view: &View, refund: Option<Deadline>) -> (String, Level, Option<Deadline>) {
        if self.keeps_funding_alive(view.tip) {
            return ("the funding transaction waits for a block".to_owned(), Level::Info, refund);
        }
        let left = blocks_left(terms, view.tip);
        let words = format!(
            "the funding transaction is in no block and only {} are left: it is of no use any more and no longer broadcast. \
             Spend its inputs elsewhere; if it confirms after all, it is refunded",
            plural(u64::from(left), "block")
        );
        (words, Level::Warning, refund)
    }

    fn hold_words(&self, terms: &Terms, view: &View, depth: u32) -> (String, Level, Option<Deadline>) {
        let interval = terms.chain().block_interval_seconds();
        let timeout = terms.timeout().to_consensus_u32();
        let last = timeout.saturating_sub(reveal_margin(terms.chain(), terms.amount()));
        let by = Deadline::new("too late to claim safely", last + 1, view, interval);
        let alone = if view.servers == Servers::Single { ", by the word of a single server" } else { "" };
        match view.hold {
            None | Some(Hold::NotLocked) => ("the payer's lock waits for a block".to_owned(), Level::Info, by),
            Some(Hold::NotDeep { .. }) => {
                let need = confirmations(terms.chain(), terms.amount());
                (format!("locked, {depth} of {need} confirmations{alone}"), Level::Info, by)
            }
            Some(Hold::NoPreimage) => (format!("locked, waiting for the preimage{alone}"), Level::Info, by),
            Some(Hold::TooLate { .. }) => {
                let next = Deadline::new("the refund becomes possible", timeout, view, interval);
                ("the preimage stays secret: it is too late to claim safely".to_owned(), Level::Warning, next)
            }
            Some(hold) => (format!("the preimage stays secret: {hold}"), Level::Warning, by),
        }
    }

    fn fee_words(&self) -> String {
        match self.spends.last() {
            Some(made) => format!(", paying {} sat/vB", made.rate.to_sat_per_vb_ceil()),
            None => String::new(),
        }
    }
}
