//! The latest picture of each group that somebody looks at.
//!
//! One painter a group looks at it when something has happened, at most so often, and draws the parts of the page once for all who follow. It begins with
//! the first follower and ends with the last. Followers get the latest picture; whoever is slow has missed some and lacks nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use side_ledger::GroupId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::view::{self, Part};
use crate::daemon::Mailbox;

/// The least time between two pictures: four a second are live for an eye.
const PAUSE: Duration = Duration::from_millis(250);
/// When a picture is drawn although nothing was announced: round trips and other groups' heights change silently.
const AT_THE_LATEST: Duration = Duration::from_secs(3);

/// The parts of a page, each with its HTML.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) parts: Vec<Part>,
    /// The group has no task any more, so there will be no further picture.
    pub(super) last: bool,
}

/// Where the pictures hang.
pub(super) struct Gallery {
    hung: Mutex<BTreeMap<GroupId, watch::Sender<Arc<Picture>>>>,
    stop: CancellationToken,
}

impl Gallery {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { hung: Mutex::default(), stop }
    }

    /// The pictures of a group from now on. The first may be empty.
    pub(super) fn follow(&self, mailbox: &Mailbox) -> watch::Receiver<Arc<Picture>> {
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        // A painter ends once nobody follows, and its pictures are taken down here, so that the next follower gets another one.
        hung.retain(|_, pictures| pictures.receiver_count() > 0);
        let pictures = hung.entry(mailbox.group()).or_insert_with(|| {
            let pictures = watch::Sender::new(Arc::default());
            tokio::spawn(paint(mailbox.clone(), pictures.clone(), self.stop.clone()));
            pictures
        });
        pictures.subscribe()
    }
}

async fn paint(mailbox: Mailbox, pictures: watch::Sender<Arc<Picture>>, stop: CancellationToken) {
    let mut revisions = mailbox.revisions().ok();
    loop {
        let painted = Instant::now();
        // What changes from here on is in the next picture at the latest.
        if let Some(revisions) = &mut revisions {
            revisions.mark_unchanged();
        }
        let (parts, last) = match super::pages::look(&mailbox).await {
            Ok(parts) => (parts, false),
            Err(error) => (vec![view::trouble(&error)], revisions.is_none()),
        };
        pictures.send_replace(Arc::new(Picture { parts, last }));
        if last {
            return;
        }
        let news = async {
            match &mut revisions {
                Some(revisions) => revisions.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = pictures.closed() => return,
            () = sleep_until(painted + AT_THE_LATEST) => {}
            goes_on = news => {
                if !goes_on {
                    // The group has begun anew, or it was left.
                    revisions = mailbox.revisions().ok();
                }
            }
        }
        // One picture for everything that happens meanwhile.
        sleep_until(painted + PAUSE).await;
    }
}
