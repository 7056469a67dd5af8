//! Several groups at once, with real processes: founding, joining, inviting, voting.

mod at_once;
mod commands;
mod rotation;
mod votes;
