//! `side-node init NAME`: makes a node's folder, its key and its Bitcoin wallet, once.
//!
//! The folder is put together under another name and appears as a whole; then the node is entered in the registry. Whoever is interrupted in
//! between runs `init` again, which enters the finished folder.

use std::fs;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};

use clap::Args;
use serde::Serialize;
use side_ledger::{Admission, Genesis, GroupSpec, Invitation, Limits, Name, Rules, Sealing};

use zeroize::Zeroizing;

use crate::btc::network::Network;
use crate::btc::seed::{Seed, SeedError};
use crate::btc::wallet::WalletError;
use crate::cli::{Globals, RelayArgs};
use crate::clock;
use crate::config::{TEMPLATE, check_relay};
use crate::daemon::disk;
use crate::daemon::membership::Memberships;
use crate::error::CommandError;
use crate::home::{NodeHome, Root, create_private_dir_all, create_secret_file};
use crate::keys;
use crate::registry::LockedRegistry;
use crate::secrets::Keyring;
use crate::secrets::kdf::{Cost, Kdf, Key};

/// The name of a group that is founded without one.
const DEFAULT_GROUP_NAME: &str = "side";
/// Time between blocks of a group that is founded without further words: what people wait for, and cheap enough for a machine that does other things.
pub(in crate::cli) const DEFAULT_BLOCK_INTERVAL_MS: u64 = 1_000;
/// What the founder of such a group owns at first, of a unit that is worth what the members make of it: so that there is something to send.
const FOUNDERS_UNITS: u64 = 1_000_000;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node init node1                          the first in a root founds a group
  side-node init node1 --group-name friends     and gives it a name
  side-node init node2                          later ones join it
  side-node init node3 --join side://…          joins the group of an invitation
  side-node init node1 --passphrase             asks for a passphrase, and locks the secrets with it
  side-node init node1 --restore-wallet         reads the Bitcoin wallet's words from a backup

A Bitcoin wallet comes with it. On a terminal its twelve words are shown, once, for a backup on paper. Into a pipe or as JSON they are never written, since such
output is often kept: side-node btc export NODE --words shows them when you are alone.

A node that exists is never overwritten.")]
pub struct InitArgs {
    /// What the node is called: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Join the group of this invitation (see `invite`)
    #[arg(long, value_name = "INVITATION", conflicts_with = "group_name")]
    pub join: Option<String>,
    /// Found a group of this name, even if the root has one already
    #[arg(long, value_name = "NAME")]
    pub group_name: Option<Name>,
    /// Lock the key and the wallet's words with a passphrase: asked for twice, or read from --passphrase-file
    #[arg(long)]
    pub passphrase: bool,
    /// Read the Bitcoin wallet's twelve words from the keyboard or a pipe, instead of making new ones
    #[arg(long)]
    pub restore_wallet: bool,
    /// Where the relay is.
    #[command(flatten)]
    pub relay: RelayArgs,
}

/// Most bytes that are read as words: the longest word of BIP 39 has eight letters, and there are at most 24.
const MAX_WORDS_BYTES: u64 = 512;

/// What `init` made.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// The node's name.
    pub node: String,
    /// Its folder.
    pub home: String,
    /// Its public key.
    pub key: String,
    /// Its group's id.
    pub group: String,
    /// Its group's name.
    pub group_name: String,
    /// Whether the group is new.
    pub founded: bool,
    /// The file with the words of its Bitcoin wallet.
    pub wallet_seed: String,
    /// The next command.
    pub next: String,
}

/// Runs `init`.
pub fn run(globals: &Globals, args: InitArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let words = if args.restore_wallet { Some(read_words()?) } else { None };
    let made = init_with(&root, &args, words.as_ref().map(|words| words.as_str()))?;
    globals.output().result(&made, || {
        let how = if made.founded { "founded" } else { "joined" };
        let wallet = backup(&made, words.is_none(), root.keyring());
        format!(
            "made node {} in {}\n  key    {}\n  group  {} ({}), {how}\n{wallet}next: {}",
            made.node, made.home, made.key, made.group_name, made.group, made.next
        )
    })
}

/// What to do about the wallet's words; on a terminal the words themselves, since a person sits there who can write them down.
fn backup(made: &Made, fresh: bool, keyring: &Keyring) -> String {
    let seed = Seed::load(std::path::Path::new(&made.wallet_seed), keyring);
    let Ok(seed) = seed.as_ref().map(Seed::words) else { return String::new() };
    if !fresh {
        return format!("  wallet restored; find its coins with: side-node btc sync {} --full\n", made.node);
    }
    if !std::io::stdout().is_terminal() {
        return format!("  wallet new; back up its words: side-node btc export {} --words\n", made.node);
    }
    let mut out = "  wallet new; write its words on paper, in this order. Whoever has them has the coins:\n".to_owned();
    let words: Vec<&str> = seed.split(' ').collect();
    for (row, words) in words.chunks(4).enumerate() {
        let numbered =
            words.iter().enumerate().map(|(column, word)| format!("{:>4}. {word:<10}", row * 4 + column + 1));
        out.push_str(&format!("       {}\n", numbered.collect::<String>().trim_end()));
    }
    out
}

/// Words from the keyboard or a pipe: never from the command line, which other programs can see and the shell remembers.
fn read_words() -> Result<Zeroizing<String>, CommandError> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        let _ = write!(std::io::stderr(), "the wallet's words, then return and ctrl-d: ");
    }
    let mut words = Zeroizing::new(String::new());
    stdin
        .by_ref()
        .take(MAX_WORDS_BYTES)
        .read_to_string(&mut words)
        .map_err(|e| CommandError::io("cannot read the wallet's words", &e))?;
    Ok(words)
}

/// Makes a node, with a new Bitcoin wallet.
pub fn init(root: &Root, args: &InitArgs) -> Result<Made, CommandError> {
    init_with(root, args, None)
}

/// Makes a node. `words` are those of a wallet from a backup.
pub fn init_with(root: &Root, args: &InitArgs, words: Option<&str>) -> Result<Made, CommandError> {
    let joined = args
        .join
        .as_deref()
        .map(|text| text.parse::<Invitation>())
        .transpose()
        .map_err(|e| CommandError::user(format!("cannot join: {e}")))?;
    let relay = args.relay.given();
    if let Some(relay) = &relay {
        check_relay(relay)?;
    }
    root.create()?;
    let mut registry = LockedRegistry::open(root)?;
    let home = root.node(args.name.as_str());
    let known = registry.registry.nodes.contains_key(&args.name);
    if known || (home.path().exists() && !home.exists()) {
        return Err(exists_already(&home));
    }

    let mut founded = false;
    let (memberships, key) = if home.exists() {
        // Put together by an `init` that did not come to its end, or moved here from another root.
        if joined.is_some() || args.group_name.is_some() || words.is_some() || args.passphrase {
            return Err(exists_already(&home));
        }
        (Memberships::load(&home)?, keys::public(&home)?)
    } else {
        let lock = match args.passphrase {
            true => Some(new_lock(root, &args.name)?),
            false => None,
        };
        let staged = Staged::new(root, &args.name)?;
        let key = keys::create(&staged.home, lock.as_ref())?.author();
        let own_group = match (&joined, &args.group_name, &registry.registry.home_group) {
            (Some(invitation), _, _) => Some(invitation.clone()),
            (None, None, Some(id)) => Some(home_group(root, &registry, id, &args.name)?),
            _ => None,
        };
        let invitation = match own_group {
            Some(invitation) => invitation,
            None => {
                founded = true;
                let name = match &args.group_name {
                    Some(name) => name.clone(),
                    None => Name::new(DEFAULT_GROUP_NAME).map_err(|e| CommandError::bug(e.to_string()))?,
                };
                found(name, key, relay.clone())?
            }
        };
        let write = |path: &std::path::Path, text: &str| {
            create_secret_file(path, text.as_bytes())
                .map_err(|e| CommandError::io(format!("cannot write {}", path.display()), &e))
        };
        let memberships = Memberships::first(invitation);
        write(&staged.home.groups_file(), &memberships.to_json()?)?;
        write(&staged.home.config_file(), TEMPLATE)?;
        make_wallet(&staged.home, words, lock.as_ref())?;
        disk::create(root, &staged.home, &key.to_string())?;
        staged.publish(&home)?;
        (memberships, key)
    };

    if !home.seed_file().exists() {
        let lock = home.keyring().like(&home.key_file(), &home.key_called())?;
        make_wallet(&home, None, lock.as_ref())?;
    }
    for membership in memberships.iter() {
        registry.registry.enter(&args.name, &key.to_string(), &membership.invitation);
    }
    let default = memberships.default();
    let id = default.group().to_string();
    registry.registry.home_group.get_or_insert_with(|| id.clone());
    registry.save()?;
    Ok(Made {
        node: args.name.to_string(),
        home: home.path().display().to_string(),
        key: key.to_string(),
        group: id,
        group_name: default.invitation.genesis().name().to_string(),
        founded,
        wallet_seed: home.seed_file().display().to_string(),
        next: format!("side-node run {}", args.name),
    })
}

/// Asks for the passphrase of a node that is about to be made.
fn new_lock(root: &Root, name: &Name) -> Result<(Kdf, Key), CommandError> {
    let passphrase = root.keyring().sources().get_new(name.as_str())?;
    let kdf = Kdf::fresh(Cost::USUAL)?;
    let key = root.keyring().learn(kdf, &passphrase)?;
    Ok((kdf, key))
}

fn make_wallet(home: &NodeHome, words: Option<&str>, lock: Option<&(Kdf, Key)>) -> Result<(), CommandError> {
    let path = home.seed_file();
    let made = match words {
        Some(words) => Seed::restore(&path, words, lock),
        None => Seed::create(&path, lock),
    };
    made.map(|_| ()).map_err(|error| match error {
        SeedError::Damaged(_) => CommandError::user("these are no words of a Bitcoin wallet")
            .hint("twelve to twenty-four English words of BIP 39 in the order of the backup, with spaces between them; the last one is a checksum"),
        other => WalletError::from(other).into_command_error(Network::default(), home.name()),
    })
}

fn exists_already(home: &NodeHome) -> CommandError {
    CommandError::user(format!("{} exists already", home.path().display())).hint(format!(
        "nothing is ever overwritten: run it with `side-node run {}`, or choose another name",
        home.name()
    ))
}

fn home_group(root: &Root, registry: &LockedRegistry, id: &str, name: &Name) -> Result<Invitation, CommandError> {
    let damaged = |why: String| {
        CommandError::user(format!("{} is damaged: {why}", root.registry_file().display()))
            .hint(format!("join with an invitation: side-node init {name} --join \"$(side-node invite OTHER_NODE)\""))
    };
    let group = registry.registry.groups.get(id).ok_or_else(|| damaged(format!("it does not describe group {id}")))?;
    group.invitation.parse().map_err(|e| damaged(format!("{e}")))
}

fn found(
    name: Name,
    founder: bft_json_crdt::identity::AuthorId,
    relay: Option<String>,
) -> Result<Invitation, CommandError> {
    let spec = GroupSpec {
        name,
        created_ms: clock::now_ms(),
        nonce: clock::random()?,
        founders: vec![founder],
        admission: Admission::Open,
        allocation: [(founder, FOUNDERS_UNITS)].into(),
        sealing: Sealing::Leader { interval_ms: DEFAULT_BLOCK_INTERVAL_MS },
        limits: Limits::default(),
    };
    let genesis = Genesis::founded(spec, None, Rules::LATEST)
        .map_err(|e| CommandError::bug(format!("cannot found a group: {e}")))?;
    Invitation::new(genesis, relay.into_iter().collect()).map_err(|e| CommandError::usage(e.to_string()))
}

/// A folder that is being put together; removed unless it is published.
struct Staged {
    home: NodeHome,
    published: bool,
}

impl Staged {
    fn new(root: &Root, name: &Name) -> Result<Self, CommandError> {
        // Names begin with a letter or a digit, so this is no node's folder. The registry's lock keeps other `init`s away.
        let home = root.node(&format!(".new-{name}"));
        let what = || format!("cannot create {}", home.path().display());
        match fs::remove_dir_all(home.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(CommandError::io(what(), &error)),
            _ => {}
        }
        create_private_dir_all(home.path()).map_err(|e| CommandError::io(what(), &e))?;
        Ok(Self { home, published: false })
    }

    fn publish(mut self, home: &NodeHome) -> Result<(), CommandError> {
        // `rename` replaces an empty folder at most, and the caller has seen that there is none.
        fs::rename(self.home.path(), home.path())
            .and_then(|()| crate::home::sync_parent(home.path()))
            .map_err(|e| CommandError::io(format!("cannot create {}", home.path().display()), &e))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_dir_all(self.home.path());
        }
    }
}
