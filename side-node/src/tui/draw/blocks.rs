//! The last blocks, newest first, and one of them with its transactions.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::parts::{clock, fact, list, stage, standing};
use super::theme::Theme;
use crate::daemon::glance::{Glance, GlanceBlock};
use crate::output::{self, short};
use crate::tui::state::State;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, glance: &Glance, theme: Theme) {
    let Some(chosen) = state.shown_block() else {
        frame.render_widget(Paragraph::new("no block yet: one comes when something is written"), area);
        return;
    };
    if state.block_open {
        return open(frame, area, state, &glance.blocks[chosen], theme);
    }
    let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let title = format!("{:>7}  {:<8} {:>7} {:>5}  {:<7} {}", "height", "sealed", "changes", "trans", "held", "by");
    frame.render_widget(Line::styled(title, theme.dim()), head);
    let lines = glance.blocks.iter().rev().map(|block| line(block, theme)).collect::<Vec<_>>();
    let place = lines.len() - 1 - chosen;
    list(frame, rest, lines, Some(place), theme);
}

fn line(block: &GlanceBlock, theme: Theme) -> Line<'static> {
    let it = &block.block;
    let held = if block.is_final {
        Span::styled(format!("{:<7}", "final"), theme.good())
    } else {
        let style = if it.holders >= it.quorum { theme.good() } else { theme.waits() };
        Span::styled(format!("{:<7}", format!("{}/{}", it.holders, it.voters)), style)
    };
    let by = it.sealer.as_ref().map_or_else(|| "agreement".to_owned(), output::who);
    Line::from(vec![
        Span::raw(format!(
            "{:>7}  {} {:>7} {:>5}  ",
            it.height,
            clock(it.time_ms),
            it.changes,
            block.transactions_total
        )),
        held,
        Span::raw(format!(" {by}")),
    ])
}

fn open(frame: &mut Frame<'_>, area: Rect, state: &State, block: &GlanceBlock, theme: Theme) {
    let it = &block.block;
    let held = if block.is_final {
        "final".to_owned()
    } else {
        format!("held by {} of {}; it takes {}", it.holders, it.voters, it.quorum)
    };
    let by = it.sealer.as_ref().map_or_else(|| "agreement of the sealers".to_owned(), output::who);
    let facts = vec![
        fact("block", format!("{} ({})", it.height, it.block), theme),
        fact("sealed", format!("{} by {by}, epoch {}", output::time(it.time_ms), it.epoch), theme),
        fact("standing", held, theme),
        fact("state", it.state_root.clone(), theme),
        fact("holds", format!("{} changes, {} transactions", it.changes, block.transactions_total), theme),
    ];
    let [head, rest, below] = Layout::vertical([
        Constraint::Length((facts.len() as u16).min(area.height / 2)),
        Constraint::Fill(1),
        Constraint::Length(u16::from(area.height > 8)),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(facts), head);
    let mut lines: Vec<Line<'static>> = block
        .transactions
        .iter()
        .map(|line| {
            let text = format!(" {}", output::entry_line(line, false));
            Line::from(vec![stage(line.standing.status, theme), Span::raw(text)])
        })
        .collect();
    let chosen = state.transaction.of(lines.len());
    let more = block.transactions_total.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(Line::styled(format!("… {more} more: side-node history"), theme.dim()));
    }
    list(frame, rest, lines, (!block.transactions.is_empty()).then_some(chosen), theme);
    if let Some(line) = block.transactions.get(chosen) {
        let mut spans = standing(&line.standing, theme);
        spans.push(Span::raw(format!("  {}  {}", output::time(line.time_ms), short(&line.id.to_string()))));
        frame.render_widget(Line::from(spans), below);
    }
}
