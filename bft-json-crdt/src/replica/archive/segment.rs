//! Heads, checksums and compressed streams of a file (docs/format.md, sections 1 to 3): what tells whole bytes from damaged ones, before anything is read out of them.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::columns::{COLUMNS, FIRST_WORDS};
use crate::change::DocumentId;
use crate::encoding::{DecodeError, Reader, Write as _};

pub(super) const MAGIC: &[u8; 12] = b"SIDE-REPLICA";
pub(super) const VERSION: u8 = 2;
/// Bytes of a file's header: magic, version, document, checksum.
pub(super) const HEADER: usize = 12 + 1 + 32 + 4;
/// Bytes of a segment's head: flags, length of the body, its checksum, checksum of the head.
const HEAD: usize = 1 + 4 + 4 + 4;
/// The flag of a segment that ends what was saved at one time.
const LAST: u8 = 1;

/// Most bytes that the columns of one segment take together. A segment holds at most 2 MiB of changes, of which no byte takes more than five in
/// its column.
const MAX_COLUMN_BYTES: usize = 16 << 20;
/// Most that DEFLATE expands (RFC 1951: 258 bytes from two bits).
const MAX_INFLATION: usize = 1032;

const STORED: u8 = 0;
const DEFLATED: u8 = 1;

/// Up to this many bytes a stream is not worth its compression.
const TINY: usize = 48;

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

/// Appends a file's header.
pub(super) fn put_header(out: &mut Vec<u8>, document: &DocumentId) {
    let start = out.len();
    out.put(MAGIC);
    out.put(&[VERSION]);
    out.put(&document.0);
    let crc = crc(&out[start..]);
    out.put(&crc);
}

/// Why a file does not begin with a header.
pub(super) enum HeaderFault {
    Magic,
    Damaged,
}

/// Reads a file's header.
pub(super) fn read_header(bytes: &[u8]) -> Result<DocumentId, HeaderFault> {
    if !bytes.starts_with(MAGIC) || bytes.get(MAGIC.len()) != Some(&VERSION) {
        return Err(HeaderFault::Magic);
    }
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or(HeaderFault::Damaged)?;
    let (content, sum) = header.split_at(HEADER - 4);
    if crc(content) != sum {
        return Err(HeaderFault::Damaged);
    }
    let mut document = [0; 32];
    document.copy_from_slice(&content[13..]);
    Ok(DocumentId(document))
}

/// Appends a segment with this body.
pub(super) fn put_segment(out: &mut Vec<u8>, body: &[u8], last: bool) {
    let start = out.len();
    out.put(&[if last { LAST } else { 0 }]);
    let length = u32::try_from(body.len()).expect("a segment's size is bounded");
    out.put(&length.to_be_bytes());
    out.put(&crc(body));
    let crc = crc(&out[start..]);
    out.put(&crc);
    out.put(body);
}

/// What stands at some place of a file.
pub(super) enum Found<'a> {
    /// A whole segment.
    Segment { body: &'a [u8], last: bool, end: usize },
    /// Nothing: the file ends here.
    End,
    /// The beginning of a segment, or a damaged one with nothing behind it: what a crash leaves of an append.
    Torn,
    /// A damaged segment.
    Damaged,
}

/// Looks at what begins at byte `at` of a file.
pub(super) fn find(file: &[u8], at: usize) -> Found<'_> {
    let rest = &file[at..];
    if rest.is_empty() {
        return Found::End;
    }
    let Some(head) = rest.first_chunk::<HEAD>() else { return Found::Torn };
    // A file system that had grown the file but not written to it leaves zeros.
    let untouched = || rest.iter().all(|byte| *byte == 0);
    let [flags, length @ .., _, _, _, _, _, _, _, _] = *head;
    if crc(&head[..HEAD - 4]) != head[HEAD - 4..] || flags > LAST {
        return if untouched() { Found::Torn } else { Found::Damaged };
    }
    let length = u32::from_be_bytes(length) as usize;
    let Some(body) = rest[HEAD..].get(..length) else { return Found::Torn };
    let end = at + HEAD + length;
    if crc(body) != head[5..9] {
        return if end == file.len() { Found::Torn } else { Found::Damaged };
    }
    Found::Segment { body, last: flags == LAST, end }
}

/// Compresses columns.
pub(super) struct Packer {
    numbers: Compress,
    words: Compress,
    joined: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self {
            numbers: Compress::new(Compression::new(NUMBERS_LEVEL), false),
            words: Compress::new(Compression::new(WORDS_LEVEL), false),
            joined: Vec::new(),
        }
    }

    /// Appends the lengths of the columns, and the columns in two streams: numbers and words. Compressed where that makes them shorter, unless `plainly`.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, columns: &[Vec<u8>; COLUMNS], plainly: bool) {
        for column in columns {
            out.put_varint(column.len() as u64);
        }
        let (numbers, words) = columns.split_at(FIRST_WORDS);
        for (columns, compress) in [(numbers, &mut self.numbers), (words, &mut self.words)] {
            self.joined.clear();
            columns.iter().for_each(|column| self.joined.put(column));
            out.put_varint(columns.len() as u64);
            let compressed = if plainly { None } else { deflate(compress, &self.joined) };
            match compressed {
                Some(compressed) => {
                    out.put(&[DEFLATED]);
                    out.put_blob(&compressed);
                }
                None => {
                    out.put(&[STORED]);
                    out.put_blob(&self.joined);
                }
            }
        }
    }
}

/// How hard it is tried. Numbers hardly repeat, so that all levels come to nearly the same; on words, level 4 takes three quarters of the time of level 6 for 2 % more bytes.
const NUMBERS_LEVEL: u32 = 2;
const WORDS_LEVEL: u32 = 4;

fn deflate(compress: &mut Compress, bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= TINY {
        return None;
    }
    // Where it does not fit into this, it is not worth it.
    let mut out = Vec::with_capacity(bytes.len());
    compress.reset();
    match compress.compress_vec(bytes, &mut out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Some(out),
        _ => None,
    }
}

/// Expands columns, with a buffer that outlives one segment.
pub(super) struct Unpacker {
    inflate: Decompress,
    buffer: Vec<u8>,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self { inflate: Decompress::new(false), buffer: Vec::new() }
    }
}

impl Unpacker {
    /// Reads what [`Packer::put`] wrote, or any other division into streams.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<[&[u8]; COLUMNS], DecodeError> {
        let mut lengths = [0; COLUMNS];
        let mut total = 0usize;
        for length in &mut lengths {
            let varint = reader.varint()?;
            *length =
                usize::try_from(varint).ok().filter(|length| *length <= MAX_COLUMN_BYTES - total).ok_or(TOO_LARGE)?;
            total += *length;
        }
        self.buffer.clear();
        let mut column = 0;
        while column < COLUMNS {
            let count = reader.varint()?;
            let count = usize::try_from(count).ok().filter(|count| (1..=COLUMNS - column).contains(count));
            let end = column + count.ok_or(DecodeError::Rule("a stream's number of columns"))?;
            let length: usize = lengths[column..end].iter().sum();
            let method = reader.byte()?;
            let stored = reader.blob()?;
            match method {
                STORED if stored.len() == length => self.buffer.put(stored),
                DEFLATED if length <= stored.len().saturating_mul(MAX_INFLATION) => {
                    let start = self.buffer.len();
                    self.buffer.resize(start + length, 0);
                    self.inflate.reset(false);
                    let status = self.inflate.decompress(stored, &mut self.buffer[start..], FlushDecompress::Finish);
                    let whole =
                        self.inflate.total_in() == stored.len() as u64 && self.inflate.total_out() == length as u64;
                    if !matches!(status, Ok(Status::StreamEnd)) || !whole {
                        return Err(DecodeError::Rule("a compressed stream is damaged"));
                    }
                }
                _ => return Err(DecodeError::Rule("a stream's method or length")),
            }
            column = end;
        }
        let mut rest = self.buffer.as_slice();
        let mut columns: [&[u8]; COLUMNS] = [&[]; COLUMNS];
        for (column, length) in columns.iter_mut().zip(lengths) {
            (*column, rest) = rest.split_at(length);
        }
        Ok(columns)
    }
}

const TOO_LARGE: DecodeError = DecodeError::Rule("the columns of a segment are larger than they may be");
