//! `/devnet…`: what a test or a person does to a chain. JSON in, JSON out; an error is `{"error": "…"}`.

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::encode::deserialize;
use bitcoin::{Address, Amount, Block, BlockHash, Network, Txid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::reply::{Refusal, body, json};
use crate::devnet::About;
use crate::handle::Handle;
use crate::mode::Mode;
use crate::node::Tip;

/// The longest command: some numbers and an address.
const MAX_COMMAND: usize = 4096;
/// The longest block as hex: Bitcoin's greatest block has 4,000,000 bytes.
const MAX_BLOCK: usize = 8_000_000;

pub(super) fn routes(about: About) -> Router<Handle> {
    Router::new()
        .route("/devnet", get(status))
        .route("/devnet/mine", post(mine))
        .route("/devnet/reorg", post(reorg))
        .route("/devnet/fund", post(fund))
        .route("/devnet/time", post(time))
        .route("/devnet/mining", post(mining))
        .route("/devnet/block", post(block))
        .layer(Extension(about))
}

/// A control answer: a refusal is told in JSON too.
struct Answer(Result<Response, Refusal>);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.0.unwrap_or_else(Refusal::into_json)
    }
}

/// The end of the chain.
#[derive(Serialize)]
struct TipValue {
    height: u32,
    hash: BlockHash,
    time: u32,
    median_time_past: u32,
}

impl From<Tip> for TipValue {
    fn from(tip: Tip) -> Self {
        Self { height: tip.height, hash: tip.hash, time: tip.time, median_time_past: tip.median_time_past }
    }
}

async fn status(State(chain): State<Handle>, Extension(about): Extension<About>) -> Answer {
    #[derive(Serialize)]
    struct Status<'a> {
        name: &'a str,
        url: &'a str,
        network: Network,
        tip: TipValue,
        /// The chain's clock now.
        time: u32,
        mining: Mode,
        mempool: usize,
        mnemonic: String,
        descriptors: [String; 2],
        addresses: Vec<Address>,
    }
    Answer(
        async {
            let (tip, time, mining) = chain.run(|node| (node.tip(), node.time(), node.mining())).await?;
            Ok(json(&Status {
                name: &about.name,
                url: &about.url,
                network: Network::Regtest,
                tip: tip.into(),
                time,
                mining: mining.into(),
                mempool: chain.index().pool.len(),
                mnemonic: about.wallet.mnemonic(),
                descriptors: about.wallet.descriptors(),
                addresses: about.addresses(),
            }))
        }
        .await,
    )
}

/// How many blocks, and whom they pay (the faucet, if nobody is named).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mine {
    #[serde(default = "one")]
    blocks: u32,
    address: Option<Address<NetworkUnchecked>>,
}

fn one() -> u32 {
    1
}

async fn mine(State(chain): State<Handle>, headers: HeaderMap, sent: Body) -> Answer {
    #[derive(Serialize)]
    struct Mined {
        blocks: Vec<BlockHash>,
        tip: TipValue,
    }
    Answer(
        async {
            let asked: Mine = command(&headers, sent).await?;
            let reward = asked.address.map(regtest).transpose()?.map(|address| address.script_pubkey());
            let blocks = chain.mine(asked.blocks, reward).await?;
            Ok(json(&Mined { blocks, tip: chain.tip().await?.into() }))
        }
        .await,
    )
}

/// How many blocks go, and how many come in their place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reorganise {
    depth: u32,
    length: Option<u32>,
}

async fn reorg(State(chain): State<Handle>, headers: HeaderMap, sent: Body) -> Answer {
    #[derive(Serialize)]
    struct Reorganised {
        disconnected: Vec<BlockHash>,
        connected: Vec<BlockHash>,
        tip: TipValue,
    }
    Answer(
        async {
            let asked: Reorganise = command(&headers, sent).await?;
            let length = asked.length.unwrap_or_else(|| asked.depth.saturating_add(1));
            let done = chain.reorg(asked.depth, length).await?;
            let tip = chain.tip().await?.into();
            Ok(json(&Reorganised { disconnected: done.disconnected, connected: done.connected, tip }))
        }
        .await,
    )
}

/// Whom the faucet pays, and how much.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fund {
    address: Address<NetworkUnchecked>,
    sats: u64,
}

async fn fund(State(chain): State<Handle>, headers: HeaderMap, sent: Body) -> Answer {
    #[derive(Serialize)]
    struct Funded {
        txid: Txid,
    }
    Answer(
        async {
            let asked: Fund = command(&headers, sent).await?;
            let script = regtest(asked.address)?.script_pubkey();
            let txid = chain.fund(script, Amount::from_sat(asked.sats)).await?;
            Ok(json(&Funded { txid }))
        }
        .await,
    )
}

/// Where the chain's clock goes: to a time, or ahead by some seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Clock {
    Set(u32),
    Advance(u32),
}

async fn time(State(chain): State<Handle>, headers: HeaderMap, sent: Body) -> Answer {
    #[derive(Serialize)]
    struct Now {
        time: u32,
    }
    Answer(
        async {
            let time = match command(&headers, sent).await? {
                Clock::Set(time) => chain.set_time(time).await?,
                Clock::Advance(seconds) => chain.advance_time(seconds).await?,
            };
            Ok(json(&Now { time }))
        }
        .await,
    )
}

async fn mining(State(chain): State<Handle>, headers: HeaderMap, sent: Body) -> Answer {
    Answer(
        async {
            let mode: Mode = command(&headers, sent).await?;
            let mining = mode.try_into().map_err(|error: crate::mode::BadMode| Refusal::bad(error.to_string()))?;
            chain.set_mining(mining).await?;
            Ok(json(&mode))
        }
        .await,
    )
}

async fn block(State(chain): State<Handle>, headers: HeaderMap, sent: Body) -> Answer {
    Answer(
        async {
            local(&headers)?;
            let sent = body(sent, MAX_BLOCK).await?;
            let bytes = hex::decode(sent.trim_ascii()).map_err(|_| Refusal::bad("send the block as hex"))?;
            let block: Block = deserialize(&bytes).map_err(|error| Refusal::bad(format!("not a block: {error}")))?;
            chain.submit_block(block).await?;
            Ok(json(&TipValue::from(chain.tip().await?)))
        }
        .await,
    )
}

/// A command in JSON; an empty body counts as one without fields.
async fn command<T: DeserializeOwned>(headers: &HeaderMap, sent: Body) -> Result<T, Refusal> {
    local(headers)?;
    let sent = body(sent, MAX_COMMAND).await?;
    let sent: &[u8] = if sent.trim_ascii().is_empty() { b"{}" } else { &sent };
    serde_json::from_slice(sent).map_err(|error| Refusal::bad(format!("the command cannot be read: {error}")))
}

/// Refuses what a web page of somebody else's sends: browsers name the page's origin with every such request.
fn local(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let uri: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
    match uri.as_ref().and_then(Uri::host) {
        Some("127.0.0.1" | "localhost" | "[::1]") => Ok(()),
        _ => Err(Refusal::with(StatusCode::FORBIDDEN, "a web page from elsewhere may not command this chain")),
    }
}

fn regtest(address: Address<NetworkUnchecked>) -> Result<Address, Refusal> {
    address
        .require_network(Network::Regtest)
        .map_err(|_| Refusal::bad("not a regtest address: those begin with bcrt1, m, n or 2"))
}
