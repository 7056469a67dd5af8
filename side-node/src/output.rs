//! What goes to stdout: for people, or as one JSON document with `--json`. Logs and errors go to stderr.
//!
//! Names and texts come from strangers: whatever is shown to a person is freed of control characters first, so that no note can move the
//! cursor, colour the screen or forge a line.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;
use side_ledger::Entry;

use crate::daemon::view::{Accepted, BlockLine, History, Peers, RelayStatus, Status, Who};
use crate::error::CommandError;

/// Hexadecimal digits of an id or key in the human output: enough to tell things apart, short enough to read.
const SHORT: usize = 12;
/// Most groups of a relay that are named in one line.
const MAX_NAMED_GROUPS: usize = 8;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Whether stdout gets JSON.
    pub json: bool,
}

impl Output {
    /// Prints a result: `text` for people, `value` for programs.
    pub fn result(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), CommandError> {
        if self.json {
            let json = serde_json::to_string(value)
                .map_err(|e| CommandError::bug(format!("cannot write the result as JSON: {e}")))?;
            print_line(&json)
        } else {
            print_line(text().trim_end())
        }
    }

    /// Prints an error: as JSON on stdout with `--json`, for people on stderr.
    pub fn error(self, error: &CommandError) {
        if self.json {
            let _ = print_line(&error.to_json().to_string());
        } else {
            let _ = writeln!(io::stderr(), "error: {error}");
        }
    }
}

/// Prints a line to stdout. Whoever listened and went away is no error: the work is done all the same.
pub fn print_line(line: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::io("cannot write to stdout", &error))
        }
        _ => Ok(()),
    }
}

/// A stranger's text on one line, with everything that a terminal could obey made visible.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push(' '),
            // Direction marks and isolates could make a line read as something else.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}') =>
            {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// The beginning of an id or key.
pub fn short(hex: &str) -> &str {
    hex.get(..SHORT).unwrap_or(hex)
}

/// Who wrote an entry: its name, or the beginning of its key.
pub fn author(entry: &Entry) -> String {
    match &entry.name {
        Some(name) => printable(name),
        None => short(&entry.author.to_string()).to_owned(),
    }
}

/// What an entry says, in one line.
pub fn body(entry: &Entry) -> String {
    match (entry.kind.as_str(), &entry.body) {
        ("note", serde_json::Value::String(text)) => printable(text),
        ("name", body) => match body.get("name").and_then(|name| name.as_str()) {
            Some(name) => format!("* is called {} now", printable(name)),
            None => printable(&body.to_string()),
        },
        (kind, body) => match &entry.problem {
            Some(problem) => format!("* {kind}: {} ({})", printable(&body.to_string()), printable(problem)),
            None => format!("* {}: {}", printable(kind), printable(&body.to_string())),
        },
    }
}

/// An entry as one line: `name: text`; those of this node with the beginning of their id, as a receipt.
pub fn entry_line(entry: &Entry, own: bool) -> String {
    let warning = if entry.equivocator { " (!)" } else { "" };
    if own {
        format!("{}{warning}: {}  [{}]", author(entry), body(entry), short(&entry.id.to_string()))
    } else {
        format!("{}{warning}: {}", author(entry), body(entry))
    }
}

/// A block as one line.
pub fn block_line(block: &BlockLine) -> String {
    let changes = if block.changes == 1 { "1 change".to_owned() } else { format!("{} changes", block.changes) };
    let by = block.sealer.as_ref().map_or_else(String::new, |sealer| format!(", sealed by {}", who(sealer)));
    format!("block {} ({}): {changes}{by}", block.height, short(&block.block))
}

/// What a key is called, or its beginning.
pub fn who(who: &Who) -> String {
    who.name.as_deref().map_or_else(|| short(&who.key).to_owned(), printable)
}

/// A time as `YYYY-MM-DD hh:mm:ss` UTC. (Days to a date as in Hinnant, "chrono-compatible low-level date algorithms".)
pub fn time(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// The history for people.
pub fn history(history: &History) -> String {
    let mut out = String::new();
    let shown = history.entries.len() as u64;
    if shown < history.total {
        let _ = writeln!(out, "… {} earlier entries", history.total - shown);
    }
    for entry in &history.entries {
        let _ =
            writeln!(out, "{}  {}  {}", time(entry.time_ms), short(&entry.id.to_string()), entry_line(entry, false));
    }
    let _ = writeln!(
        out,
        "{} entries in group {} ({}), digest {}",
        history.total,
        printable(&history.group_name),
        short(&history.group),
        short(&history.digest)
    );
    out
}

/// The status for people.
pub fn status(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| {
        let _ = writeln!(out, "{label:<12}{text}");
    };
    line("node", format!("{} ({})", status.node, status.key));
    line("group", format!("{} ({})", printable(&status.group_name), status.group));
    line("running", status.pid.map_or("no".to_owned(), |pid| format!("yes, process {pid}")));
    line("history", format!("{} entries in {} changes", status.entries, status.changes));
    line(
        "members",
        if status.alone { format!("{}, nobody else so far", status.members) } else { status.members.to_string() },
    );
    line("digest", status.digest.clone());
    line("heads", format!("{} ({})", status.heads_digest, status.heads.len()));
    if status.incomplete {
        line("incomplete", "some changes wait for others that have not come yet".to_owned());
    }
    if let Some(reason) = &status.read_only {
        line("read-only", reason.clone());
    }
    for equivocator in &status.equivocators {
        let name = equivocator.name.as_deref().map_or_else(String::new, |name| format!(" ({})", printable(name)));
        line("equivocator", format!("{}{name}: proven to have forked its own chain", equivocator.key));
    }
    if let Some(relay) = &status.relay {
        line("relay", self::relay(relay));
        if relay.connected {
            line("carries", carried(relay));
        }
    }
    out
}

/// How it stands with a relay, in one line.
pub fn relay(relay: &RelayStatus) -> String {
    let state = match (relay.connected, relay.in_sync) {
        (true, true) => "connected, in sync",
        (true, false) => "connected, catching up",
        (false, _) => "not connected",
    };
    match &relay.problem {
        Some(problem) => format!("{}: {state} ({})", relay.url, printable(problem)),
        None => format!("{}: {state}", relay.url),
    }
}

/// Which groups a relay carries, in one line.
pub fn carried(relay: &RelayStatus) -> String {
    let mut names: Vec<String> = relay
        .carried
        .iter()
        .take(MAX_NAMED_GROUPS)
        .map(|carried| format!("{} ({})", printable(&carried.name), short(&carried.group)))
        .collect();
    let more = (relay.carried_total.max(relay.carried.len() as u64)).saturating_sub(names.len() as u64);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    if names.is_empty() { "no group".to_owned() } else { names.join(", ") }
}

/// The members for people.
pub fn peers(peers: &Peers) -> String {
    let mut out = String::new();
    for member in &peers.members {
        let name = member.name.as_deref().map_or_else(|| "(no name)".to_owned(), printable);
        let _ = write!(out, "{name:<20} {}  {:>6} changes", short(&member.key), member.seq);
        if member.seq > 0 {
            let _ = write!(out, ", last {}", time(member.time_ms));
        }
        if member.this_node {
            out.push_str("  (this node)");
        }
        if member.equivocator {
            out.push_str("  (!) forked its own chain");
        }
        out.push('\n');
    }
    if let Some(relay) = &peers.relay {
        let _ = writeln!(out, "relay {}", self::relay(relay));
    }
    out
}

/// An accepted note for people.
pub fn accepted(accepted: &Accepted) -> String {
    let line = entry_line(&accepted.entry, true);
    if accepted.running {
        line
    } else {
        format!("{line}\nThe node is stopped: this is on disk and will be sent at the next run.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{202e}d"), "a\\u{1b}[2Jb\\u{d}\\nc\\u{202e}d");
        assert_eq!(printable("grüße 🙂"), "grüße 🙂");
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(951_782_399_000), "2000-02-28 23:59:59");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(time(4_107_542_399_999), "2100-02-28 23:59:59");
        assert_eq!(time(4_107_542_400_000), "2100-03-01 00:00:00");
    }
}
