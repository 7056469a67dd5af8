//! Takes connections, within bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::{Shared, connection};
use crate::metrics::count;

/// How long to wait after the system refused to give a connection, which mostly means that no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>, connections: TaskTracker) {
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                number += 1;
                take(stream, from, number, &shared, &connections);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                count(&shared.metrics.turned_away, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn take(stream: TcpStream, from: SocketAddr, number: u64, shared: &Arc<Shared>, connections: &TaskTracker) {
    let limits = &shared.config.limits;
    shared.metrics.accepted.inc();
    if connections.len() >= limits.max_connections {
        // Dropping it is the cheapest answer, and cheap is what counts when there are too many.
        count(&shared.metrics.turned_away, "full");
        return;
    }
    let address = from.ip().to_canonical();
    // Behind a proxy on this machine all clients come from the loopback address.
    let counted = !address.is_loopback();
    if counted && !shared.addresses.enter(&address, limits.max_connections_per_ip) {
        count(&shared.metrics.turned_away, "address");
        return;
    }
    let evicted = shared.handshakes.enter(number, limits.max_handshakes);
    let shared = shared.clone();
    connections.spawn(async move {
        let settled = {
            let shared = shared.clone();
            move || shared.handshakes.leave(number)
        };
        connection::serve(shared.clone(), stream, from, evicted, settled).await;
        shared.handshakes.leave(number);
        if counted {
            shared.addresses.leave(&address);
        }
    });
}
