//! One group's direct connections, as its task holds them: who the members are goes in; where they are is told to and heard from others.
//!
//! A node that was invited by the address of another one asks there to be let in, as long as nobody of the group is connected.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bft_json_crdt::identity::{AuthorId, Keypair};
use bytes::Bytes;
use side_ledger::GroupId;
use side_ledger::address::NodeAddress;
use side_ledger::invitation::JoinSecret;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Direct;
use super::door::{Doorkeeper, Known, lock};
use super::keep;
use crate::clock;
use crate::daemon::membership::Membership;
use crate::home::NodeHome;
use crate::net::join::client::{self, JoinError};
use crate::net::p2p::{P2p, Record, RecordError, TurnedAway, Whereabouts};
use crate::net::{Attempt, Event, LinkId, Transport};
use crate::output::printable;

/// How often it is looked whether addresses have to be kept, or the door of another node is to be knocked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// First pause between two attempts to be let in; doubled with each one that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts to be let in.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The direct connections of one group. Dropping it gives them up.
pub(in crate::daemon) struct DirectWay {
    group: GroupId,
    known: Arc<Mutex<Known>>,
    doorkeeper: Arc<Doorkeeper>,
    _stop: DropGuard,
}

impl DirectWay {
    pub(super) fn begin(direct: &Direct, membership: &Membership, events: mpsc::Sender<Event>) -> Self {
        let invitation = &membership.invitation;
        let group = invitation.group();
        let mut whereabouts = Whereabouts::new(direct.keypair.clone(), group);
        whereabouts.load(keep::load(&direct.home, &group));
        whereabouts.set_own(direct.own.clone(), clock::now_ms());
        let loopback = direct.p2p.address().ip().is_loopback();
        let peers = direct.p2p.open(group, events.clone());
        let known = Known::new(invitation.genesis().spec().admission, peers, whereabouts, loopback);
        let known = direct.doorkeeper.open(group, known);
        let nodes: Vec<NodeAddress> = invitation.nodes().filter(|node| node.key != direct.keypair.author()).collect();
        for node in &nodes {
            lock(&known).hint(node.key, std::slice::from_ref(&node.at));
        }
        let stop = CancellationToken::new();
        let errand = Errand {
            group,
            known: known.clone(),
            home: direct.home.clone(),
            p2p: direct.p2p.clone(),
            keypair: direct.keypair.clone(),
            secret: invitation.secret(),
            nodes,
            events,
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = errand.run() => {}
                () = stopped.cancelled() => {}
            }
        });
        Self { group, known, doorkeeper: direct.doorkeeper.clone(), _stop: stop.drop_guard() }
    }

    /// Who belongs to the group now.
    pub(in crate::daemon) fn set_members(&self, members: BTreeSet<AuthorId>) {
        lock(&self.known).set_members(members);
    }

    /// A link of any transport stands.
    pub(in crate::daemon) fn link_up(&self, link: LinkId, now_ms: u64) {
        lock(&self.known).whereabouts.link_up(link, now_ms);
    }

    /// A link is gone.
    pub(in crate::daemon) fn link_down(&self, link: LinkId) {
        lock(&self.known).whereabouts.link_down(link);
    }

    /// A message beside changes and blocks came; those of other kinds change nothing.
    pub(in crate::daemon) fn receive(&self, link: LinkId, message: &[u8], now_ms: u64) -> Result<(), RecordError> {
        let mut known = lock(&self.known);
        known.whereabouts.receive(link, message, now_ms)?;
        if known.whereabouts.take_news() {
            known.refresh();
        }
        Ok(())
    }

    /// Connections that were turned away at the node's door.
    pub(in crate::daemon) fn turned_away(&self) -> TurnedAway {
        lock(&self.known).peers().turned_away()
    }

    /// The next message for a link, if there is one.
    pub(in crate::daemon) fn poll_send(&self, link: LinkId) -> Option<Bytes> {
        lock(&self.known).whereabouts.poll_send(link)
    }
}

impl Transport for DirectWay {
    fn is_trying(&self) -> bool {
        lock(&self.known).peers().is_trying()
    }

    fn attempts(&self) -> Vec<Attempt> {
        lock(&self.known).peers().attempts()
    }
}

impl Drop for DirectWay {
    fn drop(&mut self) {
        self.doorkeeper.shut(&self.group, &self.known);
    }
}

/// What goes on beside the task: keeping addresses, and asking to be let in.
struct Errand {
    group: GroupId,
    known: Arc<Mutex<Known>>,
    home: NodeHome,
    p2p: P2p,
    keypair: Keypair,
    secret: Option<JoinSecret>,
    /// Where the invitation sends us.
    nodes: Vec<NodeAddress>,
    events: mpsc::Sender<Event>,
}

impl Errand {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut knock_at = tokio::time::Instant::now() + LOOK_EVERY;
        let mut told = BTreeSet::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.keep().await;
            if self.nodes.is_empty() || tokio::time::Instant::now() < knock_at {
                continue;
            }
            if self.is_linked() {
                pause = FIRST_PAUSE;
                continue;
            }
            self.knock(&mut told).await;
            knock_at = tokio::time::Instant::now() + pause;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn is_linked(&self) -> bool {
        self.p2p.status().links.iter().any(|link| link.group == self.group && link.up)
    }

    async fn keep(&self) {
        let records: Vec<Record> = {
            let mut known = lock(&self.known);
            if !known.whereabouts.take_changed() {
                return;
            }
            known.whereabouts.records().cloned().collect()
        };
        let (home, group) = (self.home.clone(), self.group);
        match tokio::task::spawn_blocking(move || keep::save(&home, &group, &records)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot keep where members are"),
            Err(error) => tracing::warn!(%error, "cannot keep where members are"),
        }
    }

    /// Asks each node of the invitation once.
    async fn knock(&self, told: &mut BTreeSet<String>) {
        let own = lock(&self.known).whereabouts.own(clock::now_ms());
        for node in &self.nodes {
            match client::join(node, &self.keypair, self.secret.as_ref(), &own).await {
                Ok(records) => {
                    tracing::info!(%node, "was let in");
                    let mut known = lock(&self.known);
                    for record in
                        records.iter().filter(|record| *record.group() == self.group && record.verify().is_ok())
                    {
                        known.hint(*record.key(), record.addresses());
                    }
                    return;
                }
                Err(error) => {
                    tracing::info!(%node, %error, "was not let in");
                    if let JoinError::Refused(refused) = &error
                        && told.insert(refused.reason.clone())
                    {
                        let text = format!("{} does not let this node in: {}", node.at, printable(&refused.reason));
                        let _ = self.events.send(Event::Notice(text)).await;
                    }
                }
            }
        }
    }
}
