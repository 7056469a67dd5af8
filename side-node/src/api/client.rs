//! Talking to a running node from another process: the client of the API.
//!
//! The commands use it, and so may any program on the machine that may read the node's folder. Every method is one request; [`Client::follow`] keeps the
//! connection. docs/api describes what is asked and answered.
//!
//! ```no_run
//! use side_node::api::client::Client;
//!
//! # async fn example() -> Result<(), side_node::api::client::ApiError> {
//! let client = Client::at("/home/me/.side/node1/control.sock");
//! let accepted = client.note("hello").await?;
//! println!("written as {}", accepted.entry.id);
//!
//! // Another of the node's groups, and what happens in it from now on.
//! let mut followed = client.in_group("team").follow(None, None).await?;
//! while let Some(event) = followed.next().await? {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, Response, header};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::control::{Ballot, MAX_RESPONSE_BYTES, UNKNOWN_OUTCOME, Verb, WireError};
use super::routes::DEFAULT_GROUP;
use crate::daemon::exchange::ImportReport;
use crate::daemon::glance::{Glance, Told};
use crate::daemon::groups::{Entered, GroupAction, GroupInfo, GroupList, InviteOptions, Invitee};
use crate::daemon::roll::{Mark, Roll};
use crate::daemon::view::{Accepted, Balances, Blocks, History, Peers, Proven, Status, Swaps};
use crate::error::CommandError;
use crate::home::NodeHome;

/// How long a node may take to answer unless somebody says otherwise: a digest over millions of changes on a loaded machine takes seconds.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What is asked to see whether a node is alive: what no group and no disk keeps waiting.
const ALIVE: &str = "/v1/openapi.json";
/// Most bytes of an event: an entry shows at most what a change holds, a MiB, escaped at up to six characters a byte.
pub const MAX_EVENT_BYTES: usize = 8 << 20;
/// Most bytes of an error.
const MAX_ERROR_BYTES: usize = 1 << 20;

/// Why a request has no answer.
#[derive(Debug, Error)]
pub enum ApiError {
    /// No node listens there.
    #[error("the node is not running")]
    NotRunning,
    /// The socket cannot be reached.
    #[error("cannot reach the node through {path}: {why}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// It takes longer than any answer should.
    #[error("the node does not answer")]
    NoAnswer,
    /// The connection broke before the answer was complete.
    #[error("the node broke off: {why}")]
    BrokeOff {
        /// Whether asking again does no harm. Otherwise it may have been done all the same.
        harmless: bool,
        /// What happened.
        why: String,
    },
    /// The node says no.
    #[error("{}", .0.message)]
    Refused(WireError),
    /// The answer is not of the form that this program knows.
    #[error("the running node answers in another form: {0}")]
    Form(String),
}

impl From<ApiError> for CommandError {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        match error {
            ApiError::NotRunning => Self::remote(text).hint("start it with: side-node run NODE"),
            ApiError::Unreachable { path, why } => {
                Self::io(format!("cannot reach the node through {}", path.display()), &why)
            }
            ApiError::NoAnswer => Self::remote(text).hint("see its console and its log"),
            ApiError::BrokeOff { harmless: true, .. } => {
                Self::remote(text).hint("it has probably stopped; try again").busy()
            }
            ApiError::BrokeOff { harmless: false, .. } => Self::remote(text).hint(UNKNOWN_OUTCOME),
            ApiError::Refused(error) => error.into(),
            ApiError::Form(_) => Self::bug(text),
        }
    }
}

/// A running node, and which of its groups is meant. Cheap to clone; each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    group: Option<String>,
    patience: Duration,
}

impl Client {
    /// The node that listens at a socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), group: None, patience: ANSWER_TIMEOUT }
    }

    /// The node of a folder.
    pub fn of(home: &NodeHome) -> Self {
        Self::at(home.control_socket())
    }

    /// The same node, about the group that a word means: alias, id or the beginning of that. Without, requests are about the default group.
    #[must_use]
    pub fn in_group(&self, group: impl Into<String>) -> Self {
        Self { group: Some(group.into()), ..self.clone() }
    }

    /// The same node, which may take so long to answer. What takes long by its nature, a copy of the database, may take longer, as long as the node answers
    /// something short within this time again and again.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How it stands with the node and the group.
    pub async fn status(&self) -> Result<Status, ApiError> {
        self.ask(&Verb::Status).await
    }

    /// The group at a glance, once its revision differs from `unlike`, or after a while all the same; at once without.
    pub async fn glance(&self, unlike: Option<u64>) -> Result<Glance, ApiError> {
        self.ask(&Verb::Glance { unlike }).await
    }

    /// The history, or its last `limit` entries.
    pub async fn history(&self, limit: Option<u64>) -> Result<History, ApiError> {
        self.ask(&Verb::History { limit }).await
    }

    /// The last `limit` blocks.
    pub async fn blocks(&self, limit: u64) -> Result<Blocks, ApiError> {
        self.ask(&Verb::Blocks { limit }).await
    }

    /// Who owns what.
    pub async fn balances(&self) -> Result<Balances, ApiError> {
        self.ask(&Verb::Balance).await
    }

    /// Who has written, and the ways to other nodes.
    pub async fn peers(&self) -> Result<Peers, ApiError> {
        self.ask(&Verb::Peers).await
    }

    /// Who belongs to the group.
    pub async fn members(&self) -> Result<Roll, ApiError> {
        self.ask(&Verb::Members).await
    }

    /// The block that a newcomer may start from, if there is one yet.
    pub async fn checkpoint(&self) -> Result<Option<Mark>, ApiError> {
        self.ask(&Verb::Checkpoint).await
    }

    /// What was said about swaps by this node or to it.
    pub async fn swap_words(&self) -> Result<Swaps, ApiError> {
        self.ask(&Verb::Swaps).await
    }

    /// A proof of what became of a transaction, for whoever trusts the block at height `from`, or the genesis.
    pub async fn proof(&self, transaction: &str, from: Option<u64>) -> Result<Proven, ApiError> {
        self.ask(&Verb::Proof { transaction: transaction.to_owned(), from }).await
    }

    /// Writes a note. It is signed and on disk when this returns, as everything that is written.
    pub async fn note(&self, text: &str) -> Result<Accepted, ApiError> {
        self.ask(&Verb::Note { text: text.to_owned() }).await
    }

    /// Gives some of the group's unit to a key. It counts once a block has it.
    pub async fn send(&self, to: &str, amount: u64) -> Result<Accepted, ApiError> {
        self.ask(&Verb::Send { to: to.to_owned(), amount }).await
    }

    /// Votes.
    pub async fn vote(&self, ballot: Ballot) -> Result<Accepted, ApiError> {
        self.ask(&Verb::Vote { ballot }).await
    }

    /// Says something about a swap (docs/protocol.md, section 10.1).
    pub async fn say_of_swap(&self, kind: &str, body: Value) -> Result<Accepted, ApiError> {
        self.ask(&Verb::Swap { kind: kind.to_owned(), body }).await
    }

    /// Writes a copy of the node's database to a new file, for a backup. It is the node's own process that writes, so take a whole path.
    pub async fn copy_database(&self, to: impl Into<PathBuf>) -> Result<(), ApiError> {
        self.ask::<Option<Value>>(&Verb::Backup { to: to.into() }).await.map(drop)
    }

    /// The node's groups.
    pub async fn groups(&self) -> Result<GroupList, ApiError> {
        self.ask(&Verb::Groups { action: GroupAction::List }).await
    }

    /// What the group is founded on.
    pub async fn group(&self) -> Result<GroupInfo, ApiError> {
        self.ask(&Verb::Groups { action: GroupAction::Show { group: self.group.clone() } }).await
    }

    /// Has the node join the group of an invitation.
    pub async fn join(&self, invitation: &str, alias: Option<&str>) -> Result<Entered, ApiError> {
        let action = GroupAction::Join { invitation: invitation.to_owned(), alias: alias.map(str::to_owned) };
        self.ask(&Verb::Groups { action }).await
    }

    /// Makes an invitation to the group; `options.group` is not looked at.
    pub async fn invite(&self, options: InviteOptions) -> Result<Invitee, ApiError> {
        let action = GroupAction::Invite(InviteOptions { group: self.group.clone(), ..options });
        self.ask(&Verb::Groups { action }).await
    }

    /// Asks a verb: what all of the above come to.
    pub async fn ask<T: DeserializeOwned>(&self, verb: &Verb) -> Result<T, ApiError> {
        let wire = Wire::of(self.group.as_deref(), verb)?;
        let harmless = verb.only_reads();
        let body = wire.body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = match verb.takes_long() {
            true => self.exchange_while_alive(wire.method, &wire.path, body, harmless).await?,
            false => self.exchange(wire.method, &wire.path, body, harmless, self.patience).await?,
        };
        let read = axum::body::to_bytes(Body::new(response.into_body()), MAX_RESPONSE_BYTES);
        let bytes = timeout(self.patience, read).await.map_err(|_| ApiError::NoAnswer)?;
        let bytes = bytes.map_err(|e| ApiError::BrokeOff { harmless, why: e.to_string() })?;
        serde_json::from_slice(&bytes).map_err(|e| ApiError::Form(e.to_string()))
    }

    /// Follows the group: the changes from number `from` on and the blocks above `height`, and then what happens; only the latter without. An event's
    /// numbers say where to go on after the connection has broken.
    pub async fn follow(&self, from: Option<u64>, height: Option<u64>) -> Result<Followed, ApiError> {
        let mut query = Vec::new();
        query.extend(from.map(|from| format!("from={from}")));
        query.extend(height.map(|height| format!("height={height}")));
        let path = self.path("events", &query);
        let response = self.exchange("GET", &path, Body::empty(), true, self.patience).await?;
        Ok(Followed { lines: Lines::new(Body::new(response.into_body()).into_data_stream(), MAX_EVENT_BYTES) })
    }

    /// The group's signed changes as the bytes of a file: see docs/api/export.md. The stream fails where it breaks off.
    pub async fn export(&self) -> Result<BodyDataStream, ApiError> {
        let response = self.exchange("GET", &self.path("changes", &[]), Body::empty(), true, self.patience).await?;
        Ok(Body::new(response.into_body()).into_data_stream())
    }

    /// Takes in the bytes of such a file. What the report calls new is on disk when this returns.
    pub async fn import<S>(&self, file: S) -> Result<ImportReport, ApiError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let path = self.path("changes", &[]);
        // As long as it takes: a file may be large.
        let response = self.exchange("POST", &path, Body::from_stream(file), true, Duration::MAX).await?;
        let bytes = axum::body::to_bytes(Body::new(response.into_body()), MAX_ERROR_BYTES).await;
        let bytes = bytes.map_err(|e| ApiError::BrokeOff { harmless: true, why: e.to_string() })?;
        serde_json::from_slice(&bytes).map_err(|e| ApiError::Form(e.to_string()))
    }

    fn path(&self, last: &str, query: &[String]) -> String {
        let group = self.group.as_deref().map_or_else(|| DEFAULT_GROUP.to_owned(), segment);
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        format!("/v1/groups/{group}/{last}{query}")
    }

    /// One request whose answer may take any time, as long as the node answers others: whenever it has been waited for so long as an answer may take, it is
    /// asked whether it is alive.
    async fn exchange_while_alive(
        &self,
        method: &str,
        path: &str,
        body: Body,
        harmless: bool,
    ) -> Result<Response<hyper::body::Incoming>, ApiError> {
        let mut answer = std::pin::pin!(self.exchange(method, path, body, harmless, Duration::MAX));
        let alive = async {
            loop {
                tokio::time::sleep(self.patience).await;
                match self.exchange("GET", ALIVE, Body::empty(), true, self.patience).await {
                    Ok(_) | Err(ApiError::Refused(_)) => {}
                    Err(error) => return Err::<std::convert::Infallible, _>(error),
                }
            }
        };
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            Err(error) = alive => match error {
                // What has become of the request is not known.
                ApiError::NotRunning | ApiError::BrokeOff { .. } => answer.await,
                error => Err(error),
            },
        }
    }

    /// One request, and an answer that is no error.
    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Body,
        harmless: bool,
        patience: Duration,
    ) -> Result<Response<hyper::body::Incoming>, ApiError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|why| match why.kind() {
            // No socket, or one that a killed process left behind.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ApiError::NotRunning,
            _ => ApiError::Unreachable { path: self.socket.clone(), why },
        })?;
        let broke_off = |e: hyper::Error| ApiError::BrokeOff { harmless, why: e.to_string() };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
        // It ends with the answer.
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let request = request.body(body).map_err(|e| ApiError::Form(e.to_string()))?;
        let answered = timeout(patience, sender.send_request(request)).await;
        let response = answered.map_err(|_| ApiError::NoAnswer)?.map_err(broke_off)?;
        if response.status().is_success() {
            return Ok(response);
        }
        #[derive(Deserialize)]
        struct Failure {
            error: WireError,
        }
        let status = response.status();
        let bytes = axum::body::to_bytes(Body::new(response.into_body()), MAX_ERROR_BYTES).await;
        let bytes = bytes.map_err(|e| ApiError::BrokeOff { harmless, why: e.to_string() })?;
        match serde_json::from_slice::<Failure>(&bytes) {
            Ok(failure) => Err(ApiError::Refused(failure.error)),
            Err(_) => Err(ApiError::Form(format!("status {status}"))),
        }
    }
}

/// What happens in a group, event by event.
#[derive(Debug)]
pub struct Followed {
    lines: Lines,
}

impl Followed {
    /// The next event, once there is one; nothing after the node has ended the answer, which [`Told::End`] announces.
    pub async fn next(&mut self) -> Result<Option<Told>, ApiError> {
        let Some(line) = self.lines.next().await? else { return Ok(None) };
        serde_json::from_slice(&line).map(Some).map_err(|e| ApiError::Form(e.to_string()))
    }
}

/// The lines of an answer.
#[derive(Debug)]
struct Lines {
    body: BodyDataStream,
    waiting: Vec<u8>,
    longest: usize,
}

impl Lines {
    fn new(body: BodyDataStream, longest: usize) -> Self {
        Self { body, waiting: Vec::new(), longest }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.waiting[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.waiting.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.waiting, rest);
                line.pop();
                return Ok(Some(line));
            }
            searched = self.waiting.len();
            if searched > self.longest {
                return Err(ApiError::Form(format!("a line has more than {} bytes", self.longest)));
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.waiting.extend_from_slice(&piece),
                Some(Err(e)) => return Err(ApiError::BrokeOff { harmless: true, why: e.to_string() }),
                None if searched > 0 => {
                    return Err(ApiError::BrokeOff { harmless: true, why: "within a line".to_owned() });
                }
                None => return Ok(None),
            }
        }
    }
}

/// A verb as a request.
#[derive(Debug, PartialEq)]
pub(super) struct Wire {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Wire {
    pub(super) fn of(group: Option<&str>, verb: &Verb) -> Result<Self, ApiError> {
        let of = |group: Option<&str>, rest: &str| {
            let group = group.map_or_else(|| DEFAULT_GROUP.to_owned(), segment);
            format!("/v1/groups/{group}{rest}")
        };
        let get = |rest: &str| Self { method: "GET", path: of(group, rest), body: None };
        let post = |rest: &str, body: Value| Self { method: "POST", path: of(group, rest), body: Some(body) };
        let asked = |path: &str, name: &str, number: &Option<u64>| match number {
            Some(number) => format!("{path}?{name}={number}"),
            None => path.to_owned(),
        };
        Ok(match verb {
            Verb::Note { text } => post("/notes", json!({ "text": text })),
            Verb::History { limit } => get(&asked("/history", "limit", limit)),
            Verb::Status => get("/status"),
            Verb::Peers => get("/peers"),
            Verb::Members => get("/members"),
            Verb::Checkpoint => get("/checkpoint"),
            Verb::Swap { kind, body } => post("/swap-words", json!({ "kind": kind, "body": body })),
            Verb::Swaps => get("/swaps"),
            Verb::Send { to, amount } => post("/transfers", json!({ "to": to, "amount": amount })),
            Verb::Vote { ballot } => {
                let ballot = serde_json::to_value(ballot).map_err(|e| ApiError::Form(e.to_string()))?;
                post("/votes", ballot)
            }
            Verb::Blocks { limit } => get(&format!("/blocks?limit={limit}")),
            Verb::Balance => get("/balances"),
            Verb::Glance { unlike } => get(&asked("/glance", "unlike", unlike)),
            Verb::Proof { transaction, from } => {
                get(&asked(&format!("/proofs/{}", segment(transaction)), "from", from))
            }
            Verb::Backup { to } => Self {
                method: "POST",
                path: "/v1/backups".to_owned(),
                body: Some(
                    json!({ "to": to.to_str().ok_or_else(|| ApiError::Form("the path is not UTF-8".to_owned()))? }),
                ),
            },
            Verb::Groups { action } => match action {
                GroupAction::List => Self { method: "GET", path: "/v1/groups".to_owned(), body: None },
                GroupAction::Show { group } => Self { method: "GET", path: of(group.as_deref(), ""), body: None },
                GroupAction::Join { invitation, alias } => Self {
                    method: "POST",
                    path: "/v1/groups".to_owned(),
                    body: Some(json!({ "invitation": invitation, "alias": alias })),
                },
                GroupAction::Leave { group } => Self { method: "DELETE", path: of(Some(group), ""), body: None },
                GroupAction::Use { group } => {
                    Self { method: "POST", path: of(Some(group), "/default"), body: Some(json!({})) }
                }
                GroupAction::Invite(InviteOptions { group, relay, secret, no_checkpoint }) => Self {
                    method: "POST",
                    path: of(group.as_deref(), "/invitations"),
                    body: Some(json!({ "relay": relay, "secret": secret, "no_checkpoint": no_checkpoint })),
                },
            },
            Verb::Events { .. } | Verb::Changes { .. } | Verb::Import { .. } => {
                return Err(ApiError::Form("this is a stream, not a question".to_owned()));
            }
        })
    }
}

/// A word as a segment of a path.
fn segment(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for byte in word.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Runs a request on this thread, or beside the runtime that it belongs to.
pub fn block_on<T: Send>(work: impl Future<Output = Result<T, ApiError>> + Send) -> Result<T, ApiError> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| ApiError::Unreachable { path: PathBuf::new(), why })?;
        runtime.block_on(work)
    };
    if tokio::runtime::Handle::try_current().is_err() {
        return run();
    }
    // A thread of a runtime cannot wait for another one.
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(answer) => answer,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Asks the running node, without a runtime at hand. `None` if none is running. An error that [is busy](CommandError::is_busy) comes from a node that is
/// stopping and has not taken the request: ask again.
pub fn ask<T: DeserializeOwned + Send>(
    home: &NodeHome,
    group: Option<&str>,
    verb: Verb,
) -> Result<Option<T>, CommandError> {
    let client = Client { group: group.map(str::to_owned), ..Client::of(home) };
    match block_on(client.ask(&verb)) {
        Ok(answer) => Ok(Some(answer)),
        Err(ApiError::NotRunning) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_end_is_given_up() {
        let lines = |text: &'static str| Lines::new(Body::from(text).into_data_stream(), 8);
        let mut good = lines("12345678\nx\n");
        assert_eq!(good.next().await.unwrap().unwrap(), b"12345678");
        assert_eq!(good.next().await.unwrap().unwrap(), b"x");
        assert!(good.next().await.unwrap().is_none());
        assert!(matches!(lines("123456789").next().await, Err(ApiError::Form(_))));
        assert!(matches!(lines("1234").next().await, Err(ApiError::BrokeOff { harmless: true, .. })));
    }
}
