//! `side-node btc-htlc`: two swaps between two nodes of this machine, from beginning to end. The first is claimed, the second times out and is refunded.

use bitcoin::Amount;
use clap::Args;
use serde::Serialize;
use side_ledger::Name;

use super::htlc::demo::{Party, Stage, say};
use super::htlc::{ChainArgs, block_on};
use crate::btc::amount;
use crate::btc::htlc::margins::min_timeout;
use crate::btc::htlc::swap::{Role, SwapId};
use crate::btc::htlc::terms::LockKind;
use crate::btc::swaps::NewOffer;
use crate::btc::swaps::view::{self, DealView};
use crate::cli::Globals;
use crate::error::CommandError;

/// Blocks of a devnet that are mined at once while nothing but time is needed.
const STRIDE: u32 = 6;
/// Rounds after which a demo on a devnet that does not come to its end is given up: several times what it takes.
const MAX_ROUNDS: usize = 500;
/// Blocks that may come while the two agree, beyond the fewest that a swap has to have when it is funded: a devnet may make one a second, and machines are busy.
const SLACK_BLOCKS: u32 = 12;

/// Arguments of `btc-htlc`.
#[derive(Debug, Args)]
#[command(after_help = "\
Beside `cargo run -p btc-devnet`:
  side-node init dave
  side-node init sammy
  side-node btc-htlc --network regtest

First dave locks coins for a preimage that sammy knows; sammy claims with it, and dave learns it from the chain. Then dave locks coins and sammy stays away; after the
timeout dave takes them back. A devnet mines as it goes along. Elsewhere the same takes as long as the blocks do; it can be interrupted, and both nodes go on with
`htlc resume`.")]
pub struct BtcHtlcArgs {
    /// Who pays
    #[arg(value_name = "NODE", default_value = "dave")]
    pub payer: Name,
    /// Who is paid
    #[arg(value_name = "NODE", default_value = "sammy")]
    pub payee: Name,
    /// How much is locked each time
    #[arg(long, value_name = "AMOUNT", default_value = "50000", value_parser = crate::btc::amount::parse)]
    pub amount: Amount,
    /// Where the chain is.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Shown {
    claimed: DealView,
    refunded: DealView,
    preimage: String,
}

/// Runs `btc-htlc`.
pub fn run(globals: &Globals, args: BtcHtlcArgs) -> Result<(), CommandError> {
    let mut dave = Party::open(globals, &args.payer, &args.chain, &[])?;
    let mut sammy = Party::open(globals, &args.payee, &args.chain, &[])?;
    dave.session.warn_single();
    let shown = block_on(async {
        let stage = Stage::open(&dave.session, dave.session.place.clone()).await?;
        dave.afford(&stage, args.amount * 2).await?;

        say(&dave, &format!("1. {} pays {} for a preimage", dave.me.name, sammy.me.name));
        let first = agree(&mut dave, &mut sammy, &stage, args.amount).await?;
        dave.fund(&first).await?;
        let mut rounds = 0;
        loop {
            dave.round().await?;
            sammy.round().await?;
            if dave.desk.get(&first).map_err(|e| dave.session.error(e))?.is_done()
                && sammy.desk.get(&first).map_err(|e| sammy.session.error(e))?.is_done()
            {
                break;
            }
            tick(&stage, &dave, &mut rounds, 1).await?;
        }
        let claimed = view::deal(&dave.desk.get(&first).map_err(|e| dave.session.error(e))?);
        let preimage = claimed.legs[0].preimage.clone().ok_or_else(|| {
            CommandError::user("the swap ended without the preimage").hint("see it with: side-node htlc show dave ID")
        })?;
        say(&dave, &format!("  {:<8} learnt the preimage from the chain: {preimage}", dave.me.name));

        say(&dave, &format!("2. {} pays again, and {} stays away", dave.me.name, sammy.me.name));
        let second = agree(&mut dave, &mut sammy, &stage, args.amount).await?;
        dave.fund(&second).await?;
        let mut rounds = 0;
        while !dave.desk.get(&second).map_err(|e| dave.session.error(e))?.is_done() {
            dave.round().await?;
            let deal = dave.desk.get(&second).map_err(|e| dave.session.error(e))?;
            let timeout = deal.legs()[0].offer_made().timeout.to_consensus_u32();
            let left = deal.tip(0).map_or(0, |tip| timeout.saturating_sub(tip.to_consensus_u32()));
            tick(&stage, &dave, &mut rounds, left.clamp(1, STRIDE)).await?;
        }
        let refunded = view::deal(&dave.desk.get(&second).map_err(|e| dave.session.error(e))?);
        // The other one's view of the second swap ends, too.
        sammy.round().await?;
        let (has, got) =
            (dave.balance(&stage.place.chain, &stage).await?, sammy.balance(&stage.place.chain, &stage).await?);
        say(
            &dave,
            &format!(
                "in the end {} has {}, {} has {}",
                dave.me.name,
                amount::show(has),
                sammy.me.name,
                amount::show(got)
            ),
        );
        Ok(Shown { claimed, refunded, preimage })
    })?;
    if dave.session.json() { globals.output().result(&shown, String::new) } else { Ok(()) }
}

/// Offers and accepts; answers the swap's id.
async fn agree(dave: &mut Party, sammy: &mut Party, stage: &Stage, amount: Amount) -> Result<SwapId, CommandError> {
    let new = NewOffer {
        role: Role::Payer,
        kind: LockKind::Taproot,
        amount,
        blocks: min_timeout(&stage.place.chain, amount) + SLACK_BLOCKS,
        payment_hash: None,
    };
    dave.desk.offer(&stage.place, new, sammy.me.clone()).await.map_err(|e| dave.session.error(e))?;
    let offer = dave.letters(sammy)?;
    let id = sammy.accept(&offer, vec![stage.place.clone()]).await?;
    let answer = sammy.letters(dave)?;
    dave.hear(&answer).await?;
    let deal = dave.desk.get(&id).map_err(|e| dave.session.error(e))?;
    say(dave, &format!("  {}", view::headline(&view::deal(&deal))));
    Ok(id)
}

async fn tick(stage: &Stage, party: &Party, rounds: &mut usize, blocks: u32) -> Result<(), CommandError> {
    *rounds += 1;
    if stage.is_devnet() && *rounds > MAX_ROUNDS {
        return Err(CommandError::bug("the demo does not come to its end"));
    }
    stage.wait(&party.session, blocks).await
}
