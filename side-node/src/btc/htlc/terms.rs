//! What two parties agree on before coins are locked: chain, kind of lock, amount, payment hash, two keys and a timeout.
//!
//! [`Terms`] are checked when they are made and when they are read, so that a value of that type is always sound by itself; what depends on
//! the chain's tip is asked by [`Terms::check_at`]. The JSON form has one order of fields, one spelling and no unknown field.
//! [`Offer`] is the same with the fields that the other party fills in still open.

use std::fmt;
use std::str::FromStr;

use bitcoin::absolute::Height;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, Network};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::margins::{MAX_TIMEOUT_BLOCKS, MIN_AMOUNT, min_timeout};
use super::secrets::PaymentHash;

/// The version of terms and offers. Another kind of lock (a cooperative key path, say) is a new [`LockKind`]; another meaning of a field a new version.
pub const TERMS_VERSION: u16 = 1;
/// Most characters of the label of a local chain.
pub const MAX_LABEL_CHARS: usize = 16;
/// The most bytes that terms or an offer take as JSON: about twice what they need.
pub const MAX_TERMS_BYTES: usize = 1024;
/// The domain of [`Terms::id`] (a BIP340 tagged hash).
pub const TERMS_TAG: &str = "side/htlc/terms/1";
/// The domain of [`Offer::id`] (a BIP340 tagged hash).
pub const OFFER_TAG: &str = "side/htlc/offer/1";

/// Why terms are not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TermsError {
    /// Made by a version of the format that this build does not know.
    #[error("the terms have version {0}, this build knows version {TERMS_VERSION}: update it")]
    Version(u16),
    /// The name of the chain is none of ours.
    #[error("`{0}` names no chain: bitcoin, testnet4, signet, mutinynet, regtest, or regtest:LABEL")]
    Chain(String),
    /// The terms speak of another chain.
    #[error("the terms are for {found}, expected is {expected}")]
    WrongChain {
        /// What the terms say.
        found: ChainId,
        /// Where they were to be used.
        expected: ChainId,
    },
    /// Claiming so little would cost too large a part of it.
    #[error("{0} is too little: a lock holds at least {MIN_AMOUNT}, or fees would eat it")]
    Dust(Amount),
    /// More than there will ever be.
    #[error("{0} is more than all bitcoins that there will ever be")]
    AboveSupply(Amount),
    /// With one key for both branches a single party could take both.
    #[error("claim key and refund key are the same")]
    EqualKeys,
    /// The timeout is no block height above zero.
    #[error("{0} is no block height for a timeout: it lies between 1 and 499999999")]
    TimeoutHeight(u32),
    /// Too little time to fund, bury and claim.
    #[error("the timeout at block {timeout} is {left} blocks away; this amount needs at least {least}")]
    TimeoutTooShort {
        /// The height agreed on.
        timeout: Height,
        /// Blocks from the tip to it.
        left: u32,
        /// Blocks that are needed.
        least: u32,
    },
    /// Locked for absurdly long.
    #[error("the timeout at block {timeout} is {left} blocks away; at most {MAX_TIMEOUT_BLOCKS} are allowed")]
    TimeoutTooFar {
        /// The height agreed on.
        timeout: Height,
        /// Blocks from the tip to it.
        left: u32,
    },
    /// The one who accepts did not fill in what the offer left open.
    #[error("the {0} is missing: neither the offer nor its acceptance names it")]
    Missing(&'static str),
    /// The one who accepts tried to change what was offered.
    #[error("the acceptance changes the {0} that was offered")]
    Changed(&'static str),
    /// The JSON is too long or not of the form.
    #[error("these are no terms: {0}")]
    Json(String),
}

/// Which chain a lock is on. Public chains go by their name. Local chains all share one genesis block, so a swap between two of them tells
/// them apart by a label that both parties use (the first digits of the hash of block 1, or a name they gave).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(Name);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    Bitcoin,
    Testnet4,
    Signet,
    Mutinynet,
    Regtest(Option<String>),
}

impl ChainId {
    /// The main chain.
    pub const BITCOIN: Self = Self(Name::Bitcoin);
    /// The fourth test chain (BIP94).
    pub const TESTNET4: Self = Self(Name::Testnet4);
    /// The public signet (BIP325).
    pub const SIGNET: Self = Self(Name::Signet);
    /// A signet of its own with a block every 30 seconds.
    pub const MUTINYNET: Self = Self(Name::Mutinynet);
    /// A local chain without a label.
    pub const REGTEST: Self = Self(Name::Regtest(None));

    /// The kind of network, which decides what addresses look like.
    pub fn network(&self) -> Network {
        match self.0 {
            Name::Bitcoin => Network::Bitcoin,
            Name::Testnet4 => Network::Testnet4,
            Name::Signet | Name::Mutinynet => Network::Signet,
            Name::Regtest(_) => Network::Regtest,
        }
    }

    /// Seconds between two blocks, on average. A local chain has blocks when somebody wants them; it counts as ten minutes.
    pub fn block_interval_seconds(&self) -> u32 {
        if self.0 == Name::Mutinynet { 30 } else { 600 }
    }

    /// Whether short reorgs are common or can be bought.
    pub fn has_cheap_reorgs(&self) -> bool {
        matches!(self.0, Name::Mutinynet | Name::Testnet4)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Bitcoin => f.write_str("bitcoin"),
            Name::Testnet4 => f.write_str("testnet4"),
            Name::Signet => f.write_str("signet"),
            Name::Mutinynet => f.write_str("mutinynet"),
            Name::Regtest(None) => f.write_str("regtest"),
            Name::Regtest(Some(label)) => write!(f, "regtest:{label}"),
        }
    }
}

impl FromStr for ChainId {
    type Err = TermsError;
    fn from_str(text: &str) -> Result<Self, TermsError> {
        let name = match text {
            "bitcoin" => Name::Bitcoin,
            "testnet4" => Name::Testnet4,
            "signet" => Name::Signet,
            "mutinynet" => Name::Mutinynet,
            "regtest" => Name::Regtest(None),
            _ => match text.strip_prefix("regtest:") {
                Some(label) if is_label(label) => Name::Regtest(Some(label.to_owned())),
                _ => return Err(TermsError::Chain(text.chars().take(40).collect())),
            },
        };
        Ok(Self(name))
    }
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_CHARS).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl Serialize for ChainId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What kind of output locks the coins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// Segwit version 0: the hash of one script with both branches (BIP141).
    P2wsh,
    /// Taproot: each branch a leaf, under an internal key that is nobody's (BIP341).
    Taproot,
}

/// Terms as two parties agreed on them. Invariant: sound by themselves, as [`Terms::new`] checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Terms {
    chain: ChainId,
    kind: LockKind,
    amount: Amount,
    payment_hash: PaymentHash,
    claim_key: PublicKey,
    refund_key: PublicKey,
    timeout: Height,
}

impl Terms {
    /// Checks everything that does not depend on the chain's tip.
    ///
    /// # Errors
    /// [`TermsError::Dust`], [`TermsError::AboveSupply`], [`TermsError::EqualKeys`], [`TermsError::TimeoutHeight`].
    pub fn new(
        chain: ChainId,
        kind: LockKind,
        amount: Amount,
        payment_hash: PaymentHash,
        claim_key: PublicKey,
        refund_key: PublicKey,
        timeout: Height,
    ) -> Result<Self, TermsError> {
        check_amount(amount)?;
        check_timeout(timeout)?;
        // A taproot script knows the x coordinate only, so a key and its negative are one.
        if claim_key.x_only_public_key().0 == refund_key.x_only_public_key().0 {
            return Err(TermsError::EqualKeys);
        }
        Ok(Self { chain, kind, amount, payment_hash, claim_key, refund_key, timeout })
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`TermsError::Json`] for everything, with the reason in words.
    pub fn from_json(text: &str) -> Result<Self, TermsError> {
        from_json(text)
    }

    /// The JSON form, the same for the same terms.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// Refuses terms that are for another chain than expected.
    pub fn check_chain(&self, expected: &ChainId) -> Result<(), TermsError> {
        if self.chain == *expected {
            return Ok(());
        }
        Err(TermsError::WrongChain { found: self.chain.clone(), expected: expected.clone() })
    }

    /// Refuses a timeout that leaves too little time to fund, bury and claim, seen from `tip`, or an absurdly long one.
    pub fn check_at(&self, tip: Height) -> Result<(), TermsError> {
        check_distance(&self.chain, self.amount, self.timeout, tip)
    }

    /// Names these terms: a tagged hash over every field in a fixed binary form.
    pub fn id(&self) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend_from_slice(&TERMS_VERSION.to_be_bytes());
        let chain = self.chain.to_string();
        bytes.push(u8::try_from(chain.len()).expect("a chain's name has at most 8 + MAX_LABEL_CHARS characters"));
        bytes.extend_from_slice(chain.as_bytes());
        bytes.push(match self.kind {
            LockKind::P2wsh => 0,
            LockKind::Taproot => 1,
        });
        bytes.extend_from_slice(&self.amount.to_sat().to_be_bytes());
        bytes.extend_from_slice(self.payment_hash.as_bytes());
        bytes.extend_from_slice(&self.claim_key.serialize());
        bytes.extend_from_slice(&self.refund_key.serialize());
        bytes.extend_from_slice(&self.timeout.to_consensus_u32().to_be_bytes());
        tagged_hash(TERMS_TAG, &bytes)
    }

    /// The chain that the lock is on.
    pub fn chain(&self) -> &ChainId {
        &self.chain
    }
    /// The kind of output.
    pub fn kind(&self) -> LockKind {
        self.kind
    }
    /// What the lock must hold at least.
    pub fn amount(&self) -> Amount {
        self.amount
    }
    /// Whose preimage opens the claim branch.
    pub fn payment_hash(&self) -> PaymentHash {
        self.payment_hash
    }
    /// Who may claim.
    pub fn claim_key(&self) -> PublicKey {
        self.claim_key
    }
    /// Who may take back.
    pub fn refund_key(&self) -> PublicKey {
        self.refund_key
    }
    /// The refund can be in the block after this height, and is relayed once the tip is at it (CLTV, BIP65).
    pub fn timeout(&self) -> Height {
        self.timeout
    }
}

/// Terms with holes: what one party offers. The other one fills in its own key and, if it is the one to know it, the payment hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// [`TERMS_VERSION`].
    pub version: u16,
    /// The chain that the lock is to be on.
    pub chain: ChainId,
    /// The kind of output.
    pub kind: LockKind,
    /// The amount, in sats.
    #[serde(rename = "amount_sat", with = "bitcoin::amount::serde::as_sat")]
    pub amount: Amount,
    /// The height from which on the payer can take the coins back.
    pub timeout: Height,
    /// The hash, where the one who offers knows the preimage or has the hash from another leg.
    pub payment_hash: Option<PaymentHash>,
    /// The payee's key, if the payee offers.
    pub claim_key: Option<PublicKey>,
    /// The payer's key, if the payer offers.
    pub refund_key: Option<PublicKey>,
}

/// What fills the holes of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The hash, if the offer left it open.
    pub payment_hash: Option<PaymentHash>,
    /// The key of the one who accepts.
    pub key: PublicKey,
}

impl Offer {
    /// Reads the JSON form. An offer is checked when it is completed.
    ///
    /// # Errors
    /// [`TermsError::Json`].
    pub fn from_json(text: &str) -> Result<Self, TermsError> {
        from_json(text)
    }

    /// The JSON form, the same for the same offer.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// Names this offer, and the swap that grows from it: a tagged hash over the JSON form. The offering party's fresh key makes it unique.
    pub fn id(&self) -> [u8; 32] {
        tagged_hash(OFFER_TAG, self.to_json().as_bytes())
    }

    /// Fills the holes. Exactly one of the keys may be open, and nothing that was offered changes.
    ///
    /// # Errors
    /// [`TermsError::Version`], [`TermsError::Missing`], [`TermsError::Changed`], and what [`Terms::new`] refuses.
    pub fn complete(&self, acceptance: &Acceptance) -> Result<Terms, TermsError> {
        if self.version != TERMS_VERSION {
            return Err(TermsError::Version(self.version));
        }
        let (claim_key, refund_key) = match (self.claim_key, self.refund_key) {
            (None, Some(refund_key)) => (acceptance.key, refund_key),
            (Some(claim_key), None) => (claim_key, acceptance.key),
            (Some(_), Some(_)) => return Err(TermsError::Changed("key")),
            (None, None) => return Err(TermsError::Missing("key of the one who offers")),
        };
        let payment_hash = match (self.payment_hash, acceptance.payment_hash) {
            (Some(offered), None) => offered,
            (Some(offered), Some(accepted)) if offered == accepted => offered,
            (Some(_), Some(_)) => return Err(TermsError::Changed("payment hash")),
            (None, Some(accepted)) => accepted,
            (None, None) => return Err(TermsError::Missing("payment hash")),
        };
        Terms::new(self.chain.clone(), self.kind, self.amount, payment_hash, claim_key, refund_key, self.timeout)
    }

    /// Refuses an offer whose amount or timeout could never do, seen from `tip`.
    pub fn check_at(&self, tip: Height) -> Result<(), TermsError> {
        if self.version != TERMS_VERSION {
            return Err(TermsError::Version(self.version));
        }
        check_amount(self.amount)?;
        check_timeout(self.timeout)?;
        check_distance(&self.chain, self.amount, self.timeout, tip)
    }
}

/// The form of [`Terms`] in JSON, before they are checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u16,
    chain: ChainId,
    kind: LockKind,
    amount_sat: u64,
    payment_hash: PaymentHash,
    claim_key: PublicKey,
    refund_key: PublicKey,
    timeout: u32,
}

impl TryFrom<Wire> for Terms {
    type Error = TermsError;
    fn try_from(wire: Wire) -> Result<Self, TermsError> {
        if wire.version != TERMS_VERSION {
            return Err(TermsError::Version(wire.version));
        }
        let timeout = Height::from_consensus(wire.timeout).map_err(|_| TermsError::TimeoutHeight(wire.timeout))?;
        let amount = Amount::from_sat(wire.amount_sat);
        Terms::new(wire.chain, wire.kind, amount, wire.payment_hash, wire.claim_key, wire.refund_key, timeout)
    }
}

impl From<Terms> for Wire {
    fn from(terms: Terms) -> Self {
        Self {
            version: TERMS_VERSION,
            amount_sat: terms.amount.to_sat(),
            payment_hash: terms.payment_hash,
            claim_key: terms.claim_key,
            refund_key: terms.refund_key,
            timeout: terms.timeout.to_consensus_u32(),
            kind: terms.kind,
            chain: terms.chain,
        }
    }
}

/// The tagged hash of BIP340.
pub(super) fn tagged_hash(tag: &str, bytes: &[u8]) -> [u8; 32] {
    let tag = sha256::Hash::hash(tag.as_bytes());
    let mut engine = sha256::Hash::engine();
    engine.input(tag.as_byte_array());
    engine.input(tag.as_byte_array());
    engine.input(bytes);
    sha256::Hash::from_engine(engine).to_byte_array()
}

fn check_amount(amount: Amount) -> Result<(), TermsError> {
    if amount < MIN_AMOUNT {
        return Err(TermsError::Dust(amount));
    }
    if amount > Amount::MAX_MONEY {
        return Err(TermsError::AboveSupply(amount));
    }
    Ok(())
}

fn check_timeout(timeout: Height) -> Result<(), TermsError> {
    if timeout == Height::ZERO { Err(TermsError::TimeoutHeight(0)) } else { Ok(()) }
}

fn check_distance(chain: &ChainId, amount: Amount, timeout: Height, tip: Height) -> Result<(), TermsError> {
    let left = timeout.to_consensus_u32().saturating_sub(tip.to_consensus_u32());
    let least = min_timeout(chain, amount);
    if left < least {
        return Err(TermsError::TimeoutTooShort { timeout, left, least });
    }
    if left > MAX_TIMEOUT_BLOCKS {
        return Err(TermsError::TimeoutTooFar { timeout, left });
    }
    Ok(())
}

fn from_json<T: de::DeserializeOwned>(text: &str) -> Result<T, TermsError> {
    if text.len() > MAX_TERMS_BYTES {
        return Err(TermsError::Json(format!("{} bytes, at most {MAX_TERMS_BYTES} are allowed", text.len())));
    }
    serde_json::from_str(text).map_err(|error| TermsError::Json(error.to_string()))
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("strings, numbers and fixed keys always serialize")
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;
