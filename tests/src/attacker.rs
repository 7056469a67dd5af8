//! Somebody who knows the protocol and keeps to none of it: a raw websocket, a real key, and changes made by hand.

use std::net::{Shutdown, TcpStream};

use bft_json_crdt::change::{Change, ChangeId, DocumentId, Header, VERSION};
use bft_json_crdt::document::{ContainerIdx, NewElement};
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::ops::{Kind, Ops};
use bft_json_crdt::replica::{Limits, Replica, Verdict};
use bft_json_crdt::sync::{Action, Message as Sync, Packet, SessionLimits, SyncSession};
use bytes::Bytes;
use side_ledger::transaction::TRANSACTIONS_KEY;
use side_ledger::{Genesis, Transaction};
use side_watcher::protocol::{Challenge, Channel, CloseReason, Control, GroupReply, Hello, HelloGroup};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::process::PATIENCE;

/// A key made from a number.
pub fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

/// A websocket to a relay, before or after its hello.
pub struct Raw {
    socket: WebSocket<TcpStream>,
}

impl Raw {
    /// Opens a websocket and says nothing on it.
    ///
    /// # Panics
    /// If the relay takes no connection.
    pub fn open(url: &str) -> Self {
        let address = url.strip_prefix("ws://").expect("a websocket address");
        let stream = TcpStream::connect(address).expect("the relay listens");
        stream.set_nodelay(true).expect("an option of the socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of the socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option of the socket");
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (socket, _) = tokio_tungstenite::tungstenite::client::client_with_config(url, stream, Some(config))
            .unwrap_or_else(|error| panic!("no websocket at {url}: {error}"));
        Self { socket }
    }

    /// The socket below the websocket.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    /// Sends a binary message as it is. Whether the other end still takes it shows when reading.
    pub fn send(&mut self, frame: impl Into<Bytes>) {
        let _ = self.socket.send(Message::Binary(frame.into()));
    }

    /// Sends any websocket message.
    pub fn send_message(&mut self, message: Message) {
        let _ = self.socket.send(message);
    }

    /// The next binary message, or why the connection was closed (`None`: without a reason).
    ///
    /// # Errors
    /// The close.
    ///
    /// # Panics
    /// If nothing comes for [`PATIENCE`].
    pub fn hear(&mut self) -> Result<(Channel, Bytes), Option<CloseReason>> {
        loop {
            match self.socket.read() {
                Ok(Message::Binary(frame)) => {
                    return Ok(Channel::open(&frame).expect("a relay's frames have a channel"));
                }
                Ok(Message::Close(frame)) => {
                    return Err(frame.and_then(|frame| CloseReason::from_code(frame.code.into())));
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("the relay says nothing for {PATIENCE:?}")
                }
                Err(_) => return Err(None),
            }
        }
    }

    /// The next control message.
    ///
    /// # Errors
    /// The close.
    ///
    /// # Panics
    /// If it is malformed.
    pub fn control(&mut self) -> Result<Control, Option<CloseReason>> {
        loop {
            let (channel, payload) = self.hear()?;
            if channel == Channel::CONTROL {
                return Ok(Control::decode(&payload).expect("a relay's control messages are well-formed"));
            }
        }
    }

    /// The challenge that the relay opens with.
    ///
    /// # Panics
    /// If something else comes.
    pub fn challenge(&mut self) -> Challenge {
        match self.control() {
            Ok(Control::Challenge(challenge)) => challenge,
            other => panic!("no challenge but {other:?}"),
        }
    }

    /// Reads until the relay closes; why it did.
    pub fn closed(&mut self) -> Option<CloseReason> {
        loop {
            if let Err(reason) = self.hear() {
                return reason;
            }
        }
    }

    /// Says that nothing more will be sent, below the websocket.
    pub fn half_close(&mut self) {
        let _ = self.stream().shutdown(Shutdown::Write);
    }
}

/// A good hello.
pub fn hello(challenge: &Challenge, keypair: &Keypair, genesis: &Genesis) -> Hello {
    let group = HelloGroup { group: genesis.id().document(), genesis: Bytes::copy_from_slice(genesis.bytes()) };
    Hello::sign(challenge, keypair.author(), [7; 32], vec![group], |domain, message| keypair.sign(domain, message))
}

/// A member of the group with a hand of its own: it knows what the group holds and sends what it likes.
pub struct Attacker {
    /// Its key.
    pub keypair: Keypair,
    /// What it holds: what the relay sent, and what it applied itself.
    pub replica: Replica,
    /// Its connection.
    pub raw: Raw,
    channel: Channel,
    session: SyncSession,
    /// How many of its frames the relay has acknowledged.
    pub acknowledged: u64,
    sent: u64,
}

impl Attacker {
    /// Connects with a good hello and takes in all that the relay has.
    ///
    /// # Panics
    /// If the relay does not welcome it.
    pub fn join(url: &str, genesis: &Genesis, keypair: Keypair) -> Self {
        let mut replica = Replica::new(genesis.id().document(), Limits::default());
        replica.set_writer(Some(keypair.author()));
        Self::resume(url, genesis, keypair, replica)
    }

    /// [`Self::join`] with what it holds already.
    ///
    /// # Panics
    /// Like [`Self::join`].
    pub fn resume(url: &str, genesis: &Genesis, keypair: Keypair, replica: Replica) -> Self {
        let mut raw = Raw::open(url);
        let challenge = raw.challenge();
        raw.send(Control::Hello(hello(&challenge, &keypair, genesis)).encode());
        let welcome = match raw.control() {
            Ok(Control::Welcome(welcome)) => welcome,
            other => panic!("no welcome but {other:?}"),
        };
        let GroupReply::Open(channel) = welcome.replies[0] else { panic!("not carried: {:?}", welcome.replies) };
        let session = SyncSession::new(&replica, SessionLimits::default());
        let mut attacker = Self { keypair, replica, raw, channel, session, acknowledged: 0, sent: 0 };
        attacker.flush();
        let mut there = None;
        while there.is_none_or(|changes| (attacker.replica.len() as u64) < changes) {
            if let Sync::Heads { changes, .. } = attacker.take().expect("the relay sends what it has") {
                there = Some(changes);
            }
        }
        attacker
    }

    /// The document.
    pub fn document(&self) -> DocumentId {
        self.replica.document_id()
    }

    /// Reads, and answers as an honest member would, until `condition` holds.
    ///
    /// # Panics
    /// If the connection ends before.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        while !condition(self) {
            if let Err(reason) = self.take() {
                panic!("closed ({reason:?}) before {what}");
            }
        }
    }

    /// Takes in one message of the group; the message.
    ///
    /// # Errors
    /// The close.
    ///
    /// # Panics
    /// If the relay breaks the protocol.
    pub fn take(&mut self) -> Result<Sync, Option<CloseReason>> {
        loop {
            let (channel, payload) = self.raw.hear()?;
            if channel != self.channel {
                continue;
            }
            let message = Sync::decode(&payload).expect("the relay's messages are well-formed");
            if let Sync::Ack(frames) = message {
                self.acknowledged = frames;
                return Ok(message);
            }
            let actions = self.session.receive(&self.replica, message.clone()).expect("the relay makes no faults");
            for action in actions {
                match action {
                    Action::Apply(batch) => {
                        let outcome = self.replica.apply_batch(batch);
                        for (_, verdict) in outcome.verdicts {
                            if let Verdict::Waiting { missing } = verdict {
                                self.session.missing(missing);
                            }
                        }
                        self.session.handled();
                    }
                    Action::Proof(proof) => {
                        self.replica.apply_proof(proof);
                    }
                }
            }
            self.flush();
            return Ok(message);
        }
    }

    /// Sends what an honest session would.
    fn flush(&mut self) {
        while let Some(message) = self.session.poll_send(&self.replica) {
            if matches!(message, Sync::Changes(_)) {
                self.sent += 1;
            }
            self.raw.send(self.channel.envelope(&message.encode()));
        }
    }

    /// Sends bytes on the group's channel.
    pub fn send_payload(&mut self, payload: &[u8]) {
        self.raw.send(self.channel.envelope(payload));
    }

    /// Sends a sync message.
    pub fn send(&mut self, message: &Sync) {
        self.send_payload(&message.encode());
    }

    /// Sends one frame with these changes, as they are.
    pub fn send_bytes(&mut self, changes: impl IntoIterator<Item = Bytes>) {
        let packets = changes.into_iter().map(|change| Packet { change, voucher: None }).collect();
        self.sent += 1;
        self.send(&Sync::Changes(packets));
    }

    /// Sends one frame with these changes.
    pub fn send_changes<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        self.send_bytes(changes.into_iter().map(|change| change.bytes().clone()));
    }

    /// Frames with changes sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// A header of the next change of `keypair`'s author after what is held here, naming all other heads.
    pub fn header(&self, keypair: &Keypair) -> Header {
        let tip = self.replica.own_tip(&keypair.author());
        let mut deps: Vec<ChangeId> = self.replica.heads();
        deps.retain(|head| tip.is_none_or(|tip| tip.id != *head));
        deps.sort();
        Header {
            version: VERSION,
            document: self.document(),
            author: keypair.author(),
            seq: tip.map_or(1, |tip| tip.seq + 1),
            previous: tip.map(|tip| tip.id),
            deps,
            time_ms: 1,
            ops_hash: [0; 32],
        }
    }

    /// The attacker's next change with these operations, well signed. Not applied here.
    pub fn craft(&self, ops: &[u8]) -> Change {
        Change::sign(&self.keypair, self.header(&self.keypair), ops)
    }

    /// A good note of the attacker's own, applied here.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn note(&mut self, text: &str) -> Change {
        note(&mut self.replica, &self.keypair, text)
    }
}

/// Writes a good note.
///
/// # Panics
/// If it cannot be written.
pub fn note(replica: &mut Replica, keypair: &Keypair, text: &str) -> Change {
    let value = Transaction::note(text, 16_384).expect("a note").to_value();
    let written = replica.transact(keypair, 1, |tx| {
        let list = tx.child(ContainerIdx::ROOT, TRANSACTIONS_KEY, Kind::List)?;
        tx.insert_in_order(list, NewElement::Value(value)).map(drop)
    });
    let (change, inner, _) = written.expect("the note is written");
    inner.expect("the note is written");
    change
}

/// No operations, encoded.
///
/// # Panics
/// Never.
pub fn no_ops() -> Vec<u8> {
    Ops::default().encode().expect("no operations have an encoding")
}
