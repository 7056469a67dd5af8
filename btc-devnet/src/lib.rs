//! A Bitcoin regtest chain for demos and tests: consensus by Bitcoin Core's own code, an Esplora API in front of it.
//!
//! ```no_run
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! use btc_devnet::{Devnet, Options};
//!
//! let devnet = Devnet::start(Options::default()).await?;
//! println!("an Esplora server answers on {}", devnet.url());
//! devnet.mine(6).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Devnet`] starts a chain with its server, and commands it; [`Handle`] is a mailbox to its chain.
//! - [`node`] is the chain itself: it validates, mines, keeps the mempool and tells an observer what changed.
//! - [`index`] is that observer's memory: transactions, spends and scripts by every key that Esplora's clients ask for.

mod chain;
pub mod cli;
mod clock;
mod coins;
mod devnet;
mod faucet;
mod handle;
mod http;
pub mod index;
mod journal;
mod kernel;
mod mempool;
mod miner;
mod mode;
pub mod node;
mod policy;
mod script;
mod wallet;

pub use devnet::{Devnet, FUNDED, Options, StartError};
pub use handle::{CommandError, Handle, Stopped};
pub use mode::{BadMode, Mode};
pub use node::Mining;
pub use wallet::{BadMnemonic, FundedWallet, MNEMONIC};
