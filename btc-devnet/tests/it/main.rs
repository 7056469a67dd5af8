//! The chain from outside: its HTTP API, its program, a real wallet.

mod chains;
mod cli;
mod control;
mod esplora;
mod hostile;
mod http;
mod page;
mod purse;
mod recorded;
mod state;
mod wallet;
