//! Both modes from the outside: single rules against single attackers, and whole groups of nodes under a seeded scheduler.

mod bft;
mod bytes;
mod members;
mod rules;
mod sim;
mod world;
