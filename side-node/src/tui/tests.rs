//! The view as a value: what keys do, and what is drawn, held by committed pictures. `SIDE_DRAW=1` writes them anew.

use std::fs;
use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::draw::draw;
use super::sample::{NOW, group, hostile};
use super::state::{Effect, Input, Key, State, Tab};
use crate::daemon::glance::Glance;

fn with(glance: Glance) -> State {
    let mut state = State::new(true);
    state.update(Input::Glance(Box::new(glance)));
    state
}

fn press(state: &mut State, keys: &[Key]) {
    for key in keys {
        assert_eq!(state.update(Input::Key(*key)), Effect::Draw);
    }
}

fn terminal(state: &State, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal
}

/// The cells as lines of text.
fn picture(state: &State, width: u16, height: u16) -> String {
    let terminal = terminal(state, width, height);
    let buffer = terminal.backend().buffer();
    let mut out = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn held(name: &str, state: &State, width: u16, height: u16) {
    let found = picture(state, width, height);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tui/pictures").join(format!("{name}.txt"));
    if std::env::var_os("SIDE_DRAW").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &found).unwrap();
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, known, "{name} looks like this now:\n{found}");
}

/// A group that was watched for a while, so that the plots have something to show.
fn watched() -> State {
    let mut state = with(group());
    for second in 1..40u64 {
        let mut glance = group();
        glance.time_ms = NOW + second * 1_000;
        glance.graph.total = 10 + second * second / 8;
        let mut block = glance.blocks[2].clone();
        block.block.height = 3 + second;
        block.transactions_total = second % 7;
        glance.blocks.push(block);
        state.update(Input::Glance(Box::new(glance)));
    }
    state
}

#[test]
fn pages_are_drawn_as_committed() {
    let mut state = watched();
    for tab in Tab::ALL {
        state.tab = tab;
        held(&tab.title().to_lowercase(), &state, 100, 30);
    }
    let mut state = with(group());
    press(&mut state, &[Key::Number(3), Key::Down, Key::Enter]);
    held("block", &state, 80, 16);
    press(&mut state, &[Key::Back, Key::Number(2), Key::Left, Key::Left]);
    held("graph-small", &state, 40, 12);
    press(&mut state, &[Key::Number(1)]);
    held("overview-small", &state, 40, 12);
    press(&mut state, &[Key::Help]);
    held("keys", &state, 80, 16);
}

#[test]
fn votes_for_a_sealer_are_counted_beside_what_it_takes() {
    let votes = |name: &str, epoch: u64, by: usize| {
        let who = serde_json::json!({ "key": "aa", "name": name });
        let json = serde_json::json!({ "key": "aa", "name": name, "epoch": epoch, "by": vec![who; by], "own": false, "needed": 3 });
        serde_json::from_value::<crate::daemon::view::SealerVotes>(json).unwrap()
    };
    let mut glance = group();
    glance.status.sealer_votes =
        vec![votes("node2", 4, 2), votes("mallory", 3, 1), votes("node1", 2, 1), votes("late", 1, 1)];
    let shown = picture(&with(glance), 46, 24);
    assert!(shown.contains("\nvotes      node2 in epoch 4: 2 of 3\n"), "{shown}");
    assert_eq!(shown.matches("\nvotes ").count(), 3, "{shown}");
}

#[test]
fn keys_turn_pages_and_quit() {
    let mut state = with(group());
    press(&mut state, &[Key::Tab]);
    assert_eq!(state.tab, Tab::Graph);
    press(&mut state, &[Key::BackTab, Key::BackTab]);
    assert_eq!(state.tab, Tab::Swaps);
    press(&mut state, &[Key::Right, Key::Number(5), Key::Left]);
    assert_eq!(state.tab, Tab::Balances);
    press(&mut state, &[Key::Number(9)]);
    assert_eq!(state.tab, Tab::Balances);
    press(&mut state, &[Key::Help]);
    assert!(state.help);
    // Any key closes it, and does nothing else.
    press(&mut state, &[Key::Tab]);
    assert_eq!((state.help, state.tab), (false, Tab::Balances));
    assert_eq!(state.update(Input::Key(Key::Quit)), Effect::Quit);
}

#[test]
fn what_is_chosen_stays_chosen_while_more_comes() {
    let mut state = with(group());
    press(&mut state, &[Key::Number(2), Key::Left, Key::Left, Key::Left]);
    let chosen = state.change.clone().unwrap();
    assert_eq!(state.shown_change(), Some(6));
    let mut more = group();
    more.graph.changes.remove(0);
    state.update(Input::Glance(Box::new(more.clone())));
    assert_eq!((state.shown_change(), state.change.clone()), (Some(5), Some(chosen)));
    // What is gone gives way to the newest, and the end follows the newest.
    more.graph.changes.clear();
    state.update(Input::Glance(Box::new(more)));
    assert_eq!(state.shown_change(), None);
    press(&mut state, &[Key::Left, Key::Down, Key::End]);
    state.update(Input::Glance(Box::new(group())));
    press(&mut state, &[Key::End]);
    assert_eq!((state.shown_change(), state.change.clone()), (Some(9), None));
    press(&mut state, &[Key::Down]);
    assert_eq!(state.shown_change(), Some(8), "the nearest of the lane below");

    press(&mut state, &[Key::Number(3), Key::Enter]);
    assert_eq!((state.block, state.block_open), (Some(3), true));
    let mut more = group();
    let mut next = more.blocks[2].clone();
    next.block.height = 4;
    more.blocks.push(next);
    state.update(Input::Glance(Box::new(more)));
    assert_eq!(state.shown_block(), Some(2));
    press(&mut state, &[Key::Back, Key::Back]);
    assert_eq!((state.shown_block(), state.block_open), (Some(3), false));
}

/// From nothing to more than a usual terminal: each width with each height.
fn sizes() -> impl Iterator<Item = (u16, u16)> {
    let widths = [1, 2, 3, 5, 8, 13, 20, 24, 30, 40, 46, 63, 70, 120];
    widths.into_iter().flat_map(|width| [1, 2, 3, 5, 8, 12, 24].map(|height| (width, height)))
}

#[test]
fn no_size_and_no_page_panics() {
    for glance in [group(), hostile()] {
        let mut empty = glance.clone();
        empty.graph.changes.clear();
        empty.graph.lanes.clear();
        empty.blocks.clear();
        empty.balances.accounts.clear();
        empty.peers.members.clear();
        empty.peers.links.clear();
        empty.swaps.clear();
        for glance in [glance, empty] {
            let mut state = with(glance);
            for (width, height) in sizes() {
                for number in 1..=6 {
                    press(&mut state, &[Key::Number(number), Key::Down, Key::Enter]);
                    terminal(&state, width, height);
                    press(&mut state, &[Key::Help]);
                    terminal(&state, width, height);
                    press(&mut state, &[Key::Back, Key::Back]);
                }
            }
        }
    }
    let mut state = State::new(true);
    press(&mut state, &[Key::Tab, Key::Down, Key::Enter, Key::End]);
    terminal(&state, 40, 12);
}

#[test]
fn strangers_cannot_drive_the_terminal() {
    let mut state = with(hostile());
    for number in 1..=6 {
        press(&mut state, &[Key::Number(number)]);
        for open in [false, true] {
            if open {
                press(&mut state, &[Key::Enter]);
            }
            let terminal = terminal(&state, 120, 40);
            for cell in terminal.backend().buffer().content() {
                let bad = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
                assert!(!cell.symbol().contains(bad), "page {number}: {:?}", cell.symbol());
            }
        }
        // What was written is shown, wherever it stands: the escape in letters, never only what follows it.
        let shown = picture(&state, 120, 40);
        assert!(shown.contains("\\u{1b}"), "page {number} shows what it was");
        assert!(!shown.replace("\\u{1b}[2J", "").contains("[2J"), "page {number}: {shown}");
    }
    state.update(Input::Lost(super::sample::HOSTILE.to_owned()));
    assert!(picture(&state, 120, 40).contains("\\u{1b}[2J"));
}

#[test]
fn without_colours_there_are_none() {
    let mut state = watched();
    state.colors = false;
    for number in 1..=6 {
        press(&mut state, &[Key::Number(number)]);
        let terminal = terminal(&state, 100, 30);
        let cells = terminal.backend().buffer().content().iter();
        assert!(cells.clone().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset), "page {number}");
    }
    state.colors = true;
    let terminal = terminal(&state, 100, 30);
    assert!(terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset));
}

#[test]
fn rates_and_latencies_are_reckoned_from_what_was_seen() {
    let mut state = with(group());
    // Block 1 has changes 0 to 2, at NOW - 10,000, - 9,300 and - 8,600; it is of NOW - 5,000.
    assert_eq!(state.series.latencies[0].median_ms, 4_300);
    let mut later = group();
    later.time_ms += 2_000;
    later.graph.total += 10;
    let mut block = later.blocks[2].clone();
    block.block.height = 4;
    block.transactions_total = 6;
    later.blocks.push(block);
    state.update(Input::Glance(Box::new(later.clone())));
    let sample = state.series.samples[0];
    assert_eq!((sample.changes, sample.sealed), (5.0, 3.0));
    // Asked again at once, nothing is added; of a clock that was set back, nothing either.
    state.update(Input::Glance(Box::new(later.clone())));
    let mut before = later.clone();
    before.time_ms -= 60_000;
    state.update(Input::Glance(Box::new(before)));
    assert_eq!(state.series.samples.len(), 1);
    // Another group begins anew.
    later.status.group = "another".to_owned();
    state.update(Input::Glance(Box::new(later)));
    assert!(state.series.samples.is_empty());
}

#[test]
fn a_node_that_went_away_is_said_and_what_was_known_stays() {
    let mut state = with(group());
    state.update(Input::Lost("node \"node1\" does not run".to_owned()));
    let shown = picture(&state, 100, 30);
    assert!(shown.contains("does not run; what is shown is old") && shown.contains("held up to 2"), "{shown}");
    state.update(Input::Glance(Box::new(group())));
    assert!(!picture(&state, 100, 30).contains("is old"));
}
