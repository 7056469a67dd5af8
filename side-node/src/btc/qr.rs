//! An address as a picture that a phone reads from the terminal: two modules of the QR code in each character, by half blocks.

use qrcode::{Color, EcLevel, QrCode};

/// Modules of light around the code, as ISO/IEC 18004 has it: readers find the edge by it.
const QUIET: usize = 4;

/// The payment link of an address (BIP 321; BIP 21 before it). Upper case where it may be, for a bech32 address: the code is smaller.
pub fn link(address: &str) -> String {
    let bech32 = !address.chars().any(|c| c.is_ascii_uppercase());
    if bech32 { format!("BITCOIN:{}", address.to_ascii_uppercase()) } else { format!("bitcoin:{address}") }
}

/// The picture, to be printed on any terminal: light is drawn, dark is left out, in colours of its own, so that it reads on dark and on light backgrounds.
/// `None` if the text is too long for a QR code.
pub fn picture(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let width = code.width();
    let dark = |x: usize, y: usize| {
        let inside = |place: usize| place.checked_sub(QUIET).filter(|place| *place < width);
        matches!((inside(x), inside(y)), (Some(column), Some(row)) if code[(column, row)] == Color::Dark)
    };
    let side = width + 2 * QUIET;
    let mut out = String::new();
    for y in (0..side).step_by(2) {
        // White on black, whatever the terminal's colours are.
        out.push_str("\u{1b}[97;40m");
        for x in 0..side {
            out.push(match (dark(x, y), y + 1 >= side || dark(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        out.push_str("\u{1b}[0m\n");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_the_code_with_its_quiet_zone() {
        let text = link("tb1p4s6w2e0gk7a3wvjx5q0p4u5mkkcu9p3jjj8e2p5w8x0pyl8h0q5q3mzfkw");
        assert!(text.starts_with("BITCOIN:TB1P"));
        let picture = picture(&text).unwrap();
        let lines: Vec<&str> = picture.lines().collect();
        let modules = |line: &str| line.chars().filter(|c| "█▀▄ ".contains(*c)).count();
        let side = modules(lines[0]);
        assert!(lines.iter().all(|line| modules(line) == side), "{picture}");
        assert_eq!(lines.len(), side.div_ceil(2));
        // The quiet zone is light all around; the finder's first row below it is dark, and light again after seven modules.
        assert!(lines[..2].iter().all(|line| line.matches('█').count() == side));
        let row: Vec<char> = lines[2].chars().skip_while(|c| *c != 'm').skip(1).collect();
        assert!(row[4..11].iter().all(|c| matches!(c, '▄' | ' ')) && matches!(row[11], '█' | '▀'), "{row:?}");
    }

    #[test]
    fn old_addresses_keep_their_case() {
        assert_eq!(link("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"), "bitcoin:mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn");
        assert!(picture(&"x".repeat(10_000)).is_none());
    }
}
