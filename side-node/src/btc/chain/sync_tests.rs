use bitcoin::{Amount, Network, ScriptBuf, Transaction, TxOut, secp256k1};

use super::*;
use crate::btc::chain::Rules;
use crate::btc::chain::headers::tests::{genesis, mine, mine_root, run};
use crate::btc::chain::merkle::tests::transaction;

/// A server as it would be: a list of headers from height `base` on, and the coinbases of signet blocks.
#[derive(Default)]
struct Server {
    base: u32,
    headers: Vec<Header>,
    coinbases: Vec<Transaction>,
    asked: usize,
}

impl Server {
    fn regtest(headers: Vec<Header>) -> Self {
        let mut all = vec![genesis()];
        all.extend(headers);
        Self { headers: all, ..Self::default() }
    }

    fn tip(&self) -> u32 {
        self.base + self.headers.len() as u32 - 1
    }

    fn body(&self, end: u32) -> Vec<u8> {
        let end = end.min(self.tip());
        let from = end.saturating_sub(PAGE - 1).max(self.base);
        let blocks: Vec<serde_json::Value> = (from..=end)
            .rev()
            .map(|height| {
                let header = &self.headers[(height - self.base) as usize];
                let previous = (height > 0).then(|| header.prev_blockhash.to_string());
                serde_json::json!({
                    "id": header.block_hash().to_string(), "height": height, "version": header.version.to_consensus(),
                    "timestamp": header.time, "tx_count": 1, "size": 300, "weight": 1200,
                    "merkle_root": header.merkle_root.to_string(), "previousblockhash": previous,
                    "mediantime": header.time, "nonce": header.nonce, "bits": header.bits.to_consensus(), "difficulty": 1.0,
                })
            })
            .collect();
        serde_json::to_vec(&blocks).unwrap()
    }

    fn answer(&mut self, ask: Ask) -> Answer {
        self.asked += 1;
        match ask {
            Ask::Newest => Answer::Page(read_page(&self.body(self.tip())).unwrap()),
            Ask::Page(height) => Answer::Page(read_page(&self.body(height)).unwrap()),
            Ask::Coinbase(hash) => {
                let at = self.headers.iter().position(|header| header.block_hash() == hash).unwrap();
                Answer::Coinbase(CoinbaseProof { coinbase: self.coinbases[at].clone(), branch: vec![] })
            }
        }
    }

    fn walk(&mut self, chain: &mut HeaderChain) -> Result<Standing, SyncError> {
        let mut sync = HeaderSync::default();
        for _ in 0..100_000 {
            match sync.next() {
                Next::Done(standing) => return Ok(standing),
                Next::Ask(ask) => {
                    let answer = self.answer(ask);
                    sync.take(chain, answer)?;
                }
            }
        }
        panic!("the walk does not end")
    }
}

fn empty() -> HeaderChain {
    HeaderChain::new(Rules::new(Network::Regtest))
}

#[test]
fn a_chain_is_fetched_whole_and_then_followed_by_one_question() {
    let mut headers = run(&genesis(), 157, 1);
    let mut chain = empty();
    let mut server = Server::regtest(headers.clone());
    assert_eq!(server.walk(&mut chain), Ok(Standing::OnChain { height: 157, behind: 0 }));
    assert_eq!(server.asked, 17, "the newest page, then 16 pages of ten");
    server.asked = 0;
    assert_eq!(server.walk(&mut chain), Ok(Standing::OnChain { height: 157, behind: 0 }));
    assert_eq!(server.asked, 1);
    headers.extend(run(headers.last().unwrap(), 3, 1));
    let mut server = Server::regtest(headers);
    assert_eq!(server.walk(&mut chain), Ok(Standing::OnChain { height: 160, behind: 0 }));
    assert_eq!(server.asked, 1);
}

#[test]
fn short_chains_are_fetched_too() {
    for count in [0, 1, 8, 9, 10, 11, 19, 20, 21] {
        let mut chain = empty();
        let standing = Server::regtest(run(&genesis(), count, 1)).walk(&mut chain);
        assert_eq!(standing, Ok(Standing::OnChain { height: count as u32, behind: 0 }));
    }
}

#[test]
fn reorganisations_of_every_depth_are_followed() {
    let headers = run(&genesis(), 60, 1);
    for depth in [1usize, 2, 9, 10, 11, 35, 60] {
        for longer in [1usize, 3, 25] {
            let mut chain = empty();
            Server::regtest(headers.clone()).walk(&mut chain).unwrap();
            let kept = 60 - depth;
            let from = if kept == 0 { genesis() } else { headers[kept - 1] };
            let mut other = headers[..kept].to_vec();
            other.extend(run(&from, depth + longer, 2));
            let tip = other.last().unwrap().block_hash();
            let standing = Server::regtest(other).walk(&mut chain);
            let height = (60 + longer) as u32;
            assert_eq!(standing, Ok(Standing::OnChain { height, behind: 0 }), "{depth} {longer}");
            assert_eq!(chain.tip(), Some((height, tip)));
        }
    }
}

#[test]
fn servers_that_lag_or_fork_are_told_apart() {
    let headers = run(&genesis(), 40, 1);
    let mut chain = empty();
    Server::regtest(headers.clone()).walk(&mut chain).unwrap();
    let tip = chain.tip();
    let mut late = Server::regtest(headers[..33].to_vec());
    assert_eq!(late.walk(&mut chain), Ok(Standing::OnChain { height: 33, behind: 7 }));
    let mut fork = headers[..30].to_vec();
    fork.extend(run(&headers[29], 4, 2));
    assert_eq!(Server::regtest(fork).walk(&mut chain), Ok(Standing::OnFork { shared: 30, height: 34 }));
    // Of two branches with as much work the one that came first stays.
    let mut equal = headers[..30].to_vec();
    equal.extend(run(&headers[29], 10, 2));
    assert_eq!(Server::regtest(equal).walk(&mut chain), Ok(Standing::OnFork { shared: 30, height: 40 }));
    assert_eq!(chain.tip(), tip);
}

#[test]
fn a_server_of_another_chain_is_named() {
    let headers = run(&genesis(), 40, 1);
    let chain = HeaderChain::restore(Rules::new(Network::Regtest), 20, &headers[19..]).unwrap();
    let other = run(&genesis(), 50, 2);
    assert_eq!(Server::regtest(other).walk(&mut chain.clone()), Err(SyncError::Unrelated));
}

#[test]
fn forged_pages_are_named() {
    let server = Server::regtest(run(&genesis(), 12, 1));
    let good: serde_json::Value = serde_json::from_slice(&server.body(12)).unwrap();
    for (field, value) in [
        ("nonce", serde_json::json!(1)),
        ("height", serde_json::json!(99)),
        ("height", serde_json::json!(-1)),
        ("id", serde_json::json!("00")),
        ("previousblockhash", serde_json::Value::Null),
        ("timestamp", serde_json::json!(u64::MAX)),
    ] {
        let mut page = good.clone();
        page[3][field] = value;
        assert!(matches!(read_page(&serde_json::to_vec(&page).unwrap()), Err(SyncError::Page(_))), "{field}");
    }
    for body in ["", "[]", "{}", "null", "[1]", "<html>"] {
        assert!(matches!(read_page(body.as_bytes()), Err(SyncError::Page(_))), "{body}");
    }
    let many = serde_json::Value::Array(vec![good[0].clone(); 100]);
    assert!(read_page(&serde_json::to_vec(&many).unwrap()).is_err());
}

#[test]
fn a_page_that_was_not_asked_for_is_refused() {
    let headers = run(&genesis(), 50, 1);
    let mut server = Server::regtest(headers);
    let mut chain = empty();
    let mut sync = HeaderSync::default();
    let newest = server.answer(Ask::Newest);
    sync.take(&mut chain, newest).unwrap();
    assert_eq!(sync.next(), Next::Ask(Ask::Page(10)));
    let other = server.answer(Ask::Page(20));
    assert_eq!(sync.clone().take(&mut chain, other), Err(SyncError::OtherPage(10)));
    let coinbase = Answer::Coinbase(CoinbaseProof { coinbase: transaction(1), branch: vec![] });
    assert_eq!(sync.take(&mut chain, coinbase), Err(SyncError::Unasked));
}

#[test]
fn a_chain_that_changes_between_two_pages_is_asked_again() {
    let headers = run(&genesis(), 50, 1);
    let mut chain = empty();
    Server::regtest(headers.clone()).walk(&mut chain).unwrap();
    let mut first = headers[..20].to_vec();
    first.extend(run(&headers[19], 60, 2));
    let mut second = headers[..20].to_vec();
    second.extend(run(&headers[19], 60, 3));
    let (mut first, mut second) = (Server::regtest(first), Server::regtest(second));
    let mut sync = HeaderSync::default();
    let answer = first.answer(Ask::Newest);
    sync.take(&mut chain, answer).unwrap();
    let Next::Ask(ask) = sync.next() else { panic!() };
    let answer = first.answer(ask);
    sync.take(&mut chain, answer).unwrap();
    let Next::Ask(ask) = sync.next() else { panic!() };
    let answer = second.answer(ask);
    assert_eq!(sync.take(&mut chain, answer), Err(SyncError::Moved));
}

/// A signet of one key with regtest-like work: signet's easiest target takes seconds of mining in a test, so the work is checked elsewhere.
fn signed_block(
    previous: &Header,
    height: u32,
    secret: &secp256k1::SecretKey,
    challenge: &ScriptBuf,
) -> (Header, Transaction) {
    let mut coinbase = transaction(0);
    coinbase.input[0].script_sig = bitcoin::script::Builder::new().push_int(i64::from(height)).into_script();
    let mut commitment = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    commitment.extend_from_slice(&[7; 32]);
    coinbase.output.push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(commitment) });
    let draft = mine(previous, 30, 0);
    let solved = signet::solve(challenge, &draft, &coinbase, secret);
    let root = TxMerkleNode::from_raw_hash(solved.compute_txid().to_raw_hash());
    (mine_root(previous, 30, root), solved)
}

#[test]
fn the_solution_of_a_signets_tip_decides() {
    let secp = secp256k1::Secp256k1::new();
    let secret = secp256k1::SecretKey::from_slice(&[5; 32]).unwrap();
    let stranger = secp256k1::SecretKey::from_slice(&[6; 32]).unwrap();
    let challenge = bitcoin::script::Builder::new()
        .push_int(1)
        .push_key(&bitcoin::PublicKey::new(secret.public_key(&secp)))
        .push_int(1)
        .push_opcode(bitcoin::opcodes::all::OP_CHECKMULTISIG)
        .into_script();
    // Regtest's work under a challenge: what is tested is who signed.
    let rules = Rules::regtest_with_challenge(challenge.clone());
    let chain_signed_by = |last_signer: &secp256k1::SecretKey, count: u32| {
        let mut server = Server { base: 1_000, ..Server::default() };
        let mut previous = genesis();
        for height in 1_000..1_000 + count {
            let signer = if height == 999 + count { last_signer } else { &secret };
            let (header, coinbase) = signed_block(&previous, height, signer, &challenge);
            server.headers.push(header);
            server.coinbases.push(coinbase);
            previous = header;
        }
        server
    };
    let mut chain = HeaderChain::new(rules.clone());
    let mut server = chain_signed_by(&secret, 150);
    assert_eq!(server.walk(&mut chain), Ok(Standing::OnChain { height: 1_149, behind: 0 }));
    assert!(chain.first() > 1_000 && chain.first() < 1_149 - 100 + 1, "anchored below the tip: {}", chain.first());

    let mut forged = chain_signed_by(&stranger, 150);
    let mut chain = HeaderChain::new(rules);
    assert_eq!(forged.walk(&mut chain), Err(SyncError::Signet(SignetError::WrongSolution)));
    assert_eq!(chain.tip(), None);
}
