//! Servers that are down, slow, wrong, endless or elsewhere: each is a typed error that names it, within bounds of time and memory.

use bitcoin::hashes::Hash as _;
use bitcoin::{ScriptBuf, Txid};

use super::*;
use crate::btc::fake::{Fake, Reply};
use crate::error::Blame;

fn blame(error: EsploraError) -> Blame {
    error.into_command_error(Network::Regtest).blame()
}

#[tokio::test]
async fn nobody_there_is_said_with_the_way_out() {
    // A port that was free a moment ago.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{gone}");
    let error = Esplora::new(&url).unwrap().tip().await.unwrap_err();
    assert!(matches!(error, EsploraError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&url) && error.is_passing());
    let shown = error.into_command_error(Network::Mutinynet);
    assert_eq!(shown.blame(), Blame::Remote);
    assert!(shown.next_step().unwrap().contains("cargo run -p btc-devnet"));
}

#[tokio::test]
async fn a_wrong_address_is_refused_before_anything_is_sent() {
    for bad in ["", "mutinynet.com/api", "ftp://x", "ws://127.0.0.1:1", "http://", "http://x/?q=1"] {
        let error = Esplora::new(bad).unwrap_err();
        assert_eq!(blame(error), Blame::Usage, "{bad}");
    }
    let esplora = Esplora::new("http://user:secret@127.0.0.1:1/api/").unwrap();
    assert_eq!(esplora.server(), "http://127.0.0.1:1/api");
    assert!(!esplora.tip().await.unwrap_err().to_string().contains("secret"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let fake = Fake::start(|_, _| Reply::Endless).await;
    let esplora = Esplora::new(&fake.url).unwrap();
    let error = esplora.block_hash(0).await.unwrap_err();
    assert!(matches!(error, EsploraError::TooLarge { limit: MAX_LINE, .. }), "{error}");
    let error = esplora.fee_estimates().await.unwrap_err();
    assert!(matches!(error, EsploraError::TooLarge { limit: MAX_OBJECT, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let fake = Fake::start(|_, _| Reply::Hang).await;
    let error = Esplora::with_patience(&fake.url, Duration::from_millis(200)).unwrap().tip().await.unwrap_err();
    assert!(matches!(error, EsploraError::TooSlow { .. }), "{error}");
    assert_eq!(blame(error), Blame::Remote);
}

#[tokio::test]
async fn a_server_that_hangs_up_is_out_of_reach() {
    let fake = Fake::start(|_, _| Reply::Close).await;
    let error = Esplora::new(&fake.url).unwrap().tip().await.unwrap_err();
    assert!(matches!(error, EsploraError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_a_few_times_and_no_more() {
    let fake = Fake::start(|_, _| Reply::Say(429, b"Too many requests".to_vec())).await;
    let error = Esplora::new(&fake.url).unwrap().block_hash(1).await.unwrap_err();
    assert!(matches!(error, EsploraError::Status { status: 429, .. }), "{error}");
    assert!(error.is_passing());
    assert_eq!(fake.asked().len(), 3);
    // A payment is never posted twice from here.
    let tx = transaction();
    assert!(Esplora::new(&fake.url).unwrap().broadcast(&tx).await.is_err());
    assert_eq!(fake.asked().iter().filter(|asked| *asked == "POST /tx").count(), 1);
}

#[tokio::test]
async fn nonsense_is_named_and_tamed() {
    let fake = Fake::start(|_, _| Reply::ok("\u{1b}[2Jnonsense".repeat(40))).await;
    let esplora = Esplora::new(&fake.url).unwrap();
    let errors = [
        esplora.block_hash(1).await.unwrap_err(),
        esplora.tip().await.unwrap_err(),
        esplora.fee_estimates().await.unwrap_err(),
        esplora.tx(&Txid::all_zeros()).await.unwrap_err(),
        esplora.header(&BlockHash::all_zeros()).await.unwrap_err(),
        esplora.script_txs(&ScriptBuf::new(), None).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, EsploraError::Nonsense { .. }), "{error}");
        assert!(!error.to_string().contains('\u{1b}') && error.to_string().len() < 600, "{error}");
    }
}

#[tokio::test]
async fn what_is_not_what_was_asked_for_is_refused() {
    let raw = bitcoin::consensus::serialize(&transaction());
    let header = serialize_hex(&bitcoin::blockdata::constants::genesis_block(bitcoin::Network::Regtest).header);
    let fake = Fake::start(move |asked, _| match asked {
        asked if asked.ends_with("/raw") => Reply::ok(raw.clone()),
        asked if asked.ends_with("/header") => Reply::ok(header.clone()),
        _ => Reply::missing(),
    })
    .await;
    let esplora = Esplora::new(&fake.url).unwrap();
    assert!(matches!(esplora.tx(&Txid::all_zeros()).await, Err(EsploraError::Nonsense { .. })));
    assert_eq!(esplora.tx(&transaction().compute_txid()).await.unwrap(), Some(transaction()));
    assert!(matches!(esplora.header(&BlockHash::all_zeros()).await, Err(EsploraError::Nonsense { .. })));
    let genesis = Network::Regtest.genesis();
    assert_eq!(esplora.header(&genesis).await.unwrap().unwrap().block_hash(), genesis);
    assert_eq!(esplora.block_hash(7).await.unwrap(), None);
}

#[tokio::test]
async fn public_signet_is_not_taken_for_mutinynet() {
    let serve = |network: Network| {
        Fake::start(move |asked, _| match (asked, network.pinned_block()) {
            ("GET /block-height/0", _) => Reply::ok(network.genesis().to_string()),
            ("GET /block-height/1", Some((1, hash))) => Reply::ok(hash.to_string()),
            _ => Reply::missing(),
        })
    };
    let signet = serve(Network::Signet).await;
    let esplora = Esplora::new(&signet.url).unwrap();
    esplora.check_network(Network::Signet).await.unwrap();
    let error = esplora.check_network(Network::Mutinynet).await.unwrap_err();
    assert!(matches!(error, EsploraError::WrongChain { height: 1, .. }), "{error}");
    assert_eq!(blame(error), Blame::User);
    let mutinynet = serve(Network::Mutinynet).await;
    Esplora::new(&mutinynet.url).unwrap().check_network(Network::Mutinynet).await.unwrap();
    let regtest = serve(Network::Regtest).await;
    let esplora = Esplora::new(&regtest.url).unwrap();
    esplora.check_network(Network::Regtest).await.unwrap();
    assert!(matches!(esplora.check_network(Network::Bitcoin).await, Err(EsploraError::WrongChain { height: 0, .. })));
}

#[tokio::test]
async fn a_refused_payment_has_the_nodes_reason_and_a_known_one_is_no_error() {
    let answer = |message: &'static str| {
        Fake::start(move |_, _| {
            let body = format!("sendrawtransaction RPC error: {{\"code\":-26,\"message\":\"{message}\"}}");
            Reply::Say(400, body.into_bytes())
        })
    };
    let refusing = answer("min relay fee not met, 10 < 110").await;
    let error = Esplora::new(&refusing.url).unwrap().broadcast(&transaction()).await.unwrap_err();
    let EsploraError::Rejected { reason, .. } = &error else { panic!("{error}") };
    assert_eq!(reason, "min relay fee not met, 10 < 110");
    assert!(!error.is_passing());
    let knowing = answer("txn-already-in-mempool").await;
    Esplora::new(&knowing.url).unwrap().broadcast(&transaction()).await.unwrap();
}

#[tokio::test]
async fn a_server_without_estimates_has_a_stand_in() {
    let fake = Fake::start(|asked, _| match asked {
        "GET /v1/fees/recommended" => {
            Reply::ok(r#"{"fastestFee":9,"halfHourFee":7,"hourFee":5,"economyFee":2,"minimumFee":1}"#)
        }
        _ => Reply::missing(),
    })
    .await;
    let estimates = Esplora::new(&fake.url).unwrap().fee_estimates().await.unwrap();
    assert_eq!(estimates, Estimates::from([(1, 9.0), (3, 7.0), (6, 5.0)]));
}

fn transaction() -> Transaction {
    bitcoin::blockdata::constants::genesis_block(bitcoin::Network::Regtest).txdata.remove(0)
}
