//! The command line: the tree of commands, and the way from arguments to an exit code.

pub mod commands;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::error::CommandError;
use crate::home::Root;
use crate::output::{Output, print_line};
use crate::secrets::{Keyring, Sources};
use crate::web::place::{PAGE_VARIABLE, PagePlace};

const EXAMPLES: &str = "\
First steps (nodes of one machine find each other by themselves):
  side-node init node1                 make a node; the first one founds a group
  side-node init node2                 the next ones on this machine join it
  side-node run node1                  type: each line is a signed note to the group

From another shell, while the node runs:
  side-node note node1 \"hello\"
  side-node history node1 --json
  side-node status node1
  side-node tui node1                  the same, live

Bitcoin (see side-node btc --help):
  side-node btc address node1          where to send coins
  side-node btc-transfer node1 node2   one pays the other, on Mutinynet unless you say otherwise

On another machine:
  side-node invite node1               prints side://…
  side-node init node3 --join side://…

Several groups at once (see side-node group --help):
  side-node group create node1 team    node1 is in two groups now
  side-node note node1 --group team \"hello\"

When something is wrong:
  side-node doctor node1               looks for the likeliest troubles and says what to do
  side-node config show node1          every setting, and where it comes from

Exit codes: 0 done, 1 you can mend it, 2 wrong usage, 3 a server cannot be reached, 255 a bug of ours.";

/// A member of a group that shares a signed history, with nobody to trust.
#[derive(Debug, Parser)]
#[command(name = "side-node", version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Globals {
    /// The folder that holds the nodes of this machine [env: SIDE_HOME] [default: ~/.side]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub home: Option<PathBuf>,
    /// Print JSON, errors included
    #[arg(long, global = true)]
    pub json: bool,
    /// Read the passphrase from this file, which only you can read [env: SIDE_PASSPHRASE_FILE] [default: ask at the terminal]
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Log more to stderr (-v info, -vv debug, -vvv trace)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Globals {
    /// The root folder.
    pub fn root(&self) -> Result<Root, CommandError> {
        let keyring = Keyring::new(Sources::find(self.passphrase_file.clone()));
        Ok(Root::find(self.home.clone())?.with_keyring(keyring))
    }

    /// How results are printed.
    pub fn output(&self) -> Output {
        Output { json: self.json }
    }
}

/// Where the relay is, for the commands that need one.
#[derive(Debug, Clone, Default, Args)]
pub struct RelayArgs {
    /// The relay's address [env: SIDE_RELAY] [default: config.toml, the invitation, ws://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub relay: Option<String>,
}

impl RelayArgs {
    /// Flag, else environment.
    pub fn given(&self) -> Option<String> {
        self.relay.clone().or_else(|| std::env::var(crate::config::RELAY_VARIABLE).ok().filter(|v| !v.is_empty()))
    }
}

/// Where the page of a running node is served.
#[derive(Debug, Clone, Default, Args)]
pub struct PageArgs {
    /// Serve the page that shows the node's groups at this port of 127.0.0.1 [env: SIDE_PAGE] [default: config.toml, the port of the last run, a free one]
    #[arg(long, value_name = "PORT", conflicts_with = "no_page")]
    pub page: Option<PagePlace>,
    /// Serve no page
    #[arg(long)]
    pub no_page: bool,
}

impl PageArgs {
    /// The flag, by its name.
    pub fn flag(&self) -> Option<(PagePlace, &'static str)> {
        if self.no_page { Some((PagePlace::Off, "--no-page")) } else { self.page.map(|place| (place, "--page")) }
    }

    /// Flag, else environment.
    pub fn given(&self) -> Result<Option<PagePlace>, CommandError> {
        if let Some((place, _)) = self.flag() {
            return Ok(Some(place));
        }
        let Some(text) = std::env::var(PAGE_VARIABLE).ok().filter(|text| !text.is_empty()) else { return Ok(None) };
        let wrong = |why| CommandError::usage(format!("{PAGE_VARIABLE}: {why}")).hint("give a port, or \"off\"");
        text.parse().map(Some).map_err(wrong)
    }
}

/// Which of the node's groups is meant, for the commands that act on one.
#[derive(Debug, Clone, Default, Args)]
pub struct GroupArgs {
    /// One of the node's groups: its alias, its id or the beginning of that [default: what `group list` marks]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a node: its folder and its key. The first one in a root founds a group, later ones join it
    Init(commands::init::InitArgs),
    /// Run a node: type notes, see those of others
    Run(commands::run::RunArgs),
    /// Groups: create, list, show, members, invite, join, leave, use
    Group(commands::group::GroupArgs),
    /// Print an invitation to the node's group: one line that `init --join` takes
    Invite(commands::invite::InviteArgs),
    /// Print the node's public key; protect, unprotect, change: the passphrase of its secrets
    Key(commands::key::KeyArgs),
    /// Put everything of a node into one encrypted file; check: read such a file
    Backup(commands::backup::BackupArgs),
    /// Make a node of a backup
    Restore(commands::restore::RestoreArgs),
    /// Write a note, signed and on disk when this returns
    Note(commands::note::NoteArgs),
    /// Give some of the group's unit to a node
    Send(commands::send::SendArgs),
    /// Vote: who seals, who votes, who is a member, how often blocks come
    Vote(commands::vote::VoteArgs),
    /// Print who owns what of the group's unit
    Balance(commands::balance::BalanceArgs),
    /// Print the last blocks
    Blocks(commands::blocks::BlocksArgs),
    /// Print the group's history as this node knows it
    History(commands::history::HistoryArgs),
    /// Print how it stands with the node
    Status(commands::status::StatusArgs),
    /// Print the group at a glance: status, last blocks, swaps
    Glance(commands::glance::GlanceArgs),
    /// Print what happens in the group as it happens
    Follow(commands::follow::FollowArgs),
    /// Write the group's signed changes to a file, as JSON lines
    Export(commands::export::ExportArgs),
    /// Take in the changes of such a file
    Import(commands::import::ImportArgs),
    /// Print who has written to the group
    Peers(commands::peers::PeersArgs),
    /// Print a proof of what became of a transaction
    Proof(commands::proof::ProofArgs),
    /// Check a proof of a transaction: takes no node, no store and no network
    Verify(commands::verify::VerifyArgs),
    /// The Bitcoin wallet: addresses, balance, payments
    Btc(commands::btc::BtcArgs),
    /// Demo: one node of this machine pays another in bitcoin
    BtcTransfer(commands::btc_transfer::BtcTransferArgs),
    /// Swap coins against a preimage: offer, accept, fund, claim, refund, list
    Htlc(commands::htlc::HtlcArgs),
    /// Show two swaps between two nodes of this machine: one is claimed, one is refunded
    BtcHtlc(commands::btc_htlc::BtcHtlcArgs),
    /// Show an atomic swap between two chains
    BtcSwap(commands::btc_swap::BtcSwapArgs),
    /// Show a running node on this terminal: status, graph, blocks, balances, peers, swaps
    Tui(commands::tui::TuiArgs),
    /// Print a node's settings and where each comes from
    Config(commands::config::ConfigArgs),
    /// Look for the likeliest troubles and say what to do; changes nothing
    Doctor(commands::doctor::DoctorArgs),
    /// Print what a shell needs to complete commands
    Completions(commands::completions::CompletionsArgs),
    /// Print the manual, or write all of its pages into a folder
    Man(commands::man::ManArgs),
}

/// Runs a command line; the result is the process's exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")),
    };
    let output = cli.globals.output();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            error.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let done = match cli.command {
        Command::Init(args) => commands::init::run(&cli.globals, args),
        Command::Run(args) => commands::run::run(&cli.globals, args),
        Command::Group(args) => commands::group::run(&cli.globals, args),
        Command::Invite(args) => commands::invite::run(&cli.globals, args),
        Command::Key(args) => commands::key::run(&cli.globals, args),
        Command::Backup(args) => commands::backup::run(&cli.globals, args),
        Command::Restore(args) => commands::restore::run(&cli.globals, args),
        Command::Note(args) => commands::note::run(&cli.globals, args),
        Command::Send(args) => commands::send::run(&cli.globals, args),
        Command::Vote(args) => commands::vote::run(&cli.globals, args),
        Command::Balance(args) => commands::balance::run(&cli.globals, args),
        Command::Blocks(args) => commands::blocks::run(&cli.globals, args),
        Command::History(args) => commands::history::run(&cli.globals, args),
        Command::Status(args) => commands::status::run(&cli.globals, args),
        Command::Glance(args) => commands::glance::run(&cli.globals, args),
        Command::Follow(args) => commands::follow::run(&cli.globals, args),
        Command::Export(args) => commands::export::run(&cli.globals, args),
        Command::Import(args) => commands::import::run(&cli.globals, args),
        Command::Peers(args) => commands::peers::run(&cli.globals, args),
        Command::Proof(args) => commands::proof::run(&cli.globals, args),
        Command::Verify(args) => commands::verify::run(&cli.globals, args),
        Command::Btc(args) => commands::btc::run(&cli.globals, args),
        Command::BtcTransfer(args) => commands::btc_transfer::run(&cli.globals, args),
        Command::Htlc(args) => commands::htlc::run(&cli.globals, args),
        Command::BtcHtlc(args) => commands::btc_htlc::run(&cli.globals, args),
        Command::BtcSwap(args) => commands::btc_swap::run(&cli.globals, args),
        Command::Tui(args) => commands::tui::run(&cli.globals, args),
        Command::Config(args) => commands::config::run(&cli.globals, args),
        // What it finds is a result, not an error, and shows in the exit code all the same.
        Command::Doctor(args) => return commands::doctor::run(&cli.globals, args),
        Command::Completions(args) => commands::completions::run(&cli.globals, args),
        Command::Man(args) => commands::man::run(&cli.globals, args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn usage(error: &clap::Error, json: bool) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = print_line(error.to_string().trim_end());
            ExitCode::SUCCESS
        }
        _ if json => {
            let error = usage_error(error);
            Output { json }.error(&error);
            error.exit_code()
        }
        _ => {
            let _ = error.print();
            ExitCode::from(2)
        }
    }
}

/// A wrong command line as one of our errors: what clap says in several paragraphs, its tips and the usage as the next step.
fn usage_error(error: &clap::Error) -> CommandError {
    let text = error.to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        let name = text.split('\'').nth(1).filter(|name| name.starts_with("side-node ")).unwrap_or("side-node");
        return CommandError::usage(format!("{name} needs a command"))
            .hint(format!("see which there are: {name} --help"));
    }
    let mut paragraphs = text.trim().split("\n\n");
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = words(paragraphs.next().unwrap_or_default());
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let hints = paragraphs.map(words).filter(|paragraph| !paragraph.starts_with("For more information"));
    let hints: Vec<String> = hints.map(|hint| hint.replace("tip: ", "").replace("Usage: ", "usage: ")).collect();
    let error = CommandError::usage(message);
    if hints.is_empty() { error.hint("side-node --help") } else { error.hint(hints.join("; ")) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_is_one_sentence_and_a_hint() {
        let refused = |args: &[&str]| usage_error(&Cli::try_parse_from(args).unwrap_err());
        let error = refused(&["side-node", "status"]);
        assert_eq!(error.message(), "the following required arguments were not provided: <NODE>");
        assert_eq!(error.next_step(), Some("usage: side-node status <NODE>"));
        let error = refused(&["side-node", "statsu", "node1"]);
        assert_eq!(error.message(), "unrecognized subcommand 'statsu'");
        assert!(error.next_step().unwrap().contains("'status'"), "{error}");
        assert_eq!(refused(&["side-node", "--json"]).message(), "side-node needs a command");
        assert!(refused(&["side-node", "btc", "--json"]).next_step().unwrap().contains("--help"));
    }

    #[test]
    fn run_takes_its_name_with_and_without_dashes() {
        for args in [&["side-node", "run", "node1"][..], &["side-node", "run", "--", "node1"]] {
            let Command::Run(run) = Cli::try_parse_from(args).unwrap().command else { panic!("not run") };
            assert_eq!(run.name.as_str(), "node1");
        }
    }
}
