//! What became of sealed changes and their transactions (docs/protocol.md, section "State").

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use serde::Serialize;

use crate::block::Height;
use crate::transaction::MAX_TRANSACTIONS;

/// What a leaf of the tree of sealed changes begins with.
pub const CHANGE_LEAF: u64 = 0;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a sealed change or transaction does not count. Every node gives the same; the numbers are part of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason {
            $($(#[$doc])* $name = $code,)*
        }

        impl Reason {
            /// The number.
            pub fn code(self) -> u64 {
                self as u64
            }

            /// The reason with this number.
            pub fn from_code(code: u64) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for Reason {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

reasons! {
    /// The whole change: it stands on a branch of its author's forked chain that lost.
    Fork = 1, "the author forked its chain, and the other branch was sealed first";
    /// The whole change: its author was shown to have forked its chain.
    Frozen = 2, "the author is frozen because it forked its chain";
    /// The whole change: the group is closed and its author no member of it.
    NotMember = 3, "the author is not a member of this closed group";
    /// It is no proper transaction of its kind.
    Malformed = 4, "it is no proper transaction";
    /// The author does not own that much.
    Balance = 5, "the author does not own that much";
    /// It speaks of another set of voters than the present one.
    OtherSet = 6, "it speaks of another set of voters";
    /// The author is not a voter.
    NotVoter = 7, "the author is not a voter";
    /// The author votes on as much as one voter may at a time.
    TooManyBallots = 8, "the author votes on too much at once";
    /// It asks for what is already so.
    NoChange = 9, "it is so already";
    /// The author is not a sealer.
    NotSealer = 10, "the author is not the sealer";
    /// There is nothing to close the set for.
    NothingPending = 11, "no change of the voters is pending";
    /// It names a block that is not among the last ones.
    OldBlock = 12, "it names none of the last blocks";
    /// The group is closed: its voters decide who becomes one.
    NotOpen = 13, "the group is closed: its voters decide";
    /// The set would have too many voters, or none.
    VoterCount = 14, "the set would have too many voters, or none";
    /// The author has another key in the place of this one; or what it speaks of has.
    Rotated = 15, "another key has taken this key's place";
    /// The new key does not say that it wants to take the old one's place.
    Proof = 16, "the new key has not agreed";
    /// The new key is somebody already: two members would become one.
    KeyInUse = 17, "the new key is in use already";
    /// Its seat cannot move: it is the only voter, it seals without voting, or the next close of the set changes what it is.
    Seat = 18, "its seat cannot move now: it is the only voter, seals without a vote, or is about to come or leave";
    /// Its owner has not proposed that.
    NotProposed = 19, "the key's owner has not proposed that";
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum Status {
    /// No block covers it yet.
    Pending,
    /// A block covers it, and it counts.
    Sealed {
        /// The block's height.
        height: Height,
    },
    /// A block covers it, and it does not count.
    Rejected {
        /// The block's height.
        height: Height,
        /// Why.
        reason: Reason,
    },
}

/// A sealed change and what became of it: a leaf of the tree of sealed changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The change.
    pub id: ChangeId,
    /// Its lamport number.
    pub lamport: u64,
    /// Why the whole change does not count, if it does not.
    pub verdict: Option<Reason>,
    /// The transactions that do not count though the change does: offset and reason. Invariant: offsets strictly ascend; empty if the change does not count.
    pub rejected: Vec<(u32, Reason)>,
}

impl Receipt {
    /// The bytes of the leaf.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + 4 * self.rejected.len());
        out.put_varint(CHANGE_LEAF);
        out.put(&self.id.0);
        out.put_varint(self.lamport);
        out.put_varint(self.verdict.map_or(0, Reason::code));
        out.put_varint(self.rejected.len() as u64);
        for (offset, reason) in &self.rejected {
            out.put_varint(u64::from(*offset));
            out.put_varint(reason.code());
        }
        out
    }

    /// Reads a leaf.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.varint()? != CHANGE_LEAF {
            return Err(DecodeError::Rule("this leaf is not a change"));
        }
        let reason = |code| Reason::from_code(code).ok_or(DecodeError::Rule("an unknown reason"));
        let id = ChangeId(reader.array()?);
        let lamport = reader.varint()?;
        let verdict = match reader.varint()? {
            0 => None,
            code => Some(reason(code)?),
        };
        let count = reader.count(2)?;
        if count > MAX_TRANSACTIONS + 1 || (count > 0 && verdict.is_some()) {
            return Err(DecodeError::Rule("a receipt lists too many transactions"));
        }
        let mut rejected: Vec<(u32, Reason)> = Vec::with_capacity(count);
        for _ in 0..count {
            let offset = u32::try_from(reader.varint()?).map_err(|_| DecodeError::Rule("an offset is out of range"))?;
            if rejected.last().is_some_and(|(last, _)| *last >= offset) {
                return Err(DecodeError::Rule("offsets do not strictly ascend"));
            }
            rejected.push((offset, reason(reader.varint()?)?));
        }
        reader.finish()?;
        Ok(Self { id, lamport, verdict, rejected })
    }

    /// What became of the transaction at `offset`.
    pub fn reason(&self, offset: u32) -> Option<Reason> {
        self.verdict.or_else(|| self.rejected.iter().find_map(|(at, reason)| (*at == offset).then_some(*reason)))
    }
}
