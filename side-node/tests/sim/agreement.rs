//! The agreement of the BFT mode as an ideal: it asks the members what simplex would ask, counts what they answer, and hands out real certificates. What simplex itself
//! makes of failing networks and lying sealers is played in side-seal's own simulation; here it is the members who fail, with their disks and links.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::identity::Keypair;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Activity, ConflictingNotarize, Finalization, Finalize, Notarize, Proposal};
use commonware_consensus::types::{Epoch as SimplexEpoch, Round, View};
use commonware_cryptography::certificate::Signers;
use commonware_cryptography::ed25519::certificate::Certificate as SimplexCertificate;
use commonware_cryptography::sha256::Digest;
use side_ledger::BlockId;
use side_ledger::block::Epoch;
use side_ledger::governance::two_thirds;
use side_seal::bft::certificate::Certificate;
use side_seal::bft::evidence::Evidence;
use side_seal::bft::request::{Reply, Request, Ticket};
use side_seal::bft::seat::Seat;

use crate::plan::Evil;
use crate::world::World;

/// How often it looks whether there is something to do.
pub(crate) const LOOK_MS: u64 = 40;
/// How long a view lasts.
const VIEW_MS: u64 = 2_500;

/// A view: one leader, whose machine, or machines if it has two faces, propose.
#[derive(Debug)]
struct Open {
    seat: Seat,
    parent: BlockId,
    leaders: Vec<usize>,
    since_ms: u64,
    /// What the leader's machines have named.
    proposals: BTreeMap<usize, BlockId>,
    /// Which machine was asked about which block, and what it said.
    votes: BTreeMap<(usize, BlockId), Option<bool>>,
    /// Whether the proof against a leader with two proposals was handed out.
    proven: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Agreement {
    view: u64,
    next_ticket: u64,
    open: Option<Open>,
    /// Whose answer a ticket is, in which view, and about which block.
    tickets: BTreeMap<Ticket, (usize, u64, Option<BlockId>)>,
    /// The last certificate: it is shown again, as simplex shows it to whoever was away.
    last: Option<Certificate>,
    pub(crate) certified: u64,
    /// The epochs in which a sealer voted twice and somebody has the proof.
    pub(crate) proven: BTreeSet<Epoch>,
}

/// That a sealer voted for two blocks of one view.
pub(crate) fn evidence(seat: &Seat, keypair: &Keypair, view: u64, blocks: [BlockId; 2]) -> Option<Evidence> {
    let scheme = seat.signer(keypair)?;
    let round = Round::new(SimplexEpoch::new(seat.epoch.0), View::new(view));
    let vote = |block: BlockId| {
        Notarize::<Scheme, Digest>::sign(&scheme, Proposal::new(round, View::new(view - 1), Digest(block.0)))
    };
    let activity = Activity::ConflictingNotarize(ConflictingNotarize::new(vote(blocks[0])?, vote(blocks[1])?));
    Evidence::new(&activity)
}

pub(crate) fn certificate(seat: &Seat, signers: &[Keypair], view: u64, block: BlockId) -> Certificate {
    let round = Round::new(SimplexEpoch::new(seat.epoch.0), View::new(view));
    let proposal = Proposal::new(round, View::new(view - 1), Digest(block.0));
    let schemes = signers.iter().filter_map(|keypair| seat.signer(keypair));
    let votes = schemes
        .map(|scheme| Finalize::<Scheme, Digest>::sign(&scheme, proposal.clone()).expect("it signs").attestation);
    let mut votes: Vec<_> = votes.collect();
    votes.sort_by_key(|vote| vote.signer);
    let signers = Signers::new(seat.sealers.len() as u32, votes.iter().map(|vote| vote.signer)).expect("sealers");
    let signatures = votes.into_iter().map(|vote| vote.signature).collect();
    Certificate::new(Finalization { proposal, certificate: SimplexCertificate { signers, signatures } })
}

impl Agreement {
    fn since(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.since_ms)
    }
}

impl World {
    /// Whether a member answers the agreement: it is on, has a seat there, and is no liar that stalls.
    fn takes_part(&self, number: usize, seat: &Seat) -> bool {
        let stalls = self.is_evil(number) && self.plan.evil == Evil::Stalls;
        let member = self.nodes[number].member.as_ref();
        !stalls && member.and_then(side_node::member::Member::seat).is_some_and(|its| its == *seat)
    }

    fn ask(&mut self, number: usize, request: impl FnOnce(Ticket) -> Request) {
        let ticket = Ticket(self.agreement.next_ticket);
        self.agreement.next_ticket += 1;
        let request = request(ticket);
        let about = match &request {
            Request::Verify { block, .. } => Some(*block),
            _ => None,
        };
        self.agreement.tickets.insert(ticket, (number, self.agreement.view, about));
        let now_ms = self.now_ms + self.nodes[number].skew_ms;
        if let Some(member) = &mut self.nodes[number].member {
            member.request(request, now_ms);
        }
        self.round(number);
    }

    /// Something may be due: another view, votes, a certificate.
    pub(crate) fn agree(&mut self) {
        let now_ms = self.now_ms;
        if self.agreement.open.as_ref().is_none_or(|open| now_ms >= open.since_ms + VIEW_MS) {
            self.next_view();
        }
        self.ask_for_votes();
        self.count_votes();
        // Whoever was away is shown the last certificate.
        let shown = self.rng.below(self.nodes.len() as u64) as usize;
        if let Some(last) = self.agreement.last.clone() {
            self.show(shown, last);
        }
    }

    fn show(&mut self, number: usize, certificate: Certificate) {
        let now_ms = self.now_ms + self.nodes[number].skew_ms;
        if let Some(member) = &mut self.nodes[number].member
            && member.seat().is_some()
        {
            member.request(Request::Finalized(certificate), now_ms);
            self.round(number);
        }
    }

    fn next_view(&mut self) {
        self.agreement.view += 1;
        self.agreement.open = None;
        let view = self.agreement.view;
        // Somebody who has everything that is final knows whose turn it is.
        let height = |number: &usize| self.nodes[*number].member.as_ref().map(|it| it.group().chain().height());
        let Some(best) = self.honest().filter(|number| self.nodes[*number].is_on()).max_by_key(height) else { return };
        let Some(member) = &self.nodes[best].member else { return };
        let parent = member.group().chain().tip_id();
        let last = self.agreement.last.as_ref().map(Certificate::block);
        if last.is_some_and(|last| last != parent) {
            // Nobody has the last final block at the moment.
            return;
        }
        let (seat, _) = Seat::next(member.group());
        let key = seat.sealers[(view % seat.sealers.len() as u64) as usize];
        let machines = (0..self.nodes.len()).filter(|number| self.nodes[*number].keypair.author() == key);
        let leaders: Vec<usize> = machines.filter(|number| self.takes_part(*number, &seat)).collect();
        if leaders.is_empty() {
            return;
        }
        let (epoch, since_ms) = (seat.epoch, self.now_ms);
        let (proposals, votes, proven) = (BTreeMap::new(), BTreeMap::new(), false);
        self.agreement.open = Some(Open { seat, parent, leaders: leaders.clone(), since_ms, proposals, votes, proven });
        for leader in leaders {
            self.ask(leader, |ticket| Request::Propose { ticket, epoch, parent });
        }
    }

    /// What members answer.
    pub(crate) fn take_replies(&mut self, number: usize) {
        let Some(member) = &mut self.nodes[number].member else { return };
        for reply in member.take_replies() {
            let (Reply::Propose(ticket, _) | Reply::Verify(ticket, _)) = reply else { continue };
            let current = self.agreement.view;
            let asked =
                self.agreement.tickets.remove(&ticket).filter(|(to, view, _)| (*to, *view) == (number, current));
            let (Some(open), Some((_, _, about))) = (self.agreement.open.as_mut(), asked) else { continue };
            let epoch = open.seat.epoch;
            match reply {
                // Nothing is new: the view passes.
                Reply::Propose(_, block) if block == open.parent => self.agreement.open = None,
                Reply::Propose(_, block) => {
                    open.proposals.insert(number, block);
                    open.votes.insert((number, block), Some(true));
                    self.has_voted(number, epoch);
                }
                Reply::Verify(_, vote) => {
                    open.votes.insert((number, about.expect("it was asked about a block")), Some(vote));
                    self.has_voted(number, epoch);
                }
                // It has taken in what was certified.
                Reply::Final(_) => {}
            }
        }
    }

    /// No member votes in an epoch in which an older life of it, which it has forgotten, has voted.
    fn has_voted(&mut self, number: usize, epoch: Epoch) {
        let place = self.place();
        let node = &mut self.nodes[number];
        assert!(!node.forgotten.contains(&epoch), "{place}: {number} votes again in {epoch:?}, which it has forgotten");
        node.voted.insert(epoch);
    }

    /// The block that a machine hears of: of a leader with two faces the one of the face that it is linked to. A liar hears of all.
    fn shown_to(&self, number: usize, proposals: &BTreeMap<usize, BlockId>) -> Vec<BlockId> {
        let face = |leader: &usize| proposals.len() < 2 || self.is_evil(number) || number % 2 == *leader;
        let blocks: BTreeSet<BlockId> =
            proposals.iter().filter(|(leader, _)| face(leader)).map(|(_, id)| *id).collect();
        blocks.into_iter().collect()
    }

    fn ask_for_votes(&mut self) {
        let Some(Open { seat, parent, leaders, proposals, votes, .. }) = &self.agreement.open else { return };
        // Both faces name theirs before anybody is asked.
        if proposals.is_empty() || (proposals.len() < leaders.len() && self.now_ms < self.agreement.since() + 400) {
            return;
        }
        let (seat, parent, proposals) = (seat.clone(), *parent, proposals.clone());
        let mut unasked = Vec::new();
        for number in (0..self.nodes.len()).filter(|number| self.takes_part(*number, &seat)) {
            let blocks = self.shown_to(number, &proposals);
            unasked.extend(blocks.into_iter().map(|id| (number, id)).filter(|asked| !votes.contains_key(asked)));
        }
        if unasked.is_empty() {
            return;
        }
        for (leader, block) in &proposals {
            let now_ms = self.now_ms + self.nodes[*leader].skew_ms;
            if let Some(member) = self.nodes[*leader].member.as_mut() {
                member.request(Request::Relay { block: *block }, now_ms);
                self.round(*leader);
            }
        }
        for (number, block) in unasked {
            if let Some(open) = &mut self.agreement.open {
                open.votes.insert((number, block), None);
                self.ask(number, |ticket| Request::Verify { ticket, epoch: seat.epoch, parent, block });
            }
        }
    }

    fn count_votes(&mut self) {
        let Some(Open { seat, proposals, votes, proven, .. }) = &self.agreement.open else { return };
        let (seat, view) = (seat.clone(), self.agreement.view);
        let blocks: BTreeSet<BlockId> = proposals.values().copied().collect();
        // Two machines of one key are one sealer.
        let yes = |block: &BlockId| {
            let voters = votes.iter().filter(|((_, about), vote)| about == block && **vote == Some(true));
            voters.map(|((number, _), _)| (self.nodes[*number].who, *number)).collect::<BTreeMap<usize, usize>>()
        };
        let good: Vec<(BlockId, BTreeMap<usize, usize>)> = blocks
            .iter()
            .map(|block| (*block, yes(block)))
            .filter(|(_, yes)| yes.len() >= two_thirds(seat.sealers.len()))
            .collect();
        let proof = match blocks.iter().copied().collect::<Vec<_>>()[..] {
            [one, other] if !proven => {
                let liar = self.nodes[*proposals.keys().next().expect("two were proposed")].keypair.clone();
                evidence(&seat, &liar, view, [one, other])
            }
            _ => None,
        };
        assert!(good.len() < 2, "{}: two blocks of one view have a quorum", self.place());
        if let Some(proof) = proof {
            self.accuse(proof);
        }
        let Some((block, yes)) = good.into_iter().next() else { return };
        let signers: Vec<Keypair> = yes.values().map(|number| self.nodes[*number].keypair.clone()).collect();
        let made = certificate(&seat, &signers, view, block);
        assert!(made.check(&seat), "{}: a certificate of two thirds is good", self.place());
        self.agreement.last = Some(made.clone());
        self.agreement.certified += 1;
        self.agreement.open = None;
        // Some hear of it at once, the others from them.
        for number in yes.into_values() {
            if self.rng.once_in(2) {
                self.show(number, made.clone());
            }
        }
    }

    /// Somebody's simplex has seen both votes. If its machine crashes before the proof is on disk, nobody has it: then somebody else's has seen them too.
    fn accuse(&mut self, proof: Evidence) {
        let all: Vec<usize> = self.honest().filter(|number| self.nodes[*number].is_on()).collect();
        if all.is_empty() {
            return;
        }
        let number = all[self.rng.below(all.len() as u64) as usize];
        let (now_ms, epoch) = (self.now_ms + self.nodes[number].skew_ms, proof.epoch());
        if let Some(member) = &mut self.nodes[number].member {
            member.request(Request::Offence(proof), now_ms);
            self.round(number);
        }
        if self.known_epochs(number).contains(&epoch) {
            self.agreement.proven.insert(epoch);
            if let Some(open) = &mut self.agreement.open {
                open.proven = true;
            }
        }
    }
}
