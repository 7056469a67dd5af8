//! A terminal of the documentation: a shell that takes commands, a keyboard for the program that runs in it, and what both have shown.
//!
//! The shell is bash, in a process group of its own, with one pipe for all that it shows. Commands come to it one by one; after each it says how that
//! ended. What is typed goes to the running program through a pipe of its own, so that a program that reads never takes a command for its input.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::process::{ASK_AGAIN, foreign_variables};

/// Takes commands, each ended by a zero byte, and says after each one how it ended: also one whose failure a pipe would swallow. Ctrl-C is for the program, not
/// for the shell.
const SHELL: &str = r#"
exec 2>&1 4<"$1"
trap : INT
set -o pipefail
while IFS= read -r -d '' command; do
  eval "$command" <&4 4<&-
  printf '\036%d\036\n' "$?"
done
"#;
/// What stands around an exit code: a character that no program of ours prints.
const SIGN: char = '\u{1e}';
/// How long programs may take to stop when they are asked to, before they are killed.
const STOPPING: Duration = Duration::from_secs(10);

/// An open terminal. [`Terminal::stop_all`] ends what runs in it; so does dropping it, less politely.
pub struct Terminal {
    shell: Child,
    commands: Option<ChildStdin>,
    keyboard: Option<File>,
    screen: Arc<Screen>,
    given: usize,
    /// Lines before this one have been looked at.
    pub seen: usize,
}

#[derive(Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Default)]
struct Shown {
    lines: Vec<String>,
    /// What stands on the last line, which has not ended.
    begun: String,
    /// For each command that has ended: how many lines there were then, and its exit code.
    ends: Vec<(usize, i32)>,
    closed: bool,
}

/// What a terminal shows of the command given last.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The lines since [`Terminal::seen`], up to the command's end if it has ended.
    pub lines: Vec<String>,
    /// The line after them, as far as it goes, while the command runs.
    pub begun: String,
    /// How it ended.
    pub exit: Option<i32>,
}

impl Terminal {
    /// Opens a terminal in `folder` whose environment has `variables` and nothing of the test's own; its keyboard is made as `keyboard`.
    ///
    /// # Panics
    /// If the system gives no shell.
    pub fn open(folder: &Path, keyboard: &Path, variables: &[(&str, OsString)]) -> Self {
        let made = Command::new("mkfifo").arg(keyboard).status().expect("mkfifo starts");
        assert!(made.success(), "mkfifo {}", keyboard.display());
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-c", SHELL, "bash"]).arg(keyboard).current_dir(folder);
        for name in foreign_variables() {
            bash.env_remove(name);
        }
        bash.env_remove("CARGO").env_remove("BASH_ENV").env_remove("NO_COLOR");
        bash.envs(variables.iter().map(|(name, value)| (name, value)));
        bash.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
        let mut shell = bash.spawn().expect("bash starts");
        let commands = shell.stdin.take();
        let output = shell.stdout.take().expect("stdout is piped");
        let screen = Arc::new(Screen::default());
        let painter = Arc::clone(&screen);
        thread::spawn(move || painter.paint(output));
        // Opening waits until the shell opens the other end.
        let keyboard = OpenOptions::new().write(true).open(keyboard).expect("the keyboard opens");
        Self { shell, commands, keyboard: Some(keyboard), screen, given: 0, seen: 0 }
    }

    /// Types a command into the shell. What was shown before belongs to the past.
    ///
    /// # Panics
    /// If the shell is gone.
    pub fn command(&mut self, command: &str) {
        self.seen = self.screen.shown().lines.len();
        self.given += 1;
        let shell = self.commands.as_mut().expect("the terminal is open");
        shell
            .write_all(command.as_bytes())
            .and_then(|()| shell.write_all(b"\0"))
            .and_then(|()| shell.flush())
            .expect("the shell takes a command");
    }

    /// Types a line into the program that runs. Answers whether one reads.
    pub fn type_line(&mut self, line: &str) -> bool {
        let keyboard = self.keyboard.as_mut().expect("the terminal is open");
        writeln!(keyboard, "{line}").and_then(|()| keyboard.flush()).is_ok()
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let _ = kill_process_group(self.group(), Signal::INT);
    }

    /// Whether a command runs.
    pub fn is_busy(&self) -> bool {
        self.screen.shown().ends.len() < self.given
    }

    /// Waits until `judge` makes something of what is shown, asking it again whenever that changes.
    ///
    /// # Errors
    /// What is shown when patience is at its end, or the terminal.
    pub fn wait<T>(&self, patience: Duration, mut judge: impl FnMut(&Sight) -> Option<T>) -> Result<T, Sight> {
        let deadline = Instant::now() + patience;
        let mut shown = self.screen.shown();
        loop {
            let end = self.given.checked_sub(1).and_then(|last| shown.ends.get(last)).copied();
            let upto = end.map_or(shown.lines.len(), |(upto, _)| upto);
            let lines = shown.lines[self.seen.min(upto)..upto].to_vec();
            let begun = if end.is_none() { shown.begun.clone() } else { String::new() };
            let sight = Sight { lines, begun, exit: end.map(|(_, code)| code) };
            if let Some(judgement) = judge(&sight) {
                return Ok(judgement);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || shown.closed {
                return Err(sight);
            }
            shown = self.screen.changed.wait_timeout(shown, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Stops whatever runs in these terminals: all are asked first, and waited for together.
    pub fn stop_all(terminals: impl Iterator<Item = Terminal>) {
        let mut terminals: Vec<_> = terminals.collect();
        for terminal in &mut terminals {
            terminal.commands = None;
            let _ = kill_process_group(terminal.group(), Signal::TERM);
        }
        let deadline = Instant::now() + STOPPING;
        while terminals.iter_mut().any(Terminal::lives) && Instant::now() < deadline {
            thread::sleep(ASK_AGAIN);
        }
    }

    /// Whether anything of its process group is left.
    fn lives(&mut self) -> bool {
        let _ = self.shell.try_wait();
        test_kill_process_group(self.group()).is_ok()
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.shell)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.lives() {
            let _ = kill_process_group(self.group(), Signal::KILL);
        }
        let _ = self.shell.wait();
    }
}

impl Screen {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paint(&self, output: impl Read) {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        loop {
            // What is there, and no more: a question ends in no line end.
            let come = match output.fill_buf() {
                Ok(come) => come,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => &[],
            };
            let length = come.iter().position(|byte| *byte == b'\n').map_or(come.len(), |at| at + 1);
            bytes.extend_from_slice(&come[..length]);
            output.consume(length);
            let ended = length == 0;
            let mut shown = self.shown();
            if ended {
                shown.closed = true;
            } else if bytes.last() == Some(&b'\n') {
                let text = String::from_utf8_lossy(&bytes);
                let mut parts = text.trim_end_matches(['\n', '\r']).split(SIGN);
                let line = parts.next().unwrap_or_default();
                let code = parts.next().and_then(|code| code.parse().ok());
                // A command that ends within a line leaves that line before the sign.
                if code.is_none() || !line.is_empty() {
                    shown.lines.push(drawn(line));
                }
                if let Some(code) = code {
                    let lines = shown.lines.len();
                    shown.ends.push((lines, code));
                }
                bytes.clear();
                shown.begun.clear();
            } else {
                shown.begun = drawn(&String::from_utf8_lossy(&bytes));
            }
            self.changed.notify_all();
            if ended {
                return;
            }
        }
    }
}

/// A line as a terminal draws it: a carriage return goes back to its beginning, `ESC [ K` clears what is right of there, and other escapes (colours) are not seen.
fn drawn(line: &str) -> String {
    let mut cells: Vec<char> = Vec::new();
    let mut at = 0;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' => at = 0,
            '\u{1b}' => {
                let ends = |character: &char| character.is_ascii_alphabetic();
                if characters.by_ref().find(ends) == Some('K') {
                    cells.truncate(at);
                }
            }
            character => {
                if at < cells.len() {
                    cells[at] = character;
                } else {
                    cells.push(character);
                }
                at += 1;
            }
        }
    }
    cells.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_a_terminal_draws() {
        for (sent, seen) in [
            ("plain", "plain"),
            ("question: \r", "question: "),
            ("\r\u{1b}[K  step 1\r\u{1b}[K  step 10\r\u{1b}[Kdone", "done"),
            ("abc\rx", "xbc"),
            ("\u{1b}[1mbold\u{1b}[0m", "bold"),
        ] {
            assert_eq!(drawn(sent), seen, "{sent:?}");
        }
    }
}
