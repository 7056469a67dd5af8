//! `/tx/…` and `/txs/outspends`: transactions, their proofs, and what spends their outputs.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use bitcoin::consensus::encode::{serialize, serialize_hex};
use bitcoin::{OutPoint, Txid};

use super::reply::{Refusal, Reply, bytes, json, number, text, txid};
use super::values::{OutSpend, Status, Transaction};
use crate::handle::Handle;
use crate::index::{Found, Index, merkle};

/// How many transactions `/txs/outspends` takes at once, as the real server does.
const MOST_TXIDS: usize = 50;

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/tx/{txid}", get(transaction))
        .route("/tx/{txid}/status", get(status))
        .route("/tx/{txid}/hex", get(hex))
        .route("/tx/{txid}/raw", get(raw))
        .route("/tx/{txid}/merkle-proof", get(merkle_proof))
        .route("/tx/{txid}/merkleblock-proof", get(merkleblock_proof))
        .route("/tx/{txid}/outspend/{vout}", get(outspend))
        .route("/tx/{txid}/outspends", get(outspends))
        .route("/txs/outspends", get(many_outspends))
}

async fn transaction(State(chain): State<Handle>, Path(id): Path<String>) -> Reply {
    let id = txid(&id)?;
    let index = chain.index();
    Ok(json(&Transaction::new(&find(&index, &id)?, index.chain.network())))
}

async fn status(State(chain): State<Handle>, Path(id): Path<String>) -> Reply {
    let id = txid(&id)?;
    Ok(json(&Status::from(chain.index().chain.confirmation(&id))))
}

async fn hex(State(chain): State<Handle>, Path(id): Path<String>) -> Reply {
    let id = txid(&id)?;
    Ok(text(serialize_hex(find(&chain.index(), &id)?.transaction)))
}

async fn raw(State(chain): State<Handle>, Path(id): Path<String>) -> Reply {
    let id = txid(&id)?;
    Ok(bytes(serialize(find(&chain.index(), &id)?.transaction)))
}

async fn merkle_proof(State(chain): State<Handle>, Path(id): Path<String>) -> Reply {
    let id = txid(&id)?;
    let index = chain.index();
    let place = index.chain.place(&id).ok_or_else(unconfirmed)?;
    let block = index.chain.block_at(place.height).ok_or_else(unconfirmed)?;
    let branch = merkle::branch(&block.txids, place.position as usize);
    let merkle: Vec<String> = branch.iter().map(ToString::to_string).collect();
    Ok(json(&serde_json::json!({ "block_height": place.height, "merkle": merkle, "pos": place.position })))
}

async fn merkleblock_proof(State(chain): State<Handle>, Path(id): Path<String>) -> Reply {
    let id = txid(&id)?;
    let index = chain.index();
    let place = index.chain.place(&id).ok_or_else(unconfirmed)?;
    let block = index.chain.block_at(place.height).ok_or_else(unconfirmed)?;
    Ok(text(serialize_hex(&merkle::block(block, &id))))
}

async fn outspend(State(chain): State<Handle>, Path((id, vout)): Path<(String, String)>) -> Reply {
    let outpoint = OutPoint::new(txid(&id)?, number(&vout)?);
    Ok(json(&OutSpend::from(chain.index().spend(&outpoint))))
}

async fn outspends(State(chain): State<Handle>, Path(id): Path<String>) -> Reply {
    let id = txid(&id)?;
    let index = chain.index();
    find(&index, &id)?;
    Ok(json(&spends(&index, &id)))
}

async fn many_outspends(State(chain): State<Handle>, Query(query): Query<HashMap<String, String>>) -> Reply {
    let ids: Vec<&str> = query.get("txids").ok_or_else(|| Refusal::bad("No txids specified"))?.split(',').collect();
    if ids.len() > MOST_TXIDS {
        return Err(Refusal::bad("Too many txids requested"));
    }
    let index = chain.index();
    let all = ids.into_iter().map(|id| id.parse().map(|id| spends(&index, &id)).unwrap_or_default());
    Ok(json(&all.collect::<Vec<_>>()))
}

/// What spends each output of a transaction; nothing, if it is not known.
fn spends(index: &Index, id: &Txid) -> Vec<OutSpend> {
    let outputs = index.transaction(id).map_or(0, |found| found.transaction.output.len() as u32);
    (0..outputs).map(|vout| index.spend(&OutPoint::new(*id, vout)).into()).collect()
}

fn find<'a>(index: &'a Index, id: &Txid) -> Result<Found<'a>, Refusal> {
    index.transaction(id).ok_or_else(|| Refusal::missing("Transaction not found"))
}

fn unconfirmed() -> Refusal {
    Refusal::missing("Transaction not found or is unconfirmed")
}
