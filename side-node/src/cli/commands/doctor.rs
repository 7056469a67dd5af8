//! `side-node doctor [NODE]`

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use side_ledger::Name;

use crate::cli::{Globals, RelayArgs};
use crate::doctor::{Patient, REPORT_VERSION, Report, State, examine};
use crate::error::{Blame, CommandError};
use crate::home::Root;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node doctor                     every node of this machine
  side-node doctor node1
  side-node doctor node1 --json | jq '.nodes[].findings[] | select(.state == \"trouble\")'

Works while the node runs and while it is stopped, and changes nothing. Exits with 0 if there is nothing to mend, else with 1.")]
pub struct DoctorArgs {
    /// The node [default: all of this root]
    #[arg(value_name = "NODE")]
    pub name: Option<Name>,
    /// Where the relay is.
    #[command(flatten)]
    pub relay: RelayArgs,
}

/// What `doctor` prints.
#[derive(Debug, Serialize)]
struct Reports {
    version: u32,
    healthy: bool,
    troubles: usize,
    nodes: Vec<Report>,
}

/// Runs `doctor`.
pub fn run(globals: &Globals, args: DoctorArgs) -> Result<ExitCode, CommandError> {
    let root = globals.root()?;
    let names = match &args.name {
        Some(name) => {
            // A folder without its key is a node in trouble; no folder is no node.
            let home = root.node(name.as_str());
            if !home.path().is_dir() {
                home.require()?;
            }
            vec![name.clone()]
        }
        None => nodes(&root)?,
    };
    let mut told = false;
    let mut reports = Vec::new();
    for name in names {
        let patient = Patient::new(root.clone(), root.node(name.as_str()), args.relay.given());
        reports.push(examine(patient, |check| told |= super::wait_line(&format!("  {name}: {check}"))));
    }
    if told {
        super::wait_line("");
    }
    let troubles = reports.iter().map(Report::troubles).sum();
    let reports = Reports { version: REPORT_VERSION, healthy: troubles == 0, troubles, nodes: reports };
    globals.output().result(&reports, || text(&reports))?;
    Ok(if reports.healthy { ExitCode::SUCCESS } else { ExitCode::from(Blame::User as u8) })
}

/// The nodes of a root by their folders, whatever its registry says.
fn nodes(root: &Root) -> Result<Vec<Name>, CommandError> {
    let entries = fs::read_dir(root.path()).map_err(|e| {
        CommandError::io(format!("cannot read the root {}", root.path().display()), &e)
            .hint("make a node with: side-node init node1")
    })?;
    let names = entries.flatten().filter(|entry| entry.path().join("keys").is_dir());
    let mut names: Vec<Name> = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    names.sort_unstable();
    if names.is_empty() {
        return Err(CommandError::user(format!("there is no node in {}", root.path().display()))
            .hint("make one with: side-node init node1"));
    }
    Ok(names)
}

fn text(reports: &Reports) -> String {
    let mut out = String::new();
    for report in &reports.nodes {
        let running = report.pid.map_or_else(|| "stopped".to_owned(), |pid| format!("running, process {pid}"));
        let _ = writeln!(out, "{} ({running})", report.node);
        for finding in &report.findings {
            let state = match finding.state {
                State::Good => "ok",
                State::Note => "note",
                State::Trouble => "TROUBLE",
                State::Skipped => "-",
            };
            let _ = writeln!(out, "  {state:<8} {:<9} {}", finding.check, finding.what);
            if let Some(next) = &finding.next {
                let _ = writeln!(out, "  {:<8} {:<9} → {next}", "", "");
            }
        }
    }
    let _ = match reports.troubles {
        0 => writeln!(out, "nothing to mend"),
        1 => writeln!(out, "1 thing to mend"),
        count => writeln!(out, "{count} things to mend"),
    };
    out
}
