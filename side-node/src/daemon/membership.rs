//! The group that a node belongs to: the invitation in its folder.

use std::fs;

use side_ledger::Invitation;

use crate::error::CommandError;
use crate::home::NodeHome;

/// Reads the invitation that the node's folder was made with.
pub fn load(home: &NodeHome) -> Result<Invitation, CommandError> {
    let path = home.group_file();
    let text =
        fs::read_to_string(&path).map_err(|e| CommandError::io(format!("cannot read {}", path.display()), &e))?;
    text.parse().map_err(|e| {
        CommandError::user(format!("{} is damaged: {e}", path.display()))
            .hint("put the line there that `side-node invite` prints for another node of the group")
    })
}
