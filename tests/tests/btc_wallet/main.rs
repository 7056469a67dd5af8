//! The Bitcoin wallet of the real program against a chain with Bitcoin Core's validation. Rules are tested where they live; here is what people do, and what
//! servers, crashes and reorganisations do to them.

mod recovery;
mod servers;
mod transfer;
mod words;
