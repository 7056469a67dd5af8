//! Who owns what, as bars.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::parts::{bar, fit, list};
use super::theme::Theme;
use crate::daemon::glance::Glance;
use crate::output;
use crate::tui::state::State;

/// Columns of a name.
const NAME: usize = 16;
/// Columns of an amount: the largest number of the ledger.
const AMOUNT: usize = 16;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, glance: &Glance, theme: Theme) {
    let balances = &glance.balances;
    let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let title = format!("after block {}: {} of {} are this node's", balances.height, balances.balance, balances.supply);
    frame.render_widget(Line::styled(title, theme.dim()), head);
    let most = balances.accounts.iter().map(|account| account.balance).max().unwrap_or(0).max(1);
    let room = usize::from(area.width).saturating_sub(NAME + AMOUNT + 3);
    let lines = balances.accounts.iter().map(|account| {
        let own = account.who.key == glance.status.key;
        let style = match (account.frozen, own) {
            (true, _) => theme.bad(),
            (_, true) => theme.own(),
            _ => theme.good(),
        };
        let mark = if account.frozen { "(!) frozen" } else { "" };
        Line::from(vec![
            Span::styled(format!("{:<NAME$} ", fit(&output::who(&account.who), NAME)), theme.strong()),
            Span::raw(format!("{:>AMOUNT$} ", account.balance)),
            Span::styled(bar(account.balance as f64 / most as f64, room.saturating_sub(mark.len())), style),
            Span::styled(mark, theme.bad()),
        ])
    });
    let mut lines: Vec<Line<'static>> = lines.collect();
    let chosen = (!lines.is_empty()).then(|| state.account.of(lines.len()));
    let more = glance.accounts_total.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(Line::styled(format!("… {more} more: side-node balance"), theme.dim()));
    }
    list(frame, rest, lines, chosen, theme);
}
