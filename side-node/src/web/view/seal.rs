//! Who seals blocks, and who decides that.

use maud::{Markup, html};

use super::{Colours, MAX_ROWS, badge, empty, more, text};
use crate::daemon::view::Status;

/// Sealers, voters, quorum.
pub(super) fn seal(status: &Status, colours: &Colours<'_>) -> Markup {
    let bft = status.mode == "bft";
    html! {
        section.card #seal aria-labelledby="seal-name" {
            div.bar { h2 #seal-name { "Sealing" } p.more { @if bft { "by agreement" } @else { "by a leader" } } }
            p.lead {
                @if status.sealers.is_empty() { "Nobody seals." }
                @else {
                    @for (at, sealer) in status.sealers.iter().enumerate() { @if at > 0 { ", " } (colours.who(sealer)) }
                    @if bft { " agree on each block" } @else { " seals blocks" }
                    " in epoch " (status.epoch) "."
                }
            }
            @if !status.may_seal {
                p.note { "This copy may have forgotten blocks: it neither seals nor gives its word until it has learnt them." }
            }
            @if status.voters.is_empty() {
                (empty("Nobody votes here yet.", &[]))
            } @else {
                p.note {
                    (status.quorum) " of " (status.voters.len()) " voters hold a block for it to stay; "
                    (status.switch_needs) " choose another sealer."
                }
                table {
                    thead { tr { th scope="col" { "Voter" } th scope="col" { "Role" } th.num scope="col" { "Holds up to" } } }
                    tbody {
                        @for voter in status.voters.iter().take(MAX_ROWS) {
                            tr {
                                th scope="row" { (colours.who(&voter.who)) }
                                td {
                                    @if voter.elector { (badge("plain", "elects")) " " }
                                    @if status.sealers.iter().any(|sealer| sealer.key == voter.who.key) { (badge("seals", "seals")) }
                                }
                                td.num {
                                    (text::number(voter.holds))
                                    @if status.height > voter.holds { span.aside { (text::number(status.height - voter.holds)) " behind" } }
                                }
                            }
                        }
                    }
                }
                (more(status.voters.len(), status.voters.len(), "side-node status", &status.node))
                @for votes in status.sealer_votes.iter().take(MAX_ROWS) {
                    p.note { (crate::output::sealer_votes_line(votes, &status.node)) }
                }
                @for pending in &status.pending_voters {
                    p.note { (colours.who(&pending.who)) @if pending.joins { " joins" } @else { " leaves" } " the voters when set " (status.set) " ends." }
                }
                @for rotation in &status.rotations {
                    p.note { (crate::output::rotation_line(rotation, &status.node)) }
                }
                @if !bft && status.voters.len() > 1 {
                    p.type-hint { "Another leader: " code { "side-node vote " (status.node) " leader NODE" } }
                }
            }
        }
    }
}
