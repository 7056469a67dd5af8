//! Under a service manager: both programs tell it when they are ready and when they stop, as sd_notify(3) says, and need no keyboard.

use std::os::unix::net::UnixDatagram;

use side_tests::process::{PATIENCE, Process};
use side_tests::world::{Home, Watcher, program};

/// What a service manager listens on.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a limit");
        Self { folder, socket }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("notify")
    }

    /// The next thing that it is told.
    fn told(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).expect("the program tells it something");
        String::from_utf8(bytes[..length].to_vec()).expect("text").trim().to_owned()
    }
}

#[test]
fn a_node_under_a_service_manager_says_when_it_is_ready_and_when_it_stops() {
    let manager = Manager::new();
    let home = Home::new("ws://127.0.0.1:9");
    home.init("node1");
    let mut command = home.command();
    command.args(["run", "node1"]).env("NOTIFY_SOCKET", manager.path());
    let mut node = Process::start("node1", command);
    // A service has no keyboard: its standard input has ended before it began.
    drop(node.take_keyboard());
    assert_eq!(manager.told(), "READY=1");
    // Ready is ready: it answers.
    assert!(home.status("node1")["pid"].is_u64());
    assert!(node.stop().success());
    assert_eq!(manager.told(), "STOPPING=1");
}

#[test]
fn a_watcher_under_a_service_manager_says_when_it_is_ready_and_when_it_stops() {
    let manager = Manager::new();
    let data = tempfile::tempdir().expect("a temporary folder");
    let path = manager.path();
    let watcher = Watcher::start_with(data.path(), "127.0.0.1:0", |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(manager.told(), "READY=1");
    drop(watcher);
    // Dropped is killed, as a manager does with whoever does not obey; so one is stopped politely as well.
    let mut command = program("side-watcher");
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data.path()).env("NOTIFY_SOCKET", manager.path());
    let mut watcher = Process::start("watcher", command);
    assert_eq!(manager.told(), "READY=1");
    assert!(watcher.stop().success());
    assert_eq!(manager.told(), "STOPPING=1");
}
