//! The task that watches a running node's swaps.
//!
//! It owns the [`Desk`]. Every so often ([`poll`](crate::btc::settings::BtcSettings::poll)) it takes in what the group says, looks at the chains of all open swaps, and does what is due. A
//! server that fails costs a pause that grows; it never stops the node. Without swaps it does nothing but look into the group's history.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::deal::ChainPlace;
use super::desk::{Desk, Round};
use super::error::DeskError;
use super::traffic::{GroupLink, Offered};
use super::view;
use crate::daemon::Announcement;
use crate::home::NodeHome;

/// The longest pause between two rounds while servers fail.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// How many offers are announced of those that are there when the node starts.
const MAX_ANNOUNCED: usize = 20;

/// What the task needs.
#[derive(Debug)]
pub struct Service {
    /// The node's folder.
    pub home: NodeHome,
    /// Servers that the settings name.
    pub servers: Vec<ChainPlace>,
    /// Pause between two rounds.
    pub poll: Duration,
    /// The group.
    pub link: GroupLink,
    /// The console.
    pub announcements: broadcast::Sender<Announcement>,
}

impl Service {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut told = Told::default();
        let mut desk: Option<Desk> = None;
        let mut pause = self.poll;
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.once(&mut desk, &mut told) => ended,
            };
            pause = match ended {
                Ok(true) => self.poll,
                Ok(false) => (pause * 2).min(MAX_PAUSE.max(self.poll)),
                Err(error) => {
                    self.notice(&mut told, format!("swaps: {}", error.into_command_error(self.home.name())));
                    // What is wrong with the file may be mended meanwhile: it is opened again.
                    desk = None;
                    (pause * 2).min(MAX_PAUSE.max(self.poll))
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round. Answers whether every chain was heard.
    async fn once(&self, desk: &mut Option<Desk>, told: &mut Told) -> Result<bool, DeskError> {
        if desk.is_none() && Desk::exists(&self.home) {
            *desk = Some(Desk::open(&self.home, self.servers.clone())?);
        }
        let traffic = self.link.traffic().await;
        if let Ok(traffic) = &traffic {
            self.announce_offers(&traffic.offers(), desk.as_ref(), told);
        }
        let Some(desk) = desk else { return traffic.map(|_| true).map_err(DeskError::Group) };
        let mut round = Round::default();
        // Coins do not wait for the group: what it cannot be asked or told now, since a restored node may not write yet for one, it is asked and told later.
        let mut group = match traffic {
            Ok(traffic) => {
                desk.take_in(&traffic, &mut round).await?;
                desk.publish(&self.link).await.map(drop)
            }
            Err(error) => Err(DeskError::Group(error)),
        };
        let looked = desk.round(|_, _| {}).await?;
        if group.is_ok() {
            group = desk.publish(&self.link).await.map(drop);
        }
        let met = group.is_ok();
        match group {
            Err(error @ DeskError::Group(_)) => {
                self.notice(told, format!("swaps: {}", error.into_command_error(self.home.name())));
            }
            other => other?,
        }
        round.notices.extend(looked.notices);
        for (_, notice) in round.notices {
            self.say(notice.words);
        }
        for (chain, objections) in looked.objections {
            for objection in objections {
                self.notice(told, format!("swaps on {chain}: the server {} {}", objection.server, objection.what));
            }
        }
        for chain in &looked.unheard {
            self.notice(told, format!("swaps on {chain}: no server answers; trying again"));
        }
        if looked.unheard.is_empty() && met {
            told.troubles.clear();
        }
        Ok(looked.unheard.is_empty())
    }

    fn announce_offers(&self, offers: &[Offered], desk: Option<&Desk>, told: &mut Told) {
        for offered in offers.iter().rev().take(MAX_ANNOUNCED).rev() {
            let id = offered.id();
            if !told.offers.insert(id) || desk.is_some_and(|desk| desk.get(&id).is_ok()) {
                continue;
            }
            let listing = view::Listing {
                node: self.home.name().to_owned(),
                over_not_listed: 0,
                swaps: Vec::new(),
                offers: vec![view::offer(offered)],
            };
            self.say(view::listing(&listing));
        }
    }

    /// Says something about a trouble, once while it lasts.
    fn notice(&self, told: &mut Told, words: String) {
        if told.troubles.len() < MAX_TROUBLES && told.troubles.insert(words.clone()) {
            self.say(words);
        }
    }

    fn say(&self, words: String) {
        // What a glance shows of swaps has probably changed.
        if let GroupLink::Running(mailbox) = &self.link {
            mailbox.stir();
        }
        // Nobody may be listening.
        let _ = self.announcements.send(Announcement::Notice(words));
    }
}

/// Most troubles that are remembered as told.
const MAX_TROUBLES: usize = 100;

/// What was announced already.
#[derive(Debug, Default)]
struct Told {
    offers: HashSet<crate::btc::htlc::swap::SwapId>,
    troubles: HashSet<String>,
}
