//! The changes as a table, newest first: what the graph shows, for reading.

use maud::{Markup, html};

use super::{badge, empty, graph, stage, text};
use crate::daemon::glance::{Graph, GraphChange};

/// The table.
pub(super) fn changes(graph: &Graph, node: &str) -> Markup {
    html! {
        section.card #changes aria-labelledby="changes-name" {
            div.bar {
                h2 #changes-name { "What was written" }
                @if graph.total > graph.changes.len() as u64 {
                    p.more { "the last " (graph.changes.len()) " of " (text::number(graph.total)) ": " code { "side-node history " (node) } }
                }
            }
            @if graph.changes.is_empty() {
                (empty("What members write stands here, newest first.", &[]))
            } @else {
                div.tall #changes-scroll tabindex="0" role="group" aria-label="Table of changes" {
                    // On a telephone each row is laid out in two lines, for which a browser may forget that this is a table: the roles say it again.
                    table role="table" {
                        thead role="rowgroup" {
                            tr role="row" {
                                th scope="col" role="columnheader" { "Who" }
                                th scope="col" role="columnheader" { "What" }
                                th scope="col" role="columnheader" { "Stands" }
                            }
                        }
                        tbody role="rowgroup" {
                            @for (at, change) in graph.changes.iter().enumerate().rev() { (row(graph, at, change)) }
                        }
                    }
                }
            }
        }
    }
}

fn row(graph: &Graph, at: usize, change: &GraphChange) -> Markup {
    let (class, word) = stage(change.status);
    let upon = change.parents.iter().filter(|parent| **parent != at).filter_map(|parent| graph.changes.get(*parent));
    html! {
        tr role="row" id={ "change-" (change.id) } data-change=(change.id) {
            th scope="row" role="rowheader" {
                (graph::lane(graph, change.lane))
                span.aside { (text::time(change.time_ms)) " · " span.sr { "number " } "no. " (text::number(change.seq)) }
            }
            td role="cell" {
                span.say { (text::cut(&change.summary)) }
                @if change.kinds.len() > 1 || change.kinds.first().is_some_and(|kind| kind != "note") {
                    " "
                    @for kind in change.kinds.iter().take(4) { (badge("kind", &text::name(kind))) " " }
                }
                span.aside {
                    (text::id(&change.id))
                    @if !change.parents.is_empty() || change.parents_not_shown > 0 { " upon " }
                    @for (at, parent) in upon.take(4).enumerate() { @if at > 0 { ", " } (text::id(&parent.id)) }
                    @if change.parents.len() > 4 { ", " (change.parents.len() - 4) " more" }
                    @if change.parents_not_shown > 0 {
                        @if !change.parents.is_empty() { " and " }
                        (text::number(change.parents_not_shown)) " earlier"
                    }
                }
            }
            td.stands role="cell" {
                @match change.height {
                    Some(height) => a class={ "badge " (class) } href={ "#block-" (height) } { (word) " " (text::number(height)) },
                    None => (badge(class, word)),
                }
                @if change.head { " " (badge("plain", "head")) }
                @if change.forked { " " (badge("bad", "fork")) }
            }
        }
    }
}
