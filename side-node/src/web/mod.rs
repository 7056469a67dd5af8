//! The page of a running node, on loopback: the groups at a glance, live, for whoever sits at this machine. It reads and never writes.
//!
//! ```text
//!  browser ─▶ http_server: so many connections, so long ─▶ guard: GET, a loopback name, no other site ─▶ router
//!                                                                                                    ├ pages    HTML, rendered here
//!  SSE ◀── events ◀── gallery: one painter a group, as long as somebody looks ◀── glance ◀───────────┤ events   the parts that have changed
//!                                                                                                    ├ assets   in the program itself
//!                                                                                                    ├ health   for supervisors
//!                                                                                                    └ metrics  for scrapers
//! ```
//! Rules:
//! - Everything that members write is a stranger's text: `view` puts it in through maud, which escapes it, and cuts it to a length.
//! - What a client may take in connections, followers, bytes and time is a named constant here and in `guard` and `events`.
//! - Nothing here keeps a change of a group waiting: a slow reader gets the latest picture, not all of them.

mod assets;
mod events;
mod gallery;
mod guard;
mod health;
mod metrics;
mod pages;
pub mod place;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::daemon::Mailbox;
use crate::http_server::{self, Limits};

/// What clients of the page may take.
const LIMITS: Limits = Limits {
    // A browser opens six to one server, and there are a few tabs, scripts and a collector of metrics.
    connections: 128,
    head: Duration::from_secs(15),
    // Browsers send one or two thousand bytes here.
    head_bytes: 16 << 10,
    unread: Some(Duration::from_secs(15)),
    grace: Duration::from_secs(1),
};

/// What the handlers share.
pub(crate) struct Web {
    /// The way to the node's groups.
    pub(crate) mailbox: Mailbox,
    gallery: gallery::Gallery,
    followers: events::Followers,
    stop: CancellationToken,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Web({:?})", self.mailbox)
    }
}

/// Everything that is served. A further kind of reader is one more `merge`.
fn router(web: Arc<Web>) -> Router {
    Router::new()
        .merge(pages::routes())
        .merge(events::routes())
        .merge(assets::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .with_state(web.clone())
        .merge(api::routes::read_router(api::routes::Api::new(web.mailbox.clone())))
        .fallback(pages::nothing_there)
        .layer(middleware::from_fn(guard::guard))
}

/// Serves until `stop`, then lets open requests end.
pub(crate) async fn serve(listener: TcpListener, mailbox: Mailbox, stop: CancellationToken) {
    let web = Arc::new(Web {
        mailbox,
        gallery: gallery::Gallery::new(stop.clone()),
        followers: events::Followers::default(),
        stop: stop.clone(),
    });
    http_server::serve(listener, router(web), LIMITS, stop).await;
}

/// The address of the page as a browser takes it.
pub(crate) fn url(at: SocketAddr) -> String {
    format!("http://{at}/")
}
