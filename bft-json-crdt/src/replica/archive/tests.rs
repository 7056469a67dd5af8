//! Any canonical operations, whatever they mean, come back from columns byte for byte.

use proptest::prelude::*;

use super::columns::{COLUMNS, Column, Readers};
use super::regenerate::{Own, Regenerator, Scratch};
use super::segment::{Packer, Unpacker};
use super::transpose::Transposer;
use crate::causality::{Causality as _, ChangeIdx};
use crate::change::{ChangeId, DocumentId, MAX_OPS_BYTES, VERSION};
use crate::dag::{Content, Dag};
use crate::encoding::Reader;
use crate::identity::{Keypair, Signature};
use crate::ops::{Anchor, ContainerNo, Direction, Element, Kind, Ops, OpsBuilder, Parent, Ref, Source, Unit};
use crate::value::Value;

const DOCUMENT: DocumentId = DocumentId([3; 32]);

/// One unit or run as raw numbers, fitted to what exists when it is added.
type Raw = (u8, u8, u16, u16, u8);

/// Makes operations of raw numbers. `steps` is how far back the own chain goes, `others` are changes of others.
fn operations(raw: &[Raw], steps: u64, others: &[ChangeId]) -> Ops {
    let mut builder = OpsBuilder::new();
    for (op, which, target, offset, more) in raw.iter().copied() {
        let reference = |builder: &mut OpsBuilder, target: u16| {
            let offset = u32::from(offset);
            match target % 4 {
                0 if builder.units() > 0 => Ref { source: Source::Own, offset: offset % builder.units() },
                1 | 2 if !others.is_empty() => {
                    let id = others[usize::from(target >> 2) % others.len()];
                    Ref { source: builder.foreign(id).unwrap(), offset: offset % 40 }
                }
                _ if steps > 0 => {
                    Ref { source: Source::Back(1 + u64::from(target >> 2) % steps), offset: offset % 300 }
                }
                _ => Ref { source: builder.foreign(ChangeId([0xee; 32])).unwrap(), offset },
            }
        };
        let parent = match which % 5 {
            0 => Parent::Element(reference(&mut builder, target)),
            1 => {
                let map = builder.container(Parent::Key(ContainerNo::ROOT, "map".into()), Kind::Map).unwrap();
                Parent::Key(map, ["", "k", "ключ"][usize::from(which >> 4) % 3].into())
            }
            _ => Parent::Key(ContainerNo::ROOT, ["text", "a", "list"][usize::from(which >> 4) % 3].into()),
        };
        let anchor = match more % 4 {
            0 => Anchor::Start,
            1 => Anchor::Left(reference(&mut builder, target ^ 5)),
            2 if builder.units() > 0 => Anchor::Right(Ref { source: Source::Own, offset: builder.units() - 1 }),
            _ => Anchor::Right(reference(&mut builder, target)),
        };
        let container = |builder: &mut OpsBuilder, kind| builder.container(parent.clone(), kind).unwrap();
        let value = match more % 3 {
            0 => Value::Int(i128::from(offset) - 700),
            1 => Value::String("wörter".repeat(usize::from(more % 7))),
            _ => Value::Array(vec![Value::Null, Value::Object([("x".to_owned(), Value::Float(0.5))].into())]),
        };
        let unit = match op % 10 {
            0 => Unit::Ensure(container(&mut builder, Kind::ALL[usize::from(more) % 6])),
            1 => Unit::Clear(container(&mut builder, Kind::ALL[usize::from(more) % 6])),
            2 => Unit::Set(container(&mut builder, Kind::Register), value),
            3 => Unit::Add(container(&mut builder, Kind::Counter), i64::from(offset) - 30_000),
            4 => {
                let element = match more % 3 {
                    0 => Element::Container(Kind::ALL[usize::from(which) % 6]),
                    _ => Element::Value(value),
                };
                Unit::Insert { list: container(&mut builder, Kind::List), anchor, element }
            }
            5 => Unit::Move { element: reference(&mut builder, target), anchor },
            6 | 7 => {
                let target = reference(&mut builder, target);
                let direction = if more % 2 == 0 { Direction::Forward } else { Direction::Backward };
                let len = if more % 2 == 0 { u32::from(more) } else { u32::from(more).min(target.offset + 1) };
                if target.source != Source::Own {
                    builder.delete(target, len.max(1), direction).unwrap();
                    continue;
                }
                Unit::Delete { target }
            }
            _ => {
                let text = container(&mut builder, Kind::Text);
                let characters = ["a", "plain words", "ß", "日本語", "\u{1f600}x"][usize::from(which) % 5];
                builder.text(text, anchor, characters).unwrap();
                continue;
            }
        };
        builder.push(unit).unwrap();
    }
    builder.finish()
}

/// A graph of three authors, one with a forked chain, whose changes carry these operations.
fn graph(all: &[Vec<Raw>]) -> Dag {
    let authors: Vec<_> = (0..3u8).map(|n| Keypair::from_seed(&[n; 32]).author()).collect();
    let mut dag = Dag::new();
    // A change that is in everybody's past.
    let stranger = Keypair::from_seed(&[9; 32]).author();
    dag.stage(stranger, ChangeId([0xee; 32]), None, []);
    let empty = Ops::default().encode().unwrap();
    dag.commit_parts(DOCUMENT, ChangeId([0xee; 32]), 0, Content::Whole(&empty), &Signature([0; 64]));
    for (n, raw) in all.iter().enumerate() {
        let author = authors[n % 3];
        let mut tips: Vec<_> = dag.leaves(&author).map(|leaf| leaf.index).collect();
        // The third author goes back and forth between two branches.
        let previous = if n % 3 == 2 && n % 2 == 0 && tips.len() < 2 && n > 6 {
            tips.pop().and_then(|tip| dag.previous(tip))
        } else {
            tips.get(n % tips.len().max(1)).copied()
        };
        let mut id = [n as u8; 32];
        id[0] = id[0].wrapping_mul(77);
        let index = dag.stage(author, ChangeId(id), previous, []);
        let own = |number: &u32| dag.chain_contains(index, ChangeIdx(*number));
        let others: Vec<ChangeId> =
            (0..index.0).filter(|number| !own(number)).map(|number| dag.id(ChangeIdx(number))).collect();
        let ops = operations(raw, dag.seq(index) - 1, &others).encode().unwrap();
        dag.commit_parts(DOCUMENT, ChangeId(id), 0, Content::Whole(&ops), &Signature([0; 64]));
    }
    dag
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_operations_come_back_byte_for_byte(
        all in prop::collection::vec(prop::collection::vec(any::<Raw>(), 0..25), 1..25),
        plainly in any::<bool>(),
    ) {
        let dag = graph(&all);
        let mut transposer = Transposer::new();
        for number in 0..dag.len() as u32 {
            transposer.ops(&dag, ChangeIdx(number), dag.record(ChangeIdx(number)).ops().unwrap());
        }
        let mut packed = Vec::new();
        Packer::new().put(&mut packed, transposer.columns.all(), plainly);
        let (mut unpacker, mut scratch) = (Unpacker::default(), Scratch::default());
        let mut reader = Reader::new(&packed);
        let columns = unpacker.read(&mut reader).unwrap();
        prop_assert!(reader.is_empty());
        let mut regenerator = Regenerator::new(Readers::new(columns), &mut scratch).unwrap();
        for number in 0..dag.len() as u32 {
            let index = ChangeIdx(number);
            let own = Own { number, seq: dag.seq(index), previous: dag.previous(index) };
            regenerator.ops(&dag, own).unwrap();
            let (bytes, ops) = regenerator.made();
            prop_assert_eq!(bytes, dag.record(index).ops().unwrap());
            prop_assert_eq!(&*ops, &Ops::decode(VERSION, bytes).unwrap());
        }
        prop_assert!(regenerator.finish().is_ok());
    }

    /// Columns that anybody wrote: something comes out or a fault, and the operations keep to their limit.
    #[test]
    fn columns_of_any_bytes_do_no_harm(
        columns in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), COLUMNS),
        small in any::<bool>(),
    ) {
        let dag = graph(&vec![vec![(8, 2, 0, 0, 0)]; 6]);
        let columns: Vec<Vec<u8>> =
            columns.into_iter().map(|column| column.into_iter().map(|byte| if small { byte % 9 } else { byte }).collect()).collect();
        let mut scratch = Scratch::default();
        let readers = Readers::new(std::array::from_fn(|n| columns[n].as_slice()));
        let Ok(mut regenerator) = Regenerator::new(readers, &mut scratch) else { return Ok(()) };
        for _ in 0..10 {
            let own = Own { number: dag.len() as u32, seq: 3, previous: Some(ChangeIdx(4)) };
            if regenerator.ops(&dag, own).is_err() {
                break;
            }
            let (bytes, ops) = regenerator.made();
            prop_assert!(bytes.len() <= MAX_OPS_BYTES);
            // Whatever is not refused is what its bytes say.
            prop_assert_eq!(Ok(ops.clone()), Ops::decode(VERSION, bytes));
            let _ = regenerator.columns.varint(Column::Times);
        }
    }
}
