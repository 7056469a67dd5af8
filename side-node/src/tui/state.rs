//! What is shown, as a value: an input event makes another state of it, and drawing reads it.

use super::series::Series;
use crate::daemon::glance::Glance;

/// How far a page key goes.
const PAGE: usize = 10;

/// A page of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// How it stands, and the plots.
    Overview,
    /// The changes as a graph.
    Graph,
    /// The last blocks.
    Blocks,
    /// Who owns what.
    Balances,
    /// Members and ways to other nodes.
    Peers,
    /// Swaps of coins.
    Swaps,
}

impl Tab {
    /// All tabs, in their order.
    pub const ALL: [Tab; 6] = [Tab::Overview, Tab::Graph, Tab::Blocks, Tab::Balances, Tab::Peers, Tab::Swaps];

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Tab::Overview => "Overview",
            Tab::Graph => "Graph",
            Tab::Blocks => "Blocks",
            Tab::Balances => "Balances",
            Tab::Peers => "Peers",
            Tab::Swaps => "Swaps",
        }
    }

    /// Its place among [`Tab::ALL`].
    pub fn place(self) -> usize {
        Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0)
    }
}

/// A key by what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The next tab.
    Tab,
    /// The tab before.
    BackTab,
    /// A tab by its number, from 1 on.
    Number(usize),
    /// Up in a list.
    Up,
    /// Down in a list.
    Down,
    /// To what came before; elsewhere the tab before.
    Left,
    /// To what came after; elsewhere the next tab.
    Right,
    /// Several up.
    PageUp,
    /// Several down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Open what is chosen.
    Enter,
    /// Close what is open.
    Back,
    /// Show or hide what the keys mean.
    Help,
    /// End.
    Quit,
}

/// What happens to the view.
#[derive(Debug)]
pub enum Input {
    /// Somebody pressed a key.
    Key(Key),
    /// The node told how it stands.
    Glance(Box<Glance>),
    /// The node does not answer, and why.
    Lost(String),
    /// The terminal has another size.
    Redraw,
    /// A second has passed; the time in milliseconds since 1970.
    Tick(u64),
}

/// What is to be done after an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Draw.
    Draw,
    /// End.
    Quit,
}

/// A place in a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    place: usize,
}

impl Cursor {
    /// The chosen place in a list of `len` entries.
    pub fn of(self, len: usize) -> usize {
        self.place.min(len.saturating_sub(1))
    }

    fn go(&mut self, key: Key, len: usize) {
        let last = len.saturating_sub(1);
        let at = self.of(len);
        self.place = match key {
            Key::Up => at.saturating_sub(1),
            Key::Down => (at + 1).min(last),
            Key::PageUp => at.saturating_sub(PAGE),
            Key::PageDown => (at + PAGE).min(last),
            Key::Home => 0,
            Key::End => last,
            _ => at,
        };
    }
}

/// The view.
#[derive(Debug, Clone)]
pub struct State {
    /// The page that is shown.
    pub tab: Tab,
    /// Whether the keys are explained.
    pub help: bool,
    /// Whether colours may be used.
    pub colors: bool,
    /// What the node told last.
    pub glance: Option<Glance>,
    /// Why the node does not answer, if so; what is shown is old then.
    pub lost: Option<String>,
    /// What the plots show.
    pub series: Series,
    /// The chosen change, by its id; none follows the newest.
    pub change: Option<String>,
    /// The chosen block, by its height; none follows the newest.
    pub block: Option<u64>,
    /// Whether the chosen block is open.
    pub block_open: bool,
    /// The chosen transaction of the open block.
    pub transaction: Cursor,
    /// The chosen account.
    pub account: Cursor,
    /// The chosen line of members and ways.
    pub peer: Cursor,
    /// The chosen swap.
    pub swap: Cursor,
}

impl State {
    /// A view that knows nothing yet.
    pub fn new(colors: bool) -> Self {
        Self {
            tab: Tab::Overview,
            help: false,
            colors,
            glance: None,
            lost: None,
            series: Series::default(),
            change: None,
            block: None,
            block_open: false,
            transaction: Cursor::default(),
            account: Cursor::default(),
            peer: Cursor::default(),
            swap: Cursor::default(),
        }
    }

    /// Takes an input.
    pub fn update(&mut self, input: Input) -> Effect {
        match input {
            Input::Key(key) => return self.press(key),
            Input::Glance(glance) => {
                self.series.take(&glance);
                self.lost = None;
                self.glance = Some(*glance);
            }
            Input::Lost(why) => self.lost = Some(why),
            Input::Redraw => {}
            // While the node is away nobody knows what happens.
            Input::Tick(time_ms) if self.lost.is_none() => self.series.tick(time_ms),
            Input::Tick(_) => {}
        }
        Effect::Draw
    }

    fn press(&mut self, key: Key) -> Effect {
        if key == Key::Quit {
            return Effect::Quit;
        }
        if self.help {
            // Any key closes it.
            self.help = false;
            return Effect::Draw;
        }
        let in_graph = self.tab == Tab::Graph;
        match key {
            Key::Help => self.help = true,
            Key::Tab => self.turn(1),
            Key::BackTab => self.turn(Tab::ALL.len() - 1),
            Key::Number(number) => {
                if let Some(tab) = number.checked_sub(1).and_then(|place| Tab::ALL.get(place)) {
                    self.tab = *tab;
                }
            }
            Key::Left if !in_graph => self.turn(Tab::ALL.len() - 1),
            Key::Right if !in_graph => self.turn(1),
            key => self.within(key),
        }
        Effect::Draw
    }

    fn turn(&mut self, by: usize) {
        self.tab = Tab::ALL[(self.tab.place() + by) % Tab::ALL.len()];
    }

    /// A key within the page.
    fn within(&mut self, key: Key) {
        let Some(glance) = &self.glance else { return };
        match self.tab {
            Tab::Overview => {}
            Tab::Graph => self.walk(key),
            Tab::Blocks => match key {
                Key::Enter => {
                    self.block_open = !glance.blocks.is_empty();
                    self.transaction = Cursor::default();
                    // It stays the same one while others come.
                    self.block = self.shown_block().map(|place| glance.blocks[place].block.height);
                }
                Key::Back if self.block_open => self.block_open = false,
                Key::Back => self.block = None,
                key if self.block_open => {
                    let len = self.shown_block().map_or(0, |place| glance.blocks[place].transactions.len());
                    self.transaction.go(key, len);
                }
                key => {
                    // The list has the newest on top.
                    let len = glance.blocks.len();
                    let place = self.shown_block().map_or(0, |place| len - 1 - place);
                    let mut cursor = Cursor { place };
                    cursor.go(key, len);
                    self.block = (cursor.place > 0).then(|| glance.blocks[len - 1 - cursor.of(len)].block.height);
                }
            },
            Tab::Balances => self.account.go(key, glance.balances.accounts.len()),
            Tab::Peers => self.peer.go(key, glance.peers.members.len() + glance.peers.links.len()),
            Tab::Swaps => self.swap.go(key, glance.swaps.len()),
        }
    }

    /// Left and right go through the changes in their order, up and down from lane to lane.
    fn walk(&mut self, key: Key) {
        let (Some(glance), Some(at)) = (&self.glance, self.shown_change()) else { return };
        let changes = &glance.graph.changes;
        let last = changes.len() - 1;
        let lane = changes[at].lane;
        let to_lane = |lane: usize| {
            let near = changes.iter().enumerate().filter(|(_, change)| change.lane == lane);
            near.min_by_key(|(place, _)| place.abs_diff(at)).map(|(place, _)| place)
        };
        let place = match key {
            Key::Left => at.saturating_sub(1),
            Key::Right => (at + 1).min(last),
            Key::PageUp => at.saturating_sub(PAGE),
            Key::PageDown => (at + PAGE).min(last),
            Key::Home => 0,
            Key::End | Key::Back => last,
            Key::Up => (0..lane).rev().find_map(to_lane).unwrap_or(at),
            Key::Down => (lane + 1..glance.graph.lanes.len()).find_map(to_lane).unwrap_or(at),
            _ => at,
        };
        self.change = (place < last).then(|| changes[place].id.clone());
    }

    /// The place of the chosen change in the graph; the newest if it is shown no more.
    pub fn shown_change(&self) -> Option<usize> {
        let changes = &self.glance.as_ref()?.graph.changes;
        let chosen = self.change.as_ref().and_then(|id| changes.iter().position(|change| change.id == *id));
        chosen.or(changes.len().checked_sub(1))
    }

    /// The place of the chosen block; the newest if it is shown no more.
    pub fn shown_block(&self) -> Option<usize> {
        let blocks = &self.glance.as_ref()?.blocks;
        let chosen = self.block.and_then(|height| blocks.iter().position(|block| block.block.height == height));
        chosen.or(blocks.len().checked_sub(1))
    }
}
