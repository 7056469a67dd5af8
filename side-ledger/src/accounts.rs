//! What the ledger knows of each key: balance, membership, the tip of its chain, and whether it is frozen.
//!
//! Accounts are numbered in the order in which they came up, which is the same on every node; number n is leaf n of the tree of accounts.

use std::collections::{BTreeMap, HashMap};

use bft_json_crdt::change::{ChangeId, MAX_SAFE};
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::AuthorId;

use crate::block::Height;
use crate::merkle::{self, Hash, Tree};

/// What a leaf of the tree of accounts begins with.
pub const ACCOUNT_LEAF: u64 = 1;

/// How a key stands in a rotation, as far as the ledger has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Its owner proposes that this key takes its place.
    Proposed(AuthorId),
    /// This key has taken its place.
    Rotated(AuthorId),
    /// It has taken the place of this key.
    Succeeds(AuthorId),
}

impl Rotation {
    fn parts(&self) -> (u64, &AuthorId) {
        match self {
            Self::Proposed(key) => (1, key),
            Self::Rotated(key) => (2, key),
            Self::Succeeds(key) => (3, key),
        }
    }
}

/// What the ledger knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// What it owns, in the group's smallest unit.
    pub balance: u64,
    /// Whether it is a member of a closed group. In an open one everybody is, and this stays false.
    pub member: bool,
    /// The block that showed that it forked its chain.
    pub frozen: Option<Height>,
    /// Its last sealed change on the branch that counts.
    pub tip: Option<ChangeId>,
    /// How it stands in a rotation. Always absent in groups without that rule.
    pub rotation: Option<Rotation>,
}

impl Account {
    /// The key that has taken this one's place.
    pub fn successor(&self) -> Option<AuthorId> {
        match self.rotation {
            Some(Rotation::Rotated(new)) => Some(new),
            _ => None,
        }
    }

    /// The key whose place this one has taken, until it proposes a rotation itself.
    pub fn predecessor(&self) -> Option<AuthorId> {
        match self.rotation {
            Some(Rotation::Succeeds(old)) => Some(old),
            _ => None,
        }
    }

    /// The bytes of the leaf.
    pub fn encode(&self, key: &AuthorId) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.put_varint(ACCOUNT_LEAF);
        out.put(key.as_bytes());
        out.put_varint(self.balance);
        out.put_varint(u64::from(self.member));
        out.put_varint(self.frozen.map_or(0, |height| height.0));
        out.put_varint(u64::from(self.tip.is_some()));
        if let Some(tip) = &self.tip {
            out.put(&tip.0);
        }
        // Nothing where there is nothing: leaves of groups without the rule keep their bytes.
        if let Some(rotation) = &self.rotation {
            let (number, key) = rotation.parts();
            out.put_varint(number);
            out.put(key.as_bytes());
        }
        out
    }

    /// Reads a leaf. The key is not checked beyond its length.
    pub fn decode(bytes: &[u8]) -> Result<([u8; 32], Self), DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.varint()? != ACCOUNT_LEAF {
            return Err(DecodeError::Rule("this leaf is not an account"));
        }
        let flag = |number| match number {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Rule("a flag is neither 0 nor 1")),
        };
        let key = reader.array()?;
        let balance = reader.varint()?;
        let member = flag(reader.varint()?)?;
        let frozen = match reader.varint()? {
            0 => None,
            height if height <= MAX_SAFE => Some(Height(height)),
            _ => return Err(DecodeError::Rule("a number exceeds 2^53 - 1")),
        };
        let tip = if flag(reader.varint()?)? { Some(ChangeId(reader.array()?)) } else { None };
        let rotation = if reader.is_empty() { None } else { Some(read_rotation(&mut reader)?) };
        reader.finish()?;
        Ok((key, Self { balance, member, frozen, tip, rotation }))
    }
}

fn read_rotation(reader: &mut Reader<'_>) -> Result<Rotation, DecodeError> {
    let number = reader.varint()?;
    let key = AuthorId::from_bytes(reader.array()?).map_err(|_| DecodeError::Rule("a key is not acceptable"))?;
    match number {
        1 => Ok(Rotation::Proposed(key)),
        2 => Ok(Rotation::Rotated(key)),
        3 => Ok(Rotation::Succeeds(key)),
        _ => Err(DecodeError::Rule("an unknown state of a rotation")),
    }
}

/// What the accounts that one block touched were before; `None` for those that it made.
pub(crate) type Journal = BTreeMap<u32, Option<Account>>;

/// All accounts.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    list: Vec<(AuthorId, Account)>,
    numbers: HashMap<AuthorId, u32>,
    tree: Tree,
    journal: Journal,
}

impl Accounts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The account of a key; an empty one if it has none.
    pub fn get(&self, key: &AuthorId) -> Account {
        self.numbers.get(key).map_or_else(Account::default, |number| self.list[*number as usize].1)
    }

    /// All accounts, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &(AuthorId, Account)> {
        self.list.iter()
    }

    /// A key and its account, by number.
    pub fn nth(&self, number: usize) -> Option<&(AuthorId, Account)> {
        self.list.get(number)
    }

    /// The sum of all balances. Costs a walk over all accounts.
    pub fn sum(&self) -> u128 {
        self.list.iter().map(|(_, account)| u128::from(account.balance)).sum()
    }

    /// The number of a key's account.
    pub(crate) fn number(&self, key: &AuthorId) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// Changes an account, which is made if there is none.
    pub(crate) fn update<T>(&mut self, key: &AuthorId, change: impl FnOnce(&mut Account) -> T) -> T {
        let number = *self.numbers.entry(*key).or_insert_with(|| {
            self.list.push((*key, Account::default()));
            let number = (self.list.len() - 1) as u32;
            self.journal.insert(number, None);
            number
        });
        let account = &mut self.list[number as usize].1;
        self.journal.entry(number).or_insert(Some(*account));
        change(account)
    }

    /// By how much the sum of all balances differs from what it was when the block began.
    pub(crate) fn drift(&self) -> i128 {
        let balance = |account: Option<Account>| i128::from(account.unwrap_or_default().balance);
        let touched = self.journal.iter();
        touched.map(|(number, old)| balance(Some(self.list[*number as usize].1)) - balance(*old)).sum()
    }

    /// The accounts with these numbers.
    pub(crate) fn numbered(&self, numbers: impl Iterator<Item = u32>) -> impl Iterator<Item = &(AuthorId, Account)> {
        numbers.filter_map(|number| self.list.get(number as usize))
    }

    /// Ends the block: the tree takes in what it touched. Gives what undoes it.
    pub(crate) fn settle(&mut self) -> Journal {
        let journal = std::mem::take(&mut self.journal);
        for number in journal.keys() {
            let (key, account) = &self.list[*number as usize];
            let leaf = merkle::leaf(&account.encode(key));
            if (*number as usize) < self.tree.len() {
                self.tree.set(*number as usize, leaf);
            } else {
                self.tree.push(leaf);
            }
        }
        journal
    }

    /// Puts back what a settled block changed.
    pub(crate) fn undo(&mut self, journal: &Journal) {
        // New accounts have the highest numbers.
        for (number, old) in journal.iter().rev() {
            match old {
                None => {
                    if let Some((key, _)) = self.list.pop() {
                        self.numbers.remove(&key);
                    }
                    self.tree.truncate(self.list.len());
                }
                Some(old) => {
                    let (key, account) = &mut self.list[*number as usize];
                    *account = *old;
                    self.tree.set(*number as usize, merkle::leaf(&old.encode(key)));
                }
            }
        }
    }

    /// The root of the tree of settled accounts.
    pub(crate) fn root(&mut self) -> Hash {
        self.tree.root()
    }

    /// The root of a complete subtree of settled accounts.
    pub(crate) fn subtree(&mut self, level: usize, index: usize) -> Option<Hash> {
        self.tree.subtree(level, index)
    }

    /// The path of an account.
    pub(crate) fn path(&mut self, number: u32) -> Vec<Hash> {
        self.tree.path(number as usize)
    }
}
