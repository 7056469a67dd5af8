//! What a member tells about itself, in the forms of [`crate::daemon::view`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::identity::AuthorId;
use side_ledger::block::{BlockId, Height};
use side_ledger::chain::Sealed;
use side_ledger::genesis::Sealing;
use side_ledger::governance::Electorate;
use side_ledger::receipt;
use side_ledger::{Admission, Entry, Position};
use side_seal::Engine;

use super::Member;
use super::link::Link;
use crate::daemon::glance::MAX_GLANCE_LIST;
use crate::daemon::view::{
    AccountLine, Balances, BlockLine, Blocks, Equivocator, History, Line, LinkStatus, Member as Author, Offence, Peers,
    PendingVoter, RelayStatus, SealerVotes, Stage, Standing, Status, Swaps, Voter, Who,
};
use crate::net::p2p::TurnedAway;
use crate::net::{Attempt, LinkId};

/// What whoever runs a member knows beside it. The default is a node that does not run.
#[derive(Default)]
pub struct Around<'a> {
    /// Whether the node runs.
    pub running: bool,
    /// How it stands with the relay.
    pub relay: Option<RelayStatus>,
    /// Ways that are tried and do not stand.
    pub attempts: Vec<Attempt>,
    /// Why this node's part in the agreement of the BFT mode does not run as it should.
    pub sealer_problem: Option<String>,
    /// Connections that were turned away at the door.
    pub turned_away: Option<TurnedAway>,
    /// The last measured time for a message to go there and back on a link.
    pub round_trip: Option<Box<dyn Fn(LinkId) -> Option<Duration> + 'a>>,
    /// How often what is shown has changed since the node began to run.
    pub revision: u64,
    /// The time, in milliseconds since 1970-01-01 UTC.
    pub now_ms: u64,
}

impl Member {
    /// What a key is called, with the key.
    pub(super) fn who(&self, key: &AuthorId) -> Who {
        Who { key: key.to_string(), name: self.core.group.ledger().name_of(key) }
    }

    /// The set of voters that is in force: in leader mode that under which the last block was sealed (docs/protocol.md, section 11.6).
    pub(super) fn in_force(&self) -> &Electorate {
        let chain = self.core.group.chain();
        match (&self.engine, chain.tip()) {
            (Engine::Leader(_), Some(tip)) => &tip.electorate,
            _ => chain.electorate(),
        }
    }

    /// Where a transaction stands.
    pub fn standing(&self, position: &Position) -> Standing {
        let group = &self.core.group;
        let status = group.status(position).unwrap_or(receipt::Status::Pending);
        let (stage, height, reason) = match status {
            receipt::Status::Pending => (Stage::Pending, None, None),
            receipt::Status::Sealed { height } if self.engine.final_height(group) >= Some(height) => {
                (Stage::Final, Some(height), None)
            }
            receipt::Status::Sealed { height } => (Stage::Sealed, Some(height), None),
            receipt::Status::Rejected { height, reason } => (Stage::Rejected, Some(height), Some(reason)),
        };
        let electorate = height.and_then(|height| group.chain().at(height)).map(|sealed| &sealed.electorate);
        let word = reason.and_then(|reason| serde_json::to_value(reason).ok());
        Standing {
            status: stage,
            height: height.map(|height| height.0),
            holders: height.map(|height| self.engine.holders(group, height) as u64),
            holders_of: electorate.map(|electorate| electorate.voters.len() as u64),
            reason: word.and_then(|word| Some(word.as_str()?.to_owned())),
            reason_text: reason.map(|reason| reason.to_string()),
        }
    }

    fn line(&self, entry: Entry) -> Line {
        let key = ["to", "key", "old"].into_iter().find_map(|field| entry.body.get(field));
        let key = key.or_else(|| entry.body.get("sealers")?.get(0));
        let key = key.and_then(|key| AuthorId::from_hex(key.as_str()?).ok());
        let about = key.and_then(|key| self.core.group.ledger().name_of(&key));
        Line { standing: self.standing(&entry.position()), about, entry }
    }

    /// An entry of the history and where it stands.
    pub fn line_at(&self, position: &Position) -> Option<Line> {
        self.entry(position).map(|entry| self.line(entry))
    }

    /// The history, or its last `limit` entries.
    pub fn history(&mut self, limit: Option<u64>) -> History {
        let total = self.core.group.ledger().len();
        let limit = limit.map_or(total, |limit| usize::try_from(limit).unwrap_or(usize::MAX).min(total));
        History {
            group: self.id().to_string(),
            group_name: self.genesis().name().to_string(),
            digest: hex::encode(self.core.digest()),
            heads_digest: hex::encode(self.core.replica().heads_digest()),
            heads: self.heads(),
            changes: self.core.replica().len() as u64,
            total: total as u64,
            entries: self.core.group.ledger().latest(limit).into_iter().map(|entry| self.line(entry)).collect(),
        }
    }

    /// What was said about swaps by this node or to it.
    pub fn swaps(&self) -> Swaps {
        self.last_swaps(usize::MAX)
    }

    /// [`Member::swaps`] out of the last `limit` entries about swaps.
    pub fn last_swaps(&self, limit: usize) -> Swaps {
        let key = self.author().to_string();
        let concerns = |entry: &Entry| {
            entry.author == self.author() || entry.body.get("to").and_then(|to| to.as_str()) == Some(key.as_str())
        };
        let mut entries: Vec<Entry> = self.core.group.ledger().swaps().rev().take(limit).filter(concerns).collect();
        entries.reverse();
        Swaps { entries, key }
    }

    fn heads(&self) -> Vec<String> {
        self.core.replica().heads().iter().map(ChangeId::to_string).collect()
    }

    /// Whether there is a link of this transport on which everything was passed.
    pub fn is_in_sync_by(&self, transport: &str) -> bool {
        let mut links = self.links.values().filter(|there| there.peer.transport == transport);
        links.any(|there| there.in_sync(self.core.replica()))
    }

    /// Whether nobody else has written to the group.
    pub fn is_alone(&self) -> bool {
        self.core.is_alone()
    }

    /// The status.
    pub fn status(&mut self, around: Around<'_>) -> Status {
        let digest = hex::encode(self.core.digest());
        self.status_with(digest, around)
    }

    /// The status at the cost of what it shows: lists are cut to [`MAX_GLANCE_LIST`], and the digest is empty unless it is known.
    pub(super) fn brief_status(&mut self, around: Around<'_>) -> Status {
        let digest = self.core.known_digest().map(hex::encode).unwrap_or_default();
        let mut status = self.status_with(digest, around);
        status.heads.truncate(MAX_GLANCE_LIST);
        status.equivocators.truncate(MAX_GLANCE_LIST);
        status.offences.truncate(MAX_GLANCE_LIST);
        status
    }

    fn status_with(&mut self, digest: String, around: Around<'_>) -> Status {
        let state_root = match self.view() {
            Some(view) => view.block.state_root,
            None => self.core.group.state_root(),
        };
        let state_root = hex::encode(state_root);
        let (document, backfill) = self.document();
        let peers = self.link_lines(&around);
        let (group, office) = (&self.core.group, self.engine.office(&self.core.group));
        let (chain, replica, ledger) = (group.chain(), group.replica(), group.ledger());
        let electorate = self.in_force();
        let voter = |key: &AuthorId| Voter {
            who: self.who(key),
            elector: electorate.elects(key),
            holds: self.engine.word_of(group, key).0,
        };
        Status {
            node: self.core.name.to_string(),
            key: self.author().to_string(),
            group: self.id().to_string(),
            group_name: self.genesis().name().to_string(),
            pid: around.running.then(std::process::id),
            changes: replica.len() as u64,
            entries: ledger.len() as u64,
            members: replica.authors().count() as u64,
            alone: self.is_alone(),
            heads: self.heads(),
            heads_digest: hex::encode(replica.heads_digest()),
            digest,
            incomplete: !replica.missing(1).is_empty(),
            read_only: self.core.read_only().map(ToString::to_string),
            equivocators: replica
                .proofs()
                .map(|proof| proof.author())
                .map(|author| Equivocator { key: author.to_string(), name: ledger.name_of(&author) })
                .collect(),
            relay: around.relay,
            admission: match self.genesis().spec().admission {
                Admission::Open => "open".to_owned(),
                Admission::Closed => "closed".to_owned(),
            },
            mode: match self.genesis().spec().sealing {
                Sealing::Leader { .. } => "leader".to_owned(),
                Sealing::Bft { .. } => "bft".to_owned(),
            },
            height: self.view().map_or(chain.height(), |view| view.block.height).0,
            block: self.view().map_or(chain.tip_id(), |view| view.id).to_string(),
            state_root,
            document,
            backfill,
            held_height: self.view().map_or(self.engine.held_height(group), |view| view.block.height).0,
            final_height: self.engine.final_height(group).map(|height| height.0),
            pending: chain.pending() as u64,
            recovery: chain.rank().recovery.0,
            set: electorate.set.0,
            epoch: office.epoch.0,
            sealers: office.sealers.iter().map(|key| self.who(key)).collect(),
            voters: electorate.voters.iter().map(voter).collect(),
            quorum: electorate.quorum as u64,
            switch_needs: electorate.needed as u64,
            sealer_votes: self.sealer_votes(&office),
            pending_voters: chain
                .governance()
                .pending
                .iter()
                .map(|(key, joins)| PendingVoter { who: self.who(key), joins: *joins })
                .collect(),
            rotations: self.rotations(),
            interval_ms: chain.governance().interval_ms,
            may_seal: self.sealing && !self.engine.abstains(group),
            sealer_problem: self.sealer_problem().or(around.sealer_problem),
            offences: self.offences(),
            peers,
            // Whoever runs the group knows of the others.
            groups: Vec::new(),
            page: None,
        }
    }

    /// Who votes for whom as the sealer of an epoch to come: each elector's vote for the highest one, which is what it is bound to.
    fn sealer_votes(&self, office: &side_seal::effect::Office) -> Vec<SealerVotes> {
        let (group, electorate) = (&self.core.group, self.in_force());
        let elects = |voter: &AuthorId| match &self.engine {
            Engine::Leader(_) => electorate.elects(voter),
            Engine::Bft(_) => electorate.voters.contains(voter),
        };
        let mut said = BTreeSet::new();
        let mut open: BTreeMap<(Reverse<u64>, AuthorId), Vec<AuthorId>> = BTreeMap::new();
        let votes = group.ledger().sealers_votes(office.set).rev();
        for (epoch, voter, _, vote) in votes.take_while(|(epoch, ..)| *epoch > office.epoch) {
            if let Some(first) = vote.sealers.first().filter(|_| elects(&voter) && said.insert(voter)) {
                open.entry((Reverse(epoch.0), *first)).or_default().push(voter);
            }
        }
        let line = |((Reverse(epoch), sealer), by): ((Reverse<u64>, AuthorId), Vec<AuthorId>)| SealerVotes {
            who: self.who(&sealer),
            epoch,
            own: by.contains(&self.author()),
            by: by.iter().map(|voter| self.who(voter)).collect(),
            needed: office.needed as u64,
        };
        open.into_iter().map(line).collect()
    }

    /// Why this node takes no part in the agreement of the BFT mode though it is a sealer, as far as the group knows.
    fn sealer_problem(&self) -> Option<String> {
        let group = &self.core.group;
        if self.engine.is_halted() {
            return Some(
                "what is final contradicts itself: this node follows no further; more than a third of the sealers lie, or a build is broken".to_owned(),
            );
        }
        let until = self.engine.stays_out(group)?;
        let needed = self.engine.office(group).needed;
        Some(format!(
            "this copy may have forgotten votes: it takes no part up to epoch {}. It asks the voters' nodes for a further epoch by itself once it may write; \
             people begin one with: /vote leader NODE, on {needed} of their nodes",
            until.0
        ))
    }

    fn offences(&self) -> Vec<Offence> {
        let line = |guilt: side_seal::effect::Guilt| Offence {
            who: self.who(&guilt.sealer),
            offence: serde_json::to_value(guilt.offence).ok().and_then(|word| Some(word.as_str()?.to_owned())),
            epoch: guilt.epoch.0,
            place: guilt.place,
        };
        self.engine.proofs().into_iter().map(line).collect()
    }

    /// The ways to other nodes: those that stand, those that are tried, and the last ones that were ended for a fault.
    fn link_lines(&self, around: &Around<'_>) -> Vec<LinkStatus> {
        let mut lines: Vec<LinkStatus> =
            self.links.iter().map(|(link, there)| self.link_line(*link, there, around)).collect();
        let name = |key: &str| AuthorId::from_hex(key).ok().and_then(|key| self.core.group.ledger().name_of(&key));
        for attempt in &around.attempts {
            lines.push(LinkStatus {
                name: attempt.key.as_deref().and_then(name),
                ..broken(&attempt.transport, &attempt.address, attempt.key.clone(), attempt.problem.clone())
            });
        }
        for (peer, reason) in &self.ended {
            let key = peer.key.to_string();
            lines.push(LinkStatus {
                name: name(&key),
                ..broken(peer.transport, &peer.address, Some(key), Some(format!("ended: {reason}")))
            });
        }
        lines
    }

    fn link_line(&self, link: LinkId, there: &Link, around: &Around<'_>) -> LinkStatus {
        let (replica, height) = (self.core.replica(), self.core.group.chain().height().0);
        let told = there.told.map(|(rank, _)| rank.height.0);
        let round_trip = around.round_trip.as_ref().and_then(|measured| measured(link));
        let who = self.who(&there.peer.key);
        LinkStatus {
            transport: there.peer.transport.to_owned(),
            address: there.peer.address.clone(),
            key: Some(who.key),
            name: who.name,
            connected: true,
            in_sync: there.in_sync(replica),
            round_trip_ms: round_trip.map(|time| (time.as_secs_f64() * 1e6).round() / 1e3),
            changes_behind: there.sync.behind(replica) as u64,
            height: told,
            blocks_missing: told.map_or(0, |told| told.saturating_sub(height)),
            problem: None,
        }
    }

    /// The members, this node first, then by name and key.
    pub fn peers(&self, around: Around<'_>) -> Peers {
        Peers {
            group: self.id().to_string(),
            group_name: self.genesis().name().to_string(),
            members: self.authors(usize::MAX),
            links: self.link_lines(&around),
            relay: around.relay,
            turned_away: around.turned_away,
        }
    }

    /// This node and the first `limit` of those who have written: this node first, then by name and key.
    pub(super) fn authors(&self, limit: usize) -> Vec<Author> {
        let replica = self.core.replica();
        let mut tips: HashMap<AuthorId, (u64, u64)> = HashMap::from([(self.author(), (0, 0))]);
        let own = replica.author(self.author().as_bytes());
        for author in replica.authors().take(limit).chain(own) {
            if let Some(tip) = replica.own_tip(&author) {
                tips.insert(author, (tip.seq, replica.dag().time_ms(tip.index)));
            }
        }
        let mut members: Vec<Author> = tips
            .into_iter()
            .map(|(author, (seq, time_ms))| Author {
                key: author.to_string(),
                name: self.core.group.ledger().name_of(&author),
                this_node: author == self.author(),
                seq,
                time_ms,
                equivocator: replica.is_proven(&author),
            })
            .collect();
        members.sort_by(|a, b| {
            (!a.this_node, a.name.is_none(), &a.name, &a.key).cmp(&(!b.this_node, b.name.is_none(), &b.name, &b.key))
        });
        members
    }

    /// The last `limit` blocks.
    pub fn blocks(&self, limit: u64) -> Blocks {
        let chain = self.core.group.chain();
        let skipped = chain.blocks().len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        Blocks {
            group: self.id().to_string(),
            height: chain.height().0,
            blocks: chain.blocks()[skipped..].iter().map(|sealed| self.block_line(sealed)).collect(),
        }
    }

    /// The block of the chain at a height, if it is this one.
    pub fn block_at(&self, height: Height, id: &BlockId) -> Option<BlockLine> {
        let sealed = self.core.group.chain().at(height).filter(|sealed| sealed.id == *id)?;
        Some(self.block_line(sealed))
    }

    pub(super) fn block_line(&self, sealed: &Sealed) -> BlockLine {
        let block = &sealed.block;
        BlockLine {
            height: block.height.0,
            block: sealed.id.to_string(),
            sealer: self.engine.signer(&sealed.id).map(|signer| self.who(&signer)),
            set: block.set.0,
            epoch: block.epoch.0,
            time_ms: block.time_ms,
            changes: sealed.len() as u64,
            state_root: hex::encode(block.state_root),
            holders: self.engine.holders(&self.core.group, block.height) as u64,
            voters: sealed.electorate.voters.len() as u64,
            quorum: sealed.electorate.quorum as u64,
        }
    }

    /// Who owns what.
    pub fn balances(&self) -> Balances {
        self.balances_of(usize::MAX)
    }

    /// [`Member::balances`] with the first `limit` accounts.
    pub(super) fn balances_of(&self, limit: usize) -> Balances {
        if let Some(view) = self.view() {
            let mut accounts: Vec<AccountLine> = view
                .iter()
                .filter(|(_, account)| account.balance > 0)
                .map(|(key, account)| AccountLine {
                    who: self.who(key),
                    balance: account.balance,
                    frozen: account.frozen.is_some(),
                })
                .collect();
            accounts.sort_by(|a, b| a.who.key.cmp(&b.who.key));
            accounts.truncate(limit);
            return Balances {
                group: self.id().to_string(),
                height: view.block.height.0,
                balance: view.account(&self.author()).balance,
                supply: self.core.group.chain().supply(),
                accounts,
            };
        }
        let chain = self.core.group.chain();
        let accounts = chain.accounts().iter().filter(|(_, account)| account.balance > 0);
        let line = |(key, account): &(AuthorId, side_ledger::accounts::Account)| AccountLine {
            who: self.who(key),
            balance: account.balance,
            frozen: account.frozen.is_some(),
        };
        Balances {
            group: self.id().to_string(),
            height: chain.height().0,
            balance: chain.account(&self.author()).balance,
            supply: chain.supply(),
            accounts: accounts.take(limit).map(line).collect(),
        }
    }
}

fn broken(transport: &str, address: &str, key: Option<String>, problem: Option<String>) -> LinkStatus {
    LinkStatus {
        transport: transport.to_owned(),
        address: address.to_owned(),
        key,
        name: None,
        connected: false,
        in_sync: false,
        round_trip_ms: None,
        changes_behind: 0,
        height: None,
        blocks_missing: 0,
        problem,
    }
}
