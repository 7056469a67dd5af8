//! Looks for the likeliest troubles of a node and says what to do. Changes nothing, works with the node running or not, and ends in bounded time.
//!
//! ```text
//! patient: what the folder and the running node say ─► CHECKS, each on a thread with a limit ─► findings
//! ```
//! A check is a row of [`CHECKS`] and a function from the [`Patient`] to what it found. It never repairs: what it says next is a command or a line for a
//! person to type.
//! - [`folder`]: the node's folder, keys, configuration, and the registry
//! - [`machine`]: disk, open files, clock, ports
//! - [`store`]: the database, whether it is the latest copy, and proofs against its own key
//! - [`process`]: whether a node runs, and answers
//! - [`network`]: relay, other nodes, blocks
//! - [`bitcoin`]: the servers of the wallet

pub mod bitcoin;
pub mod folder;
pub mod machine;
pub mod network;
pub mod patient;
pub mod process;
pub mod store;

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;

pub use patient::Patient;

/// The version of the report's form.
pub const REPORT_VERSION: u32 = 1;
/// How long a check may take that looks at files.
const LOCAL: Duration = Duration::from_secs(10);
/// How long a key may take to be opened: argon2id with the most memory and passes that are taken, on a slow and busy machine.
const UNLOCK: Duration = Duration::from_secs(60);
/// How long a check may take that asks others: a few connections, each with a limit of its own below that.
const REMOTE: Duration = Duration::from_secs(20);
/// How long the database's structure may be looked at: about a second a gigabyte.
const THOROUGH: Duration = Duration::from_secs(120);

/// A check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How long it may take.
    pub limit: Duration,
    /// What it does.
    pub look: fn(&Patient) -> Vec<Found>,
}

/// Every check, in the order in which troubles follow from each other: what is wrong further up explains what is wrong below.
pub const CHECKS: [Check; 16] = [
    Check { name: "folder", limit: LOCAL, look: folder::folder },
    Check { name: "key", limit: UNLOCK, look: folder::key },
    Check { name: "config", limit: LOCAL, look: folder::config },
    Check { name: "registry", limit: LOCAL, look: folder::registry },
    Check { name: "process", limit: LOCAL, look: process::process },
    Check { name: "disk", limit: LOCAL, look: machine::disk },
    Check { name: "files", limit: LOCAL, look: machine::files },
    Check { name: "store", limit: THOROUGH, look: store::store },
    Check { name: "copy", limit: LOCAL, look: store::copy },
    Check { name: "fork", limit: LOCAL, look: store::fork },
    Check { name: "clock", limit: LOCAL, look: machine::clock },
    Check { name: "port", limit: LOCAL, look: machine::port },
    Check { name: "relay", limit: REMOTE, look: network::relay },
    Check { name: "peers", limit: REMOTE, look: network::peers },
    Check { name: "blocks", limit: REMOTE, look: network::blocks },
    Check { name: "bitcoin", limit: REMOTE, look: bitcoin::bitcoin },
];

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is wrong.
    Good,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Something has to be mended.
    Trouble,
    /// It could not be told, or does not apply.
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How bad it is.
    pub state: State,
    /// What was seen.
    pub what: String,
    /// What to do.
    pub next: Option<String>,
}

impl Found {
    /// Nothing is wrong.
    pub fn good(what: impl Into<String>) -> Self {
        Self { state: State::Good, what: what.into(), next: None }
    }

    /// Worth knowing.
    pub fn note(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state: State::Note, what: what.into(), next: Some(next.into()) }
    }

    /// Something to mend, and how.
    pub fn trouble(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state: State::Trouble, what: what.into(), next: Some(next.into()) }
    }

    /// It could not be told.
    pub fn skipped(what: impl Into<String>) -> Self {
        Self { state: State::Skipped, what: what.into(), next: None }
    }

    /// An error as trouble: its message, and its hint as what to do.
    pub fn error(error: &crate::error::CommandError) -> Self {
        Self::trouble(error.message(), error.next_step().unwrap_or("see the reason"))
    }
}

/// A line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// How bad it is.
    pub state: State,
    /// What was seen.
    pub what: String,
    /// What to do.
    pub next: Option<String>,
}

/// What was found about a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The node.
    pub node: String,
    /// The process that runs it.
    pub pid: Option<u32>,
    /// The findings, in the order of [`CHECKS`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many troubles there are.
    pub fn troubles(&self) -> usize {
        self.findings.iter().filter(|finding| finding.state == State::Trouble).count()
    }
}

/// Looks at a node. `told` hears the name of each check before it begins.
pub fn examine(patient: Patient, mut told: impl FnMut(&'static str)) -> Report {
    let patient = Arc::new(patient);
    let mut findings = Vec::new();
    for check in CHECKS {
        told(check.name);
        let found = within(check, &patient);
        findings.extend(found.into_iter().map(|Found { state, what, next }| Finding {
            check: check.name,
            state,
            what,
            next,
        }));
    }
    Report { node: patient.home.name().to_owned(), pid: patient.pid(), findings }
}

/// Runs a check on a thread of its own. One that takes too long is left behind: it ends with the process.
fn within(check: Check, patient: &Arc<Patient>) -> Vec<Found> {
    let (done, wait) = mpsc::sync_channel(1);
    let looked_at = Arc::clone(patient);
    let thread = std::thread::Builder::new().name(format!("side-doctor-{}", check.name));
    if let Err(error) = thread.spawn(move || drop(done.send((check.look)(&looked_at)))) {
        return vec![Found::skipped(format!("no thread could be started: {error}"))];
    }
    match wait.recv_timeout(check.limit) {
        Ok(found) => found,
        Err(RecvTimeoutError::Timeout) => vec![Found::trouble(
            format!("no answer within {} seconds", check.limit.as_secs()),
            "something that this asks hangs: a disk, a name server or the node itself",
        )],
        Err(RecvTimeoutError::Disconnected) => {
            vec![Found::trouble("the check broke off", "this is a bug in Side; please report it")]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Root;

    fn nobody() -> Arc<Patient> {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::find(Some(folder.path().to_owned())).unwrap();
        let home = root.node("node1");
        Arc::new(Patient::new(root, home, None))
    }

    #[test]
    fn a_check_that_hangs_or_breaks_is_told_and_left_behind() {
        let hang = |_: &Patient| -> Vec<Found> {
            loop {
                std::thread::park();
            }
        };
        let check = Check { name: "hang", limit: Duration::from_millis(20), look: hang };
        assert_eq!(within(check, &nobody())[0].state, State::Trouble);
        let check = Check { name: "break", limit: REMOTE, look: |_| panic!("on purpose") };
        assert!(within(check, &nobody())[0].what.contains("broke off"));
    }
}
