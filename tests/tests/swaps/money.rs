//! Who ends with the coins when both keep to the rules, when one does not, and when one is gone.

use bitcoin::absolute::Height;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, Witness};
use side_node::btc::htlc::script::LockScript;
use side_node::btc::htlc::secrets::{Preimage, SpendKey};
use side_node::btc::htlc::swap::{Command, Outcome, Stage};
use side_node::btc::htlc::terms::{ChainId, LockKind, Terms};
use side_node::btc::htlc::transactions::SpendPlan;
use side_tests::chain::{Chain, Control};
use side_tests::proxy::Proxy;
use side_tests::swaps::{AMOUNT, Pair};

const KINDS: [LockKind; 2] = [LockKind::P2wsh, LockKind::Taproot];

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_claimed_and_the_payer_learns_the_preimage() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    for kind in KINDS {
        let id = pair.lock(&chain, kind).await;
        assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
        let payer = pair.payer.deal(&id);
        let preimage = payer.legs()[0].preimage().expect("the payer has learnt it").clone();
        assert_eq!(Some(preimage.payment_hash()), payer.payment_hash());
    }
    let got = pair.payee.balance(&chain, &pair.place).await;
    assert!(got > AMOUNT * 2 - Amount::from_sat(2_000) && got < AMOUNT * 2, "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_swaps_at_once_do_not_mix() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let one = pair.agree(LockKind::Taproot).await;
    let two = pair.agree_for(LockKind::P2wsh, 60).await;
    pair.fund(&one).await;
    // The change of the first pays for the second.
    pair.fund(&two).await;
    assert_eq!(pair.finish(&chain, &one).await, (Outcome::Claimed, Outcome::Claimed));
    assert_eq!(pair.finish(&chain, &two).await, (Outcome::Claimed, Outcome::Claimed));
    assert_ne!(pair.payer.deal(&one).payment_hash(), pair.payer.deal(&two).payment_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payee_that_is_gone_costs_the_payer_time_and_no_coins() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let before = pair.payer.balance(&chain, &pair.place).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    assert_eq!(pair.finish_alone(&chain, &id).await, Outcome::Refunded);
    let after = pair.payer.balance(&chain, &pair.place).await;
    assert!(before - after < Amount::from_sat(2_000), "{before} {after}");
    // Who comes back too late sees what has become of it, and shows nothing.
    pair.payee.round().await;
    assert_eq!(pair.payee.stage(&id), Stage::Done(Outcome::Refunded));
    assert!(!pair.revealed(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_that_is_gone_costs_the_payee_nothing() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.agree(LockKind::Taproot).await;
    for _ in 0..60 {
        chain.mine(1).await;
        pair.payee.round().await;
    }
    assert_eq!(pair.payee.stage(&id), Stage::Done(Outcome::Expired));
    assert!(!pair.revealed(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_underpaid_lock_gets_no_preimage() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.agree(LockKind::Taproot).await;
    let script = pair.lock_script(&id).script_pubkey().to_owned();
    pair.payer.pay(&chain, &pair.place, script, AMOUNT - Amount::ONE_SAT).await;
    for _ in 0..20 {
        chain.mine(1).await;
        pair.payee.round().await;
        assert!(!pair.revealed(&id));
    }
    let words = &pair.payee.deal(&id).outlook()[0].1.words;
    assert!(words.contains("holds"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preimage_is_not_shown_when_too_little_time_is_left() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    // The payee sleeps until its margin is gone.
    chain.mine(25).await;
    pair.payee.round().await;
    assert!(!pair.revealed(&id));
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Refunded, Outcome::Refunded));
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_and_refund_race_and_one_of_them_wins_for_both() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    // A block for the reorganisations below to take off.
    chain.mine(1).await;
    pair.payee.round().await;
    assert!(pair.revealed(&id));
    // The claim waits while empty blocks come, until the refund is possible, too.
    for _ in 0..40 {
        chain.reorg(1, 2).await;
        pair.payee.round().await;
    }
    pair.payer.round().await;
    let ordered = pair.payer.desk.order(&id, Command::Refund).await;
    assert!(ordered.is_ok(), "the timeout has passed: {ordered:?}");
    let (payer, payee) = pair.finish(&chain, &id).await;
    assert_eq!(payer, payee, "both say the same of who has the coins");
    let got = pair.payee.balance(&chain, &pair.place).await;
    assert_eq!(got > Amount::ZERO, payer == Outcome::Claimed);
}

#[tokio::test(flavor = "multi_thread")]
async fn fee_spikes_raise_the_claim_toward_the_deadline() {
    let chain = Chain::start().await;
    let proxy = Proxy::start(chain.url()).await;
    let mut pair = Pair::new(&chain, &[chain.url()], &[proxy.url()]).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    chain.mine(1).await;
    pair.payee.round().await;
    let fee = |tx: &Transaction| AMOUNT - tx.output[0].value;
    let first = pair.payee.deal(&id).legs()[0].spends().last().map(fee).expect("a claim");
    proxy.edit_json("/fee-estimates", |value| {
        *value = serde_json::json!({ "1": 60.0, "2": 60.0, "3": 60.0, "6": 55.0, "144": 50.0 });
    });
    for _ in 0..8 {
        chain.reorg(1, 2).await;
        pair.payee.round().await;
    }
    let deal = pair.payee.deal(&id);
    let last = deal.legs()[0].spends().last().map(fee).expect("a claim");
    assert!(last >= first * 10, "{first} became {last}");
    assert!(last < AMOUNT, "{last}");
    proxy.honest();
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_jumps_of_the_chain_change_nothing() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    // A month passes between two blocks; the lock counts blocks.
    chain.advance(30 * 86_400).await;
    chain.mine(1).await;
    assert_eq!(pair.finish(&chain, &id).await, (Outcome::Claimed, Outcome::Claimed));
}

/// A lock of keys that the test holds, in a block.
struct Bare {
    lock: LockScript,
    outpoint: OutPoint,
    preimage: Preimage,
    claim: SpendKey,
    refund: SpendKey,
    timeout: u32,
}

/// Blocks to the timeout of a bare lock.
const BLOCKS: u32 = 300;

async fn bare(chain: &Chain, pair: &Pair, kind: LockKind, claim: u8) -> Bare {
    let (claim, refund) = (SpendKey::from_bytes([claim; 32]).unwrap(), SpendKey::from_bytes([2; 32]).unwrap());
    let preimage = Preimage::from_bytes([3; 32]);
    let server = side_node::btc::esplora::Esplora::new(chain.url()).unwrap();
    let timeout = server.tip().await.unwrap().height + BLOCKS;
    let (hash, at) = (preimage.payment_hash(), height(timeout));
    let terms = Terms::new(ChainId::REGTEST, kind, AMOUNT, hash, claim.public(), refund.public(), at);
    let lock = LockScript::new(&terms.unwrap()).unwrap();
    let script = lock.script_pubkey().to_owned();
    let txid = pair.payer.pay(chain, &pair.place, script.clone(), AMOUNT).await;
    let tx = server.tx(&txid).await.unwrap().unwrap();
    let vout = tx.output.iter().position(|output| output.script_pubkey == script).unwrap();
    chain.mine(1).await;
    Bare { lock, outpoint: OutPoint::new(txid, vout as u32), preimage, claim, refund, timeout }
}

fn height(height: u32) -> Height {
    Height::from_consensus(height).unwrap()
}

impl Bare {
    fn plan(&self, tip: u32) -> SpendPlan<'_> {
        SpendPlan {
            lock: &self.lock,
            outpoint: self.outpoint,
            value: AMOUNT,
            payout: self.lock.script_pubkey().to_owned(),
            tip: height(tip),
            rate: FeeRate::from_sat_per_kwu(500),
            least_fee: Amount::ZERO,
        }
    }
}

/// The witness with one of its elements changed.
fn with(tx: &Transaction, change: impl Fn(usize, &[u8]) -> Vec<u8>) -> Transaction {
    let mut tx = tx.clone();
    let elements: Vec<Vec<u8>> = tx.input[0].witness.iter().enumerate().map(|(at, bytes)| change(at, bytes)).collect();
    tx.input[0].witness = Witness::from_slice(&elements);
    tx
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_preimage_takes_nothing() {
    let chain = Chain::start().await;
    let pair = Pair::plain(&chain).await;
    for kind in KINDS {
        let bare = bare(&chain, &pair, kind, 1).await;
        let claim = bare.plan(1).claim(&bare.preimage, &bare.claim).unwrap().transaction;
        for wrong in [vec![4; 32], vec![3; 31], vec![3; 33], vec![]] {
            let tampered =
                with(&claim, |at, bytes| if bytes == [3; 32] && at < 2 { wrong.clone() } else { bytes.to_vec() });
            assert_ne!(tampered, claim);
            let refused = chain.submit(&tampered).await.unwrap_err();
            assert!(refused.contains("script") || refused.contains("Script"), "{refused}");
        }
        chain.submit(&claim).await.expect("the right one does");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_takes_nothing() {
    let chain = Chain::start().await;
    let pair = Pair::plain(&chain).await;
    for kind in KINDS {
        let (right, wrong) = (bare(&chain, &pair, kind, 1).await, bare(&chain, &pair, kind, 9).await);
        let claim = right.plan(1).claim(&right.preimage, &right.claim).unwrap().transaction;
        // Signed by the other lock's key, for this very output.
        let stolen = SpendPlan { outpoint: right.outpoint, ..wrong.plan(1) };
        let stolen = stolen.claim(&wrong.preimage, &wrong.claim).unwrap().transaction;
        let genuine: Vec<Vec<u8>> = claim.input[0].witness.iter().map(<[u8]>::to_vec).collect();
        let tampered = with(&stolen, |at, bytes| if at >= 2 { genuine[at].clone() } else { bytes.to_vec() });
        let refused = chain.submit(&tampered).await.unwrap_err();
        assert!(refused.contains("ignature") || refused.contains("script"), "{refused}");
        assert!(right.plan(1).claim(&right.preimage, &wrong.claim).is_err(), "we do not even make it");
        chain.submit(&claim).await.expect("the right one does");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_refund_is_not_made_and_not_taken() {
    let chain = Chain::start().await;
    let pair = Pair::plain(&chain).await;
    for kind in KINDS {
        let bare = bare(&chain, &pair, kind, 1).await;
        assert!(bare.plan(bare.timeout - 1).refund(&bare.refund).is_err());
        let early = bare.plan(bare.timeout).refund(&bare.refund).unwrap().transaction;
        let refused = chain.submit(&early).await.unwrap_err();
        assert!(refused.contains("non-final"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_order_to_refund_is_refused_with_the_height() {
    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let id = pair.lock(&chain, LockKind::Taproot).await;
    let refused = pair.payer.desk.order(&id, Command::Refund).await.unwrap_err().to_string();
    assert!(refused.contains(&pair.timeout(&id).to_string()), "{refused}");
}

/// carol pays dave for a preimage that sammy knows, and dave pays sammy for it: what dave learns from the one swap opens the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_preimage_learnt_in_one_swap_opens_the_other() {
    use side_node::btc::htlc::swap::Role;
    use side_node::btc::swaps::{NewOffer, Round};
    use side_tests::swaps::Party;

    let chain = Chain::start().await;
    let mut pair = Pair::plain(&chain).await;
    let place = pair.place.clone();
    let mut carol = Party::new("carol", std::slice::from_ref(&place));
    carol.fill(&chain, &place).await;
    let onward = pair.agree_for(LockKind::Taproot, 60).await;
    let payment_hash = pair.payer.deal(&onward).payment_hash();
    let new = NewOffer { role: Role::Payee, kind: LockKind::P2wsh, amount: AMOUNT, blocks: 140, payment_hash };
    let inward = pair.payer.desk.offer(&place, new, carol.me.clone()).await.unwrap().id();
    let offer = pair.payer.letters(&carol);
    carol.desk.accept(&offer.offers()[0], vec![place.clone()]).await.unwrap();
    let answer = carol.letters(&pair.payer);
    pair.payer.desk.take_in(&answer, &mut Round::default()).await.unwrap();

    carol.desk.fund(&inward, Some(FeeRate::from_sat_per_kwu(500))).await.unwrap();
    chain.mine(2).await;
    pair.payer.round().await;
    assert!(pair.payer.deal(&inward).legs()[0].preimage().is_none(), "dave waits for it");
    pair.fund(&onward).await;
    assert_eq!(pair.finish(&chain, &onward).await, (Outcome::Claimed, Outcome::Claimed));
    for _ in 0..20 {
        pair.payer.round().await;
        carol.round().await;
        chain.mine(1).await;
    }
    assert_eq!(pair.payer.stage(&inward), Stage::Done(Outcome::Claimed));
    assert_eq!(carol.stage(&inward), Stage::Done(Outcome::Claimed));
}
