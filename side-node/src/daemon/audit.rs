//! The signatures that loading leaves unchecked, checked beside the work.
//!
//! A start checks one signature for each author's last change, which vouches for all before it ([`bft_json_crdt::replica::Check::Tips`]). The others are looked at
//! here, on a thread of its own. One that was damaged on disk gets a voucher, which is stored: without it a peer would take this node for a liar
//! when it passes the change on.

use std::num::NonZeroUsize;
use std::thread;

use bft_json_crdt::replica::{Audit, AuditReport, Findings};
use tokio::sync::oneshot;

/// An audit under way. Ends with the process: nothing waits for it.
pub(super) struct Running(oneshot::Receiver<Findings>);

impl Running {
    /// Starts it, on all processors but one, so that who types does not wait.
    pub(super) fn start(audit: Audit) -> std::io::Result<Self> {
        let (send, findings) = oneshot::channel();
        thread::Builder::new().name("side-node-audit".into()).spawn(move || {
            let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let threads = NonZeroUsize::new(processors - 1).unwrap_or(NonZeroUsize::MIN);
            // The node may have stopped meanwhile.
            let _ = send.send(audit.run(threads));
        })?;
        Ok(Self(findings))
    }
}

/// What the audit in `running` found; pending without one, and for ever if its thread has panicked.
pub(super) async fn finished(running: &mut Option<Running>) -> Findings {
    let found = match running {
        Some(Running(findings)) => findings.await,
        None => std::future::pending().await,
    };
    *running = None;
    match found {
        Ok(findings) => findings,
        Err(_) => std::future::pending().await,
    }
}

/// What people are told of it: nothing, mostly.
pub(super) fn notices(report: &AuditReport) -> Vec<String> {
    let mut notices = Vec::new();
    if !report.vouched.is_empty() {
        notices.push(format!(
            "signatures of {} stored changes are damaged; later ones of their authors vouch for them, so nothing is lost. Check this disk: {}",
            report.vouched.len(),
            listed(&report.vouched)
        ));
    }
    if !report.unvouched.is_empty() {
        notices.push(format!(
            "signatures of {} stored changes are damaged and nothing near vouches for them: peers will refuse these changes from this node. Check this \
             disk, and restore this node's folder from a backup or make a new node: {}",
            report.unvouched.len(),
            listed(&report.unvouched)
        ));
    }
    notices
}

/// Most ids that a notice names.
const LISTED: usize = 4;

fn listed(ids: &[bft_json_crdt::change::ChangeId]) -> String {
    let mut names: Vec<String> =
        ids.iter().take(LISTED).map(|id| crate::output::short(&id.to_string()).to_owned()).collect();
    if ids.len() > LISTED {
        names.push("…".to_owned());
    }
    names.join(", ")
}
