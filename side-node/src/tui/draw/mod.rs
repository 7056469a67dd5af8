//! From the state to cells: a function of the state alone. Small terminals get less, never a panic.

mod balances;
mod blocks;
mod graph;
mod overview;
mod parts;
mod peers;
mod swaps;
mod theme;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use self::theme::Theme;
use super::state::{State, Tab};
use crate::daemon::glance::Glance;
use crate::output::printable;

/// Narrower than this, tabs are told by number and the one that is shown by name.
const WIDE: u16 = 64;
/// What the keys mean.
const HELP: [(&str, &str); 9] = [
    ("1 … 6", "a page by its number"),
    ("Tab, Shift-Tab", "the next page, the one before"),
    ("← →", "pages; in the graph: before, after"),
    ("↑ ↓", "in lists; in the graph: lanes"),
    ("PgUp, PgDn", "ten at once"),
    ("Home, End", "first, last"),
    ("Enter", "open a block"),
    ("Esc", "back"),
    ("q", "quit"),
];

/// Draws the state.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let theme = Theme::new(state.colors);
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let [top, body, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(tabs(state, theme, top.width), top);
    match &state.glance {
        Some(glance) => page(frame, body, state, glance, theme),
        None => frame.render_widget(Paragraph::new("waiting for the node …"), body),
    }
    frame.render_widget(foot(state, theme), bottom);
    if state.help {
        help(frame, body, theme);
    }
}

fn page(frame: &mut Frame<'_>, area: Rect, state: &State, glance: &Glance, theme: Theme) {
    match state.tab {
        Tab::Overview => overview::draw(frame, area, state, glance, theme),
        Tab::Graph => graph::draw(frame, area, state, glance, theme),
        Tab::Blocks => blocks::draw(frame, area, state, glance, theme),
        Tab::Balances => balances::draw(frame, area, state, glance, theme),
        Tab::Peers => peers::draw(frame, area, state, glance, theme),
        Tab::Swaps => swaps::draw(frame, area, state, glance, theme),
    }
}

fn tabs(state: &State, theme: Theme, width: u16) -> Line<'static> {
    let mut spans = Vec::new();
    for (place, tab) in Tab::ALL.into_iter().enumerate() {
        let here = tab == state.tab;
        let text =
            if width >= WIDE || here { format!(" {} {} ", place + 1, tab.title()) } else { format!(" {} ", place + 1) };
        spans.push(Span::styled(text, if here { theme.chosen() } else { theme.dim() }));
    }
    Line::from(spans)
}

fn foot(state: &State, theme: Theme) -> Line<'static> {
    if let Some(why) = &state.lost {
        let text = format!(" the node does not answer: {}; what is shown is old ", printable(why));
        return Line::styled(text, theme.bad());
    }
    let Some(glance) = &state.glance else { return Line::default() };
    let status = &glance.status;
    let text = format!(
        " {} in {} · block {} · ? keys · q quit",
        printable(&status.node),
        printable(&status.group_name),
        status.height
    );
    Line::styled(text, theme.dim())
}

fn help(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let width = area.width.min(60);
    let height = area.height.min(HELP.len() as u16 + 2);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let lines = HELP
        .iter()
        .map(|(keys, what)| Line::from(vec![Span::styled(format!(" {keys:<16}"), theme.strong()), Span::raw(*what)]));
    frame.render_widget(Clear, place);
    let text = Paragraph::new(lines.collect::<Vec<_>>()).wrap(Wrap { trim: false });
    frame.render_widget(text.block(Block::bordered().title(" Keys ")), place);
}
