//! Hash time locked contracts: terms, scripts, transactions, and the life of a swap as a state machine.
