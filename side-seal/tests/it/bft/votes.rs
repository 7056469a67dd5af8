//! Whether simplex' journal has lost votes that were sent.

use commonware_codec::Encode as _;
use commonware_consensus::Viewable as _;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Artifact, Notarize, Proposal, Vote};
use commonware_consensus::types::{Epoch as SimplexEpoch, Round, View};
use commonware_cryptography::sha256::Digest;
use commonware_p2p::{CheckedSender as _, LimitedSender as _, Recipients};
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{IoBuf, Quota, Runner as _, Supervisor as _, deterministic};
use commonware_storage::journal::segmented::variable::{Config, Journal};
use commonware_utils::{NZU16, NZU32, NZUsize};
use side_ledger::block::BlockId;
use side_seal::bft::seat::{Seat, public_key};
use side_seal::bft::spoken::{Spoken, Witness, has_all};
use std::sync::{Arc, Mutex};

use super::members::{Member, finalization, key, keypair};

const JOURNAL: &str = "votes";

fn notarize(seat: &Seat, view: u64) -> Notarize<Scheme, Digest> {
    let round = Round::new(SimplexEpoch::new(seat.epoch.0), View::new(view));
    let proposal = Proposal::new(round, View::new(view - 1), Digest([view as u8; 32]));
    Notarize::sign(&seat.signer(&keypair(0)).unwrap(), proposal).unwrap()
}

/// Writes a journal as simplex does: a section for each view.
async fn write(context: deterministic::Context, seat: &Seat, artifacts: &[Artifact<Scheme, Digest>]) {
    let config = Config {
        partition: JOURNAL.to_owned(),
        compression: None,
        codec_config: seat.sealers.len(),
        page_cache: CacheRef::new(NZU16!(4096), NZUsize!(8)),
        write_buffer: NZUsize!(1024),
    };
    let mut journal = Journal::init(context, config).await.unwrap();
    for artifact in artifacts {
        (journal, ..) = journal.append(artifact.view().get(), artifact).await.unwrap();
    }
    journal.sync_all().await.unwrap();
}

/// Sends a vote in each of these views and gives what was written down about it.
async fn spoken(context: &deterministic::Context, seat: &Seat, views: &[u64]) -> Spoken {
    let me = public_key(&key(0)).unwrap();
    let config = commonware_p2p::simulated::Config {
        max_size: 1 << 20,
        max_peers_per_set: NZUsize!(8),
        disconnect_on_block: false,
        tracked_peer_sets: NZUsize!(1),
    };
    let network = context.child("network");
    let (network, oracle) = commonware_p2p::simulated::Network::new_with_peers(network, config, vec![me.clone()]).await;
    network.start();
    let (sender, _receiver) = oracle.control(me).register(0, Quota::per_second(NZU32!(100))).await.unwrap();
    let noted = Arc::new(Mutex::new(Spoken::default()));
    let keep = noted.clone();
    let keep = Arc::new(move |spoken: &Spoken| *keep.lock().unwrap() = spoken.clone());
    let mut witness = Witness::new(sender, Spoken::default(), keep);
    for view in views {
        let vote = Vote::Notarize(notarize(seat, *view));
        let _ = witness.check(Recipients::All).unwrap().send(IoBuf::from(vote.encode().to_vec()), false);
    }
    noted.lock().unwrap().clone()
}

/// Simplex takes out of its journal what lies below its last final block, and a machine may stop before the group has that one's certificate on disk (seeds 100,365 and 100,911 of the simulated
/// sealers: a sealer that had forgotten nothing stayed out).
#[test]
fn votes_below_what_the_journal_has_final_are_not_missed() {
    deterministic::Runner::seeded(1).start(|context| async move {
        let seat = Member::new(0).seat();
        let ours = |view| Artifact::Notarize(notarize(&seat, view));
        let signers: Vec<_> = (0..3).map(keypair).collect();
        let last = Artifact::Finalization(finalization(&seat, &signers, 5, BlockId([5; 32])));
        let spoken = spoken(&context, &seat, &[3, 5, 6]).await;
        let asks =
            |spoken, floor| has_all(context.child("check"), &seat, signers.first().unwrap(), JOURNAL, spoken, floor);
        let none = Spoken::default();

        write(context.child("first"), &seat, &[ours(5), last]).await;
        assert_eq!(asks(&none, 0).await, Ok(true));
        assert_eq!(asks(&spoken, 0).await, Ok(false), "the vote in view 6 was sent and is not here");
        assert_eq!(asks(&spoken, 6).await, Ok(true), "a later certificate makes it moot");
        write(context.child("second"), &seat, &[ours(6)]).await;
        assert_eq!(asks(&spoken, 0).await, Ok(true), "the vote in view 3 is no loss");
    });
}
