//! Asks the running node how it stands, on a thread of its own: each question waits at the node until there is something new.

use std::time::Duration;

use tokio::sync::mpsc;

use super::state::Input;
use crate::api::client;
use crate::api::control::Verb;
use crate::daemon::glance::Glance;
use crate::error::CommandError;
use crate::home::NodeHome;

/// Pause between two pictures: a busy group has something new all the time, and nobody reads faster.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause before a node that went away is asked again.
const AWAY_PAUSE: Duration = Duration::from_millis(500);

/// Asks once; a node that does not run is an error that says what to do.
pub(super) fn first(home: &NodeHome, group: Option<&str>) -> Result<Glance, CommandError> {
    ask(home, group, None)
}

fn ask(home: &NodeHome, group: Option<&str>, unlike: Option<u64>) -> Result<Glance, CommandError> {
    client::ask(home, group, Verb::Glance { unlike })?.ok_or_else(|| {
        CommandError::user(format!("node {:?} does not run", home.name()))
            .hint(format!("start it in another terminal: side-node run {}", home.name()))
    })
}

/// Asks until nobody listens any more. `revision` is that of the picture that is shown already.
pub(super) fn start(
    home: NodeHome,
    group: Option<String>,
    revision: u64,
    inputs: mpsc::Sender<Input>,
) -> Result<(), CommandError> {
    let asking = move || {
        let mut known = Some(revision);
        while !inputs.is_closed() {
            let (input, pause) = match ask(&home, group.as_deref(), known) {
                Ok(glance) => {
                    known = Some(glance.revision);
                    (Input::Glance(Box::new(glance)), PAUSE)
                }
                Err(error) => {
                    // A node that comes back counts anew.
                    known = None;
                    (Input::Lost(error.message().to_owned()), AWAY_PAUSE)
                }
            };
            if inputs.blocking_send(input).is_err() {
                return;
            }
            std::thread::sleep(pause);
        }
    };
    // A plain thread: it may wait at the node for long, and a runtime would wait for it.
    let thread = std::thread::Builder::new().name("side-tui-source".to_owned()).spawn(asking);
    thread.map(drop).map_err(|e| CommandError::io("cannot start a thread", &e))
}
