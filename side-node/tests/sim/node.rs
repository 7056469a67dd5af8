//! One simulated machine: a disk, a store and a member. A liar may run two of them under one key.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;

use bft_json_crdt::change::ChangeId;
use bft_json_crdt::identity::Keypair;
use bytes::Bytes;
use side_ledger::block::{Epoch, Height};
use side_ledger::{BlockId, Genesis, Name};
use side_node::error::CommandError;
use side_node::member::{Member, News};
use side_node::net::{LinkId, Stream};
use side_store::Store as _;
use side_store::sim::{Faults, SimDisk, SimStore};

/// What people at a node were told, and which must be there whatever crashes.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Entries of the history, by the change that holds them.
    pub(crate) changes: BTreeSet<ChangeId>,
    /// Blocks that were on the chain.
    pub(crate) blocks: BTreeSet<(Height, BlockId)>,
}

/// One end of a link.
#[derive(Debug, Clone)]
pub(crate) struct End {
    /// The machine at the other end, and the link's name there.
    pub(crate) to: usize,
    pub(crate) theirs: LinkId,
    /// Messages on their way.
    pub(crate) under_way: usize,
    /// When the last of them arrives: a link keeps the order.
    pub(crate) last_ms: u64,
}

/// Whether a play is told as it goes, for whoever looks for the cause of a fault.
pub(crate) fn is_told() -> bool {
    static TELL: OnceLock<bool> = OnceLock::new();
    *TELL.get_or_init(|| std::env::var_os("SIDE_TELL").is_some())
}

pub(crate) struct Node {
    /// Its number, by which the play is told.
    number: usize,
    /// Whose machine it is: the faces of a liar have the same number.
    pub(crate) who: usize,
    pub(crate) keypair: Keypair,
    /// The key that is to take its place, and those whose place was taken.
    pub(crate) next: Option<Keypair>,
    pub(crate) retired: Vec<Keypair>,
    pub(crate) disk: SimDisk,
    store: Option<SimStore>,
    /// Nothing while it is off.
    pub(crate) member: Option<Member>,
    pub(crate) links: BTreeMap<LinkId, End>,
    pub(crate) told: Told,
    /// Its clock is this much ahead.
    pub(crate) skew_ms: u64,
    /// The time for which a tick is on the calendar.
    pub(crate) tick_at: Option<u64>,
    /// An older state of the disk.
    pub(crate) backup: Option<Vec<u8>>,
    /// Whether its disk was set back since it was last told that it may write.
    pub(crate) restored: bool,
    /// How many changes of each member's, under its present key, it held when it was last on.
    pub(crate) knows: Vec<u64>,
    /// Whether it may have forgotten something, as far as it said when it was last on.
    pub(crate) learns: bool,
    /// The epochs in which it has voted on blocks (BFT mode), and those of them that it has forgotten since its disk was set back.
    pub(crate) voted: BTreeSet<Epoch>,
    pub(crate) forgotten: BTreeSet<Epoch>,
    /// Whether it took no part in the agreement when it was last on (BFT mode).
    pub(crate) stays_out: bool,
    /// How far the checks have looked at its chain: the last block.
    pub(crate) checked: Option<BlockId>,
    /// When its chain last grew, or nothing was pending.
    pub(crate) moved_ms: u64,
    /// When its owner last wanted another key.
    pub(crate) wanted_ms: u64,
    /// When the set of voters last waited for no close.
    pub(crate) closed_ms: u64,
    /// The last messages that it heard, for those who repeat them.
    pub(crate) heard: VecDeque<(Stream, Bytes)>,
}

impl Node {
    pub(crate) fn new(number: usize, who: usize, keypair: Keypair, seed: u64, skew_ms: u64) -> Self {
        Self {
            number,
            who,
            keypair,
            next: None,
            retired: Vec::new(),
            disk: SimDisk::new(seed, Faults::default()),
            store: None,
            member: None,
            links: BTreeMap::new(),
            told: Told::default(),
            skew_ms,
            tick_at: None,
            backup: None,
            restored: false,
            knows: Vec::new(),
            learns: false,
            voted: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            stays_out: false,
            checked: None,
            moved_ms: 0,
            wanted_ms: 0,
            closed_ms: 0,
            heard: VecDeque::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.member.is_some()
    }

    /// Switches it on with a disk that is to fail so. It stays off if the disk fails at once.
    pub(crate) fn start(&mut self, genesis: &Genesis, now_ms: u64, faults: Faults) -> bool {
        self.disk.restart(faults);
        let Ok(mut store) = SimStore::open(self.disk.clone()) else { return false };
        let name = Name::new(&format!("node{}", self.who)).expect("a name");
        let mut member =
            Member::load(name, genesis.clone(), self.keypair.clone(), &mut store).expect("its own store is good");
        member.rotate_to(self.next.clone());
        if self.restored {
            member.distrust(CommandError::user("this copy may be old"));
        }
        member.begin(now_ms).expect("it can write");
        self.store = Some(store);
        self.member = Some(member);
        self.tick_at = None;
        true
    }

    /// Switches it off. What was not flushed is lost, or torn.
    pub(crate) fn crash(&mut self) {
        self.disk.crash();
        self.member = None;
        self.store = None;
    }

    /// One round: what is due, to disk, told. False: its disk failed, and it is off.
    pub(crate) fn round(&mut self, now_ms: u64) -> bool {
        if !self.commit(now_ms) {
            return false;
        }
        let Some(member) = &mut self.member else { return false };
        if member.is_read_only() && member.knows_own_tip() {
            member.allow_writing();
            self.restored = false;
            member.begin(now_ms).expect("it can write");
            return self.commit(now_ms);
        }
        true
    }

    fn commit(&mut self, now_ms: u64) -> bool {
        let (Some(member), Some(store)) = (&mut self.member, &mut self.store) else { return false };
        member.tick(now_ms);
        let batch = member.take_staged();
        if !batch.is_empty() && store.commit(&batch).is_err() {
            self.crash();
            return false;
        }
        member.durable();
        for news in member.take_news() {
            if is_told() {
                println!("{now_ms} {} (own clock): {news:?}", self.number);
            }
            match news {
                News::Entry(position) => {
                    self.told.changes.insert(position.id);
                }
                News::Sealed(height, id) => {
                    self.told.blocks.insert((height, id));
                }
                _ => {}
            }
        }
        true
    }
}
