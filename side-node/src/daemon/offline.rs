//! Reading from, and writing to, a node that does not run.

use bft_json_crdt::identity::AuthorId;
use serde::Serialize;
use side_ledger::Name;
use side_store::Store as _;

use super::disk::{self, Opened};
use super::glance::Glance;
use super::groups::{Folder, GroupAction, GroupBrief};
use super::roll::Mark;
use super::view::Accepted;
use crate::api::control::Verb;
use crate::btc::swaps;
use crate::btc::swaps::glance::MAX_SWAP_ENTRIES;
use crate::clock;
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::keys;
use crate::member::{Around, Member, store_error};
use crate::registry::Registry;

/// Answers as the running node would, about its default group unless `group` names another. Takes the folder's lock meanwhile.
pub fn answer(
    root: &Root,
    home: &NodeHome,
    group: Option<&str>,
    verb: Verb,
) -> Result<serde_json::Value, CommandError> {
    if let Verb::Groups { action } = &verb {
        return act(root, home, action);
    }
    if let Verb::Backup { to } = &verb {
        return disk::copy(home, to).map(|()| serde_json::Value::Null);
    }
    let local = local_names(root.clone());
    let mut opened = disk::open(root, home, false, None)?;
    let membership = opened.folder.memberships().choose(group)?.clone();
    let mut member = opened.member(&membership)?;
    let Opened { mut store, folder, lock, .. } = opened;
    let answer = if verb.only_reads() {
        read(&mut member, &verb, Around { now_ms: clock::now_ms(), ..Around::default() })
    } else {
        let now = clock::now_ms();
        member.begin(now)?;
        let position = member
            .say(&verb, &local, now)
            .unwrap_or_else(|| Err(CommandError::bug("nothing was written where something should be")))?;
        store.commit(&member.take_staged()).map_err(store_error)?;
        member.durable();
        accepted(&member, &position, false)
    };
    store.close().map_err(store_error)?;
    drop(lock);
    let mut answer = answer?;
    if let (Verb::Status, serde_json::Value::Object(status)) = (&verb, &mut answer) {
        status.insert("groups".to_owned(), to_json(&folder.briefs())?);
    }
    match verb {
        Verb::Glance { .. } => complete_glance(home, answer, &folder.briefs()),
        _ => Ok(answer),
    }
}

/// Puts into a glance what only the node knows, and not the group's member: its groups and its swaps.
pub(super) fn complete_glance(
    home: &NodeHome,
    glance: serde_json::Value,
    briefs: &[GroupBrief],
) -> Result<serde_json::Value, CommandError> {
    let mut glance: Glance =
        serde_json::from_value(glance).map_err(|e| CommandError::bug(format!("a glance has another form: {e}")))?;
    briefs.clone_into(&mut glance.status.groups);
    let group = glance.status.group.clone();
    if let Err(error) = swaps::glance::add_deals(home, &group, &mut glance.swaps) {
        glance.swaps_problem = Some(error.into_command_error(home.name()).message().to_owned());
    }
    to_json(&glance)
}

/// Does something about a stopped node's groups.
fn act(root: &Root, home: &NodeHome, action: &GroupAction) -> Result<serde_json::Value, CommandError> {
    if let GroupAction::Invite(options) = action
        && !options.no_checkpoint
    {
        let mut opened = disk::open(root, home, false, None)?;
        let membership = opened.folder.memberships().choose(options.group.as_deref())?.clone();
        let checkpoint = opened.member(&membership)?.checkpoint();
        let invitee = opened.folder.invite(options, checkpoint);
        opened.store.close().map_err(store_error)?;
        return to_json(&invitee?);
    }
    home.require()?;
    let _lock = home.lock()?;
    let key = keys::public(home)?;
    Folder::open(root, home, key)?.obey(action)
}

/// What names mean on this machine: the registry's nodes. Read when it is asked, since nodes come and go.
pub(super) fn local_names(root: Root) -> impl Fn(&str) -> Option<AuthorId> + Send {
    move |word| {
        let name: Name = word.parse().ok()?;
        let registry =
            Registry::load(&root).inspect_err(|error| tracing::warn!(%error, "cannot look names up")).ok()?;
        AuthorId::from_hex(&registry.nodes.get(&name)?.key).ok()
    }
}

/// The answer to a verb that only asks.
pub(super) fn read(member: &mut Member, verb: &Verb, around: Around<'_>) -> Result<serde_json::Value, CommandError> {
    match verb {
        Verb::History { limit } => to_json(&member.history(*limit)),
        Verb::Peers => to_json(&member.peers(around)),
        Verb::Members => to_json(&member.roll()),
        Verb::Checkpoint => to_json(&member.checkpoint().map(Mark::from)),
        Verb::Swaps => to_json(&member.swaps()),
        Verb::Status => to_json(&member.status(around)),
        Verb::Blocks { limit } => to_json(&member.blocks(*limit)),
        Verb::Balance => to_json(&member.balances()),
        Verb::Glance { .. } => {
            let mut glance = member.glance(around);
            glance.swaps = swaps::glance::offers(&glance.status.group, &member.last_swaps(MAX_SWAP_ENTRIES));
            to_json(&glance)
        }
        Verb::Proof { transaction, from } => to_json(&member.prove(transaction, *from)?),
        Verb::Note { .. }
        | Verb::Swap { .. }
        | Verb::Send { .. }
        | Verb::Vote { .. }
        | Verb::Backup { .. }
        | Verb::Groups { .. } => Err(CommandError::bug("a verb came to a group that does not only ask it")),
    }
}

/// The answer to an accepted transaction.
pub(super) fn accepted(
    member: &Member,
    position: &side_ledger::Position,
    running: bool,
) -> Result<serde_json::Value, CommandError> {
    let entry =
        member.line_at(position).ok_or_else(|| CommandError::bug("an accepted transaction is not in the history"))?;
    to_json(&Accepted { entry, running })
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<serde_json::Value, CommandError> {
    serde_json::to_value(value).map_err(|e| CommandError::bug(format!("cannot write an answer as JSON: {e}")))
}
