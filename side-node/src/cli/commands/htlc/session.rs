//! What every swap command begins with: the node, its swaps, the settings, and how errors become words.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::Future;
use std::io::{IsTerminal as _, Write as _, stderr};

use side_ledger::Name;

use super::ChainArgs;
use crate::api::control::Verb;
use crate::btc::htlc::terms::ChainId;
use crate::btc::settings::{BtcSettings, Layer};
use crate::btc::swaps::watch::CatchUp;
use crate::btc::swaps::{ChainPlace, Deal, Desk, DeskError, GroupLink, Peer, Round};
use crate::cli::{Globals, GroupArgs};
use crate::config::ConfigFile;
use crate::daemon::view::Peers;
use crate::error::CommandError;
use crate::home::{NodeHome, Root};
use crate::output::{self, printable};
use crate::registry::LockedRegistry;

/// A node's swaps as a command sees them.
#[derive(Debug)]
pub(in crate::cli::commands) struct Session {
    pub(in crate::cli::commands) name: Name,
    pub(in crate::cli::commands) root: Root,
    pub(in crate::cli::commands) home: NodeHome,
    pub(in crate::cli::commands) settings: BtcSettings,
    /// The chain that the settings name.
    pub(in crate::cli::commands) place: ChainPlace,
    json: bool,
    /// It was said that the group cannot be told.
    untold: Cell<bool>,
}

/// Runs a command's tasks on this thread.
pub(in crate::cli::commands) fn block_on<T>(
    task: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CommandError::io("cannot start a task", &e))?;
    runtime.block_on(async {
        tokio::select! {
            ended = task => ended,
            _ = tokio::signal::ctrl_c() => Err(CommandError::user("interrupted")
                .hint("nothing is lost: swaps go on with side-node htlc resume NODE, or while the node runs")),
        }
    })
}

impl Session {
    pub(in crate::cli::commands) fn new(
        globals: &Globals,
        name: &Name,
        chain: &ChainArgs,
    ) -> Result<Self, CommandError> {
        let root = globals.root()?;
        let home = root.node(name.as_str());
        home.require()?;
        let flags = Layer { network: chain.chain.network, esplora: chain.chain.esplora.clone(), ..Layer::default() };
        let environment = Layer::from_environment(|name| std::env::var(name).ok())?;
        let file = ConfigFile::load(&home.config_file())?.bitcoin;
        let settings = BtcSettings::resolve(&[flags, environment, file], chain.chain.real_money)?;
        let chain = match &chain.label {
            Some(label) => format!("{}:{label}", settings.network),
            None => settings.network.to_string(),
        };
        let chain: ChainId = chain.parse().map_err(|e| {
            CommandError::usage(format!("{e}")).hint("a label belongs to a local chain: --network regtest --label a")
        })?;
        let place = ChainPlace { chain, servers: settings.servers.clone() };
        Ok(Self { name: name.clone(), root, home, settings, place, json: globals.json, untold: Cell::new(false) })
    }

    /// The node's swaps. Servers that the settings name are asked instead of those that a swap began with.
    pub(in crate::cli::commands) fn desk(&self) -> Result<Desk, CommandError> {
        Desk::open(&self.home, vec![self.place.clone()]).map_err(|e| self.error(e))
    }

    pub(in crate::cli::commands) fn link(&self) -> GroupLink {
        GroupLink::Folder { root: self.root.clone(), home: self.home.clone() }
    }

    pub(in crate::cli::commands) fn error(&self, error: DeskError) -> CommandError {
        error.into_command_error(self.name.as_str())
    }

    /// Takes in what the group says and tells it what it does not know, as far as it can be asked and told: coins do not wait for it.
    pub(in crate::cli::commands) async fn meet(&self, desk: &mut Desk) -> Result<Round, CommandError> {
        let mut round = Round::default();
        match self.link().traffic().await {
            Ok(traffic) => {
                desk.take_in(&traffic, &mut round).await.map_err(|e| self.error(e))?;
                self.publish(desk).await?;
            }
            Err(error) => self.not_told(&error),
        }
        Ok(round)
    }

    /// Tells the group what waits for it. Where it cannot be told now, since a restored node may not write yet for one, that is said once, and it is told
    /// later.
    pub(in crate::cli::commands) async fn publish(&self, desk: &mut Desk) -> Result<(), CommandError> {
        match desk.publish(&self.link()).await {
            Err(DeskError::Group(error)) => self.not_told(&error),
            other => drop(other.map_err(|e| self.error(e))?),
        }
        Ok(())
    }

    fn not_told(&self, error: &CommandError) {
        if !self.untold.replace(true) && !self.json {
            note(&format!("the group is told of the swap later: {}", error.message()));
        }
    }

    /// The swap whose id begins so.
    pub(in crate::cli::commands) fn find(&self, desk: &Desk, prefix: &str) -> Result<Deal, CommandError> {
        desk.find(prefix).map_err(|e| self.error(e))
    }

    /// The member that a text means: a node of this machine, a name that one member has, a key or its beginning.
    pub(in crate::cli::commands) fn member(&self, group: &GroupArgs, text: &str) -> Result<Peer, CommandError> {
        let word = group.group.as_deref();
        let peers: Peers = crate::cli::commands::ask_node(&self.root, &self.home, word, Verb::Peers)?;
        let local = LockedRegistry::open(&self.root)?;
        let local = local.registry.nodes.iter().find(|(name, _)| name.as_str() == text);
        if let Some((name, node)) = local.filter(|(_, node)| node.groups.contains(&peers.group)) {
            return Ok(Peer { key: node.key.clone(), name: name.to_string(), group: Some(peers.group) });
        }
        let prefix = text.to_ascii_lowercase();
        let found: Vec<_> = peers
            .members
            .iter()
            .filter(|member| {
                member.name.as_deref() == Some(text) || (prefix.len() >= 8 && member.key.starts_with(&prefix))
            })
            .collect();
        match found.as_slice() {
            [member] if member.this_node => Err(CommandError::usage("a swap needs another member than oneself")
                .hint(format!("see the members: side-node peers {}", self.name))),
            [member] => Ok(Peer {
                key: member.key.clone(),
                name: member.name.clone().unwrap_or_else(|| output::short(&member.key).to_owned()),
                group: Some(peers.group.clone()),
            }),
            [] => Err(CommandError::user(format!("the group has no member {text:?}"))
                .hint(format!("see the members: side-node peers {}", self.name))),
            _ => Err(CommandError::user(format!("several members are called {text:?}"))
                .hint(format!("take the key: side-node peers {}", self.name))),
        }
    }

    /// Warns once of what a single server means.
    pub(in crate::cli::commands) fn warn_single(&self) {
        if self.place.servers.len() == 1 && !self.json {
            note(&format!(
                "one server is asked ({}): it cannot forge confirmations, but it can withhold what happens. Name a second one with --esplora",
                self.place.servers[0]
            ));
        }
    }

    /// Whether only one JSON document may be printed.
    pub(in crate::cli::commands) fn json(&self) -> bool {
        self.json
    }
}

/// Tells on stderr what a round brought, each line once.
pub(in crate::cli::commands) fn report(round: &Round, told: &mut BTreeSet<String>, quiet: bool) {
    let mut say = |text: String| {
        if told.insert(text.clone()) && !quiet {
            note(&text);
        }
    };
    for (_, notice) in &round.notices {
        say(notice.words.clone());
    }
    for (chain, objections) in &round.objections {
        for objection in objections {
            say(format!("{chain}: the server {} {}", objection.server, objection.what));
        }
    }
    for (txid, why) in &round.refused {
        say(format!("transaction {txid} was not taken yet: {why}"));
    }
}

/// Shows on a terminal how far the headers are; elsewhere nothing.
pub(in crate::cli::commands) fn progress(chain: &ChainId, at: CatchUp) {
    if at.tip.saturating_sub(at.height) >= 100 && stderr().is_terminal() {
        let _ = write!(stderr(), "\r\u{1b}[K  checking headers of {chain}: block {} of {}\r", at.height, at.tip)
            .and_then(|()| stderr().flush());
    }
}

/// Whoever closed stderr does not want to know.
fn note(text: &str) {
    let _ = writeln!(stderr(), "note: {}", printable(text));
}
