//! Texts: positions in other units than characters, and edits that are found by comparison.

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::{BaseCrdt, CrdtNode, TextCrdt, TransactError};
use proptest::prelude::*;

#[derive(CrdtNode)]
struct Page {
    body: TextCrdt,
}

fn page(seed: u8) -> BaseCrdt<Page> {
    BaseCrdt::new(DocumentId([7; 32]), Keypair::from_seed(&[seed; 32]))
}

/// Compares every answer in other units with what the standard library says of the text.
fn check_units(body: &TextCrdt, text: &str) {
    let chars: Vec<char> = text.chars().collect();
    assert_eq!(body.get(), text);
    assert_eq!((body.len(), body.len_utf8()), (chars.len(), text.len()));
    assert_eq!(body.len_utf16(), text.encode_utf16().count());
    let (mut byte, mut unit) = (0, 0);
    for (index, character) in chars.iter().enumerate() {
        assert_eq!((body.utf8_index(index), body.utf16_index(index)), (byte, unit));
        for inside in byte..byte + character.len_utf8() {
            assert_eq!(body.index_of_utf8(inside), index);
        }
        for inside in unit..unit + character.len_utf16() {
            assert_eq!(body.index_of_utf16(inside), index);
        }
        byte += character.len_utf8();
        unit += character.len_utf16();
    }
    for beyond in [0, 1, 1_000] {
        assert_eq!((body.utf8_index(chars.len() + beyond), body.utf16_index(chars.len() + beyond)), (byte, unit));
        assert_eq!(body.index_of_utf8(byte + beyond), chars.len());
        assert_eq!(body.index_of_utf16(unit + beyond), chars.len());
    }
    assert_eq!(body.slice(1, 3), chars.iter().skip(1).take(3).collect::<String>());
}

#[test]
fn an_empty_text_has_no_units() {
    page(1).read(|p| check_units(&p.body, ""));
    check_units(&TextCrdt::default(), "");
}

#[test]
fn setting_a_text_writes_only_what_differs() {
    for (old, new, units) in [
        ("", "", 0),
        ("same", "same", 0),
        ("", "new", 3),
        ("old", "", 3),
        ("hello world", "hello brave world", 6),
        ("hello brave world", "hello world", 6),
        ("aaaa", "aaa", 1),
        ("abab", "ababab", 2),
        // Characters that share their first or last bytes are other characters.
        ("é", "è", 2),
        ("é", "©", 2),
        ("x😀y", "x😁y", 2),
        ("日本", "日木", 2),
        ("e\u{301}", "e", 1),
    ] {
        let mut page = page(1);
        page.transact(0, |p| p.body.push(&format!("{}{old}{}", "«".repeat(100), "»".repeat(100)))).unwrap();
        let (before, new) = (page.view(), format!("{}{new}{}", "«".repeat(100), "»".repeat(100)));
        let mut gather = page.gather(Default::default());
        let _ = gather.edit(0, |p| p.body.set(&new)).unwrap();
        assert_eq!(gather.gathered_units(), units, "{old:?} to {new:?}");
        assert_eq!(gather.view() == before, units == 0);
        gather.read(|p| check_units(&p.body, &new));
    }
}

#[test]
fn setting_a_text_keeps_what_others_write_elsewhere() {
    let (mut ann, mut bob) = (page(1), page(2));
    bob.apply(ann.transact(0, |p| p.body.push("one two three")).unwrap()).unwrap();
    let from_ann = ann.transact(0, |p| p.body.set("one 2 three")).unwrap();
    let from_bob = bob.transact(0, |p| p.body.set("one two three four")).unwrap();
    ann.apply(from_bob).unwrap();
    bob.apply(from_ann).unwrap();
    assert_eq!(ann.read(|p| p.body.get()), "one 2 three four");
    assert_eq!(ann.digest(), bob.digest());
}

/// Characters of every width, of which some share bytes.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![4 => prop::char::range('a', 'd'), 2 => prop::char::range('à', 'é'), 1 => prop::char::range('ⁿ', '₃'), 2 => prop::char::range('😀', '😃')]
}

fn string(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(character(), len).prop_map(String::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn positions_convert_like_those_of_strings(
        edits in prop::collection::vec((any::<usize>(), any::<usize>(), string(0..90)), 1..6),
    ) {
        let mut page = page(1);
        let mut draft = TextCrdt::default();
        let mut text: Vec<char> = Vec::new();
        for (at, len, new) in edits {
            let at = at % (text.len() + 1);
            let len = (len % 40).min(text.len() - at);
            text.splice(at..at + len, new.chars());
            match page.transact(0, |p| { p.body.delete(at, len); p.body.insert(at, &new); }) {
                Ok(_) | Err(TransactError::Nothing) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
            draft.delete(at, len);
            draft.insert(at, &new);
        }
        let text: String = text.iter().collect();
        page.read(|p| check_units(&p.body, &text));
        check_units(&draft, &text);
    }

    #[test]
    fn setting_a_text_makes_it_equal_with_one_edit(
        start in string(0..150), end in string(0..150), old in string(0..6), new in string(0..6), other in string(0..20),
    ) {
        let whole = |middle: &str| format!("{start}{middle}{end}");
        let mut page = page(1).gather(Default::default());
        let _ = page.edit(0, |p| p.body.set(&whole(&old))).unwrap();
        let _ = page.flush();
        let _ = page.edit(0, |p| p.body.set(&whole(&new))).unwrap();
        page.read(|p| check_units(&p.body, &whole(&new)));
        prop_assert!(page.gathered_units() as usize <= old.chars().count() + new.chars().count());
        let _ = page.edit(0, |p| p.body.set(&other)).unwrap();
        page.read(|p| check_units(&p.body, &other));
    }
}
