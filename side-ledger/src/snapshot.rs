//! The ledger state of a block in pieces, for somebody who has not the history (docs/protocol.md, section "State in pieces").
//!
//! A piece is [`PIECE`] accounts that follow one another: a subtree of the tree of accounts. The [`Manifest`] has the pieces' roots, so that each piece is checked by itself, whoever
//! sends it, and whoever has the state of an earlier block asks only for the pieces that have changed since.

use std::collections::BTreeSet;

use bft_json_crdt::encoding::{DecodeError, Reader, Write as _};
use bft_json_crdt::identity::AuthorId;

use crate::accounts::Account;
use crate::block::Height;
use crate::chain::{Chain, StateParts};
use crate::merkle::{self, Hash};

/// Accounts in a piece, a power of two: some 20 kB. Fewer would make the manifest long, more would send much for one account that changed.
pub const PIECE: usize = 1 << PIECE_LEVEL;
/// The level of the tree of accounts at which pieces have their roots.
const PIECE_LEVEL: usize = 8;
/// Most pieces: sixteen million accounts, whose manifest is 2 MiB and fits a message.
pub const MAX_PIECES: usize = 1 << 16;
/// Most bytes of an account's leaf.
pub const MAX_ACCOUNT_BYTES: usize = 1 + 32 + 10 + 1 + 8 + 1 + 32 + 1 + 32;
/// Most bytes of a piece.
pub const MAX_PIECE_BYTES: usize = 2 + PIECE * (1 + MAX_ACCOUNT_BYTES);

/// The roots of all pieces of a tree of accounts, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest(pub Vec<Hash>);

impl Manifest {
    /// Whether these are the pieces of this state. Costs a hash for each.
    pub fn check(&self, state: &StateParts) -> bool {
        pieces_of(state.accounts) == Some(self.0.len())
            && merkle::root_of(self.0.iter().copied()) == state.accounts_root
    }

    /// Appends the one encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.0.len() as u64);
        self.0.iter().for_each(|root| out.put(root));
    }

    /// Reads one.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(32)?;
        if count > MAX_PIECES {
            return Err(DecodeError::Rule("a state has too many pieces"));
        }
        (0..count).map(|_| reader.array()).collect::<Result<_, _>>().map(Self)
    }
}

/// How many pieces so many accounts make; `None` if there are too many for a manifest.
pub fn pieces_of(accounts: u64) -> Option<usize> {
    usize::try_from(accounts.div_ceil(PIECE as u64)).ok().filter(|count| *count <= MAX_PIECES)
}

/// Some accounts that follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece(pub Vec<(AuthorId, Account)>);

impl Piece {
    /// The root of its accounts' leaves, as the manifest has it.
    pub fn root(&self) -> Hash {
        merkle::root_of(self.0.iter().map(|(key, account)| merkle::leaf(&account.encode(key))))
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + self.0.len() * MAX_ACCOUNT_BYTES);
        out.put_varint(self.0.len() as u64);
        self.0.iter().for_each(|(key, account)| out.put_blob(&account.encode(key)));
        out
    }

    /// Reads bytes that hold a piece and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let count = reader.count(1)?;
        if count > PIECE {
            return Err(DecodeError::Rule("a piece has too many accounts"));
        }
        let mut accounts = Vec::with_capacity(count);
        for _ in 0..count {
            let (key, account) = Account::decode(reader.blob()?)?;
            let key = AuthorId::from_bytes(key).map_err(|_| DecodeError::Rule("a key is not acceptable"))?;
            accounts.push((key, account));
        }
        reader.finish()?;
        Ok(Self(accounts))
    }
}

impl Chain {
    /// The pieces of the state after the block at a height. `None` if there is no such block, if it can no longer be told (what follows is settled), or if there are too many accounts.
    /// Costs by the pieces and by what changed since.
    pub fn manifest_at(&mut self, height: Height) -> Option<Manifest> {
        let accounts = self.at(height)?.state.accounts;
        let pieces = pieces_of(accounts)?;
        let changed: BTreeSet<usize> =
            self.undone_above(height)?.flat_map(|undo| undo.keys().map(|number| *number as usize / PIECE)).collect();
        let complete = accounts as usize / PIECE;
        let roots = (0..pieces).map(|piece| {
            let as_now = piece < complete && !changed.contains(&piece);
            let root = as_now.then(|| self.accounts_subtree(PIECE_LEVEL, piece)).flatten();
            root.or_else(|| self.piece_at(height, piece).map(|piece| piece.root()))
        });
        roots.collect::<Option<_>>().map(Manifest)
    }

    /// A piece of the state after the block at a height; `None` as for the manifest, and if there is no such piece.
    pub fn piece_at(&self, height: Height, piece: usize) -> Option<Piece> {
        let accounts = self.at(height)?.state.accounts;
        if piece >= pieces_of(accounts)? {
            return None;
        }
        let (from, end) = (piece * PIECE, ((piece + 1) * PIECE).min(accounts as usize));
        let mut then: Vec<(AuthorId, Account)> =
            (from..end).map(|number| self.accounts().nth(number).copied()).collect::<Option<_>>()?;
        // The last word has what stood there first.
        for undo in self.undone_above(height)?.rev() {
            for (number, account) in undo.range(from as u32..end as u32) {
                if let Some(account) = account {
                    then[*number as usize - from].1 = *account;
                }
            }
        }
        Some(Piece(then))
    }
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::identity::Keypair;
    use proptest::prelude::*;

    use super::*;
    use crate::genesis::{Admission, Genesis, GroupSpec, Limits, Sealing};
    use crate::group::Group;
    use crate::names::Name;
    use crate::transaction::Transfer;

    fn key(seed: usize) -> Keypair {
        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&(seed as u64).to_be_bytes());
        Keypair::from_seed(&bytes)
    }

    fn group() -> Group {
        let genesis = Genesis::new(GroupSpec {
            name: Name::new("friends").unwrap(),
            created_ms: 1,
            nonce: [3; 32],
            founders: vec![key(0).author()],
            admission: Admission::Open,
            allocation: [(key(0).author(), 1 << 40)].into(),
            sealing: Sealing::Leader { interval_ms: 1000 },
            limits: Limits::default(),
        });
        Group::open(genesis.unwrap(), Some(key(0).author()), Default::default())
    }

    /// Pays each of these keys in one block.
    fn pay(group: &mut Group, to: impl Iterator<Item = usize>) {
        let payments: Vec<_> = to.map(|to| Transfer { to: key(to).author(), amount: 1 }.into()).collect();
        for payments in payments.chunks(crate::transaction::MAX_TRANSACTIONS) {
            group.write(payments, &key(0), 1).unwrap();
        }
        group.seal(1, None).unwrap();
    }

    fn states(group: &mut Group) -> Vec<(StateParts, Vec<(AuthorId, Account)>)> {
        let (chain, _) = group.parts();
        (1..=chain.height().0)
            .map(|height| {
                let state = chain.at(Height(height)).unwrap().state;
                let manifest = chain.manifest_at(Height(height)).unwrap();
                assert!(manifest.check(&state), "height {height}");
                let mut accounts = Vec::new();
                for (number, root) in manifest.0.iter().enumerate() {
                    let piece = chain.piece_at(Height(height), number).unwrap();
                    assert_eq!(piece.root(), *root);
                    let bytes = piece.encode();
                    assert!(bytes.len() <= MAX_PIECE_BYTES);
                    assert_eq!(Piece::decode(&bytes), Ok(piece.clone()));
                    accounts.extend(piece.0);
                }
                assert_eq!(chain.piece_at(Height(height), manifest.0.len()), None);
                (state, accounts)
            })
            .collect()
    }

    #[test]
    fn the_state_of_every_block_that_is_not_settled_comes_in_pieces() {
        let mut group = group();
        pay(&mut group, 1..10);
        let early: Vec<_> = group.chain().accounts().iter().copied().collect();
        for count in [PIECE - 10, 1, PIECE, 300, 1] {
            let known = group.chain().accounts().len();
            pay(&mut group, known..known + count);
        }
        pay(&mut group, [3, 700].into_iter());
        let before = states(&mut group);
        assert_eq!(before[0].1, early);
        assert_eq!(before.last().unwrap().1.len(), 2 * PIECE + 302);
        // Nothing of this depends on where the chain stands.
        group.undo().unwrap();
        assert_eq!(states(&mut group), before[..before.len() - 1]);
        group.settle(Height(3));
        let (chain, _) = group.parts();
        assert!(chain.manifest_at(Height(2)).is_none() && chain.piece_at(Height(2), 0).is_none());
        assert!(chain.manifest_at(Height(3)).is_some() && chain.manifest_at(Height(7)).is_none());
        assert!(chain.manifest_at(Height(0)).is_none());
    }

    #[test]
    fn a_payment_changes_two_pieces_and_no_other() {
        let mut group = group();
        pay(&mut group, 1..4 * PIECE);
        pay(&mut group, [2 * PIECE].into_iter());
        let (chain, _) = group.parts();
        let [one, other] = [1, 2].map(|height| chain.manifest_at(Height(height)).unwrap().0);
        let changed: Vec<usize> = (0..4).filter(|piece| one[*piece] != other[*piece]).collect();
        assert_eq!(changed, [0, 2]);
    }

    #[test]
    fn the_golden_piece_keeps_its_bytes() {
        let mut group = group();
        pay(&mut group, 1..3);
        let (chain, _) = group.parts();
        let piece = chain.piece_at(Height(1), 0).unwrap();
        let lines = [piece.encode(), piece.root().to_vec()].map(|bytes| hex::encode(bytes) + "\n").concat();
        assert_eq!(lines, include_str!("../tests/golden/piece.hex"));
    }

    #[test]
    fn other_numbers_of_pieces_are_refused() {
        let mut group = group();
        pay(&mut group, 1..PIECE + 1);
        let (chain, _) = group.parts();
        let (state, manifest) = (chain.at(Height(1)).unwrap().state, chain.manifest_at(Height(1)).unwrap());
        assert!(manifest.check(&state));
        let with = |change: fn(&mut Vec<Hash>)| {
            let mut other = manifest.clone();
            change(&mut other.0);
            other.check(&state)
        };
        assert!(!with(|pieces| pieces.truncate(1)) && !with(|pieces| pieces.push([1; 32])));
        assert!(!with(|pieces| pieces.swap(0, 1)) && !with(|pieces| pieces[1][0] ^= 1));
        // A subtree's root does not pass for two pieces, nor the root for one.
        let root = state.accounts_root;
        assert!(!Manifest(vec![root]).check(&state));
        assert!(!Manifest(vec![root]).check(&StateParts { accounts: u64::MAX, ..state }));
    }

    proptest! {
        #[test]
        fn no_other_bytes_are_a_piece(at in any::<prop::sample::Index>(), bit in 0u8..8, cut: bool) {
            let accounts = (0..20).map(|n| (key(n).author(), Account { balance: 300 * n as u64, ..Account::default() }));
            let piece = Piece(accounts.collect());
            let mut bytes = piece.encode();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            if let Ok(other) = Piece::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
                prop_assert_ne!(other.root(), piece.root());
            }
        }
    }
}
