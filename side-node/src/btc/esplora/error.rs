//! What can go wrong with a server, in words that name it, and what to do then.

use bitcoin::BlockHash;

use crate::btc::network::Network;
use crate::error::CommandError;
use crate::output::printable;

/// Most characters of a server's own words that are shown.
const MAX_WORDS: usize = 300;

/// Why a server's answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EsploraError {
    /// The address is none.
    #[error("{url:?} is no address of an Esplora server: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers there.
    #[error("cannot reach the Esplora server {server}: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        /// The operating system's or the TLS library's reason.
        why: String,
    },
    /// It takes too long.
    #[error("the Esplora server {server} has not answered within {seconds} seconds")]
    TooSlow {
        /// Its address.
        server: String,
        /// How long we waited.
        seconds: u64,
    },
    /// It says that something is wrong on its side, or that we ask too often.
    #[error("the Esplora server {server} answers {path} with status {status}: {message}")]
    Status {
        /// Its address.
        server: String,
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// Its answer has no end.
    #[error("the Esplora server {server} answers {path} with more than {limit} bytes")]
    TooLarge {
        /// Its address.
        server: String,
        /// What was asked.
        path: String,
        /// The most that such an answer can have.
        limit: usize,
    },
    /// Its answer cannot be true.
    #[error("the Esplora server {server} answers {path} with nonsense: {why}")]
    Nonsense {
        /// Its address.
        server: String,
        /// What was asked.
        path: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// It refuses a transaction.
    #[error("the Esplora server {server} refuses the transaction: {reason}")]
    Rejected {
        /// Its address.
        server: String,
        /// The reason of the node behind it.
        reason: String,
    },
    /// It serves another chain.
    #[error("the Esplora server {server} does not serve {network}: block {height} is {}, not {expected}", shown(found))]
    WrongChain {
        /// Its address.
        server: String,
        /// The network that it should serve.
        network: Network,
        /// The height at which it differs.
        height: u32,
        /// What it has there.
        found: Option<BlockHash>,
        /// What the network has there.
        expected: BlockHash,
    },
}

fn shown(found: &Option<BlockHash>) -> String {
    found.map_or_else(|| "missing".to_owned(), |hash| hash.to_string())
}

impl EsploraError {
    /// Whether asking again later may help: the fault is on the way or on the server's side.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooSlow { .. } | Self::Nonsense { .. } | Self::TooLarge { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Url { .. } | Self::Rejected { .. } | Self::WrongChain { .. } => false,
        }
    }

    /// The error with the next step to take, for a command on `network`.
    pub fn into_command_error(self, network: Network) -> CommandError {
        let another = "or name another server with --esplora URL";
        match &self {
            Self::Url { .. } => CommandError::usage(self.to_string())
                .hint(format!("an address looks like {}", network.default_esplora())),
            Self::WrongChain { .. } => CommandError::user(self.to_string())
                .hint(format!("name the network that it serves with --network, {another}")),
            Self::Rejected { .. } => CommandError::user(self.to_string())
                .hint("nothing was paid; the reason is the Bitcoin node's. A fee that is too low is mended with --fee-rate"),
            _ if network == Network::Regtest => CommandError::remote(self.to_string())
                .hint(format!("start the devnet beside this: cargo run -p btc-devnet; {another}")),
            _ => CommandError::remote(self.to_string()).hint(format!(
                "try again later, {another}; without a network, use a chain of your own: cargo run -p btc-devnet, then --network regtest"
            )),
        }
    }
}

/// A server's words, freed of what could drive a terminal, and short.
pub(super) fn tame(words: &str) -> String {
    let words = words.trim();
    let mut tamed = printable(&words.chars().take(MAX_WORDS).collect::<String>());
    if words.chars().nth(MAX_WORDS).is_some() {
        tamed.push('…');
    }
    if tamed.is_empty() { "(no words)".to_owned() } else { tamed }
}

/// The node's reason in an answer like `sendrawtransaction RPC error: {"code":-26,"message":"min relay fee not met"}`.
pub(super) fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let inner = text.find('{').and_then(|start| serde_json::from_str::<serde_json::Value>(&text[start..]).ok());
    match inner.as_ref().and_then(|json| json["message"].as_str()) {
        Some(message) => tame(message),
        None => tame(&text),
    }
}
