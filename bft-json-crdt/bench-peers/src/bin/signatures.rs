//! What checking a signature costs at several batch sizes, under one key and under many: ours beside the batch checks of ed25519-zebra (the same rule,
//! ZIP-215) and of ed25519-dalek (a rule of its own). One thread; microseconds of CPU time a signature, the least of the rounds: whatever else runs on the
//! machine only adds.

use std::hint::black_box;

use bench_peers::measure::cpu;
use bft_json_crdt::hash::{CHANGE_SIGNATURE_DOMAIN, hash};
use bft_json_crdt::identity::{AuthorId, Keypair, Signature};
use bft_json_crdt::verify::{Claim, verify, verify_changes};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng as _;

const SIZES: [usize; 7] = [1, 4, 16, 64, 256, 1024, 4096];
/// Signatures checked in one reading: some tens of milliseconds, as the system's clock for CPU time may move in steps.
const A_READING: usize = 4096;
const ROUNDS: usize = 7;

/// Signatures, in the forms that the three take.
struct Signed {
    ids: Vec<[u8; 32]>,
    messages: Vec<Vec<u8>>,
    authors: Vec<AuthorId>,
    signatures: Vec<Signature>,
    keys: Vec<ed25519_dalek::VerifyingKey>,
    dalek: Vec<ed25519_dalek::Signature>,
}

impl Signed {
    fn new(count: usize, keys: usize) -> Self {
        let keypairs: Vec<Keypair> =
            (0..keys).map(|n| Keypair::from_seed(&hash("bench key", &n.to_be_bytes()))).collect();
        let ids: Vec<[u8; 32]> = (0..count).map(|n| hash("bench", &n.to_be_bytes())).collect();
        // Authors in a row, as a load sorts them.
        let author = |n: usize| &keypairs[n * keys / count];
        let messages = ids.iter().map(|id| [CHANGE_SIGNATURE_DOMAIN.as_bytes(), &[0], id].concat()).collect();
        let signatures: Vec<Signature> =
            ids.iter().enumerate().map(|(n, id)| author(n).sign(CHANGE_SIGNATURE_DOMAIN, id)).collect();
        let authors: Vec<AuthorId> = (0..count).map(|n| author(n).author()).collect();
        let keys = authors.iter().map(|author| ed25519_dalek::VerifyingKey::from_bytes(author.as_bytes()));
        let keys = keys.collect::<Result<_, _>>().expect("our own keys");
        let dalek = signatures.iter().map(|signature| ed25519_dalek::Signature::from_bytes(&signature.0)).collect();
        Self { ids, messages, authors, signatures, keys, dalek }
    }

    fn ours(&self) -> bool {
        let claim = |n| Claim { author: self.authors[n], message: &self.ids[n], signature: self.signatures[n] };
        if let [id] = &self.ids[..] {
            return verify(&self.authors[0], CHANGE_SIGNATURE_DOMAIN, id, &self.signatures[0]);
        }
        let claims: Vec<Claim<'_>> = (0..self.ids.len()).map(claim).collect();
        verify_changes(&claims).into_iter().all(|good| good)
    }

    fn zebra(&self) -> bool {
        let mut batch = ed25519_zebra::batch::Verifier::new();
        for (n, message) in self.messages.iter().enumerate() {
            let key = ed25519_zebra::VerificationKeyBytes::from(*self.authors[n].as_bytes());
            batch.queue((key, ed25519_zebra::Signature::from(self.signatures[n].0), message));
        }
        batch.verify(ChaCha20Rng::from_seed([1; 32])).is_ok()
    }

    fn dalek(&self) -> bool {
        let messages: Vec<&[u8]> = self.messages.iter().map(Vec::as_slice).collect();
        ed25519_dalek::verify_batch(&messages, &self.dalek, &self.keys).is_ok()
    }
}

/// One reading, microseconds a signature.
fn read(batch: usize, mut check: impl FnMut() -> bool) -> f64 {
    let rounds = A_READING / batch;
    let started = cpu();
    for _ in 0..rounds {
        assert!(black_box(check()), "every signature is good");
    }
    (cpu() - started) as f64 / 1e3 / (rounds * batch) as f64
}

fn main() {
    println!("| signatures | keys | ours | ed25519-zebra | ed25519-dalek |\n|---|---|---|---|---|");
    for size in SIZES {
        let mut many = vec![1, size / 16, size];
        many.retain(|keys| *keys > 0);
        many.dedup();
        for keys in many {
            let signed = Signed::new(size, keys);
            let mut least = [f64::MAX; 3];
            // In turns, so that a change of the machine's pace hits all three.
            for _ in 0..ROUNDS {
                least[0] = least[0].min(read(size, || signed.ours()));
                least[1] = least[1].min(read(size, || signed.zebra()));
                least[2] = least[2].min(read(size, || signed.dalek()));
            }
            println!("| {size} | {keys} | {:.2} | {:.2} | {:.2} |", least[0], least[1], least[2]);
        }
    }
}
