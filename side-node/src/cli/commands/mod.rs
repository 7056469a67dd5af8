//! One command, one file: its arguments and what it does.

pub mod backup;
pub mod balance;
pub mod blocks;
pub mod btc;
pub mod btc_htlc;
pub mod btc_swap;
pub mod btc_transfer;
pub mod glance;
pub mod group;
pub mod history;
pub mod htlc;
pub mod init;
pub mod invite;
pub mod key;
pub mod note;
pub mod peers;
pub mod proof;
pub mod restore;
pub mod run;
pub mod send;
pub mod status;
pub mod verify;
pub mod vote;

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use side_ledger::Name;

use crate::api::client;
use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::offline;
use crate::error::CommandError;
use crate::home::{NodeHome, Root};

/// How long a node may take to start or another command to end: the whole history is read before.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two attempts at a busy folder.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Asks the running node, or, if it is stopped, its folder. A folder that is busy belongs to a node that is about to listen, or about to end, or to
/// another command: then this waits.
fn ask<T: DeserializeOwned>(globals: &Globals, name: &Name, group: &GroupArgs, verb: Verb) -> Result<T, CommandError> {
    let root = globals.root()?;
    let home = root.node(name.as_str());
    home.require()?;
    ask_node(&root, &home, group.group.as_deref(), verb)
}

/// [`ask`] with the folder at hand.
pub(crate) fn ask_node<T: DeserializeOwned>(
    root: &Root,
    home: &NodeHome,
    group: Option<&str>,
    verb: Verb,
) -> Result<T, CommandError> {
    let deadline = Instant::now() + BUSY_PATIENCE;
    let value = loop {
        let answer = match client::ask::<serde_json::Value>(home, group, verb.clone()) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => offline::answer(root, home, group, verb.clone()),
            Err(error) => Err(error),
        };
        match answer {
            Err(error) if error.is_busy() && Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
            other => break other?,
        }
    };
    serde_json::from_value(value).map_err(|e| CommandError::bug(format!("an answer has another form: {e}")))
}
