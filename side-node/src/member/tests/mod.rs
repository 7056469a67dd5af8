//! Members in one process, whose messages are handed over by hand, on a clock that the test moves.

mod follow;
mod glance;
mod hostile;
mod restored;
mod rotate;
mod sealing;
mod trouble;

use std::collections::BTreeMap;

use bft_json_crdt::identity::{AuthorId, Keypair};
use bytes::Bytes;
use side_ledger::{Admission, Genesis, GroupSpec, Limits, Name, Sealing};
use side_store::{MemoryStore, Store as _};

use super::{Around, Ending, Member, News};
use crate::api::control::{Ballot, Verb};
use crate::daemon::view::{Accepted, Line, Stage, Status};
use crate::net::{LinkId, Peer, Stream};

const INTERVAL_MS: u64 = 1_000;
/// How often nodes look at each other's messages before something is wrong.
const MAX_STEPS: usize = 10_000;

struct Node {
    name: String,
    keypair: Keypair,
    store: MemoryStore,
    /// Nothing while it is off.
    member: Option<Member>,
    /// Where each link leads.
    links: BTreeMap<LinkId, (usize, LinkId)>,
    news: Vec<News>,
    endings: Vec<Ending>,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// Lost: the link ends and a new one comes up.
    Breaks,
    /// The peer takes no notice of it.
    Vanishes,
}

/// What happens to messages on the way from one node to another.
type Way = Box<dyn FnMut(usize, usize, Stream) -> Fate>;

struct World {
    genesis: Genesis,
    nodes: Vec<Node>,
    now_ms: u64,
    next_link: u64,
    way: Way,
}

fn keypair(number: usize) -> Keypair {
    Keypair::from_seed(&[number as u8 + 1; 32])
}

fn nobody(_: &str) -> Option<AuthorId> {
    None
}

impl World {
    /// So many nodes in a group that the first one founds, connected by nothing.
    fn new(count: usize, admission: Admission) -> Self {
        let founder = keypair(0).author();
        let genesis = Genesis::new(GroupSpec {
            name: Name::new("world").unwrap(),
            created_ms: 1,
            nonce: [3; 32],
            founders: vec![founder],
            admission,
            allocation: [(founder, 1_000)].into(),
            sealing: Sealing::Leader { interval_ms: INTERVAL_MS },
            limits: Limits::default(),
        })
        .unwrap();
        Self::of(genesis, count)
    }

    fn of(genesis: Genesis, count: usize) -> Self {
        let mut world = Self {
            genesis,
            nodes: Vec::new(),
            now_ms: 1_000_000,
            next_link: 0,
            way: Box::new(|_, _, _| Fate::Arrives),
        };
        for number in 0..count {
            world.add(keypair(number), format!("node{number}"));
        }
        world
    }

    fn add(&mut self, keypair: Keypair, name: String) -> usize {
        let (store, links) = (MemoryStore::new(), BTreeMap::new());
        self.nodes.push(Node { name, keypair, store, member: None, links, news: Vec::new(), endings: Vec::new() });
        self.start(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn start(&mut self, number: usize) {
        let member = self.load(number);
        self.nodes[number].member = Some(member);
        let now_ms = self.now_ms;
        self.member(number).begin(now_ms).unwrap();
    }

    fn load(&mut self, number: usize) -> Member {
        let node = &mut self.nodes[number];
        let name = Name::new(&node.name).unwrap();
        Member::load(name, self.genesis.clone(), node.keypair.clone(), &mut node.store).unwrap()
    }

    /// A node goes off between two rounds.
    fn stop(&mut self, number: usize) {
        self.nodes[number].member = None;
        for (other, theirs) in std::mem::take(&mut self.nodes[number].links).into_values() {
            self.nodes[other].links.remove(&theirs);
            if let Some(member) = &mut self.nodes[other].member {
                member.link_down(theirs);
            }
        }
    }

    fn member(&mut self, number: usize) -> &mut Member {
        self.nodes[number].member.as_mut().expect("it is on")
    }

    fn connect(&mut self, one: usize, other: usize) -> (LinkId, LinkId) {
        let (a, b) = (LinkId(self.next_link), LinkId(self.next_link + 1));
        self.next_link += 2;
        for (link, from, to, theirs) in [(a, one, other, b), (b, other, one, a)] {
            self.nodes[from].links.insert(link, (to, theirs));
            let peer =
                Peer { key: self.nodes[to].keypair.author(), transport: "direct", address: format!("127.0.0.1:{to}") };
            self.member(from).link_up(link, peer);
        }
        (a, b)
    }

    fn mesh(&mut self) {
        for one in 0..self.nodes.len() {
            for other in one + 1..self.nodes.len() {
                self.connect(one, other);
            }
        }
    }

    fn line(&mut self) {
        for one in 1..self.nodes.len() {
            self.connect(one - 1, one);
        }
    }

    fn disconnect(&mut self, number: usize, link: LinkId) {
        let Some((other, theirs)) = self.nodes[number].links.remove(&link) else { return };
        self.nodes[other].links.remove(&theirs);
        for (number, link) in [(number, link), (other, theirs)] {
            if let Some(member) = &mut self.nodes[number].member {
                member.link_down(link);
            }
        }
    }

    /// One round of a node: what is due, to disk, then to the others. Tells whether anything was sent.
    fn round(&mut self, number: usize) -> bool {
        let (now_ms, node) = (self.now_ms, &mut self.nodes[number]);
        let Some(member) = &mut node.member else { return false };
        member.tick(now_ms);
        let batch = member.take_staged();
        node.store.commit(&batch).unwrap();
        member.durable();
        node.news.extend(member.take_news());
        let endings = member.take_endings();
        node.endings.extend(endings.iter().cloned());
        for ending in endings {
            let (other, _) = self.nodes[number].links.get(&ending.link).copied().expect("a link that stood");
            self.disconnect(number, ending.link);
            if !ending.fault {
                self.connect(number, other);
            }
        }
        let links: Vec<LinkId> = self.nodes[number].links.keys().copied().collect();
        let mut sent = false;
        for link in links {
            while let Some((stream, message)) = self.nodes[number].member.as_mut().and_then(|it| it.poll_send(link)) {
                sent = true;
                let (other, theirs) = self.nodes[number].links[&link];
                match (self.way)(number, other, stream) {
                    Fate::Arrives => self.member(other).receive(theirs, stream, &message, now_ms),
                    Fate::Vanishes => {}
                    Fate::Breaks => {
                        self.disconnect(number, link);
                        self.connect(number, other);
                        break;
                    }
                }
            }
        }
        sent
    }

    /// Until nobody has anything to say at this moment.
    fn settle(&mut self) {
        for _ in 0..MAX_STEPS {
            let sent = (0..self.nodes.len()).fold(false, |sent, number| self.round(number) | sent);
            if !sent {
                return;
            }
        }
        panic!("they never come to rest");
    }

    /// Lets time go by, in small steps.
    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.settle();
            self.now_ms += 100;
        }
        self.settle();
    }

    /// Lets time go by until it is so.
    fn until(&mut self, what: &str, mut good: impl FnMut(&mut Self) -> bool) {
        for _ in 0..1_000 {
            self.settle();
            if good(self) {
                return;
            }
            self.now_ms += 100;
        }
        let statuses: Vec<String> =
            self.on().into_iter().map(|number| serde_json::to_string(&self.status(number)).unwrap()).collect();
        panic!("not within a hundred seconds: {what}\n{}", statuses.join("\n"));
    }

    fn say(&mut self, number: usize, verb: &Verb) -> Result<Line, crate::error::CommandError> {
        let now_ms = self.now_ms;
        let member = self.member(number);
        let position = member.say(verb, &nobody, now_ms).expect("a verb that writes")?;
        Ok(member.line_at(&position).unwrap())
    }

    fn note(&mut self, number: usize, text: &str) -> Line {
        self.say(number, &Verb::Note { text: text.to_owned() }).unwrap()
    }

    fn vote_leader(&mut self, number: usize, node: &str) {
        self.say(number, &Verb::Vote { ballot: Ballot::Leader { node: node.to_owned() } }).unwrap();
    }

    fn status(&mut self, number: usize) -> Status {
        self.member(number).status(Around::default())
    }

    fn stage(&mut self, number: usize, line: &Line) -> Stage {
        self.member(number).standing(&line.position()).status
    }

    fn height(&mut self, number: usize) -> u64 {
        self.member(number).group().chain().height().0
    }

    fn on(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.nodes[*number].member.is_some()).collect()
    }

    /// Until there are so many voters in force on every node that is on.
    fn until_voters(&mut self, count: usize) {
        self.until(&format!("{count} voters"), |world| {
            world.on().into_iter().all(|number| world.status(number).voters.len() == count)
        });
    }

    /// Every node that is on has the same chain, state and history, and has no complaint.
    fn agree(&mut self) -> Status {
        let on = self.on();
        let first = self.status(on[0]);
        for number in on {
            let status = self.status(number);
            let same = |status: &Status| {
                (status.block.clone(), status.state_root.clone(), status.heads_digest.clone(), status.digest.clone())
            };
            assert_eq!(same(&status), same(&first), "node{number} and node0");
            assert_eq!(status.offences, [], "node{number}");
            assert!(status.equivocators.is_empty(), "node{number}");
            assert_eq!(self.nodes[number].endings, [], "node{number}");
            self.member(number).core.group.debug_check();
        }
        first
    }
}

/// What goes over the control socket comes back.
#[test]
fn an_answer_with_its_standing_reads_back() {
    let mut world = World::new(1, Admission::Open);
    let entry = world.note(0, "hello");
    world.pass(100);
    let entry = world.member(0).line_at(&entry.position()).unwrap();
    let accepted = Accepted { entry, running: true };
    let json = serde_json::to_value(&accepted).unwrap();
    assert_eq!((&json["entry"]["status"], &json["entry"]["height"]), (&"sealed".into(), &1.into()));
    assert_eq!(serde_json::from_value::<Accepted>(json).unwrap(), accepted);
}
