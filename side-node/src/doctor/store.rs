//! The database: whether it holds together, whether it is the latest copy, and whether it convicts its own node.

use bft_json_crdt::evidence::EquivocationProof;
use side_store::StoreError;

use super::{Found, Patient};

/// Whether the database holds together and is one that this build reads.
pub fn store(patient: &Patient) -> Vec<Found> {
    if patient.holder().is_some() {
        return vec![Found::good("the database was checked when the node started")];
    }
    match patient.examined() {
        Ok(examined) => vec![Found::good(format!("the database holds together: {} changes", examined.changes))],
        // Somebody started the node meanwhile.
        Err(StoreError::Locked { .. }) => vec![Found::skipped("another process uses the database")],
        Err(error) => {
            let text = error.to_string();
            let (what, next) =
                text.split_once(". ").or_else(|| text.split_once(": ")).unwrap_or((&text, "check the disk"));
            vec![Found::trouble(what, next)]
        }
    }
}

/// Whether this copy of the node may write, or may have forgotten what it has signed.
pub fn copy(patient: &Patient) -> Vec<Found> {
    let name = patient.home.name();
    let remedy = format!(
        "run the node where it reaches others of the group: once it has learnt its own last change it writes by itself. \
         If you know that this is the latest copy: side-node run {name} --trust-this-copy"
    );
    if patient.holder().is_some() {
        let reasons = patient.groups().iter().filter_map(|view| Some((view, view.status.read_only.as_ref()?)));
        let found: Vec<Found> = reasons
            // What a proof says has a check of its own.
            .filter(|(view, _)| !view.status.equivocators.iter().any(|it| it.key == view.status.key))
            .map(|(view, reason)| {
                Found::trouble(format!("group {} is read-only here: {reason}", view.alias), remedy.clone())
            })
            .collect();
        return if found.is_empty() { vec![Found::good("the node may write")] } else { found };
    }
    match patient.examined() {
        Ok(examined) => match &examined.suspicion {
            None => vec![Found::good("this is the latest copy of the node")],
            Some(reason) => vec![Found::trouble(format!("this copy may be old: {reason}"), remedy)],
        },
        Err(_) => vec![Found::skipped("the database cannot be read")],
    }
}

/// Whether anybody is proven to have signed two changes of one number; this node above all.
pub fn fork(patient: &Patient) -> Vec<Found> {
    let mut own = false;
    let mut others = 0;
    if patient.holder().is_some() {
        for view in patient.groups() {
            own |= view.status.equivocators.iter().any(|it| it.key == view.status.key);
            others += view.status.equivocators.iter().filter(|it| it.key != view.status.key).count();
        }
    } else {
        let key = patient.registered_key();
        let Ok(examined) = patient.examined() else { return vec![Found::skipped("the database cannot be read")] };
        for bytes in &examined.proofs {
            let Ok(proof) = EquivocationProof::decode(bytes) else { continue };
            let author = proof.a.headers.first().map(|header| header.author.to_string());
            if author.is_some() && author == key {
                own = true;
            } else {
                others += 1;
            }
        }
    }
    if own {
        return vec![Found::trouble(
            "it is proven that this node's key signed two different changes of one number: the others take nothing more from it",
            "somebody wrote with two copies of the folder. Nobody can undo that: make a new node with `side-node init`, and have the members \
             vote the new key in and the old one out",
        )];
    }
    match others {
        0 => vec![Found::good("nobody has forked a chain")],
        count => vec![Found::note(
            format!(
                "{count} other member{} proven to have forked {} chain",
                if count == 1 { " is" } else { "s are" },
                if count == 1 { "its" } else { "their" }
            ),
            "nothing has to be done: what they write on two branches counts for neither. Who they are: side-node status",
        )],
    }
}
