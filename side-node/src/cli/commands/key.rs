//! `side-node key NAME`

use clap::Args;
use serde_json::json;
use side_ledger::Name;

use crate::cli::Globals;
use crate::error::CommandError;
use crate::keys;

/// Arguments of `key`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example, on the machine of node1: side-node group create node1 team --founder KEY

The public key, in 64 hexadecimal digits: who the node is, in every group. It is no secret.")]
pub struct KeyArgs {
    /// The node
    pub name: Name,
}

/// Runs `key`.
pub fn run(globals: &Globals, args: KeyArgs) -> Result<(), CommandError> {
    let home = globals.root()?.node(args.name.as_str());
    home.require()?;
    let key = keys::load(&home.key_file())?.author().to_string();
    globals.output().result(&json!({ "node": args.name, "key": key }), || key.clone())
}
