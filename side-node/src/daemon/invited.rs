//! Secrets that this node gave to newcomers with an invitation, and who came with them.
//!
//! A secret lets its holder in once. It stands in the invitation's text and nowhere else: it is the seed of a key pair, and here is the public key, the
//! secret's *token*; whoever signs with it has the secret, and never has to show it. Spending it is durable before the newcomer
//! hears of it, so no crash makes one secret let two in. Whoever comes again with the secret and the key that spent it is answered as before: the first
//! answer may have been lost on the way.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use bft_json_crdt::identity::{AuthorId, Keypair};
use serde::{Deserialize, Serialize};
use side_ledger::GroupId;
use side_ledger::invitation::JoinSecret;
use thiserror::Error;

use crate::error::CommandError;
use crate::home::{NodeHome, replace_file};

/// The version of the file's format.
const VERSION: u32 = 1;
/// How long a secret may be spent after it was given: an invitation is for somebody who was asked to come now.
pub const SECRET_LIFETIME_MS: u64 = 7 * 24 * 3600 * 1000;
/// Most secrets of one node that are neither spent nor expired.
pub const MAX_PENDING: usize = 256;
/// Most newcomers that are remembered; the oldest are forgotten then, who have long been known to the group by what they wrote.
pub const MAX_SPENT: usize = 4096;
/// Most bytes of the file: both bounds are less.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why a secret lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// This node never gave it for that group, or it was spent so long ago that it is forgotten.
    #[error("this secret was not given by this node")]
    Unknown,
    /// Another key came with it before.
    #[error("this secret was used before, and it lets one in once")]
    Spent,
    /// It was given too long ago.
    #[error("this secret has expired")]
    Expired,
}

/// Why a secret was not spent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpendError {
    /// It lets nobody in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk did not take it.
    #[error(transparent)]
    Disk(#[from] CommandError),
}

/// What is known of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    group: String,
    token: String,
    given_ms: u64,
    /// Who came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spent: Option<Spent>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Spent {
    key: String,
    time_ms: u64,
}

/// The secrets of one node. One owner: the running node, or a command that holds the folder's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    path: PathBuf,
    list: Vec<Given>,
}

impl Invited {
    /// Reads the node's file; a node without one has given no secret.
    pub fn load(home: &NodeHome) -> Result<Self, CommandError> {
        let path = home.invited_file();
        let damaged = |why: String| {
            CommandError::user(format!("{} is damaged: {why}", path.display()))
                .hint("move it away; secrets that were given and not used let nobody in then, so give new ones")
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self { path, list: Vec::new() }),
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => return Err(damaged("it is far too large".to_owned())),
            _ => {}
        }
        let text =
            fs::read_to_string(&path).map_err(|e| CommandError::io(format!("cannot read {}", path.display()), &e))?;
        let file: File = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if file.version != VERSION {
            return Err(damaged(format!("it has version {}, this build reads version {VERSION}", file.version)));
        }
        Ok(Self { path, list: file.secrets })
    }

    /// Remembers a fresh secret for `group`; it can be spent once this returns.
    pub fn give(&mut self, group: &GroupId, secret: &JoinSecret, now_ms: u64) -> Result<(), CommandError> {
        let mut list = self.list.clone();
        list.retain(|given| given.spent.is_some() || !is_expired(given, now_ms));
        if list.iter().filter(|given| given.spent.is_none()).count() >= MAX_PENDING {
            return Err(CommandError::user(format!("{MAX_PENDING} secrets are given and not used yet"))
                .hint("use one of those; they expire after seven days"));
        }
        let given = Given { group: group.to_string(), token: token(secret).to_string(), given_ms: now_ms, spent: None };
        list.push(given);
        self.write(list)
    }

    /// Whether the secret of `token` would let `key` into `group` now.
    pub fn check(&self, group: &GroupId, token: &AuthorId, key: &AuthorId, now_ms: u64) -> Result<(), Refusal> {
        self.find(group, token, key, now_ms).map(drop)
    }

    /// Lets `key` into `group` by the secret of `token`. On disk when this returns.
    pub fn spend(&mut self, group: &GroupId, token: &AuthorId, key: &AuthorId, now_ms: u64) -> Result<(), SpendError> {
        let at = self.find(group, token, key, now_ms)?;
        if self.list[at].spent.is_some() {
            return Ok(());
        }
        let mut list = self.list.clone();
        let spent = list.iter().filter(|given| given.spent.is_some()).count();
        let mut given = list.remove(at);
        given.spent = Some(Spent { key: key.to_string(), time_ms: now_ms });
        if spent >= MAX_SPENT
            && let Some(oldest) = list.iter().position(|given| given.spent.is_some())
        {
            list.remove(oldest);
        }
        list.push(given);
        Ok(self.write(list)?)
    }

    /// Who came into `group` by a secret of this node.
    pub fn let_in(&self, group: &GroupId) -> impl Iterator<Item = AuthorId> {
        let group = group.to_string();
        self.list
            .iter()
            .filter(move |given| given.group == group)
            .filter_map(|given| AuthorId::from_hex(&given.spent.as_ref()?.key).ok())
    }

    /// How many secrets for `group` wait for somebody.
    pub fn pending(&self, group: &GroupId, now_ms: u64) -> usize {
        let group = group.to_string();
        let waits = |given: &&Given| given.group == group && given.spent.is_none() && !is_expired(given, now_ms);
        self.list.iter().filter(waits).count()
    }

    fn find(&self, group: &GroupId, token: &AuthorId, key: &AuthorId, now_ms: u64) -> Result<usize, Refusal> {
        let (group, token) = (group.to_string(), token.to_string());
        let at = self.list.iter().position(|given| given.token == token && given.group == group);
        let at = at.ok_or(Refusal::Unknown)?;
        match &self.list[at].spent {
            Some(spent) if spent.key == key.to_string() => Ok(at),
            Some(_) => Err(Refusal::Spent),
            None if is_expired(&self.list[at], now_ms) => Err(Refusal::Expired),
            None => Ok(at),
        }
    }

    fn write(&mut self, list: Vec<Given>) -> Result<(), CommandError> {
        let mut text = serde_json::to_string_pretty(&File { version: VERSION, secrets: list.clone() })
            .map_err(|e| CommandError::bug(format!("cannot write the secrets as JSON: {e}")))?;
        text.push('\n');
        replace_file(&self.path, text.as_bytes())
            .map_err(|e| CommandError::io(format!("cannot write {}", self.path.display()), &e))?;
        self.list = list;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    secrets: Vec<Given>,
}

/// The key pair whose seed a secret is.
pub fn token_pair(secret: &JoinSecret) -> Keypair {
    Keypair::from_seed(&secret.0)
}

/// What is known of a secret to whoever gave it.
pub fn token(secret: &JoinSecret) -> AuthorId {
    token_pair(secret).author()
}

/// A clock that was set back makes nothing expire.
fn is_expired(given: &Given, now_ms: u64) -> bool {
    now_ms.saturating_sub(given.given_ms) > SECRET_LIFETIME_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Root;

    const GROUP: GroupId = GroupId([1; 32]);
    const SECRET: JoinSecret = JoinSecret([7; 32]);

    fn home() -> (tempfile::TempDir, NodeHome) {
        let folder = tempfile::tempdir().unwrap();
        let home = Root::find(Some(folder.path().to_owned())).unwrap().node("node1");
        fs::create_dir(home.path()).unwrap();
        (folder, home)
    }

    fn key(seed: u8) -> AuthorId {
        Keypair::from_seed(&[seed; 32]).author()
    }

    #[test]
    fn a_secret_lets_one_key_in_once_also_after_a_restart() {
        let (_folder, home) = home();
        let mut invited = Invited::load(&home).unwrap();
        invited.give(&GROUP, &SECRET, 5).unwrap();
        assert_eq!(invited.pending(&GROUP, 5), 1);
        let mut invited = Invited::load(&home).unwrap();
        invited.check(&GROUP, &token(&SECRET), &key(1), 6).unwrap();
        invited.spend(&GROUP, &token(&SECRET), &key(1), 6).unwrap();
        let mut invited = Invited::load(&home).unwrap();
        assert_eq!(invited.spend(&GROUP, &token(&SECRET), &key(2), 7), Err(Refusal::Spent.into()));
        // Whoever spent it did not hear the answer and asks again, however late.
        invited.spend(&GROUP, &token(&SECRET), &key(1), 7 + SECRET_LIFETIME_MS).unwrap();
        assert_eq!(invited.let_in(&GROUP).collect::<Vec<_>>(), [key(1)]);
        assert_eq!((invited.pending(&GROUP, 7), invited.list.len()), (0, 1));
    }

    #[test]
    fn a_wrong_a_foreign_and_an_old_secret_are_refused() {
        let (_folder, home) = home();
        let mut invited = Invited::load(&home).unwrap();
        invited.give(&GROUP, &SECRET, 5).unwrap();
        let spend = |invited: &mut Invited, group, secret, now| invited.spend(group, &token(secret), &key(1), now);
        assert_eq!(spend(&mut invited, &GROUP, &JoinSecret([8; 32]), 5), Err(Refusal::Unknown.into()));
        assert_eq!(spend(&mut invited, &GroupId([2; 32]), &SECRET, 5), Err(Refusal::Unknown.into()));
        assert_eq!(spend(&mut invited, &GROUP, &SECRET, 6 + SECRET_LIFETIME_MS), Err(Refusal::Expired.into()));
        spend(&mut invited, &GROUP, &SECRET, 5 + SECRET_LIFETIME_MS).unwrap();
    }

    #[test]
    fn the_file_holds_no_secret_and_is_for_the_user_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_folder, home) = home();
        Invited::load(&home).unwrap().give(&GROUP, &SECRET, 5).unwrap();
        let text = fs::read_to_string(home.invited_file()).unwrap();
        assert!(!text.contains(&hex::encode(SECRET.0)), "{text}");
        assert_eq!(fs::metadata(home.invited_file()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_waits_is_bounded_and_makes_room_when_it_expires() {
        let (_folder, home) = home();
        let mut invited = Invited::load(&home).unwrap();
        let waiting = |n: usize| Given {
            group: GROUP.to_string(),
            token: token(&JoinSecret([n as u8; 32])).to_string(),
            given_ms: 1,
            spent: None,
        };
        invited.list = (0..MAX_PENDING).map(waiting).collect();
        let error = invited.give(&GROUP, &SECRET, 2).unwrap_err();
        assert!(error.message().contains("not used yet"), "{error}");
        invited.give(&GROUP, &SECRET, 2 + SECRET_LIFETIME_MS).unwrap();
        assert_eq!(invited.list.len(), 1);
    }

    #[test]
    fn a_damaged_file_names_the_remedy() {
        let (_folder, home) = home();
        fs::write(home.invited_file(), "{ not json").unwrap();
        let error = Invited::load(&home).unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("give new ones"), "{error}");
    }
}
