//! The bounds that both ends of a relay connection keep, each with its reason. What an operator may change stands in the server's
//! configuration; these are its protocol part.

use std::time::Duration;

/// Most bytes of a websocket message after the hello: one sync frame (docs/protocol.md, section 8) and its channel number.
pub const MAX_FRAME: usize = (4 << 20) + 5;
/// Most bytes of a websocket message before the hello is accepted: [`MAX_HELLO_GROUPS`] short geneses, and little enough that a crowd of
/// strangers cannot fill the memory.
pub const MAX_HELLO_BYTES: usize = 256 << 10;
/// Most groups in one hello: a node belongs to a handful; whoever has more opens a second connection.
pub const MAX_HELLO_GROUPS: usize = 64;
/// Most bytes of a genesis in a hello: twice what the format allows today (side-ledger), so that it may grow.
pub const MAX_GENESIS_BYTES: usize = 64 << 10;
/// Most groups that a welcome lists: a list for people to choose from, not an inventory. The total is given beside it.
pub const MAX_LISTED_GROUPS: usize = 256;
/// Most bytes of a group's name in a welcome.
pub const MAX_GROUP_NAME_BYTES: usize = 256;
/// Most bytes of the text in a notice: one line for a log.
pub const MAX_NOTICE_BYTES: usize = 512;
/// Most bytes of a close frame's reason (RFC 6455, section 5.5: a control frame holds 125 bytes, of which the code takes 2).
pub const MAX_CLOSE_TEXT: usize = 123;
/// Most bytes of a message of the side lane that a relay passes on: some dozen signed addresses. A snapshot of a state does not go this way.
pub const MAX_SIDE_BYTES: usize = 16 << 10;
/// Messages of the side lane that a relay passes on at once for one connection in one group: each is copied to everybody, so they are few.
pub const SIDE_BURST: u64 = 16;
/// Messages of the side lane that a relay passes on a second for one connection in one group.
pub const SIDE_RATE: u64 = 1;
/// Bytes of the side lane that a relay passes on at once for all connections of a group: with a thousand connections it writes a gigabyte.
pub const SIDE_GROUP_BURST: u64 = 1 << 20;
/// Bytes of the side lane that a relay passes on a second for all connections of a group.
pub const SIDE_GROUP_RATE: u64 = 64 << 10;
/// How long either end waits for the websocket handshake and the hello together.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an end that has heard nothing sends a ping.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// After how much silence the other end is given up: three pings without an answer.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(65);
