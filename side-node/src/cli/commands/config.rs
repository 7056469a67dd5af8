//! `side-node config …`: what a node's settings are and where each comes from.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use side_ledger::Name;

use super::btc::{ChainArgs, PayArgs};
use super::choose_node;
use crate::btc::amount::sat_per_vb;
use crate::btc::network::Network;
use crate::btc::settings::{self, BtcSettings, Layer};
use crate::cli::{Globals, PageArgs, RelayArgs};
use crate::config::{ConfigFile, RELAY_VARIABLE, Settings, without_password};
use crate::console::log::LOG_VARIABLE;
use crate::daemon::membership::Memberships;
use crate::error::CommandError;
use crate::home::{HOME_VARIABLE, NodeHome, Root};
use crate::output::printable;
use crate::registry::Registry;
use crate::web::place::{PAGE_VARIABLE, PagePlace};

/// Arguments of `config`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node config show node1            every setting, and where it comes from
  side-node config path node1            the file to edit

A flag goes before an environment variable, that before config.toml, and that before the default.")]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The commands about settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its value and where that comes from
    Show(ShowArgs),
    /// Print where the configuration file is
    Path(PathArgs),
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node config show node1
  side-node config show node1 --json | jq -r '.settings[] | select(.origin != \"default\") | .key'
  side-node config show node1 --network regtest       with a flag as another command would take it

Passwords in addresses are left out. Settings that no file has, such as --trust-this-copy, are not listed.")]
pub struct ShowArgs {
    /// The node [default: the only one]
    #[arg(value_name = "NODE")]
    pub name: Option<Name>,
    /// Where the relay is.
    #[command(flatten)]
    pub relay: RelayArgs,
    /// Where the page is served.
    #[command(flatten)]
    pub page: PageArgs,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// How a payment is made.
    #[command(flatten)]
    pub pay: PayArgs,
}

/// Arguments of `config path`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: \"$EDITOR\" \"$(side-node config path node1)\"\n\nA running node reads it at its next start."
)]
pub struct PathArgs {
    /// The node [default: the only one]
    #[arg(value_name = "NODE")]
    pub name: Option<Name>,
}

/// Runs `config`.
pub fn run(globals: &Globals, args: ConfigArgs) -> Result<(), CommandError> {
    match args.command {
        ConfigCommand::Show(args) => show(globals, args),
        ConfigCommand::Path(args) => {
            let root = globals.root()?;
            let home = root.node(choose_node(&root, args.name)?.as_str());
            home.require()?;
            let path = home.config_file();
            let value = json!({ "node": home.name(), "path": path.display().to_string(), "exists": path.exists() });
            globals.output().result(&value, || path.display().to_string())
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    Flag,
    Environment,
    ConfigFile,
    Invitation,
    Registry,
    Default,
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Setting {
    /// As in `config.toml`.
    key: &'static str,
    value: Value,
    origin: Origin,
    /// The flag, the variable or the file.
    from: Option<String>,
}

/// What `config show` prints.
#[derive(Debug, Serialize)]
struct Shown {
    node: String,
    config_file: String,
    settings: Vec<Setting>,
}

fn show(globals: &Globals, args: ShowArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let home = root.node(choose_node(&root, args.name.clone())?.as_str());
    home.require()?;
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let settings = settings_of(globals, &args, &root, &home, &environment)?;
    let shown = Shown { node: home.name().to_owned(), config_file: home.config_file().display().to_string(), settings };
    globals.output().result(&shown, || text(&shown))
}

fn text(shown: &Shown) -> String {
    let mut out = String::new();
    let value = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => {
            let words = values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), printable));
            words.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let width = shown.settings.iter().map(|setting| value(&setting.value).chars().count()).max().unwrap_or(0).min(48);
    for setting in &shown.settings {
        let origin = match setting.origin {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::ConfigFile => "config file",
            Origin::Invitation => "invitation",
            Origin::Registry => "chosen before",
            Origin::Default => "default",
        };
        let from = match (&setting.from, setting.origin) {
            (Some(from), Origin::Flag | Origin::Environment) => format!(" {from}"),
            _ => String::new(),
        };
        let _ = writeln!(out, "{:<22} {:<width$}  {origin}{from}", setting.key, value(&setting.value));
    }
    let _ = writeln!(out, "config file: {}", shown.config_file);
    out
}

/// Every setting of a node, in the order of the template of `config.toml`.
fn settings_of(
    globals: &Globals,
    args: &ShowArgs,
    root: &Root,
    home: &NodeHome,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Vec<Setting>, CommandError> {
    let path = home.config_file();
    let file = ConfigFile::load(&path)?;
    let file_name = || Some(path.display().to_string());
    let set = |key, value, origin, from| Setting { key, value, origin, from };
    let flag = |name: &str| (Origin::Flag, Some(name.to_owned()));
    let variable = |name: &str| (Origin::Environment, Some(name.to_owned()));
    let mut settings = Vec::new();

    let (origin, from) = match (&globals.home, environment(HOME_VARIABLE)) {
        (Some(_), _) => flag("--home"),
        (None, Some(_)) => variable(HOME_VARIABLE),
        _ => (Origin::Default, None),
    };
    settings.push(set("home", json!(root.path().display().to_string()), origin, from));

    // What a relay's address is checked against holds here, too.
    let given = args.relay.relay.clone().or_else(|| environment(RELAY_VARIABLE));
    let memberships = Memberships::load(home)?;
    let invited: Vec<String> = memberships.default().invitation.relays().map(str::to_owned).collect();
    let resolved = Settings::resolve(given, globals.verbose, file.clone(), &invited)?;
    let (origin, from) = match (&args.relay.relay, environment(RELAY_VARIABLE), &file.relay, invited.first()) {
        (Some(_), ..) => flag("--relay"),
        (None, Some(_), ..) => variable(RELAY_VARIABLE),
        (None, None, Some(_), _) => (Origin::ConfigFile, file_name()),
        (None, None, None, Some(_)) => (Origin::Invitation, None),
        _ => (Origin::Default, None),
    };
    settings.push(set("relay", json!(without_password(&resolved.relay)), origin, from));
    let (origin, from) = match &file.relay_ca {
        Some(_) => (Origin::ConfigFile, file_name()),
        None => (Origin::Default, None),
    };
    settings.push(set("relay_ca", json!(file.relay_ca), origin, from));

    let registered = Registry::load(root)?.nodes.into_iter().find(|(name, _)| name.as_str() == home.name());
    let registered = registered.map(|(_, node)| node);
    let port = registered.as_ref().and_then(|node| node.port);
    let port_of_page = registered.as_ref().and_then(|node| node.page);
    let (value, origin, from) = match (file.listen, port) {
        (Some(listen), _) => (json!(listen.to_string()), Origin::ConfigFile, file_name()),
        (None, Some(port)) => {
            (json!(format!("127.0.0.1:{port}")), Origin::Registry, Some(root.registry_file().display().to_string()))
        }
        (None, None) => (json!("127.0.0.1:0"), Origin::Default, None),
    };
    settings.push(set("listen", value, origin, from));

    let listed = |values: Vec<String>| match values.is_empty() {
        true => (json!([]), Origin::Default, None),
        false => (json!(values), Origin::ConfigFile, file_name()),
    };
    let (value, origin, from) = listed(file.announce.iter().map(ToString::to_string).collect());
    settings.push(set("announce", value, origin, from));
    let (value, origin, from) = listed(file.peers.iter().map(ToString::to_string).collect());
    settings.push(set("peers", value, origin, from));

    let (value, (origin, from)) = match (args.page.flag(), environment(PAGE_VARIABLE), file.page, port_of_page) {
        (Some((place, name)), ..) => (place, flag(name)),
        (None, Some(text), ..) => {
            let wrong = |why| CommandError::usage(format!("{PAGE_VARIABLE}: {why}")).hint("give a port, or \"off\"");
            (text.parse::<PagePlace>().map_err(wrong)?, variable(PAGE_VARIABLE))
        }
        (None, None, Some(place), _) => (place, (Origin::ConfigFile, file_name())),
        (None, None, None, Some(port)) => {
            let place = PagePlace::At(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            (place, (Origin::Registry, Some(root.registry_file().display().to_string())))
        }
        (None, None, None, None) => (PagePlace::default(), (Origin::Default, None)),
    };
    settings.push(set("page", json!(value.to_string()), origin, from));

    let (log, (origin, from)) = match (globals.verbose, environment(LOG_VARIABLE)) {
        (0, Some(filter)) => (filter, variable(LOG_VARIABLE)),
        (0, None) if file.log.is_some() => (resolved.log, (Origin::ConfigFile, file_name())),
        (0, None) => (resolved.log, (Origin::Default, None)),
        _ => (resolved.log, flag("-v")),
    };
    settings.push(set("log", json!(log), origin, from));

    settings.extend(bitcoin(args, &file, environment, file_name())?);
    Ok(settings)
}

/// The settings of the wallet.
fn bitcoin(
    args: &ShowArgs,
    file: &ConfigFile,
    environment: &impl Fn(&str) -> Option<String>,
    file_name: Option<String>,
) -> Result<Vec<Setting>, CommandError> {
    let flags = Layer {
        network: args.chain.network,
        esplora: args.chain.esplora.clone(),
        fee_rate: args.pay.fee_rate,
        confirmations: args.pay.confirmations,
        poll: None,
    };
    let layers = [flags, Layer::from_environment(environment)?, file.bitcoin.clone()];
    // To look costs no money.
    let resolved = BtcSettings::resolve(&layers, true)?;
    let origin = |says: &dyn Fn(usize, &Layer) -> bool, flag: &str, variable: &str| match layers
        .iter()
        .enumerate()
        .position(|(at, layer)| says(at, layer))
    {
        Some(0) => (Origin::Flag, Some(flag.to_owned())),
        Some(1) => (Origin::Environment, Some(variable.to_owned())),
        Some(_) => (Origin::ConfigFile, file_name.clone()),
        None => (Origin::Default, None),
    };
    let set = |key, value, (origin, from)| Setting { key, value, origin, from };
    // Servers that are named for another network than the one that holds are not asked (see btc::settings).
    let network_from = |at: usize| layers[at..].iter().find_map(|layer| layer.network).unwrap_or_default();
    let network: Network = resolved.network;
    let servers: Vec<String> = resolved.servers.iter().map(|url| without_password(url)).collect();
    Ok(vec![
        set(
            "bitcoin.network",
            json!(network),
            origin(&|_, layer| layer.network.is_some(), "--network", settings::NETWORK_VARIABLE),
        ),
        set(
            "bitcoin.esplora",
            json!(servers),
            origin(
                &|at, layer| !layer.esplora.is_empty() && network_from(at) == network,
                "--esplora",
                settings::ESPLORA_VARIABLE,
            ),
        ),
        set(
            "bitcoin.fee_rate",
            json!(resolved.fee_rate.map(sat_per_vb)),
            origin(&|_, layer| layer.fee_rate.is_some(), "--fee-rate", settings::FEE_RATE_VARIABLE),
        ),
        set(
            "bitcoin.confirmations",
            json!(resolved.confirmations),
            origin(&|_, layer| layer.confirmations.is_some(), "--confirmations", settings::CONFIRMATIONS_VARIABLE),
        ),
        set(
            "bitcoin.poll_seconds",
            json!(resolved.poll.as_secs_f64()),
            origin(&|_, layer| layer.poll.is_some(), "", settings::POLL_VARIABLE),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::init::{InitArgs, init};

    fn made() -> (tempfile::TempDir, Root, NodeHome) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::find(Some(folder.path().to_owned())).unwrap();
        let name: Name = "node1".parse().unwrap();
        let relay = RelayArgs { relay: Some("ws://invited:1".into()) };
        init(&root, &InitArgs { name, join: None, group_name: None, passphrase: false, restore_wallet: false, relay })
            .unwrap();
        let home = root.node("node1");
        (folder, root, home)
    }

    fn globals(root: &Root) -> Globals {
        Globals { home: Some(root.path().to_owned()), json: true, verbose: 0, passphrase_file: None }
    }

    fn no_flags() -> ShowArgs {
        ShowArgs {
            name: None,
            relay: RelayArgs::default(),
            page: PageArgs::default(),
            chain: ChainArgs::default(),
            pay: PayArgs::default(),
        }
    }

    fn find<'a>(settings: &'a [Setting], key: &str) -> &'a Setting {
        settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key} is not shown"))
    }

    #[test]
    fn every_key_of_the_file_is_shown() {
        let (_folder, root, home) = made();
        let shown = settings_of(&globals(&root), &no_flags(), &root, &home, &|_: &str| None).unwrap();
        let bitcoin = settings::KEYS.map(|key| format!("bitcoin.{key}"));
        let keys = crate::config::KEYS.iter().filter(|key| **key != "bitcoin").map(|key| (*key).to_owned());
        for key in keys.chain(bitcoin) {
            find(&shown, &key);
        }
    }

    #[test]
    fn each_setting_tells_where_it_comes_from() {
        let (_folder, root, home) = made();
        let globals = globals(&root);
        let nothing = |_: &str| None;
        let origin = |shown: &[Setting], key: &str| find(shown, key).origin;

        let shown = settings_of(&globals, &no_flags(), &root, &home, &nothing).unwrap();
        assert_eq!(find(&shown, "relay").value, "ws://invited:1");
        assert_eq!(origin(&shown, "relay"), Origin::Invitation);
        assert_eq!(origin(&shown, "listen"), Origin::Registry);
        assert_eq!(origin(&shown, "home"), Origin::Flag);
        assert_eq!(origin(&shown, "bitcoin.esplora"), Origin::Default);

        let file = "relay = \"ws://file:1\"\nlisten = \"127.0.0.1:4001\"\nlog = \"info\"\n\
            [bitcoin]\nnetwork = \"signet\"\nesplora = [\"https://me:secret@file.example/api\"]\n";
        std::fs::write(home.config_file(), file).unwrap();
        let shown = settings_of(&globals, &no_flags(), &root, &home, &nothing).unwrap();
        for key in ["relay", "listen", "log", "bitcoin.network", "bitcoin.esplora"] {
            assert_eq!(origin(&shown, key), Origin::ConfigFile, "{key}");
        }
        assert_eq!(find(&shown, "bitcoin.esplora").value, json!(["https://file.example/api"]));

        let environment = |name: &str| match name {
            RELAY_VARIABLE => Some("ws://variable:1".to_owned()),
            LOG_VARIABLE => Some("trace".to_owned()),
            settings::CONFIRMATIONS_VARIABLE => Some("3".to_owned()),
            _ => None,
        };
        let shown = settings_of(&globals, &no_flags(), &root, &home, &environment).unwrap();
        assert_eq!(
            (find(&shown, "relay").value.clone(), origin(&shown, "relay")),
            (json!("ws://variable:1"), Origin::Environment)
        );
        assert_eq!((find(&shown, "log").value.clone(), origin(&shown, "log")), (json!("trace"), Origin::Environment));
        assert_eq!(origin(&shown, "bitcoin.confirmations"), Origin::Environment);

        let flags = ShowArgs {
            relay: RelayArgs { relay: Some("ws://flag:1".into()) },
            page: PageArgs { page: Some("4080".parse().unwrap()), no_page: false },
            chain: ChainArgs { network: Some(Network::Regtest), ..ChainArgs::default() },
            ..no_flags()
        };
        let shown = settings_of(&Globals { verbose: 2, ..globals }, &flags, &root, &home, &environment).unwrap();
        assert_eq!(
            (find(&shown, "relay").value.clone(), origin(&shown, "relay")),
            (json!("ws://flag:1"), Origin::Flag)
        );
        assert_eq!((find(&shown, "log").value.clone(), origin(&shown, "log")), (json!("debug"), Origin::Flag));
        assert_eq!(origin(&shown, "bitcoin.network"), Origin::Flag);
        assert_eq!(
            (find(&shown, "page").value.clone(), find(&shown, "page").from.as_deref()),
            (json!("127.0.0.1:4080"), Some("--page"))
        );
        // The file's servers are those of another network.
        assert_eq!(origin(&shown, "bitcoin.esplora"), Origin::Default);
    }
}
