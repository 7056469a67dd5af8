//! A group that goes on from another one: what it takes over, and whether it has taken over that.
//!
//! The other group has lost its sealers for good, so nothing can certify the step inside of it (docs/adr/0012-simplex-beside-the-group.md). It is made by people, who found a new
//! group, and each of them can check what it begins with: the accounts after the other group's last block. Frozen accounts are left out: their owners are proven to have
//! forked their chains, and nobody could move what is in them there either.

use std::collections::BTreeMap;

use bft_json_crdt::identity::AuthorId;
use serde::Serialize;
use side_ledger::block::{BlockId, Height};
use side_ledger::genesis::Origin;
use side_ledger::{GroupId, Name};

use super::act;
use crate::api::control::Verb;
use crate::cli::{Globals, GroupArgs};
use crate::daemon::groups::{GroupAction, GroupInfo, GroupList, OriginInfo};
use crate::daemon::view::{AccountLine, Balances, Blocks, Status};
use crate::error::CommandError;
use crate::output::{printable, short};

/// How often a group is looked at whose chain grows while it is.
const LOOKS: u32 = 5;

/// What a new group takes over.
pub(super) struct Taken {
    pub(super) origin: Origin,
    /// What the other group was founded on.
    pub(super) info: GroupInfo,
    pub(super) allocation: BTreeMap<AuthorId, u64>,
    /// Frozen accounts, which it does not take over.
    pub(super) left_out: Vec<AccountLine>,
}

fn ask<T: serde::de::DeserializeOwned>(
    globals: &Globals,
    node: &Name,
    group: &str,
    verb: Verb,
) -> Result<T, CommandError> {
    crate::cli::commands::ask(globals, node, &GroupArgs { group: Some(group.to_owned()) }, verb)
}

/// Status and balances of a group at one and the same height.
fn look(globals: &Globals, node: &Name, group: &str) -> Result<(Status, Balances), CommandError> {
    for _ in 0..LOOKS {
        let status: Status = ask(globals, node, group, Verb::Status)?;
        let balances: Balances = ask(globals, node, group, Verb::Balance)?;
        if status.height == balances.height {
            return Ok((status, balances));
        }
    }
    Err(CommandError::user("the group goes on while it is looked at: its sealers are not lost")
        .hint("stop its nodes first if it is to end"))
}

/// The height up to which nobody takes a block back.
fn stays(status: &Status) -> u64 {
    status.final_height.unwrap_or(status.held_height)
}

/// What the accounts come to in a group that goes on from there, and the frozen ones.
fn split(accounts: &[AccountLine]) -> (BTreeMap<String, u64>, Vec<AccountLine>) {
    let (frozen, good): (Vec<&AccountLine>, Vec<&AccountLine>) = accounts.iter().partition(|account| account.frozen);
    let balances = good.into_iter().filter(|account| account.balance > 0);
    (
        balances.map(|account| (account.who.key.clone(), account.balance)).collect(),
        frozen.into_iter().cloned().collect(),
    )
}

/// What a group would take over that goes on from this one.
pub(super) fn take(globals: &Globals, node: &Name, group: &str) -> Result<Taken, CommandError> {
    let info: GroupInfo = act(globals, node, GroupAction::Show { group: Some(group.to_owned()) })?;
    let (status, balances) = look(globals, node, &info.group)?;
    if status.height == 0 || status.height != stays(&status) {
        return Err(CommandError::user(format!(
            "group {} cannot be gone on from: its last block, {}, is not one that stays",
            info.alias, status.height
        ))
        .hint("wait until it is held by enough voters; before the first block there is nothing to go on from"));
    }
    let bug = |what: &str| CommandError::bug(format!("a status tells no good {what}"));
    let bytes = |text: &str| hex::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let origin = Origin {
        group: GroupId::from_hex(&status.group).ok_or_else(|| bug("group"))?,
        height: Height(status.height),
        block: BlockId(bytes(&status.block).ok_or_else(|| bug("block"))?),
        state_root: bytes(&status.state_root).ok_or_else(|| bug("state root"))?,
    };
    let (balances, left_out) = split(&balances.accounts);
    let key = |text: &String| AuthorId::from_hex(text).map_err(|_| bug("key"));
    let allocation = balances.iter().map(|(text, amount)| Ok((key(text)?, *amount)));
    Ok(Taken { origin, allocation: allocation.collect::<Result<_, CommandError>>()?, info, left_out })
}

/// What came of comparing a group with the one that it goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It begins with the accounts of that group, the frozen ones left out.
    Matches,
    /// It does not.
    Differs,
    /// That group has blocks after the one that this one goes on from: both go on.
    GoneOn,
    /// This node cannot tell.
    Unknown,
}

/// The comparison of a group with the one that it goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// What came of it.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub text: String,
}

/// Compares what a group says it goes on from with that group, as this node has it.
pub(super) fn compare(globals: &Globals, node: &Name, origin: &OriginInfo) -> Result<Comparison, CommandError> {
    let list: GroupList = act(globals, node, GroupAction::List)?;
    let Some(info) = list.groups.iter().find(|info| info.group == origin.group) else {
        return Ok(unknown(format!("{node} is not in group {}: ask a node that is", short(&origin.group))));
    };
    let (status, balances) = look(globals, node, &info.group)?;
    if status.height < origin.height || stays(&status) < origin.height {
        return Ok(unknown(format!(
            "here group {} has come to height {} of {}: look again when it is in sync",
            printable(&info.alias),
            stays(&status).min(status.height),
            origin.height
        )));
    }
    let blocks: Blocks = ask(globals, node, &info.group, Verb::Blocks { limit: status.height - origin.height + 1 })?;
    let there = blocks.blocks.iter().find(|line| line.height == origin.height);
    let there = there.map(|line| (line.block.as_str(), line.state_root.as_str()));
    Ok(judge(origin, &info.alias, there, status.height, &balances.accounts))
}

fn unknown(text: String) -> Comparison {
    Comparison { verdict: Verdict::Unknown, text }
}

/// `there`: the block at the origin's height and the state after it, as this node has them. `accounts` are those at `height`.
fn judge(
    origin: &OriginInfo,
    alias: &str,
    there: Option<(&str, &str)>,
    height: u64,
    accounts: &[AccountLine],
) -> Comparison {
    let alias = printable(alias);
    let differs = |text: String| Comparison { verdict: Verdict::Differs, text };
    if there != Some((&origin.block, &origin.state_root)) {
        return differs(format!("DIFFERS: at height {} group {alias} has another block here", origin.height));
    }
    if height > origin.height {
        let text = format!(
            "group {alias} has GONE ON to height {height}: two groups claim the same units now, and the balances of then cannot be compared any more"
        );
        return Comparison { verdict: Verdict::GoneOn, text };
    }
    let (balances, frozen) = split(accounts);
    if balances == origin.allocation {
        let sum: u64 = frozen.iter().fold(0, |sum, account| sum.saturating_add(account.balance));
        let left = if frozen.is_empty() { String::new() } else { format!("; frozen ones, {sum} in all, are left out") };
        let text = format!("its allocation matches the accounts of group {alias} after that block{left}");
        return Comparison { verdict: Verdict::Matches, text };
    }
    let keys = balances.keys().chain(origin.allocation.keys());
    let [had, has] = [&balances, &origin.allocation].map(|all| move |key: &String| all.get(key).copied().unwrap_or(0));
    let first = keys.clone().find(|key| had(key) != has(key));
    let what = first.map_or_else(String::new, |key| {
        format!(": {} had {} there and begins with {} here", short(key), had(key), has(key))
    });
    differs(format!("DIFFERS from the accounts of group {alias} after that block{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::view::Who;

    fn account(key: &str, balance: u64, frozen: bool) -> AccountLine {
        AccountLine { who: Who { key: key.to_owned(), name: None }, balance, frozen }
    }

    fn origin(allocation: &[(&str, u64)]) -> OriginInfo {
        OriginInfo {
            group: "aa".to_owned(),
            height: 7,
            block: "bb".to_owned(),
            state_root: "cc".to_owned(),
            allocation: allocation.iter().map(|(key, amount)| ((*key).to_owned(), *amount)).collect(),
        }
    }

    #[test]
    fn what_a_group_takes_over_is_compared_account_by_account_without_frozen_ones() {
        let accounts = [account("k1", 10, false), account("k2", 5, true), account("k3", 1, false)];
        let (taken, left_out) = split(&accounts);
        assert_eq!((taken, left_out.len()), ([("k1".to_owned(), 10), ("k3".to_owned(), 1)].into(), 1));
        let there = Some(("bb", "cc"));
        let verdict =
            |allocation: &[(&str, u64)], there, height| judge(&origin(allocation), "bank", there, height, &accounts);
        let good = verdict(&[("k1", 10), ("k3", 1)], there, 7);
        assert!(good.verdict == Verdict::Matches && good.text.contains("frozen ones, 5 in all"), "{good:?}");
        for lie in [
            &[("k1", 10)][..],
            &[("k1", 10), ("k2", 5), ("k3", 1)],
            &[("k1", 9), ("k3", 2)],
            &[("k1", 10), ("k3", 1), ("k4", 1)],
        ] {
            assert_eq!(verdict(lie, there, 7).verdict, Verdict::Differs);
        }
        let text = verdict(&[("k1", 10), ("k3", 1), ("k4", 1)], there, 7).text;
        assert!(text.contains("k4 had 0 there and begins with 1 here"), "{text}");
        for other in [None, Some(("bb", "dd")), Some(("dd", "cc"))] {
            assert_eq!(verdict(&[("k1", 10), ("k3", 1)], other, 7).verdict, Verdict::Differs);
        }
        assert_eq!(verdict(&[("k1", 10), ("k3", 1)], there, 8).verdict, Verdict::GoneOn);
    }
}
