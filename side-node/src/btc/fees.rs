//! How much a payment may cost. A server suggests fee rates; it must not be able to make us burn money, nor to make us send what no node relays.

use std::collections::BTreeMap;

use bitcoin::{Amount, FeeRate};

use super::amount;
use super::network::Network;

/// The lowest rate that we pay, 0.1 sat/vB: the minimum relay fee of Bitcoin Core since 29.1. Less is not passed on.
pub const MIN_FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(25);
/// The highest rate that a person may ask for, 1,000 sat/vB: about the highest that was ever paid for a while (April 2024). More is a slip of the keyboard.
pub const MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(250_000);
/// The highest rate that a server's estimate may have where coins are worth something, 300 sat/vB: reached on some days a year. A person can go further.
const MAX_ESTIMATE: FeeRate = FeeRate::from_sat_per_kwu(75_000);
/// The same on a test network, 100 sat/vB: there, blocks are seldom full.
const MAX_TEST_ESTIMATE: FeeRate = FeeRate::from_sat_per_kwu(25_000);
/// What is paid on a test network whose server has no estimate (it has seen no traffic), 1 sat/vB.
const TEST_FALLBACK: FeeRate = FeeRate::from_sat_per_kwu(250);
/// The most that one payment may cost unless a person says otherwise: 100,000 sats.
pub const MAX_FEE: Amount = Amount::from_sat(100_000);
/// A payment's fee is looked at against its amount only above this, 5,000 sats: small payments cost what they cost.
const SMALL_FEE: Amount = Amount::from_sat(5_000);
/// Sats a virtual byte from which on an estimate is taken for this much.
const BEYOND_SENSE: f64 = 1e6;
/// Blocks within which a payment should be in: an hour on Bitcoin, three minutes on Mutinynet.
pub const TARGET_BLOCKS: u16 = 6;

/// Why no fee rate, or no fee, was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeeError {
    /// The server suggests more than is ever reasonable.
    #[error("the server suggests {}, more than {} on {network}", amount::show_rate(*suggested), amount::show_rate(*limit))]
    AbsurdEstimate {
        /// What it suggests.
        suggested: FeeRate,
        /// What we would follow.
        limit: FeeRate,
        /// Where.
        network: Network,
    },
    /// The server has no estimate, and guessing costs money here.
    #[error("the server has no fee estimate")]
    NoEstimate,
    /// A person asked for too little.
    #[error("a fee rate of {} is not relayed: the least is {}", amount::show_rate(*.0), amount::show_rate(MIN_FEE_RATE))]
    RateTooLow(FeeRate),
    /// A person asked for too much.
    #[error("a fee rate of {} is absurd: the most is {}", amount::show_rate(*.0), amount::show_rate(MAX_FEE_RATE))]
    RateTooHigh(FeeRate),
    /// The payment as a whole costs too much.
    #[error("the fee would be {}, more than {}", amount::show(*fee), amount::show(*limit))]
    FeeTooHigh {
        /// What it would cost.
        fee: Amount,
        /// What it may cost.
        limit: Amount,
    },
}

/// The server's estimates, by confirmation target in blocks, in sats a virtual byte as it said them: any number may stand there.
pub type Estimates = BTreeMap<u16, f64>;

/// The rate for [`TARGET_BLOCKS`] by a server's estimates, within bounds.
///
/// # Errors
/// [`FeeError::AbsurdEstimate`] if it is above what the network ever needs, [`FeeError::NoEstimate`] if there is none where coins are worth something.
pub fn from_estimates(network: Network, estimates: &Estimates) -> Result<FeeRate, FeeError> {
    let limit = if network.is_real_money() { MAX_ESTIMATE } else { MAX_TEST_ESTIMATE };
    match suggested(estimates) {
        Some(rate) if rate > limit => Err(FeeError::AbsurdEstimate { suggested: rate, limit, network }),
        Some(rate) => Ok(rate.max(MIN_FEE_RATE)),
        None if network.is_real_money() => Err(FeeError::NoEstimate),
        None => Ok(TEST_FALLBACK),
    }
}

/// The same for somebody who cannot ask a person (a swap near its deadline): an absurd estimate is cut to the limit instead.
pub fn from_estimates_clamped(network: Network, estimates: &Estimates) -> FeeRate {
    match from_estimates(network, estimates) {
        Ok(rate) => rate,
        Err(FeeError::AbsurdEstimate { limit, .. }) => limit,
        Err(_) => TEST_FALLBACK,
    }
}

/// The estimate for the nearest target at or below ours, else the nearest above. Numbers that are no rates count as none.
fn suggested(estimates: &Estimates) -> Option<FeeRate> {
    // Beyond all sense is still a number, and refused as absurd; what is no number is no estimate.
    let rate =
        |(_, rate): (&u16, &f64)| (!rate.is_nan()).then(|| rate.min(BEYOND_SENSE)).and_then(amount::fee_rate_from);
    let below = estimates.range(..=TARGET_BLOCKS).rev().find_map(rate);
    below.or_else(|| estimates.range(TARGET_BLOCKS..).find_map(rate))
}

/// Refuses a rate that a person gave and that cannot be meant.
pub fn check_rate(rate: FeeRate) -> Result<FeeRate, FeeError> {
    match rate {
        rate if rate < MIN_FEE_RATE => Err(FeeError::RateTooLow(rate)),
        rate if rate > MAX_FEE_RATE => Err(FeeError::RateTooHigh(rate)),
        rate => Ok(rate),
    }
}

/// Refuses a fee that cannot be meant: more than `limit` (what a person allowed, else [`MAX_FEE`]), or, unless a person allowed it, more than the amount.
pub fn check_fee(fee: Amount, paid: Amount, allowed: Option<Amount>) -> Result<(), FeeError> {
    let limit = allowed.unwrap_or_else(|| MAX_FEE.min(paid.max(SMALL_FEE)));
    if fee > limit { Err(FeeError::FeeTooHigh { fee, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimates(pairs: &[(u16, f64)]) -> Estimates {
        pairs.iter().copied().collect()
    }

    #[test]
    fn the_target_at_or_below_ours_counts() {
        let rate = |pairs: &[(u16, f64)]| from_estimates(Network::Bitcoin, &estimates(pairs));
        assert_eq!(rate(&[(1, 9.0), (3, 7.0), (10, 2.0)]), Ok(amount::fee_rate_from(7.0).unwrap()));
        assert_eq!(rate(&[(10, 2.0), (20, 1.0)]), Ok(amount::fee_rate_from(2.0).unwrap()));
        assert_eq!(rate(&[(6, 0.001)]), Ok(MIN_FEE_RATE));
        assert_eq!(rate(&[]), Err(FeeError::NoEstimate));
        assert_eq!(from_estimates(Network::Mutinynet, &estimates(&[])), Ok(TEST_FALLBACK));
    }

    #[test]
    fn lying_estimates_burn_no_money() {
        for lie in [1e4, 1e9, 1e300, f64::INFINITY] {
            let error = from_estimates(Network::Mutinynet, &estimates(&[(6, lie)])).unwrap_err();
            assert!(matches!(error, FeeError::AbsurdEstimate { .. }), "{error}");
            assert_eq!(from_estimates_clamped(Network::Bitcoin, &estimates(&[(6, lie)])), MAX_ESTIMATE);
        }
        // What is no number at all counts as not said.
        for lie in [f64::NAN, -5.0, 0.0] {
            assert_eq!(from_estimates(Network::Regtest, &estimates(&[(6, lie)])), Ok(TEST_FALLBACK), "{lie}");
        }
    }

    #[test]
    fn a_fee_is_seen_beside_what_is_paid() {
        let sats = Amount::from_sat;
        assert!(check_fee(sats(4_000), sats(600), None).is_ok());
        assert!(check_fee(sats(6_000), sats(600), None).is_err());
        assert!(check_fee(sats(6_000), sats(600), Some(sats(6_000))).is_ok());
        assert!(check_fee(sats(100_001), sats(1_000_000_000), None).is_err());
        assert!(check_rate(amount::fee_rate_from(1_001.0).unwrap()).is_err());
        assert!(check_rate(amount::fee_rate_from(0.05).unwrap()).is_err());
    }
}
