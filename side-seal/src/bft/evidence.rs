//! Proofs that a sealer voted against itself in one view, as simplex finds them. Judged by whoever knows the sealers of the epoch.

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::AuthorId;
use commonware_codec::{Copying, DecodeExt as _, Encode as _, ReadExt as _};
use commonware_consensus::simplex::scheme::{Namespace, ed25519::Scheme};
use commonware_consensus::simplex::types::{
    Activity, ConflictingFinalize, ConflictingNotarize, Finalize, Notarize, Nullify, NullifyFinalize,
};
use commonware_consensus::types::Round;
use commonware_cryptography::Verifier as _;
use commonware_cryptography::certificate::Attestation;
use commonware_cryptography::sha256::Digest;
use commonware_utils::ordered::Quorum as _;
use serde::Serialize;
use side_ledger::block::Epoch;

use super::seat::Seat;

/// What a sealer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offence {
    /// It sealed two blocks of one rank (leader mode).
    DoubleSeal,
    /// It voted to notarize two proposals of one view.
    DoubleNotarize,
    /// It voted to finalize two proposals of one view.
    DoubleFinalize,
    /// It voted to finalize a proposal and to give its view up.
    NullifyFinalize,
}

/// A proof. Its form is good; whether the signatures are is told by [`Evidence::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    offence: Offence,
    epoch: Epoch,
    view: u64,
    /// As simplex encodes it.
    bytes: Vec<u8>,
}

impl Evidence {
    /// Takes over what simplex found; `None` if the activity proves nothing against anybody.
    pub fn new(activity: &Activity<Scheme, Digest>) -> Option<Self> {
        let (offence, bytes) = match activity {
            Activity::ConflictingNotarize(found) => (Offence::DoubleNotarize, found.encode()),
            Activity::ConflictingFinalize(found) => (Offence::DoubleFinalize, found.encode()),
            Activity::NullifyFinalize(found) => (Offence::NullifyFinalize, found.encode()),
            _ => return None,
        };
        Self::parse(offence, &bytes).ok()
    }

    /// What was done.
    pub fn offence(&self) -> Offence {
        self.offence
    }

    /// In which epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// In which view of it.
    pub fn view(&self) -> u64 {
        self.view
    }

    /// Who did it, if the signatures are those of one of these sealers.
    pub fn check(&self, seat: &Seat) -> Option<AuthorId> {
        let votes = votes(self.offence, &self.bytes).ok()?;
        let participants = seat.participants()?;
        let namespace = Namespace::new(&seat.namespace());
        if self.epoch != seat.epoch {
            return None;
        }
        let mut signer = None;
        for vote in &votes {
            let key = participants.key(vote.attestation.signer)?;
            let namespace = match vote.kind {
                Kind::Notarize => &namespace.notarize,
                Kind::Nullify => &namespace.nullify,
                Kind::Finalize => &namespace.finalize,
            };
            if !key.verify(namespace, &vote.message, vote.attestation.signature.get()?) {
                return None;
            }
            signer = Some(vote.attestation.signer);
        }
        seat.sealers.get(usize::try_from(signer?.get()).ok()?).copied()
    }

    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(match self.offence {
            Offence::DoubleSeal | Offence::DoubleNotarize => 0,
            Offence::DoubleFinalize => 1,
            Offence::NullifyFinalize => 2,
        });
        out.put_blob(&self.bytes);
    }

    /// Reads one. Signatures are not checked yet.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let offence = match reader.varint()? {
            0 => Offence::DoubleNotarize,
            1 => Offence::DoubleFinalize,
            2 => Offence::NullifyFinalize,
            _ => return Err(DecodeError::Rule("an unknown kind of evidence")),
        };
        Self::parse(offence, reader.blob()?)
    }

    fn parse(offence: Offence, bytes: &[u8]) -> Result<Self, DecodeError> {
        let votes = votes(offence, bytes)?;
        let round = votes[0].round;
        Ok(Self { offence, epoch: Epoch(round.epoch().get()), view: round.view().get(), bytes: bytes.to_vec() })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Notarize,
    Nullify,
    Finalize,
}

struct Vote {
    kind: Kind,
    round: Round,
    message: bytes::Bytes,
    attestation: Attestation<Scheme>,
}

/// The two votes that contradict each other. That they do so is checked: by the type that they are read as.
fn votes(offence: Offence, bytes: &[u8]) -> Result<[Vote; 2], DecodeError> {
    let not_one = |_| DecodeError::Rule("evidence is not what it should be");
    let mut reader = Copying(bytes);
    let votes = match offence {
        Offence::DoubleSeal | Offence::DoubleNotarize => {
            ConflictingNotarize::<Scheme, Digest>::decode(Copying(bytes)).map_err(not_one)?;
            let mut next = || Notarize::<Scheme, Digest>::read(&mut reader).map(of_notarize);
            [next().map_err(not_one)?, next().map_err(not_one)?]
        }
        Offence::DoubleFinalize => {
            ConflictingFinalize::<Scheme, Digest>::decode(Copying(bytes)).map_err(not_one)?;
            let mut next = || Finalize::<Scheme, Digest>::read(&mut reader).map(of_finalize);
            [next().map_err(not_one)?, next().map_err(not_one)?]
        }
        Offence::NullifyFinalize => {
            NullifyFinalize::<Scheme, Digest>::decode(Copying(bytes)).map_err(not_one)?;
            let nullify = Nullify::<Scheme>::read(&mut reader).map_err(not_one)?;
            let finalize = Finalize::<Scheme, Digest>::read(&mut reader).map_err(not_one)?;
            let nullify = Vote {
                kind: Kind::Nullify,
                round: nullify.round,
                message: nullify.round.encode(),
                attestation: nullify.attestation,
            };
            [nullify, of_finalize(finalize)]
        }
    };
    Ok(votes)
}

fn of_notarize(vote: Notarize<Scheme, Digest>) -> Vote {
    let (round, message) = (vote.proposal.round, vote.proposal.encode());
    Vote { kind: Kind::Notarize, round, message, attestation: vote.attestation }
}

fn of_finalize(vote: Finalize<Scheme, Digest>) -> Vote {
    let (round, message) = (vote.proposal.round, vote.proposal.encode());
    Vote { kind: Kind::Finalize, round, message, attestation: vote.attestation }
}
