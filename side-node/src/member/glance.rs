//! What a member shows at a glance, in the form of [`crate::daemon::glance`], and when there is something new to show.
//!
//! It costs by what is shown, never by the history: the graph is walked from the heads back, the blocks are the last ones, and what takes a walk over
//! everything (the digest) is shown only where it is known already.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};

use bft_json_crdt::causality::{Causality as _, ChangeIdx};
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::identity::AuthorId;
use bft_json_crdt::replica::Replica;
use side_ledger::Position;
use side_ledger::block::{BlockId, Height};
use side_ledger::chain::Sealed;

use super::Member;
use super::show::Around;
use crate::daemon::glance::{
    Cut, GLANCE_VERSION, Glance, GlanceBlock, Graph, GraphChange, Lane, MAX_BLOCK_TRANSACTIONS, MAX_GLANCE_ACCOUNTS,
    MAX_GLANCE_BLOCKS, MAX_GLANCE_MEMBERS, MAX_GRAPH_CHANGES,
};
use crate::daemon::view::{Line, Peers, Stage};
use crate::output;

/// How many transactions of a change are looked at for its kinds: a change may hold thousands, mostly of one kind.
const MAX_KINDS_FROM: usize = 64;
/// Most characters of a change's summary: about a line.
const MAX_SUMMARY_CHARS: usize = 80;
/// Most bytes of what the shown transactions say, all together; those of earlier blocks are left out first. A note may have 16 KiB, so the numbers alone
/// would allow 32 MiB.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What is remembered from one glance to the next.
#[derive(Debug, Default)]
pub(super) struct Glanced {
    /// How many transactions the blocks have that were shown last: counting them costs by the block's size.
    counted: HashMap<BlockId, u64>,
}

impl Member {
    /// The group at a glance, but for swaps: whoever holds the member knows of those.
    pub fn glance(&mut self, around: Around<'_>) -> Glance {
        let (revision, time_ms) = (around.revision, around.now_ms);
        let turned_away = around.turned_away;
        let status = self.brief_status(around);
        let peers = Peers {
            group: status.group.clone(),
            group_name: status.group_name.clone(),
            members: self.authors(MAX_GLANCE_MEMBERS),
            links: status.peers.clone(),
            relay: status.relay.clone(),
            turned_away,
        };
        Glance {
            version: GLANCE_VERSION,
            revision,
            time_ms,
            status,
            peers,
            graph: self.graph(),
            blocks: self.last_blocks(),
            balances: self.balances_of(MAX_GLANCE_ACCOUNTS),
            accounts_total: self.core.group.chain().accounts().len() as u64,
            swaps: Vec::new(),
            swaps_problem: None,
        }
    }

    /// Differs from what it was if a glance would show something else, but for round trips. Costs by the number of links and voters.
    pub fn glance_mark(&self) -> u64 {
        let (group, mut mark) = (&self.core.group, DefaultHasher::new());
        let (replica, chain) = (group.replica(), group.chain());
        (replica.len(), replica.generation(), replica.proof_count(), group.ledger().len()).hash(&mut mark);
        (chain.height(), chain.tip_id(), self.engine.held_height(group), self.engine.final_height(group))
            .hash(&mut mark);
        (self.engine.holders(group, chain.height()), self.sealing, self.core.is_read_only()).hash(&mut mark);
        (self.view().map(|view| view.id), self.catch_up.is_some(), self.ended.len(), self.faults).hash(&mut mark);
        for (link, there) in &self.links {
            (link, there.in_sync(replica), there.told.map(|(_, id)| id)).hash(&mut mark);
        }
        mark.finish()
    }

    fn graph(&self) -> Graph {
        let replica = self.core.replica();
        let dag = replica.dag();
        let indices = latest(replica);
        let places: HashMap<ChangeIdx, usize> =
            indices.iter().enumerate().map(|(place, index)| (*index, place)).collect();
        let heads: HashSet<ChangeIdx> = dag.heads().map(|(_, index)| index).collect();
        let lanes = self.lanes(indices.iter().map(|index| dag.author(*index)).collect());
        let lane_of: HashMap<&str, usize> =
            lanes.iter().enumerate().map(|(number, lane)| (lane.who.key.as_str(), number)).collect();
        let change = |index: &ChangeIdx| {
            let (mut parents, mut not_shown) = (Vec::new(), 0);
            for parent in dag.parents(*index) {
                match places.get(&parent) {
                    Some(place) => parents.push(*place),
                    None => not_shown += 1,
                }
            }
            parents.sort_unstable();
            let (id, author) = (dag.id(*index), dag.author(*index));
            let (kinds, first) = self.kinds(dag.lamport(*index), id);
            let (status, height) = self.stands(*index, first.as_ref());
            GraphChange {
                id: id.to_string(),
                lane: lane_of.get(author.to_string().as_str()).copied().unwrap_or_default(),
                seq: dag.seq(*index),
                time_ms: dag.time_ms(*index),
                parents,
                parents_not_shown: not_shown,
                head: heads.contains(index),
                forked: is_forked(replica, *index),
                kinds,
                summary: first.and_then(|first| self.line_at(&first)).map_or_else(String::new, |line| summary(&line)),
                status,
                height: height.map(|height| height.0),
            }
        };
        let changes = indices.iter().map(change).collect();
        Graph { lanes, changes, total: replica.len() as u64, cuts: self.cuts(&places) }
    }

    /// The authors, this node first, then by name and key.
    fn lanes(&self, authors: HashSet<AuthorId>) -> Vec<Lane> {
        let lane = |author: AuthorId| Lane {
            who: self.who(&author),
            this_node: author == self.author(),
            equivocator: self.core.replica().is_proven(&author),
        };
        let mut lanes: Vec<Lane> = authors.into_iter().map(lane).collect();
        lanes.sort_by(|a, b| {
            let key =
                |lane: &Lane| (!lane.this_node, lane.who.name.is_none(), lane.who.name.clone(), lane.who.key.clone());
            key(a).cmp(&key(b))
        });
        lanes
    }

    /// What kinds of transactions a change holds, and where the first one stands.
    fn kinds(&self, lamport: u64, id: ChangeId) -> (Vec<String>, Option<Position>) {
        let (mut kinds, mut first) = (Vec::<String>::new(), None);
        for (position, kind) in self.core.group.ledger().kinds_in(lamport, id).take(MAX_KINDS_FROM) {
            first = first.or(Some(position));
            if !kinds.iter().any(|known| known == kind) {
                kinds.push(kind.to_owned());
            }
        }
        (kinds, first)
    }

    /// Where a change stands: as its first transaction does, if it has one.
    fn stands(&self, index: ChangeIdx, first: Option<&Position>) -> (Stage, Option<Height>) {
        let group = &self.core.group;
        let Some(height) = group.chain().sealed_at(index) else { return (Stage::Pending, None) };
        let stage = match first {
            Some(first) => self.standing(first).status,
            None if self.engine.final_height(group) >= Some(height) => Stage::Final,
            None => Stage::Sealed,
        };
        (stage, Some(height))
    }

    /// The cuts that name a change that is shown.
    fn cuts(&self, places: &HashMap<ChangeIdx, usize>) -> Vec<Cut> {
        let replica = self.core.replica();
        let cut = |sealed: &Sealed| {
            let heads = sealed.block.cut.iter().filter_map(|id| places.get(&replica.index_of(id)?).copied());
            Cut { height: sealed.block.height.0, heads: heads.collect() }
        };
        let blocks = self.core.group.chain().blocks().iter().rev().take(MAX_GRAPH_CHANGES);
        let mut cuts: Vec<Cut> = blocks.map(cut).take_while(|cut| !cut.heads.is_empty()).collect();
        cuts.reverse();
        cuts
    }

    fn last_blocks(&mut self) -> Vec<GlanceBlock> {
        let mut counted = HashMap::new();
        let group = &self.core.group;
        let final_height = self.engine.final_height(group);
        let mut room = MAX_BODY_BYTES;
        let mut blocks: Vec<GlanceBlock> = Vec::new();
        for sealed in group.chain().blocks().iter().rev().take(MAX_GLANCE_BLOCKS) {
            let known = self.glanced.counted.get(&sealed.id).copied();
            let (transactions, total) = self.transactions(sealed, known, &mut room);
            counted.insert(sealed.id, total);
            blocks.push(GlanceBlock {
                block: self.block_line(sealed),
                is_final: final_height >= Some(sealed.block.height),
                transactions,
                transactions_total: total,
            });
        }
        blocks.reverse();
        self.glanced.counted = counted;
        blocks
    }

    /// The first transactions of a block, as far as there is room, and how many it has.
    fn transactions(&self, sealed: &Sealed, known: Option<u64>, room: &mut usize) -> (Vec<Line>, u64) {
        let (replica, ledger) = (self.core.replica(), self.core.group.ledger());
        let (mut lines, mut total) = (Vec::new(), 0);
        for index in sealed.changes() {
            if lines.len() >= MAX_BLOCK_TRANSACTIONS
                && let Some(known) = known
            {
                return (lines, known);
            }
            for (position, _) in ledger.kinds_in(replica.lamport(*index), replica.id(*index)) {
                total += 1;
                if lines.len() >= MAX_BLOCK_TRANSACTIONS || *room == 0 {
                    continue;
                }
                let Some(line) = self.line_at(&position) else { continue };
                *room = room.saturating_sub(weight(&line.body));
                // What did not fit is left out, and whatever comes after it.
                if *room > 0 {
                    lines.push(line);
                }
            }
        }
        (lines, total)
    }
}

/// The last changes in the one order, the oldest first. Whoever stands behind a change stands later in the order, so a walk back from the heads that always
/// takes the last one meets them in the order.
fn latest(replica: &Replica) -> Vec<ChangeIdx> {
    let dag = replica.dag();
    let mut next: BinaryHeap<(u64, ChangeId, ChangeIdx)> =
        dag.heads().map(|(id, index)| (dag.lamport(index), id, index)).collect();
    let mut queued = HashSet::new();
    let mut found = Vec::new();
    while found.len() < MAX_GRAPH_CHANGES
        && let Some((_, _, index)) = next.pop()
    {
        found.push(index);
        for parent in dag.parents(index).filter(|parent| queued.insert(*parent)) {
            next.push((dag.lamport(parent), dag.id(parent), parent));
        }
    }
    found.reverse();
    found
}

/// Whether the author wrote another change with the same number.
fn is_forked(replica: &Replica, index: ChangeIdx) -> bool {
    let dag = replica.dag();
    let branches = dag.branches(dag.author(index).as_bytes());
    let seq = dag.seq(index);
    let covers = |branch: &_| {
        let branch = dag.branch(*branch);
        (branch.first_seq..branch.first_seq + branch.changes.len() as u64).contains(&seq)
    };
    branches.len() > 1 && branches.iter().filter(|branch| covers(branch)).take(2).count() > 1
}

/// An entry in one short line.
fn summary(line: &Line) -> String {
    let text = output::body(line, line.about.as_deref());
    match text.char_indices().nth(MAX_SUMMARY_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// About how many bytes a body takes as JSON.
fn weight(body: &serde_json::Value) -> usize {
    match body {
        serde_json::Value::String(text) => text.len(),
        other => other.to_string().len(),
    }
}
