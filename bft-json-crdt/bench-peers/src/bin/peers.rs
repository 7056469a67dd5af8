//! The table: every row of what the engine is judged by, ours beside the peers', in one run.
//!
//! Each measurement is a fresh process of this same program, so that memory and caches are its own: `peers child …` does one piece of work and prints
//! what it cost. Times are medians of several such processes; one more counts the heap.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use bench_peers::engine::{How, MESSAGES_A_BATCH, Saved, is_list, is_map, sets, todos};
use bench_peers::engines::NAMES;
use bench_peers::measure::{Meter, Reading};
use bench_peers::trace::Trace;
use bench_peers::{engines, generate, sync, write_between};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Sets of the map, and its keys.
const SETS: (usize, usize) = (100_000, 1_000);
/// Nodes pushed to the list.
const TODOS: usize = 100_000;
/// Changes that one side lacks.
const MISSING: usize = 1_000;
/// A cell is not repeated beyond this much CPU time, nanoseconds: what takes seconds varies little.
const ENOUGH: u64 = 12_000_000_000;
/// Edits of the generated traces.
const GENERATED: (usize, usize) = (260_000, 26_000);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == "child" => {
            child(rest);
            ExitCode::SUCCESS
        }
        _ => match Options::parse(&arguments) {
            Ok(options) => run(&options),
            Err(error) => {
                eprintln!(
                    "{error}\nusage: peers [--traces FOLDER] [--runs N] [--only WORDS] [--write FILE.md] [--keep FILE | --with FILE]"
                );
                ExitCode::from(2)
            }
        },
    }
}

// ---- One piece of work in a process of its own ----

/// `child ENGINE WORK TRACE INPUT OUTPUT COUNT`.
fn child(arguments: &[String]) {
    let [engine, work, trace, input, output, count] = arguments else { panic!("six arguments") };
    let column = engine.parse::<usize>().expect("a number");
    let engine = engines::get(column).expect("the parent asks for engines that are built in");
    if column != OURS {
        let limit = Rlimit { current: Some(PATIENCE), maximum: Some(PATIENCE) };
        setrlimit(Resource::Cpu, limit).expect("a lower limit is always allowed");
    }
    let mut meter = Meter::new(count == "heap");
    let read = || fs::read(input).expect("the input");
    let how = |work: &str| match work.rsplit('-').next() {
        Some("tip") => How::Tips,
        Some("full") => How::Full,
        _ => How::Other,
    };
    let trace = || read_trace(trace);
    let store = |saved: Saved| {
        fs::write(output, &saved.bytes).expect("room for the output");
        if let Some(other) = &saved.other {
            fs::write(format!("{output}.other"), other).expect("room for the output");
        }
        saved.bytes.len()
    };
    let mut bytes = 0;
    let good = match work.as_str() {
        "text-local" => {
            let trace = trace();
            let local = if trace.concurrent {
                engine.concurrent(&trace, &mut meter)
            } else {
                engine.text_local(&trace, &mut meter)
            };
            local.is_none_or(|(text, saved)| {
                bytes = store(saved);
                text == trace.end
            })
        }
        "text-load-tip" | "text-load-full" | "text-load-other" => {
            engine.text_load(read(), how(work), &mut meter).is_none_or(|text| text == trace().end)
        }
        "messages" => {
            let trace = trace();
            if let Some(messages) = engine.messages(&trace) {
                bytes = messages.iter().map(Vec::len).sum();
                fs::write(output, frame(&messages)).expect("room for the output");
                meter.begin();
                meter.end();
            }
            true
        }
        "receive" => {
            let trace = trace();
            engine.receive(&trace, unframe(&read()), &mut meter).is_none_or(|text| text == trace.end)
        }
        "check" | "check-all" => {
            let batch = if work == "check" { MESSAGES_A_BATCH } else { usize::MAX };
            engines::ours::check_messages(unframe(&read()), batch, &mut meter);
            true
        }
        "map-local" => {
            let sets = sets(SETS.0, SETS.1);
            engine.map_local(&sets, &mut meter).is_none_or(|(map, saved)| {
                bytes = store(saved);
                is_map(&map, &sets)
            })
        }
        "map-load-tip" | "map-load-full" | "map-load-other" => {
            engine.map_load(read(), how(work), &mut meter).is_none_or(|map| is_map(&map, &sets(SETS.0, SETS.1)))
        }
        "list-local" => {
            let todos = todos(TODOS);
            engine.list_local(&todos, &mut meter).is_none_or(|(list, saved)| {
                bytes = store(saved);
                is_list(&list, &todos)
            })
        }
        "list-load-tip" | "list-load-full" | "list-load-other" => {
            engine.list_load(read(), how(work), &mut meter).is_none_or(|list| is_list(&list, &todos(TODOS)))
        }
        "sync" => {
            let size: usize = input.parse().expect("a number");
            let rounds = if count == "heap" { 1 } else { 5 };
            let mut pair = sync::Pair::new(size - rounds * MISSING);
            let mut readings = Vec::new();
            for _ in 0..rounds {
                pair.write(MISSING);
                let (reading, sent) = pair.sync(count == "heap");
                readings.push(reading);
                bytes = sent;
            }
            readings.sort_by_key(|reading| reading.cpu);
            print(readings[rounds / 2], bytes);
            return;
        }
        other => panic!("no work is called {other}"),
    };
    assert!(good, "{}: {work}: the result is wrong", NAMES[column]);
    if let Some(reading) = meter.reading() {
        print(reading, bytes);
    }
}

fn print(reading: Reading, bytes: usize) {
    println!("{} {} {} {bytes}", reading.cpu, reading.wall, reading.heap);
}

fn read_trace(name: &str) -> Trace {
    match name {
        "generated-one" => generate::sequential(GENERATED.0),
        "generated-two" => generate::concurrent(GENERATED.1),
        path => Trace::read(Path::new(path)),
    }
}

fn frame(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        out.extend_from_slice(&(message.len() as u32).to_le_bytes());
        out.extend_from_slice(message);
    }
    out
}

fn unframe(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (message, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        messages.push(message.to_vec());
        bytes = rest;
    }
    messages
}

// ---- The whole run ----

struct Options {
    traces: Option<PathBuf>,
    runs: usize,
    only: Vec<String>,
    write: Option<PathBuf>,
    /// Where the peers' figures are kept for later runs.
    keep: Option<PathBuf>,
    /// Where the peers' figures come from, if they are not measured.
    with: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { traces: None, runs: 5, only: Vec::new(), write: None, keep: None, with: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--traces" => options.traces = Some(value()?.into()),
                "--runs" => options.runs = value()?.parse().map_err(|_| "--runs wants a number".to_owned())?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--keep" => options.keep = Some(value()?.into()),
                "--with" => options.with = Some(value()?.into()),
                "--write" => options.write = Some(value()?.into()),
                other => return Err(format!("unknown argument {other}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, work: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| work.contains(only.as_str()))
    }
}

/// What one engine's piece of work cost: the median of the runs, the heap of one more.
#[derive(Debug, Clone, Copy)]
struct Cell {
    cpu: f64,
    heap: f64,
    bytes: f64,
}

/// Rows by name, cells by engine.
type Cells = BTreeMap<(String, usize), Cell>;

const OURS: usize = 0;
const DIAMOND: usize = 1;
const LORO: usize = 2;
const YRS: usize = 3;
/// The column of the bare batch check.
const BARE: usize = 90;
/// The same with all signatures in one batch.
const BARE_ALL: usize = 91;
/// A peer may take this many seconds of CPU time for one piece of work, and is left out of the row beyond that.
const PATIENCE: u64 = 60;

struct Bench<'a> {
    options: &'a Options,
    folder: PathBuf,
    cells: Cells,
    wrong: Vec<String>,
}

impl Bench<'_> {
    /// Runs one cell; `row` is what it is filed under.
    fn measure(
        &mut self,
        row: &str,
        column: usize,
        work: &str,
        trace: &str,
        input: &str,
        output: &str,
    ) -> Option<Cell> {
        let mut readings: Vec<Reading> = Vec::new();
        let (mut spent, mut bytes) = (0, 0.0);
        let engine = if column < BARE { column } else { OURS };
        if engine != OURS && self.options.with.is_some() || engines::get(engine).is_none() {
            return None;
        }
        let repeats = if work == "messages" || work == "sync" { 1 } else { self.options.runs.max(1) };
        for run in 0..=repeats {
            let counts = run == repeats;
            if counts && work == "messages" {
                break;
            }
            if !counts && spent > ENOUGH {
                continue;
            }
            let program = env::current_exe().expect("this program");
            let mode = if counts { "heap" } else { "time" };
            let arguments = [&engine.to_string(), work, trace, input, output, mode];
            let done = Command::new(program).arg("child").args(arguments).output().expect("a child process");
            let text = String::from_utf8_lossy(&done.stdout).into_owned();
            if engine != OURS && done.status.signal().is_some() {
                eprintln!("  {row}: {}: over {PATIENCE} s, left out", NAMES[engine]);
                return None;
            }
            if !done.status.success() {
                let error = String::from_utf8_lossy(&done.stderr);
                let error = error.lines().filter(|line| !line.starts_with("note:")).last().unwrap_or("it failed");
                eprintln!("  {row}: {}: {error}", NAMES[engine]);
                self.wrong.push(format!("{row}: {}: {error}", NAMES[engine]));
                return None;
            }
            let mut numbers = text.split_whitespace().map(|number| number.parse::<u64>().expect("a number"));
            let mut next = || numbers.next();
            let (Some(cpu), Some(wall), Some(heap), Some(size)) = (next(), next(), next(), next()) else { return None };
            spent += cpu;
            bytes = size as f64;
            readings.push(Reading { cpu, wall, heap });
        }
        let heap = readings.last()?.heap as f64;
        if readings.len() > 1 {
            readings.pop();
        }
        readings.sort_by_key(|reading| reading.cpu);
        let cell = Cell { cpu: readings[readings.len() / 2].cpu as f64 / 1e6, heap, bytes };
        eprintln!(
            "  {row}: {}: {} ms ({} runs, {} to {}), heap {:.2} MB, {} bytes",
            if column >= BARE { "bare check" } else { NAMES[column] },
            ms(cell.cpu),
            readings.len(),
            ms(readings[0].cpu as f64 / 1e6),
            ms(readings[readings.len() - 1].cpu as f64 / 1e6),
            cell.heap / 1e6,
            grouped(cell.bytes)
        );
        self.cells.insert((row.to_owned(), column), cell);
        Some(cell)
    }

    fn file(&self, name: &str, engine: usize) -> String {
        self.folder.join(format!("{name}-{engine}")).to_string_lossy().into_owned()
    }

    /// Local work and loads of one kind for every engine: rows `NAME, local`, `NAME, load tip`, `NAME, load full` and `NAME, load the second way`.
    fn family(&mut self, name: &str, kind: &str, trace: &str) {
        if !self.options.wants(name) {
            return;
        }
        for engine in 0..NAMES.len() {
            let file = self.file(name, engine);
            if self.measure(&format!("{name}, local"), engine, &format!("{kind}-local"), trace, "", &file).is_none() {
                continue;
            }
            let tip = format!("{name}, load, tip");
            let cell = self.measure(&tip, engine, &format!("{kind}-load-tip"), trace, &file, "");
            let full = format!("{name}, load, full");
            if engine == OURS {
                self.measure(&full, engine, &format!("{kind}-load-full"), trace, &file, "");
            } else if let Some(cell) = cell {
                self.cells.insert((full, engine), cell);
            }
            let other = format!("{file}.other");
            if Path::new(&other).exists() {
                let row = format!("{name}, load, second way");
                self.measure(&row, engine, &format!("{kind}-load-other"), trace, &other, "");
                if let Some(cell) = self.cells.get_mut(&(row, engine)) {
                    cell.bytes = fs::metadata(&other).map_or(0.0, |data| data.len() as f64);
                }
            }
        }
    }

    /// One message an edit, for every engine.
    fn messages(&mut self, name: &str, trace: &str) {
        let row = format!("{name}, a message an edit");
        if !self.options.wants(&row) {
            return;
        }
        for engine in 0..NAMES.len() {
            let file = self.file(&row, engine);
            let Some(sent) = self.measure(&format!("{row}, made"), engine, "messages", trace, "", &file) else {
                continue;
            };
            if engine == OURS {
                self.measure(&row, BARE, "check", trace, &file, "");
                self.measure(&row, BARE_ALL, "check-all", trace, &file, "");
            }
            self.measure(&row, engine, "receive", trace, &file, "");
            if let Some(cell) = self.cells.get_mut(&(row.clone(), engine)) {
                cell.bytes = sent.bytes;
            }
            let _ = fs::remove_file(&file);
        }
    }
}

fn run(options: &Options) -> ExitCode {
    let folder = env::temp_dir().join(format!("bench-peers-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for what is saved");
    // (name, path, concurrent), the order first.
    let mut traces: Vec<(String, String, bool, usize)> = Vec::new();
    let given = options.traces.as_ref().map(|folder| {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect::<Vec<_>>()
    });
    match given {
        Some(paths) => {
            for path in paths.iter().filter(|path| {
                let name = path.to_string_lossy();
                name.ends_with(".json.gz") || name.ends_with(".json")
            }) {
                let trace = Trace::read(path);
                traces.push((trace.name.clone(), path.to_string_lossy().into_owned(), trace.concurrent, trace.len()));
            }
            assert!(!traces.is_empty(), "no trace (NAME.json.gz) lies in that folder");
        }
        None => {
            eprintln!("No folder of traces was given (TRACES=folder): traces of like shape are generated from a seed.");
            traces.push(("generated-one".into(), "generated-one".into(), false, GENERATED.0));
            traces.push(("generated-two".into(), "generated-two".into(), true, GENERATED.1));
        }
    }
    traces.sort_by(|a, b| (a.2, b.3, &a.0).cmp(&(b.2, a.3, &b.0)));
    let mut bench = Bench { options, folder: folder.clone(), cells: Cells::new(), wrong: Vec::new() };
    if let Some(path) = &options.with {
        let text = fs::read_to_string(path).expect("the figures that were kept");
        bench.cells.extend(text.lines().filter_map(kept));
    }
    for (name, path, _, _) in &traces {
        bench.family(name, "text", path);
    }
    let long = traces.iter().find(|(name, ..)| name == "automerge-paper").or(traces.iter().find(|trace| !trace.2));
    if let Some((name, path, ..)) = long {
        bench.messages(name, path);
    }
    bench.family("map", "map", "");
    bench.family("nested nodes", "list", "");
    if options.wants("sync") {
        for size in [10_000, 1_000_000] {
            bench.measure(
                &format!("sync, {MISSING} missing in {}", grouped(size as f64)),
                OURS,
                "sync",
                "",
                &size.to_string(),
                "",
            );
        }
    }
    let _ = fs::remove_dir_all(&folder);
    if let Some(path) = &options.keep {
        let lines = bench
            .cells
            .iter()
            .filter(|((_, column), _)| (1..BARE).contains(column))
            .map(|((row, column), cell)| format!("{row}\t{column}\t{}\t{}\t{}\n", cell.cpu, cell.heap, cell.bytes));
        fs::write(path, lines.collect::<String>()).expect("the figures can be kept");
    }
    let report = report(&bench, &traces);
    println!("{report}");
    if let Some(path) = &options.write {
        write_between(path, "peers", report.trim());
    }
    if bench.wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        eprintln!("wrong or failed:\n  {}", bench.wrong.join("\n  "));
        ExitCode::FAILURE
    }
}

/// A line of the file that `--keep` writes.
fn kept(line: &str) -> Option<((String, usize), Cell)> {
    let mut fields = line.split('\t');
    let (row, column) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
    let mut number = || fields.next()?.parse::<f64>().ok();
    Some(((row, column), Cell { cpu: number()?, heap: number()?, bytes: number()? }))
}

// ---- The report ----

/// What a figure has to stay under.
struct Bar {
    words: String,
    limit: f64,
    strict: bool,
}

fn ms(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { grouped(value.round()) }
}

fn mb(value: f64) -> String {
    format!("{:.2}", value / 1e6)
}

fn grouped(value: f64) -> String {
    let digits = format!("{}", value as u64);
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

struct Table<'a> {
    bench: &'a Bench<'a>,
    out: String,
    reached: usize,
    missed: Vec<String>,
}

impl Table<'_> {
    fn value(&self, row: &str, column: usize, of: fn(&Cell) -> f64) -> Option<f64> {
        self.bench.cells.get(&(row.to_owned(), column)).map(of)
    }

    fn head(&mut self, title: &str) {
        self.out.push_str(&format!("\n{title}\n\n| work | ours |"));
        for column in 1..NAMES.len() {
            self.out.push_str(&format!(" {} |", engines::short(column)));
        }
        self.out.push_str(" must reach | bar | ours ÷ bar | |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
    }

    fn row(&mut self, label: &str, row: &str, of: fn(&Cell) -> f64, show: fn(f64) -> String, bars: Vec<Bar>) {
        let values: Vec<Option<f64>> = (0..NAMES.len()).map(|engine| self.value(row, engine, of)).collect();
        if values.iter().all(Option::is_none) {
            return;
        }
        self.out.push_str(&format!("| {label} |"));
        for value in &values {
            self.out.push_str(&format!(" {} |", value.filter(|value| *value > 0.0).map_or("–".into(), show)));
        }
        let bars: Vec<Bar> = bars.into_iter().filter(|bar| bar.limit.is_finite()).collect();
        let words: Vec<&str> = bars.iter().map(|bar| &*bar.words).collect();
        let hardest = bars.iter().min_by(|a, b| a.limit.total_cmp(&b.limit));
        match (values[OURS], hardest) {
            (Some(ours), Some(bar)) => {
                let reached = bars.iter().all(|bar| if bar.strict { ours < bar.limit } else { ours <= bar.limit });
                let verdict = if reached { "reached" } else { "**missed**" };
                if reached {
                    self.reached += 1
                } else {
                    self.missed.push(format!("{label} ({:.2})", ours / bar.limit))
                }
                let (limit, ratio) = (show(bar.limit), ours / bar.limit);
                self.out.push_str(&format!(" {} | {limit} | {ratio:.2} | {verdict} |\n", words.join(", ")));
            }
            _ => self.out.push_str(" | | | |\n"),
        }
    }

    fn times(&self, factor: f64, row: &str, column: usize, of: fn(&Cell) -> f64) -> Bar {
        let name = if column == BARE { "bare check" } else { engines::short(column) };
        let limit = self.value(row, column, of).map_or(f64::INFINITY, |value| value * factor);
        if factor == 1.0 {
            Bar { words: format!("< {name}"), limit, strict: true }
        } else {
            Bar { words: format!("≤ {factor} × {name}"), limit, strict: false }
        }
    }
}

fn report(bench: &Bench<'_>, traces: &[(String, String, bool, usize)]) -> String {
    let cpu: fn(&Cell) -> f64 = |cell| cell.cpu;
    let heap: fn(&Cell) -> f64 = |cell| cell.heap;
    let bytes: fn(&Cell) -> f64 = |cell| cell.bytes;
    let mut table = Table { bench, out: String::new(), reached: 0, missed: Vec::new() };
    table.out.push_str(&format!(
        "Peers: {}. None of them signs or checks anything; ours signs every change and checks hashes and signatures. Granularity: 256 edits (sets, \
         pushes) a change, and a peer's commit or transaction is as large; diamond-types and cola have no commits. Medians of {} processes each.\n",
        NAMES[1..].join(", "),
        bench.options.runs
    ));
    if bench.options.traces.is_none() {
        table.out.push_str("No traces were given: these are generated ones of like shape.\n");
    }
    let long = traces.iter().find(|(name, ..)| name == "automerge-paper").or(traces.iter().find(|trace| !trace.2));
    let message_row = long.map(|(name, ..)| format!("{name}, a message an edit")).unwrap_or_default();

    table.head("CPU time over all threads, milliseconds:");
    for (name, _, concurrent, _) in traces {
        let (local, tip, full) =
            (format!("{name}, local"), format!("{name}, load, tip"), format!("{name}, load, full"));
        if *concurrent {
            table.row(&local, &local, cpu, ms, vec![]);
            table.row(&tip, &tip, cpu, ms, vec![table.times(1.0, &tip, LORO, cpu)]);
            table.row(&full, &full, cpu, ms, vec![table.times(1.0, &full, LORO, cpu)]);
        } else {
            let bars = vec![table.times(2.0, &local, DIAMOND, cpu), table.times(1.0, &local, LORO, cpu)];
            table.row(&local, &local, cpu, ms, bars);
            let bars = vec![table.times(2.5, &tip, DIAMOND, cpu), table.times(1.0, &tip, LORO, cpu)];
            table.row(&tip, &tip, cpu, ms, bars);
            let bars = vec![table.times(5.0, &full, DIAMOND, cpu), table.times(1.0, &full, LORO, cpu)];
            table.row(&full, &full, cpu, ms, bars);
        }
    }
    let bars = vec![table.times(1.3, &message_row, BARE, cpu)];
    table.row(&format!("{message_row}, remote apply"), &message_row, cpu, ms, bars);
    for name in ["map", "nested nodes"] {
        let peers: &[usize] = if name == "map" { &[LORO, YRS] } else { &[LORO] };
        for row in [format!("{name}, local"), format!("{name}, load, tip"), format!("{name}, load, full")] {
            let bars = peers.iter().map(|peer| table.times(1.0, &row, *peer, cpu)).collect();
            table.row(&row, &row, cpu, ms, bars);
        }
    }
    let families: Vec<&str> = traces.iter().map(|trace| &*trace.0).chain(["map", "nested nodes"]).collect();
    for name in &families {
        let row = format!("{name}, load, second way");
        table.row(&row, &row, cpu, ms, vec![]);
    }

    table.head("Bytes, the whole history:");
    for name in &families {
        let row = format!("{name}, local");
        let sequential = traces.iter().any(|trace| trace.0 == *name && !trace.2);
        let bars = match *name {
            "nested nodes" => vec![table.times(1.0, &row, LORO, bytes)],
            _ if sequential => vec![table.times(2.0, &row, DIAMOND, bytes)],
            _ => vec![],
        };
        table.row(name, &row, bytes, grouped, bars);
    }
    for name in &families {
        let row = format!("{name}, load, second way");
        table.row(&format!("{name}, second way"), &row, bytes, grouped, vec![]);
    }
    table.row(&message_row, &message_row, bytes, grouped, vec![]);

    table.head("Peak heap above the beginning, megabytes (10⁶ bytes):");
    let mut rows: Vec<String> = families
        .iter()
        .flat_map(|name| [format!("{name}, local"), format!("{name}, load, tip"), format!("{name}, load, full")])
        .collect();
    rows.push(message_row);
    for row in &rows {
        let mut bar = table.times(1.0, row, LORO, heap);
        bar.strict = false;
        bar.words = "≤ loro".into();
        table.row(row, row, heap, mb, vec![bar]);
    }

    let rows: Vec<_> = bench.cells.iter().filter(|((_, column), _)| *column >= BARE).collect();
    if !rows.is_empty() {
        table.out.push_str("\nThe bare check of the messages' signatures, milliseconds:");
        for ((_, column), cell) in rows {
            let batch = if *column == BARE {
                format!("{} at a time", grouped(MESSAGES_A_BATCH as f64))
            } else {
                "all at once".into()
            };
            table.out.push_str(&format!(" {} ({batch})", ms(cell.cpu)));
        }
        table.out.push_str(".\n");
    }

    let sizes = [10_000.0, 1_000_000.0].map(|size| format!("sync, {MISSING} missing in {}", grouped(size)));
    let found: Vec<&Cell> = sizes.iter().filter_map(|row| bench.cells.get(&(row.clone(), OURS))).collect();
    if let [small, large] = found[..] {
        table.out.push_str("\nSync (ours), one session in memory, both directions:\n\n| | CPU ms | bytes | peak heap, MB |\n|---|---|---|---|\n");
        for (row, cell) in sizes.iter().zip([small, large]) {
            let (cpu, bytes, heap) = (ms(cell.cpu), grouped(cell.bytes), mb(cell.heap));
            table.out.push_str(&format!("| {} | {cpu} | {bytes} | {heap} |\n", row.trim_start_matches("sync, ")));
        }
        let (time, size) = (large.cpu / small.cpu, large.bytes / small.bytes);
        let reached = time <= 1.3 && size <= 1.3;
        if reached {
            table.reached += 1
        } else {
            table.missed.push(format!("sync ({time:.2}, {size:.2})"))
        }
        let verdict = if reached { "reached" } else { "**missed**" };
        table
            .out
            .push_str(&format!("| hundredfold history ÷ small one (≤ 1.3) | {time:.2} | {size:.2} | {verdict} |\n"));
    }
    let (reached, missed) = (table.reached, table.missed.join("; "));
    table.out.push_str(&format!(
        "\n{reached} reached, {} missed{}{missed}.\n",
        table.missed.len(),
        if missed.is_empty() { "" } else { ": " }
    ));
    table.out
}
