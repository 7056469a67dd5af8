//! The agreement of the BFT mode as an ideal: it asks the members what simplex would ask, counts what they answer, and hands out real certificates. What simplex itself
//! makes of failing networks and lying sealers is played in side-seal's own simulation; here it is the members who fail, with their disks and links.

use std::collections::BTreeMap;

use bft_json_crdt::identity::Keypair;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Finalization, Finalize, Proposal};
use commonware_consensus::types::{Epoch as SimplexEpoch, Round, View};
use commonware_cryptography::certificate::Signers;
use commonware_cryptography::ed25519::certificate::Certificate as SimplexCertificate;
use commonware_cryptography::sha256::Digest;
use side_ledger::BlockId;
use side_ledger::governance::two_thirds;
use side_seal::bft::certificate::Certificate;
use side_seal::bft::request::{Reply, Request, Ticket};
use side_seal::bft::seat::Seat;

use crate::plan::Evil;
use crate::world::World;

/// How often it looks whether there is something to do.
pub(crate) const LOOK_MS: u64 = 40;
/// How long a view lasts.
const VIEW_MS: u64 = 2_500;

/// One block that is being agreed on.
#[derive(Debug)]
struct Open {
    seat: Seat,
    parent: BlockId,
    leader: usize,
    since_ms: u64,
    /// The leader's proposal, once it has named it.
    block: Option<BlockId>,
    /// Who was asked for its vote, and what it said.
    votes: BTreeMap<usize, Option<bool>>,
}

#[derive(Debug, Default)]
pub(crate) struct Agreement {
    view: u64,
    next_ticket: u64,
    open: Option<Open>,
    /// Whose answer a ticket is, and in which view.
    tickets: BTreeMap<Ticket, (usize, u64)>,
    /// The last certificate: it is shown again, as simplex shows it to whoever was away.
    last: Option<Certificate>,
    pub(crate) certified: u64,
}

fn certificate(seat: &Seat, signers: &[Keypair], view: u64, block: BlockId) -> Certificate {
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
        self.agreement.tickets.insert(ticket, (number, self.agreement.view));
        let now_ms = self.now_ms + self.nodes[number].skew_ms;
        if let Some(member) = &mut self.nodes[number].member {
            member.request(request(ticket), now_ms);
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
        let leader = (0..self.nodes.len()).find(|number| self.nodes[*number].keypair.author() == key);
        let Some(leader) = leader.filter(|leader| self.takes_part(*leader, &seat)) else { return };
        let epoch = seat.epoch;
        let since_ms = self.now_ms;
        self.agreement.open = Some(Open { seat, parent, leader, since_ms, block: None, votes: BTreeMap::new() });
        self.ask(leader, |ticket| Request::Propose { ticket, epoch, parent });
    }

    /// What members answer.
    pub(crate) fn take_replies(&mut self, number: usize) {
        let Some(member) = &mut self.nodes[number].member else { return };
        for reply in member.take_replies() {
            let (Reply::Propose(ticket, _) | Reply::Verify(ticket, _)) = reply else { continue };
            let current = self.agreement.view;
            let asked = self.agreement.tickets.remove(&ticket).is_some_and(|asked| asked == (number, current));
            let Some(open) = self.agreement.open.as_mut().filter(|_| asked) else { continue };
            match reply {
                // Nothing is new: the view passes.
                Reply::Propose(_, block) if block == open.parent => self.agreement.open = None,
                Reply::Propose(_, block) => {
                    open.block = Some(block);
                    open.votes.insert(number, Some(true));
                }
                Reply::Verify(_, vote) => {
                    open.votes.insert(number, Some(vote));
                }
                // It has taken in what was certified.
                Reply::Final(_) => {}
            }
        }
    }

    fn ask_for_votes(&mut self) {
        let Some(Open { seat, parent, leader, block: Some(block), votes, .. }) = &self.agreement.open else { return };
        let (seat, parent, leader, block) = (seat.clone(), *parent, *leader, *block);
        let unasked: Vec<usize> = (0..self.nodes.len())
            .filter(|number| !votes.contains_key(number) && self.takes_part(*number, &seat))
            .collect();
        let now_ms = self.now_ms + self.nodes[leader].skew_ms;
        if let Some(member) = self.nodes[leader].member.as_mut().filter(|_| !unasked.is_empty()) {
            member.request(Request::Relay { block }, now_ms);
            self.round(leader);
        }
        for number in unasked {
            if let Some(open) = &mut self.agreement.open {
                open.votes.insert(number, None);
                self.ask(number, |ticket| Request::Verify { ticket, epoch: seat.epoch, parent, block });
            }
        }
    }

    fn count_votes(&mut self) {
        let Some(Open { seat, block: Some(block), votes, .. }) = &self.agreement.open else { return };
        let (seat, block) = (seat.clone(), *block);
        let yes: Vec<usize> =
            votes.iter().filter(|(_, vote)| **vote == Some(true)).map(|(number, _)| *number).collect();
        if yes.len() < two_thirds(seat.sealers.len()) {
            return;
        }
        let signers: Vec<Keypair> = yes.iter().map(|number| self.nodes[*number].keypair.clone()).collect();
        let made = certificate(&seat, &signers, self.agreement.view, block);
        assert!(made.check(&seat), "{}: a certificate of two thirds is good", self.place());
        self.agreement.last = Some(made.clone());
        self.agreement.certified += 1;
        self.agreement.open = None;
        // Some hear of it at once, the others from them.
        for number in yes {
            if self.rng.once_in(2) {
                self.show(number, made.clone());
            }
        }
    }
}
