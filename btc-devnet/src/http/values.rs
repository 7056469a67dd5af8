//! Esplora's JSON documents for transactions, outputs, spends and blocks, in the field order of the real server.

use bitcoin::hashes::Hash;
use bitcoin::opcodes::all;
use bitcoin::script::Instruction;
use bitcoin::{Address, BlockHash, Network, OutPoint, Script, TxIn, TxMerkleNode, TxOut, Txid};
use serde::Serialize;

use crate::index::{Confirmation, Found, IndexedBlock, Spend, Unspent};

/// `status` of a transaction.
#[derive(Serialize)]
pub(super) struct Status {
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_hash: Option<BlockHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_time: Option<u32>,
}

impl From<Option<Confirmation>> for Status {
    fn from(confirmation: Option<Confirmation>) -> Self {
        Self {
            confirmed: confirmation.is_some(),
            block_height: confirmation.map(|c| c.height),
            block_hash: confirmation.map(|c| c.hash),
            block_time: confirmation.map(|c| c.time),
        }
    }
}

/// A transaction.
#[derive(Serialize)]
pub(super) struct Transaction {
    txid: Txid,
    version: u32,
    locktime: u32,
    vin: Vec<Input>,
    vout: Vec<Output>,
    size: usize,
    weight: u64,
    sigops: usize,
    fee: u64,
    status: Status,
}

impl Transaction {
    pub(super) fn new(found: &Found<'_>, network: Network) -> Self {
        let transaction = found.transaction;
        let spent_value: u64 = found.spent.iter().map(|output| output.value.to_sat()).sum();
        let paid: u64 = transaction.output.iter().map(|output| output.value.to_sat()).sum();
        let mut spent = found.spent.iter();
        let prevouts: Vec<Option<&TxOut>> = transaction.input.iter().map(|_| spent.next()).collect();
        let mut next = 0;
        let prevout = |outpoint: &OutPoint| {
            // Asked in the order of the inputs, round after round: the search goes on from the one asked last.
            let inputs = transaction.input.len();
            let at = (next..next + inputs)
                .map(|at| at % inputs)
                .find(|at| transaction.input[*at].previous_output == *outpoint)?;
            next = at + 1;
            prevouts[at].cloned()
        };
        let sigops = transaction.total_sigop_cost(prevout);
        Self {
            txid: transaction.compute_txid(),
            version: transaction.version.0 as u32,
            locktime: transaction.lock_time.to_consensus_u32(),
            vin: transaction.input.iter().zip(&prevouts).map(|(input, out)| Input::new(input, *out, network)).collect(),
            vout: transaction.output.iter().map(|output| Output::new(output, network)).collect(),
            size: transaction.total_size(),
            weight: transaction.weight().to_wu(),
            sigops,
            // A coinbase pays none.
            fee: spent_value.saturating_sub(paid),
            status: found.confirmation.into(),
        }
    }
}

#[derive(Serialize)]
struct Input {
    txid: Txid,
    vout: u32,
    prevout: Option<Output>,
    scriptsig: String,
    scriptsig_asm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    witness: Option<Vec<String>>,
    is_coinbase: bool,
    sequence: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner_redeemscript_asm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner_witnessscript_asm: Option<String>,
}

impl Input {
    fn new(input: &TxIn, prevout: Option<&TxOut>, network: Network) -> Self {
        let redeem = prevout.and_then(|prevout| redeem_script(input, prevout));
        let witness_script = prevout.and_then(|prevout| witness_script(input, prevout, redeem));
        Self {
            txid: input.previous_output.txid,
            vout: input.previous_output.vout,
            prevout: prevout.map(|prevout| Output::new(prevout, network)),
            scriptsig: hex(input.script_sig.as_bytes()),
            scriptsig_asm: input.script_sig.to_asm_string(),
            witness: (!input.witness.is_empty()).then(|| input.witness.iter().map(hex).collect()),
            is_coinbase: input.previous_output.is_null(),
            sequence: input.sequence.to_consensus_u32(),
            inner_redeemscript_asm: redeem.map(Script::to_asm_string),
            inner_witnessscript_asm: witness_script.map(Script::to_asm_string),
        }
    }
}

/// Most of a document is hex, and a plain loop writes it several times faster than a formatter does.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

/// What a P2SH input reveals: the last push of its signature script.
fn redeem_script<'a>(input: &'a TxIn, prevout: &TxOut) -> Option<&'a Script> {
    if !prevout.script_pubkey.is_p2sh() {
        return None;
    }
    match input.script_sig.instructions().last() {
        Some(Ok(Instruction::PushBytes(push))) => Some(Script::from_bytes(push.as_bytes())),
        _ => None,
    }
}

/// The script that a segwit input reveals: of P2WSH, bare or in P2SH, or the leaf of a taproot script path.
fn witness_script<'a>(input: &'a TxIn, prevout: &TxOut, redeem: Option<&Script>) -> Option<&'a Script> {
    if prevout.script_pubkey.is_p2wsh() || redeem.is_some_and(Script::is_p2wsh) {
        input.witness.last().map(Script::from_bytes)
    } else if prevout.script_pubkey.is_p2tr() {
        input.witness.taproot_leaf_script().map(|leaf| leaf.script)
    } else {
        None
    }
}

#[derive(Serialize)]
struct Output {
    scriptpubkey: String,
    scriptpubkey_asm: String,
    scriptpubkey_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scriptpubkey_address: Option<String>,
    value: u64,
}

impl Output {
    fn new(output: &TxOut, network: Network) -> Self {
        let script = &output.script_pubkey;
        Self {
            scriptpubkey: hex(script.as_bytes()),
            scriptpubkey_asm: script.to_asm_string(),
            scriptpubkey_type: script_type(script),
            scriptpubkey_address: Address::from_script(script, network).ok().map(|address| address.to_string()),
            value: output.value.to_sat(),
        }
    }
}

/// Esplora's name for a kind of script.
fn script_type(script: &Script) -> &'static str {
    if script.is_empty() {
        "empty"
    } else if script.is_op_return() {
        "op_return"
    } else if script.is_p2pk() {
        "p2pk"
    } else if script.is_p2pkh() {
        "p2pkh"
    } else if script.is_p2sh() {
        "p2sh"
    } else if script.is_p2wpkh() {
        "v0_p2wpkh"
    } else if script.is_p2wsh() {
        "v0_p2wsh"
    } else if script.is_p2tr() {
        "v1_p2tr"
    } else if is_anchor(script) {
        "anchor"
    } else if is_bare_multisig(script) {
        "multisig"
    } else {
        "unknown"
    }
}

/// Pay to anchor: an output that anybody may spend to raise the fee (BIP433).
fn is_anchor(script: &Script) -> bool {
    script.as_bytes() == [all::OP_PUSHNUM_1.to_u8(), 2, 0x4e, 0x73]
}

/// m keys ... n OP_CHECKMULTISIG with 1 ≤ m ≤ n ≤ 15. The keys themselves are not looked at.
fn is_bare_multisig(script: &Script) -> bool {
    /// One key of 33 bytes, its length, m, n and the operation.
    const SHORTEST: usize = 37;
    let bytes = script.as_bytes();
    let (one, fifteen) = (all::OP_PUSHNUM_1.to_u8(), all::OP_PUSHNUM_15.to_u8());
    match bytes {
        [m, .., n, last] if bytes.len() >= SHORTEST => {
            *last == all::OP_CHECKMULTISIG.to_u8() && (one..=fifteen).contains(n) && (one..=*n).contains(m)
        }
        _ => false,
    }
}

/// Whether and by what an output is spent.
#[derive(Serialize)]
pub(super) struct OutSpend {
    spent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    txid: Option<Txid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vin: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

impl From<Option<(Spend, Option<Confirmation>)>> for OutSpend {
    fn from(spend: Option<(Spend, Option<Confirmation>)>) -> Self {
        Self {
            spent: spend.is_some(),
            txid: spend.map(|(spend, _)| spend.txid),
            vin: spend.map(|(spend, _)| spend.input),
            status: spend.map(|(_, confirmation)| confirmation.into()),
        }
    }
}

/// An unspent output.
#[derive(Serialize)]
pub(super) struct Utxo {
    txid: Txid,
    vout: u32,
    status: Status,
    value: u64,
}

impl From<(Unspent, Option<Confirmation>)> for Utxo {
    fn from((unspent, confirmation): (Unspent, Option<Confirmation>)) -> Self {
        Self {
            txid: unspent.outpoint.txid,
            vout: unspent.outpoint.vout,
            status: confirmation.into(),
            value: unspent.value,
        }
    }
}

/// A block.
#[derive(Serialize)]
pub(super) struct Block {
    id: BlockHash,
    height: u32,
    version: u32,
    timestamp: u32,
    tx_count: usize,
    size: usize,
    weight: u64,
    merkle_root: TxMerkleNode,
    previousblockhash: Option<BlockHash>,
    mediantime: u32,
    nonce: u32,
    bits: u32,
    difficulty: f64,
}

impl Block {
    pub(super) fn new(block: &IndexedBlock) -> Self {
        let header = &block.block.header;
        Self {
            id: block.hash,
            height: block.height,
            version: header.version.to_consensus() as u32,
            timestamp: header.time,
            tx_count: block.txids.len(),
            size: block.block.total_size(),
            weight: block.block.weight().to_wu(),
            merkle_root: header.merkle_root,
            previousblockhash: (header.prev_blockhash != BlockHash::all_zeros()).then_some(header.prev_blockhash),
            mediantime: block.median_time,
            nonce: header.nonce,
            bits: header.bits.to_consensus(),
            difficulty: header.difficulty_float(),
        }
    }
}

#[cfg(test)]
mod tests;
