//! The solution of a signet's challenge (BIP325): who may make blocks there is decided by a script, and each block's coinbase carries what
//! satisfies it.
//!
//! The solution signs the block without itself: version, previous block, the merkle root with the solution taken out of the coinbase, and time. The
//! coinbase and its merkle branch are all of the block that is needed. Challenges of one key and of bare multisig are judged, which public
//! signet and Mutinynet have; others are refused by name, so that no consensus library is needed here. The flags are Core's for this
//! check: DERSIG and NULLDUMMY (src/signet.cpp).

use bitcoin::absolute::LockTime;
use bitcoin::block::Header;
use bitcoin::consensus::encode::{Decodable as _, Encodable as _};
use bitcoin::ecdsa;
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG, OP_PUSHNUM_1, OP_PUSHNUM_16, OP_RETURN};
use bitcoin::script::{Builder, Instruction, PushBytesBuf};
use bitcoin::secp256k1::{self, Message, Secp256k1};
use bitcoin::sighash::SighashCache;
use bitcoin::{
    Amount, OutPoint, PublicKey, Script, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    transaction,
};
use thiserror::Error;

use super::merkle::{self, MerkleError};

/// What a push of the witness commitment begins with if the solution follows.
const SOLUTION_HEADER: [u8; 4] = [0xec, 0xc7, 0xda, 0xa2];
/// What the output with the witness commitment begins with (BIP141).
const COMMITMENT_HEADER: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
/// Shortest witness commitment: its header and a hash.
const MIN_COMMITMENT_BYTES: usize = 38;
/// Most public keys of a bare multisig (Core's MAX_PUBKEYS_PER_MULTISIG).
const MAX_KEYS: usize = 20;

/// What of a block shows that it solves the challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoinbaseProof {
    /// The block's first transaction.
    pub coinbase: Transaction,
    /// Its siblings in the merkle tree, from the leaves up.
    pub branch: Vec<TxMerkleNode>,
}

/// Why a block does not solve the challenge.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignetError {
    /// The transaction is not the block's coinbase.
    #[error("the block's coinbase is not the one shown: {0}")]
    Coinbase(#[from] MerkleError),
    /// The transaction spends something.
    #[error("the transaction shown as the block's coinbase spends other outputs")]
    NoCoinbase,
    /// The coinbase does not begin with a height (BIP34).
    #[error("the coinbase states no height")]
    NoHeight,
    /// The coinbase states another height than the server.
    #[error("the coinbase states height {stated}, not {claimed}")]
    Height {
        /// In the coinbase.
        stated: u32,
        /// By the server.
        claimed: u32,
    },
    /// No witness commitment.
    #[error("the coinbase has no witness commitment, so no solution")]
    NoCommitment,
    /// No solution, or one that does not read.
    #[error("the coinbase carries no solution that reads")]
    NoSolution,
    /// A script that is neither one key nor bare multisig.
    #[error("challenges of this form are not judged here: {0}")]
    UnsupportedChallenge(ScriptBuf),
    /// The signatures are not the challenge's.
    #[error("the solution does not satisfy the network's challenge: this is another signet, or a forged block")]
    WrongSolution,
}

/// Checks that the block under `header` solves `challenge` and states `height`.
pub fn verify(challenge: &Script, header: &Header, height: u32, proof: &CoinbaseProof) -> Result<(), SignetError> {
    let coinbase = &proof.coinbase;
    if !coinbase.is_coinbase() {
        return Err(SignetError::NoCoinbase);
    }
    let leaf = TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash());
    if merkle::fold(leaf, 0, &proof.branch)? != header.merkle_root {
        return Err(MerkleError::OtherRoot.into());
    }
    let stated = stated_height(coinbase).ok_or(SignetError::NoHeight)?;
    if stated != height {
        return Err(SignetError::Height { stated, claimed: height });
    }

    let commitment = coinbase
        .output
        .iter()
        .rposition(|output| {
            let script = output.script_pubkey.as_bytes();
            script.len() >= MIN_COMMITMENT_BYTES && script.starts_with(&COMMITMENT_HEADER)
        })
        .ok_or(SignetError::NoCommitment)?;
    let (cleared, solution) = take_solution(&coinbase.output[commitment].script_pubkey)?;
    let mut unsigned = coinbase.clone();
    unsigned.output[commitment].script_pubkey = cleared;
    let leaf = TxMerkleNode::from_raw_hash(unsigned.compute_txid().to_raw_hash());
    let root = merkle::fold(leaf, 0, &proof.branch)?;

    let (script_sig, witness) = read_solution(&solution).ok_or(SignetError::NoSolution)?;
    let to_spend = to_spend(challenge, header, root);
    let to_sign = Transaction {
        version: transaction::Version(0),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(to_spend.compute_txid(), 0),
            script_sig: script_sig.clone(),
            sequence: Sequence::ZERO,
            witness: witness.clone(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: Builder::new().push_opcode(OP_RETURN).into_script() }],
    };
    if !witness.is_empty() {
        return Err(SignetError::WrongSolution);
    }
    satisfied(challenge, &script_sig, &to_sign)
}

fn to_spend(challenge: &Script, header: &Header, root: TxMerkleNode) -> Transaction {
    let mut data = Vec::with_capacity(72);
    data.extend_from_slice(&header.version.to_consensus().to_le_bytes());
    data.extend_from_slice(header.prev_blockhash.as_byte_array());
    data.extend_from_slice(root.as_byte_array());
    data.extend_from_slice(&header.time.to_le_bytes());
    let data = PushBytesBuf::try_from(data).expect("72 bytes can be pushed");
    Transaction {
        version: transaction::Version(0),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new().push_int(0).push_slice(data).into_script(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: challenge.to_owned() }],
    }
}

/// The height that BIP34 has the coinbase begin with.
fn stated_height(coinbase: &Transaction) -> Option<u32> {
    match coinbase.input.first()?.script_sig.instructions().next()?.ok()? {
        Instruction::PushBytes(bytes) if bytes.len() <= 4 => {
            let mut height = [0u8; 4];
            height[..bytes.len()].copy_from_slice(bytes.as_bytes());
            Some(u32::from_le_bytes(height))
        }
        // Heights to 16 are opcodes.
        Instruction::Op(op) => (OP_PUSHNUM_1.to_u8()..=OP_PUSHNUM_16.to_u8())
            .contains(&op.to_u8())
            .then(|| u32::from(op.to_u8() - OP_PUSHNUM_1.to_u8() + 1)),
        Instruction::PushBytes(_) => None,
    }
}

/// Splits a commitment's script into itself without the solution, and the solution.
fn take_solution(script: &Script) -> Result<(ScriptBuf, Vec<u8>), SignetError> {
    let mut cleared = Vec::new();
    let mut solution = None;
    for instruction in script.instructions() {
        // Core stops at what does not parse; nobody who wants the solution found writes it behind that.
        match instruction.map_err(|_| SignetError::NoSolution)? {
            Instruction::PushBytes(bytes) if !bytes.is_empty() => {
                let bytes = bytes.as_bytes();
                if solution.is_none() && bytes.len() > SOLUTION_HEADER.len() && bytes.starts_with(&SOLUTION_HEADER) {
                    solution = Some(bytes[SOLUTION_HEADER.len()..].to_vec());
                    push(&mut cleared, &SOLUTION_HEADER);
                } else {
                    push(&mut cleared, bytes);
                }
            }
            Instruction::PushBytes(_) => cleared.push(0),
            Instruction::Op(op) => cleared.push(op.to_u8()),
        }
    }
    Ok((ScriptBuf::from_bytes(cleared), solution.ok_or(SignetError::NoSolution)?))
}

/// Core's `CScript << bytes`: the shortest push by length, never a number opcode.
fn push(script: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..=75 => script.push(length as u8),
        length @ 76..=255 => script.extend_from_slice(&[0x4c, length as u8]),
        length @ 256..=65_535 => {
            script.push(0x4d);
            script.extend_from_slice(&(length as u16).to_le_bytes());
        }
        length => {
            script.push(0x4e);
            script.extend_from_slice(&(length as u32).to_le_bytes());
        }
    }
    script.extend_from_slice(bytes);
}

fn read_solution(bytes: &[u8]) -> Option<(ScriptBuf, Witness)> {
    let mut rest = bytes;
    let script_sig = ScriptBuf::consensus_decode(&mut rest).ok()?;
    let witness = Witness::consensus_decode(&mut rest).ok()?;
    rest.is_empty().then_some((script_sig, witness))
}

/// A challenge that is judged here: `required` signatures of `keys`, in their order.
struct Multisig {
    required: usize,
    keys: Vec<PublicKey>,
    single: bool,
}

fn parse_challenge(challenge: &Script) -> Option<Multisig> {
    let mut instructions = Vec::new();
    for instruction in challenge.instructions() {
        instructions.push(instruction.ok()?);
        if instructions.len() > MAX_KEYS + 3 {
            return None;
        }
    }
    let key = |instruction: &Instruction<'_>| PublicKey::from_slice(instruction.push_bytes()?.as_bytes()).ok();
    match instructions.as_slice() {
        [only, Instruction::Op(OP_CHECKSIG)] => Some(Multisig { required: 1, keys: vec![key(only)?], single: true }),
        [required, keys @ .., count, Instruction::Op(OP_CHECKMULTISIG)] => {
            let (required, count) =
                (usize::try_from(required.script_num()?).ok()?, usize::try_from(count.script_num()?).ok()?);
            let keys: Vec<PublicKey> = keys.iter().map(key).collect::<Option<_>>()?;
            (count == keys.len() && (1..=count).contains(&required) && count <= MAX_KEYS).then_some(Multisig {
                required,
                keys,
                single: false,
            })
        }
        _ => None,
    }
}

fn satisfied(challenge: &Script, script_sig: &Script, to_sign: &Transaction) -> Result<(), SignetError> {
    let Multisig { required, keys, single } =
        parse_challenge(challenge).ok_or_else(|| SignetError::UnsupportedChallenge(challenge.to_owned()))?;
    let mut pushes = Vec::new();
    for instruction in script_sig.instructions() {
        match instruction {
            Ok(Instruction::PushBytes(bytes)) if pushes.len() <= MAX_KEYS => pushes.push(bytes.as_bytes()),
            _ => return Err(SignetError::WrongSolution),
        }
    }
    // CHECKMULTISIG takes one element too many, which NULLDUMMY wants empty.
    let signatures = match pushes.as_slice() {
        [dummy, signatures @ ..] if !single && dummy.is_empty() => signatures,
        signatures if single => signatures,
        _ => return Err(SignetError::WrongSolution),
    };
    if signatures.len() != required {
        return Err(SignetError::WrongSolution);
    }
    let context = Secp256k1::verification_only();
    let cache = SighashCache::new(to_sign);
    let mut keys = keys.iter();
    for signature in signatures {
        let (kind, der) = signature.split_last().ok_or(SignetError::WrongSolution)?;
        // Core hashes with the byte as it stands.
        let hash =
            cache.legacy_signature_hash(0, challenge, u32::from(*kind)).map_err(|_| SignetError::WrongSolution)?;
        let message = Message::from_digest(hash.to_byte_array());
        let signature = strict(der).ok_or(SignetError::WrongSolution)?;
        // Signatures stand in the order of their keys; each takes the next key that fits.
        if !keys.any(|key| context.verify_ecdsa(&message, &signature, &key.inner).is_ok()) {
            return Err(SignetError::WrongSolution);
        }
    }
    Ok(())
}

/// A signature in strict DER; a high s is normalised, as Core does where LOW_S is not asked for.
fn strict(der: &[u8]) -> Option<secp256k1::ecdsa::Signature> {
    let mut signature = secp256k1::ecdsa::Signature::from_der(der).ok()?;
    signature.normalize_s();
    // Only what encodes back to the same bytes was strict; a high s does so before it is normalised.
    (secp256k1::ecdsa::Signature::from_der(der).ok()?.serialize_der().as_ref() == der).then_some(signature)
}

/// Signs a block for a challenge of one key, as a signet's miner does; for tests of whoever follows such a chain. Returns the coinbase with
/// the solution; the header's merkle root must be made anew from it.
#[doc(hidden)]
pub fn solve(
    challenge: &Script,
    header: &Header,
    coinbase: &Transaction,
    secret: &secp256k1::SecretKey,
) -> Transaction {
    let commitment = coinbase.output.len() - 1;
    let mut cleared = coinbase.clone();
    let mut script = cleared.output[commitment].script_pubkey.to_bytes();
    let before = script.clone();
    push(&mut script, &SOLUTION_HEADER);
    cleared.output[commitment].script_pubkey = ScriptBuf::from_bytes(script);
    let root = TxMerkleNode::from_raw_hash(cleared.compute_txid().to_raw_hash());
    let to_spend = to_spend(challenge, header, root);
    let to_sign = Transaction {
        version: transaction::Version(0),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(to_spend.compute_txid(), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: Builder::new().push_opcode(OP_RETURN).into_script() }],
    };
    let hash = SighashCache::new(&to_sign).legacy_signature_hash(0, challenge, 1).expect("input 0 exists");
    let signature = Secp256k1::signing_only().sign_ecdsa(&Message::from_digest(hash.to_byte_array()), secret);
    let signature = ecdsa::Signature::sighash_all(signature).to_vec();
    let signature = PushBytesBuf::try_from(signature).expect("a signature can be pushed");
    let mut builder = Builder::new();
    if !challenge.as_bytes().ends_with(&[OP_CHECKSIG.to_u8()]) {
        builder = builder.push_int(0);
    }
    let mut solution = SOLUTION_HEADER.to_vec();
    builder.push_slice(signature).into_script().consensus_encode(&mut solution).expect("a vector takes everything");
    Witness::new().consensus_encode(&mut solution).expect("a vector takes everything");
    let mut script = before;
    push(&mut script, &solution);
    let mut solved = coinbase.clone();
    solved.output[commitment].script_pubkey = ScriptBuf::from_bytes(script);
    solved
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::encode::deserialize_hex;
    use bitcoin::{Block, Network};

    use super::*;
    use crate::btc::chain::Rules;

    /// Block 1 of the public signet.
    const BLOCK_1: &str = "00000020f61eee3b63a380a477a063af32b2bbc97c9ff9f01f2c4225e973988108000000f575c83235984e7dc4afc1f30944c170462e84437ab6f2d52e16878a79e4678bd1914d5fae77031eccf4070001010000000001010000000000000000000000000000000000000000000000000000000000000000ffffffff025151feffffff0200f2052a010000001600149243f727dd5343293eb83174324019ec16c2630f0000000000000000776a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf94c4fecc7daa2490047304402205e423a8754336ca99dbe16509b877ef1bf98d008836c725005b3c787c41ebe46022047246e4467ad7cc7f1ad98662afcaf14c115e0095a227c7b05c5182591c23e7e01000120000000000000000000000000000000000000000000000000000000000000000000000000";

    fn block_1() -> (Header, CoinbaseProof) {
        let block: Block = deserialize_hex(BLOCK_1).unwrap();
        (block.header, CoinbaseProof { coinbase: block.txdata[0].clone(), branch: vec![] })
    }

    fn signet() -> ScriptBuf {
        Rules::new(Network::Signet).challenge().unwrap().clone()
    }

    #[test]
    fn a_block_of_the_public_signet_solves_its_challenge() {
        let (header, proof) = block_1();
        assert_eq!(verify(&signet(), &header, 1, &proof), Ok(()));
    }

    #[test]
    fn public_signet_is_not_taken_for_mutinynet() {
        let (header, proof) = block_1();
        let mutinynet = Rules::mutinynet();
        assert_eq!(verify(mutinynet.challenge().unwrap(), &header, 1, &proof), Err(SignetError::WrongSolution));
    }

    #[test]
    fn a_solution_covers_the_header_and_the_coinbase() {
        let (header, proof) = block_1();
        assert_eq!(verify(&signet(), &header, 2, &proof), Err(SignetError::Height { stated: 1, claimed: 2 }));
        let later = Header { time: header.time + 1, ..header };
        assert_eq!(verify(&signet(), &later, 1, &proof), Err(SignetError::WrongSolution));
        let elsewhere = Header { prev_blockhash: header.block_hash(), ..header };
        assert_eq!(verify(&signet(), &elsewhere, 1, &proof), Err(SignetError::WrongSolution));

        let mut richer = proof.clone();
        richer.coinbase.output[0].value = Amount::MAX_MONEY;
        assert_eq!(verify(&signet(), &header, 1, &richer), Err(SignetError::Coinbase(MerkleError::OtherRoot)));
        let root = TxMerkleNode::from_raw_hash(richer.coinbase.compute_txid().to_raw_hash());
        let fitting = Header { merkle_root: root, ..header };
        assert_eq!(verify(&signet(), &fitting, 1, &richer), Err(SignetError::WrongSolution));
    }

    #[test]
    fn blocks_without_a_solution_are_named() {
        let (header, proof) = block_1();
        let check = |change: &dyn Fn(&mut Transaction)| {
            let mut proof = proof.clone();
            change(&mut proof.coinbase);
            let merkle_root = TxMerkleNode::from_raw_hash(proof.coinbase.compute_txid().to_raw_hash());
            verify(&signet(), &Header { merkle_root, ..header }, 1, &proof).unwrap_err()
        };
        assert_eq!(check(&|tx| tx.output.truncate(1)), SignetError::NoCommitment);
        let cut = |tx: &mut Transaction, bytes: usize| {
            let script = tx.output[1].script_pubkey.as_bytes()[..bytes].to_vec();
            tx.output[1].script_pubkey = ScriptBuf::from_bytes(script);
        };
        assert_eq!(check(&|tx| cut(tx, 38)), SignetError::NoSolution);
        assert_eq!(check(&|tx| cut(tx, 100)), SignetError::NoSolution);
        assert_eq!(check(&|tx| tx.input[0].previous_output.vout = 0), SignetError::NoCoinbase);
        assert_eq!(check(&|tx| tx.input[0].script_sig = ScriptBuf::new()), SignetError::NoHeight);
    }

    #[test]
    fn challenges_that_are_not_judged_are_refused() {
        let (header, proof) = block_1();
        for hex in ["51", "", "0014751e76e8199196d454941c45d1b3a323f1433bd6", "5152ae", "51ae"] {
            let challenge = ScriptBuf::from_hex(hex).unwrap();
            assert!(
                matches!(verify(&challenge, &header, 1, &proof), Err(SignetError::UnsupportedChallenge(_))),
                "{hex}"
            );
        }
    }

    #[test]
    fn one_key_and_several_sign_their_own_signets() {
        let secp = Secp256k1::new();
        let secrets: Vec<_> = (1..=3).map(|n| secp256k1::SecretKey::from_slice(&[n; 32]).unwrap()).collect();
        let keys: Vec<_> = secrets.iter().map(|s| PublicKey::new(s.public_key(&secp))).collect();
        let one = Builder::new().push_key(&keys[0]).push_opcode(OP_CHECKSIG).into_script();
        let several = Builder::new()
            .push_int(1)
            .push_key(&keys[0])
            .push_key(&keys[1])
            .push_int(2)
            .push_opcode(OP_CHECKMULTISIG)
            .into_script();
        let (header, proof) = block_1();
        let mut coinbase = proof.coinbase;
        let bare = coinbase.output[1].script_pubkey.as_bytes()[..38].to_vec();
        coinbase.output[1].script_pubkey = ScriptBuf::from_bytes(bare);
        for (challenge, secret, good) in
            [(&one, 0, true), (&one, 1, false), (&several, 0, true), (&several, 1, true), (&several, 2, false)]
        {
            let solved = solve(challenge, &header, &coinbase, &secrets[secret]);
            let merkle_root = TxMerkleNode::from_raw_hash(solved.compute_txid().to_raw_hash());
            let header = Header { merkle_root, ..header };
            let proof = CoinbaseProof { coinbase: solved, branch: vec![] };
            assert_eq!(verify(challenge, &header, 1, &proof).is_ok(), good, "{challenge} {secret}");
        }
    }
}
