//! This node's swaps, and what comes next in the chosen one.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::parts::{fact, fit, list};
use super::theme::Theme;
use crate::daemon::glance::Glance;
use crate::output::{self, printable};
use crate::tui::state::State;

/// Lines that tell of the chosen swap.
const DETAILS: u16 = 6;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, glance: &Glance, theme: Theme) {
    if let Some(problem) = &glance.swaps_problem {
        let text = Line::styled(format!("the swaps cannot be read: {}", printable(problem)), theme.bad());
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    if glance.swaps.is_empty() {
        let text = "no swaps. Offer one: side-node htlc offer NODE --to MEMBER --amount AMOUNT";
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let details = DETAILS.min(area.height / 2);
    let [top, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(details)]).areas(area);
    let lines = glance.swaps.iter().map(|swap| {
        let (sign, style) = match (swap.done, swap.waits_for_you) {
            (true, _) => ("■", theme.dim()),
            (_, true) => ("!", theme.bad()),
            _ => ("○", theme.waits()),
        };
        Line::from(vec![
            Span::styled(format!("{sign} "), style),
            Span::raw(format!("{:<10} ", fit(&printable(&swap.id), 10))),
            Span::styled(format!("{:<14} ", fit(&output::who(&swap.with), 14)), theme.strong()),
            Span::raw(format!("{:<12} {}", fit(&printable(&swap.stage), 12), printable(&swap.summary))),
        ])
    });
    let chosen = state.swap.of(glance.swaps.len());
    list(frame, top, lines.collect(), Some(chosen), theme);
    let swap = &glance.swaps[chosen];
    let waits = if swap.waits_for_you { "this node's owner" } else { "nobody here" };
    let facts = vec![
        fact("swap", printable(&swap.id), theme),
        fact("with", output::who(&swap.with), theme),
        fact("about", printable(&swap.summary), theme),
        fact("stands", printable(&swap.stage), theme),
        fact("next", printable(&swap.next_step), theme),
        fact("waits for", waits, theme),
    ];
    frame.render_widget(Paragraph::new(facts), below);
}
