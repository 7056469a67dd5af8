//! What a backup holds: a list, then the files one behind the other, in the list's order.
//!
//! ```text
//! length of the list (u32, big-endian) ‖ the list (JSON) ‖ bytes of the first file ‖ bytes of the second ‖ …
//! ```
//! A file has a name out of a fixed set, so that no backup writes anywhere but where a node's files lie. Each name stands in the list once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use side_ledger::{GroupId, Name};

use crate::daemon::membership::MAX_GROUPS;

/// The version of the list that this build writes and reads.
const VERSION: u32 = 1;
/// Most bytes of a list: a line for each of the files that there may be.
pub const MAX_LIST_BYTES: u32 = 64 << 10;
/// Most files: the fixed ones, a wallet for each network and devnet, and one a group.
const MAX_ITEMS: usize = 2 * MAX_GROUPS + 64;
/// Longest name of a wallet's folder.
const MAX_WALLET_NAME: usize = 64;
/// Most bytes of a file that is read into memory: the list of groups is the longest.
pub const MAX_SMALL_BYTES: u64 = 8 << 20;

/// A file of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// The node's key, locked or not.
    NodeKey,
    /// The key that is to take the place of that one, while it is rotated.
    NextKey,
    /// How far the rotation is.
    Rotation,
    /// The words of its Bitcoin wallet, locked or not.
    Seed,
    /// Its configuration.
    Config,
    /// Its groups.
    Groups,
    /// Its database.
    Store,
    /// Its swaps.
    Swaps,
    /// Its wallet in this folder, which names a network.
    Wallet(String),
    /// Where the members of a group were.
    Peers(GroupId),
}

impl Item {
    /// The name in the list, which is the path in a node's folder.
    pub fn name(&self) -> String {
        match self {
            Self::NodeKey => "keys/node.key".to_owned(),
            Self::NextKey => "keys/next.key".to_owned(),
            Self::Rotation => "keys/rotation.json".to_owned(),
            Self::Seed => "keys/bitcoin.seed".to_owned(),
            Self::Config => "config.toml".to_owned(),
            Self::Groups => "groups.json".to_owned(),
            Self::Store => "side.sqlite".to_owned(),
            Self::Swaps => "btc/swaps.sqlite".to_owned(),
            Self::Wallet(folder) => format!("btc/{folder}/wallet.sqlite"),
            Self::Peers(group) => format!("peers/{group}"),
        }
    }

    /// The item of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let keys = [Self::NodeKey, Self::NextKey, Self::Rotation, Self::Seed];
        let mut fixed = keys.into_iter().chain([Self::Config, Self::Groups, Self::Store, Self::Swaps]);
        if let Some(item) = fixed.find(|item| item.name() == name) {
            return Some(item);
        }
        let item = match name.strip_prefix("peers/") {
            Some(group) => Self::Peers(GroupId::from_hex(group)?),
            None => Self::wallet(name.strip_prefix("btc/")?.strip_suffix("/wallet.sqlite")?)?,
        };
        (item.name() == name).then_some(item)
    }

    /// The wallet in a folder of this name.
    pub fn wallet(folder: &str) -> Option<Self> {
        let good = (1..=MAX_WALLET_NAME).contains(&folder.len())
            && folder.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        good.then(|| Self::Wallet(folder.to_owned()))
    }

    /// Where it lies in a node's folder.
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.name())
    }

    /// Whether it is a database, of any size. Everything else is small.
    pub fn is_database(&self) -> bool {
        matches!(self, Self::Store | Self::Swaps | Self::Wallet(_))
    }

    /// Whether a node cannot do without it.
    fn is_needed(&self) -> bool {
        matches!(self, Self::NodeKey | Self::Groups | Self::Store)
    }
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    version: u32,
    /// What the node was called.
    pub node: Name,
    /// Its public key, in hexadecimal digits.
    pub key: String,
    /// When the backup was made, in milliseconds since 1970-01-01 UTC.
    pub made_ms: u64,
    /// The version of the program that made it.
    pub program: String,
    /// The loopback port that the node had in its root.
    pub port: Option<u16>,
    /// The files.
    items: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    bytes: u64,
}

impl List {
    /// A list of these files with their lengths in bytes.
    pub fn new(node: Name, key: String, made_ms: u64, port: Option<u16>, items: &[(Item, u64)]) -> Self {
        let items = items.iter().map(|(item, bytes)| Entry { name: item.name(), bytes: *bytes }).collect();
        Self { version: VERSION, node, key, made_ms, program: env!("CARGO_PKG_VERSION").to_owned(), port, items }
    }

    /// Reads a list.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<(Item, u64)>), String> {
        let list: Self = serde_json::from_slice(bytes).map_err(|e| format!("its list does not read: {e}"))?;
        if list.version != VERSION {
            return Err(format!("its list has version {}, this build reads version {VERSION}", list.version));
        }
        if list.items.len() > MAX_ITEMS {
            return Err(format!("it has more than {MAX_ITEMS} files"));
        }
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        for entry in &list.items {
            let shown: String = entry.name.chars().take(80).collect();
            let item = Item::parse(&entry.name).ok_or_else(|| format!("a node has no file {shown:?}"))?;
            if !item.is_database() && entry.bytes > MAX_SMALL_BYTES {
                return Err(format!("its file {shown:?} is far too long"));
            }
            if !seen.insert(item.clone()) {
                return Err(format!("it has {shown:?} twice"));
            }
            items.push((item, entry.bytes));
        }
        match [Item::NodeKey, Item::Groups, Item::Store]
            .into_iter()
            .find(|item| item.is_needed() && !seen.contains(item))
        {
            Some(missing) => Err(format!("{:?} is missing", missing.name())),
            None => Ok((list, items)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a_nodes_files_and_no_others() {
        let items = [
            Item::NodeKey,
            Item::Seed,
            Item::Config,
            Item::Groups,
            Item::Store,
            Item::Swaps,
            Item::Wallet("mutinynet".into()),
            Item::Wallet("regtest-two".into()),
            Item::Peers(GroupId([7; 32])),
        ];
        for item in items {
            assert_eq!(Item::parse(&item.name()), Some(item));
        }
        for name in [
            "",
            "/etc/passwd",
            "../other/keys/node.key",
            "keys/../keys/node.key",
            "keys/node.key/",
            "btc/../../x/wallet.sqlite",
            "btc/./wallet.sqlite",
            "btc//wallet.sqlite",
            "btc/a/b/wallet.sqlite",
            "peers/..",
            "peers/abc",
            "invited.json",
            "consensus/journal",
            "lock",
        ] {
            assert_eq!(Item::parse(name), None, "{name}");
        }
        assert_eq!(Item::parse(&format!("btc/{}/wallet.sqlite", "x".repeat(65))), None);
        assert_eq!(Item::parse(&Item::Peers(GroupId([0xab; 32])).name().to_uppercase()), None);
    }

    #[test]
    fn a_list_that_cannot_be_is_refused() {
        let node: Name = "node1".parse().unwrap();
        let needed = [(Item::NodeKey, 65), (Item::Groups, 100), (Item::Store, 4096)];
        let list = |items: &[(Item, u64)]| List::new(node.clone(), "ab".into(), 1, None, items);
        let parse = |list: &List| List::parse(&serde_json::to_vec(list).unwrap());
        let (read, items) = parse(&list(&needed)).unwrap();
        assert_eq!((read, items), (list(&needed), needed.to_vec()));
        assert!(parse(&list(&needed[..2])).unwrap_err().contains("side.sqlite"));
        assert!(parse(&list(&[&needed[..], &needed[..1]].concat())).unwrap_err().contains("twice"));
        let mut long = needed.to_vec();
        long[0].1 = u64::MAX;
        assert!(parse(&list(&long)).unwrap_err().contains("too long"));
        let many = (0..=MAX_ITEMS).map(|n| (Item::Wallet(format!("x{n}")), 1)).collect::<Vec<_>>();
        assert!(parse(&list(&many)).unwrap_err().contains("more than"));
        let mut text = serde_json::to_string(&list(&needed)).unwrap();
        assert!(List::parse(&text.as_bytes()[..text.len() - 1]).is_err());
        text = text.replace("config", "x").replace("\"keys/node.key\"", "\"../node.key\"");
        assert!(List::parse(text.as_bytes()).unwrap_err().contains("no file"));
    }
}
