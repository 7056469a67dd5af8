//! Simplex by itself: four sealers over a node's direct connections who agree on names of blocks that do not exist. What no sealing by agreement can do without.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::GroupId;
use side_ledger::address::HostPort;
use side_ledger::block::{BlockId, Epoch, Height, Recovery, SetNumber};
use side_node::net::Event;
use side_node::net::p2p::{P2p, P2pConfig, lane};
use side_seal::bft::request::{Reply, Request};
use side_seal::bft::seat::Seat;
use side_seal::bft::simplex::{self, Line, Setup};
use tokio::sync::{mpsc, watch};

const SEALERS: usize = 4;

/// When each block was proposed, and which sealers have told that it is final.
#[derive(Default)]
struct Seen {
    proposed: HashMap<BlockId, Instant>,
    told: BTreeMap<BlockId, usize>,
    /// From the proposal until the last of the four knew.
    times: Vec<Duration>,
}

/// How long the agreement on each of `blocks` blocks took, from its proposal until all four knew that it is final.
///
/// # Panics
/// If the machine has no ports or disk to give.
pub fn propose_to_final(blocks: usize) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(agree(blocks))
}

async fn agree(blocks: usize) -> Vec<Duration> {
    let group = GroupId([9; 32]);
    let keypairs: Vec<Keypair> = (1..=SEALERS as u8).map(|number| Keypair::from_seed(&[number; 32])).collect();
    let mut sealers: Vec<AuthorId> = keypairs.iter().map(Keypair::author).collect();
    sealers.sort_unstable();
    let seat = Seat {
        group,
        recovery: Recovery(0),
        set: SetNumber(0),
        epoch: Epoch(0),
        sealers: sealers.clone(),
        floor: BlockId::origin(group),
        floor_height: Height(0),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (mut networks, mut groups, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for (number, keypair) in keypairs.iter().enumerate() {
        let config = P2pConfig::local(keypair.clone(), 0, folder.path().join(number.to_string()));
        let (network, newcomers) = P2p::start(config).expect("a port");
        let (events_in, events) = mpsc::channel(64);
        groups.push(network.open(group, events_in));
        networks.push((network, newcomers));
        links.push(events);
    }
    let there: Vec<(AuthorId, Vec<HostPort>)> = keypairs
        .iter()
        .zip(&networks)
        .map(|(keypair, (network, _))| (keypair.author(), vec![HostPort::from(network.address())]))
        .collect();
    groups.iter().for_each(|group| group.set_peers(there.clone()));
    // Everybody hears everybody: a leader who speaks before loses its view.
    for events in &mut links {
        let mut up = 0;
        while up < SEALERS - 1 {
            up += usize::from(matches!(events.recv().await.expect("the network runs"), Event::Up { .. }));
        }
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (count, mut counted) = watch::channel(0);
    let mut engines = Vec::new();
    for (number, (keypair, (network, _))) in keypairs.iter().zip(&networks).enumerate() {
        let (line, requests) = Line::new();
        tokio::spawn(answer(number as u8, line.clone(), requests, seen.clone(), count.clone()));
        let others = sealers.iter().filter(|key| **key != keypair.author()).copied().collect();
        let (seat, keypair) = (seat.clone(), keypair.clone());
        engines.push(network.run_engine(lane(&group, b"bare"), others, move |engine| async move {
            let engine = engine.expect("a free lane");
            let journal = simplex::partition(&seat);
            let setup = Setup { seat: &seat, keypair: &keypair, term: 0, journal, latest: None, line };
            let lanes = [engine.votes, engine.certificates, engine.resolver];
            let running = simplex::start(engine.context, setup, engine.blocker, lanes).expect("a sealer");
            let _ = running.await;
        }));
    }
    let _ = counted.wait_for(|count| *count >= blocks).await;
    drop(engines);
    for (network, _) in &networks {
        network.stop().await;
    }
    std::mem::take(&mut seen.lock().unwrap_or_else(PoisonError::into_inner).times)
}

/// Proposes a new name at once, votes for every name, and notes what is final.
async fn answer(
    number: u8,
    line: Line,
    mut requests: mpsc::UnboundedReceiver<Request>,
    seen: Arc<Mutex<Seen>>,
    count: watch::Sender<usize>,
) {
    let mut last = 0_u64;
    while let Some(request) = requests.recv().await {
        match request {
            Request::Propose { ticket, .. } => {
                last += 1;
                let mut id = [number; 32];
                id[..8].copy_from_slice(&last.to_be_bytes());
                let id = BlockId(id);
                seen.lock().unwrap_or_else(PoisonError::into_inner).proposed.insert(id, Instant::now());
                line.reply(Reply::Propose(ticket, id));
            }
            Request::Verify { ticket, .. } => line.reply(Reply::Verify(ticket, true)),
            Request::Finalized(certificate) => {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let told = seen.told.entry(certificate.block()).or_default();
                *told += 1;
                if *told == SEALERS
                    && let Some(proposed) = seen.proposed.remove(&certificate.block())
                {
                    seen.times.push(proposed.elapsed());
                    count.send_replace(seen.times.len());
                }
            }
            Request::Relay { .. } | Request::Offence(_) => {}
        }
    }
}
