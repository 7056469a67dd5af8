//! What merges how (docs/protocol.md, section 6), each rule in two orders of arrival, and as a whole against an oracle that follows the
//! protocol's text literally.

mod judge;
mod oracle;
mod random;
mod rules;
mod world;
