//! What members say to each other about swaps, as signed transactions of the group.
//!
//! An answer counts only if the one who was asked has signed it: the group's history says who wrote what. What is said is still only said; the chain is
//! looked at.

use serde::{Deserialize, Serialize};
use side_ledger::Entry;
use side_ledger::transaction::fields::Body as _;
use side_ledger::transaction::{SwapAccept, SwapCancel, SwapFunded, SwapOffer};

use super::deal::Peer;
use crate::api::control::Verb;
use crate::btc::htlc::swap::{Message, SwapId};
use crate::btc::htlc::terms::{Acceptance, Offer};
use crate::daemon::Mailbox;
use crate::daemon::groups::{GroupAction, GroupList};
use crate::daemon::view::{Accepted, Swaps};
use crate::error::CommandError;
use crate::home::{NodeHome, Root};

/// Something that a member said to another about a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who signed it.
    pub author: Peer,
    /// To whom: a key.
    pub to: String,
    /// When, by the author's clock, in milliseconds since 1970: a claim.
    pub at_ms: u64,
    /// What.
    pub message: Message,
}

/// All that was said to or by this node, group by group, in each group's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// This node's key.
    pub me: String,
    /// What was said.
    pub said: Vec<Said>,
}

impl Traffic {
    /// Reads entries of the group's history. What does not read is nothing that was said: its author's program or its author is at fault.
    pub fn read(group: &str, swaps: &Swaps) -> Self {
        Self { me: swaps.key.clone(), said: swaps.entries.iter().filter_map(|entry| read(group, entry)).collect() }
    }

    /// Whether this node has said that already.
    pub fn has_said(&self, to: &str, message: &Message) -> bool {
        self.said.iter().any(|said| said.author.key == self.me && said.to == to && said.message == *message)
    }

    /// What a member said to this node of a swap.
    pub fn from<'a>(&'a self, peer: &'a str, swap: SwapId) -> impl Iterator<Item = &'a Message> {
        let to_me = move |said: &&Said| said.author.key == peer && said.to == self.me;
        self.said.iter().filter(to_me).map(|said| &said.message).filter(move |message| about(message) == swap)
    }

    /// Offers to this node that nobody withdrew, latest last. Those that it has accepted are among them.
    pub fn offers(&self) -> Vec<Offered> {
        let mut offers: Vec<Offered> = Vec::new();
        for said in &self.said {
            let Message::Offer { offer } = &said.message else { continue };
            let id = SwapId::of(offer);
            let withdrawn = self.from(&said.author.key, id).any(|message| matches!(message, Message::Cancel { .. }));
            if said.to == self.me && said.author.key != self.me && !withdrawn && offers.iter().all(|o| o.id() != id) {
                offers.push(Offered { from: said.author.clone(), at_ms: said.at_ms, legs: vec![offer.clone()] });
            }
        }
        pair(offers)
    }
}

/// An offer of one lock, or of two that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Who offers.
    pub from: Peer,
    /// When, by its clock.
    pub at_ms: u64,
    /// The lock, or the two locks of an atomic swap, the offering party's own first.
    pub legs: Vec<Offer>,
}

impl Offered {
    /// Its name: of the first leg.
    pub fn id(&self) -> SwapId {
        SwapId::of(&self.legs[0])
    }
}

/// Two offers of one member with one payment hash, of which it pays one and is paid by the other, are one atomic swap.
fn pair(offers: Vec<Offered>) -> Vec<Offered> {
    let mut paired: Vec<Offered> = Vec::new();
    for offered in offers {
        let offer = &offered.legs[0];
        let fits = |other: &&mut Offered| {
            let first = &other.legs[0];
            other.legs.len() == 1
                && other.from.key == offered.from.key
                && first.payment_hash.is_some()
                && first.payment_hash == offer.payment_hash
                && first.refund_key.is_some()
                && offer.claim_key.is_some()
        };
        match paired.iter_mut().find(fits) {
            Some(first) => first.legs.push(offer.clone()),
            None => paired.push(offered),
        }
    }
    paired
}

fn about(message: &Message) -> SwapId {
    match message {
        Message::Offer { offer } => SwapId::of(offer),
        Message::Accept { swap, .. } | Message::Funded { swap, .. } | Message::Cancel { swap } => *swap,
    }
}

fn read(group: &str, entry: &Entry) -> Option<Said> {
    let message = message(entry)?;
    let key = entry.author.to_string();
    let name = entry.name.clone().unwrap_or_else(|| crate::output::short(&key).to_owned());
    let author = Peer { key, name, group: Some(group.to_owned()) };
    Some(Said { author, to: entry.body.get("to")?.as_str()?.to_owned(), at_ms: entry.time_ms, message })
}

/// What an entry says about a swap, if it says anything.
pub fn message(entry: &Entry) -> Option<Message> {
    if entry.problem.is_some() || entry.version != 1 {
        return None;
    }
    let text = |name: &str| entry.body.get(name)?.as_str();
    let swap = || text("swap")?.parse::<SwapId>().ok();
    Some(match entry.kind.as_str() {
        SwapOffer::KIND => Message::Offer { offer: Offer::from_json(text("offer")?).ok()? },
        SwapAccept::KIND => {
            let acceptance: Acceptance = serde_json::from_str(text("acceptance")?).ok()?;
            Message::Accept { swap: swap()?, acceptance }
        }
        SwapFunded::KIND => Message::Funded { swap: swap()?, txid: text("txid")?.parse().ok()? },
        SwapCancel::KIND => Message::Cancel { swap: swap()? },
        _ => return None,
    })
}

/// A message on its way to the group, as it waits in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// To whom: a key.
    pub to: String,
    /// In which group; in the node's default one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What.
    pub message: Message,
}

impl Outgoing {
    /// The verb that has the node sign it.
    pub fn verb(&self) -> Verb {
        let to = &self.to;
        let (kind, body) = match &self.message {
            Message::Offer { offer } => (SwapOffer::KIND, serde_json::json!({ "offer": offer.to_json(), "to": to })),
            Message::Accept { swap, acceptance } => {
                let acceptance = serde_json::to_string(acceptance).expect("a hash and a key always serialize");
                let swap = swap.to_string();
                (SwapAccept::KIND, serde_json::json!({ "acceptance": acceptance, "swap": swap, "to": to }))
            }
            Message::Funded { swap, txid } => {
                (SwapFunded::KIND, serde_json::json!({ "swap": swap.to_string(), "to": to, "txid": txid.to_string() }))
            }
            Message::Cancel { swap } => (SwapCancel::KIND, serde_json::json!({ "swap": swap.to_string(), "to": to })),
        };
        Verb::Swap { kind: kind.to_owned(), body }
    }
}

/// The way to the histories of the node's groups: through the node that runs, or into its folder while none does.
#[derive(Debug, Clone)]
pub enum GroupLink {
    /// In the node's own process.
    Running(Mailbox),
    /// From another process.
    Folder {
        /// The root.
        root: Root,
        /// The node's folder.
        home: NodeHome,
    },
}

impl GroupLink {
    async fn ask<T: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        group: Option<&str>,
        verb: Verb,
    ) -> Result<T, CommandError> {
        match self {
            Self::Running(mailbox) => {
                let value = mailbox.ask_in(group, verb).await?;
                serde_json::from_value(value).map_err(|e| CommandError::bug(format!("an answer has another form: {e}")))
            }
            Self::Folder { root, home } => {
                let (root, home, group) = (root.clone(), home.clone(), group.map(str::to_owned));
                let asking = move || crate::cli::commands::ask_node(&root, &home, group.as_deref(), verb);
                tokio::task::spawn_blocking(asking)
                    .await
                    .map_err(|e| CommandError::bug(format!("the node could not be asked: {e}")))?
            }
        }
    }

    /// What was said of swaps to or by this node, in any of its groups. A group that does not run says nothing.
    ///
    /// # Errors
    /// The node cannot be asked.
    pub async fn traffic(&self) -> Result<Traffic, CommandError> {
        let list: GroupList = self.ask(None, Verb::Groups { action: GroupAction::List }).await?;
        let mut all = Traffic { me: list.key, said: Vec::new() };
        let mut failure = None;
        for info in &list.groups {
            match self.ask::<Swaps>(Some(&info.group), Verb::Swaps).await {
                Ok(swaps) => all.said.extend(Traffic::read(&info.group, &swaps).said),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if all.said.is_empty() => Err(error),
            _ => Ok(all),
        }
    }

    /// Signs a message and hands it to the group; it is on disk when this returns.
    ///
    /// # Errors
    /// The node cannot be asked, or must not write.
    pub async fn say(&self, outgoing: &Outgoing) -> Result<(), CommandError> {
        self.ask::<Accepted>(outgoing.group.as_deref(), outgoing.verb()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::Amount;
    use bitcoin::absolute::Height;
    use bitcoin::hashes::Hash as _;

    use super::*;
    use crate::btc::htlc::secrets::{Preimage, SpendKey};
    use crate::btc::htlc::terms::{ChainId, LockKind, TERMS_VERSION};

    fn peer(name: &str) -> Peer {
        Peer { key: name.repeat(4), name: name.into(), group: None }
    }

    fn offer(pays: bool, chain: &str, hash: Option<u8>) -> Offer {
        let key = SpendKey::from_bytes([9; 32]).unwrap().public();
        Offer {
            version: TERMS_VERSION,
            chain: chain.parse::<ChainId>().unwrap(),
            kind: LockKind::P2wsh,
            amount: Amount::from_sat(50_000),
            timeout: Height::from_consensus(200).unwrap(),
            payment_hash: hash.map(|byte| Preimage::from_bytes([byte; 32]).payment_hash()),
            claim_key: (!pays).then_some(key),
            refund_key: pays.then_some(key),
        }
    }

    fn said(author: &str, to: &str, message: Message) -> Said {
        Said { author: peer(author), to: peer(to).key, at_ms: 0, message }
    }

    #[test]
    fn offers_to_others_and_withdrawn_ones_do_not_show() {
        let (one, two) = (offer(true, "regtest", None), offer(false, "regtest", Some(1)));
        let withdrawn = Message::Cancel { swap: SwapId::of(&two) };
        let traffic = Traffic {
            me: peer("me").key,
            said: vec![
                said("dave", "me", Message::Offer { offer: one.clone() }),
                said("dave", "me", Message::Offer { offer: one.clone() }),
                said("dave", "other", Message::Offer { offer: offer(true, "signet", None) }),
                said("dave", "me", Message::Offer { offer: two.clone() }),
                // Somebody else's word does not withdraw it.
                said("eve", "me", withdrawn.clone()),
            ],
        };
        let ids = |traffic: &Traffic| traffic.offers().iter().map(Offered::id).collect::<Vec<_>>();
        assert_eq!(ids(&traffic), [SwapId::of(&one), SwapId::of(&two)]);
        let mut more = traffic.clone();
        more.said.push(said("dave", "me", withdrawn));
        assert_eq!(ids(&more), [SwapId::of(&one)]);
    }

    #[test]
    fn only_the_addressees_acceptance_counts() {
        let offer = offer(true, "regtest", None);
        let id = SwapId::of(&offer);
        let acceptance = Acceptance { payment_hash: None, key: SpendKey::from_bytes([8; 32]).unwrap().public() };
        let accept = Message::Accept { swap: id, acceptance };
        let traffic = Traffic {
            me: peer("me").key,
            said: vec![
                said("eve", "me", accept.clone()),
                said("sammy", "other", accept.clone()),
                said("sammy", "me", accept.clone()),
            ],
        };
        assert_eq!(traffic.from(&peer("sammy").key, id).collect::<Vec<_>>(), [&accept]);
        assert_eq!(traffic.from(&peer("dave").key, id).count(), 0);
    }

    #[test]
    fn two_offers_with_one_hash_are_one_atomic_swap() {
        let (pays, paid) = (offer(true, "regtest:a", Some(1)), offer(false, "regtest:b", Some(1)));
        let make = |legs: &[&Offer]| Traffic {
            me: peer("me").key,
            said: legs.iter().map(|offer| said("dave", "me", Message::Offer { offer: (*offer).clone() })).collect(),
        };
        assert_eq!(make(&[&pays, &paid]).offers()[0].legs, [pays.clone(), paid.clone()]);
        let other = offer(false, "regtest:b", Some(2));
        assert_eq!(make(&[&pays, &other]).offers().len(), 2);
    }

    /// What a program writes reads back, and people read words.
    #[test]
    fn the_history_tells_in_words_what_was_said() {
        let offer = offer(true, "signet", None);
        let swap = SwapId::of(&offer);
        let id = swap.to_string()[..8].to_owned();
        let acceptance = Acceptance { payment_hash: None, key: SpendKey::from_bytes([8; 32]).unwrap().public() };
        let txid = bitcoin::Txid::from_byte_array([7; 32]);
        let entry = |message: &Message| {
            let to = "ab".repeat(32);
            let Verb::Swap { kind, body } = (Outgoing { to, group: None, message: message.clone() }).verb() else {
                panic!("a verb about a swap")
            };
            let (id, author) = ("00".repeat(32), bft_json_crdt::identity::Keypair::from_seed(&[1; 32]).author());
            let json = serde_json::json!({
                "id": id, "offset": 0, "lamport": 1, "author": author.to_string(), "name": "dave", "seq": 1, "time_ms": 0,
                "version": 1, "kind": kind, "body": body,
            });
            serde_json::from_value::<Entry>(json).unwrap()
        };
        for (message, words) in [
            (
                Message::Offer { offer },
                format!("* offers bob swap {id}: to pay 50,000 sats (0.00050000 BTC) on signet, until block 200"),
            ),
            (Message::Accept { swap, acceptance }, format!("* accepts bob's swap {id}")),
            (Message::Funded { swap, txid }, format!("* tells bob that the coins of swap {id} are in 07070707")),
            (Message::Cancel { swap }, format!("* tells bob that swap {id} is off")),
        ] {
            let mut entry = entry(&message);
            assert_eq!(super::message(&entry), Some(message));
            assert_eq!(crate::output::body(&entry, Some("bob")), words);
            assert!(crate::output::body(&entry, None).contains("abababab"), "by its key where it has no name");
            // What does not read is shown as it is.
            entry.body["swap"] = "no id".into();
            entry.body["offer"] = "{}\u{1b}".into();
            let raw = crate::output::body(&entry, Some("bob"));
            assert!(raw.starts_with(&format!("* {}: {{", entry.kind)) && !raw.contains('\u{1b}'), "{raw}");
        }
    }
}
