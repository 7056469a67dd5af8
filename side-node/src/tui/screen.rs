//! The terminal: taken as a whole, and given back as it was, however this ends.

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use super::draw;
use super::state::{Input, Key, State};
use crate::error::CommandError;

/// How long the keyboard is waited for before it is seen whether anybody still wants keys.
const KEY_PAUSE: Duration = Duration::from_millis(200);

/// The terminal in raw mode, on its other screen. Dropping it gives it back; so does a panic.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal.
    pub(super) fn take() -> Result<Self, CommandError> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                let _ = ratatui::try_restore();
                Err(failed(&error))
            }
        }
    }

    /// Draws the state.
    pub(super) fn draw(&mut self, state: &State) -> Result<(), CommandError> {
        self.0.draw(|frame| draw::draw(frame, state)).map(drop).map_err(|e| failed(&e))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        // A terminal that is gone needs nothing back.
        let _ = ratatui::try_restore();
    }
}

fn failed(error: &io::Error) -> CommandError {
    CommandError::io("cannot draw on the terminal", error)
}

/// Reads keys on a thread until nobody takes them any more.
pub(super) fn read_keys(inputs: mpsc::Sender<Input>) -> Result<(), CommandError> {
    let read = move || {
        while !inputs.is_closed() {
            let input = match event::poll(KEY_PAUSE) {
                Ok(false) => continue,
                Ok(true) => match event::read() {
                    Ok(Event::Key(key)) => match key_of(key) {
                        Some(key) => Input::Key(key),
                        None => continue,
                    },
                    Ok(Event::Resize(..)) => Input::Redraw,
                    Ok(_) => continue,
                    Err(_) => Input::Key(Key::Quit),
                },
                // The terminal has gone.
                Err(_) => Input::Key(Key::Quit),
            };
            let last = matches!(input, Input::Key(Key::Quit));
            if inputs.blocking_send(input).is_err() || last {
                return;
            }
        }
    };
    // A plain thread: a runtime would wait for it.
    let thread = std::thread::Builder::new().name("side-tui-keys".to_owned()).spawn(read);
    thread.map(drop).map_err(|e| CommandError::io("cannot start a thread", &e))
}

/// What a key means here.
fn key_of(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c' | 'd') if control => Key::Quit,
        KeyCode::Char('q' | 'Q') => Key::Quit,
        KeyCode::Char('?' | 'h') => Key::Help,
        KeyCode::Char(digit @ '1'..='9') => Key::Number(digit as usize - '0' as usize),
        KeyCode::Char('j') | KeyCode::Down => Key::Down,
        KeyCode::Char('k') | KeyCode::Up => Key::Up,
        KeyCode::Char('l') | KeyCode::Right => Key::Right,
        KeyCode::Left => Key::Left,
        KeyCode::PageDown | KeyCode::Char(' ') => Key::PageDown,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::Home | KeyCode::Char('g') => Key::Home,
        KeyCode::End | KeyCode::Char('G') => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc | KeyCode::Backspace => Key::Back,
        _ => return None,
    })
}
