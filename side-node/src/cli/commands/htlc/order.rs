//! The operator's word about one swap: what `claim`, `refund` and `cancel` do.

use std::collections::BTreeSet;

use side_ledger::Name;

use super::{ChainArgs, Session, block_on, report};
use crate::btc::htlc::swap::Command;
use crate::btc::swaps::view;
use crate::cli::Globals;
use crate::error::CommandError;

/// Gives the swap whose id begins so a command, tells the group, and prints where the swap stands then.
pub(super) fn order(
    globals: &Globals,
    name: &Name,
    id: &str,
    chain: &ChainArgs,
    command: Command,
) -> Result<(), CommandError> {
    let session = Session::new(globals, name, chain)?;
    let mut desk = session.desk()?;
    let deal = block_on(async {
        session.meet(&mut desk).await?;
        let id = session.find(&desk, id)?.id();
        let round = desk.order(&id, command).await.map_err(|e| session.error(e))?;
        report(&round, &mut BTreeSet::new(), session.json());
        session.publish(&mut desk).await?;
        desk.get(&id).map_err(|e| session.error(e))
    })?;
    let view = view::deal(&deal);
    globals.output().result(&view, || format!("{}\n    {}", view::headline(&view), view.next.join("\n    ")))
}
