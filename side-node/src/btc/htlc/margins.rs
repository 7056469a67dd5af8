//! How many blocks and what fees a swap's safety takes: named constants, what they are reckoned from, and their arithmetic.
//!
//! Blocks come as a Poisson process: the time that `n` of them take has the standard deviation `sqrt(n)` intervals. Where two chains must
//! be compared, [`earliest_seconds`] and [`latest_seconds`] bound it by [`SIGMAS`] of them.
//!
//! ```text
//!  payee's view of one lock                    reveal_margin                          timeout
//!  |-- funding gets in --|-- confirmations --|........|-- claim gets in --|-- bumps --|-- buried --|-- refund possible ->
//!  |<----------------------------- min_timeout ----------------------------------------------->|
//! ```

use bitcoin::{Amount, FeeRate};

use super::terms::ChainId;

/// Least amount of a lock. A claim weighs about 150 vB; at 20 sat/vB it costs 3,000 sats and must leave more than dust (330 sats).
pub const MIN_AMOUNT: Amount = Amount::from_sat(5_000);
/// Confirmations that an amount up to so many sats deserves. Losing two blocks happens every few years on Bitcoin, and making it happen costs an attacker the blocks' own
/// rewards (over 3 BTC each today), so that depth must grow with what could be won by it.
pub const CONFIRMATIONS: [(Amount, u32); 5] = [
    (Amount::from_sat(1_000_000), 2),
    (Amount::from_sat(10_000_000), 3),
    (Amount::from_sat(100_000_000), 6),
    (Amount::from_sat(1_000_000_000), 12),
    (Amount::MAX_MONEY, 30),
];
/// Least confirmations where blocks are cheap: on Mutinynet a reorg of one to five blocks can be bought, testnet4 has storms of blocks at
/// the least difficulty.
pub const TEST_CHAIN_CONFIRMATIONS: u32 = 6;
/// Least depth at which a claim or refund counts as settled and is no longer watched.
pub const BURIED: u32 = 6;
/// Blocks in which a transaction with a fitting fee gets in: the target of common fee estimates.
pub const INCLUSION_BLOCKS: u32 = 6;
/// Blocks kept for raising the fee when the first one did not do: two rounds of [`BUMP_AFTER_BLOCKS`].
pub const BUMP_ROOM_BLOCKS: u32 = 6;
/// Blocks that a node may be off, or its person away, between the funding and the claim, at no loss.
pub const AWAY_BLOCKS: u32 = 12;
/// Most blocks that a timeout may lie ahead: half a year of ten minute blocks. Whoever locks for longer has mistyped.
pub const MAX_TIMEOUT_BLOCKS: u32 = 26_208;
/// Blocks after the timeout in which a payer who has already learned the preimage leaves the lock to a late claim, unless told otherwise:
/// the payer has got what the coins were for, and a race in fees would burn them.
pub const LATE_CLAIM_GRACE_BLOCKS: u32 = 18;
/// Blocks that a spend stays unconfirmed before its fee is raised whatever the estimates say: then they are wrong, or a lie.
pub const BUMP_AFTER_BLOCKS: u32 = 3;
/// Least raise of a bump, in percent of the last rate: smaller steps only cost traffic.
pub const BUMP_STEP_PERCENT: u64 = 125;
/// What a replacement pays on top of what it replaces, for its own size (Core's incremental relay fee, in its older and higher value).
pub const INCREMENTAL_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(1);
/// Least rate of our transactions: what every node relays, old or new.
pub const MIN_FEE_RATE: FeeRate = FeeRate::BROADCAST_MIN;
/// Most that we pay a virtual byte, whatever a server says: twice the highest rate that mainnet has seen (about 1,000 sat/vB, April 2024).
pub const MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2_000);
/// A preimage is not revealed when a claim at the rate for the next block would cost more than this share of the amount: the claim might never get in while
/// the preimage is public, and the other half is the room for bumps.
pub const MAX_REVEAL_FEE_PERCENT: u64 = 50;
/// Standard deviations by which the time of a number of blocks is bounded: beyond three lies about one case in a thousand.
pub const SIGMAS: u64 = 3;

/// Fee rates by how soon a transaction is to be confirmed, as servers estimate them. They may be absurd: use them through [`claim_rate`] and
/// [`refund_rate`] only, which hold them within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeRates {
    /// For the next block.
    pub fast: FeeRate,
    /// Within [`INCLUSION_BLOCKS`].
    pub normal: FeeRate,
}

impl FeeRates {
    /// The same rate for every target.
    pub const fn flat(rate: FeeRate) -> Self {
        Self { fast: rate, normal: rate }
    }
}

/// One rung of the fee schedule: with so many blocks left or fewer, pay so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// The rung holds while at most so many blocks are left.
    pub blocks_left: u32,
    /// Percent of the rate for the next block; `None`: the normal rate.
    pub percent_of_fast: Option<u64>,
    /// Most that may be paid, in percent of the amount: paying 95 of 100 is better than losing 100.
    pub percent_of_amount: u64,
}

/// Fees toward the deadline, the most urgent rung first.
pub const FEE_SCHEDULE: [Rung; 5] = [
    Rung { blocks_left: 2, percent_of_fast: Some(400), percent_of_amount: 95 },
    Rung { blocks_left: 6, percent_of_fast: Some(250), percent_of_amount: 75 },
    Rung { blocks_left: 12, percent_of_fast: Some(150), percent_of_amount: 50 },
    Rung { blocks_left: 36, percent_of_fast: Some(100), percent_of_amount: 50 },
    Rung { blocks_left: u32::MAX, percent_of_fast: None, percent_of_amount: 50 },
];

/// How deep a lock of this amount must be buried before a preimage is shown or a second leg funded.
pub fn confirmations(chain: &ChainId, amount: Amount) -> u32 {
    let deserved = CONFIRMATIONS.iter().find(|(most, _)| amount <= *most).map_or(30, |(_, depth)| *depth);
    if chain.has_cheap_reorgs() { deserved.max(TEST_CHAIN_CONFIRMATIONS) } else { deserved }
}

/// How deep a claim or refund of this amount must be buried before the swap is done.
pub fn burial(chain: &ChainId, amount: Amount) -> u32 {
    confirmations(chain, amount).max(BURIED)
}

/// Least number of blocks before the timeout at which a preimage is still revealed for the first time: the claim gets in, with room for
/// bumps, and is buried before a refund becomes possible.
pub fn reveal_margin(chain: &ChainId, amount: Amount) -> u32 {
    INCLUSION_BLOCKS + BUMP_ROOM_BLOCKS + confirmations(chain, amount)
}

/// Least number of blocks from the tip to the timeout when a lock is agreed or funded: the funding gets in and is buried, somebody may be
/// away for a while, and the claim still has its margin.
pub fn min_timeout(chain: &ChainId, amount: Amount) -> u32 {
    INCLUSION_BLOCKS + confirmations(chain, amount) + AWAY_BLOCKS + reveal_margin(chain, amount)
}

/// The rung that holds with so many blocks left.
pub fn rung(blocks_left: u32) -> &'static Rung {
    FEE_SCHEDULE.iter().find(|rung| blocks_left <= rung.blocks_left).unwrap_or(&FEE_SCHEDULE[FEE_SCHEDULE.len() - 1])
}

/// The rate of a claim with so many blocks left before the refund becomes possible, and the most it may cost in all.
pub fn claim_rate(blocks_left: u32, rates: FeeRates, amount: Amount) -> (FeeRate, Amount) {
    let rung = rung(blocks_left);
    let rate = match rung.percent_of_fast {
        Some(percent) => scale(rates.fast.max(rates.normal), percent),
        None => rates.normal,
    };
    (rate.clamp(MIN_FEE_RATE, MAX_FEE_RATE), share(amount, rung.percent_of_amount))
}

/// The rate of a refund that could have been broadcast so many blocks ago, and the most it may cost in all. A refund has no deadline, but a
/// payee who has the preimage may still claim: it climbs the same schedule from its middle, and stays below half the amount.
pub fn refund_rate(blocks_waited: u32, rates: FeeRates, amount: Amount) -> (FeeRate, Amount) {
    let (rate, _) = claim_rate(36u32.saturating_sub(blocks_waited.saturating_mul(2)).max(3), rates, amount);
    (rate, share(amount, 50))
}

/// `percent` of an amount, rounded down.
pub fn share(amount: Amount, percent: u64) -> Amount {
    let sats = u128::from(amount.to_sat()) * u128::from(percent) / 100;
    Amount::from_sat(u64::try_from(sats).unwrap_or(u64::MAX))
}

/// `percent` of a rate, rounded up, never overflowing.
pub fn scale(rate: FeeRate, percent: u64) -> FeeRate {
    let scaled = (u128::from(rate.to_sat_per_kwu()) * u128::from(percent)).div_ceil(100);
    FeeRate::from_sat_per_kwu(u64::try_from(scaled).unwrap_or(u64::MAX))
}

/// Seconds that `blocks` take at least, but for one case in a thousand.
pub fn earliest_seconds(blocks: u32, interval_seconds: u32) -> u64 {
    (u64::from(blocks) * u64::from(interval_seconds)).saturating_sub(spread(blocks, interval_seconds))
}

/// Seconds that `blocks` take at most, but for one case in a thousand.
pub fn latest_seconds(blocks: u32, interval_seconds: u32) -> u64 {
    u64::from(blocks) * u64::from(interval_seconds) + spread(blocks, interval_seconds)
}

/// Blocks that may come within `seconds` at most: the least number whose earliest time is not below it.
pub fn blocks_covering(seconds: u64, interval_seconds: u32) -> u32 {
    // n - 3 sqrt(n) is at least x for n = x + 3 sqrt(x) + 9 rounded up; the loop then finds the least such n.
    let (mut low, mut high) = (0u32, 1u32);
    while earliest_seconds(high, interval_seconds) < seconds && high < u32::MAX / 2 {
        high *= 2;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if earliest_seconds(middle, interval_seconds) < seconds { low = middle + 1 } else { high = middle }
    }
    low
}

/// [`SIGMAS`] standard deviations of the time of `blocks`, rounded up.
fn spread(blocks: u32, interval_seconds: u32) -> u64 {
    // The root of n in 1/1000 steps.
    let root = (u64::from(blocks) * 1_000_000).isqrt() + 1;
    if blocks == 0 { 0 } else { (SIGMAS * root * u64::from(interval_seconds)).div_ceil(1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(text: &str) -> ChainId {
        text.parse().expect("a chain")
    }

    #[test]
    fn depth_grows_with_the_amount_and_where_reorgs_are_cheap() {
        let depths = [5_000u64, 1_000_000, 1_000_001, 50_000_000, 200_000_000, 2_000_000_000]
            .map(|sats| confirmations(&chain("bitcoin"), Amount::from_sat(sats)));
        assert_eq!(depths, [2, 2, 3, 6, 12, 30]);
        assert_eq!(confirmations(&chain("mutinynet"), Amount::from_sat(5_000)), 6);
        assert_eq!(burial(&chain("bitcoin"), Amount::from_sat(5_000)), 6);
    }

    #[test]
    fn margins_add_up() {
        let (chain, amount) = (chain("regtest"), Amount::from_sat(50_000));
        assert_eq!(reveal_margin(&chain, amount), 14);
        assert_eq!(min_timeout(&chain, amount), 34);
    }

    #[test]
    fn fees_climb_toward_the_deadline_and_never_leave_their_bounds() {
        let rates = FeeRates { fast: FeeRate::from_sat_per_vb_u32(10), normal: FeeRate::from_sat_per_vb_u32(4) };
        let amount = Amount::from_sat(100_000);
        let ladder = [100u32, 36, 12, 6, 2, 0].map(|left| claim_rate(left, rates, amount).0.to_sat_per_vb_ceil());
        assert_eq!(ladder, [4, 10, 15, 25, 40, 40]);
        assert_eq!(claim_rate(0, FeeRates::flat(FeeRate::MAX), amount), (MAX_FEE_RATE, Amount::from_sat(95_000)));
        assert_eq!(claim_rate(50, FeeRates::flat(FeeRate::ZERO), amount).0, MIN_FEE_RATE);
        assert!(refund_rate(20, rates, amount).0 > refund_rate(0, rates, amount).0);
    }

    #[test]
    fn the_time_of_blocks_is_bounded_on_both_sides() {
        assert_eq!(earliest_seconds(9, 600), 0);
        assert!(earliest_seconds(100, 600) < 100 * 600 && latest_seconds(100, 600) > 100 * 600);
        for (seconds, interval) in [(0, 600), (1, 600), (86_400, 600), (86_400, 30), (7 * 86_400, 600)] {
            let blocks = blocks_covering(seconds, interval);
            assert!(earliest_seconds(blocks, interval) >= seconds);
            assert!(blocks == 0 || earliest_seconds(blocks - 1, interval) < seconds);
        }
    }
}
