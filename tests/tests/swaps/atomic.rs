//! An atomic swap between two chains: both get what they agreed on, or each gets its own back.

use bitcoin::{Amount, FeeRate};
use side_node::btc::htlc::swap::{Outcome, Stage, SwapId};
use side_node::btc::htlc::terms::LockKind;
use side_node::btc::swaps::{ChainPlace, NewLeg, Round};
use side_tests::chain::{Chain, Control};
use side_tests::swaps::Party;

const GIVE: Amount = Amount::from_sat(50_000);
const GET: Amount = Amount::from_sat(40_000);
const RATE: Option<FeeRate> = Some(FeeRate::from_sat_per_kwu(500));

struct World {
    one: Chain,
    two: Chain,
    places: [ChainPlace; 2],
    dave: Party,
    sammy: Party,
    id: SwapId,
}

impl World {
    /// Both have coins on their chain and agree; nothing is locked.
    async fn agree() -> Self {
        let (one, two) = (Chain::devnet().await, Chain::devnet().await);
        // Two chains are not equally long.
        two.mine(37).await;
        let place = |label: &str, chain: &Chain| ChainPlace {
            chain: format!("regtest:{label}").parse().unwrap(),
            servers: vec![chain.url().to_owned()],
        };
        let places = [place("a", &one), place("b", &two)];
        let (mut dave, mut sammy) = (Party::new("dave", &places), Party::new("sammy", &places));
        dave.fill(&one, &places[0]).await;
        sammy.fill(&two, &places[1]).await;
        let leg = |place: &ChainPlace, amount| NewLeg {
            place: place.clone(),
            kind: LockKind::Taproot,
            amount,
            interval_seconds: None,
        };
        let legs = [leg(&places[0], GIVE), leg(&places[1], GET)];
        let id = dave.desk.offer_atomic(legs, sammy.me.clone()).await.unwrap().id();
        let offer = dave.letters(&sammy);
        sammy.desk.accept(&offer.offers()[0], places.to_vec()).await.unwrap();
        let answer = sammy.letters(&dave);
        dave.desk.take_in(&answer, &mut Round::default()).await.unwrap();
        Self { one, two, places, dave, sammy, id }
    }

    async fn mine(&self) {
        self.one.mine(1).await;
        self.two.mine(1).await;
    }

    fn ended(party: &Party, id: &SwapId) -> Option<[Outcome; 2]> {
        let deal = party.deal(id);
        let outcome = |leg: usize| match deal.legs()[leg].stage() {
            Stage::Done(outcome) => Some(outcome),
            _ => None,
        };
        Some([outcome(0)?, outcome(1)?])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_swap_gives_both_what_they_agreed_on() {
    let mut world = World::agree().await;
    let id = world.id;
    world.dave.desk.fund(&id, RATE).await.unwrap();
    let early = world.sammy.desk.fund(&id, RATE).await;
    assert!(early.is_err(), "the first leg is not buried");
    let mut funded = false;
    for _ in 0..100 {
        world.dave.round().await;
        world.sammy.round().await;
        if !funded && world.sammy.deal(&id).may_fund().is_ok() {
            world.sammy.desk.fund(&id, RATE).await.unwrap();
            funded = true;
        }
        if World::ended(&world.dave, &id).is_some() && World::ended(&world.sammy, &id).is_some() {
            break;
        }
        world.mine().await;
    }
    for party in [&world.dave, &world.sammy] {
        assert_eq!(World::ended(party, &id), Some([Outcome::Claimed, Outcome::Claimed]));
    }
    let dave = world.dave.balance(&world.two, &world.places[1]).await;
    let sammy = world.sammy.balance(&world.one, &world.places[0]).await;
    let fee = Amount::from_sat(1_000);
    assert!(dave < GET && dave > GET - fee && sammy < GIVE && sammy > GIVE - fee, "{dave} {sammy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_swap_whose_second_leg_never_comes_is_refunded() {
    let mut world = World::agree().await;
    let id = world.id;
    world.dave.desk.fund(&id, RATE).await.unwrap();
    for _ in 0..400 {
        world.dave.round().await;
        if World::ended(&world.dave, &id).is_some() {
            break;
        }
        world.mine().await;
    }
    assert_eq!(World::ended(&world.dave, &id), Some([Outcome::Refunded, Outcome::Expired]));
    world.sammy.round().await;
    assert!(world.sammy.deal(&id).legs().iter().all(|swap| swap.preimage().is_none()), "dave has shown nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_swap_whose_initiator_is_gone_gives_both_their_own_back() {
    let mut world = World::agree().await;
    let id = world.id;
    world.dave.desk.fund(&id, RATE).await.unwrap();
    world.one.mine(2).await;
    world.sammy.desk.fund(&id, RATE).await.unwrap();
    // dave looks at nothing until the second leg's timeout has passed.
    while world.sammy.deal(&id).legs()[1].stage() != Stage::Done(Outcome::Refunded) {
        world.mine().await;
        world.sammy.round().await;
    }
    for _ in 0..400 {
        world.dave.round().await;
        world.sammy.round().await;
        if World::ended(&world.dave, &id).is_some() && World::ended(&world.sammy, &id).is_some() {
            break;
        }
        world.mine().await;
    }
    for party in [&world.dave, &world.sammy] {
        assert_eq!(World::ended(party, &id), Some([Outcome::Refunded, Outcome::Refunded]));
    }
}
