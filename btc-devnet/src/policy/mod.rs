//! What Bitcoin Core's mempool asks of a transaction beyond what consensus does, and both in Core's words.
//!
//! The constants are those of the Core release that `libbitcoinkernel-sys` vendors (31.99); each names the file it was read in.
//! The README's table tells which rule is enforced, approximated or absent.

mod dust;
mod inputs;
mod locks;
mod refusal;
mod standard;
mod transaction;
mod truc;
mod witness;

pub(crate) use dust::{check_ephemeral_spends, dust_outputs, dust_threshold};
pub(crate) use inputs::{SpentCoin, check_input_standardness, check_inputs};
pub(crate) use locks::{check_sequence_locks, is_final};
pub(crate) use refusal::{Kind, Refusal, format_money};
pub(crate) use standard::check_standard;
pub(crate) use transaction::check_transaction;
pub(crate) use truc::{MempoolParent, TrucError, check_package_truc, check_single_truc};
pub(crate) use witness::is_witness_standard;

/// Weight units of a byte outside witnesses (`consensus/consensus.h`).
pub(crate) const WITNESS_SCALE_FACTOR: u64 = 4;
/// `MAX_BLOCK_WEIGHT` (`consensus/consensus.h`).
pub(crate) const MAX_BLOCK_WEIGHT: u64 = 4_000_000;
/// `MAX_BLOCK_SIGOPS_COST` (`consensus/consensus.h`).
pub(crate) const MAX_BLOCK_SIGOPS_COST: u64 = 80_000;
/// `COINBASE_MATURITY` (`consensus/consensus.h`).
pub(crate) const COINBASE_MATURITY: u32 = 100;
/// `MAX_MONEY` in satoshis (`consensus/amount.h`).
pub(crate) const MAX_MONEY: u64 = 21_000_000 * 100_000_000;
/// Weight that block templates leave for header and coinbase (`DEFAULT_BLOCK_RESERVED_WEIGHT`, `policy/policy.h`).
pub(crate) const BLOCK_RESERVED_WEIGHT: u64 = 8_000;
/// Signature operations that block templates leave (`DEFAULT_COINBASE_OUTPUT_MAX_ADDITIONAL_SIGOPS`, `policy/policy.h`).
pub(crate) const BLOCK_RESERVED_SIGOPS: u64 = 400;
/// `DEFAULT_BLOCK_MIN_TX_FEE` in sat/kvB (`policy/policy.h`).
pub(crate) const BLOCK_MIN_FEERATE: FeeRate = FeeRate(1);
/// `MAX_STANDARD_TX_WEIGHT` (`policy/policy.h`).
pub(crate) const MAX_STANDARD_TX_WEIGHT: u64 = 400_000;
/// `MIN_STANDARD_TX_NONWITNESS_SIZE` in bytes (`policy/policy.h`); see CVE-2017-12842.
pub(crate) const MIN_STANDARD_TX_NONWITNESS_SIZE: usize = 65;
/// `MAX_STANDARD_TX_SIGOPS_COST` (`policy/policy.h`).
pub(crate) const MAX_STANDARD_TX_SIGOPS_COST: u64 = MAX_BLOCK_SIGOPS_COST / 5;
/// `DEFAULT_BYTES_PER_SIGOP` (`policy/policy.h`): a signature operation counts at least as this much weight.
pub(crate) const WEIGHT_PER_SIGOP: u64 = 20;
/// `DEFAULT_MIN_RELAY_TX_FEE` in sat/kvB (`policy/policy.h`).
pub(crate) const MIN_RELAY_FEERATE: FeeRate = FeeRate(100);
/// `DEFAULT_INCREMENTAL_RELAY_FEE` in sat/kvB (`policy/policy.h`).
pub(crate) const INCREMENTAL_RELAY_FEERATE: FeeRate = FeeRate(100);
/// `DEFAULT_MAX_RAW_TX_FEE_RATE`, 0.10 BTC/kvB (`node/transaction.h`): a broadcast that pays more is taken for a mistake.
pub(crate) const MAX_BROADCAST_FEERATE: FeeRate = FeeRate(10_000_000);
/// `DEFAULT_CLUSTER_LIMIT` (`policy/policy.h`).
pub(crate) const CLUSTER_LIMIT: usize = 64;
/// `DEFAULT_CLUSTER_SIZE_LIMIT_KVB` as weight (`policy/policy.h`).
pub(crate) const CLUSTER_WEIGHT_LIMIT: u64 = 101_000 * WITNESS_SCALE_FACTOR;
/// `MAX_REPLACEMENT_CANDIDATES` (`policy/rbf.h`): how many clusters one replacement may touch.
pub(crate) const MAX_REPLACEMENT_CLUSTERS: usize = 100;
/// `MAX_PACKAGE_COUNT` (`policy/packages.h`).
pub(crate) const MAX_PACKAGE_COUNT: usize = 25;
/// `MAX_PACKAGE_WEIGHT` (`policy/packages.h`).
pub(crate) const MAX_PACKAGE_WEIGHT: u64 = 404_000;
/// `DEFAULT_MAX_MEMPOOL_SIZE_MB` in bytes (`kernel/mempool_options.h`).
pub(crate) const MAX_MEMPOOL_BYTES: usize = 300_000_000;
/// `DEFAULT_MEMPOOL_EXPIRY_HOURS` in seconds (`kernel/mempool_options.h`).
pub(crate) const MEMPOOL_EXPIRY: u32 = 336 * 60 * 60;

/// A fee rate in satoshis a kilo-virtual-byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FeeRate(pub(crate) u64);

impl FeeRate {
    /// The rate of `fee` satoshis for `vsize` virtual bytes, rounded down as Core shows it.
    pub(crate) fn of(fee: u64, vsize: u64) -> FeeRate {
        FeeRate((u128::from(fee) * 1000 / u128::from(vsize.max(1))).try_into().unwrap_or(u64::MAX))
    }

    /// The least fee that reaches this rate, in satoshis (`CFeeRate::GetFee`).
    pub(crate) fn fee(self, vsize: u64) -> u64 {
        (u128::from(self.0) * u128::from(vsize)).div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }

    /// Whether `fee` for `vsize` is more than this rate, without rounding.
    pub(crate) fn is_exceeded_by(self, fee: u64, vsize: u64) -> bool {
        u128::from(fee) * 1000 > u128::from(self.0) * u128::from(vsize)
    }
}

/// Weight adjusted for signature operations (`GetSigOpsAdjustedWeight`, `policy/policy.cpp`).
pub(crate) fn adjusted_weight(weight: u64, sigop_cost: u64) -> u64 {
    weight.max(sigop_cost * WEIGHT_PER_SIGOP)
}

/// Virtual bytes of an adjusted weight.
pub(crate) fn vsize(adjusted_weight: u64) -> u64 {
    adjusted_weight.div_ceil(WITNESS_SCALE_FACTOR)
}
