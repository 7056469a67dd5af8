//! The control API below `/devnet`.

use btc_devnet::{Devnet, Options};
use serde_json::{Value, json as document};

use crate::http::{LIMIT, json, post, raw, text};

async fn command(devnet: &Devnet, path: &str, command: &Value) -> Value {
    post(devnet, path, &command.to_string()).await.json()
}

/// A command that must be refused with 400; returns why.
async fn refused(devnet: &Devnet, path: &str, command: &str) -> String {
    let answer = post(devnet, path, command).await;
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (400, "application/json"),
        "{command}: {}",
        answer.text()
    );
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    told["error"].as_str().expect("a reason").to_owned()
}

#[tokio::test]
async fn the_state_is_told() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let tip = devnet.tip().await.unwrap();
    let told = json(&devnet, "/devnet").await;
    assert_eq!(told["url"], devnet.url());
    assert_eq!(told["network"], "regtest");
    assert_eq!((&told["tip"]["height"], &told["tip"]["hash"]), (&tip.height.into(), &tip.hash.to_string().into()));
    assert_eq!(told["mining"], document!({ "mode": "on-demand" }));
    assert_eq!(told["mnemonic"], devnet.wallet().mnemonic());
    assert_eq!(told["addresses"][0], devnet.wallet().address(0).to_string());
}

#[tokio::test]
async fn blocks_are_mined_for_the_faucet_or_for_an_address() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let before = devnet.tip().await.unwrap().height;
    // Without a body: one block.
    let mined = post(&devnet, "/devnet/mine", "").await.json();
    assert_eq!(mined["tip"]["height"], before + 1);
    assert_eq!(mined["blocks"].as_array().unwrap().len(), 1);
    let address = devnet.wallet().address(90).to_string();
    let mined = command(&devnet, "/devnet/mine", &document!({ "blocks": 3, "address": address })).await;
    assert_eq!(mined["blocks"][2], mined["tip"]["hash"]);
    assert_eq!(json(&devnet, &format!("/address/{address}")).await["chain_stats"]["funded_txo_count"], 3);
    assert_eq!(text(&devnet, "/blocks/tip/height").await, (before + 4).to_string());
}

#[tokio::test]
async fn coins_come_from_the_faucet() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let address = devnet.wallet().address(91).to_string();
    let funded = command(&devnet, "/devnet/fund", &document!({ "address": address, "sats": 1234 })).await;
    let waiting = json(&devnet, &format!("/address/{address}/txs/mempool")).await;
    assert_eq!(waiting[0]["txid"], funded["txid"]);
    let why = refused(&devnet, "/devnet/fund", &document!({ "address": address, "sats": u64::MAX }).to_string()).await;
    assert!(!why.is_empty());
    let elsewhere = document!({ "address": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "sats": 1 }).to_string();
    assert!(refused(&devnet, "/devnet/fund", &elsewhere).await.contains("regtest"));
}

#[tokio::test]
async fn the_chain_is_reorganised() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let before = devnet.tip().await.unwrap();
    let done = command(&devnet, "/devnet/reorg", &document!({ "depth": 2 })).await;
    assert_eq!(done["disconnected"][0], before.hash.to_string());
    assert_eq!((done["disconnected"].as_array().unwrap().len(), done["connected"].as_array().unwrap().len()), (2, 3));
    assert_eq!(done["tip"]["height"], before.height + 1);
    let done = command(&devnet, "/devnet/reorg", &document!({ "depth": 1, "length": 4 })).await;
    assert_eq!(done["tip"]["height"], before.height + 4);
    refused(&devnet, "/devnet/reorg", &document!({ "depth": 1_000_000 }).to_string()).await;
}

#[tokio::test]
async fn the_clock_moves() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let before = devnet.tip().await.unwrap().time;
    let now = command(&devnet, "/devnet/time", &document!({ "advance": 3600 })).await["time"].as_u64().unwrap();
    assert!(now >= u64::from(before) + 3600, "{now} {before}");
    assert!(devnet.mine(1).await.unwrap().time >= before + 3600);
    let set = command(&devnet, "/devnet/time", &document!({ "set": now + 60 })).await["time"].as_u64().unwrap();
    assert!((now + 60..now + 120).contains(&set));
    refused(&devnet, "/devnet/time", &document!({ "set": 1 }).to_string()).await;
    refused(&devnet, "/devnet/time", &document!({ "advance": u32::MAX }).to_string()).await;
}

/// A chain that starts in the past has room for days: Core takes no block from the future.
#[tokio::test]
async fn the_clock_of_a_chain_that_started_early_moves_by_days() {
    const WEEK: u32 = 7 * 24 * 3600;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as u32;
    let options = Options { start_time: Some(now - WEEK), ..Options::default() };
    let devnet = Devnet::start(options).await.unwrap();
    let before = devnet.tip().await.unwrap().time;
    assert!(before < now - WEEK + 3600);
    devnet.advance_time(WEEK - 3600).await.unwrap();
    assert!(devnet.mine(1).await.unwrap().time >= before + WEEK - 3600);
}

#[tokio::test]
async fn blocks_come_by_themselves() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let before = devnet.tip().await.unwrap().height;
    let mode = document!({ "mode": "on-transaction" });
    assert_eq!(command(&devnet, "/devnet/mining", &mode).await, mode);
    let address = devnet.wallet().address(92).to_string();
    let funded = command(&devnet, "/devnet/fund", &document!({ "address": address, "sats": 5000 })).await;
    let txid = funded["txid"].as_str().unwrap();
    assert_eq!(json(&devnet, &format!("/tx/{txid}/status")).await["block_height"], before + 1);

    let mode = document!({ "mode": "interval", "seconds": 1 });
    assert_eq!(command(&devnet, "/devnet/mining", &mode).await, mode);
    let grown = async {
        while devnet.tip().await.unwrap().height < before + 3 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, grown).await.expect("blocks come");
    assert_eq!(json(&devnet, "/devnet").await["mining"], mode);
    let why = refused(&devnet, "/devnet/mining", r#"{"mode": "interval", "seconds": 0}"#).await;
    assert!(why.contains("between 1 and"), "{why}");
}

#[tokio::test]
async fn a_block_from_elsewhere_is_taken_if_it_is_valid() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let tip = devnet.mine(1).await.unwrap();
    let hex = {
        let raw = crate::http::get(&devnet, &format!("/block/{}/raw", tip.hash)).await;
        hex::encode(raw.body)
    };
    devnet.reorg(1, 2).await.unwrap();
    refused(&devnet, "/devnet/block", "zz").await;
    refused(&devnet, "/devnet/block", "00").await;
    // Valid once, but its branch is the shorter one now.
    refused(&devnet, "/devnet/block", &hex).await;
}

#[tokio::test]
async fn commands_that_cannot_be_read_say_why() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    assert!(refused(&devnet, "/devnet/mine", r#"{"block": 1}"#).await.contains("unknown field `block`"));
    assert!(refused(&devnet, "/devnet/mine", "[").await.contains("cannot be read"));
    assert!(refused(&devnet, "/devnet/mine", r#"{"blocks": -1}"#).await.contains("invalid value"));
    assert!(refused(&devnet, "/devnet/mine", r#"{"blocks": 4294967295}"#).await.contains("too many"));
    assert!(refused(&devnet, "/devnet/reorg", "").await.contains("missing field `depth`"));
}

/// A page of somebody else's, open in a browser on this machine, cannot command the chain.
#[tokio::test]
async fn web_pages_from_elsewhere_are_refused() {
    let devnet = Devnet::start(Options::default()).await.unwrap();
    let before = devnet.tip().await.unwrap().height;
    let ask = async |origin: &str| {
        raw(&devnet, format!("POST /devnet/mine HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\nconnection: close\r\n\r\n"))
            .await
            .status
    };
    for origin in
        ["https://evil.example", "http://127.0.0.1.evil.example:3002", "null", "http://localhost@evil.example"]
    {
        assert_eq!(ask(origin).await, 403, "{origin}");
    }
    assert_eq!(devnet.tip().await.unwrap().height, before);
    assert_eq!(ask("http://127.0.0.1:3002").await, 200);
    assert_eq!(ask("http://localhost:8080").await, 200);
}
