//! Certificates of finality: that more than two thirds of an epoch's sealers finalized a block, as simplex makes them. Checked without any network.

use bft_json_crdt::encoding::DecodeError;
use commonware_codec::{Copying, Decode as _, Encode as _};
use commonware_consensus::simplex::scheme::{Namespace, ed25519::Scheme};
use commonware_consensus::simplex::types::{Certificate as SimplexCertificate, Finalization};
use commonware_cryptography::sha256::Digest;
use commonware_cryptography::{Verifier as _, certificate::Signers};
use commonware_runtime::IoBuf;
use commonware_utils::ordered::Quorum as _;
use commonware_utils::{Participant, Widen as _};
use side_ledger::block::{BlockId, Epoch};
use side_ledger::governance::MAX_VOTERS;

use super::seat::Seat;

/// A certificate. Its form is good; whether it proves anything is told by [`Certificate::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Finalization<Scheme, Digest>);

impl Certificate {
    /// Takes over what simplex made.
    pub fn new(finalization: Finalization<Scheme, Digest>) -> Self {
        Self(finalization)
    }

    /// The block that it is about. All blocks before it are final with it.
    pub fn block(&self) -> BlockId {
        BlockId(self.0.proposal.payload.0)
    }

    /// The epoch whose sealers signed it.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.0.proposal.round.epoch().get())
    }

    /// The view of the epoch in which it came about.
    pub fn view(&self) -> u64 {
        self.0.proposal.round.view().get()
    }

    /// How many sealers signed it.
    pub fn signers(&self) -> usize {
        self.0.certificate.signers.count()
    }

    /// What simplex made.
    pub(super) fn into_inner(self) -> Finalization<Scheme, Digest> {
        self.0
    }

    /// The message by which sealers tell one another.
    pub(super) fn encode_for_simplex(&self) -> IoBuf {
        IoBuf::from(SimplexCertificate::<Scheme, Digest>::Finalization(self.0.clone()).encode().to_vec())
    }

    /// The bytes, as simplex encodes them.
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode().to_vec()
    }

    /// Reads bytes that hold a certificate and nothing else, of at most [`MAX_VOTERS`] sealers. Signatures are not checked yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let read = Finalization::decode_cfg(Copying(bytes), &MAX_VOTERS);
        let certificate = read.map(Self).map_err(|_| DecodeError::Rule("a certificate of finality is not one"))?;
        if certificate.encode() != bytes {
            return Err(DecodeError::Rule("a certificate of finality is written in another way"));
        }
        Ok(certificate)
    }

    /// Whether more than two thirds of these sealers signed it for this epoch. Each signature is checked by itself: no random numbers are needed.
    pub fn check(&self, seat: &Seat) -> bool {
        let (certificate, proposal) = (&self.0.certificate, &self.0.proposal);
        let Some(participants) = seat.participants() else { return false };
        let signers: &Signers = &certificate.signers;
        let quorum: usize = participants.quorum::<commonware_utils::N3f1>().widen();
        if self.epoch() != seat.epoch
            || signers.len() != participants.len()
            || signers.count() != certificate.signatures.len()
            || signers.count() < quorum
        {
            return false;
        }
        let (namespace, message) = (Namespace::new(&seat.namespace()).finalize, proposal.encode());
        signers.iter().zip(&certificate.signatures).all(|(signer, signature): (Participant, _)| {
            let key = participants.key(signer);
            key.zip(signature.get()).is_some_and(|(key, signature)| key.verify(&namespace, &message, signature))
        })
    }
}
