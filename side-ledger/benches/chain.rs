//! What a block costs a node that has its changes already: executing it, accepting it, and taking it back, a transfer. CPU time of the process, medians, as a table;
//! checking a signature (see the benches of `bft-json-crdt`) is the limit beside it.

#![allow(clippy::disallowed_macros, reason = "a benchmark prints")]

use std::time::Duration;

use bft_json_crdt::identity::Keypair;
use rustix::time::{ClockId, clock_gettime};
use side_ledger::genesis::{Admission, Genesis, GroupSpec, Limits, Sealing};
use side_ledger::group::Group;
use side_ledger::names::Name;
use side_ledger::transaction::{Transaction, Transfer};

const AUTHORS: usize = 4;
const BLOCK: usize = 1_000;
const BLOCKS: usize = 50;

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn key(n: usize) -> Keypair {
    Keypair::from_seed(&[n as u8 + 1; 32])
}

fn group() -> Group {
    let genesis = Genesis::new(GroupSpec {
        name: Name::new("bench").expect("a good name"),
        created_ms: 1,
        nonce: [0; 32],
        founders: (0..AUTHORS).map(|n| key(n).author()).collect(),
        admission: Admission::Open,
        allocation: (0..AUTHORS).map(|n| (key(n).author(), 1 << 40)).collect(),
        sealing: Sealing::Leader { interval_ms: 1000 },
        limits: Limits { block_changes: BLOCK as u64, ..Limits::default() },
    });
    Group::open(genesis.expect("a good genesis"), Some(key(0).author()), Default::default())
}

fn micros(times: &mut [Duration], transfers: usize) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6 / transfers as f64
}

fn main() {
    println!("| transfers a change | history | seal µs a transfer | accept µs | undo µs |\n|---|---|---|---|---|");
    for a_change in [1, 100] {
        let (mut sealer, mut other) = (group(), group());
        let (mut seal, mut accept, mut undo) = (Vec::new(), Vec::new(), Vec::new());
        for block in 0..BLOCKS {
            for n in 0..BLOCK / a_change {
                let by = key(n % AUTHORS);
                let transfers: Vec<Transaction> =
                    (0..a_change).map(|at| Transfer { to: key((n + at) % 200).author(), amount: 1 }.into()).collect();
                let written = sealer.write(&transfers, &by, 5).expect("a good transaction");
                other.apply_batch(vec![written.change.into()]);
            }
            let started = cpu();
            let sealed = sealer.seal(block as u64, None).expect("something is new");
            let after = cpu();
            other.accept(&sealed, None).expect("a good block");
            let done = cpu();
            other.undo().expect("not settled");
            undo.push(cpu() - done);
            seal.push(after - started);
            accept.push(done - after);
            other.accept(&sealed, None).expect("a good block");
        }
        let last = BLOCKS - BLOCKS / 5;
        for (name, range) in [("first fifth", 0..BLOCKS / 5), ("last fifth", last..BLOCKS)] {
            let row = [&mut seal, &mut accept, &mut undo].map(|times| micros(&mut times[range.clone()], BLOCK));
            println!("| {a_change} | {name} | {:.2} | {:.2} | {:.2} |", row[0], row[1], row[2]);
        }
    }
}
