//! `side-node group join NODE INVITATION`

use clap::Args;
use side_ledger::Name;

use super::act;
use crate::cli::Globals;
use crate::daemon::groups::{Entered, GroupAction};
use crate::error::CommandError;
use crate::output::{printable, short};

/// Arguments of `group join`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: side-node group join node9 side://AQ…

The node keeps the groups that it is in. In a closed group it may read at once and writes when the members have voted it in; what they have to
run is printed here.")]
pub struct JoinArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: Name,
    /// The invitation, as `group invite` prints it
    pub invitation: String,
    /// What this node calls the group [default: its name, with a number where that is taken]
    #[arg(long, value_name = "NAME")]
    pub alias: Option<Name>,
    /// Make it the node's default group
    #[arg(long = "use")]
    pub make_default: bool,
}

/// Runs `group join`.
pub fn run(globals: &Globals, args: JoinArgs) -> Result<(), CommandError> {
    let alias = args.alias.as_ref().map(Name::to_string);
    let mut entered: Entered = act(globals, &args.node, GroupAction::Join { invitation: args.invitation, alias })?;
    if args.make_default {
        entered.group = act(globals, &args.node, GroupAction::Use { group: entered.group.group })?;
    }
    globals.output().result(&entered, || text(&entered))
}

fn text(entered: &Entered) -> String {
    let Entered { node, group, new, running, .. } = entered;
    let alias = &group.alias;
    let mut out = if *new {
        format!("{node} is in group {} ({}) now, and calls it {alias}\n", printable(&group.name), short(&group.group))
    } else {
        format!(
            "{node} is in group {alias} ({}) already; its addresses are those of this invitation now\n",
            short(&group.group)
        )
    };
    if let Some(ask) = ask_for(entered) {
        out.push_str(&ask);
    }
    let about = if group.default { String::new() } else { format!(" --group {alias}") };
    out.push_str(&match running {
        true => format!("see: side-node status {node}{about}"),
        false => format!("next: side-node run {node}"),
    });
    out
}

/// What members of a closed group have to run before a newcomer can write.
fn ask_for(entered: &Entered) -> Option<String> {
    let group = &entered.group;
    (group.admission == "closed" && !group.founder).then(|| {
        format!(
            "The group is closed: {} reads, and writes once the members have let it in. Each of them runs:\n  side-node vote MEMBER --group {} member {} in\n",
            entered.node, short(&group.group), entered.key
        )
    })
}
