//! Typing through `TextCrdt`: whatever the keystrokes, a read sees all of them, and the change carries them.

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::{BaseCrdt, CounterCrdt, CrdtNode, TextCrdt};
use proptest::prelude::*;

#[derive(CrdtNode)]
struct Page {
    body: TextCrdt,
    title: TextCrdt,
    edits: CounterCrdt,
}

#[derive(Debug, Clone)]
enum Key {
    /// Goes on where the last insert ended.
    Type(String),
    /// Deletes before the cursor.
    Backspace(u8),
    /// Deletes behind the cursor.
    Delete(u8),
    /// Puts the cursor somewhere else.
    Go(u16),
    Read,
    Other,
    /// The same in the other text.
    Switch,
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        8 => "[a-zäß😀]{0,3}".prop_map(Key::Type),
        4 => (1u8..3).prop_map(Key::Backspace),
        3 => (1u8..3).prop_map(Key::Delete),
        2 => any::<u16>().prop_map(Key::Go),
        1 => Just(Key::Read),
        1 => Just(Key::Other),
        1 => Just(Key::Switch),
    ]
}

fn base(seed: u8) -> BaseCrdt<Page> {
    BaseCrdt::new(DocumentId([7; 32]), Keypair::from_seed(&[seed; 32]))
}

proptest! {
    #[test]
    fn typing_is_what_was_typed(changes in prop::collection::vec(prop::collection::vec(key(), 1..30), 1..4)) {
        let (mut page, mut peer) = (base(1), base(2));
        let mut model: [Vec<char>; 2] = Default::default();
        let (mut which, mut cursor, mut edits) = (0, 0, 0);
        for keys in &changes {
            let written = page.transact(0, |page| {
                page.edits.add(1);
                edits += 1;
                for key in keys {
                    let text = if which == 0 { &mut page.body } else { &mut page.title };
                    let held = &mut model[which];
                    match key {
                        Key::Type(characters) => {
                            text.insert(cursor, characters);
                            let count = characters.chars().count();
                            held.splice(cursor..cursor, characters.chars());
                            cursor += count;
                        }
                        Key::Backspace(len) => {
                            let from = cursor.saturating_sub(usize::from(*len));
                            text.delete(from, cursor - from);
                            held.drain(from..cursor);
                            cursor = from;
                        }
                        Key::Delete(len) => {
                            let len = usize::from(*len).min(held.len() - cursor);
                            text.delete(cursor, len);
                            held.drain(cursor..cursor + len);
                        }
                        Key::Go(to) => cursor = usize::from(*to) % (held.len() + 1),
                        Key::Read => {
                            assert_eq!(text.get(), held.iter().collect::<String>());
                            assert_eq!(text.len(), held.len());
                        }
                        Key::Other => {
                            page.edits.add(1);
                            edits += 1;
                        }
                        Key::Switch => {
                            which = 1 - which;
                            cursor = model[which].len();
                        }
                    }
                }
            });
            peer.apply(written.unwrap()).unwrap();
        }
        for page in [&page, &peer] {
            let (body, title, counted) = page.read(|page| (page.body.get(), page.title.get(), page.edits.get()));
            prop_assert_eq!([body, title], model.clone().map(|held| held.into_iter().collect::<String>()));
            prop_assert_eq!(counted, edits);
        }
        prop_assert_eq!(page.digest(), peer.digest());
    }
}

#[test]
fn a_delete_beyond_the_end_fails_however_it_was_reached() {
    let mut page = base(1);
    page.transact(0, |page| page.body.insert(0, "abcd")).unwrap();
    for deletes in [&[(3, 2)][..], &[(1, 1), (1, 1), (1, 2)], &[(3, 1), (2, 1), (2, 1)], &[(0, usize::MAX)]] {
        let failed = page.transact(0, |page| deletes.iter().for_each(|(at, len)| page.body.delete(*at, *len)));
        assert!(failed.is_err(), "{deletes:?}");
        assert_eq!(page.read(|page| page.body.get()), "abcd");
    }
    let failed = page.transact(0, |page| {
        page.body.insert(4, "e");
        page.body.insert(6, "f");
    });
    assert!(failed.is_err());
}

#[test]
fn a_change_that_typing_fills_fails_as_a_whole() {
    let mut page = base(1);
    let failed = page.transact(0, |page| {
        for at in 0..300_000 {
            page.body.insert(at, "x");
        }
    });
    assert!(failed.is_err());
    assert_eq!(page.read(|page| page.body.get()), "");
}
