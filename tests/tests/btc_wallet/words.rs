//! The seed's words: shown to a person who can write them down, kept in one file, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use side_tests::coins::Coins;
use side_tests::pty::{CommandBuilder, Terminal};
use side_tests::world::Home;

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("a kind") {
            kind if kind.is_dir() => files(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// Whether a text has three of the words in a row, in any spelling of the space between them: one alone may stand anywhere.
fn tells(text: &str, words: &str) -> bool {
    let said: Vec<&str> = text.split(|c: char| !c.is_ascii_lowercase()).filter(|word| word.len() > 2).collect();
    let words: Vec<&str> = words.split_whitespace().collect();
    words.windows(3).any(|three| said.windows(3).any(|window| window == three))
}

#[test]
fn the_words_stand_in_their_file_and_in_no_output_log_or_other_file() {
    let coins = Coins::funded(200_000);
    let seed_file = coins.home.node("dave").join("keys").join("bitcoin.seed");
    let words = fs::read_to_string(&seed_file).expect("the seed").trim().to_owned();
    assert_eq!(words.split(' ').count(), 12);
    assert!(tells(&format!("a log line with {words}"), &words), "the check itself works");
    let mut node = coins.home.run("dave");
    let commands: [&[&str]; 9] = [
        &["btc", "address", "dave", "-vvv"],
        &["btc", "sync", "dave", "-vvv"],
        &["btc", "balance", "dave", "--json"],
        &["btc-transfer", "--confirmations", "0", "-vvv"],
        &["btc", "history", "dave", "--json"],
        &["btc", "export", "dave"],
        &["btc", "export", "dave", "--json"],
        &["btc-transfer", "--amount", "999999999", "-vvv"],
        &["btc", "bump", "dave", &"0".repeat(64)],
    ];
    for args in commands {
        let mut command = coins.home.command();
        let output = command
            .args(coins.args(args))
            .env("RUST_LOG", "trace")
            .env("SIDE_LOG", "trace")
            .output()
            .expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        assert!(!tells(&String::from_utf8_lossy(&said), &words), "{args:?}");
    }
    // An `init` that cannot be watched by a person.
    for args in [&["init", "piped"][..], &["init", "asjson", "--json"]] {
        let said = coins.home.ok(args);
        let path = coins.home.node(args[1]).join("keys").join("bitcoin.seed");
        let words = fs::read_to_string(path).expect("the seed");
        assert!(!tells(&said, &words), "{args:?}: {said}");
    }
    assert!(node.stop().success());
    assert!(!tells(&node.report(), &words));
    let mut found = Vec::new();
    files(coins.home.path(), &mut found);
    assert!(found.len() > 10, "{found:?}");
    for file in found.into_iter().filter(|file| *file != seed_file) {
        let bytes = fs::read(&file).expect("a file");
        assert!(!tells(&String::from_utf8_lossy(&bytes), &words), "{}", file.display());
    }
    // Whoever asks for them gets them.
    assert!(coins.home.ok(&["btc", "export", "dave", "--words"]).contains(&words));
}

#[test]
fn at_a_terminal_init_shows_the_words_once_and_an_address_has_a_picture() {
    let home = Home::new("ws://127.0.0.1:9");
    let at_a_terminal = |args: &[&str], last: &str| {
        let template = home.command();
        let mut command = CommandBuilder::new(template.get_program());
        command.args(args);
        for (variable, value) in template.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            }
        }
        command.env("TERM", "xterm");
        let mut terminal = Terminal::start(command);
        terminal.expect(last);
        assert!(terminal.wait().success());
        terminal.shown()
    };
    let shown = at_a_terminal(&["init", "dave"], "next: ");
    let words = fs::read_to_string(home.node("dave").join("keys").join("bitcoin.seed")).expect("the seed");
    let mut place = 0;
    for (number, word) in words.split_whitespace().enumerate() {
        let numbered = format!("{}. {word}", number + 1);
        let at =
            shown[place..].find(&numbered).unwrap_or_else(|| panic!("{numbered} is not shown in its place: {shown}"));
        place += at + numbered.len();
    }
    let picture = at_a_terminal(&["btc", "address", "dave", "--network", "regtest"], "bcrt1p");
    assert!(picture.contains('█') && picture.contains("bcrt1p"), "{picture}");
    assert!(!tells(&picture, &words));
    // Into a pipe goes the address alone.
    let piped = home.ok(&["btc", "address", "dave", "--network", "regtest"]);
    assert_eq!(piped.trim().lines().count(), 1);
    assert!(piped.starts_with("bcrt1p"));
}
