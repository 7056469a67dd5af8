//! A sealer's folder that is set back to an older copy.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use side_tests::process::eventually;

use super::support::{Bank, NODES, note, status};

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp starts");
    assert!(done.success());
}

#[test]
fn a_sealer_restored_from_an_old_backup_convicts_itself_of_nothing() {
    let mut bank = Bank::open("0");
    note(&bank.home, "node1", "before the backup");
    let height = bank.agree(0);
    // The copy of a node that does not run, as a person makes it.
    bank.nodes[3].take().expect("it runs").stop();
    let (folder, backup) = (bank.home.node(NODES[3]), bank.home.path().join("backup"));
    copy(&folder, &backup);
    bank.run(3);
    note(&bank.home, "node4", "after the backup");
    let height = bank.agree(height);
    bank.nodes[3].take().expect("it runs").stop();
    std::fs::remove_dir_all(&folder).expect("the folder is removed");
    copy(&backup, &folder);
    bank.run(3);
    // Its status says what it waits for.
    let careful = |status: &Value| status["may_seal"] == false || status["sealer_problem"].is_string();
    eventually("it is careful", || careful(&status(&bank.home, "node4")).then_some(()));
    // Three go on. The fourth follows, learns its own last change, writes again: and votes on nothing that it may have voted on before.
    note(&bank.home, "node2", "after the restore");
    let height = bank.agree(height);
    eventually("it writes again", || status(&bank.home, "node4")["read_only"].is_null().then_some(()));
    note(&bank.home, "node4", "and on");
    let height = bank.agree(height);
    // It has asked for a further epoch, and the others' nodes join in by themselves; there it takes part, so that any other one may be away.
    let back = |name: &&str| {
        let status = status(&bank.home, name);
        status["epoch"].as_u64() == Some(4) && status["sealer_problem"].is_null()
    };
    eventually("another epoch", || NODES.iter().all(&back).then_some(()));
    // The votes for it may have been in the last block already.
    let height = bank.agree(height - 1);
    bank.kill(1);
    note(&bank.home, "node3", "without another one");
    bank.agree(height);
}
