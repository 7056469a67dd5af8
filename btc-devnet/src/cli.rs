//! `btc-devnet` on a command line. Prints, reads the environment and waits for signals; the library behind it does none of that.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::devnet::{Devnet, FUNDED, Options, StartError};
use crate::mode::{BadMode, Mode};
use crate::node::Mining;
use crate::wallet::MNEMONIC;

/// Exit code: the user can mend it.
const EXIT_USER: u8 = 1;
/// Exit code: wrong usage.
const EXIT_USAGE: u8 = 2;
/// Exit code: a bug of ours.
const EXIT_BUG: u8 = 255;
/// Where the first chain listens, if nothing is said: the port at which Esplora servers usually do.
const DEFAULT_LISTEN: &str = "127.0.0.1:3002";
/// Chains in one process. Each has three threads and a kernel of its own; swaps need two.
const MOST_CHAINS: u16 = 16;

/// A Bitcoin regtest chain for development: Bitcoin Core's own validation, an Esplora server in front of it, coins to play with.
#[derive(Debug, Parser)]
#[command(
    name = "btc-devnet",
    version,
    after_help = "\
Without arguments a funded chain answers on http://127.0.0.1:3002. A browser shows its state at that address; any wallet
that speaks Esplora takes it as its server. Commands are sent with curl, for example

  curl -X POST http://127.0.0.1:3002/devnet/mine -d '{\"blocks\": 6}'
  curl -X POST http://127.0.0.1:3002/devnet/fund -d '{\"address\": \"bcrt1…\", \"sats\": 100000}'
  curl -X POST http://127.0.0.1:3002/devnet/reorg -d '{\"depth\": 2}'

Two chains for a swap between them:   btc-devnet --chains 2
A chain that mines as you watch:      btc-devnet --block-time 10
A chain that is there tomorrow:       btc-devnet --state ./chain

Exit codes: 0 stopped as asked, 1 you can mend it, 2 wrong usage, 255 a bug of ours."
)]
pub struct Cli {
    /// Where a chain listens, ADDRESS:PORT; port 0 has the system choose. Repeat it for several chains [default: 127.0.0.1:3002]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// How many chains to run, on ports that follow one another
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_CHAINS)))]
    chains: u16,
    /// Keep the chains in this folder and go on from there next time; without it they are thrown away
    #[arg(long, env = "BTC_DEVNET_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Mine a block each time so many seconds have passed
    #[arg(long, value_name = "SECONDS", conflicts_with = "mine_on_transaction")]
    block_time: Option<u64>,
    /// Mine a block after each transaction
    #[arg(long)]
    mine_on_transaction: bool,
    /// The BIP39 words of the wallet that a new chain's first coins go to
    #[arg(long, value_name = "WORDS", default_value = MNEMONIC)]
    mnemonic: String,
    /// Where the clock of a new chain starts, in seconds since 1970, instead of now. Bitcoin Core takes no block from the future, so
    /// that whoever wants to move the clock ahead by days begins that much earlier
    #[arg(long, value_name = "TIME")]
    start_time: Option<u32>,
    /// Print one JSON document for programs once the chains answer, errors included
    #[arg(long)]
    json: bool,
    /// What is logged on stderr, as in RUST_LOG
    #[arg(long, env = "BTC_DEVNET_LOG", value_name = "FILTER", default_value = "warn")]
    log: String,
}

/// Why the program ends early, for a person.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("--chains counts ports up from one --listen; give one address, or as many as chains")]
    Listens,
    #[error("no {0} ports follow {1}; begin at a lower port")]
    Ports(u16, SocketAddr),
    #[error(transparent)]
    BlockTime(#[from] BadMode),
    #[error("{0:?} is not a log filter: {1}")]
    Log(String, String),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the system refuses a signal handler or a thread: {0}")]
    System(io::Error),
    #[error("a part of the program failed; see the messages above, and please report them")]
    Bug,
}

impl CliError {
    fn exit(&self) -> u8 {
        match self {
            Self::Listens | Self::Ports(..) | Self::BlockTime(_) | Self::Log(..) => EXIT_USAGE,
            Self::Start(StartError::Mnemonic(_)) => EXIT_USAGE,
            Self::Start(StartError::Failed) | Self::Bug => EXIT_BUG,
            Self::Start(_) | Self::System(_) => EXIT_USER,
        }
    }

    /// What to do next, where we know.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Start(StartError::Listen { address, source }) => Some(match source.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "another program listens there, perhaps a devnet of yours: use http://{address}, stop it, or give \
                     --listen {}:0 for any free port",
                    address.ip()
                ),
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 are for root: give --listen with a higher one".into()
                }
                io::ErrorKind::AddrNotAvailable => {
                    "this machine has no such address: give --listen 127.0.0.1:3002".into()
                }
                _ => return None,
            }),
            Self::Start(StartError::Mnemonic(_)) => Some("leave --mnemonic away for the usual words".into()),
            _ => None,
        }
    }
}

/// Runs the program. Everything that `main` does.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    let ended = std::panic::catch_unwind(|| run(cli)).unwrap_or(Err(CliError::Bug));
    let Err(error) = ended else { return ExitCode::SUCCESS };
    let hint = error.hint();
    if json {
        print(&serde_json::json!({ "error": error.to_string(), "hint": hint }));
    } else {
        let hint = hint.map(|hint| format!("\n  {hint}")).unwrap_or_default();
        let _ = writeln!(io::stderr(), "btc-devnet: {error}{hint}");
    }
    ExitCode::from(error.exit())
}

fn run(cli: Cli) -> Result<(), CliError> {
    start_logs(&cli.log)?;
    let chains = options(&cli)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::System)?;
    runtime.block_on(serve(chains, cli.json))
}

async fn serve(chains: Vec<Options>, json: bool) -> Result<(), CliError> {
    // From here on a signal ends it cleanly, even while the chains start.
    let mut signals = Signals::new().map_err(CliError::System)?;
    let mining = chains.first().map(|options| options.mining).unwrap_or_default();
    let kept = chains.iter().any(|options| options.state.is_some());
    let mut running = Vec::with_capacity(chains.len());
    for options in chains {
        tokio::select! {
            started = Devnet::start(options) => running.push(started?),
            () = signals.next() => return Ok(()),
        }
    }
    announce(&running, mining, kept, json).await;
    signals.next().await;
    if !json {
        let _ = writeln!(io::stderr(), "stopping");
    }
    // Dropping a chain waits for its thread: what is kept is on disk then.
    drop(running);
    Ok(())
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What each chain is started with.
fn options(cli: &Cli) -> Result<Vec<Options>, CliError> {
    let mining = match cli.block_time {
        Some(seconds) => Mode::Interval { seconds }.try_into()?,
        None if cli.mine_on_transaction => Mining::OnTransaction,
        None => Mining::OnDemand,
    };
    let listens = listens(cli)?;
    let several = listens.len() > 1;
    let chain = |(number, listen): (usize, SocketAddr)| Options {
        name: if several { format!("devnet, chain {number}") } else { "devnet".into() },
        listen,
        state: cli.state.as_ref().map(|folder| folder.join(format!("chain-{number}"))),
        mining,
        mnemonic: cli.mnemonic.clone(),
        start_time: cli.start_time,
    };
    Ok((1..).zip(listens).map(chain).collect())
}

fn listens(cli: &Cli) -> Result<Vec<SocketAddr>, CliError> {
    let default = [DEFAULT_LISTEN.parse().expect("the default is an address")];
    let given: &[SocketAddr] = if cli.listen.is_empty() { &default } else { &cli.listen };
    let [first] = given else {
        let matching = cli.chains == 1 || usize::from(cli.chains) == given.len();
        return if matching { Ok(given.to_vec()) } else { Err(CliError::Listens) };
    };
    let port = |step| match first.port() {
        0 => Some(0),
        port => port.checked_add(step),
    };
    let addresses = (0..cli.chains).map(|step| port(step).map(|port| SocketAddr::new(first.ip(), port)));
    addresses.collect::<Option<_>>().ok_or(CliError::Ports(cli.chains, *first))
}

/// The ready line, and before it what a person wants to know. For programs: one JSON document.
async fn announce(chains: &[Devnet], mining: Mining, kept: bool, json: bool) {
    if json {
        let mut told = Vec::new();
        for chain in chains {
            told.push(Told::new(chain).await);
        }
        return print(&serde_json::json!({ "ready": true, "chains": told }));
    }
    let mut text = String::new();
    for chain in chains {
        text += &Greeting { chain, mode: mining.into(), kept }.to_string();
    }
    let urls: Vec<&str> = chains.iter().map(Devnet::url).collect();
    print(&format_args!("{text}btc-devnet ready on {}", urls.join(" ")));
}

/// What a program learns of a chain.
#[derive(Serialize)]
struct Told {
    url: String,
    height: Option<u32>,
    mnemonic: String,
    descriptors: [String; 2],
    addresses: Vec<String>,
}

impl Told {
    async fn new(chain: &Devnet) -> Self {
        let wallet = chain.wallet();
        Self {
            url: chain.url().into(),
            height: chain.tip().await.ok().map(|tip| tip.height),
            mnemonic: wallet.mnemonic(),
            descriptors: wallet.descriptors(),
            addresses: (0..FUNDED).map(|index| wallet.address(index).to_string()).collect(),
        }
    }
}

/// What a person learns of a chain.
struct Greeting<'a> {
    chain: &'a Devnet,
    mode: Mode,
    kept: bool,
}

impl fmt::Display for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.chain.url();
        let wallet = self.chain.wallet();
        writeln!(f, "Esplora    {url}  (open it in a browser)")?;
        if !self.chain.address().ip().is_loopback() {
            writeln!(f, "           whoever reaches this address may mine, reorganise and spend the faucet's coins")?;
        }
        writeln!(f, "Wallet     {}", wallet.mnemonic())?;
        writeln!(f, "           BIP86, {FUNDED} addresses with 50 BTC each, from {}", wallet.address(0))?;
        writeln!(f, "           these words are public: never send real coins to them")?;
        writeln!(f, "Blocks     {}", self.mode)?;
        writeln!(f, "State      {}", if self.kept { "kept" } else { "thrown away at the end; --state DIR keeps it" })?;
        writeln!(f, "Mine       curl -X POST {url}/devnet/mine -d '{{\"blocks\": 1}}'")?;
        writeln!(f, "Fund       curl -X POST {url}/devnet/fund -d '{{\"address\": \"bcrt1…\", \"sats\": 100000}}'")?;
        writeln!(f, "Stop       Ctrl-C")?;
        writeln!(f)
    }
}

/// Prints a line. Whoever started us may not read; that is no reason to stop.
fn print(line: &dyn fmt::Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn start_logs(filter: &str) -> Result<(), CliError> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| CliError::Log(filter.to_owned(), error.to_string()))?;
    let logs = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr);
    logs.with_ansi(io::stderr().is_terminal()).with_target(false).init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["btc-devnet"], arguments].concat()).unwrap()
    }

    fn ports(arguments: &[&str]) -> Vec<u16> {
        listens(&parse(arguments)).unwrap().iter().map(SocketAddr::port).collect()
    }

    #[test]
    fn the_command_tree_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn chains_take_the_ports_that_follow_or_those_that_are_named() {
        assert_eq!(ports(&[]), [3002]);
        assert_eq!(ports(&["--chains", "3"]), [3002, 3003, 3004]);
        assert_eq!(ports(&["--chains", "2", "--listen", "127.0.0.1:0"]), [0, 0]);
        assert_eq!(ports(&["--listen", "127.0.0.1:1", "--listen", "127.0.0.1:7"]), [1, 7]);
        let arguments = ["--chains", "3", "--listen", "127.0.0.1:1", "--listen", "127.0.0.1:7"];
        assert!(matches!(listens(&parse(&arguments)), Err(CliError::Listens)));
        let arguments = ["--chains", "2", "--listen", "127.0.0.1:65535"];
        assert!(matches!(listens(&parse(&arguments)), Err(CliError::Ports(..))));
    }

    #[test]
    fn each_chain_has_a_folder_of_its_own() {
        let chains = options(&parse(&["--chains", "2", "--state", "there"])).unwrap();
        let folders: Vec<_> = chains.iter().map(|options| options.state.clone().unwrap()).collect();
        assert_eq!(folders, [PathBuf::from("there/chain-1"), PathBuf::from("there/chain-2")]);
    }

    #[test]
    fn block_times_are_bounded_and_exclude_mining_on_transactions() {
        assert!(matches!(options(&parse(&["--block-time", "0"])), Err(CliError::BlockTime(_))));
        assert!(matches!(options(&parse(&["--block-time", "10"])).unwrap()[0].mining, Mining::Interval(_)));
        let both = ["btc-devnet", "--block-time", "1", "--mine-on-transaction"];
        assert!(Cli::try_parse_from(both).is_err());
    }
}
