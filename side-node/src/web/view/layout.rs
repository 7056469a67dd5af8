//! Where everything of the graph stands: lanes from top to bottom, changes from left to right, and the blocks' cuts between them.
//!
//! The columns follow the blocks: what a block seals stands to the left of its cut and what it does not to the right, so that every cut is one straight line
//! through all lanes. That is an order in which causes come before effects, since a block seals everything that a change of its was made upon. Within a
//! block a change stands one column after the latest that it was made upon, so those that were written at the same time stand below each other.

use std::collections::BTreeMap;

use crate::daemon::glance::{Graph, GraphChange};

/// From a column to the next, at least and at most: a short history is spread over the width of a screen.
const COLUMN: u32 = 34;
const WIDE_COLUMN: u32 = 76;
/// The width that a short history is spread over.
const SPREAD: u32 = 1040;
/// What a cut takes between two columns.
const CUT: u32 = 14;
/// From a lane to the next.
const LANE: u32 = 40;
/// What each further branch of a forked chain takes.
const BRANCH: u32 = 26;
/// Branches that get a row of their own; an author with more of them shows the rest on the last one.
const MAX_BRANCHES: usize = 3;
/// Room above the lanes, for the blocks' heights.
const ABOVE: u32 = 26;
/// Room on the left and on the right.
const BESIDE: u32 = 26;

/// A point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) x: u32,
    pub(super) y: u32,
}

/// A lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The middle of its first branch.
    pub(super) y: u32,
    /// Where it begins.
    pub(super) top: u32,
    /// How high it is.
    pub(super) height: u32,
}

/// What a block has sealed of what is shown, or what no block has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Band {
    /// The block's height; nothing for what no block seals yet.
    pub(super) height: Option<u64>,
    /// From where to where.
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Where everything stands.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rows: Vec<Row>,
    /// Of each change.
    pub(super) points: Vec<Point>,
    pub(super) bands: Vec<Band>,
}

impl Layout {
    pub(super) fn of(graph: &Graph) -> Self {
        let (branches, widths) = branches(graph);
        let mut top = ABOVE;
        let rows: Vec<Row> = widths
            .iter()
            .map(|branches| {
                let height = LANE + BRANCH * u32::try_from(branches.saturating_sub(1)).unwrap_or(0);
                let row = Row { y: top + LANE / 2, top, height };
                top += height;
                row
            })
            .collect();
        let close = columns(graph, &branches, COLUMN).0;
        let many = close.iter().collect::<std::collections::BTreeSet<_>>().len().max(1);
        let column = (SPREAD / u32::try_from(many).unwrap_or(u32::MAX)).clamp(COLUMN, WIDE_COLUMN);
        let (columns, bands, width) = columns(graph, &branches, column);
        let point = |(at, change): (usize, &GraphChange)| Point {
            x: columns[at],
            y: rows.get(change.lane).map_or(ABOVE, |row| row.y) + BRANCH * u32::try_from(branches[at]).unwrap_or(0),
        };
        let points = graph.changes.iter().enumerate().map(point).collect();
        Self { width, height: top + BESIDE / 2, rows, points, bands }
    }
}

/// On which branch of its author's chain each change is, and how many branches each lane shows. More than one is a fork.
fn branches(graph: &Graph) -> (Vec<usize>, Vec<usize>) {
    // The last change of each branch of each lane.
    let mut tips: Vec<Vec<usize>> = vec![Vec::new(); graph.lanes.len()];
    let mut branch_of = Vec::with_capacity(graph.changes.len());
    for (at, change) in graph.changes.iter().enumerate() {
        let Some(tips) = tips.get_mut(change.lane) else {
            branch_of.push(0);
            continue;
        };
        let goes_on = tips.iter().position(|tip| change.parents.contains(tip));
        // A chain whose beginning is not shown goes on where its number says so.
        let goes_on = goes_on.or_else(|| {
            let before = |tip: &usize| graph.changes[*tip].seq < change.seq && !change.forked;
            tips.iter().position(before)
        });
        let branch = goes_on.unwrap_or(tips.len()).min(MAX_BRANCHES - 1);
        match tips.get_mut(branch) {
            Some(tip) => *tip = at,
            None => tips.push(at),
        }
        branch_of.push(branch);
    }
    (branch_of, tips.iter().map(|tips| tips.len().max(1)).collect())
}

/// The x of each change, the bands, and the whole width.
fn columns(graph: &Graph, branches: &[usize], column: u32) -> (Vec<u32>, Vec<Band>, u32) {
    let mut order: Vec<usize> = (0..graph.changes.len()).collect();
    // Those that no block seals come last; otherwise the order stays, in which causes come first.
    order.sort_by_key(|at| graph.changes[*at].height.unwrap_or(u64::MAX));
    let mut xs = vec![0; graph.changes.len()];
    let mut placed = vec![false; graph.changes.len()];
    let mut last_in_row: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    let mut bands: Vec<Band> = Vec::new();
    let mut start = BESIDE;
    let mut end = BESIDE;
    for at in order {
        let change = &graph.changes[at];
        match bands.last_mut() {
            Some(band) if band.height == change.height => {}
            open => {
                if let Some(band) = open {
                    band.to = end;
                    start = end + CUT;
                }
                bands.push(Band { height: change.height, from: start, to: start });
            }
        }
        let after = |x: u32| x + column;
        let first = start + column / 2;
        // Whoever sends a graph with circles gets a strange picture and no more.
        let causes =
            change.parents.iter().filter(|parent| placed.get(**parent) == Some(&true)).map(|parent| after(xs[*parent]));
        let row = (change.lane, branches[at]);
        let before = last_in_row.get(&row).map(|x| after(*x));
        let x = causes.chain(before).fold(first, u32::max);
        xs[at] = x;
        placed[at] = true;
        last_in_row.insert(row, x);
        end = end.max(x + column / 2);
    }
    if let Some(band) = bands.last_mut() {
        band.to = end;
    }
    (xs, bands, end + BESIDE)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn causes_stand_left_of_effects_and_cuts_between_them() {
        for graph in [samples::lively().graph, samples::wide(40, 256).graph] {
            let layout = Layout::of(&graph);
            for (at, change) in graph.changes.iter().enumerate() {
                for parent in &change.parents {
                    assert!(layout.points[*parent].x < layout.points[at].x, "{at} upon {parent}");
                }
                let band = layout.bands.iter().find(|band| band.height == change.height).unwrap();
                assert!(band.from < layout.points[at].x && layout.points[at].x < band.to);
                let row = &layout.rows[change.lane];
                assert!(row.top < layout.points[at].y && layout.points[at].y < row.top + row.height);
            }
            for pair in layout.bands.windows(2) {
                assert!(pair[0].to < pair[1].from, "{pair:?}");
            }
            let mut points = layout.points.clone();
            points.sort_by_key(|point| (point.x, point.y));
            points.dedup();
            assert_eq!(points.len(), layout.points.len(), "no change hides another");
            assert!(layout.points.iter().all(|point| point.x < layout.width && point.y < layout.height));
        }
    }

    #[test]
    fn bands_follow_the_blocks_in_their_order_and_what_is_not_sealed_comes_last() {
        for mut graph in [samples::lively().graph, samples::wide(40, 256).graph] {
            // Whatever order the changes are told in.
            for turned in [false, true] {
                if turned {
                    let last = graph.changes.len() - 1;
                    graph.changes.reverse();
                    graph.changes.iter_mut().for_each(|change| {
                        change.parents.iter_mut().for_each(|parent| *parent = last - *parent);
                    });
                }
                let heights: Vec<Option<u64>> = Layout::of(&graph).bands.iter().map(|band| band.height).collect();
                let mut wanted: Vec<Option<u64>> = graph.changes.iter().map(|change| change.height).collect();
                wanted.sort_by_key(|height| height.unwrap_or(u64::MAX));
                wanted.dedup();
                assert_eq!(heights, wanted, "one band a block");
            }
        }
    }

    #[test]
    fn a_forked_chain_has_a_row_for_each_branch() {
        let graph = samples::lively().graph;
        let layout = Layout::of(&graph);
        let forked: Vec<usize> = (0..graph.changes.len()).filter(|at| graph.changes[*at].forked).collect();
        assert_eq!(forked.len(), 2);
        assert_ne!(layout.points[forked[0]].y, layout.points[forked[1]].y);
        assert!(layout.rows[graph.changes[forked[0]].lane].height > layout.rows[0].height);
    }

    #[test]
    fn more_branches_than_rows_share_the_last_one_and_hide_nothing() {
        let mut graph = samples::lively().graph;
        let forked = graph.changes.iter().position(|change| change.forked).unwrap();
        for _ in 0..MAX_BRANCHES + 3 {
            graph.changes.push(graph.changes[forked].clone());
        }
        let layout = Layout::of(&graph);
        let mut points = layout.points.clone();
        points.sort_by_key(|point| (point.x, point.y));
        points.dedup();
        assert_eq!(points.len(), graph.changes.len());
    }

    #[test]
    fn nonsense_is_drawn_without_harm() {
        let mut graph = samples::lively().graph;
        let many = graph.changes.len();
        for (at, change) in graph.changes.iter_mut().enumerate() {
            change.parents = vec![at, many + 5, (at * 7) % many];
            change.lane = if at % 3 == 0 { usize::MAX } else { at % 2 };
            change.height = Some(u64::MAX - (at as u64 % 3));
        }
        let layout = Layout::of(&graph);
        assert_eq!(layout.points.len(), many);
    }
}
