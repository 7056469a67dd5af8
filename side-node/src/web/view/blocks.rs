//! The last blocks, newest first, each with what it sealed; and how many changes each has, as bars.

use maud::{Markup, html};

use super::{Colours, empty, stage, text};
use crate::daemon::glance::{Glance, GlanceBlock};
use crate::daemon::view::Line;
use crate::output;

/// From a bar to the next, and how wide one is.
const STEP: usize = 10;
const BAR: usize = 7;
/// How high the highest is.
const HIGH: u64 = 40;

/// Most transactions of a block on the page; the commands have them all.
const MAX_SHOWN: usize = 24;

/// The blocks.
pub(super) fn blocks(glance: &Glance, colours: &Colours<'_>) -> Markup {
    let node = &glance.status.node;
    html! {
        section.card #blocks aria-labelledby="blocks-name" {
            div.bar {
                h2 #blocks-name { "Blocks" }
                @if glance.blocks.len() > 1 { (bars(&glance.blocks)) }
            }
            @if glance.blocks.is_empty() {
                (empty("No block yet: the first one seals what is written first.", &[format!("side-node note {node} \"hello\"")]))
            } @else {
                ol.blocks.tall #blocks-scroll tabindex="0" aria-label="Blocks, newest first" {
                    @for block in glance.blocks.iter().rev() { (one(block, colours)) }
                }
            }
        }
    }
}

fn one(block: &GlanceBlock, colours: &Colours<'_>) -> Markup {
    let line = &block.block;
    let shown = &block.transactions[..block.transactions.len().min(MAX_SHOWN)];
    let held = line.holders >= line.quorum;
    let state = if block.is_final {
        "final"
    } else if held {
        "held"
    } else {
        "sealed"
    };
    html! {
        li id={ "block-" (line.height) } {
            details id={ "details-" (line.height) } {
                summary {
                    span.number { span.sr { "Block " } (text::number(line.height)) }
                    span.what {
                        (text::count(line.changes, "change", "changes"))
                        @if let Some(sealer) = &line.sealer { " by " (colours.who(sealer)) }
                    }
                    span.when { (text::time(line.time_ms)) }
                    span class={ "badge " (if state == "sealed" { "pending" } else { state }) } {
                        @if block.is_final { "final" } @else { "held " (line.holders) " of " (line.voters) }
                    }
                }
                div.inside {
                    dl.facts {
                        div { dt { "Block" } dd { (text::whole_id(&line.block)) } }
                        div { dt { "State" } dd { (text::whole_id(&line.state_root)) } }
                        div { dt { "Sealed" } dd {
                            (output::time(line.time_ms)) " UTC, in epoch " (line.epoch) " under set " (line.set) " of the voters; "
                            (line.quorum) " of " (line.voters) " hold it for it to stay"
                        } }
                    }
                    @if block.transactions.is_empty() {
                        p.none { @if block.transactions_total == 0 { "No transaction." } @else { "Its transactions are not here." } }
                    } @else {
                        table {
                            thead { tr { th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "Change" } } }
                            tbody { @for line in shown { (transaction(line, colours)) } }
                        }
                        @if block.transactions_total > shown.len() as u64 {
                            p.more { "and " (text::number(block.transactions_total - shown.len() as u64)) " more" }
                        }
                    }
                }
            }
        }
    }
}

fn transaction(line: &Line, colours: &Colours<'_>) -> Markup {
    let said = match (&line.entry.body, line.entry.kind.as_str()) {
        // Cut before it is looked at: a note may be long, and there are many.
        (serde_json::Value::String(note), "note") => text::cut(note),
        _ => output::body(line, line.about.as_deref()),
    };
    let (class, word) = stage(line.standing.status);
    html! {
        tr {
            th scope="row" { (colours.named(&line.entry.author.to_string(), line.entry.name.as_deref())) }
            td {
                span.say { (text::cut(said.strip_prefix("* ").unwrap_or(&said))) }
                @if let Some(reason) = &line.standing.reason_text {
                    span.aside { span class={ "badge " (class) } { (word) } " " (text::cut(reason)) }
                }
            }
            td { (text::id(&line.entry.id.to_string())) }
        }
    }
}

/// How many changes each block has.
fn bars(blocks: &[GlanceBlock]) -> Markup {
    let most = blocks.iter().map(|block| block.block.changes).max().unwrap_or(0).max(1);
    let width = blocks.len() * STEP;
    let first = blocks.first().map_or(0, |block| block.block.height);
    let last = blocks.last().map_or(0, |block| block.block.height);
    html! {
        svg.bars width=(width) height=(HIGH) viewBox=(format!("0 0 {width} {HIGH}")) role="img" aria-labelledby="bars-title" focusable="false" {
            title #bars-title { "Changes of each block, " (text::number(first)) " to " (text::number(last)) "; at most " (text::number(most)) }
            @for (at, block) in blocks.iter().enumerate() {
                @let high = (block.block.changes.saturating_mul(HIGH - 2) / most).max(2);
                rect class={ @if block.is_final || block.block.holders >= block.block.quorum { "bar-held" } @else { "bar-open" } }
                    x=(at * STEP) y=(HIGH - high) width=(BAR) height=(high) rx="1.5" {
                    title { "Block " (text::number(block.block.height)) ": " (text::count(block.block.changes, "change", "changes")) }
                }
            }
        }
    }
}
