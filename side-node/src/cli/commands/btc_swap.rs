//! `side-node btc-swap`: an atomic swap between two chains, from beginning to end.

use bitcoin::Amount;
use clap::Args;
use serde::Serialize;
use side_ledger::Name;

use super::htlc::demo::{Party, Stage, say};
use super::htlc::{ChainArgs, block_on};
use crate::btc::amount;
use crate::btc::htlc::terms::LockKind;
use crate::btc::swaps::view::{self, DealView};
use crate::btc::swaps::{ChainPlace, NewLeg};
use crate::cli::Globals;
use crate::error::CommandError;

/// Rounds after which a demo that does not come to its end is given up: several times what it takes.
const MAX_ROUNDS: usize = 500;
/// Where the first of two devnets listens.
const FIRST: &str = "http://127.0.0.1:3002";
/// Where the second one does.
const SECOND: &str = "http://127.0.0.1:3003";

/// Arguments of `btc-swap`.
#[derive(Debug, Args)]
#[command(after_help = "\
Beside two devnets, `cargo run -p btc-devnet -- --chains 2`:
  side-node init dave
  side-node init sammy
  side-node btc-swap
  side-node btc-swap --esplora http://127.0.0.1:3002 --esplora http://127.0.0.1:3003     the same; the first chain's server first

dave gives coins of the first chain for sammy's coins of the second: two locks with one payment hash. dave knows the preimage; sammy locks only once dave's lock is
buried; dave claims on the second chain and so shows the preimage, with which sammy claims on the first.")]
pub struct BtcSwapArgs {
    /// Who begins, and pays on the first chain
    #[arg(value_name = "NODE", default_value = "dave")]
    pub initiator: Name,
    /// Who pays on the second chain
    #[arg(value_name = "NODE", default_value = "sammy")]
    pub follower: Name,
    /// The Esplora server of a chain: given twice, that of the first chain first [default: http://127.0.0.1:3002 and http://127.0.0.1:3003]
    #[arg(long, value_name = "URL")]
    pub esplora: Vec<String>,
    /// What the first of `--esplora` was called before
    #[arg(long, value_name = "URL", hide = true, conflicts_with = "esplora")]
    pub first: Option<String>,
    /// What the second of `--esplora` was called before
    #[arg(long, value_name = "URL", hide = true, conflicts_with = "esplora")]
    pub second: Option<String>,
    /// What is paid on the first chain
    #[arg(long, value_name = "AMOUNT", default_value = "50000", value_parser = crate::btc::amount::parse)]
    pub give: Amount,
    /// What is paid on the second chain
    #[arg(long, value_name = "AMOUNT", default_value = "40000", value_parser = crate::btc::amount::parse)]
    pub get: Amount,
}

impl BtcSwapArgs {
    /// The servers of the two chains.
    fn servers(&self) -> Result<[String; 2], CommandError> {
        match self.esplora.as_slice() {
            [] => {
                let or = |given: &Option<String>, usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
                Ok([or(&self.first, FIRST), or(&self.second, SECOND)])
            }
            [first, second] => Ok([first.clone(), second.clone()]),
            others => Err(CommandError::usage(format!(
                "a swap between two chains has two servers, and {} was named",
                others.len()
            ))
            .hint(format!("name both or none: --esplora {FIRST} --esplora {SECOND}"))),
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Shown {
    initiator: DealView,
    follower: DealView,
}

/// Runs `btc-swap`.
pub fn run(globals: &Globals, args: BtcSwapArgs) -> Result<(), CommandError> {
    let [one, two] = args.servers()?;
    let place = |label: &str, url: &str| ChainPlace {
        chain: format!("regtest:{label}").parse().expect("a letter is a label"),
        servers: vec![url.to_owned()],
    };
    let places = [place("a", &one), place("b", &two)];
    let chain = ChainArgs {
        chain: super::btc::ChainArgs {
            network: Some(crate::btc::network::Network::Regtest),
            esplora: vec![one],
            real_money: false,
        },
        label: None,
    };
    let mut dave = Party::open(globals, &args.initiator, &chain, &places)?;
    let mut sammy = Party::open(globals, &args.follower, &chain, &places)?;
    let shown = block_on(async {
        let [one, two] = &places;
        let first = Stage::open(&dave.session, one.clone()).await?;
        let second = Stage::open(&dave.session, two.clone()).await?;
        dave.afford(&first, args.give).await?;
        sammy.afford(&second, args.get).await?;
        let leg = |place: &ChainPlace, amount| NewLeg {
            place: place.clone(),
            kind: LockKind::Taproot,
            amount,
            interval_seconds: None,
        };
        let legs = [leg(one, args.give), leg(two, args.get)];
        dave.desk.offer_atomic(legs, sammy.me.clone()).await.map_err(|e| dave.session.error(e))?;
        let offer = dave.letters(&sammy)?;
        let id = sammy.accept(&offer, places.to_vec()).await?;
        let answer = sammy.letters(&dave)?;
        dave.hear(&answer).await?;
        say(&dave, &view::headline(&view::deal(&dave.desk.get(&id).map_err(|e| dave.session.error(e))?)));
        dave.fund(&id).await?;
        let mut funded = false;
        for _ in 0..MAX_ROUNDS {
            dave.round().await?;
            sammy.round().await?;
            let theirs = sammy.desk.get(&id).map_err(|e| sammy.session.error(e))?;
            if !funded && theirs.may_fund().is_ok() {
                sammy.fund(&id).await?;
                funded = true;
            }
            let ours = dave.desk.get(&id).map_err(|e| dave.session.error(e))?;
            if ours.is_done() && theirs.is_done() {
                let has = |party: &str, amount: Amount| format!("in the end {party} has {}", amount::show(amount));
                say(
                    &dave,
                    &format!("{} on {}", has(&dave.me.name, dave.balance(&two.chain, &second).await?), two.chain),
                );
                say(
                    &dave,
                    &format!("{} on {}", has(&sammy.me.name, sammy.balance(&one.chain, &first).await?), one.chain),
                );
                return Ok(Shown { initiator: view::deal(&ours), follower: view::deal(&theirs) });
            }
            first.wait(&dave.session, 1).await?;
            second.wait(&dave.session, 1).await?;
        }
        Err(CommandError::bug("the demo does not come to its end"))
    })?;
    if dave.session.json() { globals.output().result(&shown, String::new) } else { Ok(()) }
}
