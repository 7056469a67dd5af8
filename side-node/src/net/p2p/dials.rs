//! How attempts to reach addresses ended, and when an address is tried again: after a rest that doubles with each failure in a row, up to a bound, with some
//! chance in it, so that the members of a group do not all come at once to one who has been away. Where somebody answered chance alone decides: two who dial each other at once turn each
//! other away, and would do so again. Sans-IO.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Rest after the first failure in a row, at the longest: somebody who just starts is there in a moment.
const FIRST_REST: Duration = Duration::from_millis(250);
/// Longest rest after an answer. Whoever takes the connection is not dialled again while it stands, so it is waited out where both dialled, or where the other side takes nobody.
const ANSWERED_REST: Duration = Duration::from_millis(500);
/// Longest rest. A peer that comes back dials too, so this is waited out only where it cannot reach us.
pub(super) const LONGEST_REST: Duration = Duration::from_secs(5);
/// Most addresses of which it is known how the last attempt ended: more than are ever tried.
const MAX_DIALS: usize = 4096;

/// How an attempt to reach an address ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialled {
    /// Somebody is there. Whether it is the right one, and takes the connection now, is another matter.
    Answered,
    /// Nobody is, for this reason.
    Failed(String),
}

#[derive(Debug)]
struct Dial {
    outcome: Dialled,
    /// Failures in a row.
    failures: u32,
    rests_until: Instant,
}

/// What is known of addresses that were tried.
#[derive(Debug, Default)]
pub(super) struct Dials(HashMap<SocketAddr, Dial>);

impl Dials {
    /// Whether an address may be tried now.
    pub(super) fn is_due(&self, address: &SocketAddr, now: Instant) -> bool {
        self.0.get(address).is_none_or(|dial| now >= dial.rests_until)
    }

    /// Notes how an attempt ended. `chance`, any number, decides about the second half of the rest, or about all of it where somebody answered.
    pub(super) fn note(&mut self, address: SocketAddr, outcome: Dialled, now: Instant, chance: u32) {
        if self.0.len() >= MAX_DIALS && !self.0.contains_key(&address) {
            self.0.clear();
        }
        let failures = match &outcome {
            Dialled::Answered => 0,
            Dialled::Failed(_) => self.0.get(&address).map_or(0, |dial| dial.failures).saturating_add(1),
        };
        let chance = f64::from(chance) / f64::from(u32::MAX);
        let rest = match failures.checked_sub(1) {
            None => ANSWERED_REST.mul_f64(chance),
            Some(doublings) => {
                // 2¹⁶ times the first rest is more than the longest.
                let whole = FIRST_REST.saturating_mul(1 << doublings.min(16)).min(LONGEST_REST);
                whole / 2 + (whole / 2).mul_f64(chance)
            }
        };
        self.0.insert(address, Dial { outcome, failures, rests_until: now + rest });
    }

    /// How the last attempt to reach an address ended; nothing before the first has.
    pub(super) fn outcome(&self, address: &SocketAddr) -> Option<Dialled> {
        self.0.get(address).map(|dial| dial.outcome.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn failed() -> Dialled {
        Dialled::Failed("connection refused".to_owned())
    }

    /// The rest after each of `failures` failures in a row.
    fn rests(failures: usize, chance: u32) -> Vec<u128> {
        let (mut dials, mut now) = (Dials::default(), Instant::now());
        let rest = |_| {
            assert!(dials.is_due(&at(1), now));
            dials.note(at(1), failed(), now, chance);
            let began = now;
            while !dials.is_due(&at(1), now) {
                now += Duration::from_millis(1);
            }
            now.duration_since(began).as_millis()
        };
        (0..failures).map(rest).collect()
    }

    #[test]
    fn an_address_where_nobody_is_rests_longer_each_time_up_to_a_bound() {
        assert_eq!(rests(7, u32::MAX), [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(rests(7, 0), [125, 250, 500, 1000, 2000, 2500, 2500]);
        assert_eq!(*rests(200, u32::MAX).last().unwrap(), LONGEST_REST.as_millis());
    }

    #[test]
    fn others_do_not_rest_with_it_and_an_answer_ends_its_rest() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        assert_eq!(dials.outcome(&at(1)), None);
        for _ in 0..5 {
            dials.note(at(1), failed(), now, 0);
        }
        assert!(!dials.is_due(&at(1), now) && dials.is_due(&at(2), now));
        assert_eq!(dials.outcome(&at(1)), Some(failed()));
        dials.note(at(1), Dialled::Answered, now, 0);
        assert!(dials.is_due(&at(1), now));
        dials.note(at(1), Dialled::Answered, now, u32::MAX / 2);
        assert!(!dials.is_due(&at(1), now + ANSWERED_REST.mul_f64(0.49)));
        assert!(dials.is_due(&at(1), now + ANSWERED_REST.mul_f64(0.51)));
        // The next failure is the first again.
        dials.note(at(1), failed(), now, u32::MAX);
        assert!(dials.is_due(&at(1), now + FIRST_REST));
        assert_eq!(dials.outcome(&at(1)), Some(failed()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut dials, now) = (Dials::default(), Instant::now());
        for port in 0..=MAX_DIALS as u16 {
            dials.note(at(port), failed(), now, 0);
        }
        assert!(dials.0.len() <= MAX_DIALS);
        assert_eq!(dials.outcome(&at(MAX_DIALS as u16)), Some(failed()));
    }
}
