//! What the relay counts, in Prometheus' text form.
//!
//! Rule: a label takes its values from our own code (reasons, verdicts), never from what a peer sends, so that no peer can grow a series. The one exception
//! is the group, and only the first [`MAX_LABELLED_GROUPS`] have a label.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use side_ledger::GroupId;

use crate::protocol::CloseReason;

/// One label whose value is a word of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The word.
    pub reason: &'static str,
}

/// Most groups that have series of their own: a page that a scraper takes in a blink.
pub const MAX_LABELLED_GROUPS: i64 = 64;

/// A group as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfGroup {
    /// Its id in hexadecimal digits.
    pub group: String,
}

/// What is shown of one group.
#[derive(Debug, Clone, Default)]
pub struct GroupMetrics(Option<Gauge>);

impl GroupMetrics {
    /// Sets the height of its chain.
    pub fn height(&self, height: u64) {
        if let Some(gauge) = &self.0 {
            gauge.set(i64::try_from(height).unwrap_or(i64::MAX));
        }
    }
}

/// A family of counters by reason.
pub type ByReason = Family<Reason, Counter>;

/// All metrics of one relay. Counters are relaxed atomics: cheap enough for every frame.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// TCP connections taken.
    pub accepted: Counter,
    /// TCP connections turned away before the hello, by reason.
    pub turned_away: ByReason,
    /// Websocket connections with an accepted hello, now.
    pub connections: Gauge,
    /// Connections ended, by the reason of [`CloseReason`].
    pub closed: ByReason,
    /// Websocket messages received.
    pub frames_in: Counter,
    /// Bytes of websocket messages received.
    pub bytes_in: Counter,
    /// Websocket messages sent.
    pub frames_out: Counter,
    /// Bytes of websocket messages sent.
    pub bytes_out: Counter,
    /// Changes received, by verdict.
    pub changes: ByReason,
    /// Blocks, by what became of them.
    pub blocks: ByReason,
    /// Messages of the side lane, by what became of them.
    pub side: ByReason,
    /// The height of each group's chain.
    pub heights: Family<OfGroup, Gauge>,
    /// Changes handed to a subscriber (one change to three subscribers counts three).
    pub deliveries: Counter,
    /// Changes that were on disk when they were acknowledged.
    pub durable: Counter,
    /// Faults charged to a connection, by kind.
    pub strikes: ByReason,
    /// How often reading from a connection waited because it sent too fast.
    pub throttled: Counter,
    /// How often a subscriber fell out of the live stream.
    pub lagging: Counter,
    /// Subscribers that are out of the live stream, now.
    pub lagging_now: Gauge,
    /// Groups carried, now.
    pub groups: Gauge,
    /// Groups that a hello asked for and that were refused, by reason.
    pub groups_refused: ByReason,
    /// Commits to the store.
    pub commits: Counter,
    /// Commits that failed.
    pub commit_failures: Counter,
    /// How long a commit took, in seconds.
    pub commit_seconds: Histogram,
    /// Changes applied and not yet on disk, now.
    pub unpersisted: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("side_watcher"),
            accepted: Counter::default(),
            turned_away: ByReason::default(),
            connections: Gauge::default(),
            closed: ByReason::default(),
            frames_in: Counter::default(),
            bytes_in: Counter::default(),
            frames_out: Counter::default(),
            bytes_out: Counter::default(),
            changes: ByReason::default(),
            blocks: ByReason::default(),
            side: ByReason::default(),
            heights: Family::default(),
            deliveries: Counter::default(),
            durable: Counter::default(),
            strikes: ByReason::default(),
            throttled: Counter::default(),
            lagging: Counter::default(),
            lagging_now: Gauge::default(),
            groups: Gauge::default(),
            groups_refused: ByReason::default(),
            commits: Counter::default(),
            commit_failures: Counter::default(),
            // From a fast SSD's 0.2 ms to a struggling disk's 3 s.
            commit_seconds: Histogram::new(exponential_buckets(0.0002, 2.0, 15)),
            unpersisted: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("connections_accepted", "TCP connections taken", self.accepted.clone());
        r.register("connections_turned_away", "TCP connections refused before the hello", self.turned_away.clone());
        r.register("connections", "Connections with an accepted hello", self.connections.clone());
        r.register("connections_closed", "Connections ended, by reason", self.closed.clone());
        r.register("frames_in", "Websocket messages received", self.frames_in.clone());
        r.register_with_unit("in", "Payload received", Unit::Bytes, self.bytes_in.clone());
        r.register("frames_out", "Websocket messages sent", self.frames_out.clone());
        r.register_with_unit("out", "Payload sent", Unit::Bytes, self.bytes_out.clone());
        r.register("changes", "Changes received, by verdict", self.changes.clone());
        r.register("blocks", "Blocks, by what became of them", self.blocks.clone());
        r.register("side_messages", "Messages of the side lane, by what became of them", self.side.clone());
        r.register("height", "Height of a group's chain (of the first groups only)", self.heights.clone());
        r.register("deliveries", "Changes handed to a subscriber", self.deliveries.clone());
        r.register("durable_changes", "Changes written to disk", self.durable.clone());
        r.register("strikes", "Faults charged to connections, by kind", self.strikes.clone());
        r.register("throttled", "Times that reading a connection was slowed down", self.throttled.clone());
        r.register("lagging", "Times that a subscriber fell out of the live stream", self.lagging.clone());
        r.register("lagging_now", "Subscribers out of the live stream", self.lagging_now.clone());
        r.register("groups", "Groups carried", self.groups.clone());
        r.register("groups_refused", "Groups asked for and refused, by reason", self.groups_refused.clone());
        r.register("commits", "Commits to the store", self.commits.clone());
        r.register("commit_failures", "Commits that failed", self.commit_failures.clone());
        r.register_with_unit("commit", "Time of a commit", Unit::Seconds, self.commit_seconds.clone());
        r.register("unpersisted_changes", "Changes applied and not yet on disk", self.unpersisted.clone());
    }

    /// Counts the end of a connection.
    pub fn close(&self, reason: CloseReason) {
        self.closed.get_or_create(&Reason { reason: reason.label() }).inc();
    }

    /// The series of a group that is carried from now on; of none where too many have some.
    pub fn of_group(&self, group: &GroupId) -> GroupMetrics {
        let has_room = self.groups.get() < MAX_LABELLED_GROUPS;
        let label = OfGroup { group: group.to_string() };
        GroupMetrics(has_room.then(|| self.heights.get_or_create(&label).clone()))
    }

    /// The text form (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(8 << 10);
        // Writing into a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

/// Counts one under `reason` in a family.
pub fn count(family: &ByReason, reason: &'static str) {
    family.get_or_create(&Reason { reason }).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_crowd_of_groups_grows_the_page() {
        let metrics = Metrics::default();
        for number in 0..2 * MAX_LABELLED_GROUPS {
            metrics.groups.set(number);
            metrics.of_group(&GroupId([number as u8; 32])).height(7);
        }
        let lines = metrics.encode().lines().filter(|line| line.starts_with("side_watcher_height{")).count();
        assert_eq!(lines as i64, MAX_LABELLED_GROUPS);
    }

    #[test]
    fn what_was_counted_shows_in_the_text() {
        let metrics = Metrics::default();
        metrics.accepted.inc();
        metrics.close(CloseReason::Strikes);
        count(&metrics.changes, "applied");
        let text = metrics.encode();
        assert!(text.contains("side_watcher_connections_accepted_total 1"), "{text}");
        assert!(text.contains("side_watcher_connections_closed_total{reason=\"strikes\"} 1"), "{text}");
        assert!(text.contains("side_watcher_changes_total{reason=\"applied\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_dashboard_asks_for_numbers_that_there_are() {
        let dashboard = include_str!("../../packaging/grafana/side.json");
        let metrics = Metrics::default();
        metrics.of_group(&GroupId([0; 32])).height(7);
        count(&metrics.changes, "applied");
        metrics.commit_seconds.observe(0.1);
        let page = metrics.encode();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let asked: Vec<&str> =
            dashboard.split(|c| !is_word(c)).filter(|word| word.starts_with("side_watcher_")).collect();
        assert!(asked.len() > 3);
        for name in asked {
            let there = page.lines().any(|line| line.split(|c| !is_word(c)).next() == Some(name));
            assert!(there, "{name} is on the dashboard and not on the page");
        }
    }
}
