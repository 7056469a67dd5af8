//! Swaps as a node has them: on disk, in the group, on the chains.
//!
//! The rules are in [`crate::btc::htlc`], what is believed of a chain in [`crate::btc::chain`]. Here both meet servers, files and people.
//!
//! - [`desk`]: offers, accepts, funds, looks and acts
//! - [`deal`]: a swap with its other party and its servers
//! - [`watch`]: a chain through its servers
//! - [`traffic`]: what members say to each other
//! - [`service`]: the task of a running node
//! - [`storage`], [`headers`], [`database`]: on disk
//! - [`view`], [`glance`], [`error`]: what people and programs get to read

pub mod database;
pub mod deal;
pub mod desk;
pub mod error;
pub mod glance;
pub mod headers;
pub mod service;
pub mod storage;
pub mod traffic;
pub mod view;
pub mod watch;

pub use deal::{ChainPlace, Deal, Peer};
pub use desk::{Desk, NewLeg, NewOffer, Round};
pub use error::DeskError;
pub use traffic::{GroupLink, Offered, Traffic};
