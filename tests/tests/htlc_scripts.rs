//! The scripts of hash time locked contracts under Bitcoin Core's own validation: both kinds, both branches, and everything that must not open them.
//!
//! Our own claims and refunds must pass the mempool's policy and be mined. What must fail is put into a block by hand, so that consensus
//! refuses it and not policy; it is built and signed here, apart from the code under test, by a builder whose honest spends do pass.

use bitcoin::absolute::{Height, LockTime};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Keypair, Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{LeafVersion, TapLeafHash, TaprootBuilder};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use btc_devnet::node::Error;
use btc_devnet::{CommandError, Devnet, Options};
use side_node::btc::htlc::script::{Branch, LockScript, nobodys_key};
use side_node::btc::htlc::secrets::{PaymentHash, Preimage, SpendKey};
use side_node::btc::htlc::terms::{ChainId, LockKind, Terms};
use side_node::btc::htlc::transactions::SpendPlan;
use side_node::btc::htlc::witness::{SpentBy, spent_by};

const CLAIM: [u8; 32] = [11; 32];
const REFUND: [u8; 32] = [12; 32];
const STRANGER: [u8; 32] = [13; 32];
const AMOUNT: Amount = Amount::from_sat(100_000);
/// Blocks from the funding to the timeout.
const AHEAD: u32 = 12;

struct Bench {
    devnet: Devnet,
}

/// A lock in the chain.
struct Locked {
    script: LockScript,
    outpoint: OutPoint,
}

/// What a spend made by hand shows.
#[derive(Clone)]
struct Spend<'a> {
    branch: Branch,
    secret: [u8; 32],
    preimage: &'a [u8],
    lock_time: u32,
    sequence: Sequence,
}

impl Bench {
    async fn start() -> Self {
        Self { devnet: Devnet::start(Options::default()).await.expect("a local chain") }
    }

    async fn tip(&self) -> u32 {
        self.devnet.tip().await.expect("running").height
    }

    async fn mine_to(&self, height: u32) {
        let tip = self.tip().await;
        self.devnet.mine(height - tip).await.expect("mined");
    }

    async fn lock(&self, kind: LockKind, preimage: &[u8]) -> Locked {
        let hash = PaymentHash::from_bytes(sha256::Hash::hash(preimage).to_byte_array());
        let public = |secret| SpendKey::from_bytes(secret).expect("a key").public();
        let timeout = height(self.tip().await + AHEAD);
        let terms = Terms::new(ChainId::REGTEST, kind, AMOUNT, hash, public(CLAIM), public(REFUND), timeout);
        let script = LockScript::new(&terms.expect("sound")).expect("a script");
        let txid = self.devnet.fund(&script.address(), AMOUNT).await.expect("funded");
        self.devnet.mine(1).await.expect("mined");
        let index = self.devnet.handle().index();
        let funding = index.transaction(&txid).expect("just made").transaction;
        let output =
            funding.output.iter().position(|output| output.script_pubkey.as_script() == script.script_pubkey());
        let outpoint = OutPoint::new(txid, u32::try_from(output.expect("it pays the lock")).expect("few"));
        Locked { script, outpoint }
    }

    async fn confirm(&self, transaction: Transaction) -> Result<(), CommandError> {
        self.devnet.handle().reorg_with(0, vec![vec![transaction]]).await.map(drop)
    }

    async fn consensus_refuses(&self, transaction: Transaction, why: &str) {
        let before = self.devnet.tip().await.expect("running");
        let outcome = self.confirm(transaction).await;
        assert!(matches!(outcome, Err(CommandError::Node(Error::InvalidBlock { .. }))), "{why}: {outcome:?}");
        assert_eq!(self.devnet.tip().await.expect("running"), before, "{why}");
    }

    async fn policy_and_consensus_take(&self, transaction: Transaction) {
        let txid = self.devnet.submit(transaction).await.expect("running").expect("standard and valid");
        self.devnet.mine(1).await.expect("mined");
        assert!(self.devnet.handle().index().chain.confirmation(&txid).is_some(), "mined");
    }
}

impl Locked {
    fn timeout(&self) -> u32 {
        self.script.terms().timeout().to_consensus_u32()
    }

    fn plan(&self, tip: u32) -> SpendPlan<'_> {
        SpendPlan {
            lock: &self.script,
            outpoint: self.outpoint,
            value: AMOUNT,
            payout: payout(),
            tip: height(tip),
            rate: FeeRate::from_sat_per_vb_u32(2),
            least_fee: Amount::ZERO,
        }
    }

    fn claim<'a>(&self, preimage: &'a [u8]) -> Spend<'a> {
        let sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
        Spend { branch: Branch::Claim, secret: CLAIM, preimage, lock_time: 0, sequence }
    }

    fn refund(&self) -> Spend<'static> {
        let sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
        Spend { branch: Branch::Refund, secret: REFUND, preimage: &[], lock_time: self.timeout(), sequence }
    }

    fn unsigned(&self, spend: &Spend<'_>) -> Transaction {
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_height(spend.lock_time).expect("a height"),
            input: vec![TxIn { previous_output: self.outpoint, sequence: spend.sequence, ..TxIn::default() }],
            output: vec![TxOut { value: AMOUNT - Amount::from_sat(1_000), script_pubkey: payout() }],
        }
    }

    /// Builds and signs by hand.
    fn spend(&self, spend: &Spend<'_>) -> Transaction {
        let secp = Secp256k1::new();
        let secret = SecretKey::from_slice(&spend.secret).expect("a key");
        let mut transaction = self.unsigned(spend);
        let script = self.script.spent_script(spend.branch).to_owned();
        let mut cache = SighashCache::new(&transaction);
        let mut witness = Witness::new();
        if spend.branch == Branch::Claim {
            witness.push(spend.preimage);
        }
        match self.script.terms().kind() {
            LockKind::P2wsh => {
                let hash = cache.p2wsh_signature_hash(0, &script, AMOUNT, EcdsaSighashType::All).expect("input 0");
                let mut signature = secp.sign_ecdsa(&Message::from(hash), &secret).serialize_der().to_vec();
                signature.push(EcdsaSighashType::All as u8);
                witness.push(signature);
                if spend.branch == Branch::Refund {
                    witness.push([]);
                }
                witness.push(script.as_bytes());
            }
            LockKind::Taproot => {
                let spent = [TxOut { value: AMOUNT, script_pubkey: self.script.script_pubkey().to_owned() }];
                let leaf = TapLeafHash::from_script(&script, LeafVersion::TapScript);
                let hash = cache
                    .taproot_script_spend_signature_hash(0, &Prevouts::All(&spent), leaf, TapSighashType::Default)
                    .expect("input 0");
                let keypair = Keypair::from_secret_key(&secp, &secret);
                witness.push(secp.sign_schnorr_no_aux_rand(&Message::from(hash), &keypair).serialize());
                witness.push(script.as_bytes());
                let leaf = |branch| self.script.spent_script(branch).to_owned();
                let tree = TaprootBuilder::new()
                    .add_leaf(1, leaf(Branch::Claim))
                    .and_then(|tree| tree.add_leaf(1, leaf(Branch::Refund)))
                    .expect("two leaves");
                let info = tree.finalize(&secp, nobodys_key(self.script.terms())).expect("complete");
                witness.push(info.control_block(&(script, LeafVersion::TapScript)).expect("in the tree").serialize());
            }
        }
        transaction.input[0].witness = witness;
        transaction
    }
}

fn height(height: u32) -> Height {
    Height::from_consensus(height).expect("a height")
}

fn payout() -> ScriptBuf {
    ScriptBuf::from_hex(&format!("0014{}", "ab".repeat(20))).expect("hex")
}

async fn claims_pass_and_wrong_ones_do_not(kind: LockKind) {
    let bench = Bench::start().await;
    let secret = [7; 32];
    let lock = bench.lock(kind, &secret).await;

    let wrong = Spend { preimage: &[8; 32], ..lock.claim(&secret) };
    bench.consensus_refuses(lock.spend(&wrong), "wrong preimage").await;
    let stranger = Spend { secret: STRANGER, ..lock.claim(&secret) };
    bench.consensus_refuses(lock.spend(&stranger), "wrong key").await;
    let payer = Spend { secret: REFUND, ..lock.claim(&secret) };
    bench.consensus_refuses(lock.spend(&payer), "the payer's key on the payee's branch").await;

    // A hash whose only preimage has another length can never be claimed.
    for bytes in [31, 33, 0, 64] {
        let odd = vec![9; bytes];
        let lock = bench.lock(kind, &odd).await;
        bench.consensus_refuses(lock.spend(&lock.claim(&odd)), &format!("a preimage of {bytes} bytes")).await;
    }

    // Ours passes policy, too, and tells what it is.
    let key = SpendKey::from_bytes(CLAIM).expect("a key");
    let preimage = Preimage::from_bytes(secret);
    let ours = lock.plan(bench.tip().await).claim(&preimage, &key).expect("signed").transaction;
    assert_eq!(spent_by(&lock.script, lock.outpoint, &ours), Some(SpentBy::Claim(preimage)));
    bench.policy_and_consensus_take(ours).await;

    // The builder of the refused ones is able to spend.
    let lock = bench.lock(kind, &secret).await;
    bench.confirm(lock.spend(&lock.claim(&secret))).await.expect("the right preimage and key");
}

async fn refunds_pass_in_time_and_not_before(kind: LockKind) {
    let bench = Bench::start().await;
    let lock = bench.lock(kind, &[7; 32]).await;
    let timeout = lock.timeout();

    // The next block is at the timeout's height at most: one too early.
    bench.mine_to(timeout - 1).await;
    bench.consensus_refuses(lock.spend(&lock.refund()), "an early refund").await;
    let early = bench.devnet.submit(lock.spend(&lock.refund())).await.expect("running").expect_err("too early");
    assert!(early.reason.contains("non-final"), "{}", early.reason);
    let unlocked = Spend { lock_time: timeout - 1, ..lock.refund() };
    bench.consensus_refuses(lock.spend(&unlocked), "a lock time below the timeout").await;
    let finality = Spend { sequence: Sequence::MAX, ..lock.refund() };
    bench.consensus_refuses(lock.spend(&finality), "a final input, which would switch the lock time off").await;

    bench.mine_to(timeout).await;
    bench.consensus_refuses(lock.spend(&unlocked), "a lock time below the timeout, later").await;
    let stranger = Spend { secret: STRANGER, ..lock.refund() };
    bench.consensus_refuses(lock.spend(&stranger), "wrong key").await;
    let payee = Spend { secret: CLAIM, ..lock.refund() };
    bench.consensus_refuses(lock.spend(&payee), "the payee's key on the payer's branch").await;

    let key = SpendKey::from_bytes(REFUND).expect("a key");
    let ours = lock.plan(timeout).refund(&key).expect("due").transaction;
    assert_eq!(spent_by(&lock.script, lock.outpoint, &ours), Some(SpentBy::Refund));
    bench.policy_and_consensus_take(ours).await;

    let lock = bench.lock(kind, &[7; 32]).await;
    bench.mine_to(lock.timeout()).await;
    bench.confirm(lock.spend(&lock.refund())).await.expect("in time, by the right key");
}

#[tokio::test]
async fn p2wsh_claims_pass_and_wrong_ones_do_not() {
    claims_pass_and_wrong_ones_do_not(LockKind::P2wsh).await;
}

#[tokio::test]
async fn taproot_claims_pass_and_wrong_ones_do_not() {
    claims_pass_and_wrong_ones_do_not(LockKind::Taproot).await;
}

#[tokio::test]
async fn p2wsh_refunds_pass_in_time_and_not_before() {
    refunds_pass_in_time_and_not_before(LockKind::P2wsh).await;
}

#[tokio::test]
async fn taproot_refunds_pass_in_time_and_not_before() {
    refunds_pass_in_time_and_not_before(LockKind::Taproot).await;
}

/// The internal key is nobody's: no signature that a party can make opens the key path.
#[tokio::test]
async fn taproot_has_no_key_path() {
    let bench = Bench::start().await;
    let lock = bench.lock(LockKind::Taproot, &[7; 32]).await;
    let secp = Secp256k1::new();
    for secret in [CLAIM, REFUND] {
        let mut transaction = lock.unsigned(&lock.claim(&[]));
        let spent = [TxOut { value: AMOUNT, script_pubkey: lock.script.script_pubkey().to_owned() }];
        let hash = SighashCache::new(&transaction)
            .taproot_key_spend_signature_hash(0, &Prevouts::All(&spent), TapSighashType::Default)
            .expect("input 0");
        let keypair = Keypair::from_seckey_slice(&secp, &secret).expect("a key");
        let signature = secp.sign_schnorr_no_aux_rand(&Message::from(hash), &keypair).serialize();
        transaction.input[0].witness = Witness::from_slice(&[signature.to_vec()]);
        bench.consensus_refuses(transaction, "the key path").await;
    }
}
