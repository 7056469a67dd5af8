//! The style, the script and the mark: in the program itself, so that a page needs nothing from anywhere.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Web;

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
const MARK: &str = include_str!("assets/mark.svg");

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/assets/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/assets/page.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/assets/mark.svg", get(|| async { asset("image/svg+xml", MARK) }))
}

/// The pages name an asset with [`edition`], so whoever has it never needs it again.
fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "private, max-age=31536000, immutable")], text)
}

/// A word that changes with the assets.
pub(super) fn edition() -> &'static str {
    static EDITION: OnceLock<String> = OnceLock::new();
    EDITION.get_or_init(|| {
        let all = [STYLE, SCRIPT, MARK].concat();
        hex::encode(&bft_json_crdt::hash::hash("side/node/page-assets", all.as_bytes())[..6])
    })
}
