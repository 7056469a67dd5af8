//! `side-node btc export NAME`

use clap::Args;
use serde_json::json;
use side_ledger::Name;

use super::{ChainArgs, PayArgs, Session};
use crate::cli::Globals;
use crate::error::CommandError;

/// Arguments of `btc export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node btc export dave
  side-node btc export dave --words

Without --words there is no secret in it: other wallets can watch with the descriptors, and nobody can spend. With --words the seed is printed: write it on
paper, where nobody sees it. Restore it with: side-node init NODE --restore-wallet")]
pub struct ExportArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Print the seed's words, too: whoever reads them has the coins
    #[arg(long)]
    pub words: bool,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Runs `btc export`.
pub fn run(globals: &Globals, args: ExportArgs) -> Result<(), CommandError> {
    let session = Session::new(globals, &args.name, &args.chain, &PayArgs::default())?;
    let wallet = session.open()?;
    let [external, internal] = wallet.descriptors();
    let words = match args.words {
        true => Some(session.place.seed().map_err(|e| session.error(e))?.words()),
        false => None,
    };
    let mut value = json!({
        "node": session.name,
        "network": session.network(),
        "external": external,
        "internal": internal,
    });
    if let Some(words) = &words {
        value["words"] = json!(words.as_str());
    }
    globals.output().result(&value, || {
        let mut out = format!("external  {external}\ninternal  {internal}\n");
        if let Some(words) = &words {
            out.push_str(&format!("words     {}\n", words.as_str()));
        }
        out
    })
}
