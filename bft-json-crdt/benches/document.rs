//! What the document costs without signatures: nested nodes, map writes, typing, and changes of one character, each written through transactions
//! and applied as decoded operations. CPU time of one thread for each operation, and the bytes that the document holds for it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark reads the clock and the process's memory, and prints"
)]

use std::hint::black_box;

use bft_json_crdt::causality::{BranchIdx, Causality, ChangeIdx};
use bft_json_crdt::change::ChangeId;
use bft_json_crdt::document::{ContainerIdx, Document, NewElement, Tx};
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::value::Value;

const ROOT: ContainerIdx = ContainerIdx::ROOT;

/// One author's chain: change n stands on branch 0 with `seq` n + 1.
#[derive(Clone, Copy)]
struct Chain;

impl Causality for Chain {
    fn position(&self, change: ChangeIdx) -> (BranchIdx, u64) {
        (BranchIdx(0), u64::from(change.0) + 1)
    }

    fn lamport(&self, change: ChangeIdx) -> u64 {
        u64::from(change.0) + 1
    }

    fn id(&self, change: ChangeIdx) -> ChangeId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&change.0.to_be_bytes());
        ChangeId(id)
    }

    fn past(&self, change: ChangeIdx, branch: BranchIdx) -> u64 {
        if branch.0 == 0 { change.0.into() } else { 0 }
    }

    fn back(&self, change: ChangeIdx, steps: u64) -> Option<ChangeIdx> {
        change.0.checked_sub(u32::try_from(steps).ok()?).map(ChangeIdx)
    }

    fn lookup(&self, id: &ChangeId) -> Option<ChangeIdx> {
        let number: [u8; 4] = id.0[..4].try_into().ok()?;
        Some(ChangeIdx(u32::from_be_bytes(number)))
    }
}

/// The CPU time that this process has used, in seconds. It has one thread.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("a Linux that keeps scheduler statistics");
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).expect("nanoseconds come first")
        / 1e9
}

/// Resident memory in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// A workload: `write` makes operation n of `count`, `each` to a change.
struct Work<'a> {
    name: &'a str,
    count: usize,
    each: usize,
    write: &'a dyn Fn(&mut Tx<Chain>, usize),
}

fn run(work: &Work<'_>) {
    let started = cpu();
    let mut document = Document::new();
    let mut log = Vec::new();
    let mut writing = 0.0;
    for first in (0..work.count).step_by(work.each) {
        let began = cpu_if(work.each > 1);
        let mut tx = Tx::new(Chain, document, ChangeIdx(log.len() as u32));
        for n in first..work.count.min(first + work.each) {
            (work.write)(&mut tx, n);
        }
        let finished = tx.finish();
        document = finished.document;
        let ops = finished.ops.expect("the transaction is good");
        writing += cpu_if(work.each > 1) - began;
        log.push(ops.encode().expect("it can be carried"));
    }
    if work.each == 1 {
        writing = cpu() - started;
    }
    let expected = document.view();
    let held = document.heap_bytes();
    drop(document);

    let mut times = [0.0; 2];
    let mut memory = 0;
    let mut decoding = 0.0;
    for (owned, time) in [false, true].into_iter().zip(&mut times) {
        let before = resident();
        let mut document = Document::new();
        for (piece, bytes) in log.chunks(1024).enumerate() {
            let began = cpu();
            let decoded: Vec<Ops> = bytes.iter().map(|ops| Ops::decode(1, ops).expect("it was encoded")).collect();
            decoding += (cpu() - began) / 2.0;
            let began = cpu();
            for (mut ops, n) in decoded.into_iter().zip(piece * 1024..) {
                let change = ChangeIdx(n as u32);
                if owned {
                    document.apply_or_spoil(&Chain, change, &mut ops).expect("it is valid");
                } else {
                    document.apply(&Chain, change, &ops, None).expect("it is valid");
                }
            }
            *time += cpu() - began;
        }
        memory = memory.max(resident().saturating_sub(before));
        assert!(black_box(document.view()) == expected, "the copy differs");
        document.debug_check();
    }
    let per = |seconds: f64| seconds * 1e9 / work.count as f64;
    println!(
        "{:<34} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.1} {:>9.1}",
        work.name,
        per(writing),
        per(decoding),
        per(times[0]),
        per(times[1]),
        held as f64 / work.count as f64,
        memory as f64 / work.count as f64,
    );
}

/// Reading the clock costs as much as a short change.
fn cpu_if(long: bool) -> f64 {
    if long { cpu() } else { 0.0 }
}

/// Numbers that look random, the same in each run.
fn scatter(n: usize) -> usize {
    (n as u64 ^ 0x5bd1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) as usize
}

fn main() {
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "ns and bytes for each operation", "write", "decode", "apply", "load", "held", "resident"
    );
    let only: Option<String> = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    let works = [
        Work {
            name: "pushes of {id, name, done}",
            count: 100_000,
            each: 256,
            write: &|tx, n| {
                let list = tx.child(ROOT, "list", Kind::List).unwrap();
                let item = tx.push(list, NewElement::Container(Kind::Map)).unwrap().container.unwrap();
                let id = tx.child(item, "id", Kind::Register).unwrap();
                tx.set(id, Value::Int(n as i128)).unwrap();
                let name = tx.child(item, "name", Kind::Register).unwrap();
                tx.set(name, Value::String(format!("item {n}"))).unwrap();
                let done = tx.child(item, "done", Kind::Register).unwrap();
                tx.set(done, Value::Bool(n % 2 == 0)).unwrap();
            },
        },
        Work {
            name: "map sets on 1,000 keys",
            count: 100_000,
            each: 256,
            write: &|tx, n| {
                let key = format!("key{}", n % 1000);
                let register = tx.put(ROOT, &key, Kind::Register).unwrap();
                tx.set(register, Value::Int(n as i128)).unwrap();
            },
        },
        Work {
            name: "map sets on 100,000 keys",
            count: 100_000,
            each: 256,
            write: &|tx, n| {
                let register = tx.put(ROOT, &format!("key{n}"), Kind::Register).unwrap();
                tx.set(register, Value::Int(n as i128)).unwrap();
            },
        },
        Work {
            name: "typing on, one character",
            count: 200_000,
            each: 256,
            write: &|tx, n| {
                let text = tx.child(ROOT, "text", Kind::Text).unwrap();
                tx.text_insert(text, n, "x").unwrap();
            },
        },
        Work {
            name: "typing with jumps each 20",
            count: 200_000,
            each: 256,
            write: &|tx, n| {
                let text = tx.child(ROOT, "text", Kind::Text).unwrap();
                let at = if n < 20 { 0 } else { scatter(n / 20) % (n - n % 20) };
                tx.text_insert(text, at + n % 20, "x").unwrap();
            },
        },
        Work {
            name: "typing, each third deleted",
            count: 200_000,
            each: 256,
            write: &|tx, n| {
                let text = tx.child(ROOT, "text", Kind::Text).unwrap();
                let len = tx.document().len(text);
                match n % 3 {
                    2 => tx.text_delete(text, len - 1, 1).unwrap(),
                    _ => tx.text_insert(text, len, "x").unwrap(),
                }
            },
        },
        Work {
            name: "one character a change",
            count: 100_000,
            each: 1,
            write: &|tx, n| {
                let text = tx.child(ROOT, "text", Kind::Text).unwrap();
                let at = if n < 20 { 0 } else { scatter(n / 20) % (n - n % 20) };
                tx.text_insert(text, at + n % 20, "x").unwrap();
            },
        },
        Work {
            name: "values pushed, one a change",
            count: 100_000,
            each: 1,
            write: &|tx, n| {
                let list = tx.child(ROOT, "list", Kind::List).unwrap();
                tx.insert_in_order(list, NewElement::Value(Value::Int(n as i128))).unwrap();
            },
        },
    ];
    for work in &works {
        if only.as_ref().is_none_or(|only| work.name.contains(only.as_str())) {
            run(work);
        }
    }
}
