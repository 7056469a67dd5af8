//! What must hold for any bytes whatever, one function for each format of this crate. Fuzz targets and the test that replays seeds and crashers share them. Each
//! panics where a promise is broken and answers whether the bytes were accepted.

use side_seal::bundle::{Anchor, Bundle, MAX_BUNDLE_BYTES, Trusted};
use side_seal::newcomer::{Newcomer, StateMessage};
use side_seal::{Message, message::MessageError};

/// A bundle that decodes stands in the one encoding, and judging it does no harm, whatever its reader trusts.
pub(crate) fn bundle(data: &[u8]) -> bool {
    let Ok(bundle) = Bundle::decode(data) else { return false };
    assert!(data.len() <= MAX_BUNDLE_BYTES);
    assert_eq!(bundle.encode(), data);
    let checkpoint = match &bundle.anchor {
        Anchor::Genesis => None,
        Anchor::Checkpoint { block, .. } => block.id().ok(),
    };
    let trusted = Trusted { group: Some(bundle.group()), checkpoint };
    if let Ok(verified) = bundle.verify(&trusted) {
        assert!(verified.standing.holders >= verified.standing.quorum);
        assert!(bundle.change.is_none_or(|change| change.id() == verified.receipt.id));
    }
    true
}

/// A message that decodes stands in the one encoding.
pub(crate) fn message(data: &[u8]) -> bool {
    match Message::decode(data) {
        Ok(message) => {
            assert_eq!(message.encode(), data);
            true
        }
        Err(MessageError::Unknown(_) | MessageError::Signed(_)) => false,
    }
}

/// A message about the state that decodes stands in the one encoding, and a newcomer that hears it takes no harm. The group is that of the golden messages.
pub(crate) fn state(data: &[u8]) -> bool {
    let genesis =
        include_str!("../tests/golden/bundles.txt").lines().next().and_then(|line| line.parse::<Bundle>().ok());
    let genesis = genesis.expect("a golden bundle").genesis;
    let mut newcomer = Newcomer::new(genesis.clone(), None);
    newcomer.joined(1, 0);
    newcomer.hear(1, data, 0);
    let Ok(message) = StateMessage::decode(data, genesis.spec()) else { return false };
    assert_eq!(message.encode(), data);
    assert!(StateMessage::tag(data).is_some());
    true
}
