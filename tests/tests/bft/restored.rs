//! A sealer's folder that is set back to an older copy.

use std::path::Path;
use std::process::Command;

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
    // Three go on. The fourth follows, learns its own last change, writes again: and votes on nothing that it may have voted on before.
    note(&bank.home, "node2", "after the restore");
    let height = bank.agree(height);
    side_tests::process::eventually("it writes again", || {
        status(&bank.home, "node4")["read_only"].is_null().then_some(())
    });
    note(&bank.home, "node4", "and on");
    let height = bank.agree(height);
    // The voters begin another epoch; there it takes part, so that any other one may be away.
    for name in ["node1", "node2", "node3"] {
        bank.home.ok(&["vote", name, "leader", "node1", "--group", super::support::GROUP]);
    }
    side_tests::process::eventually("another epoch", || {
        NODES.iter().all(|name| status(&bank.home, name)["epoch"].as_u64() > Some(0)).then_some(())
    });
    let height = bank.agree(height);
    bank.kill(1);
    note(&bank.home, "node3", "without another one");
    bank.agree(height);
}
