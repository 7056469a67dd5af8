//! A text as a picture that a phone reads from the terminal: two modules of the QR code in each character, by half blocks.

use qrcode::{Color, EcLevel, QrCode};

/// Modules of light around the code, as ISO/IEC 18004 has it: readers find the edge by it.
const QUIET: usize = 4;

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
        let picture = picture("BITCOIN:TB1P4S6W2E0GK7A3WVJX5Q0P4U5MKKCU9P3JJJ8E2P5W8X0PYL8H0Q5Q3MZFKW").unwrap();
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

    /// Another program's reader finds the very text in the picture.
    #[test]
    fn a_picture_decodes_to_its_text() {
        for length in [1, 25, 300, 1_500] {
            let text: String = (0..length).map(|n| char::from(b'a' + (n * n % 26) as u8)).collect();
            let picture = picture(&text).unwrap();
            let dark: Vec<Vec<(bool, bool)>> = picture
                .lines()
                .map(|line| {
                    let modules = line.chars().filter_map(|c| match c {
                        '█' => Some((false, false)),
                        '▀' => Some((false, true)),
                        '▄' => Some((true, false)),
                        ' ' => Some((true, true)),
                        _ => None,
                    });
                    modules.collect()
                })
                .collect();
            let side = dark[0].len();
            let grid = rqrr::SimpleGrid::from_func(side - 2 * QUIET, |x, y| {
                let (upper, lower) = dark[(y + QUIET) / 2][x + QUIET];
                if (y + QUIET).is_multiple_of(2) { upper } else { lower }
            });
            assert_eq!(rqrr::Grid::new(grid).decode().unwrap().1, text);
        }
    }

    #[test]
    fn what_is_too_long_has_no_picture() {
        assert!(picture(&"x".repeat(10_000)).is_none());
    }
}
