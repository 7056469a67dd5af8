//! `side-node glance NAME`

use clap::Args;
use side_ledger::Name;

use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::glance::Glance;
use crate::daemon::view::Blocks;
use crate::error::CommandError;
use crate::output;

/// Blocks that people are shown.
const BLOCKS: usize = 5;

/// Arguments of `glance`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node glance node1
  side-node glance node1 --json | jq '.graph.changes[-1].summary, .blocks[-1].height'

With --json: the status, the last changes as a graph, the last blocks with their transactions, balances,
peers and swaps in one document, bounded however long the history.")]
pub struct GlanceArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Runs `glance`.
pub fn run(globals: &Globals, args: GlanceArgs) -> Result<(), CommandError> {
    let glance: Glance = super::ask(globals, &args.name, &args.group, Verb::Glance { unlike: None })?;
    globals.output().result(&glance, || text(&glance))
}

fn text(glance: &Glance) -> String {
    let skipped = glance.blocks.len().saturating_sub(BLOCKS);
    let blocks = Blocks {
        group: glance.status.group.clone(),
        height: glance.status.height,
        blocks: glance.blocks[skipped..].iter().map(|block| block.block.clone()).collect(),
    };
    let mut parts = vec![output::status(&glance.status), output::blocks(&blocks)];
    let swaps = glance.swaps.iter().filter(|swap| !swap.done);
    parts.extend(
        swaps.map(|swap| format!("{}\n    {}", output::printable(&swap.summary), output::printable(&swap.next_step))),
    );
    parts.extend(glance.swaps_problem.as_deref().map(output::printable));
    parts.iter().map(|part| part.trim_end()).collect::<Vec<_>>().join("\n")
}
