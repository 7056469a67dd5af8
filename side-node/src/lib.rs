//! The Side node: a daemon that keeps one member's copy of a group's signed history, and its command line.
//!
//! - [`cli`] — the command line: one command, one file
//! - [`daemon`] — the running node; a test starts it in-process
//! - [`member`] — a group as this node takes part in it, as a value
//! - [`net`] — the way to other members
//! - [`doctor`] — what is wrong with a node, and what to do
//! - [`api`] — the API, for other programs of this machine; [`export`] — changes as JSON lines
//! - [`web`] — the page of a running node, on loopback
//! - [`tui`] — a group at a glance on a terminal
//! - `http_server` — what connections to the page and to the API may take
//! - [`console`] and [`terminal`] — typing into a running node
//! - [`btc`] — the Bitcoin wallet, transfers and swaps
//! - [`home`], [`keys`], [`config`], [`registry`] — what lies on disk beside the database
//! - [`secrets`] — the passphrase of a node's secrets; [`backup`] — a node in one encrypted file
//! - [`metrics`] — the same numbers for a scraper
//! - [`output`], [`qr`], [`error`] — what people and scripts get to read
//! - [`clock`] — the wall clock and the random source, read here alone

pub mod api;
pub mod backup;
pub mod btc;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod daemon;
pub mod doctor;
pub mod error;
pub mod export;
pub mod home;
mod http_server;
pub mod keys;
pub mod member;
pub mod metrics;
pub mod net;
pub mod output;
pub mod qr;
pub mod registry;
pub mod rotation;
pub mod sealer;
pub mod secrets;
pub mod terminal;
pub mod tui;
pub mod web;
