//! For supervisors: whether the node lives, and whether it does its work.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Web;
use crate::daemon::groups::GroupBrief;

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

async fn alive() -> &'static str {
    "ok\n"
}

/// 200 when everything is stored and every group runs; else 503 and what is not.
async fn ready(State(web): State<Arc<Web>>) -> Response {
    let disk = web.mailbox.disk_failure().map(|error| error.message().to_owned());
    let (status, body) = readiness(disk, web.stop.is_cancelled(), &web.mailbox.briefs());
    (status, Json(body)).into_response()
}

fn readiness(disk: Option<String>, stopping: bool, groups: &[GroupBrief]) -> (StatusCode, Value) {
    let ready = disk.is_none() && !stopping && groups.iter().all(|group| group.running);
    let groups: Vec<_> = groups
        .iter()
        .map(|group| json!({ "group": group.group, "alias": group.alias, "running": group.running, "problem": group.problem }))
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body =
        json!({ "ready": ready, "stopping": stopping, "disk": disk.as_deref().unwrap_or("ok"), "groups": groups });
    (status, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trouble_is_enough_not_to_be_ready() {
        let brief = |running: bool, problem: Option<&str>| -> GroupBrief {
            serde_json::from_value(json!({
                "group": "g", "alias": "team", "name": "team", "default": true, "running": running, "problem": problem
            }))
            .unwrap()
        };
        let (good, ended) = (brief(true, None), brief(false, Some("its record is damaged")));
        let both = [good.clone(), ended];
        let (status, body) = readiness(None, false, &[good.clone(), good.clone()]);
        assert_eq!((status, &body["ready"], &body["disk"]), (StatusCode::OK, &json!(true), &json!("ok")));
        for (disk, stopping, groups, told) in [
            (Some("the disk is full"), false, std::slice::from_ref(&good), json!({ "disk": "the disk is full" })),
            (None, true, std::slice::from_ref(&good), json!({ "stopping": true })),
            (None, false, &both, json!({ "disk": "ok", "stopping": false })),
        ] {
            let (status, body) = readiness(disk.map(str::to_owned), stopping, groups);
            assert_eq!((status, &body["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)), "{body}");
            for (name, value) in told.as_object().unwrap() {
                assert_eq!(&body[name], value);
            }
            if let Some(group) = body["groups"].get(1) {
                assert_eq!((&group["running"], &group["problem"]), (&json!(false), &json!("its record is damaged")));
            }
        }
    }
}
