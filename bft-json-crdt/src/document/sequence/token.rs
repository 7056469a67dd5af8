//! A token: a run of places with the brackets around it.

/// The topmost bit of a field carries a flag.
const FLAG: u32 = 1 << 31;

/// Places with successive numbers that stand side by side in the order, each further one the first right child of the one before and
/// without left children; and the brackets right before and right behind them (see [`super`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    start: u32,
    /// Number of places, and whether they are visible.
    len: u32,
    /// Opening brackets right before, and whether the first place has left children. Not both: its own opening bracket stands before these.
    begins: u32,
    /// Closing brackets right behind, and whether the last place has right children. Not both: what closes behind a place closes it too.
    ends: u32,
}

impl Token {
    /// A slot without a token.
    pub(super) const EMPTY: Self = Self { start: 0, len: 0, begins: 0, ends: 0 };

    /// A chain of new places: all but the last have a right child, and end behind it.
    pub(super) fn chain(start: u32, len: u32, visible: bool) -> Self {
        Self { start, len: len | if visible { FLAG } else { 0 }, begins: 0, ends: len - 1 }
    }

    pub(super) fn start(self) -> u32 {
        self.start
    }

    pub(super) fn len(self) -> u32 {
        self.len & !FLAG
    }

    /// The number behind the last place's.
    pub(super) fn end(self) -> u32 {
        self.start + self.len()
    }

    pub(super) fn contains(self, place: u32) -> bool {
        place.wrapping_sub(self.start) < self.len()
    }

    pub(super) fn visible(self) -> bool {
        self.len & FLAG != 0
    }

    /// Number of visible places.
    pub(super) fn shown(self) -> u32 {
        // All ones if visible: without a branch, since sums over a leaf's tokens are what most operations wait for.
        self.len() & ((self.len as i32) >> 31) as u32
    }

    pub(super) fn begins(self) -> u32 {
        self.begins & !FLAG
    }

    /// Whether the first place has left children.
    pub(super) fn begun(self) -> bool {
        self.begins & FLAG != 0
    }

    pub(super) fn ends(self) -> u32 {
        self.ends & !FLAG
    }

    /// Whether the last place has right children.
    pub(super) fn open(self) -> bool {
        self.ends & FLAG != 0
    }

    /// Brackets that it opens and does not close before its own closing brackets.
    pub(super) fn opens(self) -> i32 {
        (self.begins() + self.len() - 1 + (self.ends >> 31)) as i32
    }

    /// By how much the brackets are deeper behind it than before it.
    pub(super) fn net(self) -> i32 {
        self.opens() - self.ends() as i32
    }

    pub(super) fn set_visible(&mut self, visible: bool) {
        self.len = self.len() | if visible { FLAG } else { 0 };
    }

    /// Sets the brackets before; the first place has no left children.
    pub(super) fn set_begins(&mut self, begins: u32) {
        self.begins = begins;
    }

    /// The first place has left children now; answers the brackets that stood before.
    pub(super) fn begin(&mut self) -> u32 {
        std::mem::replace(&mut self.begins, FLAG) & !FLAG
    }

    /// Sets the brackets behind; the last place has no right children.
    pub(super) fn set_ends(&mut self, ends: u32) {
        self.ends = ends;
    }

    /// The last place has right children now; answers the brackets that stood behind.
    pub(super) fn open_up(&mut self) -> u32 {
        std::mem::replace(&mut self.ends, FLAG) & !FLAG
    }

    /// Adds places at the end of a chain whose last place has no right children.
    pub(super) fn extend(&mut self, len: u32) {
        self.len += len;
        self.ends += len;
    }

    /// Cuts off the places from `place` on, which is not the first.
    pub(super) fn split_off(&mut self, place: u32) -> Self {
        debug_assert!(self.start < place && place < self.end());
        let kept = place - self.start;
        let upper = Self { start: place, len: self.len - kept, begins: 0, ends: self.ends };
        self.len = self.len & FLAG | kept;
        self.ends = FLAG;
        upper
    }

    /// Whether this one and the next are one run but for what is visible.
    pub(super) fn continues_in(self, next: Self) -> bool {
        self.ends == FLAG && next.begins == 0 && self.end() == next.start
    }

    /// Takes in the next one, in which it continues.
    pub(super) fn join(&mut self, next: Self) {
        debug_assert!(self.continues_in(next));
        self.len += next.len();
        self.ends = next.ends;
    }

    /// Hands its first or last places over to a neighbour that continues it.
    pub(super) fn shift(lower: &mut Self, upper: &mut Self, boundary: u32) {
        debug_assert!(lower.continues_in(*upper));
        let end = upper.end();
        lower.len = lower.len & FLAG | (boundary - lower.start);
        upper.start = boundary;
        upper.len = upper.len & FLAG | (end - boundary);
    }
}
