//! A node's swaps at a glance, in the form of [`crate::daemon::glance`]: what `htlc list` says, bounded.

use super::deal::Deal;
use super::desk::Desk;
use super::error::DeskError;
use super::traffic::{Offered, Traffic};
use super::view;
use crate::btc::htlc::swap::{Level, Stage, SwapId};
use crate::daemon::glance::{GlanceSwap, MAX_GLANCE_SWAPS};
use crate::daemon::view::{Swaps, Who};
use crate::home::NodeHome;

/// How many entries about swaps are looked at for offers to this node, the last ones: others may talk of theirs without end.
pub const MAX_SWAP_ENTRIES: usize = 512;

/// Offers in a group to this node, the latest first. Those that it has accepted are among them: see [`add_deals`].
pub fn offers(group: &str, swaps: &Swaps) -> Vec<GlanceSwap> {
    let offered = Traffic::read(group, swaps).offers();
    offered.iter().rev().take(MAX_GLANCE_SWAPS).map(offer).collect()
}

/// Puts the node's swaps in a group to the offers, in place of those that it has accepted: what waits for its owner first, what is over last. A swap that began
/// before nodes had several groups has none, and is shown in all of them.
pub fn add_deals(home: &NodeHome, group: &str, shown: &mut Vec<GlanceSwap>) -> Result<(), DeskError> {
    if Desk::exists(home) {
        let desk = Desk::open(home, Vec::new())?;
        shown.retain(|offer| offer.id.parse::<SwapId>().is_ok_and(|id| desk.get(&id).is_err()));
        let of_group = |deal: &Deal| deal.peer.group.as_deref().is_none_or(|of| of == group);
        shown.extend(desk.latest(MAX_GLANCE_SWAPS)?.iter().filter(|deal| of_group(deal)).map(deal));
    }
    shown.sort_by_key(|swap| (swap.done, !swap.waits_for_you));
    shown.truncate(MAX_GLANCE_SWAPS);
    Ok(())
}

/// How many of a node's swaps are not over, in whichever group.
pub fn open_deals(home: &NodeHome) -> Result<usize, DeskError> {
    if !Desk::exists(home) {
        return Ok(0);
    }
    Ok(Desk::open(home, Vec::new())?.all(true)?.len())
}

fn offer(offered: &Offered) -> GlanceSwap {
    let seen = view::offer(offered);
    GlanceSwap {
        with: Who { key: seen.from_key.clone(), name: Some(seen.from.clone()) },
        summary: view::offered_words(&seen),
        stage: "offered to you".to_owned(),
        next_step: format!("accept it, or leave it: htlc accept NODE {}", view::short(&seen.id)),
        waits_for_you: true,
        done: false,
        id: seen.id,
    }
}

fn deal(deal: &Deal) -> GlanceSwap {
    let seen = view::deal(deal);
    let outlook = deal.outlook();
    let legs = deal.legs();
    // The leg that matters more.
    let first = outlook.first().map_or(0, |(leg, _)| *leg);
    let to_fund = deal.paid_leg().is_some_and(|leg| legs[leg].stage() == Stage::Accepted) && deal.may_fund().is_ok();
    GlanceSwap {
        with: Who { key: seen.peer_key.clone(), name: Some(seen.peer.clone()) },
        summary: view::legs_words(&seen),
        stage: stage_word(legs[first].stage()),
        next_step: seen.next.join("; "),
        waits_for_you: to_fund || outlook.iter().any(|(_, outlook)| outlook.level == Level::Urgent),
        done: seen.done,
        id: seen.id,
    }
}

/// The stage as the JSON of `htlc show` has it; of one that ended, how.
fn stage_word(stage: Stage) -> String {
    match serde_json::to_value(stage) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.get("done").and_then(|how| how.as_str()).unwrap_or("done").to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::Height;
    use bitcoin::{Amount, ScriptBuf};

    use super::*;
    use crate::btc::htlc::secrets::SpendKey;
    use crate::btc::htlc::swap::{NewSwap, Own, Role, Swap};
    use crate::btc::htlc::terms::LockKind;
    use crate::btc::swaps::deal::State;
    use crate::btc::swaps::storage::{Beside, SwapStore};
    use crate::btc::swaps::{ChainPlace, Peer};

    fn deal_of(group: Option<&str>, key: u8) -> Deal {
        let new = NewSwap {
            role: Role::Payer,
            chain: "regtest".parse().unwrap(),
            kind: LockKind::P2wsh,
            amount: Amount::from_sat(50_000),
            timeout: Height::from_consensus(500).unwrap(),
            payment_hash: None,
            own: Own {
                key: SpendKey::from_bytes([key; 32]).unwrap(),
                preimage: None,
                payout: ScriptBuf::from_bytes([&[0, 20][..], &[7; 20]].concat()),
            },
        };
        let step = Swap::offer(new, Height::from_consensus(100).unwrap()).unwrap();
        let (swap, _) = step.commit(|_| Ok::<(), std::convert::Infallible>(())).unwrap();
        let peer = Peer { key: "ab".repeat(32), name: "sammy".to_owned(), group: group.map(str::to_owned) };
        let places =
            vec![ChainPlace { chain: "regtest".parse().unwrap(), servers: vec!["http://127.0.0.1:1".to_owned()] }];
        Deal { peer, places, created_ms: 1, state: State::Single(Box::new(swap)), revision: 1 }
    }

    #[test]
    fn a_groups_swaps_and_unanswered_offers_are_shown_and_no_secret_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = crate::home::Root::find(Some(folder.path().to_owned())).unwrap();
        let home = root.node("dave");
        let offered = |id: String| GlanceSwap {
            id,
            with: Who { key: "cd".repeat(32), name: None },
            summary: "offered".to_owned(),
            stage: "offered to you".to_owned(),
            next_step: "accept it".to_owned(),
            waits_for_you: true,
            done: false,
        };
        let open = "ef".repeat(32);
        let mut shown = vec![offered(open.clone())];
        add_deals(&home, "one", &mut shown).unwrap();
        assert_eq!(shown, [offered(open.clone())], "a node without swaps");
        assert!(!Desk::exists(&home), "looking makes no file");

        let (mine, other, old) = (deal_of(Some("one"), 9), deal_of(Some("two"), 10), deal_of(None, 11));
        let mut store = SwapStore::open(&home.btc_folder()).unwrap();
        for deal in [&mine, &other, &old] {
            store.insert(deal.id().as_bytes(), &deal.write(&deal.state), &Beside::default()).unwrap();
        }
        // An offer that has become a swap is not shown twice.
        shown.push(offered(mine.id().to_string()));
        add_deals(&home, "one", &mut shown).unwrap();
        let ids: Vec<&str> = shown.iter().map(|swap| swap.id.as_str()).collect();
        assert_eq!(ids, [open.as_str(), &old.id().to_string(), &mine.id().to_string()]);
        let swap = &shown[2];
        assert_eq!((swap.stage.as_str(), swap.done, swap.waits_for_you), ("offered", false, false));
        assert_eq!(swap.summary, "you pay sammy 50,000 sats (0.00050000 BTC) on regtest");
        assert!(swap.next_step.starts_with("offered, waiting for the other side to accept"), "{}", swap.next_step);
        assert!(!serde_json::to_string(&shown).unwrap().contains(&hex::encode([9; 32])));
    }
}
