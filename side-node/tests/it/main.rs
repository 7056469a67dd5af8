//! The node from outside: folders, the running daemon, its control socket, and several of them around a relay, all in one process.

mod api;
mod backup;
mod commands;
mod control;
mod doctor;
mod exchange;
mod faults;
mod fuzz_replay;
mod glance;
mod groups;
mod init;
mod keys;
mod newcomer;
mod restored;
mod schema;
mod seal;
mod support;
mod sync;
mod verify;
