//! `/mempool…` and `/fee-estimates`.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::get;

use super::reply::{Refusal, Reply, json};
use crate::handle::Handle;

/// Ids that a page of `/mempool/txids/page` holds, if not asked for fewer.
const TXIDS: usize = 10_000;

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/mempool", get(backlog))
        .route("/mempool/txids", get(txids))
        .route("/mempool/txids/page", get(first_page))
        .route("/mempool/txids/page/{last}", get(page))
        .route("/mempool/recent", get(recent))
        .route("/fee-estimates", get(fee_estimates))
}

async fn backlog(State(chain): State<Handle>) -> Reply {
    Ok(json(&chain.index().pool.backlog()))
}

async fn txids(State(chain): State<Handle>) -> Reply {
    Ok(json(&chain.index().pool.txids().collect::<Vec<_>>()))
}

#[derive(serde::Deserialize)]
struct PageSize {
    max_txs: Option<usize>,
}

async fn first_page(State(chain): State<Handle>, Query(size): Query<PageSize>) -> Reply {
    let most = size.max_txs.unwrap_or(TXIDS);
    Ok(json(&chain.index().pool.txids().take(most).collect::<Vec<_>>()))
}

async fn page(State(chain): State<Handle>, Path(last): Path<String>, Query(size): Query<PageSize>) -> Reply {
    let most = size.max_txs.unwrap_or(TXIDS);
    let last = last.parse().ok();
    Ok(json(&chain.index().pool.txids_after(last.as_ref()).take(most).collect::<Vec<_>>()))
}

async fn recent(State(chain): State<Handle>) -> Reply {
    Ok(json(chain.index().pool.recent()))
}

async fn fee_estimates(State(chain): State<Handle>) -> Reply {
    let estimates = chain.fees().await.map_err(Refusal::from)?;
    Ok(json(&estimates.targets))
}
