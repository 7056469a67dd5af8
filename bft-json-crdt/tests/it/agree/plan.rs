//! What happens in a history, as a list that can be cut down: who writes what, who learns of it. The choices within a call are a number that is played on
//! whatever is there by then, so that any part of a plan is a plan.

use super::dice::Dice;
use super::graph::MAX_CHANGES;

/// What a history is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Replicas that write.
    pub(super) peers: u8,
    /// How many of the first ones write as one author.
    pub(super) twins: u8,
    /// How many different keys maps have.
    pub(super) keys: u8,
    /// How often each kind is walked to, in the order of [`bft_json_crdt::ops::Kind::ALL`].
    pub(super) kinds: [u16; 6],
    /// Once in so many calls something is cleared or ensured.
    pub(super) clears: u8,
    /// Bit n: peer n hears events and keeps a copy by them.
    pub(super) listening: u8,
    /// Once in so many references a hand-written change names something that it may not.
    pub(super) slips: u16,
}

/// One call of a writer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Leads to a container.
    pub(super) walk: u64,
    /// Decides what is done there.
    pub(super) act: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A peer writes a change through a transaction; `forks`, behind an earlier change of its author than the last.
    Write { peer: u8, forks: Option<u64>, calls: Vec<Call> },
    /// A peer makes up a change by hand; `blind`, one that knows only a part of what the peer knows.
    Foreign { peer: u8, forks: Option<u64>, blind: Option<u64>, calls: Vec<Call> },
    /// A peer takes from another what it has, or the past of one change (`part`), in some order.
    Take { to: u8, from: u8, part: bool, order: u64 },
    /// A peer becomes a copy of another.
    Copy { to: u8, from: u8 },
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    pub(super) steps: Vec<Step>,
}

impl Plan {
    pub(super) fn from_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let shape = Shape::roll(&mut dice);
        let most = match dice.roll(8) {
            0..5 => 5 + dice.roll(12),
            5 | 6 => 5 + dice.roll(30),
            _ => 5 + dice.roll(MAX_CHANGES - 8),
        };
        let foreign = dice.pick(&[0u16, 1, 4]);
        let mut steps = Vec::new();
        let mut changes = 0;
        // A few places where all meet, and those that a peer comes back to.
        let meeting: Vec<u64> = (0..1 + dice.roll(3)).map(|_| dice.next()).collect();
        let mut walks = vec![meeting[0]; usize::from(shape.peers)];
        while changes < most {
            let peer = dice.roll(shape.peers.into()) as u8;
            let step = dice.weigh([8, foreign, 6, 1]);
            if step < 2 {
                changes += 1;
                let forks = dice.one_in(25).then(|| dice.next());
                let count = [1, 1, 1, 2, 2, 3, 5, 8][dice.roll(8)];
                let walk = &mut walks[usize::from(peer)];
                let calls = (0..count)
                    .map(|_| {
                        match dice.roll(6) {
                            0 => *walk = dice.next(),
                            1 => *walk = dice.pick(&meeting),
                            _ => {}
                        }
                        Call { walk: *walk, act: dice.next() }
                    })
                    .collect();
                steps.push(match step {
                    0 => Step::Write { peer, forks, calls },
                    _ => Step::Foreign { peer, forks, blind: dice.one_in(4).then(|| dice.next()), calls },
                });
            } else {
                let from = (peer + 1 + dice.roll(usize::from(shape.peers) - 1) as u8) % shape.peers;
                steps.push(match step {
                    2 => Step::Take { to: peer, from, part: dice.one_in(2), order: dice.next() },
                    _ if from < shape.twins && peer < shape.twins => Step::Copy { to: peer, from },
                    _ => continue,
                });
            }
        }
        Self { seed, shape, steps }
    }

    /// Smaller plans of the same kind, the smallest first: without some of the steps, without some of the calls, with simpler steps.
    pub(super) fn smaller(&self) -> impl Iterator<Item = Plan> + '_ {
        let len = self.steps.len();
        let sizes =
            std::iter::successors(Some(len / 2), |size| (*size > 1).then_some(size / 2)).filter(|size| *size > 0);
        let cuts = sizes.flat_map(move |size| (0..len).step_by(size).map(move |from| (from, (from + size).min(len))));
        let shorter = cuts.map(|(from, until)| {
            let mut plan = self.clone();
            plan.steps.drain(from..until);
            plan
        });
        let calls = (0..len).flat_map(move |at| {
            let count = match &self.steps[at] {
                Step::Write { calls, .. } | Step::Foreign { calls, .. } => calls.len(),
                _ => 0,
            };
            (0..if count > 1 { count } else { 0 }).map(move |call| {
                let mut plan = self.clone();
                if let Step::Write { calls, .. } | Step::Foreign { calls, .. } = &mut plan.steps[at] {
                    calls.remove(call);
                }
                plan
            })
        });
        let simpler = (0..len).filter_map(move |at| {
            let mut plan = self.clone();
            match &mut plan.steps[at] {
                Step::Write { forks: forks @ Some(_), .. } => *forks = None,
                Step::Foreign { forks: forks @ Some(_), .. } => *forks = None,
                Step::Foreign { blind: blind @ Some(_), .. } => *blind = None,
                Step::Take { part: part @ true, .. } => *part = false,
                _ => return None,
            }
            Some(plan)
        });
        shorter.chain(calls).chain(simpler)
    }
}

impl Shape {
    fn roll(dice: &mut Dice) -> Self {
        let kinds = match dice.roll(6) {
            // Text alone, lists alone, and what lies between.
            0 => [0, 0, 0, 0, 0, 1],
            1 => [0, 0, 0, 0, 1, 0],
            2 => [1, 1, 1, 6, 2, 2],
            3 => [0, 0, 0, 2, 6, 1],
            4 => [4, 4, 4, 3, 1, 1],
            _ => [1, 1, 1, 3, 3, 3],
        };
        let peers = 2 + dice.roll(3) as u8;
        Self {
            peers,
            twins: dice.roll(usize::from(peers) + 1) as u8,
            keys: 1 + dice.roll(3) as u8,
            kinds,
            clears: dice.pick(&[4, 12, 40]),
            listening: dice.next() as u8,
            slips: dice.pick(&[12, 60, 400]),
        }
    }
}
