//! Four processes without a watcher: how long a transfer takes from being typed until all four show the block that has it, in leader mode and in BFT mode, and what
//! nodes cost while nothing happens.
//!
//! The limit beside it is what no sealing can do without, measured by itself in the same run: the group's interval, and the typed line on three other nodes, durable. In
//! BFT mode the same time is also held against bare simplex, from proposal to finality, though it has the way of the transfer to the leader, the interval and
//! the blocks' bytes, execution and disk in it.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use side_tests::measure;
use side_tests::mesh::lonely;
use side_tests::process::{PATIENCE, Process, eventually_within};
use side_tests::world::Home;

/// Transfers that are measured, one after the other.
const TRANSFERS: usize = 200;
/// Transfers before them.
const WARM_UP: usize = 20;
/// How long the idle nodes are watched.
const IDLE: Duration = Duration::from_secs(30);
/// Time between blocks: the shortest that is of use, so that the agreement is measured and not the timer.
const INTERVAL_MS: u64 = 10;
/// Names of blocks that bare simplex agrees on.
const BARE: usize = 500;
/// The bar: our transfer to finality against bare simplex.
const BARE_BAR: f64 = 2.0;
/// The bar for an idle node in leader mode, in shares of a core.
const IDLE_BAR: f64 = 0.01;
const NODES: [&str; 4] = ["node1", "node2", "node3", "node4"];
const GROUP: &str = "bank";

fn main() -> ExitCode {
    measure::head();
    let mut reached = true;
    let mut bare = side_tests::bare::propose_to_final(BARE);
    for mode in ["leader", "bft"] {
        let mut bank = Bank::open(mode);
        let mut notes =
            bank.times(|number| format!("note {number} of those that wait for nobody"), |line| line.to_owned());
        let mut sealed = bank.blocks();
        for (name, share) in [("p50", 0.50), ("p99", 0.99)] {
            let (note, block) = (percentile(&mut notes, share), percentile(&mut sealed, share));
            let limit = note + Duration::from_millis(INTERVAL_MS);
            measure::row(
                &format!(
                    "{mode}: transfer typed to {} on all four, {name}",
                    if mode == "bft" { "final" } else { "sealed" }
                ),
                &format!("{:.1} ms", block.as_secs_f64() * 1e3),
                &format!("{:.1} ms note + interval", limit.as_secs_f64() * 1e3),
                &format!("{:.2}x", block.as_secs_f64() / limit.as_secs_f64()),
                None,
            );
            if mode == "bft" {
                let bare = percentile(&mut bare, share);
                let ratio = block.as_secs_f64() / bare.as_secs_f64();
                let fine = (name == "p50").then_some(ratio <= BARE_BAR);
                reached &= fine != Some(false);
                measure::row(
                    &format!("bft: the same beside bare simplex, {name}"),
                    &format!("{:.1} ms", block.as_secs_f64() * 1e3),
                    &format!("{:.1} ms propose to final", bare.as_secs_f64() * 1e3),
                    &format!("{ratio:.2}x"),
                    fine,
                );
            }
        }
        let shares = bank.idle();
        let most = shares.iter().copied().fold(0.0, f64::max);
        let fine = (mode == "leader").then_some(most < IDLE_BAR);
        reached &= fine != Some(false);
        measure::row(
            &format!("{mode}: an idle node among four, share of a core"),
            &format!("{:.2} %", most * 1e2),
            &format!("{:.2} % the bar", IDLE_BAR * 1e2),
            "",
            fine,
        );
    }
    if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// Four running nodes whose default group is one that they have founded together.
struct Bank {
    home: Home,
    nodes: Vec<Process>,
}

impl Bank {
    fn open(mode: &str) -> Self {
        let home = lonely();
        NODES.iter().for_each(|name| home.init(name));
        let interval = INTERVAL_MS.to_string();
        let create = ["group", "create", "node1", GROUP, "--sealing", mode, "--interval", &interval];
        let founders = ["--founder", "node2", "--founder", "node3", "--founder", "node4"];
        let allocation: Vec<String> = NODES.iter().map(|name| format!("{name}=1000000")).collect();
        let allocate: Vec<&str> = allocation.iter().flat_map(|each| ["--allocate", each]).collect();
        home.ok(&[&create[..], &allocate, &founders].concat());
        NODES.iter().for_each(|name| drop(home.ok(&["group", "use", name, GROUP])));
        let nodes: Vec<Process> = NODES.map(|name| home.run(name)).into();
        let bank = Self { home, nodes };
        eventually_within(PATIENCE, "the four agree on a block", || {
            let shown: Vec<Value> = NODES.iter().map(|name| bank.home.status(name)).collect();
            let same = shown
                .iter()
                .all(|each| each["block"] == shown[0]["block"] && each["members"] == 4 && each["pending"] == 0);
            (same && shown[0]["height"].as_u64() > Some(0)).then_some(())
        });
        bank
    }

    /// Types lines one after the other, each when all others have shown the one before.
    fn times(&mut self, line: impl Fn(usize) -> String, shown: impl Fn(&str) -> String) -> Vec<Duration> {
        let mut times = Vec::new();
        for number in 0..WARM_UP + TRANSFERS {
            let line = line(number);
            let typed = Instant::now();
            assert!(self.nodes[0].type_line(&line), "{}", self.nodes[0].report());
            let text = shown(&line);
            let last = self.nodes[1..].iter_mut().map(|node| node.expect_within(&text, PATIENCE).0).max();
            if number >= WARM_UP {
                times.push(last.expect("three others").saturating_duration_since(typed));
            }
        }
        self.settle();
        times
    }

    /// Sends transfers one after the other, each when all have shown the block with the one before.
    fn blocks(&mut self) -> Vec<Duration> {
        let mut times = Vec::new();
        for number in 0..WARM_UP + TRANSFERS {
            // Nothing else is new, so the next block has this transfer.
            let height = self.home.status(NODES[0])["height"].as_u64().expect("a height") + 1;
            let typed = Instant::now();
            assert!(self.nodes[0].type_line("/send node2 1"), "{}", self.nodes[0].report());
            let text = format!("-- block {height} (");
            let last = self.nodes.iter_mut().map(|node| node.expect_within(&text, PATIENCE).0).max();
            if number >= WARM_UP {
                times.push(last.expect("four nodes").saturating_duration_since(typed));
            }
        }
        self.settle();
        times
    }

    /// Waits until nothing is pending anywhere.
    fn settle(&self) {
        eventually_within(PATIENCE, "nothing is pending", || {
            NODES.iter().all(|name| self.home.status(name)["pending"] == 0).then_some(())
        });
    }

    /// Shares of a core that the nodes take while nothing happens.
    fn idle(&self) -> Vec<f64> {
        let read =
            || -> Vec<f64> { self.nodes.iter().map(|node| cpu_seconds(node.pid().as_raw_nonzero().get())).collect() };
        let before = read();
        let watched = Instant::now();
        // Nothing happens for this long: that is what is measured.
        thread::sleep(IDLE);
        let passed = watched.elapsed().as_secs_f64();
        before.iter().zip(read()).map(|(before, after)| (after - before) / passed).collect()
    }
}

/// Linux reports times to programs in hundredths of a second, whatever its own clock (time(7), USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process, all threads, user and system (proc(5), `stat`, fields 14 and 15).
fn cpu_seconds(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let after_name = stat.rsplit(')').next().expect("a name in parentheses");
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("a number")).sum();
    ticks / TICKS_PER_SECOND
}
