//! What several pages draw: lists that scroll to what is chosen, and text that fits.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::theme::Theme;
use crate::daemon::view::{Stage, Standing};
use crate::output;

/// Lines of which one is chosen, scrolled so that it is seen.
pub(super) fn list(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>, chosen: Option<usize>, theme: Theme) {
    let height = usize::from(area.height);
    if height == 0 {
        return;
    }
    let from = window(lines.len(), height, chosen.unwrap_or(0));
    let shown = lines
        .into_iter()
        .enumerate()
        .skip(from)
        .take(height)
        .map(|(place, line)| if Some(place) == chosen { line.patch_style(theme.chosen()) } else { line });
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()), area);
}

/// The first of `len` entries to show where `room` fit and `chosen` is to be among them.
pub(super) fn window(len: usize, room: usize, chosen: usize) -> usize {
    let most = len.saturating_sub(room);
    (chosen + 1).saturating_sub(room).max(chosen.saturating_sub(room / 2)).min(most)
}

/// A label and what belongs to it.
pub(super) fn fact(label: &str, text: impl Into<String>, theme: Theme) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{label:<11}"), theme.dim()), Span::raw(text.into())])
}

/// At most `width` characters of a text.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

/// The sign of where a transaction or change stands.
pub(super) fn stage(stage: Stage, theme: Theme) -> Span<'static> {
    match stage {
        Stage::Pending => Span::styled("○", theme.waits()),
        Stage::Sealed => Span::styled("●", theme.good()),
        Stage::Final => Span::styled("■", theme.good()),
        Stage::Rejected => Span::styled("×", theme.bad()),
    }
}

/// The sign and the words.
pub(super) fn standing(standing: &Standing, theme: Theme) -> Vec<Span<'static>> {
    vec![stage(standing.status, theme), Span::raw(format!(" {}", output::standing(standing)))]
}

/// `12:34:56`, of a time in milliseconds since 1970.
pub(super) fn clock(time_ms: u64) -> String {
    output::time(time_ms).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A bar of `share` (0 to 1) of `width` cells, in eighths of one.
pub(super) fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * width as f64 * 8.0).round() as usize;
    // What is not nothing shows.
    let eighths = if share > 0.0 { eighths.max(1) } else { eighths };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}
