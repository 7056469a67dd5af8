//! One command, one file: its arguments and what it does.

pub mod history;
pub mod init;
pub mod invite;
pub mod note;
pub mod peers;
pub mod run;
pub mod status;

use serde::de::DeserializeOwned;
use side_ledger::Name;

use crate::api::client;
use crate::api::control::Verb;
use crate::cli::Globals;
use crate::daemon::offline;
use crate::error::CommandError;

/// Asks the running node, or, if it is stopped, its folder.
fn ask<T: DeserializeOwned>(globals: &Globals, name: &Name, verb: Verb) -> Result<T, CommandError> {
    let root = globals.root()?;
    let home = root.node(name.as_str());
    home.require()?;
    if let Some(answer) = client::ask(&home, verb.clone())? {
        return Ok(answer);
    }
    let value = match offline::answer(&root, &home, verb.clone()) {
        // It came up in between, or is about to listen.
        Err(error) if home.is_locked() => match client::ask_patiently(&home, verb)? {
            Some(answer) => return Ok(answer),
            None => return Err(error),
        },
        other => other?,
    };
    serde_json::from_value(value).map_err(|e| CommandError::bug(format!("an answer has another form: {e}")))
}
