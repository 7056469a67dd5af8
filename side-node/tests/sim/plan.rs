//! What happens in one play, all of it from its seed.

use crate::rng::Rng;

/// What the liar among the members does. In every play but the honest ones one member lies, and is the first to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Evil {
    /// Nobody lies.
    Nobody,
    /// It runs two machines under one key, each linked to half of the others: it forks its chain of changes, seals ranks twice, and votes twice and differently.
    TwoFaces,
    /// It shows its blocks to one other member only, and its changes to some.
    Withholds,
    /// It never seals.
    Stalls,
    /// It seals blocks whose state roots are wrong, for some or for all.
    WrongRoots,
    /// It sends broken messages, words and blocks of epochs that nobody voted for, and repeats what it has heard.
    Floods,
}

pub(crate) const EVILS: [Evil; 6] =
    [Evil::Nobody, Evil::TwoFaces, Evil::Withholds, Evil::Stalls, Evil::WrongRoots, Evil::Floods];

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) members: usize,
    pub(crate) evil: Evil,
    /// Until when things fail.
    pub(crate) trouble_ms: u64,
    /// Until when people write.
    pub(crate) writing_ms: u64,
    /// The longest way of a message.
    pub(crate) delay_ms: u64,
    /// Between crashes, of all machines together.
    pub(crate) crash_every_ms: u64,
    /// Between cuts of single links.
    pub(crate) cut_every_ms: u64,
    /// Between partitions.
    pub(crate) part_every_ms: u64,
    /// Whether sealers agree on each block; otherwise one seals.
    pub(crate) bft: bool,
    /// Whether disks are set back to an older state.
    pub(crate) restores: bool,
    /// Whether members have their keys replaced.
    pub(crate) rotates: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(seed, EVILS[(seed % EVILS.len() as u64) as usize])
    }

    /// Sealers that agree on each block; in every other play one of them says nothing.
    pub(crate) fn bft(seed: u64) -> Self {
        let evil = if seed.is_multiple_of(2) { Evil::Nobody } else { Evil::Stalls };
        Self { bft: true, restores: false, ..Self::of(seed, evil) }
    }

    /// Sealers that agree on each block, of whom one at a time is set back to an older disk. It takes no part until a further epoch begins: people begin some, and the
    /// nodes one by themselves.
    pub(crate) fn bft_set_back(seed: u64) -> Self {
        Self { bft: true, restores: true, crash_every_ms: 400, ..Self::of(seed, Evil::Nobody) }
    }

    /// Sealers that agree on each block, of whom one runs two machines under one key: it proposes two blocks in a view and votes for both.
    pub(crate) fn bft_two_faces(seed: u64) -> Self {
        Self { bft: true, restores: false, ..Self::of(seed, Evil::TwoFaces) }
    }

    /// Members whose keys are replaced, in groups of two and more; in every other play one of four and more lies.
    pub(crate) fn rotating(seed: u64) -> Self {
        let evil = [Evil::Nobody, Evil::TwoFaces, Evil::Nobody, Evil::Stalls][(seed % 4) as usize];
        let plan = Self { rotates: true, ..Self::of(seed, evil) };
        let members = if evil == Evil::Nobody { 2 + (seed / 2 % 4) as usize } else { plan.members };
        Self { members, ..plan }
    }

    /// The same among sealers that agree on each block.
    pub(crate) fn bft_rotating(seed: u64) -> Self {
        Self { bft: true, restores: false, rotates: true, ..Self::of(seed, Evil::Nobody) }
    }

    pub(crate) fn of(seed: u64, evil: Evil) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            seed,
            members: rng.between(4, 7) as usize,
            evil,
            trouble_ms: 6_000,
            writing_ms: 6_500,
            delay_ms: rng.between(5, 120),
            crash_every_ms: rng.between(300, 1_500),
            cut_every_ms: rng.between(100, 800),
            part_every_ms: rng.between(1_000, 3_000),
            bft: false,
            restores: !seed.is_multiple_of(3),
            rotates: false,
        }
    }
}
