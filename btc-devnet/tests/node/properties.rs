//! Whatever happens in whatever order, chain, coins and mempool fit together.

use bitcoin::{OutPoint, ScriptBuf, TxOut, Txid, transaction::Version};
use btc_devnet::node::Node;
use proptest::prelude::*;

use crate::support::{Heard, Model, Wallet, funded, unsigned};

/// One thing that may happen. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    /// Spends some coins, confirmed or not, spent or not.
    Spend {
        coins: Vec<usize>,
        outputs: usize,
        fee: u64,
        version: i32,
    },
    /// A parent that pays nothing and a child that pays for it.
    Package {
        coin: usize,
        fee: u64,
    },
    Mine(u32),
    Reorg {
        depth: u32,
        more: u32,
    },
    /// Replaces the last block by two, the first of which spends a coin otherwise.
    DoubleSpend {
        coin: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::collection::vec(any::<usize>(), 1..4), 1usize..5, 0u64..5_000, 2i32..=3)
            .prop_map(|(coins, outputs, fee, version)| Step::Spend { coins, outputs, fee, version }),
        2 => (any::<usize>(), 0u64..3_000).prop_map(|(coin, fee)| Step::Package { coin, fee }),
        2 => (1u32..3).prop_map(Step::Mine),
        1 => (1u32..4, 1u32..3).prop_map(|(depth, more)| Step::Reorg { depth, more }),
        1 => any::<usize>().prop_map(|coin| Step::DoubleSpend { coin }),
    ]
}

struct World {
    node: Node,
    model: Model,
    wallet: Wallet,
    /// Every output that ever paid the wallet.
    coins: Vec<(OutPoint, TxOut)>,
}

impl World {
    fn new() -> World {
        let wallet = Wallet::new(21);
        let model = Model::default();
        let (node, coins) = funded(&wallet.p2wpkh(), 6, Box::new(model.clone()));
        World { node, model, wallet, coins }
    }

    fn spend(&mut self, coins: &[usize], outputs: usize, fee: u64, version: i32) -> Option<bitcoin::Transaction> {
        let mut chosen: Vec<_> = coins.iter().map(|coin| self.coins[coin % self.coins.len()].clone()).collect();
        chosen.sort_by_key(|(outpoint, _)| *outpoint);
        chosen.dedup_by_key(|(outpoint, _)| *outpoint);
        let total: u64 = chosen.iter().map(|(_, output)| output.value.to_sat()).sum();
        if total < fee + 10_000 {
            return None;
        }
        let to: Vec<ScriptBuf> = vec![self.wallet.p2wpkh(); outputs];
        let mut transaction = unsigned(&chosen, &to, fee);
        transaction.version = Version(version);
        self.wallet.sign(&mut transaction, &chosen.iter().map(|(_, output)| output.clone()).collect::<Vec<_>>());
        let txid = transaction.compute_txid();
        let outputs = (0u32..).zip(&transaction.output).map(|(vout, output)| (OutPoint { txid, vout }, output.clone()));
        self.coins.extend(outputs);
        Some(transaction)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Spend { coins, outputs, fee, version } => {
                if let Some(transaction) = self.spend(&coins, outputs, fee, version) {
                    // Whether it is accepted is another test's matter.
                    let _ = self.node.submit(transaction);
                }
            }
            Step::Package { coin, fee } => {
                if let Some(parent) = self.spend(&[coin], 1, 0, 2) {
                    let child = self.coins.len() - 1;
                    if let Some(child) = self.spend(&[child], 1, fee, 2) {
                        let _ = self.node.submit_package(vec![parent, child], None);
                    }
                }
            }
            Step::Mine(count) => {
                self.node.mine(count, None).expect("a template is always valid");
            }
            Step::Reorg { depth, more } => {
                self.node.reorg(depth, depth + more).expect("the chain is long enough");
            }
            Step::DoubleSpend { coin } => {
                if let Some(transaction) = self.spend(&[coin], 2, 700, 2) {
                    // Refused if the coin does not exist there.
                    let _ = self.node.reorg_with(1, vec![vec![transaction], vec![]]);
                }
            }
        }
    }

    fn check(&self) {
        self.node.debug_check();
        let Heard { chain, mempool, .. } = self.model.heard();
        assert_eq!(chain.last(), Some(&self.node.tip().hash));
        assert_eq!(chain.len() as u32, self.node.tip().height + 1);
        assert_eq!(mempool.len(), self.node.mempool_len(), "{:?}", mempool.iter().collect::<Vec<&Txid>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn chain_and_mempool_keep_their_invariants(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check();
        }
        // Whatever waits can be mined.
        world.node.mine(2, None).expect("a template is always valid");
        world.check();
    }
}
