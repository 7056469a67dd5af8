//! Whether what was printed has the shape that a page shows.
//!
//! | on the page | compared how |
//! |---|---|
//! | a hexadecimal id of 8 or more digits, a Bitcoin address or descriptor, an invitation `side://…` | a **name**: the first time it takes the value that was printed, and has that value from then on, in what is typed as well. Two names are two values |
//! | such a name cut off by `…` | the same, for the whole |
//! | an address of RFC 5737, `192.0.2.N`: another machine | `127.0.2.N`: a machine of the test is an address of the loopback network |
//! | a port after an IPv4 address | a name, too; one that the page types is a port that the system gave |
//! | a date, a time, a fraction before `ms`; a number after *block*, *height*, *up to*, *process* or before *blocks*, *hours* | any of its kind |
//! | `[..]` | anything, within the line |
//! | a line `...` or `…` | any lines, or none |
//! | everything else | itself |

use std::net::TcpListener;

/// Least length of a hexadecimal word that is an id, if it has both letters and digits.
const SHORT_ID: usize = 8;
/// Least length of a word that is an id or an address whatever it is made of.
const LONG_ID: usize = 12;
/// Least length of a word of letters and digits that is an address, a descriptor or the like.
const LONG_WORD: usize = 20;
/// How the address of a machine on a page begins, and that of one in a test.
const MACHINES: (&str, &str) = ("192.0.2.", "127.0.2.");
/// How an invitation begins.
const INVITATION: &str = "side://";
/// A number after one of these words differs from run to run.
const BEFORE_NUMBERS: [&str; 5] = ["block", "blocks", "height", "up to", "process"];
/// A number before one of these words, too.
const AFTER_NUMBERS: [&str; 5] = ["block", "blocks", "hours", "hour", "minutes"];

/// What the names on a page stand for in this run.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Name and value, in the order in which they came up.
    known: Vec<(String, String)>,
    /// Ports on the page, and those of this run.
    ports: Vec<(String, String)>,
}

/// How the lines of a page relate to those that were printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// The program has ended: all of them, in this order.
    Whole,
    /// The program has ended: all of them, in any order.
    AnyOrder,
    /// The program runs: in this order, with what else it has to say in between.
    Among,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Text(String),
    Anything,
    /// The word, and whether the page cuts it off.
    Name(String, bool),
    Port(String),
    /// The last number of a machine's address.
    Machine(String),
    /// The end of an id that is cut in its middle.
    Hex(usize),
    /// Digits, perhaps with a point, commas, dashes or colons.
    Number,
}

/// Compares lines. Answers how many of the printed ones are used up; binds names only if all is well.
///
/// # Errors
/// The line of the page that has no match.
pub fn compare(page: &[String], printed: &[String], how: Lines, names: &mut Names) -> Result<usize, String> {
    let page: Vec<Option<Vec<Item>>> = page.iter().map(|line| (!is_any_lines(line)).then(|| items(line))).collect();
    let printed: Vec<&str> = printed.iter().map(|line| line.trim_end()).collect();
    let mut furthest = 0;
    let mut matching = Matching { page: &page, printed: &printed, how, furthest: &mut furthest };
    let found = match how {
        Lines::Whole | Lines::Among => matching.ordered(0, 0, names.clone()),
        Lines::AnyOrder => matching.unordered(0, &mut vec![false; printed.len()], names.clone()),
    };
    match found {
        Some((used, found)) => {
            *names = found;
            Ok(used)
        }
        None => Err(match page.len().checked_sub(furthest + 1) {
            None => "more was printed than the page shows".into(),
            Some(_) => format!("line {} of what the page shows was not printed there", furthest + 1),
        }),
    }
}

fn is_any_lines(line: &str) -> bool {
    matches!(line.trim(), "..." | "…")
}

struct Matching<'a> {
    page: &'a [Option<Vec<Item>>],
    printed: &'a [&'a str],
    how: Lines,
    furthest: &'a mut usize,
}

impl Matching<'_> {
    fn ordered(&mut self, at: usize, from: usize, names: Names) -> Option<(usize, Names)> {
        *self.furthest = (*self.furthest).max(at);
        let Some(line) = self.page.get(at) else {
            let rest_is_blank = self.printed[from..].iter().all(|line| line.is_empty());
            return (self.how == Lines::Among || rest_is_blank).then_some((from, names));
        };
        let Some(items) = line else {
            return (from..=self.printed.len()).find_map(|next| self.ordered(at + 1, next, names.clone()));
        };
        // A blank line on the page is for the eye.
        if items.is_empty() && self.printed.get(from).is_none_or(|line| !line.is_empty()) {
            return self.ordered(at + 1, from, names);
        }
        let last = if self.how == Lines::Among { self.printed.len() } else { self.printed.len().min(from + 1) };
        (from..last).find_map(|next| {
            let names = match_items(items, self.printed[next], names.clone())?;
            self.ordered(at + 1, next + 1, names)
        })
    }

    fn unordered(&mut self, at: usize, used: &mut [bool], names: Names) -> Option<(usize, Names)> {
        *self.furthest = (*self.furthest).max(at);
        let Some(line) = self.page.get(at) else {
            let may_be_more = self.page.iter().any(Option::is_none);
            let all = used.iter().zip(self.printed).all(|(used, line)| *used || line.is_empty());
            return (may_be_more || all).then_some((self.printed.len(), names));
        };
        let Some(items) = line else { return self.unordered(at + 1, used, names) };
        for next in 0..self.printed.len() {
            if used[next] {
                continue;
            }
            if let Some(names) = match_items(items, self.printed[next], names.clone()) {
                used[next] = true;
                if let Some(found) = self.unordered(at + 1, used, names) {
                    return Some(found);
                }
                used[next] = false;
            }
        }
        None
    }
}

/// Takes a line of a page apart.
fn items(line: &str) -> Vec<Item> {
    let line = line.trim_end();
    let mut items: Vec<Item> = Vec::new();
    let mut text = String::new();
    let mut at = 0;
    while at < line.len() {
        let (before, rest) = line.split_at(at);
        let (item, length) = next_item(before, rest);
        at += length;
        match item {
            Some(item) => {
                if !text.is_empty() {
                    items.push(Item::Text(std::mem::take(&mut text)));
                }
                items.push(item);
            }
            None => text.push_str(&rest[..length]),
        }
    }
    if !text.is_empty() {
        items.push(Item::Text(text));
    }
    items
}

/// The item at the front of `rest`, or `None` for text that stands for itself; and its length.
fn next_item(before: &str, rest: &str) -> (Option<Item>, usize) {
    if rest.starts_with("[..]") {
        return (Some(Item::Anything), 4);
    }
    if let Some(length) = invitation(rest) {
        let cut = rest[length..].starts_with('…');
        return (Some(Item::Name(rest[..length].to_owned(), cut)), length + if cut { '…'.len_utf8() } else { 0 });
    }
    if let Some(last) =
        rest.strip_prefix(MACHINES.0).filter(|_| !before.ends_with(|c: char| c.is_ascii_digit() || c == '.'))
    {
        let digits = run(last, |c| c.is_ascii_digit());
        return (Some(Item::Machine(last[..digits].to_owned())), MACHINES.0.len() + digits);
    }
    if before.ends_with(':') && ends_with_ipv4(&before[..before.len() - 1]) {
        let digits = run(rest, |c| c.is_ascii_digit());
        if digits > 0 {
            return (Some(Item::Port(rest[..digits].to_owned())), digits);
        }
    }
    if let Some(length) = date_or_time(rest) {
        return (Some(Item::Number), length);
    }
    let word = run(rest, |c| c.is_ascii_alphanumeric());
    if word == 0 {
        return (None, rest.chars().next().map_or(0, char::len_utf8));
    }
    let (word, after) = rest.split_at(word);
    if before.ends_with('…') && word.len() >= 4 && is_hex(word) {
        return (Some(Item::Hex(word.len())), word.len());
    }
    if is_name(word) {
        let cut = after.starts_with('…');
        return (Some(Item::Name(word.to_owned(), cut)), word.len() + if cut { '…'.len_utf8() } else { 0 });
    }
    if word.bytes().all(|c| c.is_ascii_digit()) {
        let length = run(rest, |c| c.is_ascii_digit() || c == '.' || c == ',');
        let number = rest[..length].trim_end_matches(['.', ',']);
        let after = &rest[number.len()..];
        let before = before.trim_end();
        let announced = BEFORE_NUMBERS.iter().any(|word| before.ends_with(word));
        let followed = AFTER_NUMBERS.iter().any(|word| {
            after
                .strip_prefix(' ')
                .and_then(|after| after.strip_prefix(word))
                .is_some_and(|after| !after.starts_with(char::is_alphanumeric))
        });
        let measured = number.contains('.') && after.starts_with(" ms");
        if announced || followed || measured {
            return (Some(Item::Number), number.len());
        }
    }
    (None, word.len())
}

fn run(text: &str, of: impl Fn(char) -> bool) -> usize {
    text.find(|c| !of(c)).unwrap_or(text.len())
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_name(word: &str) -> bool {
    let digit = word.bytes().any(|c| c.is_ascii_digit());
    let letter = word.bytes().any(|c| c.is_ascii_alphabetic());
    let id = is_hex(word) && (word.len() >= LONG_ID || word.len() >= SHORT_ID && digit && letter);
    id || word.len() >= LONG_WORD && digit && letter
}

fn invitation(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(INVITATION)?;
    let length = run(rest, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    (length > 0).then_some(INVITATION.len() + length)
}

fn ends_with_ipv4(text: &str) -> bool {
    let start = text.rfind(|c: char| !c.is_ascii_digit() && c != '.').map_or(0, |at| at + 1);
    text.is_char_boundary(start) && text[start..].parse::<std::net::Ipv4Addr>().is_ok()
}

fn date_or_time(text: &str) -> Option<usize> {
    let shape = |shape: &str| {
        let bytes = text.as_bytes();
        let fits = bytes.len() >= shape.len()
            && shape.bytes().zip(bytes).all(|(s, c)| if s == b'0' { c.is_ascii_digit() } else { s == *c });
        (fits && !bytes.get(shape.len()).is_some_and(u8::is_ascii_digit)).then_some(shape.len())
    };
    shape("0000-00-00").or_else(|| shape("00:00:00"))
}

fn match_items(items: &[Item], printed: &str, mut names: Names) -> Option<Names> {
    let Some((item, items)) = items.split_first() else { return printed.is_empty().then_some(names) };
    let length = match item {
        Item::Text(text) => printed.starts_with(text.as_str()).then_some(text.len()),
        Item::Anything => {
            let ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
            return ends.into_iter().find_map(|end| match_items(items, &printed[end..], names.clone()));
        }
        Item::Number => {
            let length = date_or_time(printed).unwrap_or_else(|| {
                let length = run(printed, |c| c.is_ascii_digit() || c == '.' || c == ',');
                printed[..length].trim_end_matches(['.', ',']).len()
            });
            (length > 0).then_some(length)
        }
        Item::Machine(last) => {
            let length = MACHINES.1.len() + last.len();
            let same = printed.strip_prefix(MACHINES.1).is_some_and(|rest| rest.starts_with(last.as_str()));
            (same && !printed[length..].starts_with(|c: char| c.is_ascii_digit())).then_some(length)
        }
        Item::Hex(digits) => {
            let length = run(printed, |c| c.is_ascii_alphanumeric());
            (length == *digits && is_hex(&printed[..length])).then_some(length)
        }
        Item::Port(port) => {
            let length = run(printed, |c| c.is_ascii_digit());
            (length > 0 && names.bind_port(port, &printed[..length])).then_some(length)
        }
        Item::Name(name, cut) => {
            let length = invitation(printed).unwrap_or_else(|| run(printed, |c| c.is_ascii_alphanumeric()));
            let value = &printed[..length];
            let also_cut = printed[length..].starts_with('…');
            let alike = if name.starts_with(INVITATION) {
                value.starts_with(INVITATION)
            } else if is_hex(name) {
                is_hex(value) && (value.len() == name.len() || *cut && value.len() > name.len())
            } else {
                value.len() >= LONG_ID
            };
            let fits = alike && (*cut || !also_cut) && names.bind(name, value);
            fits.then_some(length + if also_cut { '…'.len_utf8() } else { 0 })
        }
    }?;
    match_items(items, &printed[length..], names)
}

impl Names {
    /// Says which port of this run one on the page stands for.
    pub fn set_port(&mut self, page: u16, here: u16) {
        self.ports.push((page.to_string(), here.to_string()));
    }

    /// The port of this run for one on the page: the one that the system gives, if the page names it for the first time.
    pub fn port(&mut self, page: &str) -> String {
        if let Some((_, here)) = self.ports.iter().find(|(name, _)| name == page) {
            return here.clone();
        }
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let here = free.expect("the system gives a port").port().to_string();
        self.ports.push((page.to_owned(), here.clone()));
        here
    }

    fn bind_port(&mut self, page: &str, here: &str) -> bool {
        match self.ports.iter().find(|(name, _)| name == page) {
            Some((_, known)) => known == here,
            None => {
                self.ports.push((page.to_owned(), here.to_owned()));
                true
            }
        }
    }

    /// Gives a name its value, or compares with the one that it has. A short id is the beginning of a long one.
    fn bind(&mut self, name: &str, value: &str) -> bool {
        let mut known_already = false;
        for (known, is) in &self.known {
            let same_name = same(known, name);
            if same_name != same(is, value) {
                return false;
            }
            known_already |= same_name && known.len() >= name.len();
        }
        if !known_already {
            self.known.push((name.to_owned(), value.to_owned()));
        }
        true
    }

    /// What is to be typed, or written, where the page has its own names and ports.
    pub fn fill(&mut self, text: &str) -> String {
        let mut filled = String::new();
        let mut at = 0;
        while at < text.len() {
            let (before, rest) = text.split_at(at);
            let (item, length) = next_item(before, rest);
            at += length;
            match item {
                Some(Item::Machine(last)) => filled.push_str(&format!("{}{last}", MACHINES.1)),
                Some(Item::Port(port)) => filled.push_str(&self.port(&port)),
                Some(Item::Name(name, cut)) => match self.value(&name, cut) {
                    Some(value) => filled.push_str(&value),
                    None => filled.push_str(&rest[..length]),
                },
                _ if rest.starts_with("localhost:") => {
                    let digits = run(&rest["localhost:".len()..], |c| c.is_ascii_digit());
                    let end = "localhost:".len() + digits;
                    filled.push_str("localhost:");
                    filled.push_str(&self.port(&rest["localhost:".len()..end]));
                    at = at - length + end;
                }
                _ => filled.push_str(&rest[..length]),
            }
        }
        filled
    }

    fn value(&self, name: &str, cut: bool) -> Option<String> {
        let exact = self.known.iter().find(|(known, _)| known == name);
        let longer = self.known.iter().find(|(known, value)| is_hex(known) && is_hex(value) && known.starts_with(name));
        match (exact, longer) {
            (_, Some((_, value))) if cut => Some(value.clone()),
            (Some((_, value)), _) => Some(value.clone()),
            (None, Some((_, value))) => value.get(..name.len()).map(str::to_owned),
            (None, None) => None,
        }
    }
}

/// Whether two ids are the same as far as both are given.
fn same(a: &str, b: &str) -> bool {
    if a.starts_with(INVITATION) || b.starts_with(INVITATION) {
        return a == b;
    }
    let length = a.len().min(b.len());
    length >= SHORT_ID && a.as_bytes()[..length] == b.as_bytes()[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn fits(page: &str, printed: &str, how: Lines, names: &mut Names) -> bool {
        compare(&lines(page), &lines(printed), how, names).is_ok()
    }

    #[test]
    fn what_differs_from_run_to_run_differs_and_nothing_else() {
        let names = &mut Names::default();
        let page = "2026-11-26 05:55:28  31513fa55e7e  node2: hi  (sealed in block 1, held by 2 of 2)";
        let same = "2027-01-02 15:00:00  99999999999a  node2: hi  (sealed in block 17, held by 2 of 2)";
        assert!(fits(page, same, Lines::Whole, names));
        for other in [
            same.replace("hi", "ho"),
            same.replace("held by 2", "held by 1"),
            same.replace("99999999999a", "99999999999"),
            same.replace("2027-01-02", "yesterday"),
            same.replace("block 17", "block x"),
            format!("{same}!"),
        ] {
            assert!(!fits(page, &other, Lines::Whole, &mut Names::default()), "{other}");
        }
    }

    #[test]
    fn a_name_keeps_its_value() {
        let names = &mut Names::default();
        assert!(fits("key aaaa0000bbbb1111cccc", "key 0123456789abcdef0123", Lines::Whole, names));
        assert!(fits("[aaaa0000bbbb]", "[0123456789ab]", Lines::Whole, names));
        assert!(!fits("[aaaa0000bbbb]", "[ffff456789ab]", Lines::Whole, names), "another value");
        assert!(
            !fits("[1111222233334444]", "[0123456789abcdef]", Lines::Whole, names),
            "another name for the same value"
        );
        assert_eq!(names.fill("vote aaaa0000bbbb and aaaa0000bbbb…"), "vote 0123456789ab and 0123456789abcdef0123");
        assert_eq!(names.fill("pay 100000000000"), "pay 100000000000");
    }

    #[test]
    fn an_invitation_that_the_page_cuts_off_is_typed_whole() {
        let names = &mut Names::default();
        assert!(fits("side://AXoBBHNp…", "side://Ab-_9xyz0123", Lines::Whole, names));
        assert_eq!(names.fill("join side://AXoBBHNp…"), "join side://Ab-_9xyz0123");
        assert!(!fits("side://AXoBBHNp…", "side://Ab-_9xyz0124", Lines::Whole, names));
    }

    #[test]
    fn ports_are_the_systems() {
        let names = &mut Names::default();
        names.set_port(3002, 41234);
        assert_eq!(
            names.fill("curl http://127.0.0.1:3002/x localhost:3002"),
            "curl http://127.0.0.1:41234/x localhost:41234"
        );
        assert!(fits("on http://127.0.0.1:3002", "on http://127.0.0.1:41234", Lines::Whole, names));
        assert!(!fits("on http://127.0.0.1:3002", "on http://127.0.0.1:41235", Lines::Whole, names));
        let given = names.fill("--listen 0.0.0.0:7420");
        assert_ne!(given, "--listen 0.0.0.0:7420");
        assert_eq!(names.fill("--listen 0.0.0.0:7420"), given);
    }

    #[test]
    fn another_machine_is_another_loopback_address() {
        let names = &mut Names::default();
        names.set_port(7420, 41234);
        assert_eq!(names.fill("listen = \"192.0.2.17:7420\""), "listen = \"127.0.2.17:41234\"");
        assert!(fits(
            "by direct at 192.0.2.1:7420: in sync",
            "by direct at 127.0.2.1:41234: in sync",
            Lines::Whole,
            names
        ));
        assert!(!fits(
            "by direct at 192.0.2.1:7420: in sync",
            "by direct at 127.0.2.17:41234: in sync",
            Lines::Whole,
            names
        ));
    }

    #[test]
    fn lines_whole_in_any_order_and_among_others() {
        let names = &mut Names::default();
        assert!(fits("a\n...\nd", "a\nb\nc\nd", Lines::Whole, names));
        assert!(!fits("a\nd", "a\nb\nd", Lines::Whole, names));
        assert!(!fits("a", "a\nb", Lines::Whole, names));
        assert!(fits("b\na", "a\nb", Lines::AnyOrder, names));
        assert!(!fits("b\na", "a\nb\nc", Lines::AnyOrder, names));
        assert!(fits("b\n...\na", "a\nb\nc", Lines::AnyOrder, names));
        assert!(fits("a\nd", "a\nb\nd\ne", Lines::Among, names));
        assert!(!fits("d\na", "a\nb\nd\ne", Lines::Among, names));
        assert!(fits("x [..] z", "x y y z", Lines::Whole, names));
        assert_eq!(
            compare(&lines("a\nb"), &lines("a\nc"), Lines::Whole, names),
            Err("line 2 of what the page shows was not printed there".into())
        );
    }

    #[test]
    fn a_transaction_that_is_cut_in_its_middle() {
        let names = &mut Names::default();
        assert!(fits("c487364d…d66d  -5,772 sats", "0123abcd…9999  -5,772 sats", Lines::Whole, names));
        assert!(fits("in sync, 0.8 ms", "in sync, 12.5 ms", Lines::Whole, names));
        assert!(!fits("every 500 ms", "every 501 ms", Lines::Whole, names));
    }
}
