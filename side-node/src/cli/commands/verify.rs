//! `side-node verify [FILE]`

use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use side_ledger::receipt::Reason;
use side_ledger::{BlockId, GroupId, Invitation};
use side_seal::bundle::{Anchor, Bundle, BundleError, MAX_BUNDLE_BYTES, Trusted, Verified};

use crate::cli::Globals;
use crate::error::CommandError;
use crate::output;

/// Most bytes that are read: the text of the largest proof, with some white space.
const MAX_TEXT: u64 = MAX_BUNDLE_BYTES as u64 / 3 * 4 + 4096;

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  side-node proof node1 3f2a90c1d5e7 > payment.proof
  side-node verify payment.proof --group 97c7eb10…     on any machine: takes no node, no store and no network
  side-node proof node1 3f2a90c1d5e7 | side-node verify --invitation side://…

A proof tells by itself which group it is about. Whether that is the group you mean only you know: give its id, or an
invitation to it. A proof that begins with a block instead of the group's genesis needs that block's id, or an invitation
with it. Exits with 0 if the proof is good, also where it proves that a transaction was rejected.")]
pub struct VerifyArgs {
    /// The proof, as `proof` printed it; stdin without it, or with -
    pub file: Option<PathBuf>,
    /// The id of the group that you mean
    #[arg(long, value_name = "ID", value_parser = group)]
    pub group: Option<GroupId>,
    /// The id of a block that you trust
    #[arg(long, value_name = "ID", value_parser = block)]
    pub checkpoint: Option<BlockId>,
    /// An invitation that you trust: its group and its block
    #[arg(long, value_name = "side://…", conflicts_with_all = ["group", "checkpoint"])]
    pub invitation: Option<String>,
}

fn group(text: &str) -> Result<GroupId, String> {
    GroupId::from_hex(text).ok_or_else(|| "a group's id has 64 hexadecimal digits".to_owned())
}

fn block(text: &str) -> Result<BlockId, String> {
    group(text).map(|id| BlockId(id.0)).map_err(|_| "a block's id has 64 hexadecimal digits".to_owned())
}

/// Runs `verify`.
pub fn run(globals: &Globals, args: VerifyArgs) -> Result<(), CommandError> {
    let text = match &args.file {
        Some(path) if path.as_os_str() != "-" => {
            let file = std::fs::File::open(path);
            read(file.map_err(|e| CommandError::io(format!("cannot open {}", path.display()), &e))?)
        }
        _ => read(std::io::stdin().lock()),
    }?;
    let trusted = match &args.invitation {
        Some(text) => {
            let invitation: Invitation = text.parse().map_err(|e| {
                CommandError::user(format!("cannot read the invitation: {e}"))
                    .hint("paste the whole line that starts with side://")
            })?;
            let checkpoint = invitation.checkpoint().map(|checkpoint| checkpoint.block);
            Trusted { group: Some(invitation.group()), checkpoint }
        }
        None => Trusted { group: args.group, checkpoint: args.checkpoint },
    };
    let bundle: Bundle = text.parse().map_err(refused)?;
    let verified = bundle.verify(&trusted).map_err(refused)?;
    globals.output().result(&value(&bundle, &verified, &trusted), || shown(&bundle, &verified, &trusted))
}

fn read(source: impl Read) -> Result<String, CommandError> {
    let mut text = String::new();
    let read = source.take(MAX_TEXT + 1).read_to_string(&mut text);
    read.map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => refused(BundleError::Text),
        _ => CommandError::io("cannot read the proof", &e),
    })?;
    if text.len() as u64 > MAX_TEXT { Err(refused(BundleError::TooLong)) } else { Ok(text) }
}

fn refused(error: BundleError) -> CommandError {
    let hint = match &error {
        BundleError::OtherGroup(_) => "it may be a good proof all the same: about that group",
        BundleError::OtherCheckpoint(_) => {
            "if you trust that block, name it with --checkpoint; or ask for a proof from the genesis"
        }
        BundleError::Text => "take the whole line that `side-node proof` printed",
        _ => "nothing is proven; ask for the proof again, or somebody else for one",
    };
    CommandError::user(error.to_string()).hint(hint)
}

fn status(reason: Option<Reason>) -> Value {
    match reason {
        None => json!({ "status": "sealed" }),
        Some(reason) => json!({ "status": "rejected", "reason": reason, "text": reason.to_string() }),
    }
}

/// What was proven, for programs.
fn value(bundle: &Bundle, verified: &Verified, trusted: &Trusted) -> Value {
    let (block, receipt, standing) = (&bundle.proof.block, &verified.receipt, verified.standing);
    let transactions = verified.transactions.iter().map(|(entry, reason)| {
        json!({
            "offset": entry.offset,
            "version": entry.version,
            "kind": entry.kind,
            "body": entry.body,
            "outcome": status(*reason),
        })
    });
    let anchor = match &bundle.anchor {
        Anchor::Genesis => json!({ "kind": "genesis" }),
        Anchor::Checkpoint { block, .. } => {
            let id = block.id().map(|id| id.to_string()).unwrap_or_default();
            json!({ "kind": "checkpoint", "height": block.height, "block": id })
        }
    };
    json!({
        "proven": true,
        "group": bundle.group(),
        "group_name": bundle.genesis.name(),
        "group_given": trusted.group.is_some(),
        "anchor": anchor,
        "change": receipt.id.to_string(),
        "lamport": receipt.lamport,
        "author": bundle.change.as_ref().map(|change| change.author().to_string()),
        "outcome": status(receipt.verdict),
        "rejected": receipt.rejected.iter().map(|(offset, reason)| json!({ "offset": offset, "reason": reason })).collect::<Vec<_>>(),
        "transactions": transactions.collect::<Vec<_>>(),
        "block": {
            "id": verified.block.to_string(),
            "recovery": block.recovery,
            "set": block.set,
            "epoch": block.epoch,
            "height": block.height,
            "time_ms": block.time_ms,
            "state_root": hex::encode(block.state_root),
        },
        "standing": { "final": standing.is_final, "holders": standing.holders, "voters": standing.voters, "quorum": standing.quorum },
    })
}

/// What was proven, for people.
fn shown(bundle: &Bundle, verified: &Verified, trusted: &Trusted) -> String {
    let mut out = String::new();
    let (block, receipt, standing) = (&bundle.proof.block, &verified.receipt, verified.standing);
    let outcome = |reason: Option<Reason>| reason.map_or("counts".to_owned(), |reason| format!("rejected: {reason}"));
    let mut line = |label: &str, text: String| {
        let _ = writeln!(out, "{label:<12}{text}");
    };
    line("change", receipt.id.to_string());
    if let Some(change) = &bundle.change {
        line("author", change.author().to_string());
    }
    for (entry, reason) in &verified.transactions {
        line("", format!("{}: {}", output::body(entry, None), outcome(*reason)));
    }
    if verified.transactions.is_empty() || receipt.verdict.is_some() {
        line("outcome", outcome(receipt.verdict));
        for (offset, reason) in &receipt.rejected {
            line("", format!("at {offset}: rejected: {reason}"));
        }
    }
    line("block", format!("{} at height {}, {}", verified.block, block.height, output::time(block.time_ms)));
    let (label, who) = if standing.is_final { ("final by", "sealers") } else { ("held by", "voters") };
    line(label, format!("{} of {} {who}; it takes {}", standing.holders, standing.voters, standing.quorum));
    let name = output::printable(bundle.genesis.name().as_str());
    line("group", format!("{} ({name})", bundle.group()));
    if let Anchor::Checkpoint { block, .. } = &bundle.anchor {
        line("rests on", format!("block {}, which you named as trusted", block.height));
    }
    if trusted.group.is_none() {
        line(
            "note",
            "whether that is the group that you mean only you can tell: compare its id, or give it with --group"
                .to_owned(),
        );
    }
    out
}
