//! diamond-types as a second oracle for text: `agree COUNT [SEED] [TRACES]` plays COUNT random concurrent histories on our replicas, in several orders
//! of arrival, and on diamond-types, and compares the texts; then the traces of a folder.
//!
//! The two break ties differently, so no two concurrent inserts of a history go to one place: authors write in regions of their own, between
//! lines that nobody deletes, while deletes reach anywhere that their author sees but those lines. Then every correct CRDT agrees, and the text is
//! also known without any. A history that fails is shrunk (spans are left out) and printed with its seed.

use std::process::ExitCode;
use std::{env, fs};

use bench_peers::engine::Random;
use bench_peers::engines::{diamond, ours};
use bench_peers::trace::{Edit, Span, Trace};

/// One random history. What it ends at is left empty: the two engines are compared with each other.
fn history(seed: u64) -> Trace {
    let mut random = Random::new(seed);
    let authors = 2 + random.below(4);
    // Author 0 makes the lines; then each author knows some spans. A character is (region, serial, letter); a line is serial 0.
    let line = "|".repeat(authors + 1);
    let mut spans = vec![Span { author: 0, parents: vec![], edits: vec![Edit { at: 0, deleted: 0, inserted: line }] }];
    let mut worlds: Vec<World> = vec![World::lines(authors)];
    let mut known: Vec<usize> = vec![0; authors];
    for _ in 0..1 + random.below(30) {
        let author = random.below(authors);
        // What it builds on: what it had, and sometimes what another has.
        let mut parents = vec![known[author]];
        let other = known[random.below(authors)];
        let mut world = worlds[known[author]].clone();
        if random.below(2) == 0 && other != known[author] {
            let (mine, theirs) = (worlds[known[author]].seen.clone(), worlds[other].seen.clone());
            match (theirs.iter().all(|span| mine.contains(span)), mine.iter().all(|span| theirs.contains(span))) {
                (true, _) => {}
                (_, true) => parents = vec![other],
                _ => parents.push(other),
            }
            world = world.merge(&worlds[other]);
        }
        parents.sort_unstable();
        let mut edits = Vec::new();
        for _ in 0..1 + random.below(6) {
            edits.push(world.edit(author, &mut random));
        }
        world.seen.push(spans.len());
        known[author] = spans.len();
        worlds.push(world);
        spans.push(Span { author, parents, edits });
    }
    made(spans, authors)
}

fn made(spans: Vec<Span>, authors: usize) -> Trace {
    Trace { name: "random".into(), concurrent: true, end: String::new(), spans, authors, ascii: false, basic: false }
}

/// What a state looks like, region by region. Only a region's owner inserts in it, so that states merge region by region.
#[derive(Clone)]
struct World {
    /// Each region's characters in order, with the deleted ones: of two states' the longer history wins, a deletion in either counts.
    regions: Vec<Vec<(u64, bool)>>,
    /// How many inserts each region has seen.
    ages: Vec<u64>,
    seen: Vec<usize>,
}

impl World {
    fn lines(authors: usize) -> Self {
        Self { regions: vec![Vec::new(); authors], ages: vec![0; authors], seen: vec![0] }
    }

    fn merge(mut self, other: &Self) -> Self {
        for (region, (mine, theirs)) in self.regions.iter_mut().zip(&other.regions).enumerate() {
            let (newer, older) =
                if self.ages[region] >= other.ages[region] { (mine.clone(), theirs) } else { (theirs.clone(), &*mine) };
            let gone: std::collections::HashSet<u64> =
                older.iter().filter(|(_, shown)| !shown).map(|(serial, _)| *serial).collect();
            *mine = newer.into_iter().map(|(serial, shown)| (serial, shown && !gone.contains(&serial))).collect();
            self.ages[region] = self.ages[region].max(other.ages[region]);
        }
        self.seen.extend(other.seen.iter().filter(|span| !self.seen.contains(span)).copied().collect::<Vec<_>>());
        self
    }

    /// Where a region begins: behind its line.
    fn begin(&self, region: usize) -> usize {
        self.regions[..region].iter().map(|held| 1 + held.iter().filter(|(_, shown)| *shown).count()).sum::<usize>() + 1
    }

    fn edit(&mut self, author: usize, random: &mut Random) -> Edit {
        let region = random.below(self.regions.len());
        let shown: Vec<usize> =
            self.regions[region].iter().enumerate().filter(|(_, (_, shown))| *shown).map(|(index, _)| index).collect();
        if random.below(3) == 0 && !shown.is_empty() {
            let first = random.below(shown.len());
            let len = 1 + random.below((shown.len() - first).min(5));
            let at = self.begin(region) + first;
            for index in &shown[first..first + len] {
                self.regions[region][*index].1 = false;
            }
            return Edit { at, deleted: len, inserted: String::new() };
        }
        let begin = self.begin(author);
        let held = &mut self.regions[author];
        let shown: Vec<usize> =
            held.iter().enumerate().filter(|(_, (_, shown))| *shown).map(|(index, _)| index).collect();
        let offset = random.below(shown.len() + 1);
        // Among deleted neighbours the place in here is a guess, which is enough: only what is shown is ever asked for.
        let place = if offset == 0 { 0 } else { shown[offset - 1] + 1 };
        let many = 1 + random.below(5);
        let mut inserted = String::new();
        for n in 0..many {
            self.ages[author] += 1;
            inserted.push(['a', 'b', 'ü', '漢', '😀', 'z'][random.below(6)]);
            held.insert(place + n, (self.ages[author], true));
        }
        Edit { at: begin + offset, deleted: 0, inserted }
    }
}

/// What differs, if anything does.
fn differs(trace: &Trace, seed: u64) -> Option<(String, String)> {
    let theirs = diamond::oplog(trace).checkout_tip().content().to_string();
    let mine = ours::texts(trace, &mut Random::new(seed));
    mine.into_iter()
        .find(|mine| *mine != theirs || !trace.end.is_empty() && *mine != trace.end)
        .map(|mine| (mine, theirs))
}

/// Leaves out spans on which nobody builds, as long as it still differs.
fn shrink(mut trace: Trace, seed: u64) -> Trace {
    loop {
        let last = (1..trace.spans.len()).rev().find_map(|index| {
            if trace.spans.iter().any(|span| span.parents.contains(&index)) {
                return None;
            }
            let mut spans = trace.spans.clone();
            spans.remove(index);
            for span in &mut spans {
                span.parents.iter_mut().filter(|parent| **parent > index).for_each(|parent| *parent -= 1);
            }
            let smaller = made(spans, trace.authors);
            differs(&smaller, seed).is_some().then_some(smaller)
        });
        match last {
            Some(smaller) => trace = smaller,
            None => return trace,
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let count: u64 = arguments.next().map_or(10_000, |count| count.parse().expect("a count"));
    let first: u64 = arguments.next().map_or(1, |seed| seed.parse().expect("a seed"));
    for seed in first..first.saturating_add(count) {
        let trace = history(seed);
        if let Some((mine, theirs)) = differs(&trace, seed) {
            let small = shrink(trace, seed);
            let (mine, theirs) = differs(&small, seed).unwrap_or((mine, theirs));
            eprintln!("seed {seed}: the texts differ\n  ours           {mine:?}\n  diamond-types  {theirs:?}");
            for (index, span) in small.spans.iter().enumerate() {
                eprintln!("  {index}: author {} after {:?}: {:?}", span.author, span.parents, span.edits);
            }
            return ExitCode::FAILURE;
        }
        if (seed - first + 1).is_multiple_of(10_000) {
            eprintln!("{} histories agree", seed - first + 1);
        }
    }
    println!("{count} random histories agree with diamond-types, from seed {first} on");
    if let Some(folder) = arguments.next() {
        for entry in fs::read_dir(&folder).expect("a folder of traces") {
            let path = entry.expect("an entry").path();
            if !path.to_string_lossy().ends_with(".json.gz") {
                continue;
            }
            let trace = Trace::read(&path);
            match differs(&trace, first) {
                None => println!("{}: ours, diamond-types and the recording agree", trace.name),
                Some(_) => {
                    eprintln!("{}: the texts differ", trace.name);
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}
