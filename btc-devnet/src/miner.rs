//! Builds blocks.

use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness,
    absolute::LockTime,
    block::{Header, Version},
    hashes::Hash,
    script::{Builder, PushBytesBuf},
    transaction,
};

/// The work that regtest asks of every block.
const REGTEST_BITS: u32 = 0x207f_ffff;
/// After how many blocks the reward halves on regtest.
const HALVING_INTERVAL: u32 = 150;
const FIRST_SUBSIDY: u64 = 50 * 100_000_000;
/// Version bits with nothing to signal (BIP9).
const VERSION: i32 = 0x2000_0000;
/// Marks the output that commits to the witnesses (BIP141).
const COMMITMENT_HEADER: [u8; 4] = [0xaa, 0x21, 0xa9, 0xed];
const WITNESS_RESERVED: [u8; 32] = [0; 32];

/// What a block at `height` may create beyond its fees.
pub(crate) fn subsidy(height: u32) -> Amount {
    Amount::from_sat(FIRST_SUBSIDY.checked_shr(height / HALVING_INTERVAL).unwrap_or(0))
}

/// What a new block needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Blueprint {
    pub(crate) parent: BlockHash,
    pub(crate) height: u32,
    pub(crate) time: u32,
    /// Who gets subsidy and fees.
    pub(crate) reward: ScriptBuf,
    /// In an order in which parents stand before children.
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) fees: Amount,
    /// Makes blocks different that are equal otherwise.
    pub(crate) nonce: u64,
}

/// Builds the block and does its work.
pub(crate) fn build(blueprint: Blueprint) -> Block {
    let coinbase = coinbase(&blueprint);
    let mut block = Block {
        header: Header {
            version: Version::from_consensus(VERSION),
            prev_blockhash: blueprint.parent,
            merkle_root: TxMerkleNode::all_zeros(),
            time: blueprint.time,
            bits: CompactTarget::from_consensus(REGTEST_BITS),
            nonce: 0,
        },
        txdata: [coinbase].into_iter().chain(blueprint.transactions).collect(),
    };
    commit(&mut block);
    block
}

/// Makes the header fit its transactions again: witness commitment, merkle root, proof of work.
pub(crate) fn commit(block: &mut Block) {
    if let Some(witness_root) = block.witness_root() {
        let commitment = Block::compute_witness_commitment(&witness_root, &WITNESS_RESERVED);
        let mut data = PushBytesBuf::from(COMMITMENT_HEADER);
        data.extend_from_slice(commitment.as_byte_array()).expect("36 bytes fit a push");
        if let Some(output) = block.txdata.first_mut().and_then(|coinbase| coinbase.output.last_mut()) {
            output.script_pubkey = ScriptBuf::new_op_return(data);
        }
    }
    if let Some(root) = block.compute_merkle_root() {
        block.header.merkle_root = root;
    }
    solve(&mut block.header);
}

/// Does the proof of work: two tries on average.
pub(crate) fn solve(header: &mut Header) {
    let target = header.target();
    while header.validate_pow(target).is_err() {
        header.nonce = header.nonce.wrapping_add(1);
    }
}

/// The last output is the witness commitment's place.
fn coinbase(blueprint: &Blueprint) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new()
                .push_int(i64::from(blueprint.height))
                .push_slice(blueprint.nonce.to_le_bytes())
                .into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[WITNESS_RESERVED]),
        }],
        output: vec![
            TxOut { value: subsidy(blueprint.height) + blueprint.fees, script_pubkey: blueprint.reward.clone() },
            TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() },
        ],
    }
}
