//! Lock times: absolute (nLockTime, BIP113) and relative (nSequence, BIP68). See `consensus/tx_verify.cpp`.

use bitcoin::Transaction;

use super::SpentCoin;
use crate::chain::Chain;

/// Lock times below this are heights, from it on seconds since 1970.
const LOCK_TIME_THRESHOLD: u32 = 500_000_000;
const SEQUENCE_FINAL: u32 = 0xffff_ffff;
const SEQUENCE_DISABLE: u32 = 1 << 31;
const SEQUENCE_TYPE: u32 = 1 << 22;
const SEQUENCE_MASK: u32 = 0xffff;
/// Relative times count in steps of 512 seconds.
const SEQUENCE_GRANULARITY: u32 = 9;

/// Whether the lock time allows the transaction in the block after the tip.
pub(crate) fn is_final(transaction: &Transaction, chain: &Chain) -> bool {
    let lock_time = transaction.lock_time.to_consensus_u32();
    let limit = if lock_time < LOCK_TIME_THRESHOLD { chain.height() + 1 } else { chain.tip().median_time_past };
    lock_time < limit || lock_time == 0 || transaction.input.iter().all(|input| input.sequence.0 == SEQUENCE_FINAL)
}

/// Whether the relative lock times allow the transaction in the block after the tip. `spent` has a coin for each input.
pub(crate) fn check_sequence_locks(transaction: &Transaction, spent: &[SpentCoin], chain: &Chain) -> bool {
    // Versions are unsigned to Core.
    if (transaction.version.0 as u32) < 2 {
        return true;
    }
    let next = chain.height() + 1;
    transaction.input.iter().zip(spent).all(|(input, coin)| {
        let sequence = input.sequence.0;
        if sequence & SEQUENCE_DISABLE != 0 {
            return true;
        }
        let wait = sequence & SEQUENCE_MASK;
        // An unconfirmed coin is taken to be confirmed by the next block.
        let height = coin.height.unwrap_or(next);
        if sequence & SEQUENCE_TYPE == 0 {
            return height + wait <= next;
        }
        // Time counts from the median time past of the block before the coin's.
        let since = chain.at(height.saturating_sub(1)).map_or(u32::MAX, |link| link.median_time_past);
        u64::from(since) + (u64::from(wait) << SEQUENCE_GRANULARITY) <= u64::from(chain.tip().median_time_past)
    })
}
