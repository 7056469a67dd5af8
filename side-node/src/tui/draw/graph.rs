//! The changes as a graph: a lane a member, lines from each change to those it was made upon, and where blocks cut it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::widgets::canvas::{Canvas, Context, Line as Stroke};

use super::parts::{clock, fit, window};
use super::theme::Theme;
use crate::daemon::glance::{Glance, Graph, GraphChange};
use crate::daemon::view::Stage;
use crate::output::{self, printable, short};
use crate::tui::state::State;

/// Columns of a change.
const STEP: usize = 3;
/// Rows of a lane: its changes, and at least one that lines have for themselves; more where there is room.
const LANE: (usize, usize) = (2, 4);
/// Most columns of a name.
const NAME: u16 = 14;
/// Lines that tell of the chosen change.
const DETAILS: u16 = 4;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, glance: &Glance, theme: Theme) {
    let graph = &glance.graph;
    let Some(chosen) = state.shown_change() else {
        frame.render_widget(Paragraph::new("nobody has written yet"), area);
        return;
    };
    let details = if area.height > 2 * DETAILS { DETAILS } else { 1 };
    let [plot, legend, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(details)]).areas(area);
    let names = NAME.min(area.width / 3);
    let [left, right] = Layout::horizontal([Constraint::Length(names), Constraint::Fill(1)]).areas(plot);
    let lane_rows = (usize::from(plot.height) / graph.lanes.len().max(1)).clamp(LANE.0, LANE.1);
    let lanes_fit = (usize::from(plot.height) / lane_rows).max(1);
    let from_lane = window(graph.lanes.len(), lanes_fit, graph.changes[chosen].lane);
    let changes_fit = (usize::from(right.width) / STEP).max(1);
    let from = window(graph.changes.len(), changes_fit, chosen);
    let view = View {
        graph,
        from,
        until: (from + changes_fit).min(graph.changes.len()),
        from_lane,
        lanes_fit,
        lane_rows,
        size: right,
        chosen,
        theme,
    };
    labels(frame, left, &view);
    if !right.is_empty() {
        let canvas = Canvas::default()
            .marker(Marker::Braille)
            // So a whole number is a cell.
            .x_bounds([0.0, f64::from(right.width - 1)])
            .y_bounds([0.0, f64::from(right.height - 1)])
            .paint(|context| paint(context, &view));
        frame.render_widget(canvas, right);
    }
    let signs = Line::from(vec![
        Span::styled(" ● sealed", theme.good()),
        Span::styled("  ○ pending", theme.waits()),
        Span::raw("  ◆ head"),
        Span::styled("  ✗ forked  × rejected", theme.bad()),
        Span::styled(format!("  ┊ cut  {} of {} changes", graph.changes.len(), graph.total), theme.dim()),
    ]);
    frame.render_widget(signs, legend);
    frame.render_widget(Paragraph::new(about(graph, &graph.changes[chosen], theme)), below);
}

struct View<'a> {
    graph: &'a Graph,
    from: usize,
    until: usize,
    from_lane: usize,
    lanes_fit: usize,
    lane_rows: usize,
    size: Rect,
    chosen: usize,
    theme: Theme,
}

impl View<'_> {
    /// The column and the row of a change, which may lie outside of what is shown.
    fn cell(&self, place: usize) -> (f64, f64) {
        let column = (place as f64 - self.from as f64) * STEP as f64 + 1.0;
        let lane = self.graph.changes[place].lane;
        (column, (lane as f64 - self.from_lane as f64) * self.lane_rows as f64)
    }

    /// A cell as the canvas names it when it writes: a whole number a cell, rows from below.
    fn written(&self, (column, row): (f64, f64)) -> (f64, f64) {
        (column, f64::from(self.size.height) - 1.0 - row)
    }

    /// The middle of a cell as the canvas names it when it draws: two dots beside each other and four above each other in each cell.
    fn drawn(&self, (column, row): (f64, f64)) -> (f64, f64) {
        let scale = |cells: f64, dots: f64, at: f64| at * (cells - 1.0).max(0.0) / (cells * dots - 1.0);
        let (width, height) = (f64::from(self.size.width), f64::from(self.size.height));
        (scale(width, 2.0, column * 2.0 + 0.5), height - 1.0 - scale(height, 4.0, row * 4.0 + 1.5))
    }

    fn shows(&self, place: usize) -> bool {
        let lane = self.graph.changes[place].lane;
        (self.from..self.until).contains(&place) && (self.from_lane..self.from_lane + self.lanes_fit).contains(&lane)
    }
}

fn labels(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let width = usize::from(area.width).saturating_sub(1);
    let mut lines = Vec::new();
    for lane in view.graph.lanes.iter().skip(view.from_lane).take(view.lanes_fit) {
        let mark = if lane.equivocator { "✗ " } else { "" };
        let style = match (lane.equivocator, lane.this_node) {
            (true, _) => view.theme.bad(),
            (_, true) => view.theme.own(),
            _ => view.theme.strong(),
        };
        lines.push(Line::styled(fit(&format!("{mark}{}", output::who(&lane.who)), width), style));
        lines.extend((1..view.lane_rows).map(|_| Line::default()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn paint(context: &mut Context<'_>, view: &View<'_>) {
    let (graph, theme) = (view.graph, view.theme);
    let mut stroke = |from: (f64, f64), to: (f64, f64), color: Color| {
        let ((x1, y1), (x2, y2)) = (view.drawn(from), view.drawn(to));
        context.draw(&Stroke { x1, y1, x2, y2, color });
    };
    for place in view.from..view.until {
        let change = &graph.changes[place];
        let here = view.cell(place);
        for parent in &change.parents {
            let Some(above) = graph.changes.get(*parent) else { continue };
            let own = above.lane == change.lane;
            stroke(view.cell(*parent), here, if own { Color::Reset } else { theme.paint(Color::Blue) });
        }
        // Those it was made upon that are shown no more lie to the left.
        if change.parents_not_shown > 0 {
            stroke((0.0, here.1), here, Color::Reset);
        }
    }
    context.layer();
    cuts(context, view);
    context.layer();
    for place in (view.from..view.until).filter(|place| view.shows(*place)) {
        let change = &graph.changes[place];
        let (sign, style) = match change {
            GraphChange { forked: true, .. } => ("✗", theme.bad()),
            GraphChange { status: Stage::Rejected, .. } => ("×", theme.bad()),
            GraphChange { status: Stage::Pending, head: true, .. } => ("◆", theme.waits()),
            GraphChange { head: true, .. } => ("◆", theme.good()),
            GraphChange { status: Stage::Pending, .. } => ("○", theme.waits()),
            _ => ("●", theme.good()),
        };
        let style = if place == view.chosen { style.patch(theme.chosen()) } else { style };
        let (x, y) = view.written(view.cell(place));
        context.print(x, y, Span::styled(sign, style));
    }
}

/// A block covers, of each lane, everything up to a change: the cut stands behind the last one of those.
fn cuts(context: &mut Context<'_>, view: &View<'_>) {
    let graph = view.graph;
    let lanes = graph.lanes.len().saturating_sub(view.from_lane).min(view.lanes_fit);
    let rows = (lanes.saturating_sub(1) * view.lane_rows + 1).min(usize::from(view.size.height));
    for cut in &graph.cuts {
        let covered = |change: &GraphChange| change.height.is_some_and(|height| height <= cut.height);
        let Some(last) = graph.changes.iter().rposition(covered) else { continue };
        if !(view.from..view.until).contains(&last) {
            continue;
        }
        let column = view.cell(last).0 + 1.0;
        for row in 0..rows {
            let (x, y) = view.written((column, row as f64));
            context.print(x, y, Span::styled("┊", view.theme.dim()));
        }
    }
}

fn about(graph: &Graph, change: &GraphChange, theme: Theme) -> Vec<Line<'static>> {
    let who = graph.lanes.get(change.lane).map_or_else(|| "?".to_owned(), |lane| output::who(&lane.who));
    let stands = match (change.status, change.height) {
        (Stage::Pending, _) => "pending".to_owned(),
        (Stage::Sealed, Some(height)) => format!("sealed in block {height}"),
        (Stage::Final, Some(height)) => format!("final in block {height}"),
        (Stage::Rejected, Some(height)) => format!("rejected in block {height}"),
        (_, None) => "sealed".to_owned(),
    };
    let mut lines = vec![
        Line::from(vec![
            Span::styled(who, theme.strong()),
            Span::raw(format!(" {}  {}", change.seq, printable(&change.summary))),
        ]),
        Line::raw(format!("{}  {stands}  change {}", clock(change.time_ms), short(&change.id))),
    ];
    let upon = change.parents.len() as u64 + change.parents_not_shown;
    let kinds: Vec<String> = change.kinds.iter().map(|kind| printable(kind)).collect();
    lines.push(Line::styled(format!("made upon {upon}; holds {}", kinds.join(", ")), theme.dim()));
    if change.forked {
        lines.push(Line::styled("its author signed another change of this number", theme.bad()));
    }
    lines
}
