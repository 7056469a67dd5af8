//! Who owns what, and the swaps.

use maud::{Markup, html};

use super::{Colours, MAX_ROWS, badge, empty, more, text};
use crate::daemon::glance::{Glance, GlanceSwap};

/// How wide the bar of someone who owns everything is.
const WIDE: u64 = 100;

/// Balances.
pub(super) fn balances(glance: &Glance, colours: &Colours<'_>) -> Markup {
    let balances = &glance.balances;
    let mut accounts: Vec<_> = balances.accounts.iter().collect();
    let all = usize::try_from(glance.accounts_total).unwrap_or(usize::MAX);
    accounts.sort_by_key(|account| std::cmp::Reverse(account.balance));
    html! {
        section.card #balances aria-labelledby="balances-name" {
            div.bar { h2 #balances-name { "Balances" } p.more { "after block " (text::number(balances.height)) } }
            @if balances.accounts.is_empty() {
                (empty("Nobody owns anything here: the group was founded without an allocation.", &[]))
            } @else {
                table {
                    thead { tr { th scope="col" { "Owner" } th.num scope="col" { "Amount" } th scope="col" { "Share" } } }
                    tbody {
                        @for account in accounts.iter().take(MAX_ROWS) {
                            tr {
                                th scope="row" {
                                    (colours.who(&account.who))
                                    @if account.frozen { " " (badge("bad", "frozen")) }
                                }
                                td.num { (text::number(account.balance)) }
                                td { (share(account.balance, balances.supply)) }
                            }
                        }
                    }
                }
                (more(accounts.len(), accounts.len().max(all), "side-node balance", &glance.status.node))
                p.type-hint { "Give some: " code { "side-node send " (glance.status.node) " NODE 10" } }
            }
        }
    }
}

fn share(amount: u64, supply: u64) -> Markup {
    let part = |of: u64| {
        let part = u128::from(amount) * u128::from(of) / u128::from(supply.max(1));
        u64::try_from(part).unwrap_or(of).min(of)
    };
    let thousandths = part(1000);
    html! {
        svg.share viewBox=(format!("0 0 {WIDE} 8")) width=(WIDE) height="8" aria-hidden="true" focusable="false" {
            rect.all x="0" y="0" width=(WIDE) height="8" rx="4" {}
            @if amount > 0 { rect.part x="0" y="0" width=(part(WIDE).max(2)) height="8" rx="4" {} }
        }
        span.aside { (thousandths / 10) "." (thousandths % 10) " %" }
    }
}

/// Swaps, those that wait for this node's owner first.
pub(super) fn swaps(glance: &Glance, colours: &Colours<'_>) -> Markup {
    html! {
        section.card #swaps aria-labelledby="swaps-name" {
            div.bar { h2 #swaps-name { "Swaps" } @if !glance.swaps.is_empty() { p.more { "on Bitcoin chains" } } }
            @if let Some(problem) = &glance.swaps_problem {
                div.alert.warn { p { strong { "The swaps cannot be read. " } (text::cut(problem)) } }
            } @else if glance.swaps.is_empty() {
                (empty("No swap yet. See two of them played through on a chain of your own:", &["make demo-btc".to_owned(), "side-node htlc --help".to_owned()]))
            } @else {
                ul.swaps { @for swap in &glance.swaps { (one(swap, colours)) } }
            }
        }
    }
}

fn one(swap: &GlanceSwap, colours: &Colours<'_>) -> Markup {
    html! {
        li class=(if swap.done { "swap done" } else if swap.waits_for_you { "swap yours" } else { "swap" }) {
            p.what { (text::cut(&swap.summary)) " with " (colours.who(&swap.with)) }
            p.step {
                @if swap.waits_for_you { (badge("seals", "your turn")) " " }
                (text::cut(&swap.next_step))
            }
            p.aside { (badge(if swap.done { "plain" } else { "pending" }, &text::name(&swap.stage))) " " (text::id(&swap.id)) }
        }
    }
}
