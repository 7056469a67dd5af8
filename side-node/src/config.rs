//! The node's settings: flag, else environment, else `config.toml`, else the default.
//!
//! Flags and environment come from the command line ([`crate::cli`]); this file reads `config.toml` and merges. A key that this version
//! does not know is refused, together with the nearest one that it does: a misspelt setting that is silently ignored costs an evening.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use side_ledger::address::{HostPort, NodeAddress};
use side_watcher::client::Roots;

use crate::btc::settings::Layer;
use crate::error::CommandError;
use crate::web::place::PagePlace;

/// The environment variable that names the relay.
pub const RELAY_VARIABLE: &str = "SIDE_RELAY";
/// Where the relay is looked for unless somebody says otherwise.
pub const DEFAULT_RELAY: &str = "ws://127.0.0.1:8080";
/// What is logged unless somebody says otherwise (the syntax is that of `tracing_subscriber::EnvFilter`).
pub const DEFAULT_LOG: &str = "warn";
/// Most bytes of a configuration file: it holds a few lines.
const MAX_CONFIG_BYTES: u64 = 64 << 10;
/// The keys that a configuration file may have.
pub(crate) const KEYS: [&str; 8] = ["relay", "relay_ca", "listen", "announce", "peers", "page", "log", "bitcoin"];
/// Most entries of a list: a configuration is written by hand.
const MAX_LIST: usize = 64;

/// What a new node's `config.toml` says: nothing, with an example of everything.
pub const TEMPLATE: &str = "\
# Settings of this node. Flags and environment variables go before them.

# Where the relay listens.
# relay = \"ws://127.0.0.1:8080\"

# Certificates (PEM) of an authority of your own that vouches for a relay at wss://…, beside those that browsers know.
# relay_ca = \"/etc/side/relay-ca.pem\"

# Where other nodes connect directly. Without it, a port on this machine only, that the nodes of this folder find by themselves.
# listen = \"0.0.0.0:4001\"

# Where others reach that port, if this machine does not know it itself: behind a router, or by a name.
# announce = [\"node.example:4001\"]

# Nodes to connect to, beside those that are known to be in the group: the key of each (see `side-node status`), and where it listens.
# peers = [\"8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c@node.example:4001\"]

# Where the page that shows the node's groups is served, on this machine only. Port 0 is any free one, the same as last time if it can be; \"off\" for no page.
# page = \"127.0.0.1:0\"

# What is logged to stderr: error, warn, info, debug, trace, or a filter like \"warn,side_node=debug\".
# log = \"warn\"

# Which Bitcoin network the wallet is on: mutinynet, signet, testnet4, regtest (a devnet) or bitcoin (real money).
# bitcoin.network = \"mutinynet\"

# Where the Esplora servers of that network are; the wallet asks the first one.
# bitcoin.esplora = [\"https://mutinynet.com/api\"]

# What is paid for a payment, in sats a virtual byte. Without it, the server's estimate is followed, within bounds.
# bitcoin.fee_rate = 1.0

# How many confirmations a payment is waited for.
# bitcoin.confirmations = 1

# How often the chains of swaps are looked at, in seconds. Without it, half a block's time: 15 on mutinynet, 60 on bitcoin.
# bitcoin.poll_seconds = 15
";

/// What a configuration file says; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigFile {
    /// The relay's address.
    pub relay: Option<String>,
    /// A file with certificates that vouch for it.
    pub relay_ca: Option<String>,
    /// Where to listen for other nodes.
    pub listen: Option<SocketAddr>,
    /// Where others reach this node.
    pub announce: Vec<HostPort>,
    /// Nodes to connect to.
    pub peers: Vec<NodeAddress>,
    /// Where the page is served.
    pub page: Option<PagePlace>,
    /// The log filter.
    pub log: Option<String>,
    /// What it says of Bitcoin.
    pub bitcoin: Layer,
}

impl ConfigFile {
    /// Reads the file. A missing file says nothing.
    pub fn load(path: &Path) -> Result<Self, CommandError> {
        let what = || format!("cannot read {}", path.display());
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CommandError::io(what(), &error)),
            Ok(metadata) if metadata.len() > MAX_CONFIG_BYTES => {
                return Err(CommandError::user(format!("{} is larger than {MAX_CONFIG_BYTES} bytes", path.display()))
                    .hint("a configuration has a few lines; is this another file?"));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).map_err(|e| CommandError::io(what(), &e))?;
        Self::parse(&text).map_err(|(message, hint)| {
            let error = CommandError::user(format!("{}: {message}", path.display()));
            match hint {
                Some(hint) => error.hint(hint),
                None => error.hint("mend the line, or put a # before it"),
            }
        })
    }

    fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| (e.to_string().trim_end().to_owned(), None))?;
        let mut config = Self::default();
        for (key, value) in table {
            let slot = match key.as_str() {
                "relay" => &mut config.relay,
                "relay_ca" => &mut config.relay_ca,
                "log" => &mut config.log,
                "listen" => {
                    let toml::Value::String(text) = &value else {
                        let hint = "write it like this: listen = \"0.0.0.0:4001\"".to_owned();
                        return Err((format!("listen must be a text, not {}", value.type_str()), Some(hint)));
                    };
                    let hint = "it is an address of this machine and a port, like \"0.0.0.0:4001\"".to_owned();
                    let address = text.parse().map_err(|_| (format!("listen = {text:?} is no address"), Some(hint)))?;
                    config.listen = Some(address);
                    continue;
                }
                "page" => {
                    let hint = "write it like this: page = \"127.0.0.1:4080\", or page = \"off\"".to_owned();
                    let toml::Value::String(text) = &value else {
                        return Err((format!("page must be a text, not {}", value.type_str()), Some(hint)));
                    };
                    config.page = Some(text.parse().map_err(|why| (format!("page: {why}"), Some(hint)))?);
                    continue;
                }
                "announce" => {
                    config.announce = list(&key, value, "\"node.example:4001\"", |text| text.parse())?;
                    continue;
                }
                "peers" => {
                    config.peers = list(&key, value, "\"KEY@node.example:4001\"", NodeAddress::parse)?;
                    continue;
                }
                "bitcoin" => {
                    let toml::Value::Table(table) = value else {
                        let hint = "write its keys like this: bitcoin.network = \"mutinynet\"".to_owned();
                        return Err((format!("bitcoin is a section, not {}", value.type_str()), Some(hint)));
                    };
                    config.bitcoin = Layer::from_toml(table)?;
                    continue;
                }
                unknown => {
                    let hint = match nearest(unknown, KEYS) {
                        Some(known) => format!("did you mean {known:?}?"),
                        None => format!("the known keys are: {}", KEYS.join(", ")),
                    };
                    return Err((format!("unknown key {unknown:?}"), Some(hint)));
                }
            };
            match value {
                toml::Value::String(text) => *slot = Some(text),
                other => {
                    let hint = format!("write it in quotes: {key} = \"…\"");
                    return Err((format!("{key} must be a text, not {}", other.type_str()), Some(hint)));
                }
            }
        }
        Ok(config)
    }
}

/// Reads a list of addresses.
fn list<T, E: std::fmt::Display>(
    key: &str,
    value: toml::Value,
    example: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, (String, Option<String>)> {
    let hint = || Some(format!("write it like this: {key} = [{example}]"));
    let toml::Value::Array(values) = value else {
        return Err((format!("{key} must be a list, not {}", value.type_str()), hint()));
    };
    if values.len() > MAX_LIST {
        return Err((format!("{key} has more than {MAX_LIST} entries"), None));
    }
    let one = |value: toml::Value| match &value {
        toml::Value::String(text) => {
            read(text).map_err(|error| (format!("{key}: {text:?} is no address: {error}"), hint()))
        }
        other => Err((format!("{key} must be a list of texts, not of {}", other.type_str()), hint())),
    };
    values.into_iter().map(one).collect()
}

/// The settings that a running node uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The relay's address: `ws://` or `wss://`.
    pub relay: String,
    /// Whether somebody named the relay. Otherwise it is the default, which nobody may run.
    pub relay_named: bool,
    /// A file with certificates that vouch for it, beside the usual ones.
    pub relay_ca: Option<PathBuf>,
    /// The log filter.
    pub log: String,
}

impl Settings {
    /// Merges what flag or environment said (`None` where neither did) with the file and the defaults. `verbosity` counts `-v`.
    pub fn resolve(
        relay: Option<String>,
        verbosity: u8,
        file: ConfigFile,
        known_relays: &[String],
    ) -> Result<Self, CommandError> {
        let relay = relay.or(file.relay).or_else(|| known_relays.first().cloned());
        let relay_named = relay.is_some();
        let relay = relay.unwrap_or_else(|| DEFAULT_RELAY.to_owned());
        check_relay(&relay)?;
        let log = match verbosity {
            0 => file.log.unwrap_or_else(|| DEFAULT_LOG.to_owned()),
            1 => "info".to_owned(),
            2 => "debug".to_owned(),
            _ => "trace".to_owned(),
        };
        Ok(Self { relay, relay_named, relay_ca: file.relay_ca.map(PathBuf::from), log })
    }

    /// Who may vouch for the relay's name.
    pub fn roots(&self) -> Result<Roots, CommandError> {
        let Some(path) = &self.relay_ca else { return Ok(Roots::default()) };
        Roots::read(path).map_err(|error| {
            CommandError::user(format!("relay_ca in config.toml: {error}"))
                .hint("name a file with the certificate of the authority that signed the relay's, or remove the line")
        })
    }
}

/// Refuses what is no websocket address, before a connection loop tries it for ever.
pub fn check_relay(address: &str) -> Result<(), CommandError> {
    let rest = address.strip_prefix("ws://").or_else(|| address.strip_prefix("wss://"));
    if rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)) {
        return Ok(());
    }
    Err(CommandError::usage(format!("{address:?} is no address of a relay"))
        .hint(format!("an address looks like {DEFAULT_RELAY} (see --relay, {RELAY_VARIABLE} and config.toml)")))
}

/// An address without what stands before an `@` in it, which may be a password.
pub fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The known word that `word` was most likely meant to be, if any is near enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Half of the letters may be wrong: more is another word.
    let limit = word.chars().count().div_ceil(2).min(3);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit || (word.len() >= 2 && candidate.starts_with(word)))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btc::settings::BtcSettings;

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let (message, hint) = ConfigFile::parse("rellay = \"ws://x\"").unwrap_err();
        assert_eq!(message, "unknown key \"rellay\"");
        assert_eq!(hint.unwrap(), "did you mean \"relay\"?");
        let (_, hint) = ConfigFile::parse("entirely_else = 1").unwrap_err();
        assert!(hint.is_some_and(|hint| hint.contains("relay, ") && hint.contains("listen")));
    }

    #[test]
    fn wrong_types_and_wrong_syntax_are_refused() {
        assert!(ConfigFile::parse("relay = 8080").unwrap_err().0.contains("must be a text"));
        assert!(ConfigFile::parse("relay = ").is_err());
        for (text, expected) in [
            ("listen = 4001", "must be a text"),
            ("listen = \"4001\"", "is no address"),
            ("peers = \"x\"", "must be a list"),
            ("peers = [1]", "list of texts"),
            ("peers = [\"node.example:4001\"]", "no key"),
            ("announce = [\"node.example\"]", "no port"),
        ] {
            let (message, hint) = ConfigFile::parse(text).unwrap_err();
            assert!(message.contains(expected) && hint.is_some(), "{message}");
        }
    }

    #[test]
    fn the_template_says_nothing_and_its_examples_parse() {
        assert_eq!(ConfigFile::parse(TEMPLATE), Ok(ConfigFile::default()));
        let uncommented: String = TEMPLATE
            .lines()
            .map(|line| if line.contains(" = ") { line.trim_start_matches("# ") } else { "" })
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = ConfigFile::parse(&uncommented).unwrap();
        assert_eq!(config.relay.as_deref(), Some(DEFAULT_RELAY));
        assert_eq!(config.log.as_deref(), Some(DEFAULT_LOG));
        let settings = BtcSettings::resolve(&[config.bitcoin], false).unwrap();
        assert_eq!(settings, BtcSettings { fee_rate: settings.fee_rate, ..BtcSettings::resolve(&[], false).unwrap() });
        assert!(settings.fee_rate.is_some());
    }

    #[test]
    fn keys_of_the_wallet_are_checked_as_all_others() {
        let (message, hint) = ConfigFile::parse("[bitcoin]\nnetwrok = \"signet\"").unwrap_err();
        assert_eq!(message, "unknown key \"bitcoin.netwrok\"");
        assert_eq!(hint.unwrap(), "did you mean \"bitcoin.network\"?");
        assert!(ConfigFile::parse("bitcoin = 1").unwrap_err().0.contains("a section"));
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let file = ConfigFile { relay: Some("ws://file:1".into()), ..ConfigFile::default() };
        let relay = |flag: Option<&str>, file: &ConfigFile, known: &[String]| {
            Settings::resolve(flag.map(str::to_owned), 0, file.clone(), known).unwrap().relay
        };
        let invited = ["ws://invited:2".to_owned()];
        assert_eq!(relay(Some("ws://flag:1"), &file, &invited), "ws://flag:1");
        assert_eq!(relay(None, &file, &invited), "ws://file:1");
        assert_eq!(relay(None, &ConfigFile::default(), &invited), "ws://invited:2");
        assert_eq!(relay(None, &ConfigFile::default(), &[]), DEFAULT_RELAY);
    }

    #[test]
    fn a_password_in_an_address_is_left_out() {
        for (address, shown) in [
            ("https://user:secret@server.example/api", "https://server.example/api"),
            ("ws://a@b@relay.example:1", "ws://relay.example:1"),
            ("ws://relay.example/x@y", "ws://relay.example/x@y"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_password(address), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "127.0.0.1:8080", "http://x", "ws://", "ws:///x", "ws://a b"] {
            assert!(check_relay(bad).is_err(), "{bad:?}");
        }
        check_relay("wss://relay.example/path").unwrap();
    }
}
