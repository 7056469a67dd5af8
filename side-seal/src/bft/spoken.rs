//! Which votes this sealer has sent in an epoch, kept beside simplex' journal, so that a journal that has lost some is noticed.
//!
//! Simplex has each vote in its journal before it sends it, and repairs a journal whose end is damaged by cutting it off: right after a crash, where what was not flushed was not sent
//! either. A disk that lies, a file that was cut, or one folder that was set back takes votes away that the others hold, and the sealer would contradict them. So what has been
//! sent is written down a second time, as it is sent ([`Witness`]), and compared before simplex begins ([`has_all`]). It need not be flushed: where it is older
//! than the journal it says less.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::hash::hash;
use bft_json_crdt::identity::Keypair;
use commonware_actor::{Feedback, Unreliable};
use commonware_codec::{Copying, DecodeExt as _};
use commonware_consensus::Viewable as _;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Artifact, Vote};
use commonware_cryptography::certificate::Scheme as _;
use commonware_cryptography::sha256::Digest;
use commonware_p2p::{CheckedSender, LimitedSender, Recipients};
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Buf as _, IoBufs, Metrics, ReadOptions, Storage};
use commonware_storage::journal::segmented::variable::{Config, Journal};
use commonware_utils::{NZU16, NZUsize};
use thiserror::Error;

use super::seat::Seat;

/// Of how many views, the latest, it is written down what was sent: more than those in which simplex votes at a time.
pub const MAX_SPOKEN: usize = 128;
/// Domain of the checksum.
const DOMAIN: &str = "side/1/spoken";
/// Bytes of the checksum.
const CHECKSUM: usize = 8;
const NOTARIZE: u64 = 1;
const NULLIFY: u64 = 2;
const FINALIZE: u64 = 4;

/// Views and the kinds of votes that were sent in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spoken(BTreeMap<u64, u64>);

impl Spoken {
    /// The bytes. They begin with a checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_varint(self.0.len() as u64);
        for (view, kinds) in &self.0 {
            body.put_varint(*view);
            body.put_varint(*kinds);
        }
        [&hash(DOMAIN, &body)[..CHECKSUM], &body].concat()
    }

    /// Reads bytes that hold one and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wrong = DecodeError::Rule("the note of votes that were sent is damaged");
        let Some((checksum, body)) = bytes.split_at_checked(CHECKSUM) else { return Err(wrong) };
        if hash(DOMAIN, body)[..CHECKSUM] != *checksum {
            return Err(wrong);
        }
        let mut reader = Reader::new(body);
        let count = reader.count(2)?;
        if count > MAX_SPOKEN {
            return Err(wrong);
        }
        let mut views = BTreeMap::new();
        for _ in 0..count {
            views.insert(reader.varint()?, reader.varint()?);
        }
        reader.finish()?;
        Ok(Self(views))
    }

    fn add(&mut self, view: u64, kind: u64) {
        *self.0.entry(view).or_default() |= kind;
    }

    /// Whether something of this above a view is not in `other`.
    fn exceeds(&self, other: &Self, floor: u64) -> bool {
        let said = |view: &u64| other.0.get(view).copied().unwrap_or(0);
        self.0.iter().any(|(view, kinds)| *view > floor && kinds & !said(view) != 0)
    }
}

/// What is called with the note each time that something is added to it. It does not wait for the disk.
pub type Keep = Arc<dyn Fn(&Spoken) + Send + Sync>;

/// A sender of votes that writes down what it sends.
#[derive(Clone)]
pub struct Witness<S> {
    inner: S,
    spoken: Arc<Mutex<Spoken>>,
    keep: Keep,
}

impl<S> Witness<S> {
    /// `spoken` is what was written down already.
    pub fn new(inner: S, spoken: Spoken, keep: Keep) -> Self {
        Self { inner, spoken: Arc::new(Mutex::new(spoken)), keep }
    }

    fn note(&self, bytes: &[u8]) {
        let Ok(vote) = Vote::<Scheme, Digest>::decode(Copying(bytes)) else { return };
        let kind = match vote {
            Vote::Notarize(_) => NOTARIZE,
            Vote::Nullify(_) => NULLIFY,
            Vote::Finalize(_) => FINALIZE,
        };
        // A map stays whole wherever somebody panics.
        let mut spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        let before = spoken.clone();
        spoken.add(vote.view().get(), kind);
        if spoken.0.len() > MAX_SPOKEN {
            spoken.0.pop_first();
        }
        if *spoken != before {
            (self.keep)(&spoken);
        }
    }
}

/// Somebody who may be sent a vote now. See [`Witness`].
pub struct Checked<'a, S: LimitedSender + 'a> {
    inner: S::Checked<'a>,
    note: Witness<()>,
}

impl<S: LimitedSender> LimitedSender for Witness<S> {
    type PublicKey = S::PublicKey;
    type Checked<'a> = Checked<'a, S>;

    fn check(&mut self, recipients: Recipients<Self::PublicKey>) -> Result<Checked<'_, S>, SystemTime> {
        let note = Witness { inner: (), spoken: Arc::clone(&self.spoken), keep: Arc::clone(&self.keep) };
        Ok(Checked { inner: self.inner.check(recipients)?, note })
    }
}

impl<S: LimitedSender> CheckedSender for Checked<'_, S> {
    type PublicKey = S::PublicKey;

    fn recipients(&self) -> Vec<Self::PublicKey> {
        self.inner.recipients()
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        let mut message: IoBufs = message.into();
        let bytes = message.copy_to_bytes(message.remaining());
        self.note.note(&bytes);
        self.inner.send(bytes, priority)
    }
}

/// Why a journal cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("simplex' journal cannot be read: {0}")]
pub struct JournalError(String);

/// Whether the journal of an epoch has every vote that was sent in it above `floor`, the view of the certificate that simplex is to begin with (it votes in no view below), and
/// above what is finalized in the journal itself: simplex goes on from there, and has taken out what lies below, perhaps before the group had the certificate on disk.
/// To be asked before simplex is started; the journal is closed afterwards.
pub async fn has_all<E: Storage + Metrics>(
    context: E,
    seat: &Seat,
    keypair: &Keypair,
    journal: &str,
    spoken: &Spoken,
    floor: u64,
) -> Result<bool, JournalError> {
    let failed = |error: commonware_storage::journal::Error| JournalError(error.to_string());
    let me = seat.signer(keypair).and_then(|scheme| scheme.me()).and_then(|me| me.signer());
    let config = Config {
        partition: journal.to_owned(),
        compression: None,
        codec_config: seat.sealers.len(),
        page_cache: CacheRef::new(NZU16!(4096), NZUsize!(8)),
        write_buffer: NZUsize!(super::simplex::JOURNAL_BUFFER),
    };
    let journal = Journal::<E, Artifact<Scheme, Digest>>::init(context, config).await.map_err(failed)?;
    let replay = journal.replay(0, 0, NZUsize!(super::simplex::JOURNAL_BUFFER), ReadOptions::default());
    let mut replay = replay.await.map_err(failed)?;
    let (mut held, mut floor) = (Spoken::default(), floor);
    while let Some(artifact) = replay.next().await {
        let (_, _, _, artifact) = artifact.map_err(failed)?;
        let (signer, kind) = match &artifact {
            Artifact::Notarize(vote) => (vote.attestation.signer, NOTARIZE),
            Artifact::Nullify(vote) => (vote.attestation.signer, NULLIFY),
            Artifact::Finalize(vote) => (vote.attestation.signer, FINALIZE),
            Artifact::Finalization(certificate) => {
                floor = floor.max(certificate.view().get());
                continue;
            }
            _ => continue,
        };
        if Some(signer) == me {
            held.add(artifact.view().get(), kind);
        }
    }
    replay.finish().map_err(failed)?;
    Ok(!spoken.exceeds(&held, floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_as_itself_and_a_damaged_one_is_noticed() {
        let mut spoken = Spoken::default();
        for (view, kind) in [(7, NOTARIZE), (7, FINALIZE), (300, NULLIFY)] {
            spoken.add(view, kind);
        }
        let bytes = spoken.encode();
        assert_eq!(Spoken::decode(&bytes), Ok(spoken.clone()));
        for at in 0..bytes.len() {
            assert!(Spoken::decode(&bytes[..at]).is_err());
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Spoken::decode(&other).is_err());
        }
        let mut less = spoken.clone();
        less.0.insert(7, NOTARIZE);
        assert!(
            spoken.exceeds(&less, 6) && !spoken.exceeds(&less, 7),
            "what lies at or below the floor does not matter"
        );
        assert!(!less.exceeds(&spoken, 0) && spoken.exceeds(&Spoken::default(), 299));
    }
}
