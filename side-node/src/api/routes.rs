//! The paths of the API, as one table: docs/api/openapi.json describes each of them, and a test holds the two together.
//!
//! - `GET` only reads, and is served to whoever reaches the node's page as well. Everything else is for the control socket alone.
//! - `{group}` is one of the node's groups: alias, id or the beginning of that; `-` is the default group.
//! - An answer is one JSON document. What cannot be answered has `{"error":{…}}`, a [`WireError`], and the status that belongs to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, Router, on};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::control::{Ballot, MAX_REQUEST_BYTES, Verb, WireError};
use super::stream;
use crate::daemon::Mailbox;
use crate::daemon::groups::{GroupAction, InviteOptions};
use crate::error::CommandError;

/// The description of the API (OpenAPI 3.1).
pub const OPENAPI: &str = include_str!("../../../docs/api/openapi.json");
/// The default group in a path.
pub const DEFAULT_GROUP: &str = "-";
/// Most followers, exports and imports at once: each holds a connection for long, and half of those stay free for short questions.
pub const MAX_STREAMS: usize = 16;

/// What serves the paths.
#[derive(Debug, Clone)]
pub struct Api {
    pub(super) mailbox: Mailbox,
    /// For what takes long.
    pub(super) streams: Arc<Semaphore>,
}

impl Api {
    /// The API of a running node.
    pub fn new(mailbox: Mailbox) -> Self {
        Self { mailbox, streams: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }
}

/// One path with one method.
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, its parameters in braces.
    pub path: &'static str,
    /// The parameters of the query; all of them are numbers, and none is required.
    pub query: &'static [&'static str],
    action: Action,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

enum Action {
    /// Asks this verb.
    Ask(fn(&Asked) -> Result<Verb, CommandError>),
    Document,
    Events,
    Export,
    Import,
}

/// What a request asks.
#[derive(Debug, Default)]
pub(super) struct Asked {
    path: BTreeMap<String, String>,
    query: BTreeMap<String, u64>,
    body: Bytes,
}

impl Asked {
    /// The group that is meant, unless it is the default.
    pub(super) fn group(&self) -> Option<&str> {
        self.path.get("group").map(String::as_str).filter(|group| *group != DEFAULT_GROUP)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.query.get(name).copied()
    }

    fn group_word(&self) -> Option<String> {
        self.group().map(str::to_owned)
    }

    fn word(&self, name: &str) -> String {
        self.path.get(name).cloned().unwrap_or_default()
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, CommandError> {
        serde_json::from_slice(&self.body).map_err(|e| CommandError::usage(format!("the body does not read: {e}")))
    }
}

/// The body of a note.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
}

/// The body of a transfer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    to: String,
    amount: u64,
}

/// The body of a word about a swap.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwapWord {
    kind: String,
    body: serde_json::Value,
}

/// The body of a join.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    invitation: String,
    #[serde(default)]
    alias: Option<String>,
}

/// The body of a backup.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    to: PathBuf,
}

/// The body of an invitation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invite {
    #[serde(default)]
    relay: Option<String>,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    no_checkpoint: bool,
}

const fn get(
    path: &'static str,
    query: &'static [&'static str],
    ask: fn(&Asked) -> Result<Verb, CommandError>,
) -> Route {
    Route { method: "GET", path, query, action: Action::Ask(ask) }
}

const fn post(path: &'static str, ask: fn(&Asked) -> Result<Verb, CommandError>) -> Route {
    Route { method: "POST", path, query: &[], action: Action::Ask(ask) }
}

const fn groups(action: GroupAction) -> Result<Verb, CommandError> {
    Ok(Verb::Groups { action })
}

/// All of them.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/v1/openapi.json", query: &[], action: Action::Document },
    get("/v1/groups", &[], |_| groups(GroupAction::List)),
    get("/v1/groups/{group}", &[], |asked| groups(GroupAction::Show { group: asked.group_word() })),
    get("/v1/groups/{group}/status", &[], |_| Ok(Verb::Status)),
    get("/v1/groups/{group}/glance", &["unlike"], |asked| Ok(Verb::Glance { unlike: asked.number("unlike") })),
    get("/v1/groups/{group}/history", &["limit"], |asked| Ok(Verb::History { limit: asked.number("limit") })),
    get("/v1/groups/{group}/blocks", &["limit"], |asked| {
        Ok(Verb::Blocks { limit: asked.number("limit").unwrap_or(super::control::DEFAULT_BLOCKS) })
    }),
    get("/v1/groups/{group}/balances", &[], |_| Ok(Verb::Balance)),
    get("/v1/groups/{group}/peers", &[], |_| Ok(Verb::Peers)),
    get("/v1/groups/{group}/members", &[], |_| Ok(Verb::Members)),
    get("/v1/groups/{group}/checkpoint", &[], |_| Ok(Verb::Checkpoint)),
    get("/v1/groups/{group}/swaps", &[], |_| Ok(Verb::Swaps)),
    get("/v1/groups/{group}/proofs/{transaction}", &["from"], |asked| {
        Ok(Verb::Proof { transaction: asked.word("transaction"), from: asked.number("from") })
    }),
    Route { method: "GET", path: "/v1/groups/{group}/events", query: &["from", "height"], action: Action::Events },
    Route { method: "GET", path: "/v1/groups/{group}/changes", query: &[], action: Action::Export },
    post("/v1/groups", |asked| {
        let Join { invitation, alias } = asked.body()?;
        groups(GroupAction::Join { invitation, alias })
    }),
    Route {
        method: "DELETE",
        path: "/v1/groups/{group}",
        query: &[],
        action: Action::Ask(|asked| groups(GroupAction::Leave { group: asked.word("group") })),
    },
    post("/v1/groups/{group}/default", |asked| groups(GroupAction::Use { group: asked.word("group") })),
    post("/v1/groups/{group}/invitations", |asked| {
        let Invite { relay, secret, no_checkpoint } = asked.body()?;
        groups(GroupAction::Invite(InviteOptions { group: asked.group_word(), relay, secret, no_checkpoint }))
    }),
    post("/v1/backups", |asked| {
        let Backup { to } = asked.body()?;
        Ok(Verb::Backup { to })
    }),
    post("/v1/groups/{group}/notes", |asked| {
        let Note { text } = asked.body()?;
        Ok(Verb::Note { text })
    }),
    post("/v1/groups/{group}/transfers", |asked| {
        let Transfer { to, amount } = asked.body()?;
        Ok(Verb::Send { to, amount })
    }),
    post("/v1/groups/{group}/votes", |asked| {
        let ballot: Ballot = asked.body()?;
        Ok(Verb::Vote { ballot })
    }),
    post("/v1/groups/{group}/swap-words", |asked| {
        let SwapWord { kind, body } = asked.body()?;
        Ok(Verb::Swap { kind, body })
    }),
    Route { method: "POST", path: "/v1/groups/{group}/changes", query: &[], action: Action::Import },
];

/// Serves what only reads.
pub fn read_router(api: Api) -> Router {
    router(api, only_reads)
}

/// Whether a path changes nothing, so that whoever reaches the page may ask it.
fn only_reads(route: &Route) -> bool {
    route.method == "GET"
}

/// Serves everything.
pub fn full_router(api: Api) -> Router {
    router(api, |_| true)
}

fn router(api: Api, served: fn(&Route) -> bool) -> Router {
    let mut router = Router::new();
    for route in ROUTES.iter().filter(|route| served(route)) {
        let method = match route.method {
            "GET" => MethodFilter::GET,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::POST,
        };
        let handler = move |State(api): State<Api>, params: RawPathParams, request: Request| async move {
            answer(route, api, &params, request).await.unwrap_or_else(|error| failure(error.into()))
        };
        router = router.route(route.path, on(method, handler));
    }
    router.with_state(api)
}

/// What is answered where nothing is: for [`Router::fallback`].
pub async fn nothing_here(request: Request) -> Response {
    let error =
        CommandError::usage(format!("nothing is at {}", request.uri().path().chars().take(200).collect::<String>()))
            .hint("see /v1/openapi.json");
    with_status(StatusCode::NOT_FOUND, error.into())
}

/// What is answered where something is that has no such method: for [`Router::method_not_allowed_fallback`].
pub async fn no_such_method(request: Request) -> Response {
    let error = CommandError::usage(format!("nothing takes {} there", request.method())).hint("see /v1/openapi.json");
    with_status(StatusCode::METHOD_NOT_ALLOWED, error.into())
}

async fn answer(
    route: &'static Route,
    api: Api,
    params: &RawPathParams,
    request: Request,
) -> Result<Response, CommandError> {
    let (parts, body) = request.into_parts();
    let mut asked = Asked {
        path: params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        query: numbers(route, parts.uri.query().unwrap_or_default())?,
        body: Bytes::new(),
    };
    match route.action {
        Action::Ask(verb) => {
            if route.method == "POST" {
                asked.body = axum::body::to_bytes(body, MAX_REQUEST_BYTES).await.map_err(|_| {
                    CommandError::usage(format!("the body has more than {MAX_REQUEST_BYTES} bytes, or broke off"))
                })?;
            }
            let value = api.mailbox.ask_in(asked.group(), verb(&asked)?).await?;
            json(StatusCode::OK, &value)
        }
        Action::Document => Ok(([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()),
        Action::Events => stream::events(api, &asked, &parts.headers).await,
        Action::Export => stream::export(api, &asked).await,
        Action::Import => {
            let report = stream::import(api, &asked, body).await?;
            json(StatusCode::OK, &report)
        }
    }
}

fn numbers(route: &Route, query: &str) -> Result<BTreeMap<String, u64>, CommandError> {
    let mut numbers = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = route.query.contains(&name);
        let number = value.parse().ok().filter(|_| known);
        let number = number.ok_or_else(|| {
            CommandError::usage(format!("the query does not read: {}", pair.chars().take(100).collect::<String>()))
                .hint(match route.query {
                    [] => "this path takes none".to_owned(),
                    known => format!("this path takes numbers: {}", known.join(", ")),
                })
        })?;
        numbers.insert(name.to_owned(), number);
    }
    Ok(numbers)
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Result<Response, CommandError> {
    let text = serde_json::to_vec(value).map_err(|e| CommandError::bug(format!("cannot write an answer: {e}")))?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response())
}

/// An error with the status that belongs to it.
pub(super) fn failure(error: WireError) -> Response {
    let status = match error.kind.as_str() {
        _ if error.busy => StatusCode::SERVICE_UNAVAILABLE,
        "usage" => StatusCode::BAD_REQUEST,
        "remote" => StatusCode::SERVICE_UNAVAILABLE,
        "bug" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    with_status(status, error)
}

fn with_status(status: StatusCode, error: WireError) -> Response {
    let body = serde_json::json!({ "error": error });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::api::client::Wire;

    /// The route of a request, and what it asks.
    fn routed(wire: &Wire) -> (&'static Route, Asked) {
        let (path, query) = wire.path.split_once('?').unwrap_or((&wire.path, ""));
        let parts: Vec<&str> = path.split('/').collect();
        for route in ROUTES.iter().filter(|route| route.method == wire.method) {
            let wanted: Vec<&str> = route.path.split('/').collect();
            let is_name = |part: &str| part.starts_with('{');
            let fits = |(wanted, part): (&&str, &&str)| is_name(wanted) || wanted == part;
            if wanted.len() == parts.len() && wanted.iter().zip(&parts).all(fits) {
                let named = wanted.iter().zip(&parts).filter(|(wanted, _)| is_name(wanted));
                let path = named.map(|(name, part)| (name.trim_matches(['{', '}']).to_owned(), decoded(part)));
                let body = wire.body.as_ref().map(ToString::to_string).unwrap_or_default();
                let query = numbers(route, query).unwrap();
                return (route, Asked { path: path.collect(), query, body: body.into() });
            }
        }
        panic!("no route for {wire:?}");
    }

    fn decoded(part: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = part.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first == b'%' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
                rest = &after[2..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    /// Each verb that is a question, with all that it can carry.
    fn verbs() -> Vec<Verb> {
        let group = || Some("team".to_owned());
        vec![
            Verb::Note { text: "hi \"there\"".into() },
            Verb::History { limit: None },
            Verb::History { limit: Some(3) },
            Verb::Status,
            Verb::Peers,
            Verb::Members,
            Verb::Checkpoint,
            Verb::Swap { kind: "swap.cancel".into(), body: serde_json::json!({ "swap": "ab", "to": "cd" }) },
            Verb::Swaps,
            Verb::Send { to: "node2".into(), amount: u64::MAX },
            Verb::Vote { ballot: Ballot::Leader { node: "node2".into() } },
            Verb::Vote { ballot: Ballot::Member { node: "node2".into(), joins: false } },
            Verb::Vote { ballot: Ballot::Ask {} },
            Verb::Blocks { limit: 7 },
            Verb::Balance,
            Verb::Glance { unlike: None },
            Verb::Glance { unlike: Some(9) },
            Verb::Backup { to: "/tmp/a copy".into() },
            Verb::Proof { transaction: "a/b ü?#%".into(), from: Some(4) },
            Verb::Groups { action: GroupAction::List },
            Verb::Groups { action: GroupAction::Show { group: group() } },
            Verb::Groups { action: GroupAction::Show { group: None } },
            Verb::Groups { action: GroupAction::Join { invitation: "side://x".into(), alias: None } },
            Verb::Groups { action: GroupAction::Join { invitation: "side://x".into(), alias: group() } },
            Verb::Groups { action: GroupAction::Leave { group: "team".into() } },
            Verb::Groups { action: GroupAction::Use { group: "team".into() } },
            Verb::Groups {
                action: GroupAction::Invite(InviteOptions {
                    group: group(),
                    relay: None,
                    secret: true,
                    no_checkpoint: false,
                }),
            },
        ]
    }

    #[test]
    fn a_body_is_what_is_described_and_nothing_more() {
        let mut looked_at = BTreeSet::new();
        for verb in verbs() {
            let wire = Wire::of(None, &verb).unwrap();
            let Some(Value::Object(fields)) = &wire.body else { continue };
            let asked = |body: Value| {
                let (route, asked) = routed(&Wire { body: Some(body), ..Wire::of(None, &verb).unwrap() });
                let Action::Ask(ask) = &route.action else { panic!("{route:?} is no question") };
                ask(&asked)
            };
            if fields.is_empty() {
                // Nothing is read.
                continue;
            }
            looked_at.insert(wire.path.clone());
            let mut more = fields.clone();
            more.insert("more".to_owned(), 1.into());
            let error = asked(Value::Object(more)).unwrap_err();
            assert!(error.message().contains("does not read") && error.message().contains("more"), "{wire:?}: {error}");
            for name in fields.keys().filter(|name| *name != "body") {
                let mut other = fields.clone();
                other.insert(name.clone(), serde_json::json!([{}]));
                assert!(asked(Value::Object(other)).is_err(), "{wire:?}: {name}");
            }
            assert!(asked(Value::Null).is_err(), "{wire:?}");
        }
        assert_eq!(looked_at.len(), 7, "{looked_at:?}");
    }

    #[test]
    fn an_error_has_the_status_that_belongs_to_it() {
        let status = |error: CommandError| failure(error.into()).status().as_u16();
        assert_eq!(status(CommandError::usage("x")), 400);
        assert_eq!(status(CommandError::user("x")), 422);
        assert_eq!(status(CommandError::bug("x")), 500);
        assert_eq!(status(CommandError::remote("x")), 503);
        // What may be asked again is told apart from what may not, whoever is to blame.
        assert_eq!(status(CommandError::user("x").busy()), 503);
    }

    #[test]
    fn what_is_served_beside_the_socket_is_what_only_reads() {
        let read: Vec<&Route> = ROUTES.iter().filter(|route| only_reads(route)).collect();
        assert!(read.iter().all(|route| route.method == "GET") && read.len() > 10);
        assert_eq!(read.len(), ROUTES.iter().filter(|route| route.method == "GET").count());
    }

    #[test]
    fn what_the_client_asks_is_what_the_node_is_asked() {
        let mut asked_for = BTreeSet::new();
        for verb in verbs() {
            let wire = Wire::of(Some("a group"), &verb).unwrap();
            let (route, asked) = routed(&wire);
            asked_for.insert((route.method, route.path));
            let Action::Ask(ask) = &route.action else { panic!("{route:?} is no question") };
            assert_eq!(ask(&asked).unwrap(), verb, "{wire:?}");
            if !matches!(verb, Verb::Groups { .. } | Verb::Backup { .. }) {
                assert_eq!(asked.group(), Some("a group"));
                assert_eq!(routed(&Wire::of(None, &verb).unwrap()).1.group(), None);
            }
            // What is served beside the control socket changes nothing.
            assert!(verb.only_reads() || route.method != "GET", "{route:?}");
        }
        let questions = ROUTES.iter().filter(|route| matches!(route.action, Action::Ask(_)));
        assert_eq!(asked_for, questions.map(|route| (route.method, route.path)).collect());
    }

    #[test]
    fn the_document_has_every_path_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described = BTreeMap::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let mut parameters = BTreeSet::new();
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let parameter = match parameter["$ref"].as_str() {
                        Some(to) => document.pointer(to.strip_prefix('#').unwrap()).unwrap(),
                        None => parameter,
                    };
                    let place = parameter["in"].as_str().unwrap();
                    parameters.insert(format!("{place} {}", parameter["name"].as_str().unwrap()));
                }
                described.insert((method.to_uppercase(), path.clone()), parameters);
            }
        }
        let served = ROUTES.iter().map(|route| {
            let named = route.path.split('/').filter(|part| part.starts_with('{'));
            let mut parameters: BTreeSet<String> =
                named.map(|part| format!("path {}", part.trim_matches(['{', '}']))).collect();
            parameters.extend(route.query.iter().map(|name| format!("query {name}")));
            ((route.method.to_owned(), route.path.to_owned()), parameters)
        });
        assert_eq!(described, served.collect());
    }

    #[test]
    fn a_query_that_does_not_read_is_refused() {
        let history = ROUTES.iter().find(|route| route.path.ends_with("/history")).unwrap();
        assert_eq!(numbers(history, "limit=3").unwrap()["limit"], 3);
        assert!(numbers(history, "").unwrap().is_empty());
        for query in
            ["limit", "limit=", "limit=-1", "limit=x", "limits=3", "limit=3&other=1", "=", "limit=99999999999999999999"]
        {
            assert!(numbers(history, query).is_err(), "{query}");
        }
    }
}
