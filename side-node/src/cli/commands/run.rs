//! `side-node run NAME`

use clap::Args;
use sd_notify::NotifyState;
use side_ledger::Name;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Globals, PageArgs, RelayArgs};
use crate::config::{ConfigFile, Settings};
use crate::console;
use crate::daemon::{Daemon, DaemonConfig};
use crate::error::CommandError;
use crate::secrets;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node run node1
  side-node run node1 --relay ws://relay.example:8080
  printf 'hello\\n/quit\\n' | side-node run node1

A line is a note; /help lists the commands. Without a terminal, lines come from the pipe. Where the pipe ends, the node says so on stderr and keeps running:
/quit as the last line, Ctrl-C or SIGTERM ends it.
With --json each line of output is one JSON object: ready, entry, notice, answer or error.")]
pub struct RunArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Where the relay is.
    #[command(flatten)]
    pub relay: RelayArgs,
    /// This restored or copied folder is the latest copy of the node: write with it. If it is not, the others will shut the node out
    #[arg(long)]
    pub trust_this_copy: bool,
    /// Where the page is served.
    #[command(flatten)]
    pub page: PageArgs,
}

/// Threads for the node's tasks: its own, and the relay's and control connections'.
const WORKERS: usize = 2;

/// Runs `run`.
pub fn run(globals: &Globals, args: RunArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let home = root.node(args.name.as_str());
    home.require()?;
    // Before anything is printed or logged: a person may be asked for the passphrase.
    secrets::unlock(&home)?;
    let relay = args.relay.given();
    let page = args.page.given()?;
    let settings = Settings::resolve(relay.clone(), globals.verbose, ConfigFile::load(&home.config_file())?, &[])?;
    settings.roots()?;
    let log = match std::env::var(console::log::LOG_VARIABLE) {
        Ok(filter) if globals.verbose == 0 && !filter.is_empty() => filter,
        _ => settings.log,
    };
    console::log::start(&log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|e| CommandError::io("cannot start the node's threads", &e))?;
    let output = globals.output();
    let ended = runtime.block_on(async {
        let stop = stop_on_signals()?;
        let config = DaemonConfig {
            relay,
            trust_this_copy: args.trust_this_copy,
            page,
            ..DaemonConfig::new(root, home.clone())
        };
        let mut daemon = Daemon::start(config).await?;
        // To a service manager that asked for it (sd_notify(3)); whoever did not hears nothing, and a manager that is deaf is no reason to stop.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        match console::run(&mut daemon, &home, output, stop).await {
            Ok(()) => daemon.stop().await,
            // The node has ended already; its own error says why.
            Err(error) => Err(error),
        }
    });
    runtime.shutdown_background();
    ended
}

/// A token that SIGINT, SIGTERM and SIGHUP cancel.
fn stop_on_signals() -> Result<CancellationToken, CommandError> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind).map_err(|e| CommandError::io("cannot listen for signals", &e))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                let _ = sd_notify::notify(&[NotifyState::Stopping]);
                stop.cancel();
            }
        });
    }
    Ok(stop)
}
