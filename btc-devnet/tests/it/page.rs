//! The status page.

use bitcoin::Amount;
use btc_devnet::{Devnet, Options};

use crate::http::{get, text};

#[tokio::test]
async fn the_page_shows_tip_mempool_wallet_and_use() {
    let name = "<script>alert('x')</script>".to_string();
    let devnet = Devnet::start(Options { name, ..Options::default() }).await.unwrap();
    let txid = devnet.fund(&devnet.wallet().address(30), Amount::from_sat(50_000)).await.unwrap();
    let answer = get(&devnet, "/").await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/html; charset=utf-8"));
    let page = answer.text();
    let tip = text(&devnet, "/blocks/tip/hash").await;
    let wallet = devnet.wallet();
    for shown in
        [&tip, &txid.to_string(), &wallet.mnemonic(), &wallet.address(0).to_string(), "/devnet/mine", devnet.url()]
    {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(!page.contains("<script"), "what is written may not become markup");
    assert!(page.contains("5\u{202f}000\u{202f}000\u{202f}000"), "50 BTC at the first address");
}
