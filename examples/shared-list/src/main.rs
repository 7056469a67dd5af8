//! A list that several people share. Each has a file and a key of their own, writes offline, and meets the others over TCP; who signs two changes of one
//! number is caught. `docs/guide/embedding.md` goes through it.

mod list;
mod wire;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;

use list::{Copy, Item, now_ms};

/// Why a command failed, in words.
pub(crate) type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: shared-list new NAME             make NAME.key and NAME.list
       shared-list add NAME TEXT        put something on the list
       shared-list done NAME NUMBER     tick it off
       shared-list show NAME            print the list
       shared-list serve NAME ADDRESS   let others sync, one after the other
       shared-list sync NAME ADDRESS    sync with one who serves";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["new", name] => new(name),
        ["add", name, text] => add(name, text),
        ["done", name, number] => done(name, number),
        ["show", name] => show(name),
        ["serve", name, address] => serve(name, address),
        ["sync", name, address] => sync(name, address),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn new(name: &str) -> Result<(), Failure> {
    let copy = Copy::create(name)?;
    say(&format!("{name} is {}", copy.list.author()))
}

fn add(name: &str, text: &str) -> Result<(), Failure> {
    let mut copy = Copy::open(name)?;
    // One signed change. It is on disk before anybody hears of it.
    let commit = copy.list.transact(now_ms(), |list| {
        list.items.push(Item { text: text.into(), done: false.into() });
    })?;
    copy.save()?;
    say(&format!("signed {} as number {}", short(&commit.change.id().0), commit.change.header().seq))
}

fn done(name: &str, number: &str) -> Result<(), Failure> {
    let at = number.parse::<usize>()?.checked_sub(1).ok_or("the list begins with 1")?;
    let mut copy = Copy::open(name)?;
    copy.list.try_transact(now_ms(), |list| {
        let item = list.items.get_mut(at)?;
        item.ok_or("the list is shorter")?.done.set(true);
        Ok::<(), Failure>(())
    })?;
    copy.save()
}

fn show(name: &str) -> Result<(), Failure> {
    let copy = Copy::open(name)?;
    let items = copy.list.view()["items"].as_array().cloned().unwrap_or_default();
    for (at, item) in items.iter().enumerate() {
        let mark = if item["done"] == true { 'x' } else { ' ' };
        say(&format!("{:>2} [{mark}] {}", at + 1, item["text"].as_str().unwrap_or("?")))?;
    }
    for proof in copy.list.replica().proofs() {
        say(&format!("{} has signed two changes of one number", proof.author()))?;
    }
    say(&format!("digest {}", short(&copy.list.digest())))
}

fn serve(name: &str, address: &str) -> Result<(), Failure> {
    let listener = TcpListener::bind(address)?;
    say(&format!("{name} serves at {}", listener.local_addr()?))?;
    for stream in listener.incoming() {
        let mut copy = Copy::open(name)?;
        // A stranger who breaks the rules ends their own session and nothing else.
        match stream.map_err(Failure::from).and_then(|stream| wire::run(&stream, &mut copy)) {
            Ok(report) => tell(&report)?,
            Err(error) => say(&format!("a session failed: {error}"))?,
        }
    }
    Ok(())
}

fn sync(name: &str, address: &str) -> Result<(), Failure> {
    let mut copy = Copy::open(name)?;
    tell(&wire::run(&TcpStream::connect(address)?, &mut copy)?)
}

fn tell(report: &wire::Report) -> Result<(), Failure> {
    say(&format!("in sync, {} new", report.applied))?;
    report.caught.iter().try_for_each(|author| say(&format!("caught: {author} has signed two changes of one number")))
}

/// A line on stdout. Whoever started this may have stopped reading.
fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn short(bytes: &[u8; 32]) -> String {
    hex::encode(&bytes[..6])
}
