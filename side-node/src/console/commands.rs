//! What a typed line means.

use crate::config::nearest;
use crate::error::CommandError;

/// The commands, for people.
pub(super) const HELP: &str = "\
a line          write it as a note (a line that begins with / is written as //…)
/history [N]    the last N entries (20 unless you say otherwise), /history all for everything
/peers          who has written to the group
/status         how it stands with this node and its relay
/help           this
/quit           stop the node";

/// Entries that `/history` shows unless a number is given: a screenful.
const HISTORY: u64 = 20;
/// The words behind the slash.
const WORDS: [&str; 5] = ["history", "peers", "status", "help", "quit"];

/// What came from the keyboard or a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// A line.
    Line(String),
    /// A line that cannot be taken, and why.
    Refused(String),
    /// The person is done.
    Quit,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Note(String),
    History(Option<u64>),
    Peers,
    Status,
    Help,
    Quit,
}

/// Reads a line; an empty one means nothing.
pub(super) fn parse(typed: Typed) -> Result<Option<Command>, CommandError> {
    let line = match typed {
        Typed::Line(line) => line,
        Typed::Refused(why) => return Err(CommandError::user(format!("a line was dropped: {why}"))),
        Typed::Quit => return Ok(Some(Command::Quit)),
    };
    if line.trim().is_empty() {
        return Ok(None);
    }
    let Some(rest) = line.strip_prefix('/') else { return Ok(Some(Command::Note(line))) };
    if rest.starts_with('/') {
        return Ok(Some(Command::Note(rest.to_owned())));
    }
    let mut words = rest.split_whitespace();
    let word = words.next().unwrap_or_default();
    let argument = words.next();
    let command = match word {
        "history" => Command::History(match argument {
            None => Some(HISTORY),
            Some("all") => None,
            Some(number) => Some(
                number
                    .parse()
                    .map_err(|_| CommandError::usage(format!("{number:?} is no number")).hint("try: /history 50"))?,
            ),
        }),
        "peers" => Command::Peers,
        "status" => Command::Status,
        "help" => Command::Help,
        "quit" => Command::Quit,
        unknown => {
            let error = CommandError::usage(format!("there is no command /{}", crate::output::printable(unknown)));
            return Err(match nearest(unknown, WORDS) {
                Some(known) => error.hint(format!("did you mean /{known}? /help lists the commands")),
                None => error.hint("/help lists the commands; to write a line that begins with a slash, type //"),
            });
        }
    };
    Ok(Some(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Option<Command>, CommandError> {
        parse(Typed::Line(text.to_owned()))
    }

    #[test]
    fn lines_are_notes_and_slashes_are_commands() {
        assert_eq!(line("hello /x"), Ok(Some(Command::Note("hello /x".into()))));
        assert_eq!(line("//etc"), Ok(Some(Command::Note("/etc".into()))));
        assert_eq!(line("  "), Ok(None));
        assert_eq!(line("/history"), Ok(Some(Command::History(Some(20)))));
        assert_eq!(line("/history 3"), Ok(Some(Command::History(Some(3)))));
        assert_eq!(line("/history all"), Ok(Some(Command::History(None))));
        assert_eq!(line("/quit "), Ok(Some(Command::Quit)));
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        let error = line("/histroy").unwrap_err();
        assert!(error.next_step().unwrap().contains("did you mean /history?"), "{error}");
        let error = line("/st").unwrap_err();
        assert!(error.next_step().unwrap().contains("did you mean /status?"), "{error}");
        let error = line("/dance").unwrap_err();
        assert!(error.next_step().unwrap().contains("/help lists"), "{error}");
        assert!(line("/history x").is_err());
    }
}
