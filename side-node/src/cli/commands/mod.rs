//! One command, one file: its arguments and what it does.

pub mod backup;
pub mod balance;
pub mod blocks;
pub mod btc;
pub mod btc_htlc;
pub mod btc_swap;
pub mod btc_transfer;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod export;
pub mod follow;
pub mod glance;
pub mod group;
pub mod history;
pub mod htlc;
pub mod import;
pub mod init;
pub mod invite;
pub mod key;
pub mod man;
pub mod note;
pub mod peers;
pub mod proof;
pub mod restore;
pub mod run;
pub mod send;
pub mod status;
pub mod tui;
pub mod verify;
pub mod vote;

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use side_ledger::Name;

use crate::api::client;
use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::offline;
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::registry::Registry;

/// How long a node may take to start or another command to end: the whole history is read before.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);
/// How long it is waited without a word.
const BUSY_SILENCE: Duration = Duration::from_secs(1);
/// Pause between two attempts at a busy folder.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The node that is meant where it may be left out: the only one of the root.
fn choose_node(root: &Root, name: Option<Name>) -> Result<Name, CommandError> {
    if let Some(name) = name {
        return Ok(name);
    }
    let names: Vec<Name> = Registry::load(root)?.nodes.into_keys().collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(CommandError::user(format!("there is no node in {}", root.path().display()))
            .hint("make one with: side-node init node1")),
        several => {
            let several: Vec<&str> = several.iter().map(Name::as_str).collect();
            Err(CommandError::usage("there are several nodes here, so one has to be named")
                .hint(format!("one of: {}", several.join(", "))))
        }
    }
}

/// On a terminal: a line on stderr that the next one overwrites; an empty one takes it away. Whether there is a terminal.
fn wait_line(text: &str) -> bool {
    let terminal = stderr().is_terminal();
    if terminal {
        // Whoever closed stderr does not want to know.
        let _ = write!(stderr(), "\r\u{1b}[K{text}").and_then(|()| stderr().flush());
    }
    terminal
}

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
    let began = Instant::now();
    let mut told = false;
    let value = loop {
        let answer = match client::ask::<serde_json::Value>(home, group, verb.clone()) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => offline::answer(root, home, group, verb.clone()),
            Err(error) => Err(error),
        };
        match answer {
            Err(error) if error.is_busy() && began.elapsed() < BUSY_PATIENCE => {
                if !told && began.elapsed() > BUSY_SILENCE {
                    told = wait_line(&format!("waiting for {}: it is starting or stopping", home.name()));
                }
                std::thread::sleep(BUSY_PAUSE);
            }
            other => break other,
        }
    };
    if told {
        wait_line("");
    }
    let value = value?;
    serde_json::from_value(value).map_err(|e| CommandError::bug(format!("an answer has another form: {e}")))
}
