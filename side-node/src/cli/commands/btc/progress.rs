//! What a person sees while a payment is on its way: milestones as lines, and a counter that rewrites itself on a terminal.

use std::io::{IsTerminal as _, Write as _, stderr};

use bitcoin::Txid;

use crate::btc::amount::{show, show_rate};
use crate::btc::confirm::Depth;
use crate::btc::scan::Progress;
use crate::btc::sync::Report;
use crate::btc::transfer::Event;
use crate::btc::wallet::Signed;
use crate::output::{print_line, printable};

/// Width of the labels.
const LABEL: usize = 14;

/// Prints steps for people; with `--json` it is silent, since stdout gets one document.
#[derive(Debug)]
pub(in crate::cli::commands) struct Steps {
    quiet: bool,
    /// Whether a counter stands on the terminal's last line.
    counting: bool,
    wanted: u32,
    /// The number of confirmations that was printed last.
    confirmations: u32,
    trouble: Option<String>,
}

impl Steps {
    pub(in crate::cli::commands) fn new(json: bool, wanted: u32) -> Self {
        Self { quiet: json, counting: false, wanted, confirmations: 0, trouble: None }
    }

    /// One line with a label.
    pub(in crate::cli::commands) fn line(&mut self, label: &str, text: impl std::fmt::Display) {
        if !self.quiet {
            self.clear();
            // A closed stdout is no reason to stop a payment.
            let _ = print_line(&format!("  {label:<LABEL$} {text}"));
        }
    }

    pub(in crate::cli::commands) fn event(&mut self, event: Event) {
        match event {
            Event::Syncing(progress) => self.syncing(progress),
            Event::Synced(balance, report) => {
                self.synced(&report);
                self.line("balance", show(balance.spendable()));
                if balance.incoming > bitcoin::Amount::ZERO {
                    self.line("", format!("and {} that wait for a confirmation", show(balance.incoming)));
                }
            }
            Event::Signed(signed) => self.signed(&signed),
            Event::Sent(_) => self.count("sent"),
            Event::Waiting(depth) => self.waiting(&depth),
            Event::Trouble(text) => self.trouble(text),
        }
    }

    pub(in crate::cli::commands) fn syncing(&mut self, progress: Progress) {
        self.count(&format!(
            "looking for coins: {} addresses, {} transactions",
            progress.scripts, progress.transactions
        ));
    }

    pub(in crate::cli::commands) fn synced(&mut self, report: &Report) {
        if report.new_chain {
            self.trouble(
                "the devnet was started afresh: what the wallet knew of the old chain is forgotten".to_owned(),
            );
        }
        for txid in &report.sent_again {
            self.trouble(format!("payment {txid} was not in the server's mempool; it was sent again"));
        }
        for (txid, why) in &report.refused {
            self.trouble(format!("payment {txid} is not in the server's mempool: {why}"));
        }
        self.clear();
    }

    fn signed(&mut self, signed: &Signed) {
        if let Some(old) = signed.replaces {
            self.line("replaces", old);
        }
        self.line("amount", show(signed.amount));
        self.line("txid", signed.txid);
        self.line("fee", format!("{}, {}", show(signed.fee), show_rate(signed.fee_rate())));
    }

    fn waiting(&mut self, depth: &Depth) {
        let (confirmations, wanted) = (depth.confirmations, self.wanted);
        let Some(height) = depth.height else {
            return self.count(&format!("waiting for a block after {}", depth.tip));
        };
        if self.confirmations != confirmations {
            self.confirmations = confirmations;
            let proof = if depth.checked { "checked" } else { "the server's word" };
            self.line("confirmations", format!("{confirmations} of {wanted}, in block {height} ({proof})"));
        }
        if confirmations < wanted {
            self.count(&format!("{confirmations} of {wanted} confirmations, waiting; block {}", depth.tip));
        }
    }

    fn trouble(&mut self, text: String) {
        // The same trouble again is no news.
        if !self.quiet && self.trouble.as_ref() != Some(&text) {
            self.clear();
            let _ = writeln!(stderr(), "note: {}", printable(&text));
            self.trouble = Some(text);
        }
    }

    /// On a terminal: a line that the next one overwrites. Elsewhere nothing: the milestones tell enough.
    fn count(&mut self, text: &str) {
        if !self.quiet && stderr().is_terminal() {
            self.counting = true;
            let _ = write!(stderr(), "\r\u{1b}[K  {text}").and_then(|()| stderr().flush());
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.counting) {
            let _ = write!(stderr(), "\r\u{1b}[K").and_then(|()| stderr().flush());
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A transaction's id, shortened for a table.
pub(super) fn short(txid: &Txid) -> String {
    let text = txid.to_string();
    format!("{}…{}", &text[..8], &text[text.len() - 4..])
}
