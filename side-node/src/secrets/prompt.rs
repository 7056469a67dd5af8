//! Asking a person at the terminal for a passphrase, without showing it.
//!
//! The process's own terminal is asked, not standard input, which may be a pipe. Characters are read one by one with the terminal's own editing and signals
//! off, so that Ctrl-C ends the question and the terminal is as it was afterwards.

use std::fs::{File, OpenOptions};
use std::io::{self, Error, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use zeroize::Zeroizing;

/// The process's own terminal.
const TERMINAL: &str = "/dev/tty";

/// Shows `prompt` and reads a line of at most `most` bytes; what is typed beyond is not taken.
///
/// # Errors
/// [`ErrorKind::Interrupted`] for Ctrl-C and Ctrl-D; whatever keeps the terminal from being used.
pub(super) fn ask(prompt: &str, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NOCTTY.bits() as i32;
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(TERMINAL)
        .map_err(|_| Error::new(ErrorKind::NotFound, "there is no terminal to ask at"))?;
    if tcgetpgrp(&terminal).map_err(io::Error::from)? != getpgrp() {
        return Err(Error::other("this process is in the background of its terminal"));
    }
    let mut quiet = Quiet::begin(terminal)?;
    quiet.terminal.write_all(prompt.as_bytes())?;
    let line = quiet.line(most);
    // The return key was not shown.
    let _ = quiet.terminal.write_all(b"\r\n");
    line
}

/// A terminal that shows nothing of what is typed, until it is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn begin(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.local_modes &= !(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        // What was typed before the question is no answer to it.
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &modes)?;
        Ok(Self { terminal, before })
    }

    fn line(&mut self, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        // With all its room from the beginning: a vector that grows leaves copies behind.
        let mut line = Zeroizing::new(Vec::with_capacity(most));
        let mut byte = Zeroizing::new([0; 1]);
        loop {
            match self.terminal.read(byte.as_mut()) {
                Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "the terminal is gone")),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            if edit(&mut line, byte[0], most)? {
                return Ok(line);
            }
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal.as_fd(), OptionalActions::Now, &self.before);
    }
}

/// What a key does to the line; true once it is complete.
fn edit(line: &mut Vec<u8>, key: u8, most: usize) -> io::Result<bool> {
    match key {
        b'\r' | b'\n' => return Ok(true),
        // Ctrl-C, Ctrl-D.
        0x03 | 0x04 => return Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        // Backspace takes a whole character: its bytes of continuation and its first one.
        0x08 | 0x7f => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
        // Ctrl-U.
        0x15 => line.clear(),
        // Other control characters are slips.
        0..=0x1f => {}
        _ if line.len() < most => line.push(key),
        _ => {}
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_edit_the_line() {
        let typed = |keys: &[u8]| {
            let mut line = Vec::new();
            keys.iter().any(|key| edit(&mut line, *key, 8).unwrap()).then_some(line)
        };
        assert_eq!(typed(b"abc\r").unwrap(), b"abc");
        assert_eq!(typed(b"abc"), None);
        assert_eq!(typed(b"\x7fab\x7fc\n").unwrap(), b"ac");
        assert_eq!(typed("aü\x7f\x7fb\r".as_bytes()).unwrap(), b"b");
        assert_eq!(typed(b"abc\x15d\x1a\r").unwrap(), b"d");
        assert_eq!(typed(b"0123456789\r").unwrap(), b"01234567");
        let error = edit(&mut Vec::new(), 3, 8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}
