//! `swap.*`: two members agree on a swap of coins, which lives on other chains.
//!
//! The ledger carries what they say to each other and vouches for who said it; it knows nothing of Bitcoin. What is offered and what is filled in
//! are texts of a form that the members' programs fix (docs/protocol.md, section "Swaps"). Nothing here moves coins: whoever acts on it looks at the chain.

use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::value::Value;

use super::TransactionError;
use super::fields::{Body, Fields, hex};

/// Most bytes of the text of an offer or an acceptance.
pub const MAX_SWAP_TEXT_BYTES: usize = 1024;
/// What is said of a text that is empty or too long.
const LENGTH: &str = "is not a text of 1 to 1,024 bytes";

/// `swap.offer`: the author offers a swap to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapOffer {
    /// To whom. Nobody else's answer counts.
    pub to: AuthorId,
    /// The terms, with the fields that the other one fills in still open.
    pub offer: String,
}

/// `swap.accept`: the author fills in what an offer to it left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapAccept {
    /// Who offered.
    pub to: AuthorId,
    /// The offer's id.
    pub swap: [u8; 32],
    /// What fills the open fields.
    pub acceptance: String,
}

/// `swap.funded`: the author says which transaction locks the coins. A hint: the other one looks for it anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapFunded {
    /// The other party.
    pub to: AuthorId,
    /// The offer's id.
    pub swap: [u8; 32],
    /// The transaction's id as its chain shows it: the hash with its bytes reversed.
    pub txid: [u8; 32],
}

/// `swap.cancel`: the author withdraws, before anything is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapCancel {
    /// The other party.
    pub to: AuthorId,
    /// The offer's id.
    pub swap: [u8; 32],
}

fn text(fields: &Fields<'_>, field: &'static str) -> Result<String, TransactionError> {
    let text = fields.text(field)?;
    if (1..=MAX_SWAP_TEXT_BYTES).contains(&text.len()) { Ok(text.to_owned()) } else { Err(fields.fault(field, LENGTH)) }
}

impl Body for SwapOffer {
    const KIND: &'static str = "swap.offer";
    const FIELDS: &'static [&'static str] = &["offer", "to"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { to: fields.key("to")?, offer: text(fields, "offer")? })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![("offer", Value::String(self.offer.clone())), ("to", hex(self.to.as_bytes()))]
    }
}

impl Body for SwapAccept {
    const KIND: &'static str = "swap.accept";
    const FIELDS: &'static [&'static str] = &["acceptance", "swap", "to"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { to: fields.key("to")?, swap: fields.bytes32("swap")?, acceptance: text(fields, "acceptance")? })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("acceptance", Value::String(self.acceptance.clone())),
            ("swap", hex(&self.swap)),
            ("to", hex(self.to.as_bytes())),
        ]
    }
}

impl Body for SwapFunded {
    const KIND: &'static str = "swap.funded";
    const FIELDS: &'static [&'static str] = &["swap", "to", "txid"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { to: fields.key("to")?, swap: fields.bytes32("swap")?, txid: fields.bytes32("txid")? })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![("swap", hex(&self.swap)), ("to", hex(self.to.as_bytes())), ("txid", hex(&self.txid))]
    }
}

impl Body for SwapCancel {
    const KIND: &'static str = "swap.cancel";
    const FIELDS: &'static [&'static str] = &["swap", "to"];

    fn read(fields: &Fields<'_>) -> Result<Self, TransactionError> {
        Ok(Self { to: fields.key("to")?, swap: fields.bytes32("swap")? })
    }

    fn write(&self) -> Vec<(&'static str, Value)> {
        vec![("swap", hex(&self.swap)), ("to", hex(self.to.as_bytes()))]
    }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::identity::Keypair;

    use super::*;
    use crate::transaction::{Known, Transaction};

    #[test]
    fn swaps_read_back_and_bodies_that_do_not_fit_are_named() {
        let to = Keypair::from_seed(&[1; 32]).author();
        let offer = SwapOffer { to, offer: r#"{"version":1}"#.into() };
        let all = [
            Known::SwapOffer(offer.clone()),
            Known::SwapAccept(SwapAccept { to, swap: [7; 32], acceptance: "{}".into() }),
            Known::SwapFunded(SwapFunded { to, swap: [7; 32], txid: [8; 32] }),
            Known::SwapCancel(SwapCancel { to, swap: [7; 32] }),
        ];
        for known in all {
            let transaction = Transaction::from_value(&known.transaction().to_value()).unwrap();
            assert!(transaction.kind.starts_with("swap."));
            assert_eq!(transaction.known(1), Ok(known));
        }
        for text in [String::new(), "x".repeat(MAX_SWAP_TEXT_BYTES + 1)] {
            let long = Transaction::from(SwapOffer { offer: text, ..offer.clone() });
            assert_eq!(
                long.known(1),
                Err(TransactionError::Body { kind: "swap.offer", field: "offer", problem: LENGTH })
            );
        }
        let mut upper = Transaction::from(SwapCancel { to, swap: [0xab; 32] });
        let Value::Object(body) = &mut upper.body else { panic!() };
        body.insert("swap".into(), Value::String("AB".repeat(32)));
        assert!(matches!(upper.known(1), Err(TransactionError::Body { field: "swap", .. })));
    }
}
