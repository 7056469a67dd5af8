//! Plays the command blocks of the documentation and compares what they print with what the page shows.
//!
//! A page is a Markdown file. Each of its fenced blocks is one of these, or the test fails and names the line:
//!
//! - <code>```console</code> or <code>```console node1</code>: what a person types and sees, in the terminal of that name (one that has no name is `shell`). A line
//!   `$ command` is typed into the terminal's shell, a line `node1> text` into the program that runs there, and `^C` is Ctrl-C. The lines below
//!   are what it prints; where none stand it may print what it likes. A command must succeed, unless a line below begins with `error:`, `{"error":` or `TROUBLE`. In a terminal
//!   that the page names, a command that no other one follows in its block may go on once it has printed what is shown; a block without a command is what such a
//!   program says next, with other lines in between.
//! - <code>```console node1@berlin</code>: the same on a machine of that name, which has a home folder of its own.
//! - a block of another language after `<!-- file: PATH -->` or `<!-- file: PATH on berlin -->`: the page tells the reader to write this file, so the test writes it.
//! - a block after `<!-- from: PATH -->`: it stands in that source file, word for word.
//! - a block after `<!-- not run: REASON -->`: it cannot be played here.
//! - `text`, or another language with no command in it: a picture, an excerpt.
//!
//! More marks before a `console` block: `<!-- on a terminal -->` where a program behaves otherwise than into a pipe: its commands get a pseudo-terminal, and a line that
//! ends in `********` is a question, answered with [the reader's passphrase](play::PASSPHRASE), which is not shown; `<!-- repeat -->` where the page says that something takes a moment: the command is typed again until it prints what
//! is shown (so it must change nothing); `<!-- any order -->` where lines may change places.
//!
//! What is printed differs from run to run. [`shape`] says what is compared how: ids, keys, addresses and ports are names that the page
//! gives, used by the page consistently; times and block numbers are any; `[..]` is anything within a line, `...` any lines. The reader's home folder is `~`.
//!
//! - [`page`] reads a page, [`terminal`] is a shell with a keyboard and a screen, [`play`] brings both together.

pub mod page;
pub mod play;
pub mod shape;
pub mod terminal;
