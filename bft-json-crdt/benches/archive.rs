//! What a file costs: its size, saving it, appending to it, and loading it with one signature checked for each leaf and with all. CPU time of the whole process, medians,
//! as a table.
//!
//! The folder that `SIDE_TRACES` names is searched for editing traces (`*.json.gz`, sequential or concurrent); without it, made-up typing is measured. Beside
//! them stand maps, nested nodes and a log of many members. Words given as arguments choose the rows whose names hold one of them.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::disallowed_types,
    reason = "a benchmark reads clocks, the environment and files, and prints"
)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::dag::Dag;
use bft_json_crdt::document::{ContainerIdx, NewElement, Tx};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Check, Limits, LoadOptions, Replica};
use bft_json_crdt::value::Value;
use rustix::time::{ClockId, clock_gettime};

/// Edits in one change.
const EDITS: usize = 256;
const RUNS: usize = 41;

/// CPU time of all threads of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The median of several runs, in milliseconds.
fn median<T>(mut run: impl FnMut() -> T) -> f64 {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let started = cpu();
            let result = black_box(run());
            let time = cpu() - started;
            drop(result);
            time
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2].as_secs_f64() * 1e3
}

fn key(n: usize) -> Keypair {
    Keypair::from_seed(&[n as u8 + 1; 32])
}

fn replica() -> Replica {
    let mut replica = Replica::new(DocumentId([1; 32]), Limits::default());
    replica.tell_events(false);
    replica
}

/// Position, how many characters go, what comes.
type Patch = (usize, usize, String);

fn write(tx: &mut Tx<Dag>, patches: &[Patch]) {
    let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
    for (at, gone, new) in patches {
        tx.text_delete(text, *at, *gone).unwrap();
        tx.text_insert(text, *at, new).unwrap();
    }
}

/// One author's edits, [`EDITS`] to a change.
fn sequential(patches: &[Patch]) -> Replica {
    let mut replica = replica();
    for (n, patches) in patches.chunks(EDITS).enumerate() {
        replica.transact(&key(0), 1_700_000_000_000 + 40_000 * n as u64, |tx| write(tx, patches)).unwrap();
    }
    replica
}

/// A transaction of a concurrent trace.
struct Transaction {
    agent: usize,
    parents: Vec<usize>,
    patches: Vec<Patch>,
}

/// Authors who write at the same time: a change ends where somebody else goes on from it.
fn concurrent(transactions: &[Transaction]) -> Replica {
    let mut children = vec![0; transactions.len()];
    transactions.iter().flat_map(|one| &one.parents).for_each(|parent| children[*parent] += 1);
    let agents = transactions.iter().map(|one| one.agent).max().map_or(0, |most| most + 1);
    // Groups of transactions that become one change, and in which group each transaction is.
    let (mut groups, mut group_of): (Vec<Vec<usize>>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut open: Vec<Option<usize>> = vec![None; agents];
    for (n, one) in transactions.iter().enumerate() {
        let goes_on = open[one.agent].filter(|group| {
            let last = groups[*group][groups[*group].len() - 1];
            one.parents == [last] && children[last] == 1 && groups[*group].len() < EDITS
        });
        let group = goes_on.unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(n);
        group_of.push(group);
        open[one.agent] = Some(group);
    }
    let mut replicas: Vec<Replica> = (0..agents).map(|_| replica()).collect();
    let mut held: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); agents];
    let mut pasts: Vec<BTreeSet<usize>> = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let first = &transactions[group[0]];
        let mut past = BTreeSet::new();
        for parent in &first.parents {
            past.extend(&pasts[group_of[*parent]]);
            past.insert(group_of[*parent]);
        }
        for other in &past {
            if held[first.agent].insert(*other) {
                replicas[first.agent].apply(changes[*other].clone().into());
            }
        }
        let patches: Vec<Patch> = group.iter().flat_map(|n| transactions[*n].patches.clone()).collect();
        let time = 1_700_000_000_000 + 1_000 * number as u64;
        let (change, ..) = replicas[first.agent].transact(&key(first.agent), time, |tx| write(tx, &patches)).unwrap();
        held[first.agent].insert(number);
        changes.push(change);
        pasts.push(past);
    }
    let mut whole = replica();
    whole.apply_batch(changes.into_iter().map(Into::into).collect());
    whole
}

fn trace(path: &Path) -> Option<Replica> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).ok()?).read_to_string(&mut text).ok()?;
    let trace: serde_json::Value = serde_json::from_str(&text).ok()?;
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0) as usize;
    let patches = |transaction: &serde_json::Value| -> Vec<Patch> {
        let patches = transaction["patches"].as_array().into_iter().flatten();
        patches
            .map(|patch| (number(&patch[0]), number(&patch[1]), patch[2].as_str().unwrap_or("").to_owned()))
            .collect()
    };
    let transactions = trace["txns"].as_array()?;
    if trace["kind"] == "concurrent" {
        let transactions: Vec<Transaction> = transactions
            .iter()
            .map(|one| Transaction {
                agent: number(&one["agent"]),
                parents: one["parents"].as_array().into_iter().flatten().map(number).collect(),
                patches: patches(one),
            })
            .collect();
        return Some(concurrent(&transactions));
    }
    let start = (0, 0, trace["startContent"].as_str().unwrap_or("").to_owned());
    Some(sequential(&[start].into_iter().chain(transactions.iter().flat_map(patches)).collect::<Vec<_>>()))
}

/// Typing with corrections and jumps, the same in every run.
fn typing(edits: usize) -> Vec<Patch> {
    let words = ["the ", "order ", "of ", "changes ", "is ", "one ", "and ", "nobody ", "can ", "forge ", "it. "];
    let (mut state, mut at, mut len) = (1u64, 0usize, 0usize);
    let mut draw = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut patches = Vec::new();
    while patches.len() < edits {
        match draw(40) {
            0 => at = draw(len + 1),
            1..4 if at > 4 => {
                let gone = 1 + draw(4);
                for _ in 0..gone {
                    at -= 1;
                    len -= 1;
                    patches.push((at, 1, String::new()));
                }
            }
            _ => {
                for letter in words[draw(words.len())].chars() {
                    patches.push((at, 0, letter.to_string()));
                    at += 1;
                    len += 1;
                }
            }
        }
    }
    patches
}

fn maps() -> Replica {
    let mut replica = replica();
    for (n, numbers) in (0..100_000u64).collect::<Vec<_>>().chunks(EDITS).enumerate() {
        let write = |tx: &mut Tx<Dag>| {
            for n in numbers {
                let key = format!("key{}", n * 7919 % 1000);
                let register = tx.put(ContainerIdx::ROOT, &key, Kind::Register).unwrap();
                tx.set(register, Value::Int((*n).into())).unwrap();
            }
        };
        replica.transact(&key(0), 1_700_000_000_000 + n as u64, write).unwrap();
    }
    replica
}

fn nodes() -> Replica {
    let mut replica = replica();
    for (n, numbers) in (0..100_000u64).collect::<Vec<_>>().chunks(EDITS).enumerate() {
        let write = |tx: &mut Tx<Dag>| {
            let todos = tx.child(ContainerIdx::ROOT, "todos", Kind::List).unwrap();
            for n in numbers {
                let node = tx.push(todos, NewElement::Container(Kind::Map)).unwrap().container.unwrap();
                let fields = [
                    ("id", Value::Int((*n).into())),
                    ("name", Value::String(format!("item {n}"))),
                    ("done", Value::Bool(n % 3 == 0)),
                ];
                for (name, value) in fields {
                    let register = tx.put(node, name, Kind::Register).unwrap();
                    tx.set(register, value).unwrap();
                }
            }
        };
        replica.transact(&key(0), 1_700_000_000_000 + n as u64, write).unwrap();
    }
    replica
}

fn log() -> Replica {
    let mut replica = replica();
    for n in 0..20_000u64 {
        let write = |tx: &mut Tx<Dag>| {
            let log = tx.child(ContainerIdx::ROOT, "transactions", Kind::List).unwrap();
            tx.insert_in_order(log, NewElement::Value(Value::String(format!("note number {n}")))).unwrap();
        };
        replica.transact(&key(n as usize % 4), 1_700_000_000_000 + 977 * n, write).unwrap();
    }
    replica
}

fn row(name: &str, replica: impl FnOnce() -> Option<Replica>) {
    let wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect::<Vec<_>>();
    if !wanted.is_empty() && !wanted.iter().any(|wanted| name.contains(wanted)) {
        return;
    }
    let Some(replica) = replica() else { return println!("| {name} is no trace |") };
    let file = replica.save();
    let bytes: usize =
        (0..replica.len() as u32).map(|n| replica.bytes(bft_json_crdt::causality::ChangeIdx(n)).len()).sum();
    let save = median(|| replica.save());
    let load = |check| {
        let options = LoadOptions { check, ..LoadOptions::default() };
        median(|| Replica::load_file(&file, &options).unwrap())
    };
    let tips = load(Check::Tips);
    let all = load(Check::All { threads: NonZeroUsize::MIN });
    let loaded = Replica::load_file(&file, &LoadOptions::default()).unwrap();
    assert_eq!(loaded.replica.heads_digest(), replica.heads_digest());
    println!(
        "| {name} | {} | {bytes} | {} | {} | {save:.2} | {tips:.2} | {all:.2} |",
        replica.len(),
        file.len(),
        64 * replica.len(),
    );
}

fn main() {
    println!("| history | changes | their bytes | file | of it signatures | save ms | load, tips ms | load, all ms |");
    println!("|---|---|---|---|---|---|---|---|");
    match std::env::var_os("SIDE_TRACES") {
        Some(folder) => {
            let mut paths: Vec<_> =
                std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths.iter().filter(|path| path.to_string_lossy().ends_with(".json.gz")) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                row(name.trim_end_matches(".json.gz"), || trace(path));
            }
        }
        None => row("made-up typing, 250,000 edits", || Some(sequential(&typing(250_000)))),
    }
    row("100,000 map sets", || Some(maps()));
    row("100,000 nested nodes", || Some(nodes()));
    row("20,000 notes of 4 members", || Some(log()));
}
