//! A glance without its graph, from the verbs that every build has.

use crate::clock;
use crate::daemon::Mailbox;
use crate::daemon::glance::{GLANCE_VERSION, Glance, GlanceBlock, Graph, MAX_GLANCE_BLOCKS};
use crate::error::CommandError;

pub(super) async fn glance(mailbox: &Mailbox) -> Result<Glance, CommandError> {
    let status = mailbox.status().await?;
    let peers = mailbox.peers().await?;
    let blocks = mailbox.blocks(MAX_GLANCE_BLOCKS as u64).await?;
    let last = status.final_height.unwrap_or(0);
    let blocks = blocks.blocks.into_iter().map(|block| GlanceBlock {
        is_final: block.height <= last,
        transactions_total: 0,
        transactions: Vec::new(),
        block,
    });
    Ok(Glance {
        version: GLANCE_VERSION,
        revision: 0,
        time_ms: clock::now_ms(),
        blocks: blocks.collect(),
        graph: Graph { lanes: Vec::new(), changes: Vec::new(), total: status.changes, cuts: Vec::new() },
        balances: mailbox.balances().await?,
        accounts_total: 0,
        swaps: Vec::new(),
        swaps_problem: None,
        status,
        peers,
    })
}
