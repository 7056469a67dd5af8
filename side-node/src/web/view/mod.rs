//! What a group looks like: a value in, HTML out. Nothing here waits, asks or keeps anything.
//!
//! ```text
//!  ┌ groups ─────────────────────────── live ┐     Each name is a part with an element of that id; a part is replaced when it changes.
//!  │ head, trouble, tiles                    │     `graph` draws what `changes` says in a table.
//!  │ graph ── layout                         │
//!  │ changes, blocks │ seal, people,         │
//!  │                 │ balances, swaps       │
//!  └ news: said to whoever does not see ─────┘
//! ```
//! Names, notes and whatever else members write are strangers' texts. They are put in by maud, which escapes them, after [`text`] has taken out what could
//! turn a line around and has cut them to a length. Nothing is ever put in unescaped.

mod blocks;
mod changes;
mod graph;
mod layout;
mod ledger;
mod people;
#[cfg(test)]
pub(super) mod samples;
mod seal;
#[cfg(test)]
mod tests;
mod text;
mod top;

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets;
use crate::daemon::glance::Glance;
use crate::daemon::groups::GroupBrief;
use crate::daemon::view::{Stage, Who};
use crate::error::CommandError;

/// How many colours there are for lanes; further members share them.
const LANE_COLOURS: usize = 8;

/// Most rows of a table of members, accounts or voters: a group of thousands has them in the commands.
const MAX_ROWS: usize = 100;

/// A part of a page that is replaced when it changes.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The id of its element.
    pub(super) id: &'static str,
    /// The element.
    pub(super) html: Arc<str>,
}

impl Part {
    fn new(id: &'static str, markup: Markup) -> Self {
        Self { id, html: markup.into_string().into() }
    }
}

/// All parts of the page of a group.
pub(super) fn parts(glance: &Glance, groups: &[GroupBrief]) -> Vec<Part> {
    let colours = Colours::of(glance);
    vec![
        Part::new("groups", top::groups(groups, &glance.status.group)),
        Part::new("head", top::head(&glance.status)),
        Part::new("trouble", top::trouble(glance)),
        Part::new("tiles", top::tiles(glance)),
        Part::new("graph", graph::graph(&glance.graph, &glance.status.node)),
        Part::new("changes", changes::changes(&glance.graph, &glance.status.node)),
        Part::new("blocks", blocks::blocks(glance, &colours)),
        Part::new("seal", seal::seal(&glance.status, &colours)),
        Part::new("people", people::people(glance, &colours)),
        Part::new("balances", ledger::balances(glance, &colours)),
        Part::new("swaps", ledger::swaps(glance, &colours)),
        Part::new("news", top::news(glance)),
    ]
}

/// That a group cannot be shown now: stands where the warnings are, over the last picture.
pub(super) fn trouble(error: &CommandError) -> Part {
    Part::new("trouble", html! { div #trouble { (sorry(error)) } })
}

/// A whole page about the group with this id, which the node calls `alias`.
pub(super) fn page(alias: &str, group: &str, parts: &[Part]) -> Markup {
    let part = |id: &str| PreEscaped(parts.iter().find(|part| part.id == id).map_or("", |part| &*part.html));
    let body = html! {
        a.skip href="#main" { "Skip to the group" }
        header.top {
            a.brand href="/" { (mark()) span { "Side" } }
            (part("groups"))
            p.live #live data-state="still" { span.dot aria-hidden="true" {} span.word { "as of now; reload for news" } }
        }
        main #main tabindex="-1" data-events=(format!("/g/{group}/events")) {
            (part("head"))
            (part("trouble"))
            (part("tiles"))
            (part("graph"))
            div.columns {
                div.column { (part("changes")) (part("blocks")) }
                div.column { (part("seal")) (part("people")) (part("balances")) (part("swaps")) }
            }
        }
        footer.foot {
            p { "Read-only, from this node alone, at this machine alone. The same in a terminal: " code { "side-node status" } }
        }
        (part("news"))
    };
    document(&format!("{} · Side", text::name(alias)), body)
}

/// A page that says what is wrong.
pub(super) fn failure(error: &CommandError) -> Markup {
    let body = html! {
        header.top { a.brand href="/" { (mark()) span { "Side" } } }
        main #main { h1 { "This cannot be shown" } (sorry(error)) p { a href="/" { "To the node’s default group" } } }
    };
    document("Side", body)
}

fn sorry(error: &CommandError) -> Markup {
    html! {
        div.alert.bad role="alert" {
            p { strong { "This is not up to date. " } (text::cut(error.message())) }
            @if let Some(hint) = error.next_step() { p.next { (text::cut(hint)) } }
        }
    }
}

fn document(title: &str, body: Markup) -> Markup {
    let edition = assets::edition();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href={ "/assets/mark.svg?" (edition) } type="image/svg+xml";
                link rel="stylesheet" href={ "/assets/page.css?" (edition) };
                script src={ "/assets/page.js?" (edition) } defer {}
            }
            body { (body) }
        }
    }
}

/// The mark: lanes, and a cut through them.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 28 28" width="28" height="28" aria-hidden="true" focusable="false" {
            path.lane.l0 d="M3 7h22" {}
            path.lane.l1 d="M3 14h22" {}
            path.lane.l2 d="M3 21h22" {}
            path.cut d="M18.5 2v24" {}
            circle.l0 cx="8" cy="7" r="2.8" {}
            circle.l1 cx="13" cy="14" r="2.8" {}
            circle.l2 cx="9" cy="21" r="2.8" {}
            circle.l1 cx="24" cy="14" r="2.8" {}
        }
    }
}

/// Which colour a member has, everywhere on the page: that of its lane.
struct Colours<'a>(BTreeMap<&'a str, usize>);

impl<'a> Colours<'a> {
    fn of(glance: &'a Glance) -> Self {
        Self(glance.graph.lanes.iter().enumerate().map(|(at, lane)| (lane.who.key.as_str(), at)).collect())
    }

    /// A member with its colour.
    fn who(&self, who: &Who) -> Markup {
        self.named(&who.key, who.name.as_deref())
    }

    /// The same of a key and a name.
    fn named(&self, key: &str, name: Option<&str>) -> Markup {
        let colour = match self.0.get(key) {
            Some(lane) => lane_class(*lane),
            None => "none",
        };
        html! { span.who title=(key) { span class={ "swatch " (colour) } aria-hidden="true" {} (called(key, name)) } }
    }
}

fn lane_class(lane: usize) -> &'static str {
    ["l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7"][lane % LANE_COLOURS]
}

/// What a key is called, or its beginning.
fn called(key: &str, name: Option<&str>) -> Markup {
    match name {
        Some(name) => html! { span.name { (text::name(name)) } },
        None => text::id(key),
    }
}

/// A few words in a frame of their own.
fn badge(kind: &str, words: &str) -> Markup {
    html! { span class={ "badge " (kind) } { (words) } }
}

/// The class of a stage, and its word.
fn stage(stage: Stage) -> (&'static str, &'static str) {
    match stage {
        Stage::Pending => ("pending", "pending"),
        Stage::Sealed => ("sealed", "sealed"),
        Stage::Final => ("final", "final"),
        Stage::Rejected => ("rejected", "rejected"),
    }
}

/// Where there is nothing yet: why, and what to type.
fn empty(why: &str, commands: &[String]) -> Markup {
    html! {
        div.empty {
            p { (why) }
            @for command in commands { pre.type { code { (command) } } }
        }
    }
}

/// That a table of these rows shows the first [`MAX_ROWS`] of so many in all, and which command has them.
fn more(rows: usize, all: usize, command: &str, node: &str) -> Markup {
    html! {
        @if rows > MAX_ROWS { p.more { (MAX_ROWS) " of " (all) ": " code { (command) " " (node) } } }
    }
}
