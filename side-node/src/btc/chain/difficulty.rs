//! Which difficulty a header must state: Bitcoin Core's `GetNextWorkRequired` (src/pow.cpp), with BIP94 for testnet4.
//!
//! Signets are the exception: their security is the challenge's solution, and custom ones space their blocks, and so their retargets, as they
//! like. There only the network's easiest target binds.

use bitcoin::block::Header;
use bitcoin::{CompactTarget, Network, Target};

use super::rules::Rules;

/// What a header's `bits` must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// Exactly this.
    Exactly(CompactTarget),
    /// Any target within, both included: the first retarget after an anchor, whose period began below it, may change the target by four at most.
    Within {
        /// The hardest target.
        hardest: Target,
        /// The easiest target.
        easiest: Target,
    },
}

impl Required {
    /// Whether `bits` are good.
    pub fn allows(&self, bits: CompactTarget) -> bool {
        match self {
            Required::Exactly(required) => *required == bits,
            Required::Within { hardest, easiest } => {
                let target = Target::from_compact(bits);
                // A compact form that does not read back is negative, overflows or has leading zeros.
                target.to_compact_lossy() == bits && *hardest <= target && target <= *easiest
            }
        }
    }
}

/// What the header after `height` must state; `header` looks ancestors up, down to the anchor.
pub fn required(rules: &Rules, height: u32, next: &Header, header: impl Fn(u32) -> Option<Header>) -> Option<Required> {
    let params = rules.params();
    let easiest = params.max_attainable_target;
    let limit = easiest.to_compact_lossy();
    let last = header(height)?;
    if rules.network() == Network::Signet {
        return Some(Required::Within { hardest: Target::ZERO, easiest });
    }
    if params.no_pow_retargeting {
        return Some(Required::Exactly(limit));
    }
    let interval = u32::try_from(params.difficulty_adjustment_interval()).ok()?;
    if !(height + 1).is_multiple_of(interval) {
        if !params.allow_min_difficulty_blocks {
            return Some(Required::Exactly(last.bits));
        }
        // A block that comes late enough may be an easy one; those after it go on as before it.
        if u64::from(next.time) > u64::from(last.time) + 2 * params.pow_target_spacing {
            return Some(Required::Exactly(limit));
        }
        let mut at = height;
        let mut found = last;
        while !at.is_multiple_of(interval) && found.bits == limit {
            at -= 1;
            match header(at) {
                Some(before) => found = before,
                None => return Some(Required::Within { hardest: Target::ZERO, easiest }),
            }
        }
        return Some(Required::Exactly(found.bits));
    }
    Some(match header(height.checked_sub(interval - 1)?) {
        Some(first) => {
            let base = if rules.bip94() { first.bits } else { last.bits };
            // Times may run backwards: Core reckons with signed numbers and clamps.
            let timespan = u64::from(last.time.saturating_sub(first.time));
            Required::Exactly(CompactTarget::from_next_work_required(base, timespan, params))
        }
        // On testnet4 the last block of a period may be an easy one and says nothing.
        None if rules.bip94() => Required::Within { hardest: Target::ZERO, easiest },
        None => {
            let target = Target::from_compact(last.bits);
            Required::Within {
                hardest: target.min_transition_threshold(),
                easiest: target.max_transition_threshold(params),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash as _;
    use bitcoin::{BlockHash, TxMerkleNode, block};

    use super::*;

    fn header(time: u32, bits: u32) -> Header {
        Header {
            version: block::Version::TWO,
            prev_blockhash: BlockHash::all_zeros(),
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: CompactTarget::from_consensus(bits),
            nonce: 0,
        }
    }

    fn exactly(bits: u32) -> Option<Required> {
        Some(Required::Exactly(CompactTarget::from_consensus(bits)))
    }

    /// The four cases of Bitcoin Core's src/test/pow_tests.cpp: heights, times and results of the main chain.
    #[test]
    fn the_main_chains_retargets_are_reckoned_as_in_core() {
        for (height, first_time, last_time, bits, wanted) in [
            (32_255, 1_261_130_161, 1_262_152_739, 0x1d00_ffff, 0x1d00_d86a),
            (2_015, 1_231_006_505, 1_233_061_996, 0x1d00_ffff, 0x1d00_ffff),
            (68_543, 1_279_008_237, 1_279_297_671, 0x1c05_a3f4, 0x1c01_68fd),
            (46_367, 1_263_163_443, 1_269_211_443, 0x1c38_7f6f, 0x1d00_e1fd),
        ] {
            let at = |h| Some(header(if h == height { last_time } else { first_time }, bits));
            let next = header(last_time + 600, wanted);
            assert_eq!(required(&Rules::new(Network::Bitcoin), height, &next, at), exactly(wanted), "{height}");
        }
    }

    #[test]
    fn within_a_period_the_difficulty_stays() {
        let at = |_| Some(header(1_000, 0x1705_0000));
        assert_eq!(required(&Rules::new(Network::Bitcoin), 100, &header(90_000, 0), at), exactly(0x1705_0000));
    }

    #[test]
    fn the_first_retarget_after_an_anchor_changes_by_four_at_most() {
        let bits = CompactTarget::from_consensus(0x1705_0000);
        let at = |h| (h == 2_015).then(|| header(1_000, 0x1705_0000));
        let bound = required(&Rules::new(Network::Bitcoin), 2_015, &header(2_000, 0), at).unwrap();
        assert!(bound.allows(bits));
        assert!(bound.allows(CompactTarget::from_consensus(0x1714_0000)), "four times easier");
        assert!(!bound.allows(CompactTarget::from_consensus(0x1714_0001)));
        assert!(bound.allows(CompactTarget::from_consensus(0x1701_4000)), "four times harder");
        assert!(!bound.allows(CompactTarget::from_consensus(0x1701_3fff)));
        assert!(!bound.allows(CompactTarget::from_consensus(0x1785_0000)), "a negative target");
    }

    #[test]
    fn testnet4_lets_late_blocks_be_easy_and_goes_on_as_before() {
        let rules = Rules::new(Network::Testnet4);
        let limit = 0x1d00_ffff;
        let at = |h: u32| Some(header(h * 600, if h >= 4_100 { limit } else { 0x1b00_ffff }));
        assert_eq!(required(&rules, 4_101, &header(4_101 * 600 + 1_201, 0), at), exactly(limit));
        assert_eq!(required(&rules, 4_101, &header(4_101 * 600 + 1_200, 0), at), exactly(0x1b00_ffff));
        // BIP94: the retarget starts from the period's first block, though the last one was easy.
        let at = |h: u32| {
            Some(header(
                if h == 4_031 { 4_032 * 600 } else { 2_016 * 600 },
                if h == 4_031 { limit } else { 0x1b00_ffff },
            ))
        };
        assert_eq!(required(&rules, 4_031, &header(0, 0), at), exactly(0x1b00_ffff));
    }

    #[test]
    fn regtest_stays_at_its_easiest() {
        let at = |_| Some(header(1_000, 0x207f_ffff));
        assert_eq!(required(&Rules::new(Network::Regtest), 2_015, &header(9_000_000, 0), at), exactly(0x207f_ffff));
    }
}
