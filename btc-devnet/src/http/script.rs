//! `/address/…`, `/scripthash/…` and `/address-prefix/…`: what happened to a script.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Network};
use serde::Serialize;

use super::reply::{Refusal, Reply, json};
use super::values::{Transaction, Utxo};
use crate::handle::Handle;
use crate::index::{Found, Index, PoolTransaction, ScriptHash, Stats};

/// Confirmed transactions a page.
pub(super) const PAGE: usize = 25;
/// Waiting transactions that a history tells at most.
const MOST_WAITING: usize = 50;
/// Addresses that a search finds at most.
const MOST_FOUND: usize = 10;

pub(super) fn routes() -> Router<Handle> {
    let mut router = Router::new().route("/address-prefix/{prefix}", get(prefix));
    for kind in [Kind::Address, Kind::ScriptHash] {
        let route = |rest: &str| format!("/{}/{{script}}{rest}", kind.name());
        router = router
            .route(&route(""), get(move |chain, path| async move { stats(kind, chain, path) }))
            .route(&route("/txs"), get(move |chain, path| async move { all(kind, chain, path) }))
            .route(&route("/txs/chain"), get(move |chain, path| async move { confirmed(kind, chain, path) }))
            .route(
                &route("/txs/chain/{last}"),
                get(move |chain, path| async move { confirmed_after(kind, chain, path) }),
            )
            .route(&route("/txs/mempool"), get(move |chain, path| async move { waiting(kind, chain, path) }))
            .route(&route("/utxo"), get(move |chain, path| async move { utxo(kind, chain, path) }));
    }
    router
}

/// How a path names a script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Address,
    ScriptHash,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::ScriptHash => "scripthash",
        }
    }

    fn parse(self, text: &str, network: Network) -> Result<ScriptHash, Refusal> {
        match self {
            Self::Address => {
                let address: Address<NetworkUnchecked> =
                    text.parse().map_err(|_| Refusal::bad("Invalid Bitcoin address"))?;
                let address =
                    address.require_network(network).map_err(|_| Refusal::bad("Address on invalid network"))?;
                Ok(ScriptHash::of(&address.script_pubkey()))
            }
            Self::ScriptHash if hex::decode(text).is_err() => Err(Refusal::bad("Invalid hex string")),
            Self::ScriptHash => text.parse().map_err(|_| Refusal::bad("Invalid scripthash")),
        }
    }
}

/// Named by an address, the address comes first; named by a hash, the hash comes last: keys are in the order of their letters.
#[derive(Serialize)]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    chain_stats: Stats,
    mempool_stats: Stats,
    #[serde(skip_serializing_if = "Option::is_none")]
    scripthash: Option<&'a str>,
}

fn stats(kind: Kind, State(chain): State<Handle>, Path(name): Path<String>) -> Reply {
    let index = chain.index();
    let script = kind.parse(&name, index.chain.network())?;
    let by_address = kind == Kind::Address;
    Ok(json(&Summary {
        address: by_address.then_some(&name),
        chain_stats: index.chain.stats(&script),
        mempool_stats: index.pool.stats(&script),
        scripthash: (!by_address).then_some(&name),
    }))
}

fn all(kind: Kind, State(chain): State<Handle>, Path(name): Path<String>) -> Reply {
    let index = chain.index();
    let script = kind.parse(&name, index.chain.network())?;
    let waiting = index.pool.history(&script).take(MOST_WAITING).map(PoolTransaction::found);
    Ok(transactions(&index, waiting.chain(index.chain.history(&script, None).take(PAGE))))
}

fn confirmed(kind: Kind, State(chain): State<Handle>, Path(name): Path<String>) -> Reply {
    let index = chain.index();
    let script = kind.parse(&name, index.chain.network())?;
    Ok(transactions(&index, index.chain.history(&script, None).take(PAGE)))
}

fn confirmed_after(kind: Kind, State(chain): State<Handle>, Path((name, last)): Path<(String, String)>) -> Reply {
    let index = chain.index();
    let script = kind.parse(&name, index.chain.network())?;
    // What is no id is taken for none, as by the real server.
    let last = last.parse().ok();
    Ok(transactions(&index, index.chain.history(&script, last.as_ref()).take(PAGE)))
}

fn waiting(kind: Kind, State(chain): State<Handle>, Path(name): Path<String>) -> Reply {
    let index = chain.index();
    let script = kind.parse(&name, index.chain.network())?;
    Ok(transactions(&index, index.pool.history(&script).take(MOST_WAITING).map(PoolTransaction::found)))
}

fn utxo(kind: Kind, State(chain): State<Handle>, Path(name): Path<String>) -> Reply {
    let index = chain.index();
    let script = kind.parse(&name, index.chain.network())?;
    let unspent = index.unspent(&script);
    Ok(json(&unspent.into_iter().map(Utxo::from).collect::<Vec<_>>()))
}

async fn prefix(State(chain): State<Handle>, Path(prefix): Path<String>) -> Reply {
    Ok(json(&chain.index().chain.addresses(&prefix, MOST_FOUND)))
}

fn transactions<'a>(index: &Index, found: impl Iterator<Item = Found<'a>>) -> axum::response::Response {
    json(&found.map(|found| Transaction::new(&found, index.chain.network())).collect::<Vec<_>>())
}
