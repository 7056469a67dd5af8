//! What standard input is, and reading typed lines from it without ever being stopped by it.
//!
//! A node is started in several ways, and each gives it a different standard input:
//!
//! ```text
//! started as                        stdin is                          we
//! side-node run node1               our terminal, in the foreground   edit lines (ConsoleMode::Editor)
//! side-node run node1 &             our terminal, in the background   wait; read once `fg` gives us the turn
//! cargo watch -x "run -- run node1" a terminal of another session     read plain lines while the watcher has the turn
//! printf 'a\nb\n' | side-node run … a pipe or a file                  read plain lines until the end
//! ```
//!
//! Rules:
//! - The terminal's settings are touched in [`ConsoleMode::Editor`] only. cargo-watch kills the process it restarts without leaving
//!   it time to restore them.
//! - `read` is called only after `poll` said that there is input *and* it is our turn. A background process that calls `read` on
//!   its terminal is stopped by SIGTTIN, and with it everything the node does for others.
//! - Nothing is read ahead of a line: what is typed while a program restarts stays in the kernel for the next one.
//!
//! The reasons and the measurements are in docs/adr/0001-console-under-cargo-watch.md.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{getpgrp, getpid, getsid};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr};

/// Longest line that [`LineInput`] hands out, in bytes without its line end. A terminal gives at most 4,095 bytes a line; a pipe
/// could send gigabytes without a line end, and they must not gather in memory.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Pause before looking again whether it is our turn to read, while input waits for somebody else. `poll` cannot tell us: it reports
/// the waiting input at once, again and again. Short enough that a person does not notice it after `fg`.
const TURN_PAUSE: Duration = Duration::from_millis(150);

/// How long one wait for input on a borrowed terminal lasts before we look whether its owner is still there.
const OWNER_CHECK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Bytes asked for in one `read`. A terminal in line mode never gives more than one line, whatever we ask for.
const READ_BYTES: usize = 4096;

/// How many ancestors are looked at for the owner of a borrowed terminal. `sh` and `cargo` make two; wrappers add a few.
const MAX_ANCESTORS: usize = 16;

/// How a console talks to the person (or program) that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleMode {
    /// Standard input and output are our own terminal and we are in its foreground: a line editor may take it over.
    Editor,
    /// Anything else: read lines with [`LineInput`], print lines, leave the terminal's settings alone.
    Lines,
}

impl ConsoleMode {
    /// Looks at standard input and output as they are now. Ask once, at start: a node that starts in the background and is brought
    /// to the foreground stays in [`ConsoleMode::Lines`], which works there too.
    pub fn detect() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::of(rustix::stdio::stdin(), rustix::stdio::stdout(), dumb)
    }

    fn of(input: BorrowedFd<'_>, output: BorrowedFd<'_>, dumb: bool) -> Self {
        let foreground = tcgetpgrp(input).is_ok_and(|group| group == getpgrp());
        if isatty(input) && isatty(output) && foreground && !dumb { Self::Editor } else { Self::Lines }
    }
}

/// What [`LineInput::next_input`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// One line, without its line end (`\n` or `\r\n`).
    Line(String),
    /// A line longer than [`MAX_LINE_BYTES`] or not UTF-8. It was dropped as a whole; the next line is whole again.
    Refused(RefusedLine),
    /// There will be no more input. Asking again gives the same answer.
    End(End),
}

/// Why a line was not handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedLine {
    /// More than [`MAX_LINE_BYTES`] bytes.
    #[error("the line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the line is not UTF-8 text")]
    NotUtf8,
}

/// Why input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A pipe, file or `/dev/null` came to its end. A node without a person keeps running: this is how services are started.
    Stream,
    /// Somebody pressed Ctrl-D on an empty line of a terminal.
    Typed,
    /// The terminal is gone (window closed, connection lost).
    HungUp,
    /// The program that lent us its terminal died without ending us, and the terminal belongs to its next user.
    OwnerGone,
}

impl End {
    /// Whether the person who ran the node is done with it: everything but the end of a pipe, file or `/dev/null`.
    pub fn means_quit(self) -> bool {
        self != Self::Stream
    }
}

/// Lines from standard input (or any other descriptor), for [`ConsoleMode::Lines`].
///
/// [`Self::next_input`] blocks, so run it on a plain thread of its own (`std::thread::spawn`, handing lines over a bounded channel) and
/// not on an async runtime's blocking pool, whose shutdown would wait for the next line.
#[derive(Debug)]
pub struct LineInput<Fd: AsFd = BorrowedFd<'static>> {
    fd: Fd,
    owner: Option<Owner>,
    terminal: bool,
    /// Invariant: at most `MAX_LINE_BYTES + READ_BYTES` bytes.
    pending: Vec<u8>,
    /// The rest of a line that was too long is still to come.
    skipping: bool,
    end: Option<End>,
}

impl LineInput {
    /// Lines from this process' standard input.
    pub fn stdin() -> Self {
        Self::new(rustix::stdio::stdin())
    }
}

/// Whose turn it is to read from the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ours,
    Others,
    Never(End),
}

impl<Fd: AsFd> LineInput<Fd> {
    /// Lines from `fd`. If it is a terminal of another session, its owner is looked up now.
    pub fn new(fd: Fd) -> Self {
        let terminal = isatty(fd.as_fd());
        let borrowed = terminal && tcgetpgrp(fd.as_fd()) == Err(Errno::NOTTY);
        let owner = if borrowed { Owner::of_terminal(fd.as_fd()) } else { None };
        Self { fd, owner, terminal, pending: Vec::new(), skipping: false, end: None }
    }

    /// Waits for the next line or for the end of input.
    ///
    /// # Errors
    /// What the operating system says about reading, other than that the terminal is gone.
    pub fn next_input(&mut self) -> io::Result<Input> {
        loop {
            if let Some(input) = self.take_line() {
                return Ok(input);
            }
            if let Some(end) = self.end {
                return Ok(self.take_rest().unwrap_or(Input::End(end)));
            }
            self.wait_for_turn()?;
            if self.end.is_none() {
                self.read_some()?;
            }
        }
    }

    /// Returns when there is input that is ours to read, or with `end` set.
    fn wait_for_turn(&mut self) -> io::Result<()> {
        loop {
            let timeout = self.owner.as_ref().map(|_| OWNER_CHECK);
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            let ready = match poll(&mut fds, timeout.as_ref()) {
                Ok(count) => count > 0,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            match self.turn() {
                Turn::Never(end) => {
                    self.end = Some(end);
                    return Ok(());
                }
                Turn::Ours if ready => return Ok(()),
                Turn::Ours => {}
                Turn::Others if ready => thread::sleep(TURN_PAUSE),
                Turn::Others => {}
            }
        }
    }

    fn turn(&self) -> Turn {
        if !self.terminal {
            return Turn::Ours;
        }
        match tcgetpgrp(self.fd.as_fd()) {
            Ok(group) if group == getpgrp() => Turn::Ours,
            Ok(_) => Turn::Others,
            Err(Errno::IO) => Turn::Never(End::HungUp),
            // Not the terminal of our session. No job control applies to our reads then, so its owner's turn is ours.
            Err(_) => self.owner.as_ref().map_or(Turn::Ours, Owner::turn),
        }
    }

    fn read_some(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        match rustix::io::read(self.fd.as_fd(), &mut buffer) {
            Ok(0) => self.end = Some(self.end_of_file()),
            Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::IO) if self.terminal => self.end = Some(End::HungUp),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn end_of_file(&self) -> End {
        if !self.terminal {
            End::Stream
        } else if isatty(self.fd.as_fd()) {
            End::Typed
        } else {
            // A terminal that was hung up reads as an empty file and no longer answers as a terminal.
            End::HungUp
        }
    }

    /// Cuts the first whole line out of `pending`.
    fn take_line(&mut self) -> Option<Input> {
        loop {
            match self.pending.iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    let line: Vec<u8> = self.pending.drain(..=at).take(at).collect();
                    if std::mem::take(&mut self.skipping) {
                        continue;
                    }
                    return Some(line_of(line));
                }
                None if self.skipping => {
                    self.pending.clear();
                    return None;
                }
                None if self.pending.len() > MAX_LINE_BYTES => {
                    self.pending.clear();
                    self.skipping = true;
                    return Some(Input::Refused(RefusedLine::TooLong));
                }
                None => return None,
            }
        }
    }

    /// The last line of a stream that does not end with a line end.
    fn take_rest(&mut self) -> Option<Input> {
        if self.skipping || self.pending.is_empty() {
            return None;
        }
        Some(line_of(std::mem::take(&mut self.pending)))
    }
}

fn line_of(mut bytes: Vec<u8>) -> Input {
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    if bytes.len() > MAX_LINE_BYTES {
        return Input::Refused(RefusedLine::TooLong);
    }
    match String::from_utf8(bytes) {
        Ok(line) => Input::Line(line),
        Err(_) => Input::Refused(RefusedLine::NotUtf8),
    }
}

/// The process that lent us its terminal: the nearest ancestor whose own terminal our input is (cargo-watch, when it runs us).
///
/// We belong to another session, so the kernel does not tell us whether that process is in the foreground; `/proc` does. Where there
/// is no `/proc` no owner is found, and the terminal counts as ours to read for as long as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    pid: i32,
    start_time: u64,
}

impl Owner {
    fn of_terminal(terminal: BorrowedFd<'_>) -> Option<Self> {
        let device = rustix::fs::fstat(terminal).ok()?.st_rdev;
        let device = (rustix::fs::major(device), rustix::fs::minor(device));
        // Only processes outside our session can own a terminal that is not our session's.
        let session = getsid(None).ok()?.as_raw_nonzero().get();
        let mut pid = ProcessStat::read(getpid().as_raw_nonzero().get())?.parent;
        for _ in 0..MAX_ANCESTORS {
            let stat = ProcessStat::read(pid)?;
            if stat.session != session && stat.terminal == device {
                return Some(Self { pid, start_time: stat.start_time });
            }
            pid = stat.parent;
        }
        None
    }

    fn turn(&self) -> Turn {
        match ProcessStat::read(self.pid) {
            // A number is given to another process after its first holder is gone; the start time tells them apart.
            Some(stat) if stat.start_time == self.start_time && !stat.dead => {
                if stat.group == stat.foreground_group {
                    Turn::Ours
                } else {
                    Turn::Others
                }
            }
            _ => Turn::Never(End::OwnerGone),
        }
    }
}

/// The fields of `/proc/PID/stat` that we need (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProcessStat {
    dead: bool,
    parent: i32,
    group: i32,
    session: i32,
    /// Major and minor device number of the controlling terminal; (0, 0) without one.
    terminal: (u32, u32),
    foreground_group: i32,
    /// Clock ticks after boot.
    start_time: u64,
}

impl ProcessStat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let number = |proc_field: usize| fields.get(proc_field - 3)?.parse::<i64>().ok();
        let small = |proc_field: usize| i32::try_from(number(proc_field)?).ok();
        let device = u32::from_ne_bytes(small(7)?.to_ne_bytes());
        Some(Self {
            dead: matches!(*fields.first()?, "Z" | "X"),
            parent: small(4)?,
            group: small(5)?,
            session: small(6)?,
            terminal: ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00)),
            foreground_group: small(8)?,
            start_time: u64::try_from(number(22)?).ok()?,
        })
    }
}

/// The terminal's settings as they were, put back by [`Self::restore`] and on drop.
///
/// A line editor restores them itself when it returns. This guard is for the ways out that go around it: SIGTERM, SIGHUP, a
/// failure elsewhere. Keep it in the console, and call [`Self::restore`] before a signal handler's task ends the process.
#[derive(Debug)]
pub struct SavedTerminal<Fd: AsFd = BorrowedFd<'static>> {
    fd: Fd,
    settings: Termios,
}

impl SavedTerminal {
    /// The settings of the terminal at standard input, or nothing if it is no terminal of ours.
    pub fn stdin() -> Option<Self> {
        Self::new(rustix::stdio::stdin())
    }
}

impl<Fd: AsFd> SavedTerminal<Fd> {
    /// The settings of the terminal behind `fd`, or nothing if it is no terminal of our session.
    pub fn new(fd: Fd) -> Option<Self> {
        tcgetpgrp(fd.as_fd()).ok()?;
        let settings = tcgetattr(fd.as_fd()).ok()?;
        Some(Self { fd, settings })
    }

    /// Puts the settings back if we are in the foreground. In the background the terminal is somebody else's (and setting it would
    /// stop us with SIGTTOU). May be called more than once.
    pub fn restore(&self) {
        if tcgetpgrp(self.fd.as_fd()).is_ok_and(|group| group == getpgrp()) {
            // Fails only if the terminal went away just now, and then there is nothing to restore.
            let _ = tcsetattr(self.fd.as_fd(), OptionalActions::Now, &self.settings);
        }
    }
}

impl<Fd: AsFd> Drop for SavedTerminal<Fd> {
    fn drop(&mut self) {
        self.restore();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Write, pipe};

    use super::*;

    fn inputs_of(bytes: &[u8]) -> Vec<Input> {
        let (reader, mut writer) = pipe().expect("a pipe");
        let bytes = bytes.to_vec();
        let feeder = thread::spawn(move || writer.write_all(&bytes));
        let mut input: LineInput<PipeReader> = LineInput::new(reader);
        let mut all = Vec::new();
        loop {
            let next = input.next_input().expect("a pipe reads");
            let last = matches!(next, Input::End(_));
            all.push(next);
            if last {
                break;
            }
        }
        feeder.join().expect("the feeder runs").expect("the pipe takes all");
        assert_eq!(input.next_input().expect("asked again"), all[all.len() - 1]);
        all
    }

    fn line(text: &str) -> Input {
        Input::Line(text.to_owned())
    }

    #[test]
    fn a_pipe_gives_lines_and_then_its_end() {
        assert_eq!(inputs_of(b""), [Input::End(End::Stream)]);
        let seen = inputs_of("one\r\n\n  zwei \u{e4}\nlast".as_bytes());
        assert_eq!(seen, [line("one"), line(""), line("  zwei \u{e4}"), line("last"), Input::End(End::Stream)]);
        assert!(!End::Stream.means_quit());
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_once_and_the_next_is_whole() {
        let longest = "x".repeat(MAX_LINE_BYTES);
        for extra in [1, READ_BYTES, 10 * MAX_LINE_BYTES] {
            let too_long = "y".repeat(MAX_LINE_BYTES + extra);
            let seen = inputs_of(format!("{too_long}\nnext\n{longest}\n{too_long}").as_bytes());
            let refused = Input::Refused(RefusedLine::TooLong);
            assert_eq!(seen, [refused.clone(), line("next"), line(&longest), refused, Input::End(End::Stream)]);
        }
    }

    #[test]
    fn a_line_that_is_no_text_is_refused() {
        let seen = inputs_of(b"\xff\xfe\nok\n");
        assert_eq!(seen, [Input::Refused(RefusedLine::NotUtf8), line("ok"), Input::End(End::Stream)]);
    }

    #[test]
    fn a_pipe_is_no_terminal() {
        let (reader, writer) = pipe().expect("a pipe");
        assert_eq!(ConsoleMode::of(reader.as_fd(), writer.as_fd(), false), ConsoleMode::Lines);
        assert!(SavedTerminal::new(reader).is_none());
    }

    #[test]
    fn process_stat_is_parsed_whatever_the_name() {
        let text = "7 (a ) b (c) S 5 6 4 34821 9 0 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0";
        let stat = ProcessStat::parse(text).expect("a whole record");
        let expected = ProcessStat {
            dead: false,
            parent: 5,
            group: 6,
            session: 4,
            terminal: (136, 5),
            foreground_group: 9,
            start_time: 123_456,
        };
        assert_eq!(stat, expected);
        assert_eq!(ProcessStat::parse("7 (a) S 5"), None);
        assert_eq!(ProcessStat::parse(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_owner_that_is_not_the_process_it_was_is_gone() {
        let pid = getpid().as_raw_nonzero().get();
        let start_time = ProcessStat::read(pid).expect("our own record").start_time;
        assert_ne!(Owner { pid, start_time }.turn(), Turn::Never(End::OwnerGone));
        assert_eq!(Owner { pid, start_time: start_time + 1 }.turn(), Turn::Never(End::OwnerGone));
    }
}
