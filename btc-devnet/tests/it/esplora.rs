//! Every path of Esplora's specification, on a chain whose content is known.

use bdk_esplora::esplora_client::Builder;
use bitcoin::consensus::encode::{deserialize, deserialize_hex, serialize_hex};
use bitcoin::hashes::{Hash, HashEngine, sha256, sha256d};
use bitcoin::{Address, Amount, Block, MerkleBlock, OutPoint, Transaction, Txid, block::Header};
use btc_devnet::{Devnet, Options};
use serde_json::{Value, json as document};

use crate::http::{get, json, post, text};
use crate::purse::Purse;

async fn start() -> Devnet {
    Devnet::start(Options::default()).await.unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn sorted<const N: usize>(mut names: [&str; N]) -> [&str; N] {
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_transaction_is_told_whole_before_and_after_it_is_mined() {
    let devnet = start().await;
    let to = devnet.wallet().address(30);
    let txid = devnet.fund(&to, Amount::from_sat(123_456)).await.unwrap();
    let raw = get(&devnet, &format!("/tx/{txid}/raw")).await;
    assert_eq!((raw.status, raw.content_type.as_str()), (200, "application/octet-stream"));
    let transaction: Transaction = deserialize(&raw.body).unwrap();
    assert_eq!(transaction.compute_txid(), txid);
    assert_eq!(text(&devnet, &format!("/tx/{txid}/hex")).await, serialize_hex(&transaction));

    let told = json(&devnet, &format!("/tx/{txid}")).await;
    let fields = ["txid", "version", "locktime", "vin", "vout", "size", "weight", "sigops", "fee", "status"];
    assert_eq!(keys(&told), sorted(fields));
    assert_eq!(told["txid"], txid.to_string());
    assert_eq!(told["version"], transaction.version.0);
    assert_eq!(told["locktime"], transaction.lock_time.to_consensus_u32());
    assert_eq!(told["size"], transaction.total_size());
    assert_eq!(told["weight"], transaction.weight().to_wu());
    assert_eq!(told["status"], document!({ "confirmed": false }));

    let mut spent = 0;
    for (input, told) in transaction.input.iter().zip(told["vin"].as_array().unwrap()) {
        assert_eq!(told["txid"], input.previous_output.txid.to_string());
        assert_eq!(told["vout"], input.previous_output.vout);
        assert_eq!(told["sequence"], input.sequence.0);
        assert_eq!((&told["scriptsig"], &told["scriptsig_asm"]), (&"".into(), &"".into()));
        assert_eq!(told["is_coinbase"], false);
        let witness: Vec<String> = input.witness.iter().map(hex::encode).collect();
        assert_eq!(told["witness"], document!(witness));
        let parent = text(&devnet, &format!("/tx/{}/hex", input.previous_output.txid)).await;
        let parent: Transaction = deserialize_hex(&parent).unwrap();
        let output = &parent.output[input.previous_output.vout as usize];
        assert_eq!(told["prevout"]["value"], output.value.to_sat());
        assert_eq!(told["prevout"]["scriptpubkey"], output.script_pubkey.to_hex_string());
        spent += output.value.to_sat();
    }
    let paid: u64 = transaction.output.iter().map(|output| output.value.to_sat()).sum();
    assert_eq!(told["fee"], spent - paid);
    let output = told["vout"].as_array().unwrap().iter().find(|output| output["value"] == 123_456).unwrap();
    let script = to.script_pubkey();
    let expected = document!({
        "scriptpubkey": script.to_hex_string(),
        "scriptpubkey_asm": format!("OP_PUSHNUM_1 OP_PUSHBYTES_32 {}", hex::encode(&script.as_bytes()[2..])),
        "scriptpubkey_type": "v1_p2tr",
        "scriptpubkey_address": to.to_string(),
        "value": 123_456,
    });
    assert_eq!(*output, expected);

    let tip = devnet.mine(1).await.unwrap();
    let status = document!({
        "confirmed": true, "block_height": tip.height, "block_hash": tip.hash.to_string(), "block_time": tip.time,
    });
    assert_eq!(json(&devnet, &format!("/tx/{txid}")).await["status"], status);
    assert_eq!(json(&devnet, &format!("/tx/{txid}/status")).await, status);
}

#[tokio::test]
async fn a_coinbase_is_told_as_one() {
    let devnet = start().await;
    let tip = devnet.mine(1).await.unwrap();
    let coinbase = text(&devnet, &format!("/block/{}/txid/0", tip.hash)).await;
    let told = json(&devnet, &format!("/tx/{coinbase}")).await;
    let input = &told["vin"][0];
    assert_eq!((&input["is_coinbase"], &input["prevout"]), (&true.into(), &Value::Null));
    assert_eq!((&input["txid"], &input["vout"]), (&"0".repeat(64).into(), &u32::MAX.into()));
    assert_eq!(told["fee"], 0);
    assert!(!input["scriptsig_asm"].as_str().unwrap().is_empty());
    let kinds: Vec<&str> =
        told["vout"].as_array().unwrap().iter().map(|o| o["scriptpubkey_type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"op_return"), "the witness commitment: {kinds:?}");
}

#[tokio::test]
async fn both_proofs_lead_to_the_header() {
    let devnet = start().await;
    let mut txids = Vec::new();
    for index in 0..6 {
        txids.push(devnet.fund(&devnet.wallet().address(40 + index), Amount::from_sat(50_000)).await.unwrap());
    }
    for txid in &txids {
        let refusal = get(&devnet, &format!("/tx/{txid}/merkle-proof")).await;
        assert_eq!(refusal.refusal(), (404, "Transaction not found or is unconfirmed"));
    }
    let tip = devnet.mine(1).await.unwrap();
    let header: Header = deserialize_hex(&text(&devnet, &format!("/block/{}/header", tip.hash)).await).unwrap();
    assert_eq!(header.block_hash(), tip.hash);
    let all: Vec<Txid> = serde_json::from_value(json(&devnet, &format!("/block/{}/txids", tip.hash)).await).unwrap();
    assert!(all.len() > 6);
    for txid in &all {
        let proof = json(&devnet, &format!("/tx/{txid}/merkle-proof")).await;
        assert_eq!(keys(&proof), ["block_height", "merkle", "pos"]);
        assert_eq!(proof["block_height"], tip.height);
        let mut at = proof["pos"].as_u64().unwrap();
        assert_eq!(all[at as usize], *txid);
        let mut hash = txid.to_raw_hash();
        for sibling in proof["merkle"].as_array().unwrap() {
            let sibling: sha256d::Hash = sibling.as_str().unwrap().parse().unwrap();
            let (left, right) = if at.is_multiple_of(2) { (hash, sibling) } else { (sibling, hash) };
            let mut engine = sha256d::Hash::engine();
            engine.input(left.as_byte_array());
            engine.input(right.as_byte_array());
            hash = sha256d::Hash::from_engine(engine);
            at /= 2;
        }
        assert_eq!(hash, header.merkle_root.to_raw_hash());

        let proof: MerkleBlock =
            deserialize_hex(&text(&devnet, &format!("/tx/{txid}/merkleblock-proof")).await).unwrap();
        let (mut matches, mut places) = (Vec::new(), Vec::new());
        proof.extract_matches(&mut matches, &mut places).unwrap();
        assert_eq!((proof.header, matches), (header, vec![*txid]));
    }
}

#[tokio::test]
async fn spends_are_told_from_the_mempool_and_from_the_chain() {
    let devnet = start().await;
    let txid = devnet.fund(&devnet.wallet().address(30), Amount::from_sat(50_000)).await.unwrap();
    let spender: Transaction = deserialize_hex(&text(&devnet, &format!("/tx/{txid}/hex")).await).unwrap();
    let spent = spender.input[0].previous_output;
    let path = format!("/tx/{}/outspend/{}", spent.txid, spent.vout);
    let waiting = document!({ "spent": true, "txid": txid.to_string(), "vin": 0, "status": { "confirmed": false } });
    assert_eq!(json(&devnet, &path).await, waiting);
    let tip = devnet.mine(1).await.unwrap();
    let told = json(&devnet, &path).await;
    assert_eq!((&told["spent"], &told["status"]["block_height"]), (&true.into(), &tip.height.into()));

    let all = json(&devnet, &format!("/tx/{}/outspends", spent.txid)).await;
    assert_eq!(all[spent.vout as usize], told);
    let both = json(&devnet, &format!("/txs/outspends?txids={},{txid}", spent.txid)).await;
    assert_eq!(both[0], all);
    assert_eq!(both[1].as_array().unwrap().len(), spender.output.len());
    assert_eq!(both[1][0], document!({ "spent": false }));
    let beyond = json(&devnet, &format!("/tx/{txid}/outspend/4294967295")).await;
    assert_eq!(beyond, document!({ "spent": false }));
    assert_eq!(get(&devnet, &format!("/tx/{txid}/outspend/x")).await.refusal(), (400, "Invalid number"));
}

#[tokio::test]
async fn histories_are_paged_at_twenty_five_and_named_by_address_or_hash() {
    let devnet = start().await;
    let address = devnet.wallet().address(77);
    let hash = sha256::Hash::hash(address.script_pubkey().as_bytes());
    let tip = devnet.mine_to(address.script_pubkey(), 60).await.unwrap();
    let reward =
        json(&devnet, &format!("/tx/{}", coinbase(&devnet, tip.height).await)).await["vout"][0]["value"].clone();
    let heights = |told: &Value| -> Vec<u64> {
        told.as_array().unwrap().iter().map(|told| told["status"]["block_height"].as_u64().unwrap()).collect()
    };
    let top = u64::from(tip.height);
    for name in [format!("/address/{address}"), format!("/scripthash/{hash}")] {
        let first = json(&devnet, &format!("{name}/txs")).await;
        assert_eq!(heights(&first), (top - 24..=top).rev().collect::<Vec<_>>());
        assert_eq!(json(&devnet, &format!("{name}/txs/chain")).await, first);
        let last = first[24]["txid"].as_str().unwrap();
        let second = json(&devnet, &format!("{name}/txs/chain/{last}")).await;
        assert_eq!(heights(&second), (top - 49..=top - 25).rev().collect::<Vec<_>>());
        let last = second[24]["txid"].as_str().unwrap();
        let third = json(&devnet, &format!("{name}/txs/chain/{last}")).await;
        assert_eq!(heights(&third), (top - 59..=top - 50).rev().collect::<Vec<_>>());
        let last = third[9]["txid"].as_str().unwrap();
        assert_eq!(json(&devnet, &format!("{name}/txs/chain/{last}")).await, document!([]));
        assert_eq!(json(&devnet, &format!("{name}/txs/mempool")).await, document!([]));

        let stats = json(&devnet, &name).await;
        assert_eq!(
            (&stats["chain_stats"]["tx_count"], &stats["chain_stats"]["funded_txo_count"]),
            (&60.into(), &60.into())
        );
        assert_eq!(stats["mempool_stats"]["tx_count"], 0);
        let utxos = json(&devnet, &format!("{name}/utxo")).await;
        assert_eq!(utxos.as_array().unwrap().len(), 60);
        let newest = utxos.as_array().unwrap().iter().find(|utxo| utxo["status"]["block_height"] == top).unwrap();
        assert_eq!(keys(newest), ["status", "txid", "value", "vout"]);
        assert_eq!(newest["value"], reward);
    }
    let stats = json(&devnet, &format!("/address/{address}")).await;
    assert_eq!(stats["address"], address.to_string());
    let stats = json(&devnet, &format!("/scripthash/{hash}")).await;
    assert_eq!(stats["scripthash"], hash.to_string());
    let prefix = &address.to_string()[..20];
    assert_eq!(json(&devnet, &format!("/address-prefix/{prefix}")).await, document!([address.to_string()]));
    assert_eq!(json(&devnet, "/address-prefix/bcrt1").await.as_array().unwrap().len(), 10);
    assert_eq!(json(&devnet, "/address-prefix/bc1q").await, document!([]));
}

async fn coinbase(devnet: &Devnet, height: u32) -> String {
    let hash = text(devnet, &format!("/block-height/{height}")).await;
    text(devnet, &format!("/block/{hash}/txid/0")).await
}

#[tokio::test]
async fn waiting_transactions_stand_before_confirmed_ones() {
    let devnet = start().await;
    let address = devnet.wallet().address(50);
    let old = devnet.fund(&address, Amount::from_sat(40_000)).await.unwrap();
    devnet.mine(1).await.unwrap();
    let new = devnet.fund(&address, Amount::from_sat(30_000)).await.unwrap();
    let newest = devnet.fund(&address, Amount::from_sat(20_000)).await.unwrap();
    let ids = |told: &Value| -> Vec<String> {
        told.as_array().unwrap().iter().map(|told| told["txid"].as_str().unwrap().to_owned()).collect()
    };
    let all = json(&devnet, &format!("/address/{address}/txs")).await;
    assert_eq!(ids(&all), [newest.to_string(), new.to_string(), old.to_string()]);
    let waiting = json(&devnet, &format!("/address/{address}/txs/mempool")).await;
    assert_eq!(ids(&waiting), [newest.to_string(), new.to_string()]);
    let stats = json(&devnet, &format!("/address/{address}")).await;
    assert_eq!(stats["chain_stats"]["funded_txo_sum"], 40_000);
    assert_eq!(stats["mempool_stats"]["funded_txo_sum"], 50_000);
    let utxos = json(&devnet, &format!("/address/{address}/utxo")).await;
    let values: Vec<u64> = utxos.as_array().unwrap().iter().map(|utxo| utxo["value"].as_u64().unwrap()).collect();
    assert_eq!(values, [40_000, 30_000, 20_000]);
    assert_eq!(utxos[1]["status"], document!({ "confirmed": false }));
}

#[tokio::test]
async fn addresses_that_are_none_or_of_elsewhere_are_refused() {
    let devnet = start().await;
    for (path, refusal) in [
        ("/address/xyz", "Invalid Bitcoin address"),
        ("/address/bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq/utxo", "Address on invalid network"),
        ("/address/1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa/txs", "Address on invalid network"),
        ("/scripthash/zz", "Invalid hex string"),
        ("/scripthash/00", "Invalid scripthash"),
        ("/tx/00", "Invalid hex string"),
        ("/block/xyz/raw", "Invalid hex string"),
        ("/block-height/x", "Invalid number"),
        ("/block-height/-1", "Invalid number"),
    ] {
        assert_eq!(get(&devnet, path).await.refusal(), (400, refusal), "{path}");
    }
}

#[tokio::test]
async fn blocks_are_told_by_hash_height_and_page() {
    let devnet = start().await;
    for index in 0..30 {
        devnet.fund(&devnet.wallet().address(100 + index), Amount::from_sat(10_000)).await.unwrap();
    }
    let before = devnet.tip().await.unwrap();
    let tip = devnet.mine(1).await.unwrap();
    assert_eq!(text(&devnet, "/blocks/tip/hash").await, tip.hash.to_string());
    assert_eq!(text(&devnet, "/blocks/tip/height").await, tip.height.to_string());
    assert_eq!(text(&devnet, &format!("/block-height/{}", tip.height)).await, tip.hash.to_string());

    let raw = get(&devnet, &format!("/block/{}/raw", tip.hash)).await;
    assert_eq!(raw.content_type, "application/octet-stream");
    let block: Block = deserialize(&raw.body).unwrap();
    let told = json(&devnet, &format!("/block/{}", tip.hash)).await;
    assert_eq!(told["id"], tip.hash.to_string());
    assert_eq!(told["height"], tip.height);
    assert_eq!(told["version"], block.header.version.to_consensus() as u32);
    assert_eq!(told["timestamp"], block.header.time);
    assert_eq!(told["tx_count"], block.txdata.len());
    assert_eq!(told["size"], raw.body.len());
    assert_eq!(told["weight"], block.weight().to_wu());
    assert_eq!(told["merkle_root"], block.header.merkle_root.to_string());
    assert_eq!(told["previousblockhash"], before.hash.to_string());
    assert_eq!(told["mediantime"], tip.median_time_past);
    assert_eq!(told["nonce"], block.header.nonce);
    assert_eq!(told["bits"], 0x207f_ffff);
    assert!(told["difficulty"].as_f64().is_some_and(|difficulty| difficulty > 0.0 && difficulty < 1e-9));
    let header = text(&devnet, &format!("/block/{}/header", tip.hash)).await;
    assert_eq!(header, serialize_hex(&block.header));

    let status = json(&devnet, &format!("/block/{}/status", before.hash)).await;
    assert_eq!(
        status,
        document!({ "in_best_chain": true, "height": before.height, "next_best": tip.hash.to_string() })
    );
    let status = json(&devnet, &format!("/block/{}/status", tip.hash)).await;
    assert_eq!(status, document!({ "in_best_chain": true, "height": tip.height, "next_best": null }));

    let ids: Vec<String> = block.txdata.iter().map(|transaction| transaction.compute_txid().to_string()).collect();
    assert!(ids.len() > 30);
    assert_eq!(json(&devnet, &format!("/block/{}/txids", tip.hash)).await, document!(ids));
    assert_eq!(text(&devnet, &format!("/block/{}/txid/7", tip.hash)).await, ids[7]);
    let beyond = get(&devnet, &format!("/block/{}/txid/999", tip.hash)).await;
    assert_eq!(beyond.refusal(), (404, "tx index out of range"));

    let first = json(&devnet, &format!("/block/{}/txs", tip.hash)).await;
    let second = json(&devnet, &format!("/block/{}/txs/25", tip.hash)).await;
    let pages = first.as_array().unwrap().iter().chain(second.as_array().unwrap());
    let paged: Vec<&str> = pages.map(|told| told["txid"].as_str().unwrap()).collect();
    assert_eq!(first.as_array().unwrap().len(), 25);
    assert_eq!(paged, ids);
    let crooked = get(&devnet, &format!("/block/{}/txs/7", tip.hash)).await;
    assert_eq!(crooked.refusal(), (400, "start index must be a multipication of 25"));
    let beyond = get(&devnet, &format!("/block/{}/txs/1000", tip.hash)).await;
    assert_eq!(beyond.refusal(), (404, "start index out of range"));

    let heights = |told: &Value| -> Vec<u64> {
        told.as_array().unwrap().iter().map(|block| block["height"].as_u64().unwrap()).collect()
    };
    let top = u64::from(tip.height);
    assert_eq!(heights(&json(&devnet, "/blocks").await), (top - 9..=top).rev().collect::<Vec<_>>());
    assert_eq!(heights(&json(&devnet, "/blocks/12").await), (3..=12).rev().collect::<Vec<_>>());
    let genesis = json(&devnet, "/blocks/2").await;
    assert_eq!(heights(&genesis), [2, 1, 0]);
    assert_eq!(genesis[2]["previousblockhash"], Value::Null);
    assert_eq!(get(&devnet, "/blocks/99999").await.refusal(), (404, "Block not found"));
}

#[tokio::test]
async fn a_block_that_a_reorganisation_dropped_is_still_told() {
    let devnet = start().await;
    let txid = devnet.fund(&devnet.wallet().address(30), Amount::from_sat(50_000)).await.unwrap();
    let old = devnet.mine(1).await.unwrap();
    devnet.reorg(1, 2).await.unwrap();
    let status = json(&devnet, &format!("/block/{}/status", old.hash)).await;
    assert_eq!(status, document!({ "in_best_chain": false, "height": null, "next_best": null }));
    assert_eq!(json(&devnet, &format!("/block/{}", old.hash)).await["height"], old.height);
    let told = json(&devnet, &format!("/block/{}/txs", old.hash)).await;
    let dropped = told.as_array().unwrap().iter().find(|told| told["txid"] == txid.to_string()).unwrap();
    assert_eq!(dropped["status"], document!({ "confirmed": false }));
    assert!(dropped["vin"][0]["prevout"].is_object());
    assert_ne!(text(&devnet, &format!("/block-height/{}", old.height)).await, old.hash.to_string());
}

#[tokio::test]
async fn the_mempool_is_summed_listed_and_paged() {
    let devnet = start().await;
    let mut txids = Vec::new();
    for index in 0..12 {
        txids.push(
            devnet.fund(&devnet.wallet().address(100 + index), Amount::from_sat(10_000)).await.unwrap().to_string(),
        );
    }
    assert_eq!(json(&devnet, "/mempool/txids").await, document!(txids));
    let summed = json(&devnet, "/mempool").await;
    let (mut fees, mut sizes) = (0, 0);
    for txid in &txids {
        let told = json(&devnet, &format!("/tx/{txid}")).await;
        fees += told["fee"].as_u64().unwrap();
        sizes += told["weight"].as_u64().unwrap().div_ceil(4);
    }
    assert_eq!(summed["count"], 12);
    assert_eq!((&summed["total_fee"], &summed["vsize"]), (&fees.into(), &sizes.into()));
    let steps = summed["fee_histogram"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step[1].as_u64().unwrap()).sum::<u64>(), sizes);

    let recent = json(&devnet, "/mempool/recent").await;
    let recent = recent.as_array().unwrap();
    let ids: Vec<&str> = recent.iter().map(|told| told["txid"].as_str().unwrap()).collect();
    assert_eq!(ids, txids.iter().rev().take(10).map(String::as_str).collect::<Vec<_>>());
    assert_eq!(keys(&recent[0]), ["fee", "txid", "value", "vsize"]);

    let page = json(&devnet, "/mempool/txids/page?max_txs=5").await;
    assert_eq!(page, document!(txids[..5]));
    let page = json(&devnet, &format!("/mempool/txids/page/{}?max_txs=5", txids[4])).await;
    assert_eq!(page, document!(txids[5..10]));

    devnet.mine(1).await.unwrap();
    assert_eq!(json(&devnet, "/mempool").await["count"], 0);
    let estimates = json(&devnet, "/fee-estimates").await;
    for target in ["1", "2", "3", "6", "144", "1008"] {
        assert!(estimates[target].as_f64().is_some_and(|rate| rate > 0.0), "{target}: {estimates}");
    }
}

#[tokio::test]
async fn transactions_come_in_by_both_doors() {
    let devnet = start().await;
    let mut purse = Purse::funded(&devnet);
    purse.scan().await;
    let to = devnet.wallet().address(60);
    let one = purse.pay(&to, Amount::from_sat(20_000), 3);
    let answer = post(&devnet, "/tx", &serialize_hex(&one)).await;
    assert_eq!(
        (answer.status, answer.content_type.as_str(), answer.text()),
        (200, "text/plain", &*one.compute_txid().to_string())
    );
    // A newline at the end, as `curl -d @file` may leave it, and the same transaction again.
    let again = post(&devnet, "/tx", &format!("{}\n", serialize_hex(&one))).await;
    assert_eq!(again.text(), one.compute_txid().to_string());
    purse.sync().await;
    let two = purse.pay(&to, Amount::from_sat(20_000), 3);
    let answer = get(&devnet, &format!("/broadcast?tx={}", serialize_hex(&two))).await;
    assert_eq!(answer.text(), two.compute_txid().to_string());
    assert_eq!(get(&devnet, "/broadcast").await.refusal(), (400, "Missing tx"));

    devnet.mine(1).await.unwrap();
    let mined = post(&devnet, "/tx", &serialize_hex(&one)).await;
    let expected = r#"sendrawtransaction RPC error: {"code":-27,"message":"Transaction outputs already in utxo set"}"#;
    assert_eq!(mined.refusal(), (400, expected));
}

#[tokio::test]
async fn refusals_have_the_words_of_bitcoin_core() {
    let devnet = start().await;
    let mut purse = Purse::funded(&devnet);
    purse.scan().await;
    let to = devnet.wallet().address(60);
    let good = purse.pay(&to, Amount::from_sat(20_000), 3);

    let mut forged = good.clone();
    forged.output[0].value += Amount::from_sat(1);
    let answer = post(&devnet, "/tx", &serialize_hex(&forged)).await;
    let (status, words) = answer.refusal();
    assert_eq!(status, 400);
    assert!(words.starts_with(r#"sendrawtransaction RPC error: {"code":-26,"message":""#), "{words}");

    let mut orphan = good.clone();
    orphan.input[0].previous_output.txid = Txid::all_zeros();
    let answer = post(&devnet, "/tx", &serialize_hex(&orphan)).await;
    let expected = r#"sendrawtransaction RPC error: {"code":-25,"message":"bad-txns-inputs-missingorspent"}"#;
    assert_eq!(answer.refusal(), (400, expected));

    let dear = purse.pay(&to, Amount::from_sat(20_000), 20_000);
    let answer = post(&devnet, "/tx", &serialize_hex(&dear)).await;
    let expected = "sendrawtransaction RPC error: \
        {\"code\":-25,\"message\":\"Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)\"}";
    assert_eq!(answer.refusal(), (400, expected));
    assert_eq!(json(&devnet, "/mempool").await["count"], 0);
}

#[tokio::test]
async fn tests_and_packages_answer_as_the_rpc_does() {
    let devnet = start().await;
    let mut purse = Purse::funded(&devnet);
    purse.scan().await;
    let to = devnet.wallet().address(60);
    let good = purse.pay(&to, Amount::from_sat(20_000), 3);
    let hexes = document!([serialize_hex(&good)]).to_string();

    let verdict = post(&devnet, "/txs/test", &hexes).await.json();
    assert_eq!(verdict[0]["txid"], good.compute_txid().to_string());
    assert_eq!(verdict[0]["wtxid"], good.compute_wtxid().to_string());
    assert_eq!((&verdict[0]["allowed"], &verdict[0]["vsize"]), (&true.into(), &good.vsize().into()));
    let fee = verdict[0]["fees"]["base"].as_f64().unwrap();
    assert_eq!(Amount::from_btc(fee).unwrap(), purse.wallet.calculate_fee(&good).unwrap());
    let dear = post(&devnet, "/txs/test?maxfeerate=0.00000100", &hexes).await.json();
    assert_eq!((&dear[0]["allowed"], &dear[0]["reject-reason"]), (&false.into(), &"max-fee-exceeded".into()));
    assert_eq!(json(&devnet, "/mempool").await["count"], 0);

    let report = post(&devnet, "/txs/package", &hexes).await.json();
    assert_eq!(keys(&report), ["package_msg", "replaced-transactions", "tx-results"]);
    assert_eq!(report["package_msg"], "success");
    let result = &report["tx-results"][good.compute_wtxid().to_string()];
    assert_eq!((&result["txid"], &result["vsize"]), (&good.compute_txid().to_string().into(), &good.vsize().into()));
    assert_eq!(json(&devnet, "/mempool").await["count"], 1);

    for path in ["/txs/test", "/txs/package"] {
        let short = post(&devnet, path, r#"["00"]"#).await;
        assert_eq!(short.refusal(), (400, "Invalid transaction size for item 0"));
        let crooked = post(&devnet, path, &document!(["x".repeat(200)]).to_string()).await;
        assert_eq!(crooked.refusal(), (400, "Invalid transaction hex for item 0"));
        let many = post(&devnet, path, &document!(vec!["00"; 26]).to_string()).await;
        assert_eq!(many.refusal(), (400, "Exceeded maximum of 25 transactions"));
        assert_eq!(post(&devnet, path, "no list").await.status, 400);
        let answer = post(&devnet, &format!("{path}?maxfeerate=x"), &hexes).await;
        assert_eq!(answer.refusal(), (400, "Invalid maxfeerate"));
        let undecodable = post(&devnet, path, &document!(["ab".repeat(100)]).to_string()).await;
        assert!(
            undecodable.text().contains(r#"RPC error: {"code":-22,"message":"TX decode failed"#),
            "{}",
            undecodable.text()
        );
    }
}

/// A parent that pays nothing comes in with a child that pays for both, and the client that wallets use reads the report.
#[tokio::test]
async fn a_package_comes_in_by_the_fee_of_its_child() {
    let devnet = start().await;
    let mut purse = Purse::funded(&devnet);
    purse.scan().await;
    let to = purse.address();
    let parent = purse.pay(&to, Amount::from_sat(200_000), 0);
    assert_eq!(purse.wallet.calculate_fee(&parent).unwrap(), Amount::ZERO);
    assert_eq!(post(&devnet, "/tx", &serialize_hex(&parent)).await.status, 400, "alone it pays too little");
    purse.wallet.apply_unconfirmed_txs([(parent.clone(), 1)]);
    let paid = parent.output.iter().position(|output| output.script_pubkey == to.script_pubkey()).unwrap();
    let coin = OutPoint::new(parent.compute_txid(), paid as u32);
    let child = purse.spend(coin, &devnet.wallet().address(60), 20);
    let report = purse.client.submit_package(&[parent.clone(), child.clone()], None, None).await.unwrap();
    assert_eq!(report.package_msg, "success");
    let fees = report.tx_results[&parent.compute_wtxid()].fees.as_ref().unwrap();
    assert_eq!(fees.base, Amount::ZERO);
    let both = [parent.compute_wtxid(), child.compute_wtxid()];
    assert!(fees.effective_includes.as_ref().unwrap().iter().all(|wtxid| both.contains(wtxid)));
    assert!(fees.effective_feerate.is_some());
    assert_eq!(json(&devnet, "/mempool").await["count"], 2);
    devnet.mine(1).await.unwrap();
    assert_eq!(json(&devnet, "/mempool").await["count"], 0);
}

/// The client that wallets use reads every document.
#[tokio::test]
async fn the_esplora_client_reads_everything() {
    let devnet = start().await;
    let client = Builder::new(devnet.url()).max_retries(0).build_async().unwrap();
    let address: Address = devnet.wallet().address(0);
    let txid = devnet.fund(&address, Amount::from_sat(77_777)).await.unwrap();
    let tip = devnet.mine(1).await.unwrap();
    let waiting = devnet.fund(&address, Amount::from_sat(66_666)).await.unwrap();

    assert_eq!(client.get_height().await.unwrap(), tip.height);
    assert_eq!(client.get_tip_hash().await.unwrap(), tip.hash);
    assert_eq!(client.get_block_hash(tip.height).await.unwrap(), tip.hash);
    assert_eq!(client.get_header_by_hash(&tip.hash).await.unwrap().block_hash(), tip.hash);
    assert_eq!(client.get_block_info(&tip.hash).await.unwrap().height, tip.height);
    assert!(client.get_block_status(&tip.hash).await.unwrap().in_best_chain);
    assert_eq!(client.get_block_by_hash(&tip.hash).await.unwrap().unwrap().block_hash(), tip.hash);
    assert_eq!(client.get_block_txids(&tip.hash).await.unwrap().len(), 2);
    assert_eq!(client.get_block_txs(&tip.hash, None).await.unwrap().len(), 2);
    assert_eq!(client.get_block_infos(None).await.unwrap().len(), 10);
    assert_eq!(client.get_txid_at_block_index(&tip.hash, 1).await.unwrap(), Some(txid));
    let told = client.get_tx_info(&txid).await.unwrap().unwrap();
    assert_eq!(told.to_tx().compute_txid(), txid);
    assert_eq!(client.get_tx(&txid).await.unwrap().unwrap().compute_txid(), txid);
    assert_eq!(client.get_tx_status(&txid).await.unwrap().block_height, Some(tip.height));
    assert_eq!(client.get_merkle_proof(&txid).await.unwrap().unwrap().pos, 1);
    assert!(client.get_merkle_block(&txid).await.unwrap().is_some());
    assert!(client.get_output_status(&txid, 0).await.unwrap().is_some());
    assert_eq!(client.get_tx_outspends(&txid).await.unwrap().len(), told.vout.len());
    let stats = client.get_address_stats(&address).await.unwrap();
    assert_eq!((stats.chain_stats.tx_count, stats.mempool_stats.tx_count), (2, 1));
    assert_eq!(client.get_scripthash_stats(&address.script_pubkey()).await.unwrap().chain_stats, stats.chain_stats);
    assert_eq!(client.get_address_txs(&address, None).await.unwrap().len(), 3);
    assert_eq!(client.scripthash_txs(&address.script_pubkey(), Some(txid)).await.unwrap().len(), 1);
    assert_eq!(client.get_mempool_address_txs(&address).await.unwrap()[0].txid, waiting);
    assert_eq!(client.get_mempool_scripthash_txs(&address.script_pubkey()).await.unwrap().len(), 1);
    assert_eq!(client.get_address_utxos(&address).await.unwrap().len(), 3);
    assert_eq!(client.get_scripthash_utxos(&address.script_pubkey()).await.unwrap().len(), 3);
    assert_eq!(client.get_mempool_stats().await.unwrap().count, 1);
    assert_eq!(client.get_mempool_txids().await.unwrap(), [waiting]);
    assert_eq!(client.get_mempool_recent_txs().await.unwrap()[0].txid, waiting);
    assert!(!client.get_fee_estimates().await.unwrap().is_empty());
    let absent = Txid::all_zeros();
    assert!(client.get_tx(&absent).await.unwrap().is_none());
    assert!(client.get_tx_info(&absent).await.unwrap().is_none());
    assert!(client.get_merkle_proof(&absent).await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_may_be_cached_and_any_web_page_may_ask_but_not_command() {
    let devnet = start().await;
    for path in ["/blocks/tip/hash", "/mempool", "/tx/00"] {
        let headers = get(&devnet, path).await.headers;
        assert!(headers.contains("cache-control: no-store"), "{headers}");
        assert!(headers.contains("access-control-allow-origin: *"), "{headers}");
    }
    assert!(!get(&devnet, "/devnet").await.headers.contains("access-control"));
}
