//! What references of one segment named last (docs/format.md, section 4.3): editing goes on where it was, so most references name a change that was named just
//! before, and an offset next to the one that was named there.

/// How many changes are remembered. More find little more, and each costs time.
pub(super) const RECENT: usize = 16;

/// A change's number in the file and the offset in it that is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) change: u32,
    pub(super) offset: i64,
}

/// The changes that were named last, the latest first, each once.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    spots: [Spot; RECENT],
    len: usize,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { spots: [Spot { change: u32::MAX, offset: 0 }; RECENT], len: 0 }
    }

    /// Where in the list a change stands.
    pub(super) fn position(&self, change: u32) -> Option<usize> {
        self.spots[..self.len].iter().position(|spot| spot.change == change)
    }

    pub(super) fn get(&self, position: usize) -> Option<Spot> {
        self.spots[..self.len].get(position).copied()
    }

    /// Moves the spot at `position` (or a new one) to the front and sets what is expected there.
    pub(super) fn bring(&mut self, position: Option<usize>, spot: Spot) {
        let end = match position {
            // Most often: no need to move anything.
            Some(0) => {
                self.spots[0] = spot;
                return;
            }
            Some(position) => position,
            None => {
                self.len = (self.len + 1).min(RECENT);
                self.len - 1
            }
        };
        self.spots.copy_within(..end, 1);
        self.spots[0] = spot;
    }

    /// A run that made places in `change`, the last one at `offset`.
    pub(super) fn made(&mut self, change: u32, offset: i64) {
        let spot = Spot { change, offset };
        if self.spots[0].change == change {
            self.spots[0] = spot;
        } else {
            self.bring(self.position(change), spot);
        }
    }

    /// A run that deleted from the reference that was named last on.
    pub(super) fn deleted(&mut self, len: i64) {
        self.spots[0].offset += len;
    }
}
