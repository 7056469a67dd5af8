//! Leader mode from the outside: single rules against single attackers, and whole groups of nodes under a seeded scheduler.

mod bytes;
mod members;
mod rules;
mod sim;
mod world;
