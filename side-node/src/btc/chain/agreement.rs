//! What several servers together have shown of a script's transactions, and whether they agree.
//!
//! Facts and claims are kept apart. That a transaction exists, spends an output or shows a preimage is proven by its bytes; that it is in a block,
//! by a proof against the chain that counts. One honest server is enough for such a fact: what another one withholds does not undo it. What
//! nobody can prove is an absence ("this output is unspent", "there is no longer chain"). So whatever must not be done on a lie (to reveal a preimage, to fund a
//! second leg) waits until every configured server was heard and none objects.

use std::collections::BTreeMap;

use bitcoin::{Transaction, Txid};

use super::headers::{Confirmation, HeaderChain, Unconfirmed};
use super::merkle::InclusionProof;
use super::sync::Standing;

/// How many blocks a server may lag behind the best one and still agree: blocks take a while to reach everybody, and servers are not asked in the
/// same instant.
pub const BEHIND_TOLERANCE: u32 = 1;

/// A transaction that a server showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The transaction.
    pub tx: Transaction,
    /// The proof that it is in a block, if the server says so.
    pub proof: Option<InclusionProof>,
}

/// What one server was heard to say.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its address.
    pub server: String,
    /// Where its chain stands, or why that is not known.
    pub standing: Result<Standing, String>,
    /// The transactions that it showed, or why it showed none.
    pub seen: Result<Vec<Seen>, String>,
}

/// Why the servers do not agree: who says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The server.
    pub server: String,
    /// What is wrong with it.
    pub what: Fault,
}

/// What is wrong with a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not answer, or answers nonsense.
    #[error("{0}")]
    Unusable(String),
    /// Its chain is shorter.
    #[error("lacks the last {0} blocks")]
    Behind(u32),
    /// Its chain is another one.
    #[error("is on a branch that left the chain after block {shared}")]
    Fork {
        /// The last block that both have.
        shared: u32,
    },
    /// It does not show a transaction that another server has proven to be in a block.
    #[error("does not show transaction {0}, which is in a block")]
    Withholds(Txid),
    /// It does not say that a transaction is in a block, which another server has proven.
    #[error("does not say that transaction {0} is in a block, which it is")]
    Unconfirmed(Txid),
    /// Its proof that a transaction is in a block is false.
    #[error("says that transaction {txid} is in a block, but {why}")]
    Forged {
        /// The transaction.
        txid: Txid,
        /// What the proof lacks.
        why: Unconfirmed,
    },
}

/// A transaction with what is proven of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The transaction.
    pub tx: Transaction,
    /// Its place in the chain that counts; `None`: in no block as far as anybody has shown.
    pub confirmation: Option<Confirmation>,
    /// The servers that show it.
    pub shown_by: Vec<String>,
}

/// What the servers have shown together.
#[derive(Debug, Clone, Default)]
pub struct Agreement {
    /// By transaction.
    pub facts: BTreeMap<Txid, Fact>,
    /// Who objects, and how.
    pub objections: Vec<Objection>,
    /// How many servers were asked.
    pub servers: usize,
    /// How many of them answered usefully.
    pub heard: usize,
    /// How many blocks the slowest of those that agree is behind.
    pub behind: u32,
}

impl Agreement {
    /// Whether every server that was asked was heard and none objects.
    pub fn is_unanimous(&self) -> bool {
        self.servers > 0 && self.objections.is_empty()
    }

    /// Whether at least one server was heard: only then does the absence of something say anything at all.
    pub fn is_informed(&self) -> bool {
        self.heard > 0
    }
}

/// Brings reports together.
pub fn agree(chain: &HeaderChain, reports: &[Report]) -> Agreement {
    let mut agreement = Agreement { servers: reports.len(), ..Agreement::default() };
    let mut object = Vec::new();
    for report in reports {
        let mut say = |what| object.push(Objection { server: report.server.clone(), what });
        match &report.standing {
            Err(why) => say(Fault::Unusable(why.clone())),
            Ok(Standing::OnFork { shared, .. }) => say(Fault::Fork { shared: *shared }),
            Ok(Standing::OnChain { height, .. }) => {
                // Another server may have shown more since this one was walked.
                let behind = chain.tip().map_or(0, |(tip, _)| tip.saturating_sub(*height));
                if behind > BEHIND_TOLERANCE {
                    say(Fault::Behind(behind));
                } else {
                    agreement.behind = agreement.behind.max(behind);
                }
            }
        }
        match &report.seen {
            // The reason has been given already where the chain could not be read either.
            Err(why) if report.standing.is_ok() => say(Fault::Unusable(why.clone())),
            Err(_) => {}
            Ok(seen) => {
                agreement.heard += 1;
                for Seen { tx, proof } in seen {
                    let txid = tx.compute_txid();
                    let fact = agreement.facts.entry(txid).or_insert_with(|| Fact {
                        tx: tx.clone(),
                        confirmation: None,
                        shown_by: Vec::new(),
                    });
                    fact.shown_by.push(report.server.clone());
                    // A witness is not part of the id: the copy that has one is worth more, as it may show a preimage.
                    if fact.tx.total_size() < tx.total_size() {
                        fact.tx = tx.clone();
                    }
                    match proof.as_ref().map(|proof| chain.confirm(tx, proof)) {
                        Some(Ok(confirmation)) => fact.confirmation = Some(confirmation),
                        // A block that this server has and the chain has not, while it is on a fork: that objection says it.
                        Some(Err(Unconfirmed::UnknownBlock { height, tip, .. }))
                            if height > tip || matches!(report.standing, Ok(Standing::OnFork { .. })) => {}
                        Some(Err(why)) => say(Fault::Forged { txid, why }),
                        None => {}
                    }
                }
            }
        }
    }
    for (txid, fact) in &agreement.facts {
        let Some(confirmation) = fact.confirmation else { continue };
        for report in reports {
            let Ok(seen) = &report.seen else { continue };
            // Whoever has not got the block yet cannot show what is in it.
            let reached =
                matches!(report.standing, Ok(Standing::OnChain { height, .. }) if height >= confirmation.height());
            if !reached {
                continue;
            }
            let what = match seen.iter().find(|seen| seen.tx.compute_txid() == *txid) {
                None => Fault::Withholds(*txid),
                Some(Seen { proof: None, .. }) => Fault::Unconfirmed(*txid),
                Some(_) => continue,
            };
            object.push(Objection { server: report.server.clone(), what });
        }
    }
    agreement.objections = object;
    agreement
}

#[cfg(test)]
mod tests {
    use bitcoin::block::Header;
    use bitcoin::{Network, merkle_tree};

    use super::*;
    use crate::btc::chain::Rules;
    use crate::btc::chain::headers::tests::{genesis, mine_root, run};
    use crate::btc::chain::merkle::tests::{branch, leaves, transaction};

    /// A chain whose block 4 of 6 holds transactions 0 to 4.
    fn world() -> (HeaderChain, Vec<Transaction>, impl Fn(usize) -> InclusionProof) {
        let transactions: Vec<Transaction> = (0..5).map(transaction).collect();
        let leaves = leaves(&transactions);
        let root = merkle_tree::calculate_root(leaves.iter().copied()).unwrap();
        let mut headers: Vec<Header> = run(&genesis(), 3, 1);
        headers.push(mine_root(&headers[2], 600, root));
        headers.extend(run(&headers[3].clone(), 2, 1));
        let mut chain = HeaderChain::new(Rules::new(Network::Regtest));
        let mut grown = chain.branch(Some(0));
        for header in headers {
            grown.push(&chain, header).unwrap();
        }
        chain.adopt(grown).unwrap();
        let proof = move |at: usize| InclusionProof { height: 4, position: at as u32, branch: branch(&leaves, at) };
        (chain, transactions, proof)
    }

    fn report(server: &str, height: u32, seen: Vec<Seen>) -> Report {
        Report { server: server.into(), standing: Ok(Standing::OnChain { height, behind: 6 - height }), seen: Ok(seen) }
    }

    fn objections(agreement: &Agreement) -> Vec<(&str, &Fault)> {
        agreement.objections.iter().map(|objection| (objection.server.as_str(), &objection.what)).collect()
    }

    #[test]
    fn servers_that_say_the_same_agree() {
        let (chain, txs, proof) = world();
        let seen =
            || vec![Seen { tx: txs[1].clone(), proof: Some(proof(1)) }, Seen { tx: transaction(9), proof: None }];
        let agreement = agree(&chain, &[report("a", 6, seen()), report("b", 5, seen())]);
        assert!(agreement.is_unanimous(), "{:?}", agreement.objections);
        assert_eq!(agreement.behind, 1);
        let fact = &agreement.facts[&txs[1].compute_txid()];
        assert_eq!(fact.confirmation.map(|confirmation| confirmation.depth()), Some(3));
        assert_eq!(agreement.facts[&transaction(9).compute_txid()].confirmation, None);
        assert!(!agree(&chain, &[]).is_unanimous());
    }

    #[test]
    fn what_one_withholds_another_shows_and_the_withholder_is_named() {
        let (chain, txs, proof) = world();
        let shown = vec![Seen { tx: txs[1].clone(), proof: Some(proof(1)) }];
        let unconfirmed = vec![Seen { tx: txs[1].clone(), proof: None }];
        let txid = txs[1].compute_txid();
        let agreement =
            agree(&chain, &[report("a", 6, vec![]), report("b", 6, shown.clone()), report("c", 6, unconfirmed)]);
        assert!(agreement.facts[&txid].confirmation.is_some());
        assert_eq!(objections(&agreement), [("a", &Fault::Withholds(txid)), ("c", &Fault::Unconfirmed(txid))]);
        let agreement = agree(&chain, &[report("a", 5, vec![]), report("b", 6, shown.clone())]);
        assert_eq!(objections(&agreement), [("a", &Fault::Withholds(txid))]);
        // Who has not reached the block cannot have it.
        let agreement = agree(&chain, &[report("a", 3, vec![]), report("b", 6, shown)]);
        assert_eq!(objections(&agreement), [("a", &Fault::Behind(3))]);
    }

    #[test]
    fn forged_confirmations_count_for_nothing_and_are_named() {
        let (chain, txs, proof) = world();
        let forged = |height| {
            let proof = InclusionProof { height, ..proof(1) };
            vec![Seen { tx: transaction(9), proof: Some(proof) }]
        };
        let txid = transaction(9).compute_txid();
        for height in [4, 5] {
            let agreement = agree(&chain, &[report("a", 6, forged(height))]);
            assert_eq!(agreement.facts[&txid].confirmation, None);
            assert!(
                matches!(objections(&agreement)[..], [("a", Fault::Forged { why: Unconfirmed::Merkle { .. }, .. })]),
                "{:?}",
                agreement.objections
            );
        }
        // A block above the tip is no lie yet, and no confirmation either.
        let agreement = agree(&chain, &[report("a", 6, forged(7))]);
        assert_eq!(agreement.facts[&txid].confirmation, None);
        let _ = txs;
    }

    #[test]
    fn servers_that_do_not_answer_or_are_elsewhere_object() {
        let (chain, _, _) = world();
        let silent = Report { server: "a".into(), standing: Err("no answer".into()), seen: Err("no answer".into()) };
        let fork =
            Report { server: "b".into(), standing: Ok(Standing::OnFork { shared: 2, height: 6 }), seen: Ok(vec![]) };
        let agreement = agree(&chain, &[silent, fork]);
        assert_eq!(
            objections(&agreement),
            [("a", &Fault::Unusable("no answer".into())), ("b", &Fault::Fork { shared: 2 })]
        );
        assert_eq!((agreement.servers, agreement.heard), (2, 1));
    }
}
