//! For supervisors: whether the node lives, and whether it does its work.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::Web;

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

async fn alive() -> &'static str {
    "ok\n"
}

/// 200 when everything is stored and every group runs; else 503 and what is not.
async fn ready(State(web): State<Arc<Web>>) -> Response {
    let disk = web.mailbox.disk_failure().map(|error| error.message().to_owned());
    let groups = web.mailbox.briefs();
    let stopping = web.stop.is_cancelled();
    let ready = disk.is_none() && !stopping && groups.iter().all(|group| group.running);
    let groups: Vec<_> = groups
        .iter()
        .map(|group| json!({ "group": group.group, "alias": group.alias, "running": group.running, "problem": group.problem }))
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body =
        json!({ "ready": ready, "stopping": stopping, "disk": disk.as_deref().unwrap_or("ok"), "groups": groups });
    (status, Json(body)).into_response()
}
