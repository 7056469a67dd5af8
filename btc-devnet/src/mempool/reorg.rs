//! What a reorganisation does to the mempool (`MaybeUpdateMempoolForReorg`, `validation.cpp`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bitcoin::{OutPoint, Transaction, Txid};

use super::{
    accept::{Args, Context},
    pool::{Event, Mempool},
};
use crate::{
    node::Departure,
    policy::{self, COINBASE_MATURITY},
};

impl Mempool {
    /// Takes back the transactions of dropped blocks, parents first, as far as they are valid on the new chain, and lets go of
    /// what is not valid any more. Called when the chain has settled on its new tip.
    ///
    /// Transactions that spend from the returning ones step aside and return behind them, so that clusters keep their limits.
    pub(crate) fn reorganise(&mut self, returning: Vec<Transaction>, context: &Context<'_>) {
        let events = std::mem::take(&mut self.events);
        let outputs = returning.iter().flat_map(|transaction| {
            let txid = transaction.compute_txid();
            (0..transaction.output.len() as u32).map(move |vout| OutPoint { txid, vout })
        });
        let dependents: BTreeSet<Txid> = outputs.filter_map(|outpoint| self.spender(&outpoint).copied()).collect();
        let dependents = self.with_descendants(dependents);
        let order = self.children_first(&dependents);
        let mut aside: Vec<(Arc<Transaction>, u32)> = Vec::new();
        for txid in order.iter().rev() {
            if let Some(entry) = self.get(txid) {
                aside.push((entry.public.transaction.clone(), entry.public.time));
            }
        }
        self.remove(order.into_iter().map(|txid| (txid, Departure::Reorganised)).collect());
        for transaction in returning.into_iter().filter(|transaction| !transaction.is_coinbase()) {
            // What conflicts with the new chain, or came in by another way, stays out.
            if let Err(refusal) = self.accept(Arc::new(transaction), Args::RETURNING, context) {
                tracing::debug!(reason = %refusal.text(), "a transaction of a dropped block does not return");
            }
        }
        for (transaction, time) in aside {
            let context = Context { now: time, ..*context };
            if let Err(refusal) = self.accept(transaction, Args::RETURNING, &context) {
                tracing::debug!(reason = %refusal.text(), "a transaction is not valid after the reorganisation");
            }
        }
        self.drop_premature(context);
        self.trim(context.now);
        let happened = std::mem::replace(&mut self.events, events);
        self.events.extend(net(happened, &dependents));
    }

    /// Lets go of what the new tip makes premature, with its descendants.
    fn drop_premature(&mut self, context: &Context<'_>) {
        let premature = self.timed.iter().filter(|txid| {
            let Some(entry) = self.get(txid) else { return false };
            let transaction = &entry.public.transaction;
            let inputs = transaction.input.iter();
            let spent = inputs.map(|input| self.coin(&input.previous_output, context, &HashMap::new()));
            let Some(spent) = spent.collect::<Option<Vec<_>>>() else { return true };
            let next = context.chain.height() + 1;
            !policy::is_final(transaction, context.chain)
                || !policy::check_sequence_locks(transaction, &spent, context.chain)
                || spent.iter().any(|coin| {
                    coin.coinbase && coin.height.is_some_and(|height| next.saturating_sub(height) < COINBASE_MATURITY)
                })
        });
        let premature: BTreeSet<Txid> = premature.copied().collect();
        let premature = self.with_descendants(premature);
        let order = self.children_first(&premature);
        self.remove(order.into_iter().map(|txid| (txid, Departure::Reorganised)).collect());
    }

    /// Takes in what a former run of the program held, parents first.
    pub(crate) fn restore(&mut self, transactions: Vec<Transaction>, context: &Context<'_>) {
        for transaction in transactions {
            if let Err(refusal) = self.accept(Arc::new(transaction), Args::RETURNING, context) {
                tracing::debug!(reason = %refusal.text(), "a transaction of the former run is not valid any more");
            }
        }
        self.trim(context.now);
    }

    /// Whether an input of some transaction is neither in the chain nor in the mempool.
    pub(crate) fn has_orphans(&self, context: &Context<'_>) -> bool {
        self.entries().any(|entry| {
            let mut inputs = entry.transaction.input.iter();
            inputs.any(|input| self.coin(&input.previous_output, context, &HashMap::new()).is_none())
        })
    }
}

/// What an observer should hear: nothing of the first departure and return of those that stepped aside and came back.
fn net(events: Vec<Event>, aside: &BTreeSet<Txid>) -> Vec<Event> {
    let entered = |event: &Event| match event {
        Event::Entered(entry) => aside.get(&entry.txid).copied(),
        Event::Left(..) => None,
    };
    let mut unheard_entries: BTreeSet<Txid> = events.iter().filter_map(entered).collect();
    let mut unheard_departures = unheard_entries.clone();
    let mut is_heard = |event: &Event| match event {
        Event::Left(txid, _) => !unheard_departures.remove(txid),
        Event::Entered(entry) => !unheard_entries.remove(&entry.txid),
    };
    events.into_iter().filter(|event| is_heard(event)).collect()
}
