//! The plays in BFT mode: whole members under an ideal agreement ([`crate::agreement`]), which says and checks who votes where.

use crate::plan::Plan;
use crate::play_all_of;

#[test]
fn in_bft_mode_what_is_final_stays_and_the_members_agree() {
    play_all_of(Plan::bft, "agreement", |all| (all.refused_links, all.proofs) == (0, 0));
}

#[test]
fn in_bft_mode_a_sealer_that_was_set_back_votes_nowhere_twice_and_comes_back() {
    play_all_of(Plan::bft_set_back, "agreement, set back", |all| {
        all.restores > 0 && all.votes > 0 && (all.refused_links, all.proofs) == (0, 0)
    });
}

#[test]
fn in_bft_mode_a_sealer_with_two_faces_divides_nobody_and_is_found_out() {
    play_all_of(Plan::bft_two_faces, "agreement, two faces", |all| all.proofs > 0 && all.votes > 0);
}

#[test]
fn in_bft_mode_keys_are_rotated_whatever_fails() {
    play_all_of(Plan::bft_rotating, "agreement, rotation", |all| {
        all.rotations > 0 && (all.refused_links, all.proofs) == (0, 0)
    });
}
