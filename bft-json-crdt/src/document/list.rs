//! What is kept of one list: its places, what its elements hold, and where those stand that were moved.
//!
//! An element is named by the place that its insert made, where it was *born*. It stands there until a move that is greater in the one
//! order gives it another place. An element lives exactly while the place where it stands is visible.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ContainerIdx;
use super::sequence::pages::Pages;
use super::sequence::{PlaceIdx, Sequence};
use crate::value::Value;

/// In [`Cells::Containers`]: the place of a move.
const NONE: u32 = u32::MAX;

#[derive(Clone)]
pub(super) struct ListBody {
    pub(super) sequence: Sequence,
    cells: Cells,
    /// Most lists have none.
    moves: Option<Box<Moves>>,
}

/// What the element that was born at each place holds.
#[derive(Debug, Clone)]
enum Cells {
    /// Containers only, which need four bytes each.
    Containers(Pages<u32>),
    Mixed(Pages<Cell>),
}

#[derive(Debug, Clone)]
enum Cell {
    Value(Value),
    /// Of a deleted element whose value nothing can show again, or a move's.
    Gone,
    /// Kept when the element is deleted: operations still name what is in it.
    Container(ContainerIdx),
}

impl Default for Cells {
    fn default() -> Self {
        Self::Containers(Pages::default())
    }
}

#[derive(Debug, Clone, Default)]
struct Moves {
    /// Where elements stand that do not stand where they were born.
    place_of: BTreeMap<u32, u32>,
    /// For each move's place the element's birthplace; ascending.
    born_of: Vec<(u32, u32)>,
}

/// What an element holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held<'a> {
    Value(&'a Value),
    Container(ContainerIdx),
    Gone,
}

impl Default for ListBody {
    fn default() -> Self {
        Self { sequence: Sequence::new(), cells: Cells::default(), moves: None }
    }
}

impl ListBody {
    /// Where the element that has stood at a place was born.
    pub(super) fn born(&self, place: u32) -> u32 {
        let Some(moves) = &self.moves else { return place };
        match moves.born_of.binary_search_by_key(&place, |(made, _)| *made) {
            Ok(at) => moves.born_of[at].1,
            Err(_) => place,
        }
    }

    /// Where an element stands.
    pub(super) fn place(&self, born: u32) -> PlaceIdx {
        let moved = self.moves.as_ref().and_then(|moves| moves.place_of.get(&born));
        PlaceIdx::from_number(moved.copied().unwrap_or(born))
    }

    pub(super) fn has_moves(&self) -> bool {
        self.moves.is_some()
    }

    /// What an element holds.
    pub(super) fn held(&self, born: u32) -> Held<'_> {
        match &self.cells {
            Cells::Containers(containers) => match containers.get(born) {
                Some(&container) if container != NONE => Held::Container(ContainerIdx(container)),
                _ => Held::Gone,
            },
            Cells::Mixed(cells) => match cells.get(born) {
                Some(Cell::Value(value)) => Held::Value(value),
                Some(Cell::Container(container)) => Held::Container(*container),
                Some(Cell::Gone) | None => Held::Gone,
            },
        }
    }

    /// The element that is born at the next place holds a container.
    pub(super) fn push_container(&mut self, container: ContainerIdx) {
        match &mut self.cells {
            Cells::Containers(containers) => {
                containers.push(container.0);
            }
            Cells::Mixed(cells) => {
                cells.push(Cell::Container(container));
            }
        }
    }

    /// The elements that are born at the next places hold values. Answers how many.
    pub(super) fn push_values(&mut self, values: impl Iterator<Item = Value>) -> u32 {
        if let Cells::Containers(containers) = &self.cells {
            let mut cells = Pages::default();
            for container in containers.iter() {
                cells.push(if *container == NONE { Cell::Gone } else { Cell::Container(ContainerIdx(*container)) });
            }
            self.cells = Cells::Mixed(cells);
        }
        let mut count = 0;
        if let Cells::Mixed(cells) = &mut self.cells {
            for value in values {
                cells.push(Cell::Value(value));
                count += 1;
            }
        }
        count
    }

    /// The next place is a move's, and the element that was born at `born` stands there if it is the greatest in the one order.
    pub(super) fn push_move(&mut self, made: PlaceIdx, born: u32, stands: bool) {
        match &mut self.cells {
            Cells::Containers(containers) => {
                containers.push(NONE);
            }
            Cells::Mixed(cells) => {
                cells.push(Cell::Gone);
            }
        }
        let moves = self.moves.get_or_insert_default();
        moves.born_of.push((made.index() as u32, born));
        if stands {
            moves.place_of.insert(born, made.index() as u32);
        }
    }

    /// Hides the elements that were born at these places; their values are forgotten. Answers how many lived.
    pub(super) fn kill(&mut self, places: Range<u32>, mut told: Option<&mut Vec<(usize, usize)>>) -> u32 {
        let mut gone = 0;
        let mut from = places.start;
        if let Some(moves) = &self.moves {
            for (born, place) in moves.place_of.range(places.clone()) {
                if from < *born {
                    gone += self.sequence.hide(&(), from..*born, told.as_deref_mut());
                }
                gone += self.sequence.hide(&(), *place..*place + 1, told.as_deref_mut());
                from = *born + 1;
            }
        }
        if from < places.end {
            gone += self.sequence.hide(&(), from..places.end, told);
        }
        if gone > 0
            && let Cells::Mixed(cells) = &mut self.cells
        {
            for born in places {
                if let Cell::Value(_) = cells[born] {
                    cells[born] = Cell::Gone;
                }
            }
        }
        gone
    }

    /// Bytes held on the heap, without those of the values' own strings and arrays.
    pub(super) fn heap_bytes(&self) -> usize {
        let cells = match &self.cells {
            Cells::Containers(containers) => containers.heap_bytes(),
            Cells::Mixed(cells) => cells.heap_bytes(),
        };
        let moves = self.moves.as_ref().map_or(0, |moves| {
            size_of::<Moves>() + (moves.born_of.capacity() + moves.place_of.len()) * size_of::<(u32, u32)>()
        });
        self.sequence.heap_bytes() + cells + moves
    }

    /// # Panics
    /// If something is not as it should be.
    pub(super) fn debug_check(&self) {
        let cells = match &self.cells {
            Cells::Containers(containers) => containers.len(),
            Cells::Mixed(cells) => cells.len(),
        };
        assert_eq!(cells, self.sequence.place_count());
        let Some(moves) = &self.moves else { return };
        assert!(moves.born_of.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (place, born) in &moves.born_of {
            assert!(born < place && self.born(*born) == *born);
            let place = PlaceIdx::from_number(*place);
            assert!(!self.sequence.is_visible(place) || self.place(*born) == place);
        }
        for (born, place) in &moves.place_of {
            assert_eq!(self.born(*place), *born);
            assert!(!self.sequence.is_visible(PlaceIdx::from_number(*born)));
        }
    }

    /// Whether an element lives.
    pub(super) fn lives(&self, born: u32) -> bool {
        self.sequence.is_visible(self.place(born))
    }
}
