//! What must hold for any bytes whatever, one function for each format of the ledger and of the relay. Fuzz targets and the test that replays seeds and
//! crashers share them. Each panics where a promise is broken and answers whether the bytes were accepted.

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::hash::hash;
use bft_json_crdt::value::Value;
use bytes::Bytes;
use side_ledger::genesis::{Genesis, MAX_GENESIS_BYTES};
use side_ledger::invitation::{INVITATION_DOMAIN, Invitation, SCHEME};
use side_ledger::transaction::{Known, MAX_NOTE_BYTES, Transaction};
use side_ledger::{Block, block::MAX_BLOCK_BYTES};
use side_watcher::protocol::limits::{MAX_CLOSE_TEXT, MAX_HELLO_GROUPS, MAX_LISTED_GROUPS, MAX_NOTICE_BYTES};
use side_watcher::protocol::{Challenge, Channel, CloseReason, Control};

/// A genesis that decodes stands in the one encoding: its parts make the same bytes and the same group.
pub(crate) fn genesis(data: &[u8]) -> bool {
    let Ok(genesis) = Genesis::decode(data) else { return false };
    assert!(data.len() <= MAX_GENESIS_BYTES);
    assert_eq!(genesis.bytes(), data);
    let again = Genesis::founded(genesis.spec().clone(), genesis.origin().copied(), genesis.rules());
    let again = again.expect("the parts of a genesis make a genesis");
    assert_eq!(again.bytes(), data);
    assert_eq!(again.id(), genesis.id());
    true
}

/// A block that decodes stands in the one encoding.
pub(crate) fn block(data: &[u8]) -> bool {
    let Ok(block) = Block::decode(data) else { return false };
    assert!(data.len() <= MAX_BLOCK_BYTES);
    assert_eq!(block.encode().expect("what was decoded can be encoded"), data);
    assert!(block.id().is_ok());
    true
}

/// A text that is an invitation is the one text for it. The input is read as the text, and as the bytes in a text whose checksum is right: no fuzzer finds
/// checksums by itself.
pub(crate) fn invitation(data: &[u8]) -> bool {
    let checksum = hash(INVITATION_DOMAIN, data);
    let bytes: Vec<u8> = data.iter().chain(&checksum[..4]).copied().collect();
    let mut accepted = invitation_text(&(SCHEME.to_owned() + &base64url(&bytes)));
    if let Ok(text) = std::str::from_utf8(data) {
        accepted |= invitation_text(text);
    }
    accepted
}

fn invitation_text(text: &str) -> bool {
    let Ok(invitation) = text.parse::<Invitation>() else { return false };
    assert_eq!(invitation.to_string(), text.trim());
    true
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let digit = |first: usize| (first..first + 6).fold(0, |digit, at| digit << 1 | usize::from(bit(at)));
    (0..bytes.len() * 8).step_by(6).map(|first| char::from(ALPHABET[digit(first)])).collect()
}

/// A value that is a transaction is that transaction's value, and a known kind is written as it was read.
pub(crate) fn transaction(data: &[u8]) -> bool {
    let Ok(value) = Value::decode(data) else { return false };
    let Ok(transaction) = Transaction::from_value(&value) else { return false };
    assert_eq!(transaction.to_value(), value);
    let limit = MAX_NOTE_BYTES as u64;
    if let Ok(known) = transaction.known(limit) {
        if let Known::Note(text) = &known {
            assert_eq!(Transaction::note(text, limit).expect("a note that was read").to_value(), value);
        }
        assert_eq!(known.transaction().to_value(), value);
    }
    true
}

/// A websocket message opens to what makes the same message; a control message in it stands in the one encoding and keeps its bounds, and judging it
/// does no harm.
pub(crate) fn relay(data: &[u8]) -> bool {
    if let Some(code) = data.first_chunk() {
        let code = u16::from_be_bytes(*code);
        assert!(CloseReason::from_code(code).is_none_or(|reason| reason.code() == code));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let cut = CloseReason::text(text);
        assert!(cut.len() <= MAX_CLOSE_TEXT && text.starts_with(cut));
    }
    let frame = Bytes::copy_from_slice(data);
    let Ok((channel, payload)) = Channel::open(&frame) else { return false };
    assert_eq!(channel.envelope(&payload), frame);
    if channel != Channel::CONTROL {
        return true;
    }
    let Ok(control) = Control::decode(&payload) else { return false };
    let again = control.encode();
    match control {
        // What stands behind an unknown kind is not kept.
        Control::Unknown(_) => assert!(frame.starts_with(&again)),
        _ => assert_eq!(again, frame),
    }
    match control {
        Control::Hello(hello) => {
            assert!(hello.groups.len() <= MAX_HELLO_GROUPS);
            let groups: Vec<DocumentId> = hello.groups.iter().map(|group| group.group).collect();
            assert!(groups.iter().enumerate().all(|(number, group)| !groups[..number].contains(group)));
            let challenge = Challenge::new(hello.relay, hello.nonce, hello.expires_ms);
            let _ = hello.check(&challenge, hello.expires_ms.saturating_sub(1));
        }
        Control::Welcome(welcome) => {
            assert!(welcome.replies.len() <= MAX_HELLO_GROUPS && welcome.carried.len() <= MAX_LISTED_GROUPS);
        }
        Control::Notice(notice) => assert!(notice.text.len() <= MAX_NOTICE_BYTES),
        Control::Challenge(_) | Control::Unknown(_) => {}
    }
    true
}
