//! The four pages: a few words for people, and what supervisors and Prometheus ask for.

use super::Shared;
use crate::protocol::limits::MAX_LISTED_GROUPS;

const TEXT: &str = "text/plain; charset=utf-8";

/// The status line, content type and body of the page at `path`.
pub(super) fn page(shared: &Shared, path: &str) -> (&'static str, &'static str, String) {
    match path {
        "/" => ("200 OK", TEXT, front(shared)),
        "/healthz" => ("200 OK", TEXT, "ok\n".to_owned()),
        "/readyz" => ready(shared),
        "/metrics" => ("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", shared.metrics.encode()),
        _ => ("404 Not Found", TEXT, "there is /, /healthz, /readyz and /metrics\n".to_owned()),
    }
}

fn ready(shared: &Shared) -> (&'static str, &'static str, String) {
    let stopping = shared.stop.is_cancelled();
    let store = shared.hub.store_fault();
    let ready = !stopping && store.is_none();
    let body = serde_json::json!({
        "ready": ready,
        "store": store.as_deref().unwrap_or("ok"),
        "stopping": stopping,
    });
    let status = if ready { "200 OK" } else { "503 Service Unavailable" };
    (status, "application/json", format!("{body}\n"))
}

fn front(shared: &Shared) -> String {
    let (total, carried) = shared.hub.carried();
    let mut page = format!(
        "side-watcher {}\n\nA relay for Side groups. Nodes connect to this address as a websocket.\n\nrelay identity  {}\nconnections     {}\n\
         groups carried  {total}\n",
        env!("CARGO_PKG_VERSION"),
        shared.identity.author(),
        shared.metrics.connections.get(),
    );
    for group in carried.iter().take(MAX_LISTED_GROUPS) {
        page.push_str(&format!("  {}  {}\n", group.group, group.name));
    }
    page.push_str("\nfor machines: /healthz /readyz /metrics\n");
    page
}
