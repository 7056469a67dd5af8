//! What a running node counts, in Prometheus' text form: its groups as [`Status`] tells of them, and the process.
//!
//! Everything is read when somebody asks, so nothing is counted twice and a node that nobody watches pays nothing. Rule: a label takes its values from our own
//! code, or is the id of one of this node's groups, of which the first [`MAX_GROUPS`] are shown: no peer can grow a series.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::daemon::view::Status;

/// Most groups that have series of their own: a page that a scraper takes in a blink.
pub const MAX_GROUPS: usize = 64;

/// A group as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGroup {
    group: String,
}

/// The ways to other nodes of a group, by transport.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    group: String,
    transport: &'static str,
}

type Count = Gauge<u64, AtomicU64>;

/// What the system says about this process. Each is absent where the system does not say it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Memory that is in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// Time on a processor since it started, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
}

impl Process {
    /// Asks the system (proc(5), clock_gettime(2)).
    pub fn read() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self {
            resident_bytes: std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident(&status)),
            cpu_seconds: Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9),
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as u64),
        }
    }
}

/// The line `VmRSS` of `/proc/self/status`, in kibibytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The transports that have series.
const TRANSPORTS: [&str; 2] = ["direct", "relay"];

/// One number of a group: its name, what it means, and where it stands in a status.
type Row = (&'static str, &'static str, fn(&Status) -> Option<u64>);

const ROWS: [Row; 17] = [
    ("changes", "Changes in the graph", |status| Some(status.changes)),
    ("entries", "Transactions in the history", |status| Some(status.entries)),
    ("pending", "Changes that no block covers yet", |status| Some(status.pending)),
    ("height", "Height of the chain", |status| Some(status.height)),
    ("held_height", "Height up to which enough voters hold the chain", |status| Some(status.held_height)),
    ("final_height", "Height up to which nothing takes the chain back", |status| status.final_height),
    ("set", "Number of the set of voters", |status| Some(status.set)),
    ("epoch", "Number of the epoch", |status| Some(status.epoch)),
    ("members", "Authors of changes", |status| Some(status.members)),
    ("voters", "Voters in force", |status| Some(status.voters.len() as u64)),
    ("sealer_votes", "Most voters for one sealer of an epoch to come", |status| {
        Some(status.sealer_votes.iter().map(|votes| votes.by.len() as u64).max().unwrap_or(0))
    }),
    ("heads", "Changes that no other one names", |status| Some(status.heads.len() as u64)),
    ("equivocators", "Members whose chain is proven to be forked", |status| Some(status.equivocators.len() as u64)),
    ("offences", "Proofs against sealers", |status| Some(status.offences.len() as u64)),
    ("incomplete", "1 while changes are known of that are not here", |status| Some(status.incomplete.into())),
    ("read_only", "1 while this node may not write", |status| Some(status.read_only.is_some().into())),
    ("blocks_missing", "Most blocks that a connected peer is ahead", |status| {
        Some(status.peers.iter().map(|peer| peer.blocks_missing).max().unwrap_or(0))
    }),
];

/// The page for a scraper.
pub fn page(groups: &[Status], process: Process) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let node = registry.sub_registry_with_prefix("side_node");
    node.register("groups", "Groups that run", ConstGauge::new(groups.len() as u64));
    let shown = &groups[..groups.len().min(MAX_GROUPS)];
    for (name, help, read) in ROWS {
        let family = Family::<OfGroup, Count>::default();
        for status in shown {
            if let Some(value) = read(status) {
                family.get_or_create(&OfGroup { group: status.group.clone() }).set(value);
            }
        }
        node.register(name, help, family);
    }
    let (connected, in_sync) = (Family::<Way, Count>::default(), Family::<Way, Count>::default());
    let behind = Family::<OfGroup, Count>::default();
    for status in shown {
        let group = status.group.clone();
        for transport in TRANSPORTS {
            let links = || status.peers.iter().filter(|peer| peer.connected && peer.transport == transport);
            let way = Way { group: group.clone(), transport };
            connected.get_or_create(&way).set(links().count() as u64);
            in_sync.get_or_create(&way).set(links().filter(|peer| peer.in_sync).count() as u64);
        }
        let most = status.peers.iter().map(|peer| peer.changes_behind).max().unwrap_or(0);
        behind.get_or_create(&OfGroup { group }).set(most);
    }
    node.register("links", "Ways to other nodes that stand", connected);
    node.register("links_in_sync", "Those on which everything was passed", in_sync);
    node.register("changes_behind", "Most changes that a connected peer lacks", behind);
    if let Some(bytes) = process.resident_bytes {
        registry.register_with_unit("process_resident_memory", "Memory in use", Unit::Bytes, ConstGauge::new(bytes));
    }
    if let Some(seconds) = process.cpu_seconds {
        registry.register_with_unit("process_cpu", "Time on a processor", Unit::Seconds, ConstCounter::new(seconds));
    }
    if let Some(fds) = process.open_fds {
        registry.register("process_open_fds", "Open descriptors", ConstGauge::new(fds));
    }
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A group in which nothing has happened.
    fn quiet() -> Status {
        serde_json::from_value(json!({
            "node": "node1", "key": "k", "group": "g", "group_name": "side", "pid": 1, "changes": 0, "entries": 0, "members": 1, "alone": true,
            "heads": [], "heads_digest": "", "digest": "", "incomplete": false, "read_only": null, "equivocators": [], "relay": null,
            "admission": "open", "mode": "leader", "height": 0, "block": "b", "state_root": "", "held_height": 0, "final_height": null,
            "pending": 0, "recovery": 0, "set": 0, "epoch": 0, "sealers": [], "voters": [], "quorum": 1, "switch_needs": 1,
            "pending_voters": [], "interval_ms": 1000, "may_seal": true, "document": "complete", "backfill": null, "offences": [], "peers": [],
            "groups": []
        }))
        .unwrap()
    }

    #[test]
    fn the_system_tells_of_this_process() {
        let process = Process::read();
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!(process.open_fds.unwrap() >= 3);
        assert!(process.cpu_seconds.is_some());
    }

    #[test]
    fn memory_is_read_and_what_is_damaged_is_not() {
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t    12 kB\nx"), Some(12 << 10));
        for damaged in ["", "VmRSS:", "VmRSS:\t 12", "VmRSS:\t x kB", "VmRSS:\t 18446744073709551615 kB"] {
            assert_eq!(resident(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_page_has_each_number_once_a_group_and_only_so_many_groups() {
        let status = |at: usize| {
            let mut status = quiet();
            status.group = format!("{at:064x}");
            status.pending = 7;
            status.final_height = (at == 0).then_some(3);
            status
        };
        let groups: Vec<Status> = (0..MAX_GROUPS + 5).map(status).collect();
        let page = page(&groups, Process { resident_bytes: Some(5), cpu_seconds: Some(1.5), open_fds: None }).unwrap();
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let zero = "0".repeat(64);
        assert!(lines.contains(&format!("side_node_pending{{group=\"{zero}\"}} 7").as_str()), "{page}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("side_node_pending{")).count(), MAX_GROUPS);
        // What a leader-mode group does not have is not shown as a number.
        assert_eq!(lines.iter().filter(|line| line.starts_with("side_node_final_height{")).count(), 1);
        assert!(lines.contains(&format!("side_node_groups {}", MAX_GROUPS + 5).as_str()));
        assert!(lines.contains(&"process_resident_memory_bytes 5"));
        assert!(lines.contains(&"process_cpu_seconds_total 1.5"));
        assert!(!page.contains("process_open_fds"));
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn each_number_is_what_its_name_says() {
        let link = |transport: &str, connected: bool, in_sync: bool, behind: u64, missing: u64| {
            json!({
                "transport": transport, "address": "a", "key": null, "name": null, "connected": connected, "in_sync": in_sync,
                "round_trip_ms": null, "changes_behind": behind, "height": null, "blocks_missing": missing, "problem": null
            })
        };
        let mut json = serde_json::to_value(quiet()).unwrap();
        for (name, value) in [("changes", 11), ("entries", 12), ("pending", 13), ("height", 14), ("held_height", 15)] {
            json[name] = value.into();
        }
        for (name, value) in [("final_height", 16), ("set", 17), ("epoch", 18), ("members", 19)] {
            json[name] = value.into();
        }
        json["heads"] = json!(["a", "b"]);
        let votes = |by: usize| {
            let who = json!({ "key": "k", "name": null });
            json!({ "key": "k", "name": null, "epoch": 20, "by": vec![who; by], "own": false, "needed": 3 })
        };
        json["sealer_votes"] = json!([votes(1), votes(4), votes(2)]);
        json["read_only"] = "it is a copy".into();
        json["peers"] = json!([
            link("relay", true, true, 2, 3),
            link("direct", true, false, 7, 1),
            link("direct", true, true, 0, 9),
            link("direct", false, true, 0, 0)
        ]);
        let page = page(&[serde_json::from_value(json).unwrap()], Process::default()).unwrap();
        for (name, value) in [
            ("changes", 11),
            ("entries", 12),
            ("pending", 13),
            ("height", 14),
            ("held_height", 15),
            ("final_height", 16),
            ("set", 17),
            ("epoch", 18),
            ("members", 19),
            ("sealer_votes", 4),
            ("heads", 2),
            ("incomplete", 0),
            ("read_only", 1),
            ("blocks_missing", 9),
            ("changes_behind", 7),
        ] {
            assert!(page.contains(&format!("\nside_node_{name}{{group=\"g\"}} {value}\n")), "{name}: {page}");
        }
        for (name, transport, value) in [
            ("links", "relay", 1),
            ("links", "direct", 2),
            ("links_in_sync", "relay", 1),
            ("links_in_sync", "direct", 1),
        ] {
            let line = format!("\nside_node_{name}{{group=\"g\",transport=\"{transport}\"}} {value}\n");
            assert!(page.contains(&line), "{line}: {page}");
        }
    }

    #[test]
    fn the_dashboard_asks_for_numbers_that_there_are() {
        let dashboard = include_str!("../../packaging/grafana/side.json");
        let mut status = quiet();
        status.final_height = Some(0);
        let page = page(&[status], Process::read()).unwrap();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = dashboard.split(|c| !is_word(c));
        let asked = words.filter(|word| word.starts_with("side_node_") || word.starts_with("process_"));
        let mut count = 0;
        for name in asked {
            let there = page.lines().any(|line| line.split(|c| !is_word(c)).next() == Some(name));
            assert!(there, "{name} is on the dashboard and not on the page");
            count += 1;
        }
        assert!(count > 15);
    }
}
