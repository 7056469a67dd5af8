//! Which network, which servers, which fee: flag, else environment, else `config.toml`, else the default.
//!
//! Servers belong to a network. Where a flag or the environment names another network than the file, the file's servers are not asked: they would be of the wrong
//! chain.

use std::time::Duration;

use bitcoin::FeeRate;

use super::amount;
use super::esplora::{Esplora, EsploraError};
use super::network::Network;
use crate::config::nearest;
use crate::error::CommandError;

/// The environment variable that names the network.
pub const NETWORK_VARIABLE: &str = "SIDE_BTC_NETWORK";
/// The environment variable that names the servers, with commas between them.
pub const ESPLORA_VARIABLE: &str = "SIDE_BTC_ESPLORA";
/// The environment variable that names the fee rate.
pub const FEE_RATE_VARIABLE: &str = "SIDE_BTC_FEE_RATE";
/// The environment variable that says how many confirmations are waited for.
pub const CONFIRMATIONS_VARIABLE: &str = "SIDE_BTC_CONFIRMATIONS";
/// The keys of the section `bitcoin` in a configuration file.
pub const KEYS: [&str; 5] = ["network", "esplora", "fee_rate", "confirmations", "poll_seconds"];
/// The environment variable that says how often swaps are looked at.
pub const POLL_VARIABLE: &str = "SIDE_BTC_POLL_SECONDS";
/// Confirmations that are waited for unless somebody says otherwise.
pub const DEFAULT_CONFIRMATIONS: u32 = 1;
/// Most confirmations that can be waited for: a coinbase matures after as many. More is a slip of the keyboard.
pub const MAX_CONFIRMATIONS: u32 = 100;
/// Most servers that are asked: each costs a request for everything that is checked.
pub const MAX_SERVERS: usize = 8;

/// What one layer (flags, environment, file) says; empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    /// The network.
    pub network: Option<Network>,
    /// The servers; the first is the one that the wallet asks, all of them check it.
    pub esplora: Vec<String>,
    /// The fee rate.
    pub fee_rate: Option<FeeRate>,
    /// Confirmations to wait for.
    pub confirmations: Option<u32>,
    /// Pause between two looks at the chains of swaps.
    pub poll: Option<Duration>,
}

/// Reads a pause in seconds: from a hundredth to a day.
fn poll(seconds: f64) -> Option<Duration> {
    (0.01..=86_400.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

impl Layer {
    /// Reads the section `bitcoin` of a configuration file. The error is what is wrong and, if known, what to do.
    pub fn from_toml(table: toml::Table) -> Result<Self, (String, Option<String>)> {
        let mut layer = Self::default();
        for (key, value) in table {
            let kind = value.type_str();
            let wrong = |example: &str| {
                (
                    format!("bitcoin.{key} must not be of type {kind}"),
                    Some(format!("write it like this: bitcoin.{key} = {example}")),
                )
            };
            match (key.as_str(), value) {
                ("network", toml::Value::String(name)) => {
                    layer.network = Some(name.parse().map_err(|e| (format!("bitcoin.network: {e}"), None))?);
                }
                ("network", _) => return Err(wrong("\"mutinynet\"")),
                ("esplora", toml::Value::String(url)) => layer.esplora = vec![url],
                ("esplora", toml::Value::Array(urls)) => {
                    let urls = urls.into_iter().map(|url| url.as_str().map(str::to_owned));
                    layer.esplora =
                        urls.collect::<Option<_>>().ok_or_else(|| wrong("[\"https://…\", \"https://…\"]"))?;
                }
                ("esplora", _) => return Err(wrong("\"https://…\"")),
                ("fee_rate", value @ (toml::Value::Float(_) | toml::Value::Integer(_))) => {
                    let rate = amount::parse_fee_rate(&value.to_string());
                    layer.fee_rate = Some(rate.map_err(|e| (format!("bitcoin.fee_rate: {e}"), None))?);
                }
                ("fee_rate", _) => return Err(wrong("2.5")),
                ("confirmations", toml::Value::Integer(number)) => {
                    layer.confirmations = Some(u32::try_from(number).map_err(|_| wrong("1"))?);
                }
                ("confirmations", _) => return Err(wrong("1")),
                ("poll_seconds", toml::Value::Float(seconds)) => {
                    layer.poll = Some(poll(seconds).ok_or_else(|| wrong("15"))?);
                }
                ("poll_seconds", toml::Value::Integer(seconds)) => {
                    layer.poll = Some(poll(seconds as f64).ok_or_else(|| wrong("15"))?);
                }
                ("poll_seconds", _) => return Err(wrong("15")),
                (unknown, _) => {
                    let hint = match nearest(unknown, KEYS) {
                        Some(known) => format!("did you mean \"bitcoin.{known}\"?"),
                        None => format!("the known keys of bitcoin are: {}", KEYS.join(", ")),
                    };
                    return Err((format!("unknown key \"bitcoin.{unknown}\""), Some(hint)));
                }
            }
        }
        Ok(layer)
    }

    /// Reads what the environment says. `get` looks a variable up.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Self, CommandError> {
        let read = |name: &'static str| get(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        let wrong = |name: &str, why: String| CommandError::usage(format!("the environment variable {name}: {why}"));
        let mut layer = Self::default();
        if let Some((name, value)) = read(NETWORK_VARIABLE) {
            layer.network = Some(value.parse::<Network>().map_err(|e| wrong(name, e.to_string()))?);
        }
        if let Some((_, value)) = read(ESPLORA_VARIABLE) {
            layer.esplora = value.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect();
        }
        if let Some((name, value)) = read(FEE_RATE_VARIABLE) {
            layer.fee_rate = Some(amount::parse_fee_rate(&value).map_err(|why| wrong(name, why))?);
        }
        if let Some((name, value)) = read(CONFIRMATIONS_VARIABLE) {
            layer.confirmations = Some(
                value.trim().parse().map_err(|_| wrong(name, format!("{value:?} is no number of confirmations")))?,
            );
        }
        if let Some((name, value)) = read(POLL_VARIABLE) {
            let seconds = value.trim().parse().ok().and_then(poll);
            layer.poll = Some(seconds.ok_or_else(|| wrong(name, format!("{value:?} is no pause in seconds")))?);
        }
        Ok(layer)
    }
}

/// The settings that a command uses.
#[derive(Debug, Clone, PartialEq)]
pub struct BtcSettings {
    /// The network.
    pub network: Network,
    /// The servers, at least one; the first is the one that the wallet asks.
    pub servers: Vec<String>,
    /// The fee rate; `None` leaves it to the server's estimate, within bounds.
    pub fee_rate: Option<FeeRate>,
    /// Confirmations to wait for.
    pub confirmations: u32,
    /// Pause between two looks at the chains of swaps: half a block's time, within bounds, unless somebody says otherwise.
    pub poll: Duration,
}

impl BtcSettings {
    /// Merges the layers, the strongest first, and the defaults. `real_money` says that the person has confirmed to mean it.
    ///
    /// # Errors
    /// If real money is at stake and nobody confirmed it; if there are too many servers or confirmations.
    pub fn resolve(layers: &[Layer], real_money: bool) -> Result<Self, CommandError> {
        let network_from = |from: usize| layers[from..].iter().find_map(|layer| layer.network).unwrap_or_default();
        let network = network_from(0);
        if network.is_real_money() && !real_money {
            return Err(CommandError::user("on the network bitcoin coins are real money, and Side is young")
                .hint("if you mean it, say so: --network bitcoin --real-money"));
        }
        let servers = layers
            .iter()
            .enumerate()
            // What a layer says of servers is meant for the network that it sees.
            .find(|(place, layer)| !layer.esplora.is_empty() && network_from(*place) == network)
            .map_or_else(|| vec![network.default_esplora().to_owned()], |(_, layer)| layer.esplora.clone());
        if servers.len() > MAX_SERVERS {
            return Err(CommandError::usage(format!("{} servers are too many: at most {MAX_SERVERS}", servers.len())));
        }
        let confirmations = layers.iter().find_map(|layer| layer.confirmations).unwrap_or(DEFAULT_CONFIRMATIONS);
        if confirmations > MAX_CONFIRMATIONS {
            return Err(CommandError::usage(format!("{confirmations} confirmations are too many"))
                .hint(format!("at most {MAX_CONFIRMATIONS}; six count as final")));
        }
        let fee_rate = layers.iter().find_map(|layer| layer.fee_rate);
        let usual = (network.block_interval() / 2).clamp(Duration::from_secs(1), Duration::from_secs(60));
        let poll = layers.iter().find_map(|layer| layer.poll).unwrap_or(usual);
        Ok(Self { network, servers, fee_rate, confirmations, poll })
    }

    /// A client for each server.
    ///
    /// # Errors
    /// [`EsploraError::Url`].
    pub fn clients(&self) -> Result<Vec<Esplora>, EsploraError> {
        self.servers.iter().map(|url| Esplora::new(url)).collect()
    }

    /// The client for the server that the wallet asks, the first one, after it has shown that it serves this network.
    ///
    /// # Errors
    /// [`EsploraError::Url`], [`EsploraError::WrongChain`], or the server does not answer.
    pub async fn connect(&self) -> Result<Esplora, EsploraError> {
        let first = Esplora::new(&self.servers[0])?;
        first.check_network(self.network).await?;
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(network: Option<Network>, url: &str) -> Layer {
        let esplora = if url.is_empty() { Vec::new() } else { vec![url.to_owned()] };
        Layer { network, esplora, ..Layer::default() }
    }

    fn resolve(layers: &[Layer]) -> BtcSettings {
        BtcSettings::resolve(layers, false).unwrap()
    }

    #[test]
    fn a_flag_goes_before_the_environment_and_that_before_the_file() {
        use Network::{Mutinynet, Regtest, Signet};
        let default = resolve(&[]);
        assert_eq!((default.network, default.confirmations), (Mutinynet, 1));
        assert_eq!(default.servers, [Mutinynet.default_esplora()]);
        let file = layer(Some(Signet), "http://file");
        assert_eq!(resolve(&[Layer::default(), Layer::default(), file.clone()]).servers, ["http://file"]);
        let environment = layer(None, "http://environment");
        assert_eq!(resolve(&[Layer::default(), environment.clone(), file.clone()]).servers, ["http://environment"]);
        assert_eq!(resolve(&[layer(None, "http://flag"), environment.clone(), file.clone()]).servers, ["http://flag"]);
        // Another network: what was written for the file's does not hold.
        let other = resolve(&[layer(Some(Regtest), ""), environment, file.clone()]);
        assert_eq!((other.network, other.servers), (Regtest, vec![Regtest.default_esplora().to_owned()]));
        assert_eq!(resolve(&[layer(Some(Signet), ""), file]).servers, ["http://file"]);
    }

    #[test]
    fn real_money_needs_a_word() {
        let layers = [layer(Some(Network::Bitcoin), "")];
        let error = BtcSettings::resolve(&layers, false).unwrap_err();
        assert!(error.next_step().unwrap().contains("--real-money"));
        assert_eq!(BtcSettings::resolve(&layers, true).unwrap().network, Network::Bitcoin);
    }

    #[test]
    fn absurd_numbers_are_refused() {
        let many = Layer { confirmations: Some(101), ..Layer::default() };
        assert!(BtcSettings::resolve(&[many], false).is_err());
        let servers = Layer { esplora: vec!["http://x".into(); 9], ..Layer::default() };
        assert!(BtcSettings::resolve(&[servers], false).is_err());
    }

    #[test]
    fn the_file_is_read_and_unknown_keys_are_refused_with_the_nearest_one() {
        let parse = |text: &str| Layer::from_toml(text.parse().unwrap());
        let layer =
            parse("network = \"regtest\"\nesplora = [\"http://a\", \"http://b\"]\nfee_rate = 2.5\nconfirmations = 3")
                .unwrap();
        assert_eq!(layer.network, Some(Network::Regtest));
        assert_eq!(layer.esplora.len(), 2);
        assert_eq!(layer.confirmations, Some(3));
        assert_eq!(parse("fee_rate = 2").unwrap().fee_rate, amount::parse_fee_rate("2").ok());
        let (message, hint) = parse("fee_rats = 2").unwrap_err();
        assert_eq!(message, "unknown key \"bitcoin.fee_rats\"");
        assert_eq!(hint.unwrap(), "did you mean \"bitcoin.fee_rate\"?");
        for bad in [
            "network = 1",
            "network = \"x\"",
            "esplora = [1]",
            "esplora = 1",
            "fee_rate = \"x\"",
            "fee_rate = -1",
            "confirmations = -1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_environment_is_read() {
        let get = |name: &str| match name {
            NETWORK_VARIABLE => Some("signet".to_owned()),
            ESPLORA_VARIABLE => Some("http://a, http://b".to_owned()),
            FEE_RATE_VARIABLE => Some("3".to_owned()),
            CONFIRMATIONS_VARIABLE => Some(String::new()),
            _ => None,
        };
        let layer = Layer::from_environment(get).unwrap();
        assert_eq!((layer.network, layer.esplora.len(), layer.confirmations), (Some(Network::Signet), 2, None));
        let bad = |name: &str| (name == FEE_RATE_VARIABLE).then(|| "fast".to_owned());
        assert!(Layer::from_environment(bad).unwrap_err().message().contains(FEE_RATE_VARIABLE));
    }
}
