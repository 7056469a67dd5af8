//! Nodes with something to look at.

use side_tests::mesh::lonely;
use side_tests::process::{Process, eventually};
use side_tests::world::Home;

/// Nodes of one root that run, without a relay.
pub(crate) struct Village {
    pub(crate) home: Home,
    pub(crate) nodes: Vec<(String, Process)>,
}

impl Village {
    /// Nodes of these names, all of them voters of one group.
    pub(crate) fn of(names: &[&str]) -> Self {
        let home = lonely();
        for name in names {
            home.init(name);
        }
        let nodes = names.iter().map(|name| ((*name).to_owned(), home.run(name))).collect();
        let village = Self { home, nodes };
        eventually("all of them vote", || {
            let voters = village.home.status(names[0])["voters"].as_array().map_or(0, Vec::len);
            (voters == names.len()).then_some(())
        });
        village
    }

    /// Where a node's page is.
    pub(crate) fn page(&self, name: &str) -> String {
        self.home.status(name)["page"].as_str().expect("a page is served").to_owned()
    }

    /// Somebody types a line.
    pub(crate) fn type_line(&mut self, name: &str, line: &str) {
        let (_, node) = self.nodes.iter_mut().find(|(known, _)| known == name).expect("a node of that name");
        assert!(node.type_line(line), "{} does not read", node.report());
    }

    /// Waits until nothing waits for a block and all nodes are at the same one.
    pub(crate) fn until_sealed(&self) {
        eventually("everything is sealed everywhere", || {
            let statuses: Vec<_> = self.nodes.iter().map(|(name, _)| self.home.status(name)).collect();
            let same = statuses.iter().all(|status| status["block"] == statuses[0]["block"]);
            (same && statuses.iter().all(|status| status["pending"] == 0)).then_some(())
        });
    }
}
