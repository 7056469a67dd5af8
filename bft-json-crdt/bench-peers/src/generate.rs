//! Traces of like shape as the recorded ones, from a seed, for machines that have none: bursts of typing, backspaces, jumps, pasted lines; and two
//! authors who write at the same time and merge now and then.

use crate::engine::Random;
use crate::trace::{EDITS_A_CHANGE, Edit, Span, Trace, linear_spans};

const WORDS: &str = "the order of changes on every replica is the same whatever came first and whoever lies about it, so a text that many write \
                     at once reads alike everywhere and no letter of it is lost ";

/// One hand at a text: what stands before the cursor, and behind it in reverse, so that an edit costs nothing and a jump its distance.
struct Hand {
    before: Vec<char>,
    behind: Vec<char>,
    left: usize,
    typed: usize,
}

impl Hand {
    fn new() -> Self {
        Self { before: Vec::new(), behind: Vec::new(), left: 0, typed: 0 }
    }

    fn len(&self) -> usize {
        self.before.len() + self.behind.len()
    }

    fn go(&mut self, to: usize) {
        while self.before.len() > to {
            self.behind.extend(self.before.pop());
        }
        while self.before.len() < to {
            self.before.extend(self.behind.pop());
        }
    }

    fn text(&self) -> String {
        self.before.iter().chain(self.behind.iter().rev()).collect()
    }

    /// The next edit, applied here. Within its own text; the caller shifts it.
    fn edit(&mut self, random: &mut Random) -> Edit {
        if self.left == 0 {
            self.left = 1 + random.below(300);
            if random.below(3) == 0 {
                self.go(random.below(self.len() + 1));
            } else if random.below(3) == 0 {
                self.go(self.len());
            }
        }
        self.left -= 1;
        let at = self.before.len();
        let insert = |text: String| Edit { at, deleted: 0, inserted: text };
        let edit = match random.below(1000) {
            // Corrections: some 30 of 100 edits of the recorded traces delete.
            0..280 if at > 0 => {
                self.before.pop();
                Edit { at: at - 1, deleted: 1, inserted: String::new() }
            }
            280..283 if self.behind.len() > 40 => {
                let deleted = 20 + random.below(20);
                self.behind.truncate(self.behind.len() - deleted);
                Edit { at, deleted, inserted: String::new() }
            }
            283..286 => insert(WORDS.chars().skip(random.below(60)).take(40).collect()),
            _ => {
                self.typed += 1;
                let letter = WORDS.as_bytes()[self.typed % WORDS.len()] as char;
                insert(letter.to_string())
            }
        };
        self.before.extend(edit.inserted.chars());
        edit
    }
}

/// One author, about as automerge-paper.
pub fn sequential(edits: usize) -> Trace {
    let (mut random, mut hand) = (Random::new(1), Hand::new());
    let edits: Vec<Edit> = (0..edits).map(|_| hand.edit(&mut random)).collect();
    Trace::new("generated-one".into(), false, hand.text(), linear_spans(&edits), 1)
}

/// Two authors, about as friendsforever: each in a half of its own, a line between them, so that no two insert at one place at the same time.
pub fn concurrent(edits: usize) -> Trace {
    let mut random = Random::new(2);
    let mut hands = [Hand::new(), Hand::new()];
    let line = Edit { at: 0, deleted: 0, inserted: "\n".into() };
    let mut spans = vec![Span { author: 0, parents: vec![], edits: vec![line] }];
    // Each author's last span, and how long the first half is in what the second author knows.
    let (mut tips, mut known) = ([0usize; 2], 0);
    let mut left = edits;
    while left > 0 {
        let before = (tips, hands[0].len());
        for author in 0..2 {
            let many = (1 + random.below(20)).min(EDITS_A_CHANGE).min(left);
            if many == 0 {
                continue;
            }
            left -= many;
            // Sometimes it first takes in what the other had written before this round.
            let (mine, other) = (before.0[author], before.0[1 - author]);
            let merges = other != mine && random.below(3) > 0;
            if merges && author == 1 {
                known = before.1;
            }
            let shift = if author == 0 { 0 } else { known + 1 };
            let edits = (0..many).map(|_| hands[author].edit(&mut random));
            let edits = edits.map(|edit| Edit { at: edit.at + shift, ..edit }).collect();
            let parents = if merges { vec![mine.min(other), mine.max(other)] } else { vec![mine] };
            spans.push(Span { author, parents, edits });
            tips[author] = spans.len() - 1;
        }
    }
    let halves = hands.map(|hand| hand.text());
    Trace::new("generated-two".into(), true, format!("{}\n{}", halves[0], halves[1]), spans, 2)
}
