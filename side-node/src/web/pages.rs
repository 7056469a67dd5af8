//! The pages: one for each group of the node.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;

use super::Web;
use super::view::{self, Part};
use crate::daemon::Mailbox;
use crate::error::CommandError;

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/", get(front)).route("/g/{group}", get(group))
}

/// The page of the default group.
async fn front(State(web): State<Arc<Web>>) -> Response {
    show(web.mailbox.of_default()).await
}

/// The page of the group that a word means: its alias, its id or the beginning of that.
async fn group(State(web): State<Arc<Web>>, Path(word): Path<String>) -> Response {
    show(web.mailbox.of(&word)).await
}

async fn show(mailbox: Result<Mailbox, CommandError>) -> Response {
    let mailbox = match mailbox {
        Ok(mailbox) => mailbox,
        Err(error) => return (StatusCode::NOT_FOUND, Html(view::failure(&error).into_string())).into_response(),
    };
    match look(&mailbox).await {
        Ok(parts) => {
            let group = mailbox.group().to_string();
            let brief = mailbox.briefs().into_iter().find(|brief| brief.group == group);
            let alias = brief.map_or_else(String::new, |brief| brief.alias);
            Html(view::page(&alias, &group, &parts).into_string()).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Html(view::failure(&error).into_string())).into_response(),
    }
}

/// Looks at a group and draws it.
pub(super) async fn look(mailbox: &Mailbox) -> Result<Vec<Part>, CommandError> {
    let glance = mailbox.glance().await?;
    Ok(view::parts(&glance, &mailbox.briefs()))
}

/// For every other path.
pub(super) async fn nothing_there() -> Response {
    let error = CommandError::usage("there is nothing at this address").hint("begin at /");
    (StatusCode::NOT_FOUND, Html(view::failure(&error).into_string())).into_response()
}
