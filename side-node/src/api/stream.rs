//! What takes long: following a group, handing its changes out, taking changes in.
//!
//! Nothing queues: a follower or an export asks the group's task for the next piece when the connection has taken the one before, and an import hands in the next
//! batch when the one before is on disk.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::control::Verb;
use super::routes::{Api, Asked};
use crate::daemon::Mailbox;
use crate::daemon::exchange::{Cursor, Events, ImportReport, Imported, Page};
use crate::daemon::glance::Told;
use crate::daemon::import::Importer;
use crate::error::CommandError;
use crate::export::{Header, MAX_LINE_BYTES};

const JSON_LINES: &str = "application/jsonl";
const SERVER_SENT: &str = "text/event-stream";

/// A way to the group that is asked about, and leave to take long.
fn begin(api: &Api, asked: &Asked) -> Result<(Mailbox, OwnedSemaphorePermit), CommandError> {
    let mailbox = match asked.group() {
        Some(group) => api.mailbox.of(group)?,
        None => api.mailbox.of_default()?,
    };
    let leave = Arc::clone(&api.streams).try_acquire_owned().map_err(|_| {
        CommandError::remote("too many follow this node, export from it or import into it")
            .hint("end one of them, or try again later")
            .busy()
    })?;
    Ok((mailbox, leave))
}

/// Events as JSON lines, or as server-sent events for whoever accepts those.
pub(super) async fn events(api: Api, asked: &Asked, headers: &HeaderMap) -> Result<Response, CommandError> {
    let (mailbox, leave) = begin(&api, asked)?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let server_sent = accept.contains(SERVER_SENT);
    let revisions = mailbox.revisions()?;
    // Before the head of the answer is sent, so that an error has its status.
    let verb = Verb::Events { cursor: None, from: asked.number("from"), height: asked.number("height") };
    let first: Events = mailbox.typed(verb).await?;
    let follower = Follower { mailbox, _leave: leave, revisions, next: Some(first), cursor: None, ended: false };
    let told = stream::unfold(follower, Follower::told);
    let lines = told.map(move |told| {
        let mut text = String::new();
        for event in told {
            let json = serde_json::to_string(&event).unwrap_or_default();
            match server_sent {
                true => text.push_str(&format!("data: {json}\n\n")),
                false => {
                    text.push_str(&json);
                    text.push('\n');
                }
            }
        }
        Ok::<_, std::convert::Infallible>(Bytes::from(text))
    });
    let kind = if server_sent { SERVER_SENT } else { JSON_LINES };
    Ok(streamed(kind, Body::from_stream(lines)))
}

fn streamed(kind: &'static str, body: Body) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

struct Follower {
    mailbox: Mailbox,
    _leave: OwnedSemaphorePermit,
    revisions: watch::Receiver<u64>,
    /// The first piece.
    next: Option<Events>,
    cursor: Option<Cursor>,
    ended: bool,
}

impl Follower {
    /// The next events, once there are some; nothing after the end.
    async fn told(mut self) -> Option<(Vec<Told>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            match self.piece().await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return Some((events, self)),
                Err(error) => {
                    self.ended = true;
                    return Some((vec![Told::End { reason: error.message().to_owned() }], self));
                }
            }
        }
    }

    async fn piece(&mut self) -> Result<Vec<Told>, CommandError> {
        let Events { events, cursor, more } = match self.next.take() {
            Some(first) => first,
            None => {
                let verb = Verb::Events { cursor: self.cursor.take(), from: None, height: None };
                self.mailbox.typed(verb).await?
            }
        };
        if events.is_empty() && !more {
            self.cursor = Some(cursor);
            // What has changed since the revision was last looked at comes at once.
            tokio::select! {
                changed = self.revisions.changed() => {
                    changed.map_err(|_| CommandError::remote("the node does not run this group any more"))?;
                }
                reason = self.mailbox.gone() => return Err(reason),
            }
        } else {
            self.cursor = Some(cursor);
        }
        Ok(events)
    }
}

/// The signed changes as JSON lines. Those that come meanwhile are not among them.
pub(super) async fn export(api: Api, asked: &Asked) -> Result<Response, CommandError> {
    let (mailbox, leave) = begin(&api, asked)?;
    let genesis = mailbox.genesis()?;
    let first: Page = mailbox.typed(Verb::Changes { from: 0, until: u64::MAX }).await?;
    let (until, generation) = (first.total, first.generation);
    let head = format!("{}\n", Header::new(&genesis, until).line());
    let rest = stream::try_unfold((mailbox, leave, Some(first), 0), move |(mailbox, leave, first, from)| async move {
        let page = match first {
            Some(first) => first,
            None if from >= until => return Ok(None),
            None => mailbox.typed(Verb::Changes { from, until }).await?,
        };
        if page.generation != generation {
            return Err(CommandError::user("changes were taken out of the group meanwhile").hint("export again"));
        }
        let mut text = page.lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        Ok(Some((Bytes::from(text), (mailbox, leave, None, page.next))))
    });
    let rest = rest.map(|piece| piece.map_err(|error: CommandError| std::io::Error::other(error.message().to_owned())));
    let head = stream::once(async move { Ok(Bytes::from(head)) });
    Ok(streamed(JSON_LINES, Body::from_stream(head.chain(rest))))
}

/// Takes in the lines of an export.
pub(super) async fn import(api: Api, asked: &Asked, body: Body) -> Result<ImportReport, CommandError> {
    let (mailbox, _leave) = begin(&api, asked)?;
    let mut importer = Importer::new(mailbox.genesis()?);
    let mut lines = Lines::new(body.into_data_stream());
    loop {
        let (mut batch, mut bytes, mut last) = (Vec::new(), 0, false);
        while !Importer::is_enough(batch.len(), bytes) && !last {
            match lines.next().await {
                Some(line) => {
                    bytes += line.len();
                    batch.push(line);
                }
                None => last = true,
            }
        }
        // Signatures take a processor's time.
        let reading = tokio::task::spawn_blocking(move || {
            let read = importer.read(batch);
            (importer, read)
        });
        let (back, mut changes) =
            reading.await.map_err(|e| CommandError::bug(format!("an import could not be read: {e}")))?;
        importer = back;
        while !changes.is_empty() {
            let imported: Imported = mailbox.typed(Verb::Import { changes }).await?;
            importer.took(imported);
            changes = importer.again();
        }
        if last || importer.is_over() {
            return Ok(importer.end(lines.cut));
        }
    }
}

/// The lines of a body.
struct Lines {
    body: BodyDataStream,
    waiting: Vec<u8>,
    /// How much of it is known to have no end of a line.
    searched: usize,
    ended: bool,
    /// Whether the last line had no end.
    cut: bool,
}

impl Lines {
    fn new(body: BodyDataStream) -> Self {
        Self { body, waiting: Vec::new(), searched: 0, ended: false, cut: false }
    }

    /// The next line without its end. One that is too long comes as far as it was read, and is refused by its length.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.waiting[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.waiting.split_off(self.searched + end + 1);
                let mut line = std::mem::replace(&mut self.waiting, rest);
                line.pop();
                self.searched = 0;
                return Some(line);
            }
            self.searched = self.waiting.len();
            if self.ended || self.waiting.len() > MAX_LINE_BYTES {
                self.searched = 0;
                let line = std::mem::take(&mut self.waiting);
                self.cut |= self.ended && !line.is_empty();
                return Some(line).filter(|line| !line.is_empty());
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.waiting.extend_from_slice(&piece),
                // The sender went away: what it sent is good as far as it goes.
                Some(Err(error)) => {
                    tracing::debug!(%error, "an import broke off");
                    self.ended = true;
                }
                None => self.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of pieces of a MiB without an end of a line, and how many were taken of it.
    #[tokio::test]
    async fn a_line_without_end_is_read_as_far_as_a_line_can_be_and_no_further() {
        const PIECE: usize = 1 << 20;
        let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = taken.clone();
        let pieces = stream::repeat_with(move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; PIECE]))
        });
        let mut lines = Lines::new(Body::from_stream(pieces.take(64)).into_data_stream());
        let line = lines.next().await.unwrap();
        assert!(line.len() > MAX_LINE_BYTES && line.len() <= MAX_LINE_BYTES + PIECE, "{}", line.len());
        assert!(taken.load(std::sync::atomic::Ordering::Relaxed) <= MAX_LINE_BYTES / PIECE + 1);
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_were_cut_on_the_way() {
        let file = b"one\ntwo\n\nlast";
        for size in 1..=file.len() {
            let pieces: Vec<_> = file.chunks(size).map(Ok::<_, std::convert::Infallible>).collect();
            let mut lines = Lines::new(Body::from_stream(stream::iter(pieces)).into_data_stream());
            let mut read = Vec::new();
            while let Some(line) = lines.next().await {
                read.push(String::from_utf8(line).unwrap());
            }
            assert_eq!((read.join("|").as_str(), lines.cut), ("one|two||last", true), "{size}");
        }
    }
}
