//! The graph as a picture: lanes of members, changes, what they were made upon, and where blocks cut.
//!
//! It says nothing that the table of [`super::changes`] does not say too. Positions and colours come as attributes and classes, since the page's policy allows
//! no inline style.

use maud::{Markup, html};

use super::layout::{Band, Layout, Point};
use super::{called, empty, lane_class, stage, text};
use crate::daemon::glance::{Graph, GraphChange};
use crate::daemon::view::Stage;

/// Half the size of a change's mark.
const MARK: u32 = 9;
/// How far a head's ring is from its mark.
const HALO: u32 = 5;
/// How far the line goes that stands for a cause further left than the picture.
const STUB: u32 = 15;
/// From this width on a word fits above a band.
const FITTING: u32 = 60;
/// Most lines to what a change was made upon: more cannot be told apart, and the table names how many there are.
const MAX_EDGES: usize = 16;
/// Most heads that a block's line is tied to.
pub(super) const MAX_KNOTS: usize = 32;

/// The graph.
pub(super) fn graph(graph: &Graph, node: &str) -> Markup {
    html! {
        section.card #graph aria-labelledby="graph-name" {
            div.bar {
                h2 #graph-name { "Changes by member" }
                @if !graph.changes.is_empty() { (legend()) }
            }
            @if graph.changes.is_empty() {
                (empty("Nothing was written yet. Type a line into the node’s console, or:", &[format!("side-node note {node} \"hello\"")]))
            } @else {
                (picture(graph))
            }
        }
    }
}

fn picture(graph: &Graph) -> Markup {
    let layout = Layout::of(graph);
    html! {
        // No viewBox: one unit is one pixel, and where there is more room the lanes go on.
        // Begins at its right end, where the news is, without a script.
        div.scroller #graph-scroll tabindex="0" role="group" aria-label="Graph of changes, newest on the right" {
            div.lanes {
                (names(graph, &layout))
                svg.graph width=(layout.width) height=(layout.height)
                    role="img" aria-labelledby="graph-title graph-desc" focusable="false" {
                    title #graph-title { "Changes by member" }
                    desc #graph-desc { (description(graph)) " The table of changes says the same." }
                    (bands(&layout))
                    @for (at, row) in layout.rows.iter().enumerate() {
                        line class={ "rail " (lane_class(at)) } x1="0" x2="100%" y1=(row.y) y2=(row.y) {}
                    }
                    (cuts(graph, &layout))
                    @for (at, change) in graph.changes.iter().enumerate() { (edges(graph, &layout, at, change)) }
                    @for (at, change) in graph.changes.iter().enumerate() { (mark(graph, layout.points[at], change)) }
                }
            }
        }
    }
}

/// The lanes' names, as a column that stays while the picture is moved.
fn names(graph: &Graph, layout: &Layout) -> Markup {
    html! {
        svg.names width="112" height=(layout.height) aria-hidden="true" focusable="false" {
            rect.back x="0" y="0" width="112" height=(layout.height) {}
            @for (at, (lane, row)) in graph.lanes.iter().zip(&layout.rows).enumerate() {
                g class=(lane_class(at)) {
                    title { (called_plainly(graph, at)) " " (lane.who.key) }
                    circle.swatch cx="12" cy=(row.y) r="5" {}
                    text.who x="24" y=(row.y + 5) { (cut_name(graph, at)) }
                    @if lane.equivocator { text.forked x="24" y=(row.y + 21) { "forked" } }
                    @else if lane.this_node { text.you x="24" y=(row.y + 18) { "this node" } }
                }
            }
        }
    }
}

fn called_plainly(graph: &Graph, lane: usize) -> String {
    match graph.lanes.get(lane) {
        Some(lane) => lane.who.name.as_deref().map_or_else(|| text::short(&lane.who.key).to_owned(), text::name),
        None => "?".to_owned(),
    }
}

/// As much of a name as the column has room for.
fn cut_name(graph: &Graph, lane: usize) -> String {
    const ROOM: usize = 11;
    let name = called_plainly(graph, lane);
    if name.chars().count() <= ROOM {
        return name;
    }
    name.chars().take(ROOM - 1).chain(['…']).collect()
}

/// The picture in a sentence or two.
fn description(graph: &Graph) -> String {
    let heads = graph.changes.iter().filter(|change| change.head).count() as u64;
    let pending = graph.changes.iter().filter(|change| change.status == Stage::Pending).count() as u64;
    let forks = graph.lanes.iter().filter(|lane| lane.equivocator).count() as u64;
    let mut said = format!(
        "The last {} of {} in {}; {}.",
        text::count(graph.changes.len() as u64, "change", "changes"),
        text::number(graph.total),
        text::count(graph.lanes.len() as u64, "lane", "lanes"),
        text::count(heads, "head", "heads"),
    );
    if let (Some(first), Some(last)) = (graph.cuts.first(), graph.cuts.last()) {
        said.push_str(&format!(" Cut by blocks {} to {};", text::number(first.height), text::number(last.height)));
    } else {
        said.push_str(" No block cuts them yet;");
    }
    said.push_str(&format!(" {} not sealed yet.", text::count(pending, "change is", "changes are")));
    if forks > 0 {
        said.push_str(&format!(" {} forked their own chain.", text::count(forks, "member has", "members have")));
    }
    said
}

fn bands(layout: &Layout) -> Markup {
    let bottom = layout.height;
    html! {
        @for (at, band) in layout.bands.iter().enumerate() {
            @let class = match (band.height, at % 2) { (None, _) => "band open", (_, 0) => "band even", _ => "band odd" };
            rect class=(class) x=(band.from) y="0" width=(band.to - band.from) height=(bottom) rx="4" {}
            @if let Some(label) = label(band) {
                text.height x=(band.from + 6) y="16" { (label) }
            }
        }
    }
}

/// What stands above a band, if it has room.
fn label(band: &Band) -> Option<String> {
    let room = band.to - band.from;
    match band.height {
        None if room >= FITTING => Some("not sealed".to_owned()),
        None => None,
        Some(height) if room >= FITTING + 18 => Some(format!("block {}", text::number(height))),
        Some(height) => {
            let label = height.to_string();
            let needed = 10 + 8 * u32::try_from(label.len()).unwrap_or(0);
            (room >= needed).then_some(label)
        }
    }
}

/// The line of each block, and which heads it names.
fn cuts(graph: &Graph, layout: &Layout) -> Markup {
    let at_right = |band: &Band| band.to + 7;
    html! {
        @for band in layout.bands.iter().filter(|band| band.height.is_some()) {
            @let x = at_right(band);
            @if let Some(cut) = graph.cuts.iter().find(|cut| Some(cut.height) == band.height) {
                @for head in cut.heads.iter().take(MAX_KNOTS).filter_map(|head| Some((graph.changes.get(*head)?, layout.points.get(*head)?))) {
                    path class={ "named " (lane_class(head.0.lane)) } d=(format!("M{} {}H{x}", head.1.x, head.1.y)) {}
                    circle class={ "knot " (lane_class(head.0.lane)) } cx=(x) cy=(head.1.y) r="2.5" {}
                }
            }
            line.cut x1=(x) x2=(x) y1="4" y2=(layout.height - 4) {
                title { "Block " (text::number(band.height.unwrap_or_default())) }
            }
        }
    }
}

/// What a change was made upon.
fn edges(graph: &Graph, layout: &Layout, at: usize, change: &GraphChange) -> Markup {
    let to = layout.points[at];
    html! {
        @for parent in change.parents.iter().take(MAX_EDGES) {
            @if let (Some(cause), Some(from)) = (graph.changes.get(*parent), layout.points.get(*parent)) {
                @let own = cause.lane == change.lane;
                @let class = if own { "edge own" } else { "edge" };
                path class={ (class) " " (lane_class(cause.lane)) } d=(curve(*from, to)) {}
            }
        }
        @if change.parents_not_shown > 0 {
            path class={ "edge stub " (lane_class(change.lane)) } d=(format!("M{} {}H{}", to.x.saturating_sub(MARK + STUB), to.y, to.x)) {}
        }
    }
}

fn curve(from: Point, to: Point) -> String {
    if from.y == to.y {
        return format!("M{} {}H{}", from.x, from.y, to.x);
    }
    // Leaves along its lane and bends near its end, so that the lines of one cause do not lie on those of another.
    let bend = to.x.abs_diff(from.x).min(40) / 2;
    let turn = to.x.saturating_sub(bend * 2);
    format!(
        "M{} {}H{turn}C{} {} {} {} {} {}",
        from.x,
        from.y,
        turn + bend,
        from.y,
        to.x.saturating_sub(bend),
        to.y,
        to.x,
        to.y
    )
}

/// The mark of a change: round, or a diamond where its author forked its chain there.
fn mark(graph: &Graph, at: Point, change: &GraphChange) -> Markup {
    let (class, word) = stage(change.status);
    let Point { x, y } = at;
    let diamond = MARK + 2;
    html! {
        g class={ "change " (class) " " (lane_class(change.lane)) } data-change=(change.id) {
            title { (called_plainly(graph, change.lane)) " " (change.seq) ": " (text::cut(&change.summary)) " (" (word) ")" }
            @if change.head { circle.head cx=(x) cy=(y) r=(MARK + HALO) {} }
            @if change.forked {
                path.dot.fork d=(format!("M{x} {}l{diamond} {diamond}l-{diamond} {diamond}l-{diamond} -{diamond}z", y.saturating_sub(diamond))) {}
            } @else {
                circle.dot cx=(x) cy=(y) r=(MARK) {}
            }
            @if change.status == Stage::Rejected {
                path.cross d=(format!("M{} {}l8 8m0 -8l-8 8", x.saturating_sub(4), y.saturating_sub(4))) {}
            } @else if let Some(glyph) = glyph(&change.kinds) {
                text.glyph x=(x) y=(y + 4) { (glyph) }
            }
        }
    }
}

/// What kind of transaction a change holds, as a sign; a note has none.
fn glyph(kinds: &[String]) -> Option<&'static str> {
    let of = |kind: &String| match kind.as_str() {
        "transfer" => Some("→"),
        "name" => Some("@"),
        "voter.ask" => Some("?"),
        "set.close" => Some("|"),
        "note" => None,
        kind if kind.starts_with("vote.") => Some("✓"),
        kind if kind.starts_with("swap.") => Some("⇄"),
        _ => Some("·"),
    };
    kinds.iter().find_map(of)
}

fn legend() -> Markup {
    let sign = |class: &str, drawn: Markup| {
        html! { svg class={ "sign " (class) } viewBox="0 0 28 28" width="22" height="22" aria-hidden="true" focusable="false" { (drawn) } }
    };
    let dot = html! { circle.dot cx="14" cy="14" r="8" {} };
    html! {
        ul.legend aria-label="Signs of the graph" {
            li { (sign("change sealed l0", dot.clone())) "sealed" }
            li { (sign("change pending l0", dot.clone())) "not yet" }
            li { (sign("change rejected l0", html! { (dot) path.cross d="M10 10l8 8m0 -8l-8 8" {} })) "rejected" }
            li { (sign("change sealed l0", html! { circle.head cx="14" cy="14" r="12" {} circle.dot cx="14" cy="14" r="7" {} })) "head" }
            li { (sign("change sealed l0", html! { path.dot.fork d="M14 3l11 11l-11 11l-11 -11z" {} })) "fork" }
            li { (sign("", html! { line.cut x1="14" x2="14" y1="2" y2="26" {} })) "block" }
        }
    }
}

/// For the table: a lane's name with its colour.
pub(super) fn lane(graph: &Graph, lane: usize) -> Markup {
    html! {
        @match graph.lanes.get(lane) {
            Some(known) => span.who title=(known.who.key) {
                span class={ "swatch " (lane_class(lane)) } aria-hidden="true" {}
                (called(&known.who.key, known.who.name.as_deref()))
            },
            None => "?",
        }
    }
}
