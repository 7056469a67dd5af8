//! The node's database: opening it, telling whether it is the latest copy, and writing to it while the node runs.
//!
//! One database holds all groups of a node. A copy that may be old is suspected for each group by itself: what a node has forgotten of one group it does
//! not learn from the members of another. Once a group's task has learnt from others what this node wrote there it writes; once all have, the database is
//! known as the latest copy. A node that stops before learns again at the next start, since until then nothing would tell if it were set back
//! once more. What is stored of a group that the node has left stays suspected until it joins again and learns.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use bft_json_crdt::identity::Keypair;
use bytes::Bytes;
use side_ledger::{GroupId, Name};
use side_store::identity::{Expect, Identified, identify};
use side_store::writer::WriterThread;
use side_store::{Batch, GroupCommit, OpenOptions, SqliteStore, Store as _, WriterError, WriterLimits};
use tokio::sync::RwLock;

use super::groups::Folder;
use super::membership::Membership;
use crate::clock;
use crate::error::CommandError;
use crate::home::{FolderLock, NodeHome, Root, create_private_dir_all, remove_leftovers, replace_file};
use crate::member::{Member, store_error};
use crate::{keys, rotation};

/// Under this key, followed by the group's id, the database keeps that what it has of a group may be old although the rest is settled.
const SUSPECTED_KEY: &str = "suspected-group/";
/// Why a copy is suspected, should somebody run a node with it.
const COPY: &str = "it is a copy that was made for a backup";
/// The file that names the journal of votes, beside it.
const VOTES_MARK: &str = "journal";

/// A node's folder, opened: this process alone uses it.
pub struct Opened {
    /// The node's local name.
    pub name: Name,
    /// Its key.
    pub keypair: Keypair,
    /// The key pair that is to take the place of that one, while it is rotated.
    pub next: Option<Keypair>,
    /// Its groups.
    pub folder: Folder,
    /// The database.
    pub store: SqliteStore,
    /// Whether the database is the latest copy.
    identified: Identified,
    /// Whether its owner declares that it is.
    trusted: bool,
    /// Names the journal of votes that lies beside it.
    votes: Bytes,
    /// Goes with the value.
    pub lock: FolderLock,
}

impl Opened {
    /// Reads a group from the database.
    pub fn member(&mut self, membership: &Membership) -> Result<Member, CommandError> {
        let suspicion = self.identified.suspicion.as_ref().map(ToString::to_string);
        let word = Word { suspicion, trusted: self.trusted, votes: self.votes.clone(), next: self.next.clone() };
        load(&self.name, &self.keypair, membership, &mut self.store, &word)
    }
}

/// Makes the database of a new node, in the folder `made_in`, which will become the node's own. The witness is the key's, not the name's: whoever
/// deletes a node and makes another one of that name has made another one.
pub fn create(root: &Root, made_in: &NodeHome, key: &str) -> Result<(), CommandError> {
    let witness = witness_folder(root, key)?;
    let mut store = SqliteStore::open(made_in.database_file(), &OpenOptions::default()).map_err(store_error)?;
    let identified = identify(&mut store, &witness, Expect::New, clock::random()?).map_err(store_error)?;
    if let Some(suspicion) = identified.suspicion {
        return Err(CommandError::bug(format!("a new database is suspected: {suspicion}")));
    }
    store.close().map_err(store_error)
}

/// Opens the folder of a node. `trust` declares that the database is the latest copy, whatever the marks say; `max_bytes` is a quota for it.
pub fn open(root: &Root, home: &NodeHome, trust: bool, max_bytes: Option<u64>) -> Result<Opened, CommandError> {
    home.require()?;
    let lock = home.lock()?;
    remove_leftovers(&home.keys_folder())?;
    rotation::finish(root, home)?;
    let (keypair, next) = (keys::load(home)?, rotation::next_keypair(home)?);
    let name =
        home.name().parse().map_err(|e| CommandError::user(format!("{:?} is no name of a node: {e}", home.name())))?;
    let folder = Folder::open(root, home, keypair.author())?;
    let witness = witness_folder(root, &keypair.author().to_string())?;
    let options = OpenOptions { max_bytes, ..OpenOptions::default() };
    let mut store = SqliteStore::open(home.database_file(), &options).map_err(store_error)?;
    let mut identified = identify(&mut store, &witness, Expect::Existing, clock::random()?).map_err(store_error)?;
    if trust {
        let all = stored(&mut store)?;
        settle(&mut store, &mut identified, all)?;
    }
    let votes = votes_mark(home)?;
    Ok(Opened { name, keypair, next, folder, store, identified, trusted: trust, votes, lock })
}

/// Writes a copy of a stopped node's database to a new file. Takes no passphrase.
pub fn copy(home: &NodeHome, to: &Path) -> Result<(), CommandError> {
    home.require()?;
    let _lock = home.lock()?;
    let options = OpenOptions { create: false, ..OpenOptions::default() };
    let mut store = SqliteStore::open(home.database_file(), &options).map_err(store_error)?;
    store.copy_to(to, COPY).map_err(store_error)?;
    store.close().map_err(store_error)
}

fn witness_folder(root: &Root, key: &str) -> Result<PathBuf, CommandError> {
    let witness = root.witness_file(key);
    if let Some(folder) = witness.parent() {
        create_private_dir_all(folder)
            .map_err(|e| CommandError::io(format!("cannot create {}", folder.display()), &e))?;
    }
    Ok(witness)
}

/// Names the journal of votes in a node's folder. Where there is none yet, or it was lost, it gets a new name.
fn votes_mark(home: &NodeHome) -> Result<Bytes, CommandError> {
    let file = home.consensus_folder().join(VOTES_MARK);
    let failed = |e: &std::io::Error| CommandError::io(format!("cannot use {}", file.display()), e);
    match std::fs::read(&file) {
        Ok(mark) => Ok(mark.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            create_private_dir_all(&home.consensus_folder()).map_err(|e| failed(&e))?;
            let mark = hex::encode(clock::random::<16>()?);
            replace_file(&file, mark.as_bytes()).map_err(|e| failed(&e))?;
            Ok(mark.into())
        }
        Err(error) => Err(failed(&error)),
    }
}

fn key_of(group: &GroupId) -> String {
    format!("{SUSPECTED_KEY}{group}")
}

/// The groups of which something is stored, also those that the node has left.
fn stored(store: &mut SqliteStore) -> Result<BTreeSet<GroupId>, CommandError> {
    Ok(store.groups().map_err(store_error)?.into_iter().map(|record| record.group).collect())
}

/// Makes the database known as the latest copy of what it has of `good`; what it has of other groups stays suspected, if the database was.
fn settle(store: &mut SqliteStore, identified: &mut Identified, good: BTreeSet<GroupId>) -> Result<(), CommandError> {
    let mut marks = Batch::new();
    for group in &good {
        marks = marks.meta(&key_of(group), None);
    }
    if identified.suspicion.is_none() {
        return store.commit(&marks).map(drop).map_err(store_error);
    }
    for group in stored(store)?.difference(&good) {
        marks = marks.meta(&key_of(group), Some(Bytes::from_static(b"1")));
    }
    // The marks go first: after a crash in between everything is suspected still.
    store.commit(&marks).map_err(store_error)?;
    identified.accept(store).map_err(store_error)
}

/// What is thought of the database as a copy.
struct Word {
    suspicion: Option<String>,
    trusted: bool,
    /// The journal of votes beside it.
    votes: Bytes,
    /// The key pair that is to take the place of the node's.
    next: Option<Keypair>,
}

fn load(
    name: &Name,
    keypair: &Keypair,
    membership: &Membership,
    store: &mut SqliteStore,
    word: &Word,
) -> Result<Member, CommandError> {
    let group = membership.group();
    let suspected = word.suspicion.is_some() || store.meta(&key_of(&group)).map_err(store_error)?.is_some();
    let mut member = Member::load(name.clone(), membership.invitation.genesis().clone(), keypair.clone(), store)?;
    member.tie_votes(store, &word.votes)?;
    member.rotate_to(word.next.clone());
    if word.trusted {
        member.trust();
    }
    member.begin_with(membership.invitation.checkpoint());
    if suspected {
        let why = word
            .suspicion
            .as_deref()
            .unwrap_or("this group was left before it was settled that nothing of it was lost");
        member.distrust(
            CommandError::user(format!("nothing can be written with this copy of node {name} yet: {why}")).hint(
                format!(
                    "writing on from an old copy would sign two different changes of one number, and the others would shut this node out. \
                     Run the node where it reaches others of the group: once it has learnt its own last change it writes again by itself. \
                     If you know that this is the latest copy: side-node run {name} --trust-this-copy"
                ),
            ),
        );
    }
    Ok(member)
}

/// The database of a running node, shared by the tasks of its groups: a thread that commits for all of them.
pub struct Disk {
    name: Name,
    keypair: Keypair,
    next: Option<Keypair>,
    writer: RwLock<Option<Writer>>,
    /// The first error of the disk, which ends everything.
    failure: OnceLock<CommandError>,
    identified: Mutex<Identified>,
    trusted: bool,
    votes: Bytes,
    /// Groups that have learnt from others what this node wrote there, while the database is suspected.
    learnt: Mutex<BTreeSet<GroupId>>,
}

struct Writer {
    commit: GroupCommit,
    thread: WriterThread<SqliteStore>,
}

impl Disk {
    /// Starts the thread.
    pub fn start(opened: Opened) -> Result<(Self, Folder, FolderLock), CommandError> {
        let Opened { name, keypair, next, folder, store, identified, trusted, votes, lock } = opened;
        let writer = RwLock::new(Some(spawn(store)?));
        let (identified, learnt) = (Mutex::new(identified), Mutex::default());
        let disk = Self { name, keypair, next, writer, failure: OnceLock::new(), identified, trusted, votes, learnt };
        Ok((disk, folder, lock))
    }

    /// Commits a batch; it survives a loss of power when this returns. An empty batch costs nothing. While nobody else commits, it is done on the calling
    /// thread, which waits for the disk: for a group's own thread only.
    pub async fn commit(&self, batch: Batch) -> Result<(), CommandError> {
        if batch.is_empty() {
            return Ok(());
        }
        let completion = match &*self.writer.read().await {
            Some(writer) => match writer.commit.commit_here(batch) {
                Ok(completion) => completion,
                Err(batch) => writer.commit.append_async(batch).await,
            },
            None => return Err(closed()),
        };
        completion.await.map(drop).map_err(|error| self.fail(writer_error(error)))
    }

    /// Why nothing more is stored, if so.
    pub fn failure(&self) -> Option<CommandError> {
        self.failure.get().cloned()
    }

    fn fail(&self, error: CommandError) -> CommandError {
        self.failure.get_or_init(|| error).clone()
    }

    /// Reads a group from the database. The groups that run wait with their commits meanwhile.
    pub async fn member(&self, membership: Membership) -> Result<Member, CommandError> {
        let (name, keypair) = (self.name.clone(), self.keypair.clone());
        let word = Word {
            suspicion: self.suspicion(),
            trusted: self.trusted,
            votes: self.votes.clone(),
            next: self.next.clone(),
        };
        self.with_store(move |store| load(&name, &keypair, &membership, store, &word)).await?
    }

    /// A group has learnt what this node wrote there. Once all of `groups`, the node's present ones, have, the database is known as the latest copy.
    pub async fn learnt(&self, group: GroupId, groups: &BTreeSet<GroupId>) -> Result<(), CommandError> {
        let good = {
            let mut learnt = lock(&self.learnt);
            learnt.insert(group);
            if self.suspicion().is_some() && !groups.is_subset(&learnt) {
                return Ok(());
            }
            learnt.clone()
        };
        let mut identified = lock(&self.identified).clone();
        let settled = self.with_store(move |store| settle(store, &mut identified, good).map(|()| identified));
        *lock(&self.identified) = settled.await??;
        Ok(())
    }

    /// Writes a copy of the database, as it is at one moment, to a new file. The groups that run wait with their commits meanwhile.
    pub async fn copy(&self, to: PathBuf) -> Result<(), CommandError> {
        self.with_store(move |store| store.copy_to(&to, COPY).map_err(store_error)).await?
    }

    fn suspicion(&self) -> Option<String> {
        lock(&self.identified).suspicion.as_ref().map(ToString::to_string)
    }

    /// Works on the database itself, with nothing of the queue in between.
    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteStore) -> T + Send + 'static,
    ) -> Result<T, CommandError> {
        let mut place = self.writer.write().await;
        let writer = place.take().ok_or_else(closed)?;
        let done = blocking(move || {
            let mut store = close(writer)?;
            let outcome = work(&mut store);
            Ok((spawn(store)?, outcome))
        });
        let (writer, outcome) = done.await.map_err(|error| self.fail(error))?;
        *place = Some(writer);
        Ok(outcome)
    }

    /// Commits what is queued and closes the database.
    pub async fn close(&self) -> Result<(), CommandError> {
        match self.writer.write().await.take() {
            Some(writer) => blocking(move || close(writer)?.close().map_err(store_error)).await,
            None => Ok(()),
        }
    }
}

fn spawn(store: SqliteStore) -> Result<Writer, CommandError> {
    let (commit, thread) = GroupCommit::spawn(store, WriterLimits::default())
        .map_err(|e| CommandError::io("cannot start the store's thread", &e))?;
    Ok(Writer { commit, thread })
}

fn close(writer: Writer) -> Result<SqliteStore, CommandError> {
    let (store, outcome) = writer.thread.close();
    outcome.map_err(writer_error)?;
    store.ok_or_else(|| CommandError::bug("the thread that writes the database has panicked"))
}

fn closed() -> CommandError {
    CommandError::bug("the database is closed")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(CommandError::bug(format!("work on the database did not end: {error}"))),
    }
}

fn writer_error(error: WriterError) -> CommandError {
    match error {
        WriterError::Failed(error) => store_error((*error).clone()),
        WriterError::Closed => closed(),
    }
}

/// The value is replaced as a whole, so a panic elsewhere leaves it good.
fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
