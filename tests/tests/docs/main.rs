//! The pages of the documentation, played: what they tell a reader to type is typed, and prints what they show. `side_tests::docs` says how.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use side_tests::docs::page::{self, Step};
use side_tests::docs::play::play;
use side_tests::process::workspace;

/// One test a page, so that they run beside each other and a failing one has a name.
macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        const PLAYED: &[&str] = &[$($path),*];
        $(#[test] fn $name() { play($path, Path::new(env!("CARGO_BIN_EXE_docs-devnet"))); })*
    };
}

pages! {
    readme: "README.md",
    bitcoin: "docs/bitcoin.md",
    devnet: "btc-devnet/README.md",
    first_group: "docs/guide/first-group.md",
    three_machines: "docs/guide/three-machines.md",
    blocks_on_a_timer: "docs/guide/block-timer.md",
    another_leader: "docs/guide/switch-leaders.md",
    groups: "docs/guide/groups.md",
    payment: "docs/guide/payment.md",
    swap: "docs/guide/swap.md",
    joining_and_catching_up: "docs/guide/catch-up.md",
    direct_connections: "docs/guide/direct-connections.md",
    watcher: "docs/guide/watcher.md",
    page_of_a_node: "docs/guide/page.md",
    trouble: "docs/guide/trouble.md",
    keys_and_backup: "docs/guide/keys-and-backup.md",
    rotating_a_key: "docs/guide/rotate-key.md",
    operating: "docs/guide/operating.md",
    lost_quorum: "docs/guide/lost-quorum.md",
    programs: "docs/guide/programs.md",
    api: "docs/api/README.md",
    embedding: "docs/guide/embedding.md",
}

/// Folders without pages for readers.
const NOT_OURS: [&str; 3] = ["target", ".git", "node_modules"];

#[test]
fn every_page_with_something_to_type_is_played() {
    let mut found = BTreeSet::new();
    let mut folders = vec![workspace()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() && !NOT_OURS.iter().any(|not| name == *not) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") && has_steps(&path) {
                found.insert(path.strip_prefix(workspace()).expect("it is within").to_owned());
            }
        }
    }
    let played: BTreeSet<PathBuf> = PLAYED.iter().map(PathBuf::from).collect();
    assert_eq!(found, played, "the pages that have steps, and those that `pages!` in {} names", file!());
}

/// Whether a page asks its reader for something. It panics if the page has blocks that are neither played nor marked.
fn has_steps(path: &Path) -> bool {
    let steps = page::read(&fs::read_to_string(path).expect("a page"));
    let steps = steps.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    steps.iter().any(|step| matches!(step, Step::Console(_) | Step::File { .. } | Step::Quote { .. }))
}

#[test]
fn the_index_names_every_guide() {
    let guides = workspace().join("docs/guide");
    let index = fs::read_to_string(guides.join("README.md")).expect("the index of the guides");
    for entry in fs::read_dir(&guides).expect("the guides").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        let is_page = name.ends_with(".md") && name != "README.md";
        assert!(!is_page || index.contains(&format!("({name})")), "docs/guide/README.md does not name {name}");
    }
}
