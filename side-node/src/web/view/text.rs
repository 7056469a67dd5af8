//! Strangers' texts, ids, numbers and times, as they are put into a page.

use maud::{Markup, html};

use crate::output;

/// Most characters of a text that are shown; the console and `history` have the whole.
const MAX_CHARS: usize = 280;
/// Most characters of a name that are shown.
const MAX_NAME_CHARS: usize = 40;

/// Digits of an id or key: a telephone has room for two of them in a line.
const SHORT: usize = 8;

/// The beginning of an id or key.
pub(super) fn short(hex: &str) -> &str {
    hex.get(..SHORT).unwrap_or(hex)
}

/// A stranger's text, freed of what could turn a line around, and cut.
pub(super) fn cut(text: &str) -> String {
    cut_to(text, MAX_CHARS)
}

/// A stranger's name likewise.
pub(super) fn name(text: &str) -> String {
    cut_to(text, MAX_NAME_CHARS)
}

fn cut_to(text: &str, chars: usize) -> String {
    let mut taken: String = text.chars().take(chars).collect();
    if taken.len() < text.len() {
        taken.push('…');
    }
    output::printable(&taken)
}

/// The beginning of an id or key. The whole is shown under the pointer and copied by a click; a keyboard finds it in the details.
pub(super) fn id(hex: &str) -> Markup {
    html! { code.id title=(hex) data-copy=(hex) { (short(hex)) } }
}

/// An id or key as a whole, to be selected at once, with a button that copies it.
pub(super) fn whole_id(hex: &str) -> Markup {
    html! {
        code.whole { (hex) }
        // Shown by the script, which alone can copy.
        button.copy type="button" data-copy=(hex) hidden { "Copy" }
    }
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number and what it counts.
pub(super) fn count(many: u64, one: &str, more: &str) -> String {
    format!("{} {}", number(many), if many == 1 { one } else { more })
}

/// A time of day in UTC, with the date under the pointer; the script says how long ago it is.
pub(super) fn time(time_ms: u64) -> Markup {
    let whole = output::time(time_ms);
    let of_day = whole.split_once(' ').map_or("", |(_, of_day)| of_day);
    html! {
        time datetime=(format!("{}Z", whole.replace(' ', "T"))) title=(format!("{whole} UTC")) data-ms=(time_ms) { (of_day) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (given, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(given), shown);
        }
        assert_eq!(count(1, "change", "changes"), "1 change");
        assert_eq!(count(0, "change", "changes"), "0 changes");
    }

    #[test]
    fn long_and_twisted_texts_are_cut_and_straightened() {
        assert_eq!(name(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
        assert_eq!(cut("a\u{202e}b\nc"), "a\\u{202e}b\\nc");
        // A clock that lies does no harm.
        assert!(time(u64::MAX).into_string().contains("<time"));
    }
}
