//! The one rule by which signatures are judged: ZIP-215, alone and in batches (docs/protocol.md, section 2).
//!
//! Replicas must never disagree on a signature. RFC 8032 leaves the cofactor and some encodings open, so that implementations, and even the
//! single and the batch check of one implementation, differ on crafted signatures. ZIP-215 closes the gaps: the equation is checked with
//! the cofactor, and every encoding that decompresses counts. A batch checks a random linear combination of the equations; its
//! coefficients are drawn here from a hash of all claims (so it needs no random source): whoever wants bad signatures to cancel
//! has to find a hash that suits, at a chance of 2⁻¹²⁸ a try.
//!
//! What a signature costs in a batch of one author's: the decompression of R (a power in the field, somewhat over half), its share of the multiplication, and two
//! blocks of SHA-512. Everything else is kept small: coefficients are summed without reduction, authors are decompressed once, and R once even if a bad
//! signature is looked for.

use std::collections::HashMap;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};
use ed25519_zebra::VerificationKey;
use sha2::{Digest as _, Sha256, Sha512};

use crate::hash::CHANGE_SIGNATURE_DOMAIN;
use crate::identity::{AuthorId, Signature, signed_bytes};

/// Claims in one batch check. The buckets of the multiplication are summed once a batch, whatever its size, and beyond this they weigh little; what is held meanwhile is
/// half a kilobyte a claim.
const BATCH: usize = 4096;
/// Fewest points for which the library multiplies by buckets (Pippenger) instead of by a table for each point (Straus).
const BUCKETS: usize = 190;
/// Claims in a batch that is multiplied by tables: with the base and one author 64 points. More of them no longer fit the nearest caches, and the vector in which
/// the library gathers 1,280 bytes a point doubles at 65: measured, 80 points cost a microsecond a point more than 64.
const TABLES: usize = 62;
/// Up to this many claims are checked one by one: a batch is not faster.
const SINGLY: usize = 3;
/// Fewest claims for a thread. They take some milliseconds, the thread some tens of microseconds; and the multiplication of a batch of 500 costs a tenth more a claim
/// than that of 1,000 (3 to 4 % of the whole check), below that soon more: threads shall save time, not cost work.
const FOR_A_THREAD: usize = 500;
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

/// Judges many changes' signatures at once, one answer a claim, in order; the answers equal those of [`verify`]. Claims under one author
/// share most of the work (about 6 µs each in large batches with AVX-512, 7 with AVX2). k bad signatures among n cost O(k log n) further batch checks of
/// shrinking size: one bad one makes the batch weigh three times as much at most,
/// and where all are bad the search costs about what the single checks do that it ends with.
pub fn verify_changes(claims: &[Claim<'_>]) -> Vec<bool> {
    let mut verdicts = vec![true; claims.len()];
    verify_into(claims, &mut verdicts);
    verdicts
}

/// [`verify_changes`] spread over up to so many threads, this one included. The answers are the same. Where no thread can be started, this one does all of it.
pub fn verify_changes_on(threads: usize, claims: &[Claim<'_>]) -> Vec<bool> {
    let threads = threads.min(claims.len() / FOR_A_THREAD).max(1);
    let share = claims.len().div_ceil(threads).max(1);
    let mut verdicts = vec![true; claims.len()];
    std::thread::scope(|scope| {
        let mut shares = claims.chunks(share).zip(verdicts.chunks_mut(share));
        let own = shares.next();
        // The threads get their work from here, so that what could not be handed out comes back.
        for (claims, verdicts) in shares {
            let work = std::sync::Mutex::new(Some(verdicts));
            let work = std::sync::Arc::new(work);
            let handed = work.clone();
            let started = std::thread::Builder::new().spawn_scoped(scope, move || {
                if let Ok(mut verdicts) = handed.lock()
                    && let Some(verdicts) = verdicts.take()
                {
                    verify_into(claims, verdicts);
                }
            });
            if started.is_err()
                && let Ok(mut verdicts) = work.lock()
                && let Some(verdicts) = verdicts.take()
            {
                verify_into(claims, verdicts);
            }
        }
        if let Some((claims, verdicts)) = own {
            verify_into(claims, verdicts);
        }
    });
    verdicts
}

/// `verdicts` are all true before.
fn verify_into(claims: &[Claim<'_>], verdicts: &mut [bool]) {
    let size = batch_size(claims.len());
    for (claims, verdicts) in claims.chunks(size).zip(verdicts.chunks_mut(size)) {
        let mut batch = Batch::new(claims, verdicts);
        let all = 0..batch.items.len();
        batch.check(all, verdicts, false);
    }
}

/// How many claims each batch takes, of so many. Batches are of like size: a small last one would cost more a claim.
fn batch_size(claims: usize) -> usize {
    let most = if claims < BUCKETS { TABLES } else { BATCH };
    claims.div_ceil(claims.div_ceil(most).max(1)).max(1)
}

/// A claim that may be good: its parts in the form in which they are reckoned with.
struct Item {
    /// Which claim.
    position: u32,
    /// Whose, among the batch's authors.
    author: u32,
    r: EdwardsPoint,
    s: Scalar,
    /// `SHA-512(R ‖ A ‖ M)`.
    k: Scalar,
}

struct Batch {
    /// The authors' points.
    authors: Vec<EdwardsPoint>,
    items: Vec<Item>,
    coefficients: Coefficients,
    /// Items weighed by the batch equation, once for each time, and those checked alone.
    #[cfg(test)]
    work: [usize; 2],
}

impl Batch {
    /// Takes the claims apart. One that is bad by its form (R is no point, s is not below the group order) gets its verdict here and is no item.
    fn new(claims: &[Claim<'_>], verdicts: &mut [bool]) -> Self {
        let mut numbers: HashMap<AuthorId, Option<u32>> = HashMap::new();
        let mut authors = Vec::new();
        let mut items = Vec::with_capacity(claims.len());
        let mut seed = Sha256::new();
        seed.update(COEFFICIENTS_DOMAIN);
        // Authors write in a row.
        let mut last: Option<(AuthorId, Option<u32>)> = None;
        let mut message = signed_bytes(CHANGE_SIGNATURE_DOMAIN, &[0; 32]);
        let prefix = message.len() - 32;
        for (position, claim) in claims.iter().enumerate() {
            let author = match last {
                Some((author, number)) if author == claim.author => number,
                _ => *numbers.entry(claim.author).or_insert_with(|| {
                    authors.push(CompressedEdwardsY(*claim.author.as_bytes()).decompress()?);
                    Some(authors.len() as u32 - 1)
                }),
            };
            last = Some((claim.author, author));
            message[prefix..].copy_from_slice(claim.message);
            match author.and_then(|author| Item::new(position as u32, author, claim, &message)) {
                Some(item) => {
                    // k stands for R, the key and the message.
                    let mut both = [0; 64];
                    both[..32].copy_from_slice(item.k.as_bytes());
                    both[32..].copy_from_slice(item.s.as_bytes());
                    seed.update(both);
                    items.push(item);
                }
                None => verdicts[position] = false,
            }
        }
        Self {
            authors,
            items,
            coefficients: Coefficients::new(seed),
            #[cfg(test)]
            work: [0; 2],
        }
    }

    /// Judges a range of the items; `known_bad` says that at least one of them is bad. The depth of the recursion is the logarithm of [`BATCH`]. Answers
    /// whether all are good.
    fn check(&mut self, range: std::ops::Range<usize>, verdicts: &mut [bool], known_bad: bool) -> bool {
        if range.len() <= SINGLY {
            #[cfg(test)]
            {
                self.work[1] += range.len();
            }
            let mut all = true;
            for item in &self.items[range] {
                let good = item.is_good(&self.authors[item.author as usize]);
                verdicts[item.position as usize] = good;
                all &= good;
            }
            return all;
        }
        if !known_bad && self.is_good(range.clone()) {
            return true;
        }
        let middle = range.start + range.len() / 2;
        let left = self.check(range.start..middle, verdicts, false);
        // Where the left half is good, the fault is in the right half, and checking that as a whole would tell nothing new.
        self.check(middle..range.end, verdicts, left);
        false
    }

    /// Whether `[8](Σ [z]R + Σ [z k]A − [Σ z s]B)` is the neutral element, for random z.
    fn is_good(&mut self, range: std::ops::Range<usize>) -> bool {
        let items = &self.items[range];
        #[cfg(test)]
        {
            self.work[0] += items.len();
        }
        let mut of_base = Wide::default();
        let mut of_authors = vec![Wide::default(); self.authors.len()];
        let mut coefficients = Vec::with_capacity(items.len());
        for item in items {
            let z = self.coefficients.next();
            of_base.add_product(z, &item.s);
            of_authors[item.author as usize].add_product(z, &item.k);
            coefficients.push(Scalar::from(z));
        }
        let of_base = -of_base.reduce();
        let of_authors: Vec<Scalar> = of_authors.iter().map(Wide::reduce).collect();
        let sum = EdwardsPoint::vartime_multiscalar_mul(
            std::iter::once(&of_base).chain(&of_authors).chain(&coefficients),
            std::iter::once(&ED25519_BASEPOINT_POINT).chain(&self.authors).chain(items.iter().map(|item| &item.r)),
        );
        sum.mul_by_cofactor().is_identity()
    }
}

impl Item {
    fn new(position: u32, author: u32, claim: &Claim<'_>, message: &[u8]) -> Option<Self> {
        let (r, s) = claim.signature.0.split_first_chunk::<32>()?;
        let s = Option::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
        let point = CompressedEdwardsY(*r).decompress()?;
        let k = Sha512::new().chain_update(r).chain_update(claim.author.as_bytes()).chain_update(message).finalize();
        let k = Scalar::from_bytes_mod_order_wide(&k.into());
        Some(Self { position, author, r: point, s, k })
    }

    /// Whether `[8]([s]B − [k]A − R)` is the neutral element.
    fn is_good(&self, author: &EdwardsPoint) -> bool {
        let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, &-author, &self.s);
        (r - self.r).mul_by_cofactor().is_identity()
    }
}

/// A sum of products of 128 by 253 bits that is reduced once, at its end. 2³⁸¹ times [`BATCH`] is far below 2⁵¹².
#[derive(Clone, Default)]
struct Wide([u64; 8]);

impl Wide {
    fn add_product(&mut self, z: u128, x: &Scalar) {
        let (words, _) = x.as_bytes().as_chunks::<8>();
        for (low, z) in [z as u64, (z >> 64) as u64].into_iter().enumerate() {
            let mut carry = 0u128;
            for (n, sum) in self.0[low..].iter_mut().enumerate() {
                let product = words.get(n).map_or(0, |word| u128::from(u64::from_le_bytes(*word)) * u128::from(z));
                let total = product + u128::from(*sum) + carry;
                *sum = total as u64;
                carry = total >> 64;
            }
        }
    }

    fn reduce(&self) -> Scalar {
        let mut bytes = [0; 64];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Scalar::from_bytes_mod_order_wide(&bytes)
    }
}

/// A stream of coefficients: SHA-256 in counter mode, keyed by the hash of all items. One stream serves a batch and all halves it is
/// split into: each draws fresh coefficients, and all of them depend on every item.
struct Coefficients {
    key: [u8; 32],
    counter: u64,
    spare: Option<u128>,
}

impl Coefficients {
    fn new(seed: Sha256) -> Self {
        Self { key: seed.finalize().into(), counter: 0, spare: None }
    }

    fn next(&mut self) -> u128 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let mut input = [0; 40];
        input[..32].copy_from_slice(&self.key);
        input[32..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        let block: [u8; 32] = Sha256::digest(input).into();
        let (halves, _) = block.as_chunks::<16>();
        self.spare = Some(u128::from_le_bytes(halves[1]));
        u128::from_le_bytes(halves[0])
    }
}

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

    fn is_good_as_a_whole(claims: &[Claim<'_>]) -> bool {
        let mut verdicts = vec![true; claims.len()];
        let mut batch = Batch::new(claims, &mut verdicts);
        let all = 0..batch.items.len();
        verdicts.iter().all(|good| *good) && batch.is_good(all)
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
        let good: Vec<Claim<'_>> = cases.iter().filter(|(_, e)| *e).map(|(claim, _)| *claim).collect();
        assert!(is_good_as_a_whole(&good));
        // And each bad one spoils a batch of good ones.
        for (claim, _) in cases.iter().filter(|(_, expected)| !expected).step_by(7) {
            let mut spoiled = good[..8].to_vec();
            spoiled.push(*claim);
            assert!(!is_good_as_a_whole(&spoiled));
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
        for threads in [0, 1, 2, 3, 100] {
            assert_eq!(verify_changes_on(threads, &claims), expected);
            assert_eq!(verify_changes_on(threads, &[]), Vec::<bool>::new());
        }
        assert_eq!(verify_changes(&[]), Vec::<bool>::new());
        assert_eq!(verify_changes(&claims[..2]), [false, false]);
    }

    /// One author's claims over these ids, of which those at `bad` are not good.
    fn claims<'a>(ids: &'a [[u8; 32]], bad: &dyn Fn(usize) -> bool) -> Vec<Claim<'a>> {
        let keypair = Keypair::from_seed(&[4; 32]);
        let claim = |(n, message): (usize, &'a [u8; 32])| {
            let mut signature = keypair.sign(CHANGE_SIGNATURE_DOMAIN, message);
            signature.0[33] ^= u8::from(bad(n));
            Claim { author: keypair.author(), message, signature }
        };
        ids.iter().enumerate().map(claim).collect()
    }

    fn ids(count: usize) -> Vec<[u8; 32]> {
        (0..count).map(|n| crate::hash::hash("test", &n.to_be_bytes())).collect()
    }

    #[test]
    fn every_claim_is_judged_whatever_size_the_batches_have() {
        let ids = ids(2 * TABLES + BUCKETS);
        let sizes =
            [1, SINGLY, SINGLY + 1, TABLES, TABLES + 1, 2 * TABLES + 1, BUCKETS - 2, BUCKETS - 1, BUCKETS, BUCKETS + 1];
        for size in sizes {
            for bad in [0, size / 2, size - 1] {
                let verdicts = verify_changes(&claims(&ids[..size], &|n| n == bad));
                assert_eq!(verdicts.iter().filter(|good| !**good).count(), 1, "{bad} of {size}");
                assert!(!verdicts[bad], "{bad} of {size}");
            }
        }
        for size in (1..2 * BUCKETS).chain((BATCH - 2..3 * BATCH).step_by(17)) {
            let batch = batch_size(size);
            assert!(batch <= if size < BUCKETS { TABLES } else { BATCH });
            // None is much smaller than the others, and those that can use buckets do.
            let batches = size.div_ceil(batch);
            assert!(batch * batches < size + batches && (size < BUCKETS || batch >= BUCKETS), "{batch} for {size}");
        }
    }

    #[test]
    fn the_search_for_bad_signatures_is_bounded() {
        const COUNT: usize = 1024;
        let ids = ids(COUNT);
        let work = |bad: &dyn Fn(usize) -> bool| {
            let claims = claims(&ids, bad);
            let mut verdicts = vec![true; COUNT];
            let mut batch = Batch::new(&claims, &mut verdicts);
            assert!(batch.items.len() == COUNT, "all have a good form");
            batch.check(0..COUNT, &mut verdicts, false);
            assert!(verdicts.iter().enumerate().all(|(n, good)| *good != bad(n)));
            batch.work
        };
        assert_eq!(work(&|_| false), [COUNT, 0]);
        // The whole, then both halves, both quarters and so on.
        for bad in [0, 1, COUNT / 2 - 1, COUNT / 2, COUNT - 1] {
            let [weighed, alone] = work(&|n| n == bad);
            assert!(weighed <= 3 * COUNT && alone <= 2 * SINGLY, "{weighed} and {alone} for {bad}");
        }
        // Where the left half is good, the right one is not weighed as a whole.
        assert!(work(&|n| n == COUNT - 1)[0] < 2 * COUNT);
        // Each item at most once a level, of which there are as many as halvings from all down to single checks.
        let levels = (COUNT / SINGLY).ilog2() as usize + 1;
        for every in [1, 2, 7, 64] {
            let [weighed, alone] = work(&|n| n % every == 0);
            let most = levels.min((COUNT / every).ilog2() as usize + 3) * COUNT;
            assert!(weighed <= most && alone <= COUNT, "{weighed} of {most} where every {every} is bad");
        }
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
