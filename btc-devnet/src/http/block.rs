//! `/block/…`, `/block-height/…` and `/blocks…`.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use bitcoin::BlockHash;
use bitcoin::consensus::encode::{serialize, serialize_hex};
use serde::Serialize;

use super::reply::{Refusal, Reply, block_hash, bytes, json, number, text};
use super::script::PAGE;
use super::values::{Block, Transaction};
use crate::handle::Handle;
use crate::index::{Index, IndexedBlock};

/// Blocks that `/blocks` lists.
const BLOCKS: usize = 10;

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/block/{hash}", get(block))
        .route("/block/{hash}/status", get(status))
        .route("/block/{hash}/header", get(header))
        .route("/block/{hash}/raw", get(raw))
        .route("/block/{hash}/txids", get(txids))
        .route("/block/{hash}/txid/{position}", get(txid))
        .route("/block/{hash}/txs", get(first_transactions))
        .route("/block/{hash}/txs/{start}", get(transactions))
        .route("/block-height/{height}", get(at_height))
        .route("/blocks", get(newest))
        .route("/blocks/{start}", get(blocks))
        .route("/blocks/tip/hash", get(tip_hash))
        .route("/blocks/tip/height", get(tip_height))
}

async fn block(State(chain): State<Handle>, Path(hash): Path<String>) -> Reply {
    let hash = block_hash(&hash)?;
    Ok(json(&Block::new(find(&chain.index(), &hash)?)))
}

#[derive(Serialize)]
struct Standing {
    in_best_chain: bool,
    height: Option<u32>,
    next_best: Option<BlockHash>,
}

async fn status(State(chain): State<Handle>, Path(hash): Path<String>) -> Reply {
    let hash = block_hash(&hash)?;
    let index = chain.index();
    let block = index.chain.best_block(&hash);
    let next = block.and_then(|block| index.chain.block_at(block.height + 1));
    Ok(json(&Standing {
        in_best_chain: block.is_some(),
        height: block.map(|block| block.height),
        next_best: next.map(|next| next.hash),
    }))
}

async fn header(State(chain): State<Handle>, Path(hash): Path<String>) -> Reply {
    let hash = block_hash(&hash)?;
    Ok(text(serialize_hex(&find(&chain.index(), &hash)?.block.header)))
}

async fn raw(State(chain): State<Handle>, Path(hash): Path<String>) -> Reply {
    let hash = block_hash(&hash)?;
    Ok(bytes(serialize(&find(&chain.index(), &hash)?.block)))
}

async fn txids(State(chain): State<Handle>, Path(hash): Path<String>) -> Reply {
    let hash = block_hash(&hash)?;
    Ok(json(&find(&chain.index(), &hash)?.txids))
}

async fn txid(State(chain): State<Handle>, Path((hash, position)): Path<(String, String)>) -> Reply {
    let (hash, position) = (block_hash(&hash)?, number(&position)?);
    let index = chain.index();
    let txids = &find(&index, &hash)?.txids;
    txids.get(position as usize).map(text).ok_or_else(|| Refusal::missing("tx index out of range"))
}

async fn first_transactions(State(chain): State<Handle>, Path(hash): Path<String>) -> Reply {
    page(&chain.index(), &hash, 0)
}

async fn transactions(State(chain): State<Handle>, Path((hash, start)): Path<(String, String)>) -> Reply {
    // What is no number is taken for the beginning, as by the real server.
    page(&chain.index(), &hash, start.parse().unwrap_or(0))
}

fn page(index: &Index, hash: &str, start: u32) -> Reply {
    let block = find(index, &block_hash(hash)?)?;
    let start = start as usize;
    if start >= block.txids.len() {
        return Err(Refusal::missing("start index out of range"));
    }
    if !start.is_multiple_of(PAGE) {
        return Err(Refusal::bad(format!("start index must be a multipication of {PAGE}")));
    }
    let confirmed = index.chain.best_block(&block.hash).is_some();
    let found = (start..block.txids.len()).take(PAGE).filter_map(|position| block.transaction(position, confirmed));
    Ok(json(&found.map(|found| Transaction::new(&found, index.chain.network())).collect::<Vec<_>>()))
}

async fn at_height(State(chain): State<Handle>, Path(height): Path<String>) -> Reply {
    let height = number(&height)?;
    let index = chain.index();
    let block = index.chain.block_at(height).ok_or_else(missing)?;
    Ok(text(block.hash))
}

async fn newest(State(chain): State<Handle>) -> Reply {
    list(&chain.index(), None)
}

async fn blocks(State(chain): State<Handle>, Path(start): Path<String>) -> Reply {
    // What is no number is taken for the tip, as by the real server.
    list(&chain.index(), start.parse().ok())
}

fn list(index: &Index, start: Option<u64>) -> Reply {
    let tip = tip(index)?.height;
    let start = start.unwrap_or_else(|| tip.into());
    if start > tip.into() {
        return Err(missing());
    }
    let heights = (0..=start as u32).rev().take(BLOCKS);
    Ok(json(&heights.filter_map(|height| index.chain.block_at(height)).map(Block::new).collect::<Vec<_>>()))
}

async fn tip_hash(State(chain): State<Handle>) -> Reply {
    Ok(text(tip(&chain.index())?.hash))
}

async fn tip_height(State(chain): State<Handle>) -> Reply {
    Ok(text(tip(&chain.index())?.height))
}

fn tip(index: &Index) -> Result<&IndexedBlock, Refusal> {
    index.chain.tip().ok_or_else(missing)
}

fn find<'a>(index: &'a Index, hash: &BlockHash) -> Result<&'a IndexedBlock, Refusal> {
    index.chain.block(hash).ok_or_else(missing)
}

fn missing() -> Refusal {
    Refusal::missing("Block not found")
}
