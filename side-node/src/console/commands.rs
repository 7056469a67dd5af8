//! What a typed line means.

use crate::api::control::Ballot;
use crate::config::nearest;
use crate::error::CommandError;

/// The commands, for people.
pub(super) const HELP: &str = "\
a line          write it as a note (a line that begins with / is written as //…)
/history [N]    the last N entries (20 unless you say otherwise), /history all for everything
/send NODE N    give N units of the group to a node; it counts once a block has it
/balance        who owns what
/vote …         leader NODE | voter NODE in|out | member NODE in|out | key NODE NEW | interval MS | block-changes N | ask
/blocks [N]     the last N blocks (10 unless you say otherwise)
/peers          who has written to the group
/group …        list | use NAME (what this console is about) | members
/status         how it stands with this node: blocks, voters, peers
/help           this
/quit           stop the node";

/// Entries that `/history` shows unless a number is given: a screenful.
const HISTORY: u64 = 20;
/// Blocks that `/blocks` shows unless a number is given.
pub(crate) const BLOCKS: u64 = 10;
/// The words behind the slash.
const WORDS: [&str; 10] = ["history", "send", "balance", "vote", "blocks", "peers", "group", "status", "help", "quit"];

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
    Send { to: String, amount: u64 },
    Vote(Ballot),
    Blocks(u64),
    Balance,
    Peers,
    Group(GroupCommand),
    Status,
    Help,
    Quit,
}

/// What is to be done about groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GroupCommand {
    List,
    Members,
    Use(String),
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
    let arguments: Vec<&str> = words.collect();
    let argument = arguments.first().copied();
    let command = match word {
        "history" => Command::History(match argument {
            None => Some(HISTORY),
            Some("all") => None,
            Some(word) => Some(number(word, "/history 50")?),
        }),
        "send" => match arguments[..] {
            [to, amount] => Command::Send { to: to.to_owned(), amount: number(amount, "/send node2 10")? },
            _ => return Err(CommandError::usage("whom, and how much?").hint("try: /send node2 10")),
        },
        "vote" => Command::Vote(ballot(&arguments)?),
        "blocks" => Command::Blocks(argument.map_or(Ok(BLOCKS), |word| number(word, "/blocks 20"))?),
        "balance" => Command::Balance,
        "peers" => Command::Peers,
        "group" => Command::Group(match arguments[..] {
            [] | ["list"] => GroupCommand::List,
            ["members"] => GroupCommand::Members,
            ["use", name] => GroupCommand::Use(name.to_owned()),
            _ => {
                return Err(CommandError::usage("what about groups?")
                    .hint("/group list, /group use NAME, /group members; more from a shell: side-node group --help"));
            }
        }),
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

fn number(word: &str, example: &str) -> Result<u64, CommandError> {
    let wrong = || CommandError::usage(format!("{:?} is no number", crate::output::printable(word)));
    word.parse().map_err(|_| wrong().hint(format!("try: {example}")))
}

/// Reads what somebody votes for: on the command line as in the console.
pub(crate) fn ballot(words: &[&str]) -> Result<Ballot, CommandError> {
    const EXAMPLES: &str =
        "leader NODE, voter NODE in|out, member NODE in|out, key NODE NEW, interval MS, block-changes N, or ask";
    let joins = |word: &str| match word {
        "in" => Ok(true),
        "out" => Ok(false),
        _ => Err(CommandError::usage("in or out?").hint(format!("one votes for: {EXAMPLES}"))),
    };
    match *words {
        ["leader", node] => Ok(Ballot::Leader { node: node.to_owned() }),
        ["voter", node, choice] => Ok(Ballot::Voter { node: node.to_owned(), joins: joins(choice)? }),
        ["member", node, choice] => Ok(Ballot::Member { node: node.to_owned(), joins: joins(choice)? }),
        ["key", node, new] => Ok(Ballot::Key { node: node.to_owned(), new: new.to_owned() }),
        ["interval", ms] => Ok(Ballot::Interval { ms: number(ms, "interval 500")? }),
        ["block-changes", changes] => Ok(Ballot::BlockChanges { changes: number(changes, "block-changes 1000")? }),
        ["ask"] => Ok(Ballot::Ask {}),
        _ => Err(CommandError::usage("vote for what?").hint(format!("one votes for: {EXAMPLES}"))),
    }
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
        assert_eq!(line("/send node2 10"), Ok(Some(Command::Send { to: "node2".into(), amount: 10 })));
        assert_eq!(line("/blocks"), Ok(Some(Command::Blocks(BLOCKS))));
        assert_eq!(line("/blocks 3"), Ok(Some(Command::Blocks(3))));
        assert_eq!(line("/group"), Ok(Some(Command::Group(GroupCommand::List))));
        assert_eq!(line("/group use team"), Ok(Some(Command::Group(GroupCommand::Use("team".into())))));
        let leader = Ballot::Leader { node: "node2".into() };
        assert_eq!(line("/vote leader node2"), Ok(Some(Command::Vote(leader))));
        let new = Ballot::Key { node: "node2".into(), new: "4f1a2b3c".into() };
        assert_eq!(line("/vote key node2 4f1a2b3c"), Ok(Some(Command::Vote(new))));
        let out = Ballot::Voter { node: "n".into(), joins: false };
        assert_eq!(line("/vote voter n out"), Ok(Some(Command::Vote(out))));
        for wrong in [
            "/send",
            "/send node2",
            "/send node2 x",
            "/group use",
            "/group dance",
            "/send a 1 2",
            "/vote",
            "/vote leader",
            "/vote key n",
            "/vote voter n up",
            "/blocks x",
        ] {
            assert!(line(wrong).unwrap_err().next_step().is_some(), "{wrong}");
        }
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
