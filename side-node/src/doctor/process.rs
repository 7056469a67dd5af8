//! Whether the node runs, and answers.

use super::{Found, Patient};

/// Whether a process has the folder, and whether it answers.
pub fn process(patient: &Patient) -> Vec<Found> {
    let name = patient.home.name();
    let socket = patient.home.control_socket();
    match (patient.running(), patient.holder()) {
        (Ok(groups), _) if !groups.is_empty() => {
            let pid = patient.pid().map_or_else(String::new, |pid| format!(", process {pid}"));
            vec![Found::good(format!("the node runs{pid}, and answers"))]
        }
        (Err(error), Some(holder)) => vec![Found::trouble(
            format!("the node runs (process {holder}) and does not answer: {}", error.message()),
            format!(
                "look at its console and log; if it hangs, end it (kill {holder}) and run it again: side-node run {name}"
            ),
        )],
        (_, Some(holder)) => vec![Found::trouble(
            format!(
                "process {holder} holds {} and does not listen at {}",
                patient.lock_file().display(),
                socket.display()
            ),
            format!(
                "it is just starting, or another command works on the folder; if it stays so, look at that process: ps -p {holder}"
            ),
        )],
        (_, None) if socket.exists() => vec![Found::note(
            format!("the node does not run; {} was left behind by a process that was killed", socket.display()),
            format!("nothing to do: the next run replaces it (side-node run {name})"),
        )],
        (_, None) => vec![Found::good("the node does not run")],
    }
}
