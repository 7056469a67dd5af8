//! `side-node tui`: a group at a glance on a terminal, a client of the running node.
//!
//! ```text
//! keyboard thread ─┐                                  ┌─▶ draw: a function of the state alone
//! source thread  ──┴─ Input ─▶ State::update (a value) ─┤
//! signals ────────────────────────────────────────────┴─▶ end: the terminal as it was
//! ```
//! - [`state`]: what is shown, and what an input makes of it; no clock, no socket, no terminal
//! - [`series`]: what the plots compare over time
//! - [`draw`]: from the state to cells
//! - `source` asks the node, `screen` has the terminal
//!
//! Names, notes and problems come from strangers. Everything that is drawn goes through [`printable`](crate::output::printable) first.

pub mod draw;
mod screen;
pub mod series;
mod source;
pub mod state;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::screen::Screen;
use self::state::{Effect, Input, State};
use crate::clock;
use crate::error::CommandError;
use crate::home::NodeHome;

/// Inputs that wait to be taken: keys of a person and pictures of a node. A source that has more waits.
const INPUTS: usize = 64;

/// How often the plots go on while nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// Shows a group of the running node until the person quits.
pub fn run(home: &NodeHome, group: Option<String>) -> Result<(), CommandError> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(CommandError::usage("this command draws on a terminal, and there is none")
            .hint(format!("for scripts and pipes: side-node status {} --json", home.name())));
    }
    // Asked once before the screen is taken, so that what is wrong can be read.
    let first = source::first(home, group.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CommandError::io("cannot start a task", &e))?;
    // An empty value means nothing: https://no-color.org
    let colors = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut state = State::new(colors);
    let revision = first.revision;
    state.update(Input::Glance(Box::new(first)));
    let ended = runtime.block_on(show(home, group, state, revision));
    runtime.shutdown_background();
    ended
}

async fn show(home: &NodeHome, group: Option<String>, mut state: State, revision: u64) -> Result<(), CommandError> {
    let failed = |e: &std::io::Error| CommandError::io("cannot listen for signals", e);
    let mut ends = [
        signal(SignalKind::terminate()).map_err(|e| failed(&e))?,
        signal(SignalKind::interrupt()).map_err(|e| failed(&e))?,
        signal(SignalKind::hangup()).map_err(|e| failed(&e))?,
    ];
    let (inputs, mut incoming) = mpsc::channel(INPUTS);
    let mut screen = Screen::take()?;
    screen::read_keys(inputs.clone())?;
    source::start(home.clone(), group, revision, inputs)?;
    let mut ticks = tokio::time::interval(TICK);
    loop {
        screen.draw(&state)?;
        let [terminate, interrupt, hangup] = &mut ends;
        let input = tokio::select! {
            input = incoming.recv() => input,
            _ = ticks.tick() => Some(Input::Tick(clock::now_ms())),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            _ = hangup.recv() => None,
        };
        let Some(input) = input else { return Ok(()) };
        if state.update(input) == Effect::Quit {
            return Ok(());
        }
        // What has come meanwhile is drawn at once.
        while let Ok(input) = incoming.try_recv() {
            if state.update(input) == Effect::Quit {
                return Ok(());
            }
        }
    }
}
