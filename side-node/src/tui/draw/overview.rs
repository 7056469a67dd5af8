//! How it stands, in words, and beside it what changes over time.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};

use super::parts::fact;
use super::theme::Theme;
use crate::daemon::glance::Glance;
use crate::daemon::view::Document;
use crate::output::{self, printable, short};
use crate::tui::state::State;

/// Room that a plot needs to say anything.
const PLOT: (u16, u16) = (24, 6);
/// Columns of the words beside the plots.
const WORDS: u16 = 46;
/// Most sealers to be whose votes have a line, those of the highest epochs: more than that are people who do not agree, and the rest would push out what else there is to say.
const MAX_VOTES: usize = 3;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, glance: &Glance, theme: Theme) {
    let beside = area.width >= WORDS + PLOT.0;
    let words = facts(glance, theme);
    let (text, plots) = if beside {
        let [text, plots] = Layout::horizontal([Constraint::Length(WORDS), Constraint::Fill(1)]).areas(area);
        (text, plots)
    } else {
        let needed = (words.len() as u16).min(area.height);
        let [text, plots] = Layout::vertical([Constraint::Length(needed), Constraint::Fill(1)]).areas(area);
        (text, plots)
    };
    frame.render_widget(Paragraph::new(words), text);
    let room = usize::from(plots.height / PLOT.1).min(3);
    if plots.width < PLOT.0 || room == 0 {
        return;
    }
    let rows = Layout::vertical(vec![Constraint::Fill(1); room]).split(plots);
    let start = state.series.samples.back().map_or(0, |sample| sample.time_ms);
    let ago = |time: u64| -(start.saturating_sub(time) as f64 / 1_000.0);
    let samples = &state.series.samples;
    let changes: Vec<(f64, f64)> = samples.iter().map(|sample| (ago(sample.time_ms), sample.changes)).collect();
    let sealed: Vec<(f64, f64)> = samples.iter().map(|sample| (ago(sample.time_ms), sample.sealed)).collect();
    let latencies: Vec<(f64, f64)> =
        state.series.latencies.iter().map(|latency| (latency.height as f64, latency.median_ms as f64)).collect();
    let plots = [
        ("seal latency, ms by block", latencies, "block ", Color::Magenta),
        ("changes a second", changes, "s", Color::Cyan),
        ("sealed transactions a second", sealed, "s", Color::Green),
    ];
    for ((title, points, unit, color), row) in plots.into_iter().zip(rows.iter()) {
        plot(frame, *row, title, &points, unit, theme.paint(color));
    }
}

fn plot(frame: &mut Frame<'_>, area: Rect, title: &str, points: &[(f64, f64)], unit: &str, color: Color) {
    let block = Block::bordered();
    let [(first, _), .., (last, now)] = points else {
        let block = block.title(format!(" {title} "));
        frame.render_widget(Paragraph::new(" not enough seen yet").block(block), area);
        return;
    };
    let most = points.iter().map(|(_, y)| *y).fold(0.0, f64::max).max(1.0);
    let label = |x: f64| if unit == "s" { format!("{x:.0} s") } else { format!("{unit}{x:.0}") };
    let data = Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(color).data(points);
    let chart = Chart::new(vec![data])
        .block(block.title(format!(" {title}: {} ", number(*now))))
        .x_axis(Axis::default().bounds([*first, last.max(first + 1.0)]).labels([label(*first), label(*last)]))
        .y_axis(Axis::default().bounds([0.0, most]).labels(["0".to_owned(), number(most)]));
    frame.render_widget(chart, area);
}

fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn facts(glance: &Glance, theme: Theme) -> Vec<Line<'static>> {
    let status = &glance.status;
    let mut lines = Vec::new();
    let mut trouble = |label: &str, text: String| {
        lines
            .push(Line::from(vec![Span::styled(format!("{label:<11}"), theme.bad()), Span::styled(text, theme.bad())]));
    };
    // What is wrong stands first: it is all that a small terminal shows.
    if let Some(reason) = &status.read_only {
        trouble("read-only", printable(reason));
    }
    for one in &status.equivocators {
        let name = one.name.as_deref().map_or_else(|| short(&one.key).to_owned(), printable);
        trouble("forked", format!("{name}: proven to have forked its chain"));
    }
    for one in &status.offences {
        trouble(
            "offence",
            format!(
                "{}: {}",
                output::who(&one.who),
                one.offence.as_deref().map_or_else(|| "offence".to_owned(), printable)
            ),
        );
    }
    lines.push(fact("node", format!("{} ({})", printable(&status.node), short(&status.key)), theme));
    lines.push(fact("group", format!("{} ({})", printable(&status.group_name), short(&status.group)), theme));
    let upto = match status.final_height {
        Some(height) => format!("final up to {height}"),
        None => format!("held up to {}", status.held_height),
    };
    lines.push(fact("block", format!("{}, {upto}", status.height), theme));
    lines.push(fact("pending", format!("{} changes", status.pending), theme));
    let sealers: Vec<String> = status.sealers.iter().map(output::who).collect();
    lines.push(fact("sealed by", sealers.join(", "), theme));
    lines.push(fact(
        "mode",
        format!("{}, epoch {}, every {} ms", status.mode, status.epoch, status.interval_ms),
        theme,
    ));
    lines.push(fact(
        "voters",
        format!("{}, {} hold a block for it to stay", status.voters.len(), status.quorum),
        theme,
    ));
    for votes in status.sealer_votes.iter().take(MAX_VOTES) {
        let (who, have) = (output::who(&votes.who), votes.by.len());
        lines.push(fact("votes", format!("{who} in epoch {}: {have} of {}", votes.epoch, votes.needed), theme));
    }
    let up = glance.peers.links.iter().filter(|link| link.connected).count();
    lines.push(fact("links", format!("{up} of {} stand", glance.peers.links.len()), theme));
    lines.push(fact("members", status.members.to_string(), theme));
    lines.push(fact("history", format!("{} entries, {} changes", status.entries, status.changes), theme));
    if status.document == Document::Incomplete {
        let far = status.backfill.map_or_else(String::new, |it| format!(": {} of {} changes", it.have, it.want));
        lines.push(fact("document", format!("incomplete{far}"), theme));
    }
    lines.push(fact("heads", format!("{} ({})", short(&status.heads_digest), status.heads.len()), theme));
    lines.push(fact("state", short(&status.state_root), theme));
    if let Some(relay) = &status.relay {
        let how = if relay.connected { "connected" } else { "not connected" };
        lines.push(fact("relay", format!("{how}, {}", printable(&crate::config::without_password(&relay.url))), theme));
    }
    for other in status.groups.iter().filter(|other| other.group != status.group) {
        lines.push(fact("also in", output::brief(other), theme));
    }
    lines
}
