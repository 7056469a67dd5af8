//! `side-node follow NAME`

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use side_ledger::Name;

use crate::api::client::{ApiError, Client, block_on};
use crate::cli::{Globals, GroupArgs};
use crate::daemon::glance::Told;
use crate::error::CommandError;
use crate::output;

/// Pause between two looks whether a node that stopped runs again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Arguments of `follow`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node follow node1
  side-node follow node1 --json | jq -r 'select(.event == \"entry\") | .line.body'
  side-node follow node1 --from 0      everything since the beginning, then what happens

With --json one object a line: start, entry, block, taken_back, final, status, missed, end. When the node stops,
this says so and waits; once it runs again it goes on where it was. It ends with Ctrl-C.")]
pub struct FollowArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub name: Name,
    /// Begin with this change, counted from 0 in the order in which the node took them in
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// In which group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Why following ends.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// It cannot go on.
    Failed(CommandError),
}

impl From<CommandError> for Ended {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

/// Runs `follow`.
pub fn run(globals: &Globals, args: FollowArgs) -> Result<(), CommandError> {
    let root = globals.root()?;
    let home = root.node(args.name.as_str());
    home.require()?;
    let client = Client::of(&home);
    let client = match &args.group.group {
        Some(group) => client.in_group(group),
        None => client,
    };
    let following = async {
        let ended = tokio::select! {
            ended = follow(client, &args, globals.json) => ended,
            _ = tokio::signal::ctrl_c() => Ended::Unheard,
        };
        Ok(ended)
    };
    match block_on(following)? {
        Ended::Unheard => Ok(()),
        Ended::Failed(error) => Err(error),
    }
}

async fn follow(mut client: Client, args: &FollowArgs, json: bool) -> Ended {
    let (mut from, mut height) = (args.from, None);
    let mut ran = false;
    loop {
        let followed = match client.follow(from, height).await {
            Ok(followed) => followed,
            Err(ApiError::NotRunning) if !ran => {
                let error = CommandError::remote(format!("node {:?} is not running", args.name.as_str()));
                return Ended::Failed(error.hint(format!("start it with: side-node run {}", args.name)));
            }
            // It is starting, or stopping.
            Err(error) => match again(error) {
                Ok(()) => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
                Err(error) => return Ended::Failed(error),
            },
        };
        if ran {
            note(&format!("{} runs again: going on", args.name));
        }
        ran = true;
        match pass_on(followed, &mut client, (&mut from, &mut height), json).await {
            Ok(()) => {}
            Err(ended) => return ended,
        }
        note(&format!("{} has stopped: waiting until it runs again (Ctrl-C ends this)", args.name));
    }
}

/// Whether to ask again.
fn again(error: ApiError) -> Result<(), CommandError> {
    match error {
        ApiError::NotRunning | ApiError::BrokeOff { .. } => Ok(()),
        error => {
            let error = CommandError::from(error);
            if error.is_busy() { Ok(()) } else { Err(error) }
        }
    }
}

/// Prints what comes until the answer ends.
async fn pass_on(
    mut followed: crate::api::client::Followed,
    client: &mut Client,
    (from, height): (&mut Option<u64>, &mut Option<u64>),
    json: bool,
) -> Result<(), Ended> {
    loop {
        let event = match followed.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            Err(error) => return again(error).map_err(Ended::Failed),
        };
        match &event {
            Told::Start { group, changes, height: top, .. } => {
                // The very group, whatever is the default after a restart.
                *client = client.in_group(group);
                (*from, *height) = (Some(*changes), Some(*top));
            }
            Told::Entry { number, .. } => *from = Some(number + 1),
            Told::Block { block } => *height = Some(block.height),
            Told::TakenBack { height: top } => *height = Some(*top),
            Told::Final { .. } | Told::Status { .. } | Told::Missed { .. } | Told::End { .. } => {}
        }
        let line = match json {
            true => Some(
                serde_json::to_string(&event)
                    .map_err(|e| CommandError::bug(format!("cannot write an event as JSON: {e}")))?,
            ),
            false => text(&event),
        };
        if let Some(line) = line {
            match write_line(&line) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Ended::Unheard),
                Err(error) => return Err(CommandError::io("cannot write to stdout", &error).into()),
            }
        }
    }
}

/// An event for people, if it is for them.
fn text(event: &Told) -> Option<String> {
    Some(match event {
        Told::Start { group, changes, height, .. } => {
            format!("-- following group {} from change {changes} and block {height} on", output::short(group))
        }
        Told::Entry { line, .. } => output::entry_line(line, false),
        Told::Block { block } => format!("-- {}", output::block_line(block)),
        Told::TakenBack { height } => {
            format!("-- the chain goes on from block {height}: what was sealed above is pending again")
        }
        Told::Final { height } => format!("-- everything up to block {height} is final"),
        Told::Missed { events } => format!("-- {events} changes have new numbers: see side-node history"),
        Told::End { reason } => format!("-- {}", output::printable(reason)),
        Told::Status { .. } => return None,
    })
}

fn write_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush())
}

/// Whoever closed stderr does not want to know.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}
