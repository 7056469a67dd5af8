//! What docs/adr/0006 promises: passages that authors write at once, wherever, in whatever direction and with edits inside, stand together after the merge.

use bft_json_crdt::change::{Change, DocumentId};
use bft_json_crdt::document::ContainerIdx;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::Kind;
use bft_json_crdt::replica::{Limits, Replica, Verdict};
use proptest::prelude::*;

/// One keystroke inside one's own passage: before which of its characters, from 0 to its length.
#[derive(Debug, Clone)]
struct Passage {
    /// The gap of the base text.
    gap: usize,
    /// Where each character goes; 0 again and again types backward, the largest number forward.
    keys: Vec<u16>,
    /// Characters that are deleted again, by index.
    deleted: Vec<u16>,
    /// Whether it is written as a change a keystroke.
    one_by_one: bool,
}

const BASE: usize = 5;

fn passage() -> impl Strategy<Value = Passage> {
    let keys = prop_oneof![
        prop::collection::vec(Just(u16::MAX), 1..8),
        prop::collection::vec(Just(0), 1..8),
        prop::collection::vec(any::<u16>(), 1..8),
    ];
    // Few gaps, so that authors meet.
    (0..=BASE, keys, prop::collection::vec(any::<u16>(), 0..2), any::<bool>())
        .prop_map(|(gap, keys, deleted, one_by_one)| Passage { gap, keys, deleted, one_by_one })
}

fn replica() -> Replica {
    Replica::new(DocumentId([7; 32]), Limits::default())
}

fn take(replica: &mut Replica, changes: &[Change]) {
    for change in changes {
        let outcome = replica.apply(change.clone().into());
        assert_eq!(outcome.verdicts[0].1, Verdict::Applied);
    }
}

/// Writes keystrokes, all at once or one a change.
fn write(replica: &mut Replica, key: &Keypair, passage: &Passage, letters: &[char]) -> (Vec<Change>, String) {
    let mut local: Vec<char> = Vec::new();
    let mut edits: Vec<(usize, Option<char>)> = Vec::new();
    for (key, letter) in passage.keys.iter().zip(letters) {
        let at = usize::from(*key) * (local.len() + 1) / (usize::from(u16::MAX) + 1);
        local.insert(at, *letter);
        edits.push((at, Some(*letter)));
    }
    for index in &passage.deleted {
        if local.len() > 1 {
            let at = usize::from(*index) % local.len();
            local.remove(at);
            edits.push((at, None));
        }
    }
    let pieces: Vec<&[(usize, Option<char>)]> =
        if passage.one_by_one { edits.chunks(1).collect() } else { vec![&edits] };
    let changes = pieces.into_iter().map(|piece| {
        let written = replica.transact(key, 0, |tx| {
            let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
            for (at, letter) in piece {
                match letter {
                    Some(letter) => tx.text_insert(text, passage.gap + at, &letter.to_string()).unwrap(),
                    None => tx.text_delete(text, passage.gap + at, 1).unwrap(),
                }
            }
        });
        written.unwrap().0
    });
    (changes.collect(), local.into_iter().collect())
}

proptest! {
    #[test]
    fn concurrent_passages_stand_together(passages in prop::collection::vec(passage(), 2..5)) {
        let founder = Keypair::from_seed(&[100; 32]);
        let mut base = replica();
        let first = base
            .transact(&founder, 0, |tx| {
                let text = tx.child(ContainerIdx::ROOT, "text", Kind::Text).unwrap();
                tx.text_insert(text, 0, "01234").unwrap();
            })
            .unwrap()
            .0;
        let mut merged = replica();
        take(&mut merged, std::slice::from_ref(&first));
        let mut expected = Vec::new();
        for (n, passage) in passages.iter().enumerate() {
            let mut own = replica();
            take(&mut own, std::slice::from_ref(&first));
            // Each author has letters of its own.
            let letters: Vec<char> = (0..8u8).map(|i| char::from(b'A' + 8 * n as u8 + i)).collect();
            let (changes, local) = write(&mut own, &Keypair::from_seed(&[n as u8; 32]), passage, &letters);
            take(&mut merged, &changes);
            expected.push((passage.gap, local));
        }
        let view = serde_json::Value::from(&merged.view());
        let text = view["text"].as_str().unwrap();
        for (gap, local) in &expected {
            prop_assert!(text.contains(local.as_str()), "{local:?} is torn apart in {text:?}");
            let before = text.find(local.as_str()).unwrap();
            let digits = text[..before].chars().filter(char::is_ascii_digit).count();
            prop_assert_eq!(digits, *gap, "{:?} left its gap in {:?}", local, text);
        }
        prop_assert_eq!(text.len(), BASE + expected.iter().map(|(_, local)| local.len()).sum::<usize>());
    }
}
