//! Members, and the ways to other nodes.

use maud::{Markup, html};

use super::{Colours, MAX_ROWS, badge, empty, more, text, top};
use crate::daemon::glance::Glance;
use crate::daemon::view::LinkStatus;

/// Members and connections.
pub(super) fn people(glance: &Glance, colours: &Colours<'_>) -> Markup {
    let status = &glance.status;
    let members = &glance.peers.members;
    let all = usize::try_from(status.members).unwrap_or(usize::MAX);
    html! {
        section.card #people aria-labelledby="people-name" {
            div.bar { h2 #people-name { "Members" } p.more { (text::number(status.members)) " have written" } }
            table {
                thead { tr { th scope="col" { "Member" } th.num scope="col" { "Changes" } th scope="col" { "Last" } } }
                tbody {
                    @for member in members.iter().take(MAX_ROWS) {
                        tr {
                            th scope="row" {
                                (colours.named(&member.key, member.name.as_deref()))
                                span.aside { (text::id(&member.key)) " " (top::marks(&member.key, status, member.equivocator)) }
                            }
                            td.num { (text::number(member.seq)) }
                            td { @if member.time_ms > 0 { (text::time(member.time_ms)) } @else { "never" } }
                        }
                    }
                }
            }
            (more(members.len(), members.len().max(all), "side-node peers", &status.node))
            @if status.alone {
                (empty("Nobody else is here yet. On this machine, and from another one:", &[
                    "side-node init node2 && side-node run node2".to_owned(),
                    format!("side-node invite {}", status.node),
                ]))
            }
            h3 { "Connections" }
            @if status.peers.is_empty() && status.relay.is_none() {
                (empty("No other node is known. Nodes of one folder find each other; others come by an invitation.", &[]))
            } @else {
                (links(glance, colours))
            }
        }
    }
}

fn links(glance: &Glance, colours: &Colours<'_>) -> Markup {
    let status = &glance.status;
    let relay = status
        .relay
        .as_ref()
        .filter(|relay| !status.peers.iter().any(|link| link.transport == "relay" && link.address == relay.url));
    html! {
        table {
            thead { tr { th scope="col" { "To" } th scope="col" { "Stands" } th.num scope="col" { "There and back" } } }
            tbody {
                @for link in status.peers.iter().take(MAX_ROWS) { (row(link, colours)) }
                @if let Some(relay) = relay {
                    tr {
                        th scope="row" { "relay" span.aside { (text::cut(&relay.url)) } }
                        td {
                            @if relay.connected { (badge("good", if relay.in_sync { "in step" } else { "catching up" })) }
                            @else { (badge("plain", "not there")) }
                            @if let Some(problem) = &relay.problem { span.aside { (text::cut(problem)) } }
                        }
                        td.num { "–" }
                    }
                }
            }
        }
    }
}

fn row(link: &LinkStatus, colours: &Colours<'_>) -> Markup {
    html! {
        tr {
            th scope="row" {
                @match &link.key { Some(key) => (colours.named(key, link.name.as_deref())), None => (text::name(&link.transport)) }
                span.aside { (text::name(&link.transport)) " " (text::name(&link.address)) }
            }
            td {
                @if !link.connected { (badge("plain", "not there")) }
                @else if link.in_sync && link.blocks_missing == 0 { (badge("good", "in step")) }
                @else { (badge("pending", "catching up")) }
                @if link.changes_behind > 0 { span.aside { (text::count(link.changes_behind, "change", "changes")) " to send" } }
                @if link.blocks_missing > 0 { span.aside { (text::count(link.blocks_missing, "block", "blocks")) " to fetch" } }
                @if let Some(problem) = &link.problem { span.aside { (text::cut(problem)) } }
            }
            td.num { @match link.round_trip_ms { Some(ms) => { (format!("{ms:.1}")) " ms" }, None => "–" } }
        }
    }
}
