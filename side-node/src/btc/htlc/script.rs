//! The lock's script. Both parties derive it from the terms on their own and must get the same bytes.
//!
//! As P2WSH (BIP141) one miniscript holds both branches:
//!
//! ```text
//! andor(pk(CLAIM), sha256(HASH), and_v(v:pk(REFUND), after(TIMEOUT)))
//! ```
//!
//! As taproot (BIP341) each branch is a leaf, so that a spend shows only the one it takes:
//!
//! ```text
//! tr(NOBODY, { and_v(v:pk(CLAIM), sha256(HASH)), and_v(v:pk(REFUND), after(TIMEOUT)) })
//! ```
//!
//! Miniscript's `sha256` compiles to `SIZE 32 EQUALVERIFY SHA256 ... EQUAL`, so a preimage has exactly 32 bytes. Miniscript's own analysis is run
//! on each script: sound, non-malleable, no mix of height and time locks.
//!
//! NOBODY is BIP341's point `H`, whose discrete logarithm nobody knows, plus `t * G` with `t` the tagged hash of the terms' id. Whoever has
//! the terms can recompute it and so knows that no key path exists; whoever has not cannot tell the output from any other. A cooperative key path
//! (a MuSig2 key of both parties in NOBODY's place) would be a further [`LockKind`]: leaves, weights of these
//! branches and recognition stay as they are.

use std::str::FromStr;
use std::sync::Arc;

use bitcoin::hex::FromHex;
use bitcoin::secp256k1::{PublicKey, Scalar, XOnlyPublicKey};
use bitcoin::taproot::{LeafVersion, TapLeafHash, TaprootSpendInfo};
use bitcoin::{Address, Script, ScriptBuf, TxOut};
use miniscript::descriptor::{TapTree, Tr, Wsh};
use miniscript::{Miniscript, Segwitv0, Tap};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::secrets::secp;
use super::terms::{LockKind, Terms, tagged_hash};

/// BIP341's point with unknown discrete logarithm: the x coordinate is the SHA-256 of the generator's uncompressed encoding.
pub const NUMS_X: &str = "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0";
/// The domain of the tweak that is added to it (a BIP340 tagged hash over the terms' id).
pub const NOBODY_TAG: &str = "side/htlc/nobody/1";

/// Why terms have no script.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScriptError {
    /// Miniscript's analysis refuses it. Terms that passed their own checks do not lead here.
    #[error("the lock's script is refused by miniscript: {0}")]
    Miniscript(String),
}

/// A way to spend the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// The payee, with the preimage.
    Claim,
    /// The payer, from the timeout on.
    Refund,
}

/// A lock's script, with everything that spending it needs.
#[derive(Debug, Clone)]
pub struct LockScript {
    terms: Terms,
    script_pubkey: ScriptBuf,
    descriptor: String,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    P2wsh(ScriptBuf),
    Taproot { claim: ScriptBuf, refund: ScriptBuf, info: Arc<TaprootSpendInfo> },
}

impl LockScript {
    /// Derives the script from the terms: the same bytes for the same terms, everywhere.
    ///
    /// # Errors
    /// [`ScriptError::Miniscript`].
    pub fn new(terms: &Terms) -> Result<Self, ScriptError> {
        match terms.kind() {
            LockKind::P2wsh => Self::p2wsh(terms),
            LockKind::Taproot => Self::taproot(terms),
        }
    }

    fn p2wsh(terms: &Terms) -> Result<Self, ScriptError> {
        let policy = format!(
            "andor(pk({}),sha256({}),and_v(v:pk({}),after({})))",
            terms.claim_key(),
            terms.payment_hash(),
            terms.refund_key(),
            terms.timeout()
        );
        let miniscript = Miniscript::<PublicKey, Segwitv0>::from_str(&policy).map_err(refused)?;
        let wsh = Wsh::new(miniscript).map_err(refused)?;
        wsh.sanity_check().map_err(refused)?;
        Ok(Self {
            terms: terms.clone(),
            script_pubkey: wsh.script_pubkey(),
            descriptor: wsh.to_string(),
            form: Form::P2wsh(wsh.inner_script()),
        })
    }

    fn taproot(terms: &Terms) -> Result<Self, ScriptError> {
        let (claim_key, refund_key) =
            (terms.claim_key().x_only_public_key().0, terms.refund_key().x_only_public_key().0);
        let leaf = |policy: String| Miniscript::<XOnlyPublicKey, Tap>::from_str(&policy).map_err(refused);
        let claim = leaf(format!("and_v(v:pk({claim_key}),sha256({}))", terms.payment_hash()))?;
        let refund = leaf(format!("and_v(v:pk({refund_key}),after({}))", terms.timeout()))?;
        let (claim_script, refund_script) = (claim.encode(), refund.encode());
        let tree = TapTree::combine(TapTree::Leaf(Arc::new(claim)), TapTree::Leaf(Arc::new(refund)));
        let tr = Tr::new(nobodys_key(terms), Some(tree)).map_err(refused)?;
        tr.sanity_check().map_err(refused)?;
        Ok(Self {
            terms: terms.clone(),
            script_pubkey: tr.script_pubkey(),
            descriptor: tr.to_string(),
            form: Form::Taproot { claim: claim_script, refund: refund_script, info: tr.spend_info() },
        })
    }

    /// The terms that this is the script of.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What the funding transaction pays to.
    pub fn script_pubkey(&self) -> &Script {
        &self.script_pubkey
    }

    /// The same as an address.
    pub fn address(&self) -> Address {
        Address::from_script(&self.script_pubkey, self.terms.chain().network())
            .expect("version 0 with 32 bytes and version 1 with a point both have an address")
    }

    /// The output descriptor with its checksum, for other software.
    pub fn descriptor(&self) -> &str {
        &self.descriptor
    }

    /// The output that the funding transaction makes.
    pub fn output(&self) -> TxOut {
        TxOut { value: self.terms.amount(), script_pubkey: self.script_pubkey.clone() }
    }

    /// The script that a spend by this branch shows: the whole witness script, or the branch's leaf.
    pub fn spent_script(&self, branch: Branch) -> &Script {
        match (&self.form, branch) {
            (Form::P2wsh(script), _) => script,
            (Form::Taproot { claim, .. }, Branch::Claim) => claim,
            (Form::Taproot { refund, .. }, Branch::Refund) => refund,
        }
    }

    /// The control block of a taproot leaf, and the leaf's hash; `None` for P2WSH.
    pub(super) fn leaf(&self, branch: Branch) -> Option<(Vec<u8>, TapLeafHash)> {
        let Form::Taproot { info, .. } = &self.form else { return None };
        let script = self.spent_script(branch).to_owned();
        let hash = TapLeafHash::from_script(&script, LeafVersion::TapScript);
        let control = info.control_block(&(script, LeafVersion::TapScript)).expect("both leaves are in the tree");
        Some((control.serialize(), hash))
    }
}

/// The internal key of a taproot lock, `H + t * G`: nobody's, and everybody with the terms can tell.
pub fn nobodys_key(terms: &Terms) -> XOnlyPublicKey {
    let tweak = Scalar::from_be_bytes(tagged_hash(NOBODY_TAG, &terms.id()))
        .expect("a hash that is not below the group's order (one in 2^127) is not to be found");
    let nums = <[u8; 32]>::from_hex(NUMS_X).expect("a constant of 64 digits");
    let nums = XOnlyPublicKey::from_slice(&nums).expect("BIP341's point is on the curve");
    nums.add_tweak(secp(), &tweak).expect("the tweak would have to be the point's unknown logarithm").0
}

fn refused(error: impl std::fmt::Display) -> ScriptError {
    ScriptError::Miniscript(error.to_string())
}
