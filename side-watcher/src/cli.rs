//! How a relay is told what to do: flag, then environment, then config file, then default. Prints, reads the environment and installs signal
//! handlers; the library behind it does none of that.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sd_notify::NotifyState;
use serde::Deserialize;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::server::config::DEFAULT_LISTEN;
use crate::server::{Config, Limits, Server, StartError, StopError};

/// Exit code: the user can fix it.
const EXIT_USER: u8 = 1;
/// Exit code: wrong usage.
const EXIT_USAGE: u8 = 2;
/// Exit code: a bug of ours.
const EXIT_BUG: u8 = 255;
/// The config file's name in the data folder.
const CONFIG_FILE: &str = "config.toml";

/// The relay of Side groups: passes signed changes on, keeps them, and serves them to whoever was away.
#[derive(Debug, Parser)]
#[command(
    name = "side-watcher",
    version,
    about,
    after_help = "Without arguments it serves at ws://127.0.0.1:8080. A browser shows a page at that address; /healthz, /readyz and /metrics are for machines.\n\n\
        A group can make it its sealer, with the key that it prints when it is ready: found the group with that key as the first sealer, or let the voters decide \
        with `/vote leader KEY` in their consoles. It seals from then on; it has no vote unless it is a voter."
)]
pub struct Cli {
    /// Where to listen, ADDRESS:PORT (port 0: the system chooses) [default: 127.0.0.1:8080]
    #[arg(long, env = "SIDE_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// The data folder [default: the folder `watcher` in SIDE_HOME, or in ~/.side]
    #[arg(long, env = "SIDE_WATCHER_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// A small file outside of the data folder by which a relay notices that the folder was put back to an older state [default: beside the data folder, its
    /// name with `.witness`]
    #[arg(long, env = "SIDE_WATCHER_WITNESS", value_name = "FILE")]
    witness: Option<PathBuf>,
    /// Seal blocks although the data folder looks restored, without learning from the voters first. Only if you know that nothing is missing in it: a relay that
    /// seals a block twice proves itself a liar
    #[arg(long)]
    seal_restored: bool,
    /// A config file (TOML) [default: config.toml in the data folder, if it is there]
    #[arg(long, env = "SIDE_WATCHER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How logs look on stderr
    #[arg(long, env = "SIDE_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What is logged, as in RUST_LOG [default: info]
    #[arg(long, env = "SIDE_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// A web origin whose pages may connect, beside the relay's own; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Most connections in all
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Most groups carried
    #[arg(long, value_name = "N")]
    max_groups: Option<usize>,
    /// Most bytes stored of one group
    #[arg(long, value_name = "BYTES")]
    max_group_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// The config file. Durations are in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    listen: Option<String>,
    log_format: Option<LogFormat>,
    log: Option<String>,
    allow_origins: Vec<String>,
    max_connections: Option<usize>,
    max_connections_per_ip: Option<usize>,
    max_connections_per_key: Option<usize>,
    max_handshakes: Option<usize>,
    max_groups: Option<usize>,
    max_groups_per_key: Option<usize>,
    max_group_bytes: Option<u64>,
    messages_per_second: Option<u64>,
    message_burst: Option<u64>,
    bytes_per_second: Option<u64>,
    byte_burst: Option<u64>,
    strikes: Option<u32>,
    handshake_timeout: Option<u64>,
    idle_timeout: Option<u64>,
    slow_timeout: Option<u64>,
    shutdown_timeout: Option<u64>,
    /// What is none of the above; refused with the nearest name.
    #[serde(flatten)]
    unknown: BTreeMap<String, toml::Value>,
}

/// The keys of the config file, to find the one that was meant.
const KEYS: &[&str] = &[
    "listen",
    "log_format",
    "log",
    "allow_origins",
    "max_connections",
    "max_connections_per_ip",
    "max_connections_per_key",
    "max_handshakes",
    "max_groups",
    "max_groups_per_key",
    "max_group_bytes",
    "messages_per_second",
    "message_burst",
    "bytes_per_second",
    "byte_burst",
    "strikes",
    "handshake_timeout",
    "idle_timeout",
    "slow_timeout",
    "shutdown_timeout",
];

/// Why a relay did not start or stop well, for a person.
#[derive(Debug, Error)]
enum CliError {
    #[error("{0:?} is not an address to listen on; write ADDRESS:PORT, for example {DEFAULT_LISTEN}")]
    Listen(String),
    #[error("there is no home folder to keep the relay's data in; set SIDE_HOME or give --data FOLDER")]
    NoHome,
    #[error("cannot read the config file {0}: {1}")]
    ConfigRead(PathBuf, io::Error),
    #[error("the config file {0} is not right: {1}")]
    ConfigParse(PathBuf, String),
    #[error("the config file {path} has an unknown key {key:?}; did you mean {nearest:?}?")]
    ConfigKey { path: PathBuf, key: String, nearest: &'static str },
    #[error("{0:?} is not a log filter: {1}")]
    Log(String, String),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Stop(#[from] StopError),
    #[error("the system refuses a signal handler or a thread: {0}")]
    System(io::Error),
}

impl CliError {
    fn exit(&self) -> u8 {
        match self {
            CliError::Listen(_) | CliError::Log(..) => EXIT_USAGE,
            CliError::Stop(StopError::Panic) => EXIT_BUG,
            _ => EXIT_USER,
        }
    }
}

/// Runs the program. Everything that `main` does.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "side-watcher: {error}");
            ExitCode::from(error.exit())
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let home = std::env::var_os("SIDE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".side")));
    let data = match (&cli.data, home) {
        (Some(data), _) => data.clone(),
        (None, Some(home)) => home.join("watcher"),
        (None, None) => return Err(CliError::NoHome),
    };
    let file = read_config(cli.config.as_deref(), &data)?;
    start_logs(&cli, &file)?;
    let config = merge(cli, file, data)?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::System)?;
    let result = runtime.block_on(serve(config));
    // A task that does not end (a write to a stuck disk, say) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: Config) -> Result<(), CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::System)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::System)?;
    let server = Server::start(config).await?;
    // Whoever started it may not read; that is no reason to stop.
    let _ = writeln!(io::stdout(), "side-watcher ready on {}\nkey {}", server.url(), server.identity());
    // To a service manager that asked for it (sd_notify(3)).
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let name = tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    };
    tracing::info!(signal = name, "stopping");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tokio::select! {
        stopped = server.shutdown() => Ok(stopped?),
        // A second signal means that somebody is in a hurry. What was acknowledged is on disk.
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn read_config(named: Option<&Path>, data: &Path) -> Result<File, CliError> {
    let path = named.map_or_else(|| data.join(CONFIG_FILE), Path::to_owned);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => return Err(CliError::ConfigRead(path, error)),
    };
    parse_config(&path, &text)
}

fn parse_config(path: &Path, text: &str) -> Result<File, CliError> {
    let file: File = toml::from_str(text).map_err(|error| CliError::ConfigParse(path.to_owned(), error.to_string()))?;
    if let Some(key) = file.unknown.keys().next() {
        let nearest = KEYS.iter().min_by_key(|known| distance(known, key)).copied().unwrap_or("listen");
        return Err(CliError::ConfigKey { path: path.to_owned(), key: key.clone(), nearest });
    }
    Ok(file)
}

/// Edit distance (Levenshtein, 1966), to name the key that was meant.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn merge(cli: Cli, file: File, data: PathBuf) -> Result<Config, CliError> {
    let listen = cli.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
    let listen: SocketAddr =
        listen.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or(CliError::Listen(listen))?;
    let usual = Limits::default();
    let seconds = |value: Option<u64>, usual: Duration| value.map_or(usual, Duration::from_secs);
    let handshake_timeout = seconds(file.handshake_timeout, usual.handshake_timeout);
    let idle_timeout = seconds(file.idle_timeout, usual.idle_timeout);
    let limits = Limits {
        max_connections: cli.max_connections.or(file.max_connections).unwrap_or(usual.max_connections),
        max_connections_per_ip: file.max_connections_per_ip.unwrap_or(usual.max_connections_per_ip),
        max_handshakes: file.max_handshakes.unwrap_or(usual.max_handshakes),
        max_connections_per_key: file.max_connections_per_key.unwrap_or(usual.max_connections_per_key),
        max_groups: cli.max_groups.or(file.max_groups).unwrap_or(usual.max_groups),
        max_groups_per_key: file.max_groups_per_key.unwrap_or(usual.max_groups_per_key),
        max_group_bytes: cli.max_group_bytes.or(file.max_group_bytes).unwrap_or(usual.max_group_bytes),
        messages_per_second: file.messages_per_second.unwrap_or(usual.messages_per_second),
        message_burst: file.message_burst.unwrap_or(usual.message_burst),
        bytes_per_second: file.bytes_per_second.unwrap_or(usual.bytes_per_second),
        byte_burst: file.byte_burst.unwrap_or(usual.byte_burst),
        strikes: file.strikes.unwrap_or(usual.strikes),
        handshake_timeout,
        challenge_lifetime: handshake_timeout,
        ping_interval: usual.ping_interval.min(idle_timeout / 3),
        idle_timeout,
        slow_timeout: seconds(file.slow_timeout, usual.slow_timeout),
        shutdown_timeout: seconds(file.shutdown_timeout, usual.shutdown_timeout),
    };
    let mut allow_origins = cli.allow_origin;
    if allow_origins.is_empty() {
        allow_origins = file.allow_origins;
    }
    let witness = cli.witness.or_else(|| beside(&data));
    Ok(Config { listen, data, witness, seal_restored: cli.seal_restored, allow_origins, limits })
}

/// Beside the data folder: `watcher.witness` for `watcher`.
fn beside(data: &Path) -> Option<PathBuf> {
    let mut name = data.file_name()?.to_owned();
    name.push(".witness");
    Some(data.with_file_name(name))
}

fn start_logs(cli: &Cli, file: &File) -> Result<(), CliError> {
    let filter = cli.log.as_deref().or(file.log.as_deref()).unwrap_or("info");
    let filter = EnvFilter::try_new(filter).map_err(|error| CliError::Log(filter.to_owned(), error.to_string()))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match cli.log_format.or(file.log_format).unwrap_or(LogFormat::Text) {
        LogFormat::Text => logs.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// Each connection takes a file descriptor, and the usual soft limit of 1,024 is far below what the system allows.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["side-watcher"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_command_tree_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let file = || parse_config(Path::new("c"), "listen = \"127.0.0.1:9\"\nstrikes = 3\nidle_timeout = 30").unwrap();
        let config = merge(cli(&[]), file(), PathBuf::from("d")).unwrap();
        assert_eq!((config.listen.port(), config.limits.strikes), (9, 3));
        assert_eq!(config.limits.ping_interval, Duration::from_secs(10));
        let config =
            merge(cli(&["--listen", "127.0.0.1:10", "--max-groups", "7"]), file(), PathBuf::from("d")).unwrap();
        assert_eq!((config.listen.port(), config.limits.max_groups), (10, 7));
        let config = merge(cli(&[]), File::default(), PathBuf::from("d")).unwrap();
        assert_eq!(config.listen.to_string(), DEFAULT_LISTEN);
        assert!(matches!(merge(cli(&["--listen", "nowhere"]), File::default(), "d".into()), Err(CliError::Listen(_))));
    }

    #[test]
    fn an_unknown_config_key_is_refused_with_the_nearest_known_one() {
        let error = parse_config(Path::new("c"), "max_conections = 3").unwrap_err().to_string();
        assert!(error.contains("\"max_connections\""), "{error}");
        assert!(parse_config(Path::new("c"), "strikes = \"many\"").is_err());
    }

    #[test]
    fn every_key_that_is_offered_is_known() {
        for key in KEYS {
            let text = match *key {
                "listen" | "log" => format!("{key} = \"x\""),
                "log_format" => format!("{key} = \"json\""),
                "allow_origins" => format!("{key} = []"),
                _ => format!("{key} = 1"),
            };
            assert!(parse_config(Path::new("c"), &text).is_ok(), "{key}");
        }
    }
}
