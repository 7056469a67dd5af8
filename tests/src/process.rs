//! Our programs as processes: built if need be, started with pipes, watched line by line, and killed when the test is over.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything that takes no compiling may last. Generous: it is waited out only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often something is asked again that does not announce itself.
pub const ASK_AGAIN: Duration = Duration::from_millis(50);
/// A folder with the programs to test instead of those that cargo builds (an installed release, say).
pub const BIN_VARIABLE: &str = "SIDE_TESTS_BIN";

/// The program `name` of this workspace, as fresh as its sources.
///
/// `CARGO_BIN_EXE_…` exists for programs of the same package only, and a file that lies about may be older than its sources. So cargo is asked,
/// once a process: where nothing has changed that takes a fraction of a second, and it knows where the file is. The profile and the
/// target folder are those of the running test.
///
/// # Panics
/// If cargo cannot build it.
pub fn binary(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os(BIN_VARIABLE) {
        return PathBuf::from(folder).join(name);
    }
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(build);
    built.get(name).unwrap_or_else(|| panic!("cargo built no program {name:?}: {built:?}")).clone()
}

fn build() -> BTreeMap<String, PathBuf> {
    let (target, profile) = target();
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--bins", "--example", "follow", "--message-format", "json-render-diagnostics"]);
    // These alone have the dependencies with the features that `cargo run` in side-node/ has: what is compiled here is compiled for both.
    cargo.args(["-p", "side-node", "-p", "side-watcher", "-p", "shared-list", "--profile", &profile]);
    let output = cargo
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo cannot build the programs to test");
    let messages = String::from_utf8(output.stdout).expect("cargo writes text");
    let executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = PathBuf::from(message["executable"].as_str()?);
        Some((message["target"]["name"].as_str()?.to_owned(), path))
    });
    executables.collect()
}

/// Cargo as a person calls it: without what cargo and nextest tell a test about itself, which would make build scripts run again.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for name in foreign_variables() {
        cargo.env_remove(name);
    }
    cargo
}

/// Variables of this process that a person's shell would not have.
pub fn foreign_variables() -> impl Iterator<Item = String> {
    let told = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_CRATE_",
        "CARGO_BIN_",
        "NEXTEST",
        "SIDE_",
        "RUST_LOG",
        "LD_LIBRARY_PATH",
    ];
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(move |name| told.iter().any(|prefix| name.starts_with(prefix)))
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

/// The target folder and the profile that this very program was built with.
pub fn target() -> (PathBuf, String) {
    let own = std::env::current_exe().expect("a program knows where it is");
    let folder = own.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("deps has a parent") } else { folder };
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    (folder.parent().expect("the profile's folder has a parent").to_owned(), profile.to_owned())
}

/// Waits at most [`PATIENCE`] until `ask` answers, asking again and again: for what does not announce itself.
///
/// # Panics
/// If there is no answer in time.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, ask)
}

/// [`eventually`] with another patience.
///
/// # Panics
/// If there is no answer in time.
pub fn eventually_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(ASK_AGAIN);
    }
}

/// What a process has said, on both of its outputs.
#[derive(Default)]
struct Said {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    stdout: Vec<(Instant, String)>,
    stderr: Vec<String>,
    ended: bool,
    stderr_ended: bool,
}

impl Said {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running program with pipes for its input and outputs. Dropping it kills the program.
pub struct Process {
    name: String,
    child: Child,
    keyboard: Option<ChildStdin>,
    said: Arc<Said>,
    /// Lines before this one were expected already.
    seen: usize,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let said = Arc::new(Said::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let keyboard = child.stdin.take();
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            each_line(stdout, |line| {
                heard.lines().stdout.push((Instant::now(), line));
                heard.changed.notify_all();
            });
            heard.lines().ended = true;
            heard.changed.notify_all();
        });
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            each_line(stderr, |line| {
                heard.lines().stderr.push(line);
                heard.changed.notify_all();
            });
            heard.lines().stderr_ended = true;
            heard.changed.notify_all();
        });
        Self { name: name.to_owned(), child, keyboard, said, seen: 0 }
    }

    /// Types a line. Answers whether the program still reads.
    pub fn type_line(&mut self, line: &str) -> bool {
        let keyboard = self.keyboard.as_mut().expect("the keyboard is not put away");
        writeln!(keyboard, "{line}").and_then(|()| keyboard.flush()).is_ok()
    }

    /// Takes the keyboard out, for a thread that types.
    pub fn take_keyboard(&mut self) -> ChildStdin {
        self.keyboard.take().expect("the keyboard is there once")
    }

    /// Waits until a line of stdout after those expected before contains `text`; the line.
    ///
    /// # Panics
    /// With everything that was said, if it does not come.
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, PATIENCE).1
    }

    /// [`Self::expect`] with another patience; also when the line came.
    ///
    /// # Panics
    /// Like [`Self::expect`].
    pub fn expect_within(&mut self, text: &str, patience: Duration) -> (Instant, String) {
        let deadline = Instant::now() + patience;
        let mut lines = self.said.lines();
        loop {
            let fresh = &lines.stdout[self.seen..];
            if let Some(at) = fresh.iter().position(|(_, line)| line.contains(text)) {
                let found = fresh[at].clone();
                self.seen += at + 1;
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.ended {
                drop(lines);
                panic!("waited for {text:?}; {}", self.report());
            }
            lines = self.said.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines of stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.said.lines().stdout.iter().map(|(_, line)| line.clone()).collect()
    }

    /// Everything on stderr so far.
    pub fn stderr(&self) -> String {
        self.said.lines().stderr.join("\n")
    }

    /// Everything that was said, for the message of a failing test.
    pub fn report(&self) -> String {
        format!("{} said:\n{}\nand on stderr:\n{}", self.name, self.stdout().join("\n"), self.stderr())
    }

    /// Whether the program runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child's status").is_none()
    }

    /// The process's number.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until everything that an ended program has said is heard.
    ///
    /// # Panics
    /// If its output stays open.
    pub fn hear_out(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.said.lines();
        while !(lines.ended && lines.stderr_ended) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} holds its output open", self.name);
            lines = self.said.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// `SIGKILL`, and waits until it is gone.
    pub fn kill_9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// `SIGTERM`, and waits until it has ended.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        let _ = kill_process(self.pid(), Signal::TERM);
        self.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child's status") {
                return status;
            }
            assert!(Instant::now() < deadline, "does not end; {}", self.report());
            thread::sleep(ASK_AGAIN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
        if thread::panicking() {
            eprintln!("{}", self.report());
        }
    }
}

fn each_line(output: impl Read, mut take: impl FnMut(String)) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match output.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => take(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()),
        }
    }
}
