//! What a Byzantine sealer does with the votes of its own simplex: it says different things to different sealers, or two things to all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use commonware_actor::{Feedback, Unreliable};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Finalize, Notarize, Nullify, Proposal, Vote};
use commonware_cryptography::ed25519::PublicKey;
use commonware_cryptography::sha256::Digest;
use commonware_p2p::{CheckedSender, LimitedSender, Recipients, Sender};
use commonware_runtime::{Buf as _, IoBufs};

/// What one of the sealers is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evil {
    /// All are honest.
    Nobody,
    /// Proposes two blocks in one view, one to one half of the sealers, the other to the other half.
    Equivocates,
    /// Votes for two proposals of each view, and to give it up besides.
    DoubleVotes,
    /// Proposes blocks with wrong state roots.
    LiesAboutState,
    /// Shows the blocks that it proposes to one node only.
    Withholds,
    /// Is not there.
    Silent,
}

/// Where to find the second of two blocks that an equivocator proposes.
pub(super) type Twins = Arc<Mutex<HashMap<Digest, Digest>>>;

/// A sender of votes that lies if it is to.
#[derive(Clone)]
pub(super) struct Mouth<S> {
    pub(super) inner: S,
    pub(super) evil: Evil,
    pub(super) scheme: Scheme,
    pub(super) peers: Vec<PublicKey>,
    pub(super) twins: Twins,
}

pub(super) struct Checked<'a, S> {
    mouth: &'a mut Mouth<S>,
    recipients: Vec<PublicKey>,
}

impl<S: Sender<PublicKey = PublicKey>> LimitedSender for Mouth<S> {
    type PublicKey = PublicKey;
    type Checked<'a> = Checked<'a, S>;

    fn check(&mut self, recipients: Recipients<PublicKey>) -> Result<Checked<'_, S>, SystemTime> {
        let recipients = match recipients {
            Recipients::All => self.peers.clone(),
            Recipients::Some(some) => some,
            Recipients::One(one) => vec![one],
        };
        Ok(Checked { mouth: self, recipients })
    }
}

impl<S: Sender<PublicKey = PublicKey>> CheckedSender for Checked<'_, S> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        self.recipients.clone()
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        let mut message: IoBufs = message.into();
        let bytes = message.copy_to_bytes(message.remaining());
        let mouth = self.mouth;
        for (place, peer) in self.recipients.into_iter().enumerate() {
            for lie in mouth.said(bytes.clone(), place) {
                mouth.inner.send(Recipients::One(peer.clone()), lie, priority);
            }
        }
        Unreliable::new(Feedback::Ok)
    }
}

impl<S> Mouth<S> {
    fn said(&self, bytes: bytes::Bytes, place: usize) -> Vec<bytes::Bytes> {
        let Ok(vote) = Vote::<Scheme, Digest>::decode(bytes.clone()) else { return vec![bytes] };
        let other = |proposal: &Proposal<Digest>| {
            let mut payload = proposal.payload;
            payload.0[0] ^= 1;
            Proposal::new(proposal.round, proposal.parent, payload)
        };
        match (self.evil, vote) {
            (Evil::Equivocates, Vote::Notarize(vote)) if place % 2 == 1 => {
                let twin = self.twins.lock().unwrap().get(&vote.proposal.payload).copied();
                let proposal = twin.map(|twin| Proposal::new(vote.proposal.round, vote.proposal.parent, twin));
                let twin = proposal.and_then(|proposal| Notarize::<Scheme, _>::sign(&self.scheme, proposal));
                vec![twin.map_or(bytes, |twin| Vote::<Scheme, Digest>::Notarize(twin).encode())]
            }
            (Evil::DoubleVotes, Vote::Notarize(vote)) => {
                let lie = Notarize::<Scheme, _>::sign(&self.scheme, other(&vote.proposal)).unwrap();
                vec![bytes, Vote::<Scheme, Digest>::Notarize(lie).encode()]
            }
            (Evil::DoubleVotes, Vote::Finalize(vote)) => {
                let lie = Finalize::<Scheme, _>::sign(&self.scheme, other(&vote.proposal)).unwrap();
                let nullify = Nullify::<Scheme>::sign::<Digest>(&self.scheme, vote.proposal.round).unwrap();
                vec![
                    bytes,
                    Vote::<Scheme, Digest>::Finalize(lie).encode(),
                    Vote::<Scheme, Digest>::Nullify(nullify).encode(),
                ]
            }
            _ => vec![bytes],
        }
    }
}
