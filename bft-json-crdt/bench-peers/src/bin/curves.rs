//! What our operations cost against size, ordinary and hostile ones: a table with the growth for each tenfold, and a picture of small multiples.
//!
//! Time is CPU time of this process, which has one thread here. Where signatures are not what is asked, histories are loaded (`Replica::load`: one
//! signature for each leaf), so that the constant cost of checking does not hide how the rest grows.

use std::path::PathBuf;
use std::{env, fs};

use bench_peers::engine::{How, Random};
use bench_peers::engines::ours::{DOCUMENT, keypair, load};
use bench_peers::generate;
use bench_peers::measure::cpu;
use bench_peers::sync::Pair;
use bft_json_crdt::causality::ChangeIdx;
use bft_json_crdt::change::{Change, ChangeId, Header, MAX_DEPS, VERSION};
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::replica::{Incoming, Limits, Replica};
use bft_json_crdt::value::Value;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// What the last tenfold size may cost: n log n from 1,000 on is at most 13.4 times; the rest is caches that no longer hold it.
const GROWTH: f64 = 20.0;
/// Edits a change where changes are not the point.
const EDITS: usize = 256;
/// Branches of the author who forks.
const BRANCHES: usize = 1_000;
/// Changes handed over at a time.
const PIECE: usize = 1_024;

/// One curve: operations and milliseconds.
struct Curve {
    name: &'static str,
    about: &'static str,
    points: Vec<(usize, f64)>,
}

fn fresh() -> Replica {
    let mut replica = Replica::new(DOCUMENT, Limits::default());
    replica.tell_events(false);
    replica
}

/// Milliseconds of CPU time that something takes.
fn time<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let then = cpu();
    let result = work();
    ((cpu() - then) as f64 / 1e6, result)
}

/// How often a size is measured; the least counts, as disturbances only add.
fn repeats(size: usize) -> usize {
    match size {
        0..=1_000 => 10,
        1_001..=10_000 => 5,
        10_001..=100_000 => 2,
        _ => 1,
    }
}

fn least(size: usize, mut work: impl FnMut() -> f64) -> f64 {
    (0..repeats(size)).map(|_| work()).fold(f64::INFINITY, f64::min)
}

fn text(
    replica: &mut Replica,
    key: &Keypair,
    edits: &mut dyn FnMut(&mut dyn FnMut(usize, usize, &str), usize),
) -> Change {
    let written = replica.transact(key, 0, |tx| {
        let text = tx.child(ContainerIdx::ROOT, "body", Kind::Text).expect("the root takes it");
        let len = tx.document().len(text);
        let mut edit = |at: usize, deleted: usize, inserted: &str| {
            if deleted > 0 {
                tx.text_delete(text, at, deleted).expect("within the text");
            }
            if !inserted.is_empty() {
                tx.text_insert(text, at, inserted).expect("within the text");
            }
        };
        edits(&mut edit, len);
    });
    written.expect("it can be written").0
}

/// Everything that a replica holds, as it would be handed over.
fn log(replica: &Replica) -> Vec<Incoming> {
    replica.log(ChangeIdx(0)).map(|(_, incoming)| incoming).collect()
}

/// The time to load changes, piece by piece.
fn loading(changes: &[Incoming]) -> f64 {
    let mut replica = fresh();
    let pieces: Vec<Vec<Incoming>> = changes.chunks(PIECE).map(<[Incoming]>::to_vec).collect();
    let (time, ()) = time(|| {
        for piece in pieces {
            replica.load(piece).expect("our own changes");
        }
    });
    assert_eq!(replica.len(), changes.len());
    time
}

/// Builds a text by one author, `EDITS` a change, with edits chosen by (their number, the text's length).
fn build(size: usize, at: impl Fn(usize, usize, &mut Random) -> usize) -> Replica {
    let (mut replica, key, mut random) = (fresh(), keypair(1), Random::new(3));
    let mut done = 0;
    while done < size {
        let many = EDITS.min(size - done);
        text(&mut replica, &key, &mut |edit, len| {
            for n in 0..many {
                edit(at(done + n, len + n, &mut random), 0, "x");
            }
        });
        done += many;
    }
    replica
}

/// Several authors who know nothing of each other record elements in one list, all at one place (the list's beginning): as many siblings as elements.
fn one_place(size: usize) -> Vec<Incoming> {
    let authors = 10;
    let mut all: Vec<Vec<Incoming>> = (0..authors)
        .map(|author| {
            let (mut replica, key) = (fresh(), keypair(author + 1));
            let (mut left, mut changes) = (size / authors, Vec::new());
            while left > 0 {
                let many = left.min(16);
                let written = replica.transact(&key, 0, |tx| {
                    let list = tx.child(ContainerIdx::ROOT, "list", Kind::List).expect("the root takes it");
                    for n in 0..many as i128 {
                        tx.insert_in_order(list, NewElement::Value(Value::Int(n))).expect("a list takes it");
                    }
                });
                changes.push(written.expect("it can be written").0.into());
                left -= many;
            }
            changes
        })
        .collect();
    // Author after author: each one's elements go between those that are there.
    all.drain(..).flatten().collect()
}

/// Two authors who type one letter at a time into the middle of what both have, at the same time, and take in each other's.
fn interleaved(size: usize) -> Vec<Incoming> {
    let mut sides = [(fresh(), keypair(1)), (fresh(), keypair(2))];
    let mut all = Vec::new();
    for _ in 0..size / 2 {
        let written = sides.each_mut().map(|(replica, key)| text(replica, key, &mut |edit, len| edit(len / 2, 0, "x")));
        let [one, two] = written;
        sides[0].0.load(vec![two.clone().into()]).expect("an honest change");
        sides[1].0.load(vec![one.clone().into()]).expect("an honest change");
        all.extend([Incoming::from(one), Incoming::from(two)]);
    }
    all
}

/// As many authors as changes, none of whom knows of another.
fn heads(size: usize) -> Vec<Incoming> {
    (0..size)
        .map(|author| {
            let (mut replica, key) = (fresh(), keypair(author + 1));
            text(&mut replica, &key, &mut |edit, _| edit(0, 0, "x")).into()
        })
        .collect()
}

/// An empty change.
fn acknowledgement(key: &Keypair, previous: Option<&Change>, mut deps: Vec<ChangeId>) -> Change {
    deps.sort_unstable();
    let header = Header {
        version: VERSION,
        document: DOCUMENT,
        author: key.author(),
        seq: previous.map_or(1, |previous| previous.header().seq + 1),
        previous: previous.map(Change::id),
        deps,
        time_ms: 0,
        ops_hash: [0; 32],
    };
    Change::sign(key, header, &Ops::default().encode().expect("nothing can be encoded"))
}

/// One author's chain in a thousand branches, which somebody else has seen: so all of it counts.
fn branches(size: usize) -> Vec<Incoming> {
    let (key, honest) = (keypair(1), keypair(2));
    let each = size / BRANCHES;
    let changes = each.clamp(1, 10);
    let (mut all, mut tips) = (Vec::new(), Vec::new());
    for branch in 0..BRANCHES {
        let mut replica = fresh();
        for change in 0..changes {
            let letters = "x".repeat(each / changes);
            // A branch differs from the others in its first change's text.
            let first = if change == 0 { format!("{branch}") } else { String::new() };
            let written = text(&mut replica, &key, &mut |edit, len| {
                edit(len, 0, &first);
                edit(len / 2, 0, &letters);
            });
            all.push(Incoming::from(written));
        }
        tips.push(all[all.len() - 1].change.id());
    }
    let mut last: Option<Change> = None;
    for tips in tips.chunks(MAX_DEPS) {
        let change = acknowledgement(&honest, last.as_ref(), tips.to_vec());
        all.push(change.clone().into());
        last = Some(change);
    }
    all
}

/// Makes the history of a letter a change, unless it is there.
fn typed(all: &mut Vec<Incoming>, most: usize) {
    if all.is_empty() {
        let mut pair = Pair::new(0);
        pair.write(most);
        *all = log(pair.ahead());
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|argument| argument == name).map(|at| arguments[at + 1].clone());
    let most: usize = value("--most").map_or(1_000_000, |most| most.parse().expect("--most wants a number"));
    let write: Option<PathBuf> = value("--write").map(PathBuf::from);
    let only = value("--only").unwrap_or_default();
    let upto = |limit: usize| SIZES.into_iter().filter(move |size| *size <= most.min(limit));
    let mut curves: Vec<Curve> = Vec::new();
    let mut curve = |name: &'static str, about: &'static str, limit: usize, measure: &mut dyn FnMut(usize) -> f64| {
        if !name.contains(&only) {
            return;
        }
        let points = upto(limit).map(|size| {
            let time = measure(size);
            eprintln!("{name}: {size}: {time:.2} ms");
            (size, time)
        });
        curves.push(Curve { name, about, points: points.collect() });
    };

    // Ordinary ones. A recorded-like text by one author, 256 edits a change.
    let mut saved: Vec<(usize, Vec<u8>)> = Vec::new();
    curve("local edit", "typing, 256 edits a signed change", 1_000_000, &mut |size| {
        let trace = generate::sequential(size);
        let mut file = Vec::new();
        let time = least(size, || {
            let (mut replica, key) = (fresh(), keypair(1));
            let (time, ()) = time(|| {
                for span in &trace.spans {
                    text(&mut replica, &key, &mut |edit, _| {
                        span.edits.iter().for_each(|one| edit(one.at, one.deleted, &one.inserted));
                    });
                }
            });
            file = replica.save();
            time
        });
        saved.push((size, file));
        time
    });
    curve("load", "the same from a file, tips checked", 1_000_000, &mut |size| {
        let Some((_, file)) = saved.iter().find(|(of, _)| *of == size) else { return f64::NAN };
        least(size, || time(|| load(file, How::Tips)).0)
    });
    curve("local edit, random places", "no two letters of a change are neighbours", 1_000_000, &mut |size| {
        least(size, || time(|| build(size, |_, len, random| random.below(len + 1))).0)
    });

    // One letter a change, four authors in turn: built once, its beginnings serve every size.
    let mut all: Vec<Incoming> = Vec::new();
    curve("remote apply", "a letter a change, every signature checked", 1_000_000, &mut |size| {
        typed(&mut all, most);
        least(size, || {
            let mut replica = fresh();
            let pieces: Vec<Vec<Incoming>> = all[..size].chunks(PIECE).map(<[Incoming]>::to_vec).collect();
            let (time, ()) = time(|| pieces.into_iter().for_each(|piece| drop(replica.apply_batch(piece))));
            assert_eq!(replica.len(), size);
            time
        })
    });
    curve("remote apply, unchecked", "the same without signatures", 1_000_000, &mut |size| {
        typed(&mut all, most);
        least(size, || loading(&all[..size]))
    });
    curve("sync", "1,000 changes missing in so many more", 1_000_000, &mut |size| {
        typed(&mut all, most);
        let mut pair = Pair::of(&all[..size]);
        let time = (0..3)
            .map(|_| {
                pair.write(1_000);
                pair.sync(false).0.cpu as f64 / 1e6
            })
            .fold(f64::INFINITY, f64::min);
        time
    });
    drop(all);

    // Hostile ones: loaded, so that signatures do not count, but for the branches, which only arrive.
    curve("one place", "10 authors, each element a sibling of all others", 1_000_000, &mut |size| {
        let changes = one_place(size);
        least(size, || loading(&changes))
    });
    curve("reversed chain", "each letter before all others", 1_000_000, &mut |size| {
        let changes = log(&build(size, |_, _, _| 0));
        least(size, || loading(&changes))
    });
    curve("maximal interleaving", "two authors, letter by letter in one middle", 100_000, &mut |size| {
        let changes = interleaved(size);
        least(size, || loading(&changes))
    });
    curve("many heads", "as many authors as changes, all concurrent", 100_000, &mut |size| {
        let changes = heads(size);
        least(size, || loading(&changes))
    });
    curve("a thousand branches", "one author's; seen by another; every signature", 1_000_000, &mut |size| {
        let changes = branches(size);
        least(size, || {
            let mut replica = fresh();
            let pieces: Vec<Vec<Incoming>> = changes.chunks(PIECE).map(<[Incoming]>::to_vec).collect();
            let (time, ()) = time(|| pieces.into_iter().for_each(|piece| drop(replica.apply_batch(piece))));
            assert_eq!(replica.len(), changes.len(), "all of it counts");
            time
        })
    });

    let report = report(&curves);
    println!("{report}");
    if let Some(folder) = write {
        fs::write(folder.join("benchmarks-curves.svg"), picture(&curves)).expect("the picture can be written");
        bench_peers::write_between(&folder.join("benchmarks.md"), "curves", &report);
    }
}

fn report(curves: &[Curve]) -> String {
    let mut out = String::from("| milliseconds of CPU time for | ");
    out.push_str(&SIZES.map(|size| format!("{} operations", grouped(size))).join(" | "));
    out.push_str(" | growth for each tenfold | ns an operation, last | |\n|---|---|---|---|---|---|---|---|\n");
    for curve in curves {
        out.push_str(&format!("| {}: {} |", curve.name, curve.about));
        for size in SIZES {
            let point = curve.points.iter().find(|point| point.0 == size);
            out.push_str(&point.map_or(" – |".into(), |(_, time)| format!(" {time:.2} |")));
        }
        let growth: Vec<f64> = curve.points.windows(2).map(|pair| pair[1].1 / pair[0].1).collect();
        // The last tenfold tells: what is small sits in the processor's caches and in one leaf.
        let bad = growth.last().is_some_and(|factor| *factor > GROWTH);
        let words: Vec<String> = growth.iter().map(|factor| format!("{factor:.1}")).collect();
        let last = curve.points.last().map_or(0.0, |(size, time)| time * 1e6 / *size as f64);
        let verdict = if bad { "**worse than n log n**" } else { "n log n or better" };
        out.push_str(&format!(" {} | {last:.0} | {verdict} |\n", words.join(", ")));
    }
    out
}

fn grouped(value: usize) -> String {
    let digits = value.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).expect("digits")).collect();
    parts.join(",")
}

/// Small multiples, logarithmic both ways, a dashed n log n through each first point. Colours follow the reader's light or dark.
fn picture(curves: &[Curve]) -> String {
    const COLUMNS: usize = 4;
    const CELL: (f64, f64) = (240.0, 210.0);
    /// The plotted area within a cell: left, top, width, height.
    const AREA: (f64, f64, f64, f64) = (44.0, 46.0, 180.0, 130.0);
    let rows = curves.len().div_ceil(COLUMNS);
    let (width, height) = (CELL.0 * COLUMNS as f64, CELL.1 * rows as f64 + 24.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title\" font-family=\"system-ui, sans-serif\" font-size=\"10\">\n\
         <title id=\"title\">CPU milliseconds against the number of operations, logarithmic scales; dashed: n log n through the first point</title>\n\
         <style>\n  .page {{ fill: #ffffff }} .ink {{ fill: #1f2328 }} .soft {{ fill: #59636e }} .grid {{ stroke: #d1d9e0 }} .line {{ stroke: #0969da }} .dot {{ fill: #0969da }} .law {{ stroke: #9a6700 }}\n\
         \x20 @media (prefers-color-scheme: dark) {{ .page {{ fill: #0d1117 }} .ink {{ fill: #f0f6fc }} .soft {{ fill: #9198a1 }} .grid {{ stroke: #3d444d }} .line {{ stroke: #58a6ff }} .dot {{ fill: #58a6ff }} .law {{ stroke: #d29922 }} }}\n\
         </style>\n<rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    let all = || curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).filter(|time| *time > 0.0);
    let low = all().fold(f64::INFINITY, f64::min).log10().floor();
    let high = all().fold(0.0, f64::max).log10().ceil().max(low + 1.0);
    let x = |size: f64| AREA.0 + (size.log10() - 3.0) / 3.0 * AREA.2;
    let y = |time: f64| AREA.1 + AREA.3 - (time.log10() - low) / (high - low) * AREA.3;
    for (index, curve) in curves.iter().enumerate() {
        let at = ((index % COLUMNS) as f64 * CELL.0, (index / COLUMNS) as f64 * CELL.1);
        out.push_str(&format!("<g transform=\"translate({} {})\">\n", at.0, at.1));
        out.push_str(&format!(
            "<text class=\"ink\" x=\"{}\" y=\"20\" font-size=\"12\" font-weight=\"600\">{}</text>\n<text class=\"soft\" x=\"{}\" y=\"34\" font-size=\"9\">{}</text>\n",
            AREA.0, curve.name, AREA.0, curve.about
        ));
        for decade in low as i32..=high as i32 {
            let time = 10f64.powi(decade);
            out.push_str(&format!(
                "<line class=\"grid\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\n",
                AREA.0,
                AREA.0 + AREA.2,
                y(time),
                y(time)
            ));
            let label = match decade {
                ..=-1 => format!("{time} ms"),
                0..=2 => format!("{time:.0} ms"),
                _ => format!("{:.0} s", time / 1e3),
            };
            out.push_str(&format!(
                "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"8\">{label}</text>\n",
                AREA.0 - 4.0,
                y(time) + 3.0
            ));
        }
        for (size, label) in SIZES.iter().zip(["1k", "10k", "100k", "1M"]) {
            let bottom = AREA.1 + AREA.3;
            out.push_str(&format!(
                "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"8\">{label}</text>\n",
                x(*size as f64),
                bottom + 12.0
            ));
        }
        if let [first, .., last] = curve.points[..] {
            let law = |size: f64| first.1 * (size * size.log2()) / (first.0 as f64 * (first.0 as f64).log2());
            let ends = (first.0 as f64, last.0 as f64);
            // Within the picture: the dashed line may be above everything that was measured.
            let end = (0..=300)
                .map(|n| ends.0 * (ends.1 / ends.0).powf(1.0 - n as f64 / 300.0))
                .find(|size| law(*size).log10() <= high);
            let end = end.unwrap_or(ends.0);
            out.push_str(&format!(
                "<line class=\"law\" stroke-dasharray=\"3 3\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
                x(ends.0),
                y(law(ends.0)),
                x(end),
                y(law(end))
            ));
        }
        let points: Vec<String> =
            curve.points.iter().map(|(size, time)| format!("{:.1},{:.1}", x(*size as f64), y(*time))).collect();
        out.push_str(&format!(
            "<polyline class=\"line\" fill=\"none\" stroke-width=\"1.8\" points=\"{}\"/>\n",
            points.join(" ")
        ));
        for (size, time) in &curve.points {
            out.push_str(&format!(
                "<circle class=\"dot\" r=\"2.6\" cx=\"{:.1}\" cy=\"{:.1}\"/>\n",
                x(*size as f64),
                y(*time)
            ));
        }
        out.push_str("</g>\n");
    }
    out.push_str(&format!(
        "<text class=\"soft\" x=\"{}\" y=\"{}\">operations across, CPU milliseconds up, both logarithmic; dashed: n log n through the first point</text>\n</svg>\n",
        AREA.0, height - 8.0
    ));
    out
}
