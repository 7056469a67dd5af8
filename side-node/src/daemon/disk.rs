//! The node's database: opening it, telling whether it is the latest copy, and writing to it while the node runs.

use side_store::identity::{Expect, Identified, identify};
use side_store::writer::WriterThread;
use side_store::{Batch, Completion, GroupCommit, OpenOptions, SqliteStore, WriterError, WriterLimits};

use super::membership::Memberships;
use crate::clock;
use crate::error::CommandError;
use crate::home::{FolderLock, NodeHome, Root, create_private_dir_all};
use crate::keys;
use crate::member::{Member, store_error};

/// A node's folder, opened: this process alone uses it.
pub struct Opened {
    /// The group.
    pub member: Member,
    /// The database.
    pub store: SqliteStore,
    /// Whether the database is the latest copy.
    pub identified: Identified,
    /// Relays that the invitation named.
    pub known_relays: Vec<String>,
    /// Goes with the value.
    pub lock: FolderLock,
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

/// Opens the folder of a node with one of its groups, the default unless `group` names another. `trust` declares that the database is the latest copy,
/// whatever the marks say; `max_bytes` is a quota for it.
pub fn open(
    root: &Root,
    home: &NodeHome,
    group: Option<&str>,
    trust: bool,
    max_bytes: Option<u64>,
) -> Result<Opened, CommandError> {
    home.require()?;
    let lock = home.lock()?;
    let keypair = keys::load(&home.key_file())?;
    let invitation = Memberships::load(home)?.choose(group)?.invitation.clone();
    let name =
        home.name().parse().map_err(|e| CommandError::user(format!("{:?} is no name of a node: {e}", home.name())))?;
    let witness = witness_folder(root, &keypair.author().to_string())?;
    let options = OpenOptions { max_bytes, ..OpenOptions::default() };
    let mut store = SqliteStore::open(home.database_file(), &options).map_err(store_error)?;
    let mut identified = identify(&mut store, &witness, Expect::Existing, clock::random()?).map_err(store_error)?;
    if trust && identified.suspicion.is_some() {
        identified.accept(&mut store).map_err(store_error)?;
    }
    let mut member = Member::load(name, invitation.genesis().clone(), keypair, &mut store)?;
    if trust {
        member.trust();
    }
    if let Some(suspicion) = &identified.suspicion {
        member.distrust(
            CommandError::user(format!("nothing can be written with this copy of node {:?} yet: {suspicion}", home.name()))
                .hint(format!(
                    "writing on from an old copy would sign two different changes of one number, and the others would shut this node out. \
                     Run the node with a relay that carries the group: once it has learnt its own last change it writes again by itself. \
                     If you know that this is the latest copy: side-node run {} --trust-this-copy",
                    home.name()
                )),
        );
    }
    Ok(Opened { member, store, identified, known_relays: invitation.relays().map(str::to_owned).collect(), lock })
}

fn witness_folder(root: &Root, key: &str) -> Result<std::path::PathBuf, CommandError> {
    let witness = root.witness_file(key);
    if let Some(folder) = witness.parent() {
        create_private_dir_all(folder)
            .map_err(|e| CommandError::io(format!("cannot create {}", folder.display()), &e))?;
    }
    Ok(witness)
}

/// The database of a running node: a thread that commits in groups.
pub struct Disk {
    commit: GroupCommit,
    thread: Option<WriterThread<SqliteStore>>,
    identified: Identified,
}

impl Disk {
    /// Starts the thread.
    pub fn start(store: SqliteStore, identified: Identified) -> Result<Self, CommandError> {
        let (commit, thread) = spawn(store)?;
        Ok(Self { commit, thread: Some(thread), identified })
    }

    /// Commits a batch; it survives a loss of power when this returns. An empty batch costs nothing.
    pub async fn commit(&self, batch: Batch) -> Result<(), CommandError> {
        if batch.is_empty() {
            return Ok(());
        }
        let completion: Completion = self.commit.append_async(batch).await;
        completion.await.map(drop).map_err(writer_error)
    }

    /// Declares the database to be the latest copy from now on.
    pub async fn accept(self) -> Result<Self, CommandError> {
        blocking(move || {
            let Self { thread, mut identified, .. } = self;
            let mut store = close(thread)?;
            identified.accept(&mut store).map_err(store_error)?;
            Self::start(store, identified)
        })
        .await
    }

    /// Commits what is queued and closes the database.
    pub async fn close(self) -> Result<(), CommandError> {
        blocking(move || close(self.thread)?.close().map_err(store_error)).await
    }
}

fn spawn(store: SqliteStore) -> Result<(GroupCommit, WriterThread<SqliteStore>), CommandError> {
    GroupCommit::spawn(store, WriterLimits::default())
        .map_err(|e| CommandError::io("cannot start the store's thread", &e))
}

fn close(thread: Option<WriterThread<SqliteStore>>) -> Result<SqliteStore, CommandError> {
    let thread = thread.ok_or_else(|| CommandError::bug("the database was closed twice"))?;
    let (store, outcome) = thread.close();
    outcome.map_err(writer_error)?;
    store.ok_or_else(|| CommandError::bug("the thread that writes the database has panicked"))
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
        WriterError::Closed => CommandError::bug("the database is closed"),
    }
}
