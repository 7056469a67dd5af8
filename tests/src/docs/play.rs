//! Plays a page: its terminals, in a home folder of its own, beside a folder that looks like a clone of the repository.
//!
//! `cargo run` on a page means the program that cargo has built before the test, by the folder it is called in, by `-p` or by `--example`, and `cargo watch -x "run …"` means
//! the same, once. Everything else of cargo is refused: a page that needs it has to be marked. The ports that our programs have by
//! default are the system's in a test: where a page starts a relay or a chain, the environment says so to the programs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::page::{self, Act, Console, Input, Step};
use super::shape::{self, Lines, Names};
use super::terminal::{Sight, Terminal};
use crate::process::{binary, workspace};

/// How long a step may take. Generous: it is waited out only by a page that is wrong.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long between two tries of a command that is repeated.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// Prints what happens at each terminal: for whoever writes a page.
const SHOW_VARIABLE: &str = "SIDE_DOCS_SHOW";

/// The programs that pages use.
const PROGRAMS: [&str; 3] = ["side-node", "side-watcher", "shared-list"];
/// The examples that pages use.
const EXAMPLES: [&str; 1] = ["follow"];
/// The port of a relay that nobody told another one.
const RELAY_PORT: u16 = 8080;
/// The port of a devnet that nobody told another one. The next one is for the second of two chains.
const CHAIN_PORT: u16 = 3002;

/// Above this exit code a shell tells of a signal: somebody on the page has killed the program.
const KILLED: i32 = 128;

/// Our programs' exit code for a command that is wrong, and stays so.
const WRONG_USAGE: i32 = 2;

/// How a page shows that a command fails: in words, as JSON, and where `doctor` finds something.
const ERRORS: [&str; 3] = ["error:", "{\"error\":", "TROUBLE "];
/// What the reader answers where a page shows `********`.
pub const PASSPHRASE: &str = "correct horse battery staple";
/// How a page shows what is typed and not seen.
const UNSEEN: &str = "********";

/// `cargo` of the pages.
const CARGO: &str = r#"#!/usr/bin/env bash
# cargo run in a page: the program that was built before the test.
called="cargo $*"
refuse() { echo "error: this test does not play: $called" >&2; exit 101; }
[ "$1" != watch ] || { [ "$2" = -x ] || refuse; eval "set -- $3"; }
[ "$1" = run ] || refuse
shift
program=$(basename "$PWD")
while [ $# -gt 0 ]; do
  case $1 in
    -p) program=$2; shift 2 ;;
    --example) program=example-$2; shift 2 ;;
    --release | --quiet | -q | --locked) shift ;;
    --) shift; break ;;
    *) refuse ;;
  esac
done
command -v "$program" >/dev/null || refuse
exec "$program" "$@"
"#;

/// Plays the page at `path`, from the workspace's folder. `devnet` is the program that `btc-devnet` means there.
///
/// # Panics
/// With the line of the page, if something is not as the page says.
pub fn play(path: &str, devnet: &Path) {
    let text = fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    if let Err(error) = play_text(path, &text, devnet) {
        panic!("{path}:{error}");
    }
}

/// Plays the text of a page.
///
/// # Errors
/// The line of the page, and what was not as it says.
pub fn play_text(name: &str, text: &str, devnet: &Path) -> Result<(), String> {
    let steps = page::read(text).map_err(|error| format!(" {error}"))?;
    let mut scene = Scene::new(&steps, devnet);
    let result = steps.iter().try_for_each(|step| scene.step(step)).and_then(|()| scene.leave());
    if std::env::var_os(SHOW_VARIABLE).is_some() {
        eprintln!("== {name}\n{}", scene.told);
    }
    result
}

struct Scene {
    /// The reader's machine: a home, a clone, programs.
    machine: TempDir,
    names: Names,
    terminals: BTreeMap<String, Terminal>,
    variables: Vec<(&'static str, OsString)>,
    /// Terminals whose present command's end is looked at later: its line, and whether it may fail.
    running: BTreeMap<String, (usize, bool)>,
    told: String,
}

impl Scene {
    fn new(steps: &[Step], devnet: &Path) -> Self {
        let machine = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| machine.path().join(name);
        for folder in ["homes", "programs", "clone", "keyboards"] {
            fs::create_dir(at(folder)).expect("a folder");
        }
        let commands: String = steps
            .iter()
            .filter_map(|step| if let Step::Console(console) = step { Some(&console.acts) } else { None })
            .flatten()
            .filter_map(
                |act| if let Input::Command(command) = &act.input { Some(format!("{command}\n")) } else { None },
            )
            .collect();
        for program in PROGRAMS.into_iter().filter(|program| commands.contains(program)) {
            symlink(binary(program), at("programs").join(program)).expect("a link");
        }
        for example in EXAMPLES.into_iter().filter(|example| commands.contains(&format!("--example {example}"))) {
            symlink(binary(example), at("programs").join(format!("example-{example}"))).expect("a link");
        }
        write_program(&at("programs").join("cargo"), CARGO);
        // What a clone shows, without what was built in it.
        for entry in fs::read_dir(workspace()).expect("the workspace").flatten() {
            let name = entry.file_name();
            if !matches!(name.to_str(), Some("target" | ".git")) {
                symlink(entry.path(), at("clone").join(name)).expect("a link");
            }
        }
        let mut path = OsString::from(at("programs"));
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut variables = vec![("PATH", path)];
        let mut names = Names::default();
        if commands.contains("side-watcher") {
            let port = names.port(&RELAY_PORT.to_string());
            variables.push(("SIDE_LISTEN", format!("127.0.0.1:{port}").into()));
            variables.push(("SIDE_RELAY", format!("ws://127.0.0.1:{port}").into()));
        }
        if commands.contains("btc-devnet") {
            let (port, next) = two_ports();
            names.set_port(CHAIN_PORT, port);
            names.set_port(CHAIN_PORT + 1, next);
            // A server belongs to a network.
            variables.push(("SIDE_BTC_NETWORK", "regtest".into()));
            variables.push(("SIDE_BTC_ESPLORA", format!("http://127.0.0.1:{port}").into()));
            let listen = format!("case \"$*\" in *--listen*) ;; *) set -- --listen 127.0.0.1:{port} \"$@\" ;; esac");
            let script = format!("#!/usr/bin/env bash\n{listen}\nexec '{}' \"$@\"\n", devnet.display());
            write_program(&at("programs").join("btc-devnet"), &script);
        }
        let told = String::new();
        Self { machine, names, terminals: BTreeMap::new(), variables, running: BTreeMap::new(), told }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machine.path().join(name)
    }

    /// The home folder on a machine, made when it is first asked for.
    fn home(&self, machine: &str) -> PathBuf {
        let home = self.path("homes").join(if machine.is_empty() { "home" } else { machine });
        fs::create_dir_all(&home).expect("a folder");
        home
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Console(console) => console
                .acts
                .iter()
                .try_for_each(|act| self.act(console, act).map_err(|error| format!("{}: {error}", act.line))),
            Step::File { line, path, text } => {
                let (path, machine) = path.split_once(" on ").unwrap_or((path, ""));
                let path = match path.strip_prefix("~/") {
                    Some(rest) => self.home(machine).join(rest),
                    None => return Err(format!("{line}: a page writes into the home folder: ~/…")),
                };
                let text = self.names.fill(text);
                fs::write(&path, text).map_err(|error| format!("{line}: {}: {error}", path.display()))
            }
            Step::Quote { line, path, text } => {
                let source =
                    fs::read_to_string(workspace().join(path)).map_err(|error| format!("{line}: {path}: {error}"))?;
                if stands_in(text, &source) { Ok(()) } else { Err(format!("{line}: this does not stand in {path}")) }
            }
        }
    }

    fn act(&mut self, console: &Console, act: &Act) -> Result<(), String> {
        let name = console.terminal.as_str();
        if !self.terminals.contains_key(name) {
            let machine = machine_of(name);
            let mut variables = self.variables.clone();
            variables.push(("HOME", self.home(machine).into_os_string()));
            let terminal = Terminal::open(&self.path("clone"), &self.path("keyboards").join(name), &variables);
            self.terminals.insert(name.to_owned(), terminal);
        }
        match &act.input {
            Input::Command(command) => self.command(console, act, command),
            Input::Line(line) => {
                let line = self.names.fill(line);
                self.tell(format!("[{name}] > {line}"));
                let terminal = self.terminals.get_mut(name).expect("it was opened");
                if !terminal.is_busy() || !terminal.type_line(&line) {
                    return Err(format!("nothing runs in terminal {name} that would read this"));
                }
                self.among(name, act)
            }
            Input::Nothing => self.among(name, act),
            Input::Interrupt => {
                let terminal = &self.terminals[name];
                if !terminal.is_busy() {
                    return Err(format!("nothing runs in terminal {name}"));
                }
                terminal.interrupt();
                self.running.remove(name);
                let over = terminal.wait(PATIENCE, |sight| sight.exit);
                over.map_err(|sight| wrong("it does not end at Ctrl-C", &act.output, &sight))?;
                self.among(name, act)
            }
        }
    }

    /// What was printed, as its reader would see it: in a home folder of their own.
    fn seen(&self, terminal: &str, mut sight: Sight) -> Sight {
        let home = self.home(machine_of(terminal)).display().to_string();
        for line in &mut sight.lines {
            *line = line.replace(&home, "~");
        }
        sight
    }

    fn command(&mut self, console: &Console, act: &Act, command: &str) -> Result<(), String> {
        let name = console.terminal.as_str();
        self.settle(name)?;
        let command = self.names.fill(command);
        let may_fail = act.output.iter().any(|line| ERRORS.iter().any(|error| line.trim_start().starts_with(error)));
        let questions: Vec<&str> =
            act.output.iter().filter_map(|line| line.strip_suffix(UNSEEN)).map(str::trim_end).collect();
        let output: Vec<String> =
            act.output.iter().map(|line| line.strip_suffix(UNSEEN).unwrap_or(line).to_owned()).collect();
        let next = console.acts.iter().find(|other| other.line > act.line);
        // In a terminal that the page names, a program may go on unless another command follows.
        let may_run = !next.is_some_and(|next| matches!(next.input, Input::Command(_)))
            && !act.output.is_empty()
            && !is_unnamed(name)
            && !console.repeat;
        let how = if console.any_order { Lines::AnyOrder } else { Lines::Whole };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let terminal = self.terminals.get_mut(name).expect("it was opened");
            terminal.command(&if console.on_a_terminal { on_a_terminal(&command) } else { command.clone() });
            for question in &questions {
                let asked = |sight: &Sight| match sight.exit {
                    None => (sight.begun.trim_end() == self.names.fill(question)).then_some(true),
                    Some(_) => Some(false),
                };
                match terminal.wait(PATIENCE, asked) {
                    Ok(true) => drop(terminal.type_line(PASSPHRASE)),
                    // What it said instead is compared below.
                    Ok(false) => break,
                    Err(sight) => return Err(wrong(&format!("it does not ask {question:?}"), &act.output, &sight)),
                }
            }
            let names = &mut self.names;
            let judge = |sight: &Sight| match sight.exit {
                Some(_) => Some(None),
                None if may_run => shape::compare(&output, &sight.lines, Lines::Among, names).ok().map(Some),
                None => None,
            };
            let ended = match terminal.wait(PATIENCE, judge) {
                Ok(Some(used)) => {
                    terminal.seen += used;
                    self.tell(format!("[{name}] $ {command}\n(it goes on)"));
                    self.running.insert(name.to_owned(), (act.line, may_fail));
                    return Ok(());
                }
                Ok(None) => terminal.wait(PATIENCE, |sight| sight.exit.map(|_| sight.clone())),
                Err(sight) => Err(sight),
            };
            let sight = ended.map_err(|sight| wrong("waited in vain", &act.output, &sight))?;
            terminal.seen += sight.lines.len();
            let sight = self.seen(name, sight);
            let failed = sight.exit != Some(0);
            let fits = if failed != may_fail {
                Err(format!("it ended with {}", sight.exit.unwrap_or_default()))
            } else if act.output.is_empty() {
                Ok(0)
            } else {
                shape::compare(&output, &sight.lines, how, &mut self.names)
            };
            if fits.is_ok() {
                self.tell(format!("[{name}] $ {command}\n{}", sight.lines.join("\n")));
            }
            match fits {
                Ok(_) => return Ok(()),
                Err(_) if console.repeat && sight.exit != Some(WRONG_USAGE) && Instant::now() < deadline => {
                    thread::sleep(TRY_AGAIN)
                }
                Err(error) => return Err(wrong(&error, &act.output, &sight)),
            }
        }
    }

    /// Waits for what a program says in its own time.
    fn among(&mut self, name: &str, act: &Act) -> Result<(), String> {
        let terminal = self.terminals.get_mut(name).expect("it was opened");
        let names = &mut self.names;
        let mut missing = String::new();
        let used =
            terminal.wait(PATIENCE, |sight| match shape::compare(&act.output, &sight.lines, Lines::Among, names) {
                Ok(used) => Some(Ok(used)),
                Err(error) => {
                    missing = error;
                    sight.exit.map(|_| Err(sight.clone()))
                }
            });
        let used = used.and_then(|used| used).map_err(|sight| wrong(&missing, &act.output, &sight))?;
        terminal.seen += used;
        Ok(())
    }

    /// Waits until the terminal's command is over, and looks how it ended.
    fn settle(&mut self, name: &str) -> Result<(), String> {
        let Some((line, may_fail)) = self.running.remove(name) else { return Ok(()) };
        let over = self.terminals[name].wait(PATIENCE, |sight| sight.exit.map(|code| (code, sight.clone())));
        match over {
            Ok((code, _)) if code > KILLED => Ok(()),
            Ok((code, sight)) if (code != 0) != may_fail => {
                Err(wrong(&format!("the command of line {line} ended with {code}"), &[], &sight))
            }
            Ok(_) => Ok(()),
            Err(sight) => Err(wrong(&format!("the command of line {line} runs still"), &[], &sight)),
        }
    }

    /// The reader gets up: what has ended has ended well, the rest is stopped.
    fn leave(&mut self) -> Result<(), String> {
        let ended: Vec<String> = self.running.keys().filter(|name| !self.terminals[*name].is_busy()).cloned().collect();
        ended.iter().try_for_each(|name| self.settle(name))
    }

    fn tell(&mut self, what: String) {
        self.told.push_str(&what);
        self.told.push('\n');
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        Terminal::stop_all(std::mem::take(&mut self.terminals).into_values());
    }
}

/// The same command at a pseudo-terminal, its keyboard and its screen being ours. Given to the shell of all other commands, whatever the user's own is.
fn on_a_terminal(command: &str) -> String {
    format!("SHELL=\"$BASH\" script -qefc '{}' /dev/null", command.replace('\'', "'\\''"))
}

/// The machine that a terminal is on; the page's own has no name.
fn machine_of(terminal: &str) -> &str {
    terminal.split_once('@').map_or("", |(_, machine)| machine)
}

/// Whether a terminal is one that the page has not named, or named only by its machine.
fn is_unnamed(terminal: &str) -> bool {
    terminal.split('@').next() == Some("shell")
}

fn wrong(what: &str, page: &[String], sight: &Sight) -> String {
    format!("{what}\n--- the page shows\n{}\n--- it printed\n{}\n---", page.join("\n"), sight.lines.join("\n"))
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("a program is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it may be run");
}

/// Whether a text stands in a source file, however deep it is indented there.
fn stands_in(text: &str, source: &str) -> bool {
    let text: Vec<&str> = text.lines().map(str::trim).collect();
    let source: Vec<&str> = source.lines().map(str::trim).collect();
    !text.is_empty() && source.windows(text.len()).any(|window| window == text)
}

/// Two free ports that follow one another.
fn two_ports() -> (u16, u16) {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = first.local_addr().expect("an address").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return (port, port + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(text: &str) -> Result<(), String> {
        play_text("a page", text, Path::new("none"))
    }

    #[test]
    fn a_page_that_is_right() {
        let page = "```console\n$ echo key aaaabbbb0000 | tee ~/key\nkey aaaabbbb0000\n$ cat ~/key | grep aaaabbbb0000\n...\n```\n\
            ```console reader\n$ echo ready; read line; echo \"got $line\"; read line; echo \"and $line\"\nready\n```\n";
        let typed = "```console reader\nreader> one\ngot one\nreader> two\nand two\n```\n";
        assert_eq!(played(&format!("{page}{typed}")), Ok(()));
    }

    #[test]
    fn machines_have_homes_of_their_own() {
        let page = "<!-- file: ~/a on berlin -->\n```toml\nx\n```\n```console shell@berlin\n$ cat ~/a\nx\n```\n\
            ```console shell@oslo\n$ ls ~\n$ ls ~ | wc -l\n0\n```\n";
        assert_eq!(played(page), Ok(()));
    }

    #[test]
    fn a_page_that_is_wrong_says_where() {
        for (page, line, what) in [
            ("```console\n$ echo a\nb\n```\n", "2:", "line 1 of what the page shows"),
            ("words\n\n```console\n$ echo a\n$ false\n```\n", "5:", "ended with 1"),
            ("```console\n$ echo a\n\nerror: a\n```\n", "2:", "ended with 0"),
            ("```console\n$ cargo test\n```\n", "2:", "ended with 101"),
            ("```console\n$ echo a; echo b\na\n```\n", "2:", "more was printed"),
            ("<!-- from: tests/src/lib.rs -->\n```rust\npub mod nothing;\n```\n", "2:", "does not stand in"),
            (
                "```console one\n$ (echo a; sleep 0.1; exit 7)\na\n```\n```console one\n$ echo b\n```\n",
                "6:",
                "ended with 7",
            ),
            ("```console one\none> a\n```\n", "2:", "nothing runs"),
        ] {
            let error = played(page).expect_err(page);
            assert!(error.starts_with(line) && error.contains(what), "{page}: {error}");
        }
    }

    #[test]
    fn a_question_on_a_terminal_is_answered_and_what_is_typed_is_not_seen() {
        let ask = "test -t 0 && read -rsp \"word: \" word && echo && echo \"got $word\"";
        let right = format!("<!-- on a terminal -->\n```console\n$ {ask}\nword: ********\ngot {PASSPHRASE}\n```\n");
        assert_eq!(played(&right), Ok(()));
        for (from, to, what) in [
            ("got correct", "got wrong", "line 2 of what the page shows"),
            ("<!-- on a terminal -->", "", "ended with 1"),
        ] {
            let error = played(&right.replace(from, to)).expect_err(to);
            assert!(error.contains(what), "{to}: {error}");
        }
    }

    #[test]
    fn every_line_of_a_page_counts() {
        let lines = [
            "```console",
            "$ echo one; echo two",
            "one",
            "two",
            "$ echo key aaaabbbb0000",
            "key aaaabbbb0000",
            "$ echo again aaaabbbb0000",
            "again aaaabbbb0000",
            "$ echo 'error: no'; false",
            "error: no",
            "```",
            "<!-- any order -->",
            "```console",
            "$ echo b; echo a",
            "a",
            "b",
            "```",
            "<!-- on a terminal -->",
            "```console",
            "$ test -t 1 && echo here",
            "here",
            "```",
            "```console reader",
            "$ echo ready; read line; echo got $line; exit 0",
            "ready",
            "reader> one",
            "got one",
            "```",
        ];
        assert_eq!(played(&lines.join("\n")), Ok(()));
        // Not the last terminal: what a program that runs never says is waited for, long.
        let looked_at = lines.iter().position(|line| line.contains("reader")).expect("it is there");
        for at in (0..looked_at).filter(|at| !lines[*at].starts_with("```")) {
            let mut altered = lines.map(str::to_owned);
            altered[at] = format!("{}x", lines[at]);
            assert!(played(&altered.join("\n")).is_err(), "{:?} is not looked at", altered[at]);
            if lines[at].starts_with(['$', '<']) {
                let without = [&lines[..at], &lines[at + 1..]].concat();
                assert!(played(&without.join("\n")).is_err(), "without {:?}", lines[at]);
            }
        }
    }

    #[test]
    fn a_failure_is_not_swallowed_by_a_pipe() {
        let error = played("```console\n$ false | cat\n```\n").expect_err("false fails");
        assert!(error.contains("ended with 1"), "{error}");
    }

    #[test]
    fn what_takes_a_moment_is_asked_again() {
        let page = "```console\n$ (sleep 0.4; echo done > ~/it) > ~/log 2>&1 &\n```\n<!-- repeat -->\n```console\n$ cat ~/it\ndone\n```\n";
        assert_eq!(played(page), Ok(()));
    }
}
