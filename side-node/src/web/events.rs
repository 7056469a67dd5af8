//! Server-sent events: the parts of a page that have changed, to whoever has it open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::stream;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::Web;
use super::gallery::Picture;
use super::view::Part;

/// Most followers at once: tabs of one person, and some left open. Each has a connection of its own.
pub(super) const MAX_FOLLOWERS: usize = 48;
/// When a comment is sent although nothing has changed, so that either end notices that the other has gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long one connection is followed; the browser comes again by itself. So nothing is kept for ever, whatever a tab has forgotten.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// After how many milliseconds a browser comes again.
const RETRY: Duration = Duration::from_millis(1000);

/// The places for followers.
pub(super) struct Followers(Arc<Semaphore>);

impl Default for Followers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_FOLLOWERS)))
    }
}

impl Followers {
    /// A place, if there is one.
    pub(super) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/g/{group}/events", get(follow))
}

struct Follower {
    pictures: watch::Receiver<Arc<Picture>>,
    /// What was sent last of each part.
    sent: BTreeMap<&'static str, Arc<str>>,
    /// What is to be sent of the last picture, the first part last. The text of an event is made when its turn has come: a follower that takes nothing holds
    /// one, and not a page of them.
    waiting: Vec<Part>,
    greeted: bool,
    until: Instant,
    ended: bool,
    web: Arc<Web>,
    _place: OwnedSemaphorePermit,
}

async fn follow(State(web): State<Arc<Web>>, Path(group): Path<String>) -> Response {
    let Ok(mailbox) = web.mailbox.of(&group) else {
        return (StatusCode::NOT_FOUND, "this node has no such group\n").into_response();
    };
    let Some(place) = web.followers.enter() else {
        let why = format!("{MAX_FOLLOWERS} followers are served already; close a tab and try again\n");
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], why).into_response();
    };
    let mut pictures = web.gallery.follow(&mailbox);
    pictures.mark_changed();
    let follower = Follower {
        pictures,
        sent: BTreeMap::new(),
        waiting: Vec::new(),
        greeted: false,
        until: Instant::now() + LONGEST,
        ended: false,
        web,
        _place: place,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        if !self.greeted {
            self.greeted = true;
            return Some(Event::default().retry(RETRY).comment("side"));
        }
        loop {
            if let Some(part) = self.waiting.pop() {
                let data = json!({ "id": part.id, "html": &*part.html }).to_string();
                return Some(Event::default().event("part").data(data));
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                () = self.web.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                changed = self.pictures.changed() => changed.ok()?,
            }
            let picture = self.pictures.borrow_and_update().clone();
            self.ended = picture.last;
            for part in picture.parts.iter().rev() {
                if self.sent.get(part.id) != Some(&part.html) {
                    self.sent.insert(part.id, part.html.clone());
                    self.waiting.push(part.clone());
                }
            }
        }
    }
}
