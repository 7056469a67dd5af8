//! The HTTP side of a chain: Esplora's public API, the control API below `/devnet`, and a status page.
//!
//! - [`tx`], [`script`], [`block`], [`mempool`], [`broadcast`]: Esplora, one file for each family of paths.
//! - [`control`]: what a test or a person does to a chain: mine, reorganise, fund, move the clock.
//! - [`page`]: the status page at `/`.
//! - [`values`], [`reply`]: the documents, and what answers are made of.
//! - [`server`], [`patience`]: connections and their bounds.
//!
//! The README of this crate has a table of all paths.

mod block;
mod broadcast;
mod control;
mod mempool;
mod page;
mod patience;
mod reply;
mod script;
pub(crate) mod server;
mod tx;
mod values;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use crate::devnet::About;
use crate::handle::{CommandError, Handle, Stopped};
use reply::Refusal;

/// Everything that one chain answers.
pub(crate) fn router(chain: Handle, about: About) -> Router {
    let esplora = Router::new()
        .merge(tx::routes())
        .merge(script::routes())
        .merge(block::routes())
        .merge(mempool::routes())
        .merge(broadcast::routes())
        .layer(from_fn(open_to_browsers));
    esplora
        .merge(control::routes(about.clone()))
        .merge(page::routes(about))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(chain)
}

/// Wallets in a browser may ask, as at public servers. The control API is left out: no web page may rewrite a chain.
async fn open_to_browsers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal::missing(format!("endpoint does not exist {:?}", uri.path()))
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Self {
        Self::with(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string())
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Stopped(stopped) => stopped.into(),
            CommandError::Node(error) => Self::bad(error.to_string()),
        }
    }
}
