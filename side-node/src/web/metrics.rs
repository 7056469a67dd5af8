//! For a scraper: what [`crate::metrics`] makes of the groups that run.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::Web;
use crate::metrics::{self, MAX_GROUPS, Process};

/// The media type of this text form: OpenMetrics 1.0.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/metrics", get(page))
}

async fn page(State(web): State<Arc<Web>>) -> Response {
    let running: Vec<_> = web.mailbox.briefs().into_iter().filter(|group| group.running).collect();
    let mut statuses = Vec::new();
    for group in running.iter().take(MAX_GROUPS) {
        // A group that has just ended has no numbers; `side_node_groups` tells.
        let Ok(mailbox) = web.mailbox.of(&group.group) else { continue };
        if let Ok(status) = mailbox.status().await {
            statuses.push(status);
        }
    }
    match metrics::page(&statuses, Process::read()) {
        Ok(page) => ([(header::CONTENT_TYPE, MEDIA_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
