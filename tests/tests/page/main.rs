//! The page of a running node in a real browser.

mod audit;
mod clicks;
mod pictures;
mod support;
