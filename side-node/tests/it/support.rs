//! A root in a temporary folder, nodes in it, and a relay on a port of the system's choice.

use std::path::Path;
use std::time::{Duration, Instant};

use side_ledger::Entry;
use side_node::cli::RelayArgs;
use side_node::cli::commands::init::{InitArgs, Made, init};
use side_node::daemon::view::{History, Status};
use side_node::daemon::{Daemon, DaemonConfig};
use side_node::error::CommandError;
use side_node::home::Root;
use side_watcher::server::{Config, Server};

/// The longest wait for anything in these tests: far beyond what a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// An address at which nobody listens: the discard port of this machine.
pub(crate) const NOWHERE: &str = "ws://127.0.0.1:9";

pub(crate) struct TestRoot {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) root: Root,
}

impl TestRoot {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::find(Some(folder.path().join("root"))).unwrap();
        Self { folder, root }
    }

    pub(crate) fn try_init(&self, name: &str, join: Option<String>) -> Result<Made, CommandError> {
        let relay = RelayArgs { relay: Some(NOWHERE.to_owned()) };
        init(
            &self.root,
            &InitArgs {
                name: name.parse().unwrap(),
                join,
                group_name: None,
                passphrase: false,
                restore_wallet: false,
                relay,
            },
        )
    }

    pub(crate) fn init(&self, name: &str) -> Made {
        self.try_init(name, None).unwrap()
    }

    /// A node that founds a group of its own, whatever the root has already.
    pub(crate) fn found(&self, name: &str, group: &str) -> Made {
        let args = InitArgs {
            name: name.parse().unwrap(),
            join: None,
            group_name: Some(group.parse().unwrap()),
            passphrase: false,
            restore_wallet: false,
            relay: RelayArgs { relay: Some(NOWHERE.to_owned()) },
        };
        init(&self.root, &args).unwrap()
    }

    pub(crate) fn config(&self, name: &str, relay: &str) -> DaemonConfig {
        DaemonConfig { relay: Some(relay.to_owned()), ..DaemonConfig::new(self.root.clone(), self.root.node(name)) }
    }

    pub(crate) async fn start(&self, name: &str, relay: &str) -> Daemon {
        Daemon::start(self.config(name, relay)).await.unwrap()
    }
}

/// A relay whose data folder outlives it.
pub(crate) async fn relay(data: &Path, port: u16) -> Server {
    let config = Config { listen: ([127, 0, 0, 1], port).into(), ..Config::local(data) };
    Server::start(config).await.unwrap()
}

/// Looks again and again until `good`; the last state is in the panic.
pub(crate) async fn until(daemon: &Daemon, what: &str, good: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = daemon.mailbox().status().await.unwrap();
        if good(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn until_in_sync(daemon: &Daemon) -> Status {
    until(daemon, "the node is in sync", |status| status.relay.as_ref().is_some_and(|relay| relay.in_sync)).await
}

/// Waits until a node has so many notes. What nodes write of themselves is not counted.
pub(crate) async fn until_notes(daemon: &Daemon, count: usize) -> History {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let history = history(daemon).await;
        if notes(&history).len() == count {
            return history;
        }
        assert!(Instant::now() < deadline, "waited in vain for {count} notes: {:?}", notes(&history));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until two nodes hold the same, and show the same.
pub(crate) async fn until_agreed(one: &Daemon, other: &Daemon) -> History {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (a, b) = (history(one).await, history(other).await);
        if a.heads_digest == b.heads_digest {
            assert_eq!((&a.digest, &a.heads, said(&a)), (&b.digest, &b.heads, said(&b)));
            return a;
        }
        assert!(Instant::now() < deadline, "they do not come to hold the same: {:?} and {:?}", a.heads, b.heads);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn history(daemon: &Daemon) -> History {
    daemon.mailbox().history(None).await.unwrap()
}

/// The entries without where they stand: one node may know of a block before the other.
pub(crate) fn said(history: &History) -> Vec<&Entry> {
    history.entries.iter().map(|line| &line.entry).collect()
}

/// The texts of the notes, in the one order.
pub(crate) fn notes(history: &History) -> Vec<&str> {
    history.entries.iter().filter(|entry| entry.kind == "note").map(|entry| entry.body.as_str().unwrap()).collect()
}

/// Copies a folder with everything in it (but no sockets).
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
