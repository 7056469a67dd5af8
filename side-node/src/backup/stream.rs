//! A file under a passphrase, in chunks: written and read with the memory of two of them.
//!
//! ```text
//! header: "side-backup" ‖ version ‖ memory ‖ passes ‖ lanes ‖ salt ‖ prefix ‖ commitment
//! chunks: each 64 KiB, the last one 0 to 64 KiB, and 16 bytes more for the tag
//! ```
//! Rules:
//! - The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, 2015) over
//!   XChaCha20-Poly1305. A chunk's nonce is the prefix, the chunk's number and whether it is the last: chunks that are left out, repeated, put in another
//!   order or cut off do not open.
//! - The header is authenticated with every chunk. The commitment is a hash of key and header: it tells a wrong passphrase from a changed file, and binds the
//!   file to one key.
//! - Nothing is handed out of a chunk before its tag was checked. That the file is whole is known with its last chunk only: whoever reads must not act on it
//!   before [`Opener::end`].

use std::io::{self, Read, Write};

use bft_json_crdt::hash::hash;
use chacha20poly1305::aead::{AeadInPlace as _, KeyInit as _};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::clock;
use crate::error::CommandError;
use crate::secrets::Passphrase;
use crate::secrets::kdf::{Cost, CostError, Kdf, Key, SALT_BYTES};

/// What a backup begins with.
const MAGIC: &[u8; 11] = b"side-backup";
/// The version of the format that this build writes and reads.
const VERSION: u8 = 1;
/// Bytes of a chunk before it is encrypted.
pub const CHUNK: usize = 64 << 10;
/// Bytes of a tag.
const TAG: usize = 16;
/// Bytes of a nonce that are the same in a whole file: 24, less four for the number and one for the end.
const PREFIX: usize = 19;
/// Bytes of the commitment.
const COMMITMENT: usize = 32;
/// Bytes of a header.
pub const HEADER: usize = MAGIC.len() + 1 + 3 * 4 + SALT_BYTES + PREFIX + COMMITMENT;
/// Domain of the commitment.
const COMMITMENT_DOMAIN: &str = "side/1/backup-key";

/// Why a backup cannot be read.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The operating system refuses.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// What was read cannot be written elsewhere.
    #[error("what is in it cannot be written: {0}")]
    Write(io::Error),
    /// Another kind of file.
    #[error("it is no backup of a node")]
    Foreign,
    /// Made by another version.
    #[error("it has version {0}, and this build reads version {VERSION}")]
    Version(u8),
    /// It would cost too much.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// Another passphrase.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// A chunk does not open.
    #[error("it was changed, cut off or damaged, {0} bytes after its beginning or shortly behind")]
    Changed(u64),
    /// It ends in the middle.
    #[error("it ends too early: a part is missing")]
    Short,
    /// Something stands behind the end.
    #[error("something was added to it")]
    Long,
    /// The passphrase cannot be asked for or tried.
    #[error(transparent)]
    Key(CommandError),
}

struct Header {
    kdf: Kdf,
    prefix: [u8; PREFIX],
}

impl Header {
    fn bytes(&self, key: &Key) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        let cost = self.kdf.cost;
        for number in [cost.memory_kib(), cost.passes(), cost.lanes()] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.kdf.salt);
        out.extend_from_slice(&self.prefix);
        let commitment = commitment(key, &out);
        out.extend_from_slice(&commitment);
        let mut header = [0; HEADER];
        header.copy_from_slice(&out);
        header
    }

    fn read(bytes: &[u8; HEADER]) -> Result<Self, StreamError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(StreamError::Foreign)?;
        let (version, rest) = rest.split_first().ok_or(StreamError::Foreign)?;
        if *version != VERSION {
            return Err(StreamError::Version(*version));
        }
        let number = |at: usize| {
            rest.get(4 * at..4 * at + 4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_be_bytes)
                .ok_or(StreamError::Foreign)
        };
        let cost = Cost::new(number(0)?, number(1)?, number(2)?)?;
        let (salt, rest) = rest[12..].split_first_chunk::<SALT_BYTES>().ok_or(StreamError::Foreign)?;
        let prefix = rest.first_chunk::<PREFIX>().ok_or(StreamError::Foreign)?;
        Ok(Self { kdf: Kdf { cost, salt: *salt }, prefix: *prefix })
    }
}

fn commitment(key: &Key, header: &[u8]) -> [u8; COMMITMENT] {
    let mut bytes = Zeroizing::new(Vec::with_capacity(32 + header.len()));
    bytes.extend_from_slice(&key.0);
    bytes.extend_from_slice(header);
    hash(COMMITMENT_DOMAIN, &bytes)
}

/// What both directions share.
struct Chunks {
    cipher: XChaCha20Poly1305,
    header: [u8; HEADER],
    prefix: [u8; PREFIX],
    number: u32,
}

impl Chunks {
    fn new(key: &Key, header: [u8; HEADER], prefix: [u8; PREFIX]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(chacha20poly1305::Key::from_slice(&key.0)), header, prefix, number: 0 }
    }

    fn nonce(&self, last: bool) -> XNonce {
        let mut nonce = [0; 24];
        nonce[..PREFIX].copy_from_slice(&self.prefix);
        nonce[PREFIX..23].copy_from_slice(&self.number.to_be_bytes());
        nonce[23] = u8::from(last);
        *XNonce::from_slice(&nonce)
    }
}

/// Writes an encrypted file.
pub struct Sealer<W> {
    out: W,
    chunks: Chunks,
    /// Invariant: at most [`CHUNK`] bytes.
    buffer: Zeroizing<Vec<u8>>,
}

impl<W: Write> Sealer<W> {
    /// Begins a file.
    pub fn begin(mut out: W, passphrase: &Passphrase, cost: Cost) -> Result<Self, StreamError> {
        let header = Header {
            kdf: Kdf::fresh(cost).map_err(StreamError::Key)?,
            prefix: clock::random().map_err(StreamError::Key)?,
        };
        let key = header.kdf.derive(passphrase).map_err(StreamError::Key)?;
        let bytes = header.bytes(&key);
        out.write_all(&bytes).map_err(StreamError::Write)?;
        let chunks = Chunks::new(&key, bytes, header.prefix);
        Ok(Self { out, chunks, buffer: Zeroizing::new(Vec::with_capacity(CHUNK)) })
    }

    /// Adds bytes.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            // A full chunk stays until it is known that it is not the last one.
            if self.buffer.len() == CHUNK {
                self.flush(false)?;
            }
            let taken = bytes.len().min(CHUNK - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Ends the file; hands back what was written to, which is to be made durable.
    pub fn end(mut self) -> Result<W, StreamError> {
        self.flush(true)?;
        self.out.flush().map_err(StreamError::Write)?;
        Ok(self.out)
    }

    fn flush(&mut self, last: bool) -> Result<(), StreamError> {
        let full = || StreamError::Write(io::Error::other("a backup has at most 2^32 chunks"));
        let nonce = self.chunks.nonce(last);
        let sealed = self.chunks.cipher.encrypt_in_place_detached(&nonce, &self.chunks.header, &mut self.buffer);
        let tag = sealed.map_err(|_| full())?;
        self.out.write_all(&self.buffer).and_then(|()| self.out.write_all(&tag)).map_err(StreamError::Write)?;
        self.buffer.clear();
        self.chunks.number = self.chunks.number.checked_add(1).ok_or_else(full)?;
        Ok(())
    }
}

/// Reads an encrypted file.
pub struct Opener<R> {
    input: R,
    chunks: Chunks,
    /// A chunk that is read and not opened yet, with its tag.
    ahead: Vec<u8>,
    /// What is opened, and how much of it was handed out.
    open: Zeroizing<Vec<u8>>,
    given: usize,
    /// Bytes of the file up to the end of `open`.
    at: u64,
    /// The last chunk is open.
    last: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the header and tries the passphrase, which is asked for once it is known what a try costs.
    pub fn begin(
        mut input: R,
        passphrase: impl FnOnce() -> Result<Passphrase, CommandError>,
    ) -> Result<Self, StreamError> {
        let mut bytes = [0; HEADER];
        let length = fill(&mut input, &mut bytes)?;
        if length < HEADER {
            return Err(if bytes[..length].starts_with(MAGIC) { StreamError::Short } else { StreamError::Foreign });
        }
        let header = Header::read(&bytes)?;
        let key = header.kdf.derive(&passphrase().map_err(StreamError::Key)?).map_err(StreamError::Key)?;
        if header.bytes(&key) != bytes {
            return Err(StreamError::Passphrase);
        }
        let chunks = Chunks::new(&key, bytes, header.prefix);
        let mut opener = Self {
            input,
            chunks,
            ahead: Vec::with_capacity(CHUNK + TAG),
            open: Zeroizing::new(Vec::with_capacity(CHUNK + TAG)),
            given: 0,
            at: HEADER as u64,
            last: false,
        };
        opener.ahead = opener.read_ahead(Vec::with_capacity(CHUNK + TAG))?;
        opener.next()?;
        Ok(opener)
    }

    /// Hands exactly `length` bytes to `out`, a chunk's worth at a time.
    pub fn take(&mut self, mut length: u64, mut out: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), StreamError> {
        while length > 0 {
            if self.given == self.open.len() {
                if self.last {
                    return Err(StreamError::Short);
                }
                self.next()?;
                continue;
            }
            let here = (self.open.len() - self.given).min(usize::try_from(length).unwrap_or(usize::MAX));
            out(&self.open[self.given..self.given + here]).map_err(StreamError::Write)?;
            self.given += here;
            length -= here as u64;
        }
        Ok(())
    }

    /// Hands over exactly `length` bytes, of which there are so few that they go into memory.
    pub fn bytes(&mut self, length: u64) -> Result<Zeroizing<Vec<u8>>, StreamError> {
        // With all its room from the beginning: a vector that grows leaves copies behind. Never more than what is still there could fill.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length.min(16 << 20)).unwrap_or(0)));
        self.take(length, |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// The file is whole and nothing is left of it.
    pub fn end(mut self) -> Result<(), StreamError> {
        while !self.last && self.given == self.open.len() {
            self.next()?;
        }
        if self.given == self.open.len() { Ok(()) } else { Err(StreamError::Long) }
    }

    /// Opens the chunk ahead and reads the one behind it.
    fn next(&mut self) -> Result<(), StreamError> {
        let mut chunk = std::mem::take(&mut self.ahead);
        let used = std::mem::take(&mut *self.open);
        let behind = self.read_ahead(used)?;
        let last = behind.is_empty();
        let length = chunk.len() as u64;
        let Some(tag_at) = chunk.len().checked_sub(TAG) else { return Err(StreamError::Short) };
        let tag = *Tag::from_slice(&chunk[tag_at..]);
        chunk.truncate(tag_at);
        let nonce = self.chunks.nonce(last);
        let cipher = &self.chunks.cipher;
        if cipher.decrypt_in_place_detached(&nonce, &self.chunks.header, &mut chunk, &tag).is_err() {
            // A chunk that opens as one of the middle was the end of what is left of the file.
            let nonce = self.chunks.nonce(false);
            let cut = last && cipher.decrypt_in_place_detached(&nonce, &self.chunks.header, &mut chunk, &tag).is_ok();
            return Err(if cut { StreamError::Short } else { StreamError::Changed(self.at) });
        }
        self.chunks.number = self.chunks.number.checked_add(1).ok_or(StreamError::Long)?;
        self.at += length;
        self.open = Zeroizing::new(chunk);
        self.given = 0;
        self.ahead = behind;
        self.last = last;
        Ok(())
    }

    /// Reads a chunk with its tag, or what is left. `buffer` held what was open before.
    fn read_ahead(&mut self, buffer: Vec<u8>) -> Result<Vec<u8>, StreamError> {
        let mut buffer = Zeroizing::new(buffer);
        buffer.resize(CHUNK + TAG, 0);
        let length = fill(&mut self.input, &mut buffer)?;
        buffer.truncate(length);
        Ok(std::mem::take(&mut *buffer))
    }
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, StreamError> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StreamError::Read(error)),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(words: &str) -> Passphrase {
        Passphrase::new(words.as_bytes().to_vec()).unwrap()
    }

    fn sealed(contents: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::begin(Vec::new(), &passphrase("correct horse"), Cost::LEAST).unwrap();
        // In pieces that do not fit the chunks.
        contents.chunks(40_001).for_each(|piece| sealer.put(piece).unwrap());
        sealer.end().unwrap()
    }

    fn opened(file: &[u8], length: usize) -> Result<Vec<u8>, StreamError> {
        let mut opener = Opener::begin(file, || Ok(passphrase("correct horse")))?;
        let mut out = Vec::new();
        opener.take(length as u64, |part| {
            out.extend_from_slice(part);
            Ok(())
        })?;
        opener.end()?;
        Ok(out)
    }

    fn contents(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn what_goes_in_comes_out() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7] {
            let file = sealed(&contents(length));
            let chunks = length.div_ceil(CHUNK).max(1);
            assert_eq!(file.len(), HEADER + length + chunks * TAG);
            assert_eq!(opened(&file, length).unwrap(), contents(length), "{length}");
            assert!(matches!(opened(&file, length + 1), Err(StreamError::Short)));
            if length > 0 {
                assert!(matches!(opened(&file, length - 1), Err(StreamError::Long)));
            }
        }
    }

    #[test]
    fn a_wrong_passphrase_is_told_from_damage() {
        let file = sealed(b"contents");
        let wrong = Opener::begin(&file[..], || Ok(passphrase("correct horsf")));
        assert!(matches!(wrong, Err(StreamError::Passphrase)));
        let mut damaged = file.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(opened(&damaged, 8), Err(StreamError::Changed(_))));
    }

    #[test]
    fn every_cut_and_every_changed_region_is_noticed() {
        let length = 3 * CHUNK + 100;
        let file = sealed(&contents(length));
        let regions = [0, 5, MAGIC.len(), MAGIC.len() + 3, HEADER - 60, HEADER - 1, HEADER, HEADER + 1000];
        let ends = [HEADER + CHUNK, HEADER + CHUNK + TAG, HEADER + 2 * (CHUNK + TAG), HEADER + 3 * (CHUNK + TAG) + 5];
        for at in regions.into_iter().chain(ends).chain([file.len() - 1]) {
            assert!(opened(&file[..at], length).is_err(), "cut at {at}");
            let mut changed = file.clone();
            changed[at] ^= 0x40;
            assert!(opened(&changed, length).is_err(), "changed at {at}");
        }
        // Cut between two chunks, where only the mark of the last one tells.
        let cut = &file[..HEADER + 2 * (CHUNK + TAG)];
        assert!(matches!(opened(cut, 2 * CHUNK), Err(StreamError::Short)));
        let mut longer = file.clone();
        longer.push(0);
        assert!(opened(&longer, length).is_err());
    }

    #[test]
    fn chunks_in_another_order_repeated_or_of_another_file_do_not_open() {
        let length = 3 * CHUNK;
        let (file, other) = (sealed(&contents(length)), sealed(&contents(length)));
        let chunk = |file: &[u8], n: usize| file[HEADER + n * (CHUNK + TAG)..HEADER + (n + 1) * (CHUNK + TAG)].to_vec();
        let with = |chunks: &[Vec<u8>]| [&file[..HEADER], &chunks.concat()[..]].concat();
        let [a, b, c] = [0, 1, 2].map(|n| chunk(&file, n));
        assert!(opened(&with(&[a.clone(), b.clone(), c.clone()]), length).is_ok());
        for wrong in [
            vec![b.clone(), a.clone(), c.clone()],
            vec![a.clone(), a.clone(), c.clone()],
            vec![a.clone(), c.clone()],
            vec![a.clone(), chunk(&other, 1), c.clone()],
            vec![a, b.clone(), c, b],
        ] {
            assert!(opened(&with(&wrong), length).is_err());
        }
    }

    #[test]
    fn what_is_no_backup_is_refused_before_a_passphrase_is_asked_for() {
        let never = || -> Result<Passphrase, CommandError> { panic!("asked for a passphrase") };
        let refused = |file: &[u8]| Opener::begin(file, never).err().unwrap();
        assert!(matches!(refused(b""), StreamError::Foreign));
        assert!(matches!(refused(b"PK\x03\x04 and so on"), StreamError::Foreign));
        assert!(matches!(refused(&[0; 4096]), StreamError::Foreign));
        let file = sealed(b"");
        assert!(matches!(refused(&file[..20]), StreamError::Short));
        let mut later = file.clone();
        later[MAGIC.len()] = 2;
        assert!(matches!(refused(&later), StreamError::Version(2)));
        let mut greedy = file;
        greedy[MAGIC.len() + 1] = 0xff;
        assert!(matches!(refused(&greedy), StreamError::Cost(_)));
    }
}
