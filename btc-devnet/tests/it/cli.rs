//! The program.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A running `btc-devnet`, ended when it goes out of scope.
struct Program {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_btc-devnet"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// The document of `--json`.
    fn document(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("one JSON document in a line")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end: exit code and stderr.
    fn end(mut self) -> (Option<i32>, String) {
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), errors)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(url: &str, path: &str) -> String {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn post(url: &str, path: &str) {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn it_answers_once_it_is_ready_and_ends_at_a_signal() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(&["--listen", "127.0.0.1:0", "--json"]);
        let told = program.document();
        assert_eq!(told["ready"], true);
        let url = told["chains"][0]["url"].as_str().unwrap();
        assert_eq!(get(url, "/blocks/tip/height"), told["chains"][0]["height"].to_string());
        program.signal(signal);
        assert_eq!(program.end(), (Some(0), String::new()), "{signal}");
    }
}

#[test]
fn people_are_told_where_how_and_when_it_is_ready() {
    let mut program = Program::start(&["--listen", "127.0.0.1:0", "--block-time", "600"]);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.starts_with("btc-devnet ready on http://127.0.0.1:")) {
        lines.push(program.line());
        assert!(lines.last().is_some_and(|line| !line.is_empty()), "it ended: {lines:?}");
    }
    let text = lines.concat();
    for told in
        [btc_devnet::MNEMONIC, "/devnet/mine", "/devnet/fund", "Ctrl-C", "every 600 seconds", "never send real coins"]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn several_chains_run_side_by_side() {
    let mut program = Program::start(&["--listen", "127.0.0.1:0", "--chains", "2", "--json"]);
    let told = program.document();
    let urls: Vec<&str> =
        told["chains"].as_array().unwrap().iter().map(|chain| chain["url"].as_str().unwrap()).collect();
    assert_eq!(urls.len(), 2);
    assert_ne!(get(urls[0], "/block-height/1"), get(urls[1], "/block-height/1"));
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, errors) = Program::start(&["--listen", &address]).end();
    assert_eq!(code, Some(1));
    assert!(errors.contains(&address) && errors.contains("--listen 127.0.0.1:0"), "{errors}");
    let mut program = Program::start(&["--listen", &address, "--json"]);
    let told = program.document();
    assert!(told["error"].as_str().unwrap().contains(&address) && told["hint"].is_string());
    assert_eq!(program.end().0, Some(1));
}

#[test]
fn wrong_usage_has_a_code_of_its_own() {
    for arguments in [&["--chains", "0"][..], &["--block-time", "0"], &["--mnemonic", "one two"], &["--bogus"]] {
        let (code, errors) = Program::start(arguments).end();
        assert_eq!(code, Some(2), "{arguments:?}: {errors}");
        assert!(!errors.is_empty());
    }
}

/// What was answered is on disk: the chain that comes back after a power cut has it.
#[test]
fn a_kept_chain_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--json", "--state", folder.path().to_str().unwrap()];
    let mut program = Program::start(&arguments);
    let told = program.document();
    let url = told["chains"][0]["url"].as_str().unwrap();
    for _ in 0..3 {
        post(url, "/devnet/mine");
    }
    let tip = get(url, "/blocks/tip/hash");
    program.signal("KILL");
    assert_eq!(program.end().0, None);
    let mut program = Program::start(&arguments);
    let told = program.document();
    assert_eq!(get(told["chains"][0]["url"].as_str().unwrap(), "/blocks/tip/hash"), tip);
}
