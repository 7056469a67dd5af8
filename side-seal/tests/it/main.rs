//! Both modes from the outside: single rules against single attackers, and whole groups of nodes under a seeded scheduler.

mod beside;
mod bft;
mod bounds;
mod bundle;
mod bytes;
mod fuzz_replay;
mod members;
mod newcomer;
mod past;
mod rules;
mod sim;
mod switching;
mod world;
