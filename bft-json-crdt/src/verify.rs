//! The one rule by which signatures are judged: ZIP-215, alone and in batches (docs/protocol.md, section 2).
//!
//! Replicas must never disagree on a signature. RFC 8032 leaves the cofactor and some encodings open, so that implementations, and even the
//! single and the batch check of one implementation, differ on crafted signatures. ZIP-215 closes the gaps: the equation is checked with
//! the cofactor, and every encoding that decompresses counts. A batch checks a random linear combination of the equations; its
//! coefficients are drawn here from a hash of all claims (so it needs no random source): whoever wants bad signatures to cancel
//! has to find a hash that suits, at a chance of 2⁻¹²⁸ a try.

use std::convert::Infallible;

use ed25519_zebra::VerificationKey;
use ed25519_zebra::batch::{Item, Verifier};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest as _, Sha256};

use crate::hash::CHANGE_SIGNATURE_DOMAIN;
use crate::identity::{AuthorId, Signature, signed_bytes};

/// Claims in one batch check. Larger batches are faster for each signature, but only slowly beyond this, and a bad signature in
/// one costs more.
const BATCH: usize = 1024;
/// Up to this many claims are checked one by one: a batch is not faster.
const SINGLY: usize = 3;
/// Domain of the hash that seeds the batch coefficients; local to the process, never carried.
const COEFFICIENTS_DOMAIN: &[u8] = b"side/1/batch-coefficients\0";

/// Whether `signature` is `author`'s over `domain ‖ 0x00 ‖ message`, by ZIP-215. Costs about 30 µs.
pub fn verify(author: &AuthorId, domain: &str, message: &[u8], signature: &Signature) -> bool {
    VerificationKey::try_from(*author.as_bytes())
        .and_then(|key| key.verify(&signature.0.into(), &signed_bytes(domain, message)))
        .is_ok()
}

/// That `author` signed the change with this id.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who is said to have signed.
    pub author: AuthorId,
    /// The change's id.
    pub message: &'a [u8; 32],
    /// The signature.
    pub signature: Signature,
}

impl Claim<'_> {
    fn item(&self) -> Item {
        (
            (*self.author.as_bytes()).into(),
            self.signature.0.into(),
            signed_bytes(CHANGE_SIGNATURE_DOMAIN, self.message).as_slice(),
        )
            .into()
    }
}

/// Judges many changes' signatures at once, one answer a claim, in order; the answers equal those of [`verify`]. Claims under one author
/// share most of the work (5 to 8 µs each in large batches). k bad signatures among n cost O(k log n) further batch checks of
/// shrinking size.
pub fn verify_changes(claims: &[Claim<'_>]) -> Vec<bool> {
    let mut verdicts = vec![true; claims.len()];
    for (claims, verdicts) in claims.chunks(BATCH).zip(verdicts.chunks_mut(BATCH)) {
        let items: Vec<Item> = claims.iter().map(Claim::item).collect();
        let mut coefficients = Coefficients::new(claims);
        check(&items, verdicts, &mut coefficients, false);
    }
    verdicts
}

/// Judges `items`; `known_bad` says that at least one of them is bad. The depth of the recursion is the logarithm of [`BATCH`].
fn check(items: &[Item], verdicts: &mut [bool], coefficients: &mut Coefficients, known_bad: bool) {
    if items.len() <= SINGLY {
        for (item, verdict) in items.iter().zip(verdicts) {
            *verdict = item.clone().verify_single().is_ok();
        }
        return;
    }
    if !known_bad && batch_is_good(items, coefficients) {
        return;
    }
    let half = items.len() / 2;
    let (left, right) = items.split_at(half);
    let (left_verdicts, right_verdicts) = verdicts.split_at_mut(half);
    check(left, left_verdicts, coefficients, false);
    // Where the left half is good, the fault is in the right half, and checking that as a whole would tell nothing new.
    let in_the_right = left_verdicts.iter().all(|good| *good);
    check(right, right_verdicts, coefficients, in_the_right);
}

fn batch_is_good(items: &[Item], coefficients: &mut Coefficients) -> bool {
    let mut verifier = Verifier::new();
    for item in items {
        verifier.queue(item.clone());
    }
    verifier.verify(coefficients).is_ok()
}

/// A stream of coefficients: SHA-256 in counter mode, keyed by the hash of all claims. One stream serves a chunk and all halves it is
/// split into: each draws fresh coefficients, and all of them depend on every claim.
struct Coefficients {
    key: [u8; 32],
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Coefficients {
    fn new(claims: &[Claim<'_>]) -> Self {
        let mut hash = Sha256::new();
        hash.update(COEFFICIENTS_DOMAIN);
        for claim in claims {
            hash.update(claim.author.as_bytes());
            hash.update(claim.message);
            hash.update(claim.signature.0);
        }
        Self { key: hash.finalize().into(), counter: 0, block: [0; 32], used: 32 }
    }
}

impl TryRng for Coefficients {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            if self.used == self.block.len() {
                self.block =
                    Sha256::new().chain_update(self.key).chain_update(self.counter.to_be_bytes()).finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
        Ok(())
    }
}

/// True in the random oracle model for whoever does not choose the claims after seeing the stream, which is a function of them.
impl TryCryptoRng for Coefficients {}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
    use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
    use curve25519_dalek::scalar::Scalar;
    use curve25519_dalek::traits::IsIdentity as _;
    use sha2::Sha512;

    use super::*;
    use crate::identity::Keypair;

    /// A key whose secret scalar is known, with `torsion` mixed into the public point.
    struct Crafty {
        secret: Scalar,
        author: AuthorId,
    }

    impl Crafty {
        fn new(secret: u64, torsion: EdwardsPoint) -> Self {
            let secret = Scalar::from(secret);
            let author = AuthorId::from_bytes((B * secret + torsion).compress().0).expect("not of small order");
            Self { secret, author }
        }

        /// A signature whose R is `[nonce]B` plus a crafted part, in the crafted encoding if there is one.
        fn sign(&self, id: &[u8; 32], nonce: u64, torsion: EdwardsPoint, encoding: Option<[u8; 32]>) -> Signature {
            let r = encoding.unwrap_or_else(|| (B * Scalar::from(nonce) + torsion).compress().0);
            let k = Sha512::new()
                .chain_update(r)
                .chain_update(self.author.as_bytes())
                .chain_update(signed_bytes(CHANGE_SIGNATURE_DOMAIN, id))
                .finalize();
            let k = Scalar::from_bytes_mod_order_wide(&k.into());
            let s = Scalar::from(nonce) + k * self.secret;
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice(s.as_bytes());
            Signature(signature)
        }
    }

    fn single(claim: &Claim<'_>) -> bool {
        verify(&claim.author, CHANGE_SIGNATURE_DOMAIN, claim.message, &claim.signature)
    }

    /// The group order ℓ added to `s`, in little-endian bytes.
    fn add_order(signature: Signature) -> Signature {
        // ℓ − 1 is the scalar −1.
        let mut order = (-Scalar::ONE).to_bytes();
        order[0] += 1;
        let mut out = signature.0;
        let mut carry = 0u16;
        for i in 0..32 {
            let sum = u16::from(out[32 + i]) + u16::from(order[i]) + carry;
            out[32 + i] = sum as u8;
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
        Signature(out)
    }

    /// Encodings of points of small order, canonical and not: y of either sign, and y + p where that fits into 255 bits.
    fn small_order_encodings() -> Vec<[u8; 32]> {
        let mut all = Vec::new();
        for point in EIGHT_TORSION {
            let canonical = point.compress().0;
            let mut signed = canonical;
            signed[31] ^= 0x80;
            all.extend([canonical, signed]);
            // y + p fits only for y < 19: 0 and 1. p = 2²⁵⁵ − 19, so y + p ends in 0xed + y.
            if canonical[1..31].iter().all(|b| *b == 0) && canonical[0] < 19 {
                let mut beyond = [0xff; 32];
                beyond[0] = 0xed + canonical[0];
                beyond[31] = 0x7f;
                let mut beyond_signed = beyond;
                beyond_signed[31] = 0xff;
                all.extend([beyond, beyond_signed]);
            }
        }
        all.sort_unstable();
        all.dedup();
        assert!(all.len() >= 14, "ZIP-215 counts 14 encodings of the eight points");
        all
    }

    #[test]
    fn single_and_batch_agree_on_every_edge_case() {
        let ids: Vec<[u8; 32]> = (0..4u8).map(|i| [i; 32]).collect();
        let mut cases: Vec<(Claim<'_>, bool)> = Vec::new();
        for (i, torsion) in EIGHT_TORSION.into_iter().enumerate() {
            // Eight keys: a clean one and seven with a torsion part; for each, R clean and R with every torsion part.
            let key = Crafty::new(1000 + i as u64, torsion);
            for (j, r_torsion) in EIGHT_TORSION.into_iter().enumerate() {
                let id = &ids[j % ids.len()];
                let signature = key.sign(id, 77 + j as u64, r_torsion, None);
                cases.push((Claim { author: key.author, message: id, signature }, true));
                // s ≥ ℓ: refused although the equation holds.
                cases.push((Claim { author: key.author, message: id, signature: add_order(signature) }, false));
                let wrong = &ids[(j + 1) % ids.len()];
                cases.push((Claim { author: key.author, message: wrong, signature }, false));
            }
            for encoding in small_order_encodings() {
                // R of small order (nonce 0), in canonical and other encodings: good if it decompresses.
                let decompresses = CompressedEdwardsY(encoding).decompress();
                if let Some(point) = decompresses {
                    assert!(point.mul_by_cofactor().is_identity());
                }
                let signature = key.sign(&ids[0], 0, EIGHT_TORSION[0], Some(encoding));
                cases.push((Claim { author: key.author, message: &ids[0], signature }, decompresses.is_some()));
            }
        }
        // An R that is no point at all.
        let no_point = (0..=255u8)
            .map(|n| [n; 32])
            .find(|bytes| CompressedEdwardsY(*bytes).decompress().is_none())
            .expect("about half of all encodings are no points");
        let key = Crafty::new(5, EIGHT_TORSION[0]);
        let signature = key.sign(&ids[0], 0, EIGHT_TORSION[0], Some(no_point));
        cases.push((Claim { author: key.author, message: &ids[0], signature }, false));

        let good = cases.iter().filter(|(_, expected)| *expected).count();
        assert!(good > 150 && cases.len() - good > 120, "{good} of {}", cases.len());
        for (i, (claim, expected)) in cases.iter().enumerate() {
            assert_eq!(single(claim), *expected, "case {i} alone");
        }
        let claims: Vec<Claim<'_>> = cases.iter().map(|(claim, _)| *claim).collect();
        let expected: Vec<bool> = cases.iter().map(|(_, expected)| *expected).collect();
        assert_eq!(verify_changes(&claims), expected);
        // A batch of the good ones alone passes as a whole, so that the batch equation itself is what accepted them.
        let items: Vec<Item> = cases.iter().filter(|(_, e)| *e).map(|(claim, _)| claim.item()).collect();
        assert!(batch_is_good(&items, &mut Coefficients::new(&claims)));
        // And each bad one spoils a batch of good ones.
        for (claim, _) in cases.iter().filter(|(_, expected)| !expected).step_by(7) {
            let mut spoiled = items[..8].to_vec();
            spoiled.push(claim.item());
            assert!(!batch_is_good(&spoiled, &mut Coefficients::new(&claims)));
        }
    }

    #[test]
    fn bad_signatures_that_would_cancel_in_a_plain_sum_are_found() {
        let keypair = Keypair::from_seed(&[1; 32]);
        let ids: Vec<[u8; 32]> = (0..8u8).map(|i| [i; 32]).collect();
        let mut signatures: Vec<Signature> = ids.iter().map(|id| keypair.sign(CHANGE_SIGNATURE_DOMAIN, id)).collect();
        // s + 1 in one and s − 1 in another: the sum of the equations still holds, a weighted sum does not.
        for (i, delta) in [(2, Scalar::ONE), (5, -Scalar::ONE)] {
            let s: [u8; 32] = signatures[i].0[32..].try_into().unwrap();
            let s = Scalar::from_canonical_bytes(s).unwrap() + delta;
            signatures[i].0[32..].copy_from_slice(s.as_bytes());
        }
        let claims: Vec<Claim<'_>> = ids
            .iter()
            .zip(&signatures)
            .map(|(message, signature)| Claim { author: keypair.author(), message, signature: *signature })
            .collect();
        assert_eq!(verify_changes(&claims), [true, true, false, true, true, false, true, true]);
    }

    #[test]
    fn bisection_names_exactly_the_bad_ones() {
        let keypairs: Vec<Keypair> = (0..3u8).map(|i| Keypair::from_seed(&[i; 32])).collect();
        let ids: Vec<[u8; 32]> =
            (0..(BATCH as u32 + 70)).map(|i| crate::hash::hash("test", &i.to_be_bytes())).collect();
        let bad = [0, 1, 511, 512, BATCH - 1, BATCH, BATCH + 69];
        let claims: Vec<Claim<'_>> = ids
            .iter()
            .enumerate()
            .map(|(i, message)| {
                let keypair = &keypairs[i % 3];
                let mut signature = keypair.sign(CHANGE_SIGNATURE_DOMAIN, message);
                if bad.contains(&i) {
                    signature.0[40] ^= 1;
                }
                Claim { author: keypair.author(), message, signature }
            })
            .collect();
        let expected: Vec<bool> = (0..ids.len()).map(|i| !bad.contains(&i)).collect();
        assert_eq!(verify_changes(&claims), expected);
        assert_eq!(verify_changes(&[]), Vec::<bool>::new());
        assert_eq!(verify_changes(&claims[..2]), [false, false]);
    }

    #[test]
    fn a_signature_counts_in_its_domain_alone() {
        let keypair = Keypair::from_seed(&[9; 32]);
        let signature = keypair.sign(CHANGE_SIGNATURE_DOMAIN, &[3; 32]);
        assert!(verify(&keypair.author(), CHANGE_SIGNATURE_DOMAIN, &[3; 32], &signature));
        assert!(!verify(&keypair.author(), "side/1/other", &[3; 32], &signature));
        assert!(!verify(&Keypair::from_seed(&[8; 32]).author(), CHANGE_SIGNATURE_DOMAIN, &[3; 32], &signature));
    }
}
