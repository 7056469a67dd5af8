//! The rotation of keys as one group sees it: this node proposes its next key, and people approve those of others.

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::accounts::Rotation;
use side_ledger::receipt::{Reason, Status};
use side_ledger::transaction::{KeyApprove, KeyRotate};
use side_ledger::{Admission, Transaction};

use super::{LocalNames, Member};
use crate::daemon::view::{RotationLine, RotationStage};
use crate::error::CommandError;
use crate::output::short;

/// Fewest digits of the new key by which somebody approves it: whoever has got hold of the old key cannot make another one that begins alike.
pub const MIN_KEY_DIGITS: usize = 8;
/// Most rotations that are listed.
const MAX_LISTED: usize = 64;

impl Member {
    /// This key is to take the place of the node's: it is proposed as soon as that can be.
    pub fn rotate_to(&mut self, next: Option<Keypair>) {
        self.next = next;
    }

    /// Whether the next key has all that this node's had, for good: it may go on under that one.
    pub fn is_replaced(&self) -> bool {
        let Some(next) = &self.next else { return false };
        self.engine.successor(&self.core.group, &self.author()) == Some(next.author())
    }

    /// Why the key of this node cannot be rotated in this group, if it cannot; nothing if somebody has begun to.
    pub fn cannot_rotate(&self) -> Option<CommandError> {
        let group = &self.core.group;
        let me = self.author();
        if !group.genesis().rules().rotates() {
            let why = "this group was founded before keys could be rotated: it has not that rule, and none is added to a group";
            return Some(CommandError::user(why).hint(
                "found one that goes on from it: side-node group create NODE NAME --from GROUP; or leave it: side-node group leave NODE GROUP",
            ));
        }
        if let Some(reason) = self.core.read_only() {
            return Some(reason.clone());
        }
        if self.core.is_convicted() || group.chain().account(&me).frozen.is_some() {
            return Some(CommandError::user("this key is proven to have forked its own chain: what it has is frozen"));
        }
        if !self.core.is_admitted() {
            return Some(CommandError::user("this node is not a member of this closed group yet"));
        }
        let governance = group.chain().governance();
        if let Some(new) = group.chain().account(&me).successor() {
            return Some(CommandError::user(format!("this key was rotated already, to {new}")).hint(RETIRED_HINT));
        }
        if governance.may_move(&me).is_err() {
            let hint = if governance.pending.contains_key(&me) {
                "the next end of a set of voters changes what it is: try again afterwards (side-node status)"
            } else if governance.voters.contains(&me) {
                "nobody else votes in this group, so nobody could approve: let others become voters first"
            } else {
                "it seals without a vote: have another node seal first, with side-node vote OTHER leader OTHER"
            };
            return Some(CommandError::user(Reason::Seat.to_string()).hint(hint));
        }
        None
    }

    /// Proposes the next key, once: what was refused because the seat could not move is said again when it can.
    pub(super) fn propose_key(&mut self, now_ms: u64) -> Result<(), CommandError> {
        let (group, me) = (&self.core.group, self.author());
        let Some(next) = self.next.as_ref().filter(|_| group.genesis().rules().rotates()) else { return Ok(()) };
        let chain = group.chain();
        if chain.account(&me).successor().is_some() || chain.governance().may_move(&me).is_err() {
            return Ok(());
        }
        if let Some((position, new)) = group.ledger().proposal(&me)
            && *new == next.author()
            && !matches!(group.status(position), Some(Status::Rejected { reason: Reason::Seat, .. }))
        {
            return Ok(());
        }
        let rotate = KeyRotate::sign(group.id(), &me, next);
        self.write_duty(&[rotate.into()], now_ms)
    }

    /// The word of a voter that the key which a node proposes takes the place of its own.
    pub(super) fn approve(&self, node: &str, new: &str, local: LocalNames<'_>) -> Result<Transaction, CommandError> {
        let chain = self.core.group.chain();
        let old = self.resolve(node, local)?;
        let Some(Rotation::Proposed(proposed)) = chain.account(&old).rotation else {
            let who = self.core.name_of(&old);
            return Err(CommandError::user(format!("{who} has not proposed another key, as far as blocks say"))
                .hint("side-node status lists the proposals; its owner begins with: side-node key rotate NODE"));
        };
        let (digits, is_hex) = (new.to_ascii_lowercase(), new.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if digits.len() < MIN_KEY_DIGITS || !is_hex {
            return Err(CommandError::usage(format!(
                "a new key is named by its first {MIN_KEY_DIGITS} digits or more"
            ))
            .hint("ask its owner for them, and not the group: whoever has the old key can propose any new one"));
        }
        if !proposed.to_string().starts_with(&digits) {
            let proposed = short(&proposed.to_string()).to_owned();
            return Err(CommandError::user(format!("the key that is proposed begins with {proposed}, not with {new}"))
                .hint("if its owner told you that one, somebody else has the old key: do not approve"));
        }
        if old == self.author() {
            return Err(CommandError::user("the others decide about this node's key"));
        }
        let set = chain.governance().set;
        Ok(KeyApprove { set, old, new: proposed }.into())
    }

    /// Why people cannot write with this node's key any more, if another one has taken its place.
    pub(super) fn retired(&self) -> Option<CommandError> {
        let new = self.core.group.chain().account(&self.author()).successor()?;
        let text = format!("another key ({}) has taken the place of this node's key here", short(&new.to_string()));
        let hint = match &self.next {
            Some(next) if next.author() == new => {
                "the node goes on under its new key once all that the old one had is there: try again in a moment (side-node status). If it takes long, the others choose who seals: side-node vote OTHER leader OTHER"
            }
            _ => RETIRED_HINT,
        };
        Some(CommandError::user(text).hint(hint))
    }

    /// Rotations that are proposed or not done yet.
    pub(super) fn rotations(&self) -> Vec<RotationLine> {
        let group = &self.core.group;
        let (chain, governance) = (group.chain(), group.chain().governance());
        let line = |old: &AuthorId, new: &AuthorId, stage| {
            let (approvals, needed) = governance.approvals(old);
            let own = *old == self.author();
            let (who, new) = (self.who(old), new.to_string());
            RotationLine { who, new, own, stage, approvals: approvals as u64, needed: needed as u64 }
        };
        let open = group.ledger().proposals().filter_map(|(old, _, new)| match chain.account(old).rotation {
            Some(Rotation::Proposed(new)) => Some(line(old, &new, RotationStage::Proposed)),
            Some(Rotation::Rotated(new)) if chain.replaced(old).is_none() => {
                Some(line(old, &new, RotationStage::Moving))
            }
            Some(Rotation::Rotated(_)) => None,
            _ => Some(line(old, new, RotationStage::Written)),
        });
        open.filter(|line| line.stage != RotationStage::Written || line.own).take(MAX_LISTED).collect()
    }

    /// Whether this node's key has come in another one's place: what the owner wanted was said under that one.
    pub(super) fn succeeds_another(&self) -> bool {
        let group = &self.core.group;
        group.genesis().spec().admission == Admission::Open
            && group.chain().account(&self.author()).predecessor().is_some()
    }
}

const RETIRED_HINT: &str =
    "the folder of this node has an old key: use the one that was rotated, or restore a backup from after the rotation";
