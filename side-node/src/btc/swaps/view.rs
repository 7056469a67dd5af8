//! Swaps as people and programs see them. No secret is in here; a preimage shows once it is public.

use serde::Serialize;
use side_ledger::Entry;

use super::deal::{Deal, State};
use super::desk::lock_outpoint;
use super::storage::StoredNotice;
use super::traffic::{self, Offered};
use crate::btc::amount;
use crate::btc::htlc::swap::{Deadline, Level, Message, Role, Stage, Swap, SwapId};
use crate::btc::htlc::terms::{LockKind, Offer};
use crate::output;

/// Digits of an id that are shown, and the fewest that name a swap.
pub const MIN_ID_DIGITS: usize = 4;
const SHOWN_DIGITS: usize = 8;

/// A swap.
#[derive(Debug, Clone, Serialize)]
pub struct DealView {
    /// Its id.
    pub id: String,
    /// Whether it is one lock or two.
    pub atomic: bool,
    /// The other party's name.
    pub peer: String,
    /// Its key.
    pub peer_key: String,
    /// When it began, in milliseconds since 1970.
    pub created_ms: u64,
    /// The payment hash, once it is known.
    pub payment_hash: Option<String>,
    /// Whether nothing remains to be watched.
    pub done: bool,
    /// What happens next, the leg that matters more first.
    pub next: Vec<String>,
    /// The locks.
    pub legs: Vec<LegView>,
}

/// One lock.
#[derive(Debug, Clone, Serialize)]
pub struct LegView {
    /// Its id.
    pub id: String,
    /// `payer` or `payee`.
    pub role: Role,
    /// The chain.
    pub chain: String,
    /// The kind of output.
    pub kind: LockKind,
    /// The amount, in sats.
    pub amount_sat: u64,
    /// The height from which on the payer can take the coins back.
    pub timeout: u32,
    /// Where it stands.
    pub stage: Stage,
    /// The same in words, with what happens next and by when.
    pub words: String,
    /// How much it matters.
    pub level: &'static str,
    /// The height that matters next.
    pub deadline: Option<Deadline>,
    /// The lock's address.
    pub address: Option<String>,
    /// The output that holds the coins.
    pub outpoint: Option<String>,
    /// Confirmations of the lock.
    pub depth: u32,
    /// Our claims or refunds, the latest last.
    pub spends: Vec<String>,
    /// The preimage, once it is public.
    pub preimage: Option<String>,
}

/// An offer to this node.
#[derive(Debug, Clone, Serialize)]
pub struct OfferView {
    /// Its id.
    pub id: String,
    /// Who offers.
    pub from: String,
    /// Its key.
    pub from_key: String,
    /// When, by its clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub legs: Vec<Offer>,
}

/// `htlc list`.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// The node.
    pub node: String,
    /// Its swaps.
    pub swaps: Vec<DealView>,
    /// How many are over and not among them.
    pub over_not_listed: usize,
    /// Offers that wait for an answer.
    pub offers: Vec<OfferView>,
}

/// `htlc show`.
#[derive(Debug, Clone, Serialize)]
pub struct Whole {
    /// The swap.
    pub swap: DealView,
    /// What was said of it.
    pub notices: Vec<StoredNotice>,
}

/// A swap's view.
pub fn deal(deal: &Deal) -> DealView {
    let legs = deal.legs();
    let next = deal.outlook().into_iter().map(|(leg, outlook)| match legs.len() {
        1 => outlook.words,
        _ => format!("{}: {}", legs[leg].offer_made().chain, outlook.words),
    });
    DealView {
        id: deal.id().to_string(),
        atomic: matches!(deal.state, State::Atomic(_)),
        peer: deal.peer.name.clone(),
        peer_key: deal.peer.key.clone(),
        created_ms: deal.created_ms,
        payment_hash: deal.payment_hash().map(|hash| hash.to_string()),
        done: deal.is_done(),
        next: next.collect(),
        legs: legs.iter().map(|swap| leg(swap)).collect(),
    }
}

fn leg(swap: &Swap) -> LegView {
    let offer = swap.offer_made();
    let outlook = swap.outlook();
    LegView {
        id: swap.id().to_string(),
        role: swap.role(),
        chain: offer.chain.to_string(),
        kind: offer.kind,
        amount_sat: offer.amount.to_sat(),
        timeout: offer.timeout.to_consensus_u32(),
        stage: swap.stage(),
        words: outlook.words,
        level: match outlook.level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Urgent => "urgent",
        },
        deadline: outlook.next,
        address: swap.lock_script().map(|lock| lock.address().to_string()),
        outpoint: lock_outpoint(swap).map(|outpoint| outpoint.to_string()),
        depth: swap.lock_depth(),
        spends: swap.spends().map(|tx| tx.compute_txid().to_string()).collect(),
        preimage: swap.preimage().filter(|_| swap.is_preimage_public()).map(|preimage| preimage.reveal()),
    }
}

/// An offer's view.
pub fn offer(offered: &Offered) -> OfferView {
    OfferView {
        id: offered.id().to_string(),
        from: offered.from.name.clone(),
        from_key: offered.from.key.clone(),
        at_ms: offered.at_ms,
        legs: offered.legs.clone(),
    }
}

/// A short name for an id.
pub fn short(id: &str) -> &str {
    id.get(..SHOWN_DIGITS).unwrap_or(id)
}

/// The listing for people.
pub fn listing(listing: &Listing) -> String {
    let mut lines = Vec::new();
    for swap in &listing.swaps {
        lines.push(headline(swap));
        lines.extend(swap.next.iter().map(|next| format!("    {next}")));
    }
    for offer in &listing.offers {
        lines.push(offer_line(offer));
        lines.push(format!("    accept it with: side-node htlc accept {} {}", listing.node, short(&offer.id)));
    }
    match (listing.over_not_listed, lines.is_empty()) {
        (0, true) => lines.push(format!(
            "no swaps; offer one with: side-node htlc offer {} --to MEMBER --amount 50000",
            listing.node
        )),
        (0, false) => {}
        (over, nothing) => lines.push(format!(
            "{}{over} {} over: side-node htlc list {} --all",
            if nothing { "no open swaps; " } else { "" },
            if over == 1 { "is" } else { "are" },
            listing.node
        )),
    }
    lines.join("\n")
}

/// One swap in a line.
pub fn headline(swap: &DealView) -> String {
    format!("{}  {}", short(&swap.id), legs_words(swap))
}

/// Who pays whom how much, and where.
pub fn legs_words(swap: &DealView) -> String {
    let peer = output::printable(&swap.peer);
    let legs: Vec<String> = swap
        .legs
        .iter()
        .map(|leg| {
            let sats = amount::show(bitcoin::Amount::from_sat(leg.amount_sat));
            match leg.role {
                Role::Payer => format!("you pay {peer} {sats} on {}", leg.chain),
                Role::Payee => format!("{peer} pays you {sats} on {}", leg.chain),
            }
        })
        .collect();
    legs.join(", ")
}

fn offer_line(offer: &OfferView) -> String {
    format!("{}  {}", short(&offer.id), offered_words(offer))
}

/// Who offers what.
pub fn offered_words(offer: &OfferView) -> String {
    let from = output::printable(&offer.from);
    let legs: Vec<String> = offer
        .legs
        .iter()
        .map(|leg| {
            let what = format!("{} on {}, until block {}", amount::show(leg.amount), leg.chain, leg.timeout);
            if leg.refund_key.is_some() { format!("to pay you {what}") } else { format!("to be paid {what}") }
        })
        .collect();
    format!("{from} offers {}", legs.join(", and "))
}

/// What a member says to another one about a swap, for whoever reads the group's history; nothing where it is about something else, or does not read.
pub fn said(entry: &Entry, to: &str) -> Option<String> {
    let named = |swap: SwapId| short(&swap.to_string()).to_owned();
    Some(match traffic::message(entry)? {
        Message::Offer { offer } => {
            let direction = if offer.refund_key.is_some() { "to pay" } else { "to be paid" };
            let (amount, chain, timeout) = (amount::show(offer.amount), &offer.chain, offer.timeout);
            let id = named(SwapId::of(&offer));
            format!("offers {to} swap {id}: {direction} {amount} on {chain}, until block {timeout}")
        }
        Message::Accept { swap, .. } => format!("accepts {to}'s swap {}", named(swap)),
        Message::Funded { swap, txid } => {
            format!("tells {to} that the coins of swap {} are in {}", named(swap), short(&txid.to_string()))
        }
        Message::Cancel { swap } => format!("tells {to} that swap {} is off", named(swap)),
    })
}

/// A swap in full, for people.
pub fn whole(whole: &Whole) -> String {
    let mut lines = vec![headline(&whole.swap)];
    let mut line = |name: &str, value: &str| lines.push(format!("  {name:<13}{value}"));
    line("id", &whole.swap.id);
    line("with", &format!("{} ({})", output::printable(&whole.swap.peer), whole.swap.peer_key));
    if let Some(hash) = &whole.swap.payment_hash {
        line("payment hash", hash);
    }
    for leg in &whole.swap.legs {
        line(
            "lock",
            &format!(
                "{} on {}, timeout at block {}",
                amount::show(bitcoin::Amount::from_sat(leg.amount_sat)),
                leg.chain,
                leg.timeout
            ),
        );
        if let Some(address) = &leg.address {
            line("address", address);
        }
        if let Some(outpoint) = &leg.outpoint {
            line("output", &format!("{outpoint}, {} confirmations", leg.depth));
        }
        for spend in &leg.spends {
            line("our spend", spend);
        }
        if let Some(preimage) = &leg.preimage {
            line("preimage", preimage);
        }
        line("next", &leg.words);
    }
    for notice in &whole.notices {
        lines.push(format!("  {}  {}", output::time(notice.at_ms), output::printable(&notice.words)));
    }
    lines.join("\n")
}
