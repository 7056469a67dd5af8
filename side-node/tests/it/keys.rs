//! The passphrase and the backup as people use them: the real program, its exit codes, and kills.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use side_node::home::{Root, create_secret_file};
use side_node::secrets::protect::{Protection, state};

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for (name, words) in [("right", "correct horse"), ("wrong", "battery staple")] {
            create_secret_file(&machine.path(name), words.as_bytes()).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn root(&self) -> Root {
        Root::find(Some(self.path("root"))).unwrap()
    }

    /// The program with a passphrase from the file of this name.
    fn command(&self, passphrase: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_side-node"));
        command.arg("--home").arg(self.path("root")).args(args).env("SIDE_PASSPHRASE_FILE", self.path(passphrase));
        command.env("SIDE_RELAY", crate::support::NOWHERE).env_remove("CREDENTIALS_DIRECTORY");
        command.stdin(Stdio::null());
        command
    }

    fn side(&self, passphrase: &str, args: &[&str]) -> Output {
        self.command(passphrase, args).output().unwrap()
    }

    fn good(&self, args: &[&str]) -> String {
        let output = self.side("right", args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, passphrase: &str, args: &[&str]) -> String {
        let output = self.side(passphrase, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// A running node, ready.
    fn run(&self, name: &str) -> Running {
        let mut child = self.command("right", &["run", name, "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map(|line| line.unwrap()).find(|line| line.contains("\"ready\""));
        assert!(ready.is_some(), "{name} has ended");
        // Somebody has to read what it says, or it waits for ever.
        let reader = std::thread::spawn(move || lines.for_each(drop));
        Running { child, reader: Some(reader) }
    }
}

struct Running {
    child: Child,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // SIGKILL: nothing is tidied up.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_node_with_a_passphrase_from_its_making_to_its_end() {
    let machine = Machine::new();
    machine.good(&["init", "node1", "--passphrase"]);
    let home = machine.root().node("node1");
    assert_eq!(state(&home).unwrap(), Protection::Full);
    // Who it is, anybody may know; what it says, only it can sign.
    let key = machine.good(&["key", "node1"]);
    assert_eq!(key.trim().len(), 64);
    assert_eq!(machine.side("wrong", &["key", "node1"]).stdout, key.as_bytes());
    let error = machine.refused("wrong", &["note", "node1", "no"]);
    assert!(error.contains("the passphrase is wrong") && error.contains("hint"), "{error}");
    assert!(machine.refused("wrong", &["run", "node1"]).contains("the passphrase is wrong"));
    assert!(machine.refused("missing", &["note", "node1", "no"]).contains("cannot read the passphrase"));
    machine.good(&["note", "node1", "yes"]);
    let words = machine.good(&["btc", "export", "node1", "--words", "--json"]);

    // A running node keeps its folder.
    let running = machine.run("node1");
    machine.good(&["note", "node1", "while it runs"]);
    let error = machine.refused("right", &["key", "unprotect", "node1"]);
    assert!(error.contains("already running") && error.contains("stop the node first"), "{error}");
    running.kill();

    assert!(machine.refused("right", &["key", "protect", "node1"]).contains("has a passphrase already"));
    assert!(machine.refused("wrong", &["key", "unprotect", "node1"]).contains("the passphrase is wrong"));
    let new = machine.path("wrong");
    machine.good(&["key", "change", "node1", "--new-passphrase-file", new.to_str().unwrap()]);
    assert!(machine.refused("right", &["note", "node1", "no"]).contains("the passphrase is wrong"));
    assert!(machine.side("wrong", &["key", "unprotect", "node1"]).status.success());
    assert_eq!(state(&home).unwrap(), Protection::None);
    assert_eq!(machine.good(&["key", "node1"]), key);
    assert_eq!(machine.good(&["btc", "export", "node1", "--words", "--json"]), words);
    machine.good(&["key", "protect", "node1"]);
    let history = machine.good(&["history", "node1"]);
    assert!(history.contains("yes") && history.contains("while it runs"), "{history}");
    let locked = read(&home.key_file());
    assert!(locked.starts_with("side-locked-secret 1\nholds node-key\n") && locked.contains(key.trim()), "{locked}");
    assert_eq!(fs::read_dir(home.keys_folder()).unwrap().count(), 2, "something was left behind");
}

#[test]
fn a_killed_and_lost_node_comes_back_from_its_backup_beside_its_peers() {
    let machine = Machine::new();
    machine.good(&["init", "node1"]);
    machine.good(&["init", "node2"]);
    let (first, second) = (machine.run("node1"), machine.run("node2"));
    machine.good(&["note", "node1", "before"]);
    let file = machine.path("node1.backup");
    let file = file.to_str().unwrap();
    std::thread::scope(|scope| {
        let typing = scope.spawn(|| {
            for n in 0..12 {
                machine.good(&["note", "node1", &format!("meanwhile {n}")]);
                machine.good(&["send", "node1", "node2", "1"]);
            }
        });
        machine.good(&["backup", "node1", file]);
        typing.join().unwrap();
    });
    machine.good(&["note", "node1", "after"]);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    let until = |node: &str, text: &str| {
        while !machine.good(&["history", node]).contains(text) {
            assert!(std::time::Instant::now() < deadline, "{node} never hears {text:?}");
        }
    };
    until("node2", "after");
    first.kill();
    let home = machine.root().node("node1");
    fs::remove_dir_all(home.path()).unwrap();

    assert!(machine.good(&["backup", "check", file]).contains("the backup is good"));
    assert!(machine.refused("wrong", &["restore", file]).contains("the passphrase is wrong"));
    assert!(machine.refused("right", &["backup", "node2", file]).contains("exists already"));
    machine.good(&["restore", file]);
    assert!(machine.refused("right", &["note", "node1", "no"]).contains("nothing can be written"));
    let first = machine.run("node1");
    // It reads until it has learnt its own last change, and then writes by itself.
    while !machine.side("right", &["note", "node1", "restored"]).status.success() {
        assert!(std::time::Instant::now() < deadline, "it never writes again");
    }
    until("node2", "restored");
    until("node1", "after");
    for node in ["node1", "node2"] {
        let history = machine.good(&["history", node]);
        assert!((0..12).all(|n| history.contains(&format!("meanwhile {n}"))), "{history}");
        let status = machine.good(&["status", node, "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["equivocators"].as_array().map(Vec::len), Some(0), "{status}");
    }
    first.kill();
    second.kill();
}

#[test]
fn a_restore_that_is_killed_anywhere_leaves_a_whole_node_or_none() {
    let machine = Machine::new();
    machine.good(&["init", "node1"]);
    machine.good(&["note", "node1", "kept"]);
    let file = machine.path("node1.backup");
    machine.good(&["backup", "node1", file.to_str().unwrap()]);
    let home = machine.root().node("node1");
    fs::remove_dir_all(home.path()).unwrap();
    // Places are met by looking at what lies in the root; a kill comes as soon as one is there.
    let staged = machine.path("root").join(".restoring-node1");
    for place in ["keys/node.key", "groups.json", "side.sqlite"] {
        let mut child =
            machine.command("right", &["restore", file.to_str().unwrap()]).stdout(Stdio::null()).spawn().unwrap();
        while !staged.join(place).exists() && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        let _ = child.kill();
        let _ = child.wait();
        if home.path().exists() {
            // It was faster than the kill.
            fs::remove_dir_all(home.path()).unwrap();
        } else {
            assert!(machine.refused("right", &["run", "node1"]).contains("there is no node"));
        }
    }
    machine.good(&["restore", file.to_str().unwrap()]);
    assert!(!staged.exists());
    assert!(machine.good(&["history", "node1"]).contains("kept"));
}
