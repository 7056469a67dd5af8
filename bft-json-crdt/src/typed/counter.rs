//! A sum to which everybody adds.

use std::fmt;

use super::error::SchemaError;
use super::node::{CrdtContainer, CrdtNode, State};
use super::place::Place;
use crate::ops::Kind;

/// A counter: steps of all members add up, none is lost. Exact: the sum has 128 bits and never saturates.
///
/// ```
/// # use bft_json_crdt::{BaseCrdt, CounterCrdt, MapCrdt, CrdtNode, change::DocumentId, identity::Keypair};
/// #[derive(CrdtNode)]
/// struct Shop { stock: MapCrdt<CounterCrdt> }
///
/// let mut shop = BaseCrdt::<Shop>::new(DocumentId([1; 32]), Keypair::from_seed(&[1; 32]));
/// shop.transact(0, |s| { s.stock.entry("apple").add(5); s.stock.entry("apple").add(-2); })?;
/// assert_eq!(shop.view(), serde_json::json!({ "stock": { "apple": 3 } }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct CounterCrdt {
    state: State<i128>,
}

impl CounterCrdt {
    /// The sum; 0 if nobody added anything.
    pub fn get(&self) -> i128 {
        match &self.state {
            State::Draft(sum) => *sum,
            State::At(place) => place.read(|document, container| document.counter(container)).unwrap_or(0),
        }
    }

    /// Adds a step, which may be negative.
    pub fn add(&mut self, step: i64) {
        match &mut self.state {
            // A draft would need 2⁶⁴ steps to overflow.
            State::Draft(sum) => *sum += i128::from(step),
            State::At(place) => {
                place.write(|tx, container| tx.add(container, step));
            }
        }
    }

    /// Deletes the steps that are seen: the counter goes back to 0, except for what others add at the same time.
    pub fn clear(&mut self) {
        match &mut self.state {
            State::Draft(sum) => *sum = 0,
            State::At(place) => place.clear(),
        }
    }
}

impl CrdtNode for CounterCrdt {
    const KIND: Kind = Kind::Counter;

    fn load(place: &Place) -> Result<Self, SchemaError> {
        Ok(Self::attach(place))
    }

    fn settle(&mut self, place: &Place) {
        self.state.settle(place, |mut sum, place| {
            if sum == 0 {
                place.ensure();
            }
            while sum != 0 && place.session().is_writing() {
                let step = sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
                if place.write(|tx, container| tx.add(container, step)).is_none() {
                    break;
                }
                sum -= i128::from(step);
            }
        });
    }
}

impl CrdtContainer for CounterCrdt {
    fn attach(place: &Place) -> Self {
        Self { state: State::At(place.clone()) }
    }

    fn draft() -> Self {
        Self::default()
    }
}

/// A draft that starts at a sum.
impl From<i64> for CounterCrdt {
    fn from(sum: i64) -> Self {
        Self { state: State::Draft(sum.into()) }
    }
}

impl fmt::Debug for CounterCrdt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CounterCrdt").field(&self.get()).finish()
    }
}
