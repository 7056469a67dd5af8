//! A person at a terminal: starts a program on a pseudo-terminal of its own, types into it, and waits for what it shows.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use portable_pty::CommandBuilder;
use portable_pty::{Child, ExitStatus, MasterPty, PtySize, native_pty_system};

/// How long [`Terminal::expect`] waits for something that takes no compiling. Generous: it is waited out only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A program running on a terminal. Dropping it closes the terminal and kills the program.
pub struct Terminal {
    screen: Arc<Screen>,
    keyboard: Box<dyn Write + Send>,
    master: Option<Box<dyn MasterPty + Send>>,
    child: Box<dyn Child + Send + Sync>,
    /// Everything before this byte of the screen has been expected already.
    seen: usize,
}

#[derive(Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    closed: bool,
}

impl Terminal {
    /// Starts `command` with a terminal of 24 lines of 200 columns as its controlling terminal.
    ///
    /// # Panics
    /// If the machine gives no pseudo-terminal or the program does not start.
    pub fn start(command: CommandBuilder) -> Self {
        let size = PtySize { rows: 24, cols: 200, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let child = pair.slave.spawn_command(command).expect("the program starts");
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().expect("the terminal's output");
        let keyboard = pair.master.take_writer().expect("the terminal's keyboard");
        let screen = Arc::new(Screen::default());
        let painter = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = reader.read(&mut buffer).unwrap_or(0);
                let mut shown = painter.shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.bytes.extend_from_slice(&buffer[..count]);
                shown.closed = count == 0;
                painter.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { screen, keyboard, master: Some(pair.master), child, seen: 0 }
    }

    /// Types `keys` as they are.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).and_then(|()| self.keyboard.flush()).expect("the terminal takes keys");
    }

    /// Types `line` and presses return.
    pub fn type_line(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Waits at most [`PATIENCE`] until `text` stands on the screen after what was expected before. Returns the rest of its line.
    ///
    /// # Panics
    /// With everything that was shown, if `text` does not come.
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, PATIENCE)
    }

    /// Like [`Self::expect`], waiting at most `patience`.
    ///
    /// # Panics
    /// With everything that was shown, if `text` does not come.
    pub fn expect_within(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        let mut shown = self.screen.shown.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let fresh = &shown.bytes[self.seen..];
            let found = fresh.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                let after = &fresh[at + text.len()..];
                if let Some(line_end) = after.iter().position(|byte| *byte == b'\n') {
                    let rest = String::from_utf8_lossy(&after[..line_end]).trim_end().to_owned();
                    self.seen += at + text.len() + line_end;
                    return rest;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || shown.closed {
                panic!("waited for {text:?}; the terminal shows:\n{}", String::from_utf8_lossy(&shown.bytes));
            }
            shown = self.screen.changed.wait_timeout(shown, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits at most [`PATIENCE`] until `word` stands on the screen, for a program that draws: it sends only what differs from what stood there. A word that begins with an
    /// escape is one to the terminal, and is waited for in what is sent after what was expected before.
    ///
    /// # Panics
    /// With the screen, if `word` does not come.
    pub fn see(&mut self, word: &str) {
        let size = self.master.as_ref().expect("the terminal is open").get_size().expect("a terminal has a size");
        let deadline = Instant::now() + PATIENCE;
        let mut shown = self.screen.shown.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut terminal = vt100::Parser::new(size.rows, size.cols, 0);
            terminal.process(&shown.bytes);
            let screen = terminal.screen().contents();
            if word.starts_with('\u{1b}') {
                let fresh = &shown.bytes[self.seen..];
                if let Some(at) = fresh.windows(word.len()).position(|window| window == word.as_bytes()) {
                    self.seen += at + word.len();
                    return;
                }
            } else if screen.contains(word) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || shown.closed {
                panic!("waited for {word:?}; the terminal shows:\n{screen}");
            }
            shown = self.screen.changed.wait_timeout(shown, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives the terminal another size.
    ///
    /// # Panics
    /// If the system does not.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        self.master.as_ref().expect("the terminal is open").resize(size).expect("a terminal takes a size");
    }

    /// The program's process.
    ///
    /// # Panics
    /// If it has none.
    pub fn pid(&self) -> i32 {
        self.child.process_id().and_then(|pid| i32::try_from(pid).ok()).expect("a process has a number")
    }

    /// Everything shown so far.
    pub fn shown(&self) -> String {
        let shown = self.screen.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown.bytes).into_owned()
    }

    /// Whether the terminal is in line mode with echo, as a shell expects to find it.
    ///
    /// # Panics
    /// If the system does not tell the settings of a terminal that is open.
    pub fn is_in_line_mode(&self) -> bool {
        let master = self.master.as_ref().expect("the terminal is open");
        let settings = master.get_termios().expect("a terminal has settings");
        let settings = format!("{:?}", settings.local_flags);
        settings.contains("ICANON") && settings.contains("ECHO")
    }

    /// Waits until the program started by [`Self::start`] has ended.
    ///
    /// # Panics
    /// If the system cannot say how it ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("the program's exit status")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.master = None;
        let _ = self.child.wait();
    }
}
