//! How long a typed line takes until three other nodes show it, durable everywhere, beside bare sockets with the same pattern of hops and
//! flushed writes.
//!
//! ```text
//! hub:     typed ─pipe─▶ writer ─▶ own disk ─socket─▶ hub ─┬─socket─▶ reader ─▶ own disk ─pipe─▶ shown   (three readers)
//!                                                          └─▶ hub's disk
//! direct:  typed ─pipe─▶ writer ─▶ own disk ─socket─▶ reader ─▶ own disk ─pipe─▶ shown                    (three readers)
//! ```
//! Both are processes of their own on one machine, with pipes for typing and showing; ours sign, check, merge and keep an index beside.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek as _, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use side_tests::measure;
use side_tests::mesh::lonely;
use side_tests::process::{PATIENCE, Process};
use side_tests::world::{Home, Watcher};

/// Lines that are measured.
const LINES: usize = 400;
/// Lines before them that warm everything up.
const WARM_UP: usize = 40;
/// What a signed note of this length takes on the wire.
const FRAME: usize = 300;
/// The bar: our middle line against that of the bare sockets.
const BAR: f64 = 3.0;
const NODES: [&str; 4] = ["node1", "node2", "node3", "node4"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let ended = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hub", file] => hub(Path::new(file)),
        ["source", file] => source(Path::new(file)),
        ["leaf", address, file] => leaf(address, Path::new(file)),
        _ => return if measure() { ExitCode::SUCCESS } else { ExitCode::FAILURE },
    };
    if let Err(error) = ended {
        eprintln!("bench-latency: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure() -> bool {
    measure::head();
    // Not `all`: each way is measured, whatever came of the one before.
    let reached = Way::BOTH.map(measure_way);
    reached == [true; Way::BOTH.len()]
}

/// How a line comes to the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Over a relay; nodes of one root reach each other directly as well.
    Relay,
    Direct,
}

impl Way {
    const BOTH: [Way; 2] = [Way::Relay, Way::Direct];
}

fn measure_way(way: Way) -> bool {
    // In turns, so that a machine that is busy for a while is so for both.
    let mut ours = Ours::start(way);
    let mut bare = Bare::start(way);
    let (mut our_times, mut bare_times) = (Vec::new(), Vec::new());
    for part in 0..8 {
        our_times.extend(times(&mut ours.nodes, part));
        bare_times.extend(times(&mut bare.leaves, part));
    }
    let label = if way == Way::Relay { "relay and direct" } else { "direct" };
    let mut reached = true;
    for (name, share, bar) in [("p50", 0.50, Some(BAR)), ("p99", 0.99, None)] {
        let (our, bare) = (percentile(&mut our_times, share), percentile(&mut bare_times, share));
        let ratio = our.as_secs_f64() / bare.as_secs_f64();
        let fine = bar.map(|bar| ratio <= bar);
        reached &= fine != Some(false);
        measure::row(
            &format!("typed line to shown on three others, {label}, {name}"),
            &format!("{:.2} ms", our.as_secs_f64() * 1e3),
            &format!("{:.2} ms bare sockets", bare.as_secs_f64() * 1e3),
            &format!("{ratio:.2}x"),
            fine,
        );
    }
    reached
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// Types lines into the first process one after the other, each when all others have shown the one before.
fn times(processes: &mut [Process], part: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    let (warm_up, lines) = (WARM_UP / 8, LINES / 8);
    for number in 0..warm_up + lines {
        let line = format!("line {part}.{number}. of the text that people type");
        let typed = Instant::now();
        assert!(processes[0].type_line(&line), "{}", processes[0].report());
        let shown = processes[1..].iter_mut().map(|process| process.expect_within(&line, PATIENCE).0).max();
        if number >= warm_up {
            times.push(shown.expect("three others").saturating_duration_since(typed));
        }
    }
    times
}

struct Ours {
    nodes: Vec<Process>,
    _watcher: Option<Watcher>,
    _home: Home,
    _data: tempfile::TempDir,
}

impl Ours {
    fn start(way: Way) -> Self {
        let data = folder();
        let watcher = (way == Way::Relay).then(|| Watcher::start(data.path()));
        let home = watcher.as_ref().map_or_else(lonely, |watcher| Home::new(&watcher.url()));
        for name in NODES {
            home.init(name);
        }
        let mut nodes: Vec<Process> = NODES.map(|name| home.run(name)).into();
        // Everybody has heard everybody: all are connected.
        for name in 0..NODES.len() {
            let word = format!("{} is here", NODES[name]);
            nodes[name].type_line(&word);
            for node in &mut nodes {
                node.expect(&word);
            }
        }
        Self { nodes, _watcher: watcher, _home: home, _data: data }
    }
}

struct Bare {
    leaves: Vec<Process>,
    _hub: Option<Process>,
    _data: tempfile::TempDir,
}

impl Bare {
    fn start(way: Way) -> Self {
        let data = folder();
        let own = std::env::current_exe().expect("a program knows where it is");
        let role = |args: &[&str]| {
            let mut command = Command::new(&own);
            command.args(args);
            Process::start(args[0], command)
        };
        let file = |name: &str| data.path().join(name).to_str().expect("a text").to_owned();
        let middle = if way == Way::Relay { "hub" } else { "source" };
        let mut middle = role(&[middle, &file(middle)]);
        let address = middle.expect("ready ").replace("ready ", "");
        let leaf = |name: &str| {
            let mut leaf = role(&["leaf", &address, &file(name)]);
            leaf.expect("ready");
            leaf
        };
        // Who types is a leaf of the hub, or the source itself.
        let names = if way == Way::Relay { &NODES[..] } else { &NODES[1..] };
        let mut leaves: Vec<Process> = names.iter().map(|name| leaf(name)).collect();
        for _ in names {
            middle.expect("joined");
        }
        let hub = match way {
            Way::Relay => Some(middle),
            Way::Direct => {
                leaves.insert(0, middle);
                None
            }
        };
        Self { leaves, _hub: hub, _data: data }
    }
}

/// On the disk that the nodes use as well.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// With room set aside, as our database has it: a file that grows costs more to flush.
fn durable_file(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    file.write_all(&vec![0; 2 * (WARM_UP + LINES) * FRAME])?;
    file.sync_all()?;
    file.rewind()?;
    Ok(file)
}

/// Passes each frame to everybody else at once, and keeps it beside.
fn hub(path: &Path) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready {}", listener.local_addr()?);
    let mut file = durable_file(path)?;
    let (keep, kept) = mpsc::channel::<[u8; FRAME]>();
    thread::spawn(move || {
        while let Ok(frame) = kept.recv() {
            let mut bytes = frame.to_vec();
            while let Ok(frame) = kept.try_recv() {
                bytes.extend(frame);
            }
            if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
                return;
            }
        }
    });
    let peers: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    for (number, stream) in listener.incoming().enumerate() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        peers.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
        println!("joined");
        let (keep, peers) = (keep.clone(), Arc::clone(&peers));
        thread::spawn(move || {
            let mut frame = [0; FRAME];
            while stream.read_exact(&mut frame).is_ok() {
                for (other, peer) in peers.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().enumerate() {
                    if other != number {
                        let _ = peer.write_all(&frame);
                    }
                }
                let _ = keep.send(frame);
            }
        });
    }
    Ok(())
}

/// Keeps what is typed and sends it to whoever has connected.
fn source(path: &Path) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready {}", listener.local_addr()?);
    let peers: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let joining = Arc::clone(&peers);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if stream.set_nodelay(true).is_ok() {
                joining.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
                println!("joined");
            }
        }
    });
    let mut file = durable_file(path)?;
    for line in BufReader::new(io::stdin()).lines() {
        let frame = framed(&line?);
        file.write_all(&frame)?;
        file.sync_data()?;
        for peer in peers.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let _ = peer.write_all(&frame);
        }
    }
    Ok(())
}

fn framed(line: &str) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let len = line.len().min(FRAME - 1);
    frame[..len].copy_from_slice(&line.as_bytes()[..len]);
    frame
}

/// Keeps what is typed and sends it; keeps what comes and shows it.
fn leaf(address: &str, path: &Path) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    println!("ready");
    let (mut incoming, mut file) = (stream.try_clone()?, durable_file(path)?);
    thread::spawn(move || {
        let mut frame = [0; FRAME];
        while incoming.read_exact(&mut frame).is_ok() {
            if file.write_all(&frame).and_then(|()| file.sync_data()).is_err() {
                return;
            }
            let text = frame.split(|byte| *byte == 0).next().unwrap_or_default();
            println!("{}", String::from_utf8_lossy(text));
        }
    });
    let (mut stream, mut file) = (stream, durable_file(path)?);
    for line in BufReader::new(io::stdin()).lines() {
        let frame = framed(&line?);
        file.write_all(&frame)?;
        file.sync_data()?;
        stream.write_all(&frame)?;
    }
    Ok(())
}
