//! Who writes here, and the ways to other nodes.

use std::collections::BTreeSet;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::parts::{fit, list};
use super::theme::Theme;
use crate::daemon::glance::Glance;
use crate::output::{self, printable, short};
use crate::tui::state::State;

/// Columns of a name.
const NAME: usize = 16;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, glance: &Glance, theme: Theme) {
    let peers = &glance.peers;
    let sealers: BTreeSet<&str> = glance.status.sealers.iter().map(|it| it.key.as_str()).collect();
    let voters: BTreeSet<&str> = glance.status.voters.iter().map(|it| it.who.key.as_str()).collect();
    let mut lines = Vec::new();
    lines.push(Line::styled(format!("members of {}", printable(&peers.group_name)), theme.dim()));
    for member in &peers.members {
        let name = member.name.as_deref().map_or_else(|| short(&member.key).to_owned(), printable);
        let mut roles = Vec::new();
        if member.this_node {
            roles.push("this node");
        }
        if sealers.contains(member.key.as_str()) {
            roles.push("seals");
        }
        if voters.contains(member.key.as_str()) {
            roles.push("votes");
        }
        let style = if member.this_node { theme.own() } else { theme.strong() };
        let mut spans = vec![
            Span::styled(format!("{:<NAME$} ", fit(&name, NAME)), style),
            Span::raw(format!("{:>6} changes  {}  {}", member.seq, output::time(member.time_ms), roles.join(", "))),
        ];
        if member.equivocator {
            spans.push(Span::styled("  ✗ forked", theme.bad()));
        }
        lines.push(Line::from(spans));
    }
    lines.push(Line::styled(format!("ways to other nodes: {}", peers.links.len()), theme.dim()));
    for link in &peers.links {
        let style = match (link.connected, link.in_sync) {
            (true, true) => theme.good(),
            (true, false) => theme.waits(),
            (false, _) => theme.bad(),
        };
        lines.push(Line::from(vec![
            Span::styled(if link.connected { "● " } else { "○ " }, style),
            Span::raw(output::link(link)),
        ]));
    }
    // The headings are no entries: what is chosen skips them.
    let entries = peers.members.len() + peers.links.len();
    let chosen = (entries > 0).then(|| {
        let place = state.peer.of(entries);
        if place < peers.members.len() { place + 1 } else { place + 2 }
    });
    list(frame, area, lines, chosen, theme);
}
