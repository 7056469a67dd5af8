//! Reading from, and writing to, a node that does not run.

use serde::Serialize;
use side_store::Store as _;

use super::core::{Core, store_error};
use super::disk::{self, Opened};
use super::groups::Folder;
use super::view::Accepted;
use crate::api::control::Verb;
use crate::clock;
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::keys;

/// Answers as the running node would, about its default group unless `group` names another. Takes the folder's lock meanwhile.
pub fn answer(
    root: &Root,
    home: &NodeHome,
    group: Option<&str>,
    verb: Verb,
) -> Result<serde_json::Value, CommandError> {
    if let Verb::Groups { action } = &verb {
        home.require()?;
        let _lock = home.lock()?;
        let key = keys::load(&home.key_file())?.author();
        return Folder::open(root, home, key)?.obey(action);
    }
    let Opened { mut core, mut store, lock, .. } = disk::open(root, home, group, false, None)?;
    let answer = match verb {
        Verb::History { limit } => to_json(&core.history(limit)),
        Verb::Status => to_json(&core.status(None)),
        Verb::Peers => to_json(&core.peers(None)),
        Verb::Swaps => to_json(&core.swaps()),
        Verb::Groups { .. } => Err(CommandError::bug("a verb about the folder came to a group")),
        verb @ (Verb::Note { .. } | Verb::Swap { .. }) => {
            let now = clock::now_ms();
            core.claim_name(now)?;
            let position = core
                .say(&verb, now)
                .unwrap_or_else(|| Err(CommandError::bug("nothing was written where something should be")))?;
            store.commit(&core.take_staged()).map_err(store_error)?;
            accepted(&core, &position, false)
        }
    };
    store.close().map_err(store_error)?;
    drop(lock);
    answer
}

/// The answer to an accepted note.
pub(super) fn accepted(
    core: &Core,
    position: &side_ledger::Position,
    running: bool,
) -> Result<serde_json::Value, CommandError> {
    let entry = core.entry(position).ok_or_else(|| CommandError::bug("an accepted note is not in the history"))?;
    to_json(&Accepted { entry, running })
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<serde_json::Value, CommandError> {
    serde_json::to_value(value).map_err(|e| CommandError::bug(format!("cannot write an answer as JSON: {e}")))
}
