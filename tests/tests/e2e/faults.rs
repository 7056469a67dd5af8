//! Broken disks, folders and copies: a clear error that names the remedy, and nothing lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use side_store::{LoadBounds, SqliteStore, Store as _};
use side_tests::process::{Process, eventually};
use side_tests::world::{Home, Watcher, program, receipts};

/// A home without a relay: whoever asks gets no connection.
fn lonely() -> Home {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    Home::new(&format!("ws://{gone}"))
}

/// `command` in a shell that first runs `prelude` and then becomes it.
fn through_a_shell(prelude: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{prelude}; exec \"$0\" \"$@\"")).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Types until the node ends because its disk takes nothing more; what it had acknowledged.
fn type_until_it_ends(name: &str, node: &mut Process, remedy: &str) -> Vec<String> {
    for number in 0..20_000 {
        let line = format!("{number} {}", "x".repeat(2_000));
        if !node.type_line(&line) || !node.runs() {
            break;
        }
    }
    let status = node.wait();
    node.hear_out();
    assert_eq!(status.code(), Some(1), "{}", node.report());
    let stderr = node.stderr();
    assert!(stderr.contains("error: ") && stderr.contains("side.sqlite") && stderr.contains(remedy), "{stderr}");
    receipts(name, node)
}

fn holds_all(home: &Home, name: &str, acknowledged: &[String]) {
    assert!(!acknowledged.is_empty(), "something was acknowledged before the disk was full");
    let history = home.history(name);
    let held: std::collections::HashSet<&str> = history.notes().into_iter().collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|text| !held.contains(text.as_str())).collect();
    assert!(lost.is_empty(), "{} acknowledged notes are lost", lost.len());
}

/// Files that must not grow any more: `EFBIG` instead of a signal, for a user of any kind.
#[test]
fn disk_that_takes_nothing_more() {
    let home = lonely();
    home.init("node1");
    let mut command = home.command();
    command.args(["run", "node1"]);
    // In units of 512 bytes: one megabyte.
    let mut node = Process::start("node1", through_a_shell("trap '' XFSZ; ulimit -f 2048", &command));
    node.expect(" is ready in group ");
    let acknowledged = type_until_it_ends("node1", &mut node, "Check the disk");
    holds_all(&home, "node1", &acknowledged);
    // With room again it goes on.
    let mut node = home.run("node1");
    node.type_line("room again");
    node.expect("node1: room again");
}

/// A folder on a small file system of its own, taken away when the test is over.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, with the reason printed, where this user may not mount.
    fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                println!("skipped: this user may not mount a file system ({other:?})");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(status.expect("mount starts").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn disk_full() {
    let Some(disk) = SmallDisk::mount("size=2m") else { return };
    let home = lonely();
    let root = disk.0.path().join("home");
    let root = root.to_str().expect("a text");
    home.ok(&["--home", root, "init", "node1"]);
    let mut command = home.command();
    command.args(["--home", root, "run", "node1"]);
    let mut node = Process::start("node1", command);
    node.expect(" is ready in group ");
    let acknowledged = type_until_it_ends("node1", &mut node, "Free some space");
    disk.remount("size=16m");
    let text = home.ok(&["--home", root, "history", "node1", "--json"]);
    let history = side_tests::world::History(serde_json::from_str(&text).expect("JSON"));
    let held: std::collections::HashSet<&str> = history.notes().into_iter().collect();
    assert!(!acknowledged.is_empty() && acknowledged.iter().all(|text| held.contains(text.as_str())));
    home.ok(&["--home", root, "note", "node1", "room again"]);
}

#[test]
fn the_relays_disk_is_full() {
    let Some(disk) = SmallDisk::mount("size=2m") else { return };
    let mut watcher = Watcher::start(&disk.0.path().join("watcher"));
    let home = Home::new(&watcher.url());
    home.init("node1");
    home.init("node2");
    let mut node1 = home.run("node1");
    let mut node2 = home.run("node2");
    // The notes go on through the relay: it says that it cannot keep them, and keeps nobody from talking.
    let mut full = false;
    for number in 0..2_000 {
        node1.type_line(&format!("{number} {}", "x".repeat(4_000)));
        if number % 50 == 49 {
            node1.expect(&format!("node1: {number} "));
            full = watcher.page("/readyz").0.contains(" 503 ");
            if full {
                break;
            }
        }
    }
    assert!(full, "{:?}", watcher.metrics());
    node1.type_line("the last one");
    node2.expect("node1: the last one");
    assert!(watcher.process.runs(), "{}", watcher.process.report());
    watcher.process.kill_9();
    disk.remount("size=64m");
    watcher.start_again();
    home.init("node3");
    let _node3 = home.run("node3");
    home.converge(&["node1", "node2", "node3"], &["the last one"]);
}

#[test]
fn read_only_home() {
    let home = lonely();
    let disk;
    let folder: &Path = if rustix::process::getuid().is_root() {
        // Permissions do not bind root; a file system that is read-only does.
        let Some(mounted) = SmallDisk::mount("ro") else { return };
        disk = mounted;
        disk.0.path()
    } else {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o500)).expect("our own folder");
        home.path()
    };
    let root = folder.join("home");
    let stderr = home.fails(1, &["--home", root.to_str().expect("a text"), "init", "node1"]);
    assert!(stderr.contains("hint: ") && stderr.contains("--home"), "{stderr}");
    let mut watcher = program("side-watcher");
    let output = watcher.args(["--listen", "127.0.0.1:0", "--data"]).arg(root).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--data"), "{stderr}");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).expect("our own folder");
}

#[test]
fn a_home_that_becomes_read_only() {
    let Some(disk) = SmallDisk::mount("size=16m") else { return };
    let home = lonely();
    let root = disk.0.path().join("home");
    let root = root.to_str().expect("a text");
    home.ok(&["--home", root, "init", "node1"]);
    home.ok(&["--home", root, "note", "node1", "kept"]);
    disk.remount("ro");
    let stderr = home.fails(1, &["--home", root, "note", "node1", "refused"]);
    assert!(stderr.contains("hint: "), "{stderr}");
    let stderr = home.fails(1, &["--home", root, "run", "node1"]);
    assert!(stderr.contains("hint: "), "{stderr}");
    disk.remount("rw");
    let text = home.ok(&["--home", root, "history", "node1", "--json"]);
    let history = side_tests::world::History(serde_json::from_str(&text).expect("JSON"));
    assert_eq!(history.notes(), ["kept"]);
}

#[test]
fn corrupt_database() {
    let data = tempfile::tempdir().expect("a folder");
    let mut watcher = Watcher::start(data.path());
    let home = Home::new(&watcher.url());
    home.init("node1");
    home.ok(&["note", "node1", "hello"]);
    let mut node = home.run("node1");
    node.type_line("written");
    node.expect("node1: written");
    assert!(node.stop().success());
    assert!(watcher.process.stop().success());
    let spoil = |database: &Path| {
        let mut bytes = fs::read(database).expect("a database");
        let whole = bytes.len();
        // Everything behind the first page.
        bytes[4096..].fill(0xa5);
        fs::write(database, &bytes).expect("our own file");
        whole
    };
    let database = home.node("node1").join("side.sqlite");
    let size = spoil(&database);
    let stderr = home.fails(1, &["run", "node1"]);
    assert!(stderr.contains("side.sqlite is damaged") && stderr.contains("put it aside"), "{stderr}");
    assert_eq!(fs::metadata(&database).expect("it is still there").len() as usize, size, "it is left as it was");
    let mut stores = fs::read_dir(data.path()).expect("a folder").filter_map(|entry| Some(entry.ok()?.path()));
    let store = stores.find(|path| path.extension().is_some_and(|end| end == "sqlite")).expect("a database");
    spoil(&store);
    let mut command = program("side-watcher");
    let output = command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data.path()).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(store.to_str().expect("a text")), "{stderr}");
}

/// What a stopped node has stored of its group.
fn stored(home: &Home, name: &str) -> Vec<side_store::Record> {
    let database = home.node(name).join("side.sqlite");
    let mut store = SqliteStore::open(database, &side_store::OpenOptions::default()).expect("a database");
    let records = store.load(&home.genesis(name).id(), 0, LoadBounds::default()).expect("its changes");
    store.close().expect("it is closed");
    records
}

#[test]
fn a_signature_damaged_on_disk_gets_a_voucher_from_a_later_one() {
    let home = lonely();
    home.init("node1");
    for note in ["first", "second", "third"] {
        home.ok(&["note", "node1", note]);
    }
    let records = stored(&home, "node1");
    let damaged = records.len() - 2;
    let signature = records[damaged].change.signature().0;
    let database = home.node("node1").join("side.sqlite");
    let mut bytes = fs::read(&database).expect("a database");
    let at = bytes.windows(signature.len()).position(|window| window == signature).expect("it lies there as it is");
    bytes[at] ^= 1;
    fs::write(&database, &bytes).expect("our own file");
    let mut node = home.run("node1");
    node.expect("signatures of 1 stored changes are damaged; later ones of their authors vouch for them");
    assert!(node.stop().success());
    let vouched: Vec<usize> =
        (0..).zip(stored(&home, "node1")).filter_map(|(at, record)| record.voucher.map(|_| at)).collect();
    assert_eq!(vouched, [damaged], "the voucher is on disk");
    // What was mended is not reported again.
    let mut node = home.run("node1");
    node.type_line("and on it goes");
    node.expect("and on it goes");
    assert!(node.stop().success());
    assert!(!node.report().contains("are damaged"), "{}", node.report());
    assert_eq!(home.history("node1").notes(), ["first", "second", "third", "and on it goes"]);
}

#[test]
fn wrong_permissions_on_keys() {
    let data = tempfile::tempdir().expect("a folder");
    let mut watcher = Watcher::start(data.path());
    assert!(watcher.process.stop().success());
    let home = lonely();
    home.init("node1");
    let key = home.node("node1").join("keys/node.key");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&home.node("node1").join("keys")), 0o700);
    for (path, wrong) in [(&key, 0o644), (&key, 0o660)] {
        fs::set_permissions(path, fs::Permissions::from_mode(wrong)).expect("our own file");
        let stderr = home.fails(1, &["run", "node1"]);
        assert!(stderr.contains("hint: chmod"), "{stderr}");
        let seed = fs::read_to_string(path).expect("our own file");
        assert!(!stderr.contains(seed.trim()), "a secret is never shown");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
    drop(home.run("node1"));
    let identity = data.path().join("identity.key");
    assert_eq!(mode(&identity), 0o600);
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o604)).expect("our own file");
    let mut command = program("side-watcher");
    let output = command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data.path()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("chmod 600"));
}

#[test]
fn a_second_process_on_a_folder_says_so() {
    let data = tempfile::tempdir().expect("a folder");
    let watcher = Watcher::start(data.path());
    let home = Home::new(&watcher.url());
    home.init("node1");
    let mut node = home.run("node1");
    let stderr = home.fails(1, &["run", "node1"]);
    assert!(stderr.contains("already running") && stderr.contains("hint: "), "{stderr}");
    let mut command = program("side-watcher");
    let output = command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data.path()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another side-watcher"));
    // A port that is taken is told as well.
    let other = tempfile::tempdir().expect("a folder");
    let mut command = program("side-watcher");
    let output = command.arg("--listen").arg(watcher.address.to_string()).arg("--data").arg(other.path()).output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&watcher.address.to_string()));
    // The first ones go on, and the node can be used from another shell meanwhile.
    home.ok(&["note", "node1", "from another shell"]);
    node.expect("node1: from another shell");
}

#[test]
fn init_never_overwrites() {
    let home = lonely();
    home.init("node1");
    let key = fs::read(home.node("node1").join("keys/node.key")).expect("a key");
    let stderr = home.fails(1, &["init", "node1"]);
    assert!(stderr.contains("exists already"), "{stderr}");
    assert_eq!(fs::read(home.node("node1").join("keys/node.key")).expect("a key"), key);
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp starts");
    assert!(status.success());
}

#[test]
fn restore_of_an_old_copy_and_writing_makes_no_equivocation() {
    let data = tempfile::tempdir().expect("a folder");
    let mut watcher = Watcher::start(data.path());
    let home = Home::new(&watcher.url());
    home.init("node1");
    home.init("node2");
    let mut node1 = home.run("node1");
    let _node2 = home.run("node2");
    node1.type_line("before the copy");
    home.converge(&["node1", "node2"], &["before the copy"]);
    assert!(node1.stop().success());
    let copy = home.path().join("copy-of-node1");
    copy_folder(&home.node("node1"), &copy);
    let mut node1 = home.run("node1");
    node1.type_line("after the copy");
    home.converge(&["node1", "node2"], &["before the copy", "after the copy"]);
    assert!(node1.stop().success());
    // The disk is lost; the copy takes its place; the relay is away.
    assert!(watcher.process.stop().success());
    fs::remove_dir_all(home.node("node1")).expect("our own folder");
    fs::rename(&copy, home.node("node1")).expect("our own folder");
    let mut node1 = home.run("node1");
    node1.expect("read-only");
    node1.type_line("too early");
    node1.expect("error: ");
    let stderr = home.fails(1, &["note", "node1", "too early as well"]);
    assert!(stderr.contains("hint: "), "{stderr}");
    // The relay is back: the node learns its own last change, and writes on from there.
    watcher.start_again();
    node1.expect("it can write again");
    node1.type_line("on from the last change");
    home.converge(&["node1", "node2"], &["before the copy", "after the copy", "on from the last change"]);
    for name in ["node1", "node2"] {
        assert_eq!(home.status(name)["equivocators"], serde_json::json!([]), "{name}");
    }
    assert!(!home.history("node2").notes().iter().any(|note| note.starts_with("too early")));
    eventually("it stays writable", || home.status("node1")["read_only"].is_null().then_some(()));
}
