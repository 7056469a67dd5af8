//! The upper end of a page: the node's groups, which one this is, what is wrong, and the figures that matter.

use maud::{Markup, html};

use super::{badge, text};
use crate::daemon::glance::Glance;
use crate::daemon::groups::GroupBrief;
use crate::daemon::view::{Document, Status, Who};

/// The groups of the node, to choose one.
pub(super) fn groups(groups: &[GroupBrief], here: &str) -> Markup {
    html! {
        nav.groups #groups aria-label="Groups of this node" {
            ul {
                @for group in groups {
                    li {
                        a href={ "/g/" (group.alias) } aria-current=[(group.group == here).then_some("page")] title=(group.group) {
                            span.name { (text::name(&group.alias)) }
                            " "
                            @match (group.running, group.height) {
                                (true, Some(height)) => span.height { span.sr { "at block " } (text::number(height)) },
                                (true, None) => {},
                                (false, _) => span.badge.bad { "does not run" },
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Which group this is, and as which node we see it.
pub(super) fn head(status: &Status) -> Markup {
    html! {
        div.head #head {
            h1 { (text::name(&status.group_name)) }
            p.sub {
                "Group " (text::id(&status.group))
                @if status.admission == "open" { " · open" } @else { " · closed" }
                " · as " strong { (text::name(&status.node)) } " sees it, key " (text::id(&status.key))
            }
        }
    }
}

/// What a person should know before anything else.
pub(super) fn trouble(glance: &Glance) -> Markup {
    let status = &glance.status;
    let nothing = status.read_only.is_none()
        && status.equivocators.is_empty()
        && status.offences.is_empty()
        && status.document == Document::Complete
        && !status.incomplete;
    html! {
        div #trouble hidden[nothing] {
            @if let Some(reason) = &status.read_only {
                div.alert.warn { p { strong { "This node only reads. " } (text::cut(reason)) } }
            }
            @if status.document == Document::Incomplete {
                div.alert.warn {
                    p {
                        strong { "The history is still coming. " }
                        "What is shown is what the others vouch for. "
                        @if let Some(far) = status.backfill {
                            (text::number(far.have)) " of " (text::number(far.want)) " changes are here."
                        }
                    }
                }
            } @else if status.incomplete {
                div.alert.warn { p { strong { "Some changes wait for others " } "that have not come yet." } }
            }
            @for equivocator in &status.equivocators {
                div.alert.bad {
                    p {
                        strong { (named(&equivocator.key, equivocator.name.as_deref())) " has forked its own chain. " }
                        "Two changes with one number are signed with its key " (text::id(&equivocator.key))
                        ": its account is frozen by the block that has seen both."
                    }
                }
            }
            @for offence in &status.offences {
                div.alert.bad {
                    p {
                        strong { (who(&offence.who)) " broke the rules of sealing: " }
                        (text::name(offence.offence.as_deref().unwrap_or("an offence"))) " in epoch " (offence.epoch)
                        " at " (offence.place) ". Voters replace it with "
                        code { "side-node vote " (status.node) " leader NODE" } "."
                    }
                }
            }
        }
    }
}

fn who(who: &Who) -> String {
    named(&who.key, who.name.as_deref())
}

fn named(key: &str, name: Option<&str>) -> String {
    name.map_or_else(|| text::short(key).to_owned(), text::name)
}

/// The figures.
pub(super) fn tiles(glance: &Glance) -> Markup {
    let status = &glance.status;
    let last = glance.blocks.last();
    let links = status.peers.iter().filter(|link| link.connected).count() as u64;
    let tile = |class: &str, label: &str, value: Markup, below: Markup| {
        html! { div class={ "tile " (class) } { dt { (label) } dd { span.value { (value) } span.below { (below) } } } }
    };
    let stays = match status.final_height {
        Some(height) => format!("final up to {}", text::number(height)),
        None if status.height == 0 => "none sealed yet".to_owned(),
        None => format!("held up to {}", text::number(status.held_height)),
    };
    let sealer = match status.sealers.as_slice() {
        [] => html! { "nobody" },
        [one] => html! { span.name { (who(one)) } },
        many => html! { (many.len()) },
    };
    let seals = if status.sealers.len() > 1 { "Sealers agree" } else { "Seals blocks" };
    html! {
        section #tiles aria-label="The group in figures" {
            dl.tiles {
                (tile("main", "Block", html! { (text::number(status.height)) }, html! {
                    (stays)
                    @if let Some(last) = last { " · " (text::time(last.block.time_ms)) }
                }))
                (tile("", "Changes", html! { (text::number(status.changes)) }, html! {
                    @if status.pending == 0 { "all sealed" } @else { (text::number(status.pending)) " not sealed yet" }
                    @if status.heads.len() > 1 { " · " (text::number(status.heads.len() as u64)) " heads" }
                }))
                (tile("", seals, sealer, html! { "epoch " (status.epoch) " · every " (interval(status.interval_ms)) " at most" }))
                (tile("", "Voters", html! { (text::number(status.voters.len() as u64)) }, html! {
                    (text::number(status.quorum)) " hold a block for it to stay"
                }))
                (tile("", "Members", html! { (text::number(status.members)) }, html! {
                    @if links == 0 { "no connection stands" } @else { (text::count(links, "connection", "connections")) }
                }))
                (tile("", "You own", html! { (text::number(glance.balances.balance)) }, html! {
                    "of " (text::number(glance.balances.supply))
                }))
            }
        }
    }
}

fn interval(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{} s", text::number(ms / 1000)) } else { format!("{} ms", text::number(ms)) }
}

/// The last thing that happened, in a sentence that is read to whoever does not see the page.
pub(super) fn news(glance: &Glance) -> Markup {
    let last = glance.graph.changes.last();
    html! {
        p.sr #news role="status" aria-live="polite" {
            "Block " (glance.status.height) ". "
            @if let Some(last) = last {
                @if let Some(lane) = glance.graph.lanes.get(last.lane) {
                    (who(&lane.who)) ": " (text::cut(&last.summary))
                }
            }
        }
    }
}

/// Marks for a member.
pub(super) fn marks(key: &str, status: &Status, equivocator: bool) -> Markup {
    html! {
        @if key == status.key { (badge("you", "this node")) }
        @if status.sealers.iter().any(|sealer| sealer.key == key) { (badge("seals", "seals")) }
        @if status.voters.iter().any(|voter| voter.who.key == key) { (badge("votes", "votes")) }
        @if equivocator { (badge("bad", "forked")) }
    }
}
