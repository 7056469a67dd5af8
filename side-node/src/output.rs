//! What goes to stdout: for people, or as one JSON document with `--json`. Logs and errors go to stderr.
//!
//! Names and texts come from strangers: whatever is shown to a person is freed of control characters first, so that no note can move the
//! cursor, colour the screen or forge a line.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;
use side_ledger::Entry;

use crate::daemon::groups::GroupBrief;
use crate::daemon::view::{
    Accepted, Balances, BlockLine, Blocks, Document, History, Line, LinkStatus, Peers, RelayStatus, RotationLine,
    RotationStage, SealerVotes, Stage, Standing, Status, Who,
};
use crate::error::CommandError;
use crate::net::p2p::TurnedAway;

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

/// What an entry says, in one entry. `known` is what the key is called that it is about, if that is known.
pub fn body(entry: &Entry, known: Option<&str>) -> String {
    if let Some(problem) = &entry.problem {
        return format!(
            "* {}: {} ({})",
            printable(&entry.kind),
            printable(&entry.body.to_string()),
            printable(problem)
        );
    }
    if let ("note", serde_json::Value::String(text)) = (entry.kind.as_str(), &entry.body) {
        return printable(text);
    }
    let word = |field: &str| match entry.body.get(field) {
        Some(serde_json::Value::String(text)) => printable(text),
        Some(other) => printable(&other.to_string()),
        None => "?".to_owned(),
    };
    let about = |key: Option<&serde_json::Value>| match known {
        Some(name) => printable(name),
        None => short(key.and_then(|key| key.as_str()).unwrap_or("?")).to_owned(),
    };
    // A version of these kinds that this build does not know is shown as it is.
    match (entry.version, entry.kind.as_str()) {
        (1, "name") => format!("* is called {} now", word("name")),
        (1, "transfer") => format!("* sends {} to {}", word("amount"), about(entry.body.get("to"))),
        (1, "vote.sealers") => {
            let first = entry.body.get("sealers").and_then(|sealers| sealers.get(0));
            format!("* votes for {} as the sealer, in epoch {}", about(first), word("epoch"))
        }
        (1, "vote.member") => format!("* votes for {} to be: {}", about(entry.body.get("key")), word("role")),
        (1, "vote.parameter") => format!("* votes for {} = {}", word("name"), word("value")),
        (1, "voter.ask") => "* asks to become a voter".to_owned(),
        (1, "key.rotate") => {
            let new = entry.body.get("new").and_then(|key| key.as_str()).unwrap_or("?");
            format!("* wants the key {} in the place of its own", short(new))
        }
        (1, "key.approve") => {
            let new = entry.body.get("new").and_then(|key| key.as_str()).unwrap_or("?");
            format!("* approves the key {} for {}", short(new), about(entry.body.get("old")))
        }
        (1, "set.close") => format!("* ends set {} of the voters", word("set")),
        (_, kind) => match crate::btc::swaps::view::said(entry, &about(entry.body.get("to"))) {
            Some(said) => format!("* {}", printable(&said)),
            None => format!("* {}: {}", printable(kind), printable(&entry.body.to_string())),
        },
    }
}

fn said(line: &Line) -> String {
    body(line, line.about.as_deref())
}

/// An entry as one line: `name: text`; those of this node with the beginning of their id, as a receipt.
pub fn entry_line(line: &Line, own: bool) -> String {
    let warning = if line.equivocator { " (!)" } else { "" };
    if own {
        format!("{}{warning}: {}  [{}]", author(line), said(line), short(&line.id.to_string()))
    } else {
        format!("{}{warning}: {}", author(line), said(line))
    }
}

/// Where a transaction stands, in a few words.
pub fn standing(standing: &Standing) -> String {
    let height = standing.height.unwrap_or_default();
    let held = match (standing.holders, standing.holders_of) {
        (Some(holders), Some(voters)) => format!(", held by {holders} of {voters}"),
        _ => String::new(),
    };
    match standing.status {
        Stage::Pending => "pending".to_owned(),
        Stage::Sealed => format!("sealed in block {height}{held}"),
        Stage::Final => format!("final in block {height}"),
        Stage::Rejected => {
            format!("rejected in block {height}: {}", standing.reason_text.as_deref().unwrap_or("unknown reason"))
        }
    }
}

/// That a block covers an own transaction, in one line; nothing where nobody waits for it: a note counts as soon as it is written.
pub fn standing_line(line: &Line) -> Option<String> {
    let waits = line.kind == "transfer"
        || line.kind.starts_with("vote")
        || line.kind.starts_with("key.")
        || line.standing.status == Stage::Rejected;
    waits.then(|| format!("{}  [{}]: {}", said(line), short(&line.id.to_string()), standing(&line.standing)))
}

/// A block as one line.
pub fn block_line(block: &BlockLine) -> String {
    let changes = if block.changes == 1 { "1 change".to_owned() } else { format!("{} changes", block.changes) };
    let by = block.sealer.as_ref().map_or_else(String::new, |sealer| format!(", sealed by {}", who(sealer)));
    format!("block {} ({}): {changes}{by}", block.height, short(&block.block))
}

/// Who votes for whom as the sealer of an epoch to come, and what those do who see it.
pub fn sealer_votes_line(votes: &SealerVotes, node: &str) -> String {
    let (whom, by): (String, Vec<String>) = (who(&votes.who), votes.by.iter().map(who).collect());
    let next = match votes.own {
        true => format!("the others: side-node vote NODE leader {whom}"),
        false => format!("if you agree: side-node vote {node} leader {whom}"),
    };
    format!("{whom} seals in epoch {}: {} of {} ({}); {next}", votes.epoch, by.len(), votes.needed, by.join(", "))
}

/// How far a rotation is, for people.
pub fn rotation_line(rotation: &RotationLine, node: &str) -> String {
    let (who, new) = (who(&rotation.who), short(&rotation.new));
    match rotation.stage {
        RotationStage::Written => format!("{new} for {who}: proposed, not in a block yet"),
        RotationStage::Proposed => {
            let given = format!("{new} for {who}: {} of {} approvals", rotation.approvals, rotation.needed);
            match rotation.own {
                true => format!("{given}; the others: side-node vote NODE key {who} {new}"),
                false => format!("{given}; if its owner tells you these digits: side-node vote {node} key {who} {new}"),
            }
        }
        RotationStage::Moving => format!("{new} for {who}: decided; its seat moves as the set of voters ends"),
    }
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
        let _ = writeln!(
            out,
            "{}  {}  {}  ({})",
            time(entry.time_ms),
            short(&entry.id.to_string()),
            entry_line(entry, false),
            standing(&entry.standing)
        );
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
    // A glance does not reckon it.
    if !status.digest.is_empty() {
        line("digest", status.digest.clone());
    }
    line("heads", format!("{} ({})", status.heads_digest, status.heads.len()));
    if let Some(page) = &status.page {
        line("page", page.clone());
    }
    let held = if status.height > 0 { format!(", held up to {}", status.held_height) } else { String::new() };
    let last = match status.final_height {
        Some(height) => format!(", final up to {height}"),
        None => held,
    };
    line("block", format!("{} ({}){last}; pending changes: {}", status.height, short(&status.block), status.pending));
    line("state", status.state_root.clone());
    let sealers: Vec<String> = status.sealers.iter().map(who).collect();
    line(
        "sealed by",
        format!(
            "{} ({} mode, epoch {}, every {} ms at most)",
            sealers.join(", "),
            status.mode,
            status.epoch,
            status.interval_ms
        ),
    );
    let voters: Vec<String> = status.voters.iter().map(|voter| who(&voter.who)).collect();
    line(
        "voters",
        format!(
            "{} (set {}): {}; {} hold a block for it to stay, {} choose another sealer",
            voters.len(),
            status.set,
            voters.join(", "),
            status.quorum,
            status.switch_needs
        ),
    );
    for votes in &status.sealer_votes {
        line("votes", sealer_votes_line(votes, &status.node));
    }
    for pending in &status.pending_voters {
        let verb = if pending.joins { "joins" } else { "leaves" };
        line("voters", format!("{} {verb} when the set ends", who(&pending.who)));
    }
    for rotation in &status.rotations {
        line("new key", rotation_line(rotation, &status.node));
    }
    if status.admission == "open" && status.peers.iter().any(|link| link.connected && !is_local(&link.address)) {
        line(
            "open group",
            "one person with many keys can take it over: good for development and among friends only".to_owned(),
        );
    }
    for offence in &status.offences {
        let what = offence.offence.as_deref().unwrap_or("offence");
        line(
            "offence",
            format!(
                "{} ({}): {what} in epoch {} at {}",
                who(&offence.who),
                offence.who.key,
                offence.epoch,
                offence.place
            ),
        );
    }
    if !status.may_seal {
        line(
            "careful",
            "this copy may have forgotten blocks: it seals nothing until it has learnt them and the voters have begun another epoch"
                .to_owned(),
        );
    }
    if let Some(problem) = &status.sealer_problem {
        line("sealing", printable(problem));
    }
    if status.incomplete {
        line("incomplete", "some changes wait for others that have not come yet".to_owned());
    }
    if status.document == Document::Incomplete {
        let far = status.backfill.map_or("the state is asked for".to_owned(), |backfill| {
            format!(
                "{} of {} changes are here; the state shown is what the others vouch for",
                backfill.have, backfill.want
            )
        });
        line("document", format!("incomplete: {far}"));
    }
    if let Some(reason) = &status.read_only {
        line("read-only", reason.clone());
    }
    for equivocator in &status.equivocators {
        let name = equivocator.name.as_deref().map_or_else(String::new, |name| format!(" ({})", printable(name)));
        line("equivocator", format!("{}{name}: proven to have forked its own chain", equivocator.key));
    }
    for link in status.peers.iter().filter(|link| link.transport != "relay") {
        line("peer", self::link(link));
    }
    if let Some(relay) = &status.relay {
        line("relay", self::relay(relay));
        if relay.connected {
            line("carries", carried(relay));
        }
    }
    for other in status.groups.iter().filter(|other| other.group != status.group) {
        line("also in", brief(other));
    }
    out
}

/// Whether an address is on this machine.
fn is_local(address: &str) -> bool {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A way to another node, in one line.
pub fn link(link: &LinkStatus) -> String {
    let name = link.name.as_deref().map(printable);
    let name = name.or_else(|| link.key.as_deref().map(|key| short(key).to_owned()));
    let mut out =
        format!("{} by {} at {}", name.unwrap_or_else(|| "?".to_owned()), link.transport, printable(&link.address));
    if link.connected {
        out.push_str(if link.in_sync { ": in sync" } else { ": catching up" });
        if let Some(time) = link.round_trip_ms {
            let _ = write!(out, ", {time:.1} ms");
        }
        if link.changes_behind > 0 {
            let _ = write!(out, ", {} changes to send", link.changes_behind);
        }
        if link.blocks_missing > 0 {
            let _ = write!(out, ", {} blocks missing here", link.blocks_missing);
        }
    } else {
        out.push_str(": not connected");
    }
    if let Some(problem) = &link.problem {
        let _ = write!(out, " ({})", printable(problem));
    }
    out
}

/// The last blocks for people.
pub fn blocks(blocks: &Blocks) -> String {
    let mut out = String::new();
    for block in &blocks.blocks {
        let _ = writeln!(
            out,
            "{}  {}, held by {} of {}",
            time(block.time_ms),
            block_line(block),
            block.holders,
            block.voters
        );
    }
    let _ = writeln!(out, "{} blocks in group {}", blocks.height, short(&blocks.group));
    out
}

/// Who owns what, for people.
pub fn balances(balances: &Balances) -> String {
    let mut out = format!("{} after block {}\n", balances.balance, balances.height);
    for account in &balances.accounts {
        let frozen = if account.frozen { "  (!) frozen" } else { "" };
        let _ = writeln!(out, "{:<20} {:>20}{frozen}", who(&account.who), account.balance);
    }
    let _ = writeln!(out, "{:<20} {:>20}", "in all", balances.supply);
    out
}

/// How it stands with all groups of a node; `here` is the id of the one that is marked.
pub fn briefs(groups: &[GroupBrief], here: &str) -> String {
    let mut out = String::new();
    for group in groups {
        let _ = writeln!(out, "{} {}", if group.group == here { '*' } else { ' ' }, brief(group));
    }
    out
}

/// How it stands with a group, in one line.
pub fn brief(group: &GroupBrief) -> String {
    let name = format!("{} ({})", group.alias, short(&group.group));
    match (&group.problem, group.height, group.entries, group.links) {
        (Some(problem), ..) => format!("{name}: does not run: {}", printable(problem)),
        (None, Some(height), Some(entries), Some(links)) => {
            format!("{name}: block {height}, {entries} entries, {links} link{}", if links == 1 { "" } else { "s" })
        }
        _ => name,
    }
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
    for link in peers.links.iter().filter(|link| link.transport != "relay" || !link.connected) {
        let _ = writeln!(out, "{}", self::link(link));
    }
    if let Some(relay) = &peers.relay {
        let _ = writeln!(out, "relay {}", self::relay(relay));
    }
    if let Some(turned) = peers.turned_away.filter(|turned| turned.all() > 0) {
        let _ = writeln!(out, "{}", turned_away(&turned));
    }
    out
}

/// Who was turned away at the door, for people.
fn turned_away(turned: &TurnedAway) -> String {
    let TurnedAway { silent, garbage, crowded, newcomers, refused } = *turned;
    let reasons = [
        (silent, "said nothing"),
        (garbage, "did not begin as a node does"),
        (crowded, "came while too many did"),
        (newcomers, "were newcomers and came while too many did"),
        (refused, "were newcomers and were refused"),
    ];
    let told: Vec<String> =
        reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    format!("turned away at the door: {}", told.join(", "))
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
    fn addresses_of_this_machine_are_told_from_others() {
        for local in ["127.0.0.1:9", "ws://127.0.0.1:8080", "[::1]:7", "localhost:1", "ws://localhost:80/x"] {
            assert!(is_local(local), "{local}");
        }
        for far in ["10.0.0.1:9", "ws://relay.example:80", "[2001:db8::1]:7", "", "127.0.0.1.example:1"] {
            assert!(!is_local(far), "{far}");
        }
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
