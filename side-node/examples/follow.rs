//! Follows a group and adds up what its members send each other: a program beside a running node.
//!
//! ```text
//! cargo run -p side-node --example follow -- ~/.side/node1/control.sock
//! ```
//! It reads the history from the beginning, then waits for more. Where the connection breaks it goes on at the next change.

use std::collections::BTreeMap;
use std::time::Duration;

use side_node::api::client::{ApiError, Client};
use side_node::daemon::glance::Told;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ApiError> {
    let Some(socket) = std::env::args_os().nth(1) else {
        eprintln!("usage: follow SOCKET");
        std::process::exit(2);
    };
    let client = Client::at(socket);
    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    let mut from = 0;
    loop {
        let mut followed = match client.follow(Some(from), None).await {
            Ok(followed) => followed,
            Err(ApiError::NotRunning) if from > 0 => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        // A connection that breaks is made anew.
        while let Ok(Some(event)) = followed.next().await {
            match event {
                Told::Entry { number, line } => {
                    from = number + 1;
                    if line.kind == "transfer" {
                        let amount = line.body.get("amount").and_then(|amount| amount.as_u64()).unwrap_or_default();
                        let author = line.name.clone().unwrap_or_else(|| line.author.to_string());
                        let sum = sent.entry(author).or_default();
                        *sum = sum.saturating_add(amount);
                        println!("{sent:?}");
                    }
                }
                Told::Block { block } => println!("block {} seals {} changes", block.height, block.changes),
                Told::End { reason } => println!("{reason}"),
                _ => {}
            }
        }
    }
}
