//! Reading from, and writing to, a node that does not run.

use bft_json_crdt::identity::AuthorId;
use serde::Serialize;
use side_ledger::Name;
use side_store::Store as _;

use super::disk::{self, Opened};
use super::exchange::ImportReport;
use super::glance::Glance;
use super::groups::{Folder, GroupAction, GroupBrief};
use super::import::Importer;
use super::roll::Mark;
use super::view::Accepted;
use crate::api::control::Verb;
use crate::btc::swaps;
use crate::btc::swaps::glance::MAX_SWAP_ENTRIES;
use crate::clock;
use crate::error::CommandError;
use crate::export::Header;
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
        Verb::Glance { .. } => complete_glance(home, answer, &folder.briefs(), None),
        _ => Ok(answer),
    }
}

/// Puts into a glance what only the node knows, and not the group's member: its groups, where its page is, and its swaps.
pub(super) fn complete_glance(
    home: &NodeHome,
    glance: serde_json::Value,
    briefs: &[GroupBrief],
    page: Option<String>,
) -> Result<serde_json::Value, CommandError> {
    let mut glance: Glance =
        serde_json::from_value(glance).map_err(|e| CommandError::bug(format!("a glance has another form: {e}")))?;
    briefs.clone_into(&mut glance.status.groups);
    glance.status.page = page;
    let group = glance.status.group.clone();
    if let Err(error) = swaps::glance::add_deals(home, &group, &mut glance.swaps) {
        glance.swaps_problem = Some(error.into_command_error(home.name()).message().to_owned());
    }
    to_json(&glance)
}

/// Hands the lines of an export to `put`. Takes the folder's lock meanwhile.
pub fn export<E: From<CommandError>>(
    root: &Root,
    home: &NodeHome,
    group: Option<&str>,
    mut put: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let (member, opened) = open_group(root, home, group)?;
    let mut page = member.changes(0, u64::MAX);
    put(&Header::new(member.genesis(), page.total).line())?;
    loop {
        page.lines.iter().try_for_each(|line| put(line))?;
        if page.next >= page.total {
            break;
        }
        page = member.changes(page.next, u64::MAX);
    }
    Ok(close(opened)?)
}

/// Takes in the lines of an export that `next` gives, without their ends and with whether they had one. Takes the folder's lock meanwhile.
pub fn import(
    root: &Root,
    home: &NodeHome,
    group: Option<&str>,
    mut next: impl FnMut() -> Result<Option<(Vec<u8>, bool)>, CommandError>,
) -> Result<ImportReport, CommandError> {
    let (mut member, mut opened) = open_group(root, home, group)?;
    let mut importer = Importer::new(member.genesis().clone());
    let (mut cut, mut last) = (false, false);
    while !last && !importer.is_over() {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while !Importer::is_enough(lines.len(), bytes) && !last {
            match next()? {
                Some((line, ended)) => {
                    bytes += line.len();
                    cut |= !ended;
                    lines.push(line);
                }
                None => last = true,
            }
        }
        let mut changes = importer.read(lines);
        while !changes.is_empty() {
            let imported = member.import(changes, clock::now_ms());
            opened.store.commit(&member.take_staged()).map_err(store_error)?;
            member.durable();
            importer.took(imported);
            changes = importer.again();
        }
    }
    close(opened)?;
    Ok(importer.end(cut))
}

fn open_group(root: &Root, home: &NodeHome, group: Option<&str>) -> Result<(Member, Opened), CommandError> {
    let mut opened = disk::open(root, home, false, None)?;
    let membership = opened.folder.memberships().choose(group)?.clone();
    let member = opened.member(&membership)?;
    Ok((member, opened))
}

fn close(opened: Opened) -> Result<(), CommandError> {
    let Opened { store, lock, .. } = opened;
    store.close().map_err(store_error)?;
    drop(lock);
    Ok(())
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
        Verb::Events { cursor, from, height } => to_json(&member.events(cursor.clone(), *from, *height, &around)),
        Verb::Changes { from, until } => to_json(&member.changes(*from, *until)),
        Verb::Proof { transaction, from } => to_json(&member.prove(transaction, *from)?),
        Verb::Note { .. }
        | Verb::Swap { .. }
        | Verb::Send { .. }
        | Verb::Vote { .. }
        | Verb::Backup { .. }
        | Verb::Import { .. }
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
