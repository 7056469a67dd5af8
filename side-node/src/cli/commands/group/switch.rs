//! `side-node group use NODE GROUP`

use clap::Args;
use side_ledger::Name;

use super::act;
use crate::cli::Globals;
use crate::daemon::groups::{GroupAction, GroupInfo};
use crate::error::CommandError;
use crate::output::short;

/// Arguments of `group use`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: side-node group use node1 team\n\nThe console of a running node stays where it is: /group use GROUP turns it to another one. Swaps stay in the group in which they were offered."
)]
pub struct UseArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: Name,
    /// The group: its alias, its id or the beginning of that
    pub group: String,
}

/// Runs `group use`.
pub fn run(globals: &Globals, args: UseArgs) -> Result<(), CommandError> {
    let info: GroupInfo = act(globals, &args.node, GroupAction::Use { group: args.group })?;
    globals
        .output()
        .result(&info, || format!("{} means group {} ({}) from now on", args.node, info.alias, short(&info.group)))
}
