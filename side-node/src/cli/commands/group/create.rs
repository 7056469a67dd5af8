//! `side-node group create NODE NAME`

use std::collections::BTreeMap;

use bft_json_crdt::identity::AuthorId;
use clap::{Args, ValueEnum};
use serde::Serialize;
use side_ledger::genesis::GenesisError;
use side_ledger::{Admission, Genesis, GroupSpec, Invitation, Limits, Name, Rules, Sealing};

use super::origin::{self, Taken};
use super::{act, key};
use crate::api::control::Verb;
use crate::cli::commands::init::DEFAULT_BLOCK_INTERVAL_MS;
use crate::cli::{Globals, GroupArgs};
use crate::clock;
use crate::config::check_relay;
use crate::daemon::groups::{Entered, GroupAction};
use crate::daemon::view::{Accepted, AccountLine};
use crate::error::CommandError;
use crate::keys;
use crate::output::{self, short};
use crate::registry::Registry;

/// Who seals blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SealingMode {
    /// One founder, until the voters choose another
    Leader,
    /// All founders together, four or more: a third less one of them may fail or lie
    Bft,
}

/// Arguments of `group create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node group create node1 team                          node1 alone founds it; anybody may join
  side-node group create node1 board --closed --founder node2 --founder 3f9a…
                                                             three founders; others come in by their vote
  side-node group create node1 bank --sealing bft --founder node2 --founder node3 --founder node4 --allocate node1=1000
                                                             final blocks, while three of the four agree
  side-node group create node1 bank2 --from bank --founder node2 --founder node5 --founder node6
                                                             bank has lost its sealers for good: go on with its last balances

What a group is founded on never changes: its hash is the group's id. So the founders' keys are needed first; for a node of another machine
`side-node key NODE` prints it there. Founders on this machine are in the group at once. The others join with the invitation that
`group invite` prints.

The founder with the lowest key seals first in leader mode.

With --from the new group takes over what each key owned after the other group's last block, and says from which block; frozen accounts are left out. It is sealed
and admits as the other group, unless said otherwise. A note in the other group tells its members, and `group show` lets each of them compare.")]
pub struct CreateArgs {
    /// The node that founds the group
    #[arg(value_name = "NODE")]
    pub node: Name,
    /// What the group is called
    #[arg(value_name = "GROUP")]
    pub name: Name,
    /// Let newcomers in by the members' vote only; otherwise anybody may join
    #[arg(long)]
    pub closed: bool,
    /// A further founder: a node of this root, or a key
    #[arg(long = "founder", value_name = "NODE|KEY")]
    pub founders: Vec<String>,
    /// Go on from a group of the node that has lost its sealers: begin with its last balances
    #[arg(long, value_name = "GROUP", conflicts_with = "allocations")]
    pub from: Option<String>,
    /// Who seals blocks [default: leader]
    #[arg(long, value_enum)]
    pub sealing: Option<SealingMode>,
    /// Time between blocks in milliseconds; none is made while nothing is new [default: 1000]
    #[arg(long, value_name = "MS")]
    pub interval: Option<u64>,
    /// With --sealing bft: how many views one leader stays, 0 for as long as it is live [default: 0]
    #[arg(long, value_name = "VIEWS")]
    pub term: Option<u64>,
    /// What a key owns at the beginning, in the group's own unit
    #[arg(long = "allocate", value_name = "NODE|KEY=AMOUNT")]
    pub allocations: Vec<String>,
    /// Where a relay of the group listens, best first
    #[arg(long = "relay", value_name = "URL")]
    pub relays: Vec<String>,
    /// What this root's nodes call the group [default: its name]
    #[arg(long, value_name = "NAME")]
    pub alias: Option<Name>,
}

/// What `group create` made.
#[derive(Debug, Clone, Serialize)]
pub struct Created {
    /// The group, as the node has it.
    #[serde(flatten)]
    pub entered: Entered,
    /// The invitation that the founders elsewhere join with.
    pub invitation: String,
    /// Founders of this root that joined as well.
    pub joined: Vec<String>,
    /// Founders of this root that could not, and why.
    pub failed: BTreeMap<String, String>,
    /// Founders' keys that belong to no node of this root.
    pub elsewhere: Vec<String>,
    /// With `--from`: frozen accounts of the other group, which are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<AccountLine>,
    /// With `--from`: why the other group's members could not be told in it, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untold: Option<String>,
}

/// Runs `group create`.
pub fn run(globals: &Globals, args: CreateArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let home = root.node(args.node.as_str());
    home.require()?;
    let own = keys::public(&home)?;
    let registry = Registry::load(&root)?;
    let taken = args.from.as_ref().map(|group| origin::take(globals, &args.node, group)).transpose()?;
    let genesis = genesis(&args, own, &registry, taken.as_ref())?;
    args.relays.iter().try_for_each(|relay| check_relay(relay))?;
    let invitation = Invitation::new(genesis.clone(), args.relays.clone())
        .map_err(|e| CommandError::usage(e.to_string()))?
        .to_string();
    let join = GroupAction::Join { invitation: invitation.clone(), alias: args.alias.as_ref().map(Name::to_string) };
    let entered: Entered = act(globals, &args.node, join.clone())?;
    let (mut joined, mut failed, mut elsewhere) = (Vec::new(), BTreeMap::new(), Vec::new());
    for founder in genesis.spec().founders.iter().filter(|founder| **founder != own) {
        let text = founder.to_string();
        match registry.name_of(&text) {
            None => elsewhere.push(text),
            Some(name) => match act::<Entered>(globals, name, join.clone()) {
                Ok(_) => joined.push(name.to_string()),
                Err(error) => _ = failed.insert(name.to_string(), error.to_string()),
            },
        }
    }
    let untold = taken.as_ref().and_then(|taken| tell(globals, &args, taken, &invitation).err());
    let untold = untold.map(|error| error.to_string());
    let left_out = taken.map(|taken| taken.left_out).unwrap_or_default();
    let created = Created { entered, invitation, joined, failed, elsewhere, left_out, untold };
    globals.output().result(&created, || text(&created, &args.node))
}

/// Tells the members of the group that this one goes on from, in that group: what is written there needs no sealer to be read.
fn tell(globals: &Globals, args: &CreateArgs, taken: &Taken, invitation: &str) -> Result<(), CommandError> {
    let text = format!(
        "this group goes on as {} with the balances after block {}. Join: side-node group join NODE {invitation} and compare: side-node group show NODE {}",
        args.name, taken.origin.height.0, args.name
    );
    let group = GroupArgs { group: Some(taken.info.group.clone()) };
    crate::cli::commands::ask::<Accepted>(globals, &args.node, &group, Verb::Note { text }).map(drop)
}

fn text(created: &Created, node: &Name) -> String {
    let Created { entered, invitation, joined, failed, elsewhere, left_out, untold } = created;
    let info = &entered.group;
    let mut out = format!("founded group {} ({})\n{}", info.alias, short(&info.group), super::describe(info));
    if !joined.is_empty() {
        out.push_str(&format!("joined     {}\n", joined.join(", ")));
    }
    for (name, why) in failed {
        out.push_str(&format!("{name} has not joined: {why}\n  try: side-node group join {name} {invitation}\n"));
    }
    for account in left_out {
        out.push_str(&format!("left out   {}: {} in a frozen account\n", output::who(&account.who), account.balance));
    }
    if let Some(why) = untold {
        out.push_str(&format!("the members of the other group could not be told there: {why}\n"));
    }
    if !elsewhere.is_empty() {
        out.push_str(&format!("{} founders are on other machines; ", elsewhere.len()));
    }
    out.push_str(&format!("invite with: side-node group invite {node} {}", info.alias));
    out
}

fn genesis(
    args: &CreateArgs,
    own: AuthorId,
    registry: &Registry,
    taken: Option<&Taken>,
) -> Result<Genesis, CommandError> {
    let mut founders = vec![own];
    for founder in &args.founders {
        let founder = key(registry, founder)?;
        // Whoever names itself, or somebody twice, means once.
        if !founders.contains(&founder) {
            founders.push(founder);
        }
    }
    let before = taken.map(|taken| &taken.info);
    let mode = args.sealing.unwrap_or(match before {
        Some(before) if before.sealing == "bft" => SealingMode::Bft,
        _ => SealingMode::Leader,
    });
    let interval_ms = args.interval.or(before.map(|before| before.interval_ms)).unwrap_or(DEFAULT_BLOCK_INTERVAL_MS);
    let sealing = match (mode, args.term) {
        (SealingMode::Leader, None) => Sealing::Leader { interval_ms },
        (SealingMode::Leader, Some(_)) => {
            return Err(CommandError::usage(
                "--term belongs to --sealing bft: in leader mode the leader stays until the voters choose another",
            ));
        }
        (SealingMode::Bft, term) => Sealing::Bft { interval_ms, term: term.unwrap_or(0) },
    };
    let mut allocation = taken.map(|taken| taken.allocation.clone()).unwrap_or_default();
    for text in &args.allocations {
        let wrong = || {
            CommandError::usage(format!("{text:?} is no allocation")).hint("take for example: --allocate node1=1000")
        };
        let (who, amount) = text.rsplit_once('=').ok_or_else(wrong)?;
        let amount: u64 = amount.parse().map_err(|_| wrong())?;
        if allocation.insert(key(registry, who)?, amount).is_some() {
            return Err(CommandError::usage(format!("{who} stands in two allocations")));
        }
    }
    let closed = args.closed || before.is_some_and(|before| before.admission == "closed");
    let spec = GroupSpec {
        name: args.name.clone(),
        created_ms: clock::now_ms(),
        nonce: clock::random()?,
        founders,
        admission: if closed { Admission::Closed } else { Admission::Open },
        allocation,
        sealing,
        limits: Limits::default(),
    };
    Genesis::founded(spec, taken.map(|taken| taken.origin), Rules::LATEST).map_err(|error| {
        let refused = CommandError::user(format!("this group cannot be founded: {error}"));
        match error {
            GenesisError::TooFewForBft(_) => {
                refused.hint("name more founders with --founder, or leave out --sealing bft")
            }
            GenesisError::Allocations(_) if taken.is_some() => {
                refused.hint("the other group has more accounts than a genesis holds: found this one with --allocate, and agree on the rest")
            }
            GenesisError::Range(_) => refused.hint("see side-node group create --help"),
            _ => refused,
        }
    })
}
