//! Four nodes with a group that they seal together, and what they show of it.

use serde_json::Value;
use side_tests::mesh::lonely;
use side_tests::process::{Process, eventually};
use side_tests::world::Home;

pub(crate) const NODES: [&str; 4] = ["node1", "node2", "node3", "node4"];
pub(crate) const GROUP: &str = "bank";

/// What a node shows of a group in one root.
pub(crate) fn status(home: &Home, name: &str) -> Value {
    serde_json::from_str(&home.ok(&["status", name, "--group", GROUP, "--json"])).expect("JSON")
}

/// Writes a note in the group.
pub(crate) fn note(home: &Home, name: &str, text: &str) {
    home.ok(&["note", name, "--group", GROUP, text]);
}

pub(crate) fn final_height(status: &Value) -> u64 {
    status["final_height"].as_u64().expect("something is final in this mode")
}

/// What has to be equal on all nodes.
fn tip(status: &Value) -> (u64, Value, Value) {
    (final_height(status), status["block"].clone(), status["state_root"].clone())
}

/// Waits until these show the same final block above `height` and nothing is pending; its height.
pub(crate) fn agree(shown: impl Fn() -> Vec<Value>, height: u64) -> u64 {
    let mut last = Vec::new();
    let agreed = side_tests::process::eventually_within(side_tests::process::PATIENCE, "the same final block", || {
        last = shown();
        let same = last.iter().all(|status| tip(status) == tip(&last[0]) && status["pending"] == 0);
        (same && final_height(&last[0]) > height).then(|| final_height(&last[0]))
    });
    for status in &last {
        assert_eq!(status["offences"], Value::Array(Vec::new()), "nobody lies here");
        assert_eq!(status["mode"], "bft");
    }
    agreed
}

/// Four nodes of one root, running, with a group that they have founded together; they find each other by the root's registry.
pub(crate) struct Bank {
    pub(crate) home: Home,
    pub(crate) nodes: Vec<Option<Process>>,
}

impl Bank {
    pub(crate) fn open(term: &str) -> Self {
        let home = lonely();
        NODES.iter().for_each(|name| home.init(name));
        let nodes = NODES.iter().map(|name| Some(home.run(name))).collect();
        let founders = ["--founder", "node2", "--founder", "node3", "--founder", "node4"];
        let create = ["group", "create", "node1", GROUP, "--sealing", "bft", "--interval", "200", "--term", term];
        home.ok(&[&create[..], &["--allocate", "node1=1000"], &founders].concat());
        let bank = Self { home, nodes };
        eventually("all have the group", || {
            NODES.iter().all(|name| status(&bank.home, name)["group_name"] == GROUP).then_some(())
        });
        bank
    }

    /// Those that run.
    pub(crate) fn running(&self) -> Vec<&'static str> {
        NODES.into_iter().zip(&self.nodes).filter(|(_, node)| node.is_some()).map(|(name, _)| name).collect()
    }

    /// Waits until all that run show the same final block above `height`.
    pub(crate) fn agree(&self, height: u64) -> u64 {
        agree(|| self.running().into_iter().map(|name| status(&self.home, name)).collect(), height)
    }

    pub(crate) fn kill(&mut self, at: usize) {
        let mut node = self.nodes[at].take().expect("it runs");
        node.kill_9();
    }

    pub(crate) fn run(&mut self, at: usize) {
        self.nodes[at] = Some(self.home.run(NODES[at]));
    }
}
