//! A node's group in memory, and what of it has yet to go to disk.
//!
//! Rule: whatever changes the group is *staged*. Whoever holds the core commits what is staged and only then shows, answers or sends
//! anything that follows from it.

use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::{Change, ChangeId};
use bft_json_crdt::evidence::{EquivocationProof, Voucher};
use bft_json_crdt::identity::{AuthorId, Keypair};
use bft_json_crdt::replica::{Audit, AuditReport, Findings, Incoming, Limits, Replica, TransactError, Verdict};
use bytes::Bytes;
use side_ledger::group::{Group, GroupError, Merged, Taken};
use side_ledger::{Genesis, GroupId, Name, Position, Transaction};
use side_store::{Batch, LoadBounds, Store, Write};

use crate::error::CommandError;

/// What came of something that a peer sent.
#[derive(Debug, Default)]
pub(super) struct Digested {
    /// Places of new entries.
    pub(super) entries: Vec<Position>,
    /// Ids that something waits for.
    pub(super) missing: Vec<ChangeId>,
    /// Members that are newly proven to have forked their chain.
    pub(super) equivocators: Vec<AuthorId>,
    /// How many things were refused of which the sender is to blame.
    pub(super) refused: u64,
}

/// The group as one node holds it.
pub(super) struct Core {
    pub(super) name: Name,
    pub(super) keypair: Keypair,
    pub(super) group: Group,
    pub(super) staged: Batch,
    read_only: Option<CommandError>,
    /// The heads' digest, and the digest at those heads: it costs a walk over everything.
    digest: Option<([u8; 32], [u8; 32])>,
}

impl Core {
    /// Reads the group from the store; adds it if it is not there yet (staged, as everything).
    pub(super) fn load(
        name: Name,
        genesis: Genesis,
        keypair: Keypair,
        store: &mut impl Store,
    ) -> Result<Self, CommandError> {
        let id = genesis.id();
        let known = store.groups().map_err(store_error)?.iter().any(|record| record.group == id);
        let staged = if known { Batch::new() } else { Batch::new().group(&genesis) };
        let group = Group::open(genesis, Some(keypair.author()), Limits::default());
        let mut core = Self { name, keypair, group, staged, read_only: None, digest: None };
        if known {
            core.load_changes(store)?;
            for proof in store.proofs(&id).map_err(store_error)? {
                let proof = EquivocationProof::decode(&proof)
                    .map_err(|e| damaged(format!("a stored proof is malformed: {e}")))?;
                core.group.apply_proof(proof).ok_or_else(|| damaged("a stored proof is not good"))?;
            }
        }
        Ok(core)
    }

    fn load_changes(&mut self, store: &mut impl Store) -> Result<(), CommandError> {
        let mut from = 0;
        loop {
            let records = store.load(&self.id(), from, LoadBounds::default()).map_err(store_error)?;
            if records.is_empty() {
                return Ok(());
            }
            let mut incoming = Vec::with_capacity(records.len());
            for (at, record) in records.into_iter().enumerate() {
                let voucher = record.voucher.map(|bytes| Voucher::decode(&bytes)).transpose();
                let voucher =
                    voucher.map_err(|e| damaged(format!("the voucher of record {}: {e}", from + at as u64)))?;
                incoming.push(Incoming { change: record.change, voucher });
            }
            let count = incoming.len() as u64;
            self.group.load(incoming).map_err(|e| damaged(format!("{e} (counted from record {from})")))?;
            from += count;
        }
    }

    /// Whether the store has the group; asked right after loading.
    pub(super) fn is_stored(&self) -> bool {
        self.staged.is_empty()
    }

    /// The group's id.
    pub(super) fn id(&self) -> GroupId {
        self.group.id()
    }

    /// The node's own key.
    pub(super) fn author(&self) -> AuthorId {
        self.keypair.author()
    }

    /// What the group is founded on.
    pub(super) fn genesis(&self) -> &Genesis {
        self.group.genesis()
    }

    /// The changes and the document.
    pub(super) fn replica(&self) -> &Replica {
        self.group.replica()
    }

    /// Refuses every write with `reason` from now on.
    pub(super) fn set_read_only(&mut self, reason: CommandError) {
        self.read_only = Some(reason);
    }

    /// Allows writing again; answers whether it was forbidden.
    pub(super) fn allow_writing(&mut self) -> bool {
        self.read_only.take().is_some()
    }

    /// Why writes are refused, if they are.
    pub(super) fn read_only(&self) -> Option<&CommandError> {
        self.read_only.as_ref()
    }

    /// Whether writes are refused.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.is_some()
    }

    /// What a member is called, or the beginning of its key.
    pub(super) fn name_of(&self, author: &AuthorId) -> String {
        self.group.ledger().name_of(author).unwrap_or_else(|| crate::output::short(&author.to_string()).to_owned())
    }

    /// What people are told where somebody is newly proven to have forked its chain.
    pub(super) fn equivocation(&self, author: &AuthorId) -> String {
        if *author == self.author() {
            "this node's own key has signed two different changes of one number: it is used in two places, or an old copy was written with. \
             The others take nothing more from it; make a new node with `side-node init`"
                .to_owned()
        } else {
            format!("there is a proof that {} ({author}) forked its own chain", self.name_of(author))
        }
    }

    /// Whether nobody else has written to the group.
    pub(super) fn is_alone(&self) -> bool {
        self.replica().authors().all(|author| author == self.author())
    }

    /// Claims the node's name, unless it has claimed one before. Done at the first run, so that histories show names.
    pub(super) fn claim_name(&mut self, now_ms: u64) -> Result<Option<Position>, CommandError> {
        if self.group.ledger().name_of(&self.author()).is_some() {
            return Ok(None);
        }
        self.write(Transaction::name(&self.name), now_ms).map(Some)
    }

    /// Signs a transaction and takes it in.
    pub(super) fn write(&mut self, transaction: Transaction, now_ms: u64) -> Result<Position, CommandError> {
        let entries = self.write_change(&[transaction], now_ms)?;
        entries.first().copied().ok_or_else(|| CommandError::bug("an own transaction is not in the history"))
    }

    /// Signs one change with these transactions, perhaps none, and takes it in.
    pub(super) fn write_change(
        &mut self,
        transactions: &[Transaction],
        now_ms: u64,
    ) -> Result<Vec<Position>, CommandError> {
        if let Some(reason) = &self.read_only {
            return Err(reason.clone());
        }
        let written = match self.group.write(transactions, &self.keypair, now_ms) {
            Err(GroupError::Replica(TransactError::TooManyHeads(_))) => {
                self.acknowledge(now_ms)?;
                self.group.write(transactions, &self.keypair, now_ms)
            }
            other => other,
        };
        let written = written.map_err(|e| self.write_error(&e))?;
        self.stage_own(&written.change);
        Ok(written.entries)
    }

    /// Writes what the protocol asks of a member after a proof of equivocation: changes that name what it holds. Does nothing if nothing is owed.
    pub(super) fn acknowledge_if_owed(&mut self, now_ms: u64) -> Result<(), CommandError> {
        if self.read_only.is_none() && self.replica().needs_acknowledgement() && !self.is_convicted() {
            self.acknowledge(now_ms)?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, now_ms: u64) -> Result<(), CommandError> {
        let changes = self.group.acknowledge(&self.keypair, now_ms).map_err(|e| self.write_error(&e))?;
        for change in &changes {
            self.stage_own(change);
        }
        Ok(())
    }

    /// Whether this node's own key is proven to have forked its chain.
    pub(super) fn is_convicted(&self) -> bool {
        self.replica().is_proven(&self.author())
    }

    /// Whether the group takes what this node writes.
    pub(super) fn is_admitted(&self) -> bool {
        // What one change may stand upon does not matter here: only whose it is.
        self.group.admits(&self.author(), &ChangeId([0; 32]))
    }

    fn write_error(&self, error: &GroupError) -> CommandError {
        match error {
            GroupError::Replica(TransactError::Forked) => CommandError::user(format!(
                "the key of {} has signed two different changes of one number: the other members hold the proof and take nothing more from it",
                self.name
            ))
            .hint("this happens when a key is used in two places; make a new node with `side-node init` and leave this one"),
            GroupError::NotAdmitted(_) => CommandError::user(format!("cannot write: {error}"))
                .hint(format!(
                    "this node reads, and writes once the members have let it in. Each of them runs: side-node vote MEMBER --group {} member {} in",
                    crate::output::short(&self.id().to_string()),
                    self.author()
                )),
            other => CommandError::user(format!("cannot write: {other}")),
        }
    }

    fn stage_own(&mut self, change: &Change) {
        self.staged.push(Write::Change { group: self.id(), change: change.clone(), voucher: None });
        self.stage_mark(change);
    }

    /// Remembers how far the own chain goes, wherever the change came from.
    fn stage_mark(&mut self, change: &Change) {
        self.staged = std::mem::take(&mut self.staged).own(self.group.id(), change);
    }

    /// Takes in changes from a peer.
    pub(super) fn apply(&mut self, batch: Vec<Incoming>) -> Digested {
        let merged = self.group.apply_batch(batch);
        self.stage_merged(merged)
    }

    /// Takes in changes whose signatures were checked, and says of each what came of it, and which were applied, those that had waited included.
    pub(super) fn import(&mut self, batch: Vec<Incoming>) -> (Digested, Vec<(ChangeId, Taken)>, Vec<ChangeId>) {
        let merged = self.group.apply_batch(batch);
        let taken = merged.taken.clone();
        let applied = merged.applied.iter().map(|index| self.replica().id(*index)).collect();
        (self.stage_merged(merged), taken, applied)
    }

    /// Takes in a proof from a peer.
    pub(super) fn apply_proof(&mut self, proof: EquivocationProof) -> Digested {
        match self.group.apply_proof(proof) {
            Some(merged) => self.stage_merged(merged),
            None => Digested { refused: 1, ..Digested::default() },
        }
    }

    fn stage_merged(&mut self, merged: Merged) -> Digested {
        let mut digested = Digested { entries: merged.entries, ..Digested::default() };
        for (id, taken) in merged.taken {
            match taken {
                Taken::Judged(Verdict::Waiting { missing }) => digested.missing.extend(missing),
                Taken::Judged(verdict @ (Verdict::Unauthenticated | Verdict::Malformed(_))) => {
                    tracing::warn!(change = %id, ?verdict, "refused a change");
                    digested.refused += 1;
                }
                Taken::Judged(Verdict::Applied | Verdict::AlreadyKnown) => {}
                other => tracing::debug!(change = %id, ?other, "did not apply a change"),
            }
        }
        let id = self.id();
        if merged.rebuilt {
            self.stage_anew();
        } else {
            self.stage_changes(merged.applied);
        }
        for proof in &merged.proofs {
            self.staged.push(Write::Proof { group: id, proof: proof.encode().into() });
            digested.equivocators.push(proof.author());
        }
        digested
    }

    /// Has everything written again, in the place of what is stored.
    fn stage_anew(&mut self) {
        self.staged.push(Write::ForgetChanges { group: self.id() });
        self.stage_changes((0..self.replica().len() as u32).map(ChangeIdx));
    }

    fn stage_changes(&mut self, changes: impl IntoIterator<Item = ChangeIdx>) {
        let (id, own) = (self.id(), self.author());
        for idx in changes {
            let replica = self.group.replica();
            let change = replica.change(idx);
            let voucher = replica.voucher(idx).map(|voucher| Bytes::from(voucher.encode()));
            if change.author() == own {
                self.stage_mark(&change);
            }
            self.staged.push(Write::Change { group: id, change, voucher });
        }
    }

    /// The signatures that loading left unchecked, if there are any.
    pub(super) fn audit(&self) -> Option<Audit> {
        self.group.audit()
    }

    /// Takes in what an audit found. Stages everything anew if a change is to be stored with a voucher from now on: rare, for it takes a damaged disk.
    pub(super) fn take_audit(&mut self, findings: &Findings) -> AuditReport {
        let report = self.group.take_audit(findings);
        if !report.vouched.is_empty() {
            self.stage_anew();
        }
        report
    }

    /// [`Core::digest`] if it has been reckoned at these heads.
    pub(super) fn known_digest(&self) -> Option<[u8; 32]> {
        let heads = self.replica().heads_digest();
        self.digest.filter(|(of, _)| *of == heads).map(|(_, digest)| digest)
    }

    /// A hash over the order of all changes and the document.
    pub(super) fn digest(&mut self) -> [u8; 32] {
        let heads = self.replica().heads_digest();
        match self.digest {
            Some((of, digest)) if of == heads => digest,
            _ => {
                let digest = self.replica().digest();
                self.digest = Some((heads, digest));
                digest
            }
        }
    }
}

pub(super) fn damaged(what: impl std::fmt::Display) -> CommandError {
    CommandError::user(format!("the database is damaged: {what}")).hint(
        "keep a copy of side.sqlite, move it and its -wal file away, and run the node again: the history comes back from the other members",
    )
}

/// What a failing store means to the person at the keyboard; the message names the remedy itself.
pub fn store_error(error: side_store::StoreError) -> CommandError {
    use side_store::StoreError as E;
    match error {
        E::UnknownGroup(_) | E::OtherGenesis(_) | E::Unexpected { .. } => CommandError::bug(error.to_string()),
        _ => CommandError::user(error.to_string()),
    }
}
