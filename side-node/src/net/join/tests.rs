//! Conversations at the door, honest and not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::GroupId;
use side_ledger::address::NodeAddress;
use side_ledger::invitation::JoinSecret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Refused;
use super::client::{self, JoinError};
use super::message::{Answer, Claim, Greeting, Knock, MAX_MESSAGE, Transcript};
use super::server::{self, Counts, Host, Verdict};
use crate::daemon::invited::{Invited, token, token_pair};
use crate::home::{NodeHome, Root};
use crate::net::p2p::{Record, Turned};

const GROUP: GroupId = GroupId([7; 32]);
const SECRET: JoinSecret = JoinSecret([42; 32]);

fn keypair(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
}

fn record(n: u8) -> Record {
    Record::sign(&keypair(n), GROUP, 1, vec![address().into()])
}

/// A member that lets in whoever has a secret.
struct Door {
    invited: Mutex<Invited>,
    came: Mutex<Vec<AuthorId>>,
}

impl Host for Door {
    fn let_in(
        &self,
        group: &GroupId,
        key: &AuthorId,
        token: Option<&AuthorId>,
        _: Record,
    ) -> Result<Vec<Record>, Refused> {
        let refused = |reason: String| Refused { reason, later: false };
        let token = token.ok_or_else(|| refused("a secret is needed".to_owned()))?;
        self.invited.lock().unwrap().spend(group, token, key, 5).map_err(|e| refused(e.to_string()))?;
        self.came.lock().unwrap().push(*key);
        Ok(vec![record(1), record(2)])
    }
}

struct Home {
    _folder: tempfile::TempDir,
    home: NodeHome,
    door: Arc<Door>,
}

fn home() -> Home {
    let folder = tempfile::tempdir().unwrap();
    let home = Root::find(Some(folder.path().to_owned())).unwrap().node("node1");
    std::fs::create_dir(home.path()).unwrap();
    let mut invited = Invited::load(&home).unwrap();
    invited.give(&GROUP, &SECRET, 1).unwrap();
    let door = Door { invited: Mutex::new(invited), came: Mutex::default() };
    Home { _folder: folder, home, door: Arc::new(door) }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn ask(door: &Arc<Door>, newcomer: u8, secret: Option<JoinSecret>) -> Result<Vec<Record>, JoinError> {
    let (theirs, ours) = tokio::io::duplex(64 << 10);
    let member = NodeAddress { key: keypair(1).author(), at: address().into() };
    let host: Arc<dyn Host> = door.clone();
    let (key, own, own_record) = (keypair(1), keypair(newcomer), record(newcomer));
    let (answer, _) = tokio::join!(
        client::converse(theirs, &member, &own, secret.as_ref(), &own_record),
        server::converse(&key, ours, address(), &host),
    );
    answer
}

#[test]
fn the_holder_of_a_secret_is_let_in_once_and_told_where_members_are() {
    let home = home();
    runtime().block_on(async {
        assert_eq!(ask(&home.door, 3, Some(SECRET)).await.unwrap(), [record(1), record(2)]);
        // The same newcomer has not heard the answer; another one has copied the invitation.
        ask(&home.door, 3, Some(SECRET)).await.unwrap();
        let refused = ask(&home.door, 4, Some(SECRET)).await.unwrap_err();
        assert!(refused.to_string().contains("used before"), "{refused}");
        let refused = ask(&home.door, 4, Some(JoinSecret([1; 32]))).await.unwrap_err();
        assert!(refused.to_string().contains("not given by this node"), "{refused}");
        let refused = ask(&home.door, 4, None).await.unwrap_err();
        assert!(refused.to_string().contains("a secret is needed"), "{refused}");
    });
    let came = vec![keypair(3).author(); 2];
    assert_eq!(*home.door.came.lock().unwrap(), came);
    // It was durable before it was said.
    let invited = Invited::load(&home.home).unwrap();
    assert_eq!(invited.let_in(&GROUP).collect::<Vec<_>>(), came[..1]);
}

/// A conversation by hand: what the server does when the newcomer's second message is `claim` of it.
async fn with_claim(
    door: &Arc<Door>,
    claim: impl FnOnce(&Knock, &mut Transcript) -> Vec<u8>,
) -> std::io::Result<Verdict> {
    let (mut theirs, ours) = tokio::io::duplex(64 << 10);
    let host: Arc<dyn Host> = door.clone();
    let key = keypair(1);
    let newcomer = async {
        let mut transcript = Transcript::new();
        let knock = Knock { group: GROUP, key: keypair(3).author(), nonce: [9; 32] };
        theirs.write_all(&knock.encode(&mut transcript)).await.unwrap();
        let greeting = super::message::read(&mut theirs).await.unwrap();
        Greeting::decode(&greeting, &mut transcript).unwrap();
        let claim = claim(&knock, &mut transcript);
        super::message::write(&mut theirs, &claim).await.unwrap();
        // Until the member has said its word or gone.
        let mut rest = Vec::new();
        let _ = theirs.read_to_end(&mut rest).await;
    };
    tokio::join!(server::converse(&key, ours, address(), &host), newcomer).0
}

#[test]
fn a_replayed_a_stolen_and_a_forged_proof_let_nobody_in() {
    let home = home();
    runtime().block_on(async {
        // An honest proof, recorded in another conversation: the nonces differ.
        let mut recorded = Vec::new();
        with_claim(&home.door, |_, transcript| {
            recorded = Claim::encode(&keypair(3), None, &record(3), transcript);
            recorded.clone()
        })
        .await
        .unwrap();
        assert!(with_claim(&home.door, |_, _| recorded).await.is_err());
        // The secret's signature from another conversation, within a claim of one's own.
        let mut other = Transcript::new();
        Knock { group: GROUP, key: keypair(9).author(), nonce: [1; 32] }.encode(&mut other);
        let stolen = Claim::encode(&keypair(3), Some(&token_pair(&SECRET)), &record(3), &mut other);
        let proof = stolen[..1 + 32 + 64].to_vec();
        let claim = |_: &Knock, transcript: &mut Transcript| {
            let mut bytes = proof;
            use bft_json_crdt::encoding::Write as _;
            bytes.put_blob(record(3).bytes());
            let signature = transcript.sign_for_test(&keypair(3), &bytes);
            bytes.extend(signature);
            bytes
        };
        let error = with_claim(&home.door, claim).await.unwrap_err();
        assert!(error.to_string().contains("the secret's signature"), "{error}");
        // Signed by another than who knocked.
        let claim = |_: &Knock, transcript: &mut Transcript| {
            Claim::encode(&keypair(4), Some(&token_pair(&SECRET)), &record(3), transcript)
        };
        let error = with_claim(&home.door, claim).await.unwrap_err();
        assert!(error.to_string().contains("the newcomer's signature"), "{error}");
        // Somebody else's addresses.
        let claim = |_: &Knock, transcript: &mut Transcript| {
            Claim::encode(&keypair(3), Some(&token_pair(&SECRET)), &record(4), transcript)
        };
        let error = with_claim(&home.door, claim).await.unwrap_err();
        assert!(error.to_string().contains("not its own"), "{error}");
    });
    assert!(home.door.came.lock().unwrap().is_empty());
    home.door.invited.lock().unwrap().check(&GROUP, &token(&SECRET), &keypair(5).author(), 5).unwrap();
}

#[test]
fn whom_the_member_turns_away_is_counted() {
    let home = home();
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (door, newcomers) = tokio::sync::mpsc::channel(1);
        let turned = Arc::<Turned>::default();
        let serving = tokio::spawn(server::serve(keypair(1), newcomers, home.door.clone(), turned.clone()));
        let come = async || {
            let (theirs, ours) = tokio::join!(tokio::net::TcpStream::connect(at), listener.accept());
            let (ours, from) = ours.unwrap();
            door.send((from, ours)).await.unwrap();
            theirs.unwrap()
        };
        let member = NodeAddress { key: keypair(1).author(), at: at.into() };
        let own = keypair(4);
        client::converse(come().await, &member, &own, Some(&SECRET), &record(4)).await.unwrap();
        client::converse(come().await, &member, &own, None, &record(4)).await.unwrap_err();
        // The answer is on its way before it is counted.
        while turned.count().refused == 0 {
            tokio::task::yield_now().await;
        }
        // Of a crowd from one address the last ones are closed at once.
        let mut crowd = Vec::new();
        while turned.count().newcomers < 3 {
            crowd.push(come().await);
            assert!(crowd.len() < 100, "all of them were served");
            tokio::task::yield_now().await;
        }
        assert_eq!(turned.count().refused, 1);
        drop(door);
        serving.await.unwrap();
    });
}

#[test]
fn garbage_at_the_door_is_an_error() {
    let home = home();
    runtime().block_on(async {
        for garbage in [&b"SJ"[..], b"SX", b"SJ\x02", &[b'S'; 300], b"SJ\x01"] {
            let (mut theirs, ours) = tokio::io::duplex(1024);
            let host: Arc<dyn Host> = home.door.clone();
            let key = keypair(1);
            let newcomer = async {
                let _ = theirs.write_all(garbage).await;
                drop(theirs);
            };
            let (ended, ()) = tokio::join!(server::converse(&key, ours, address(), &host), newcomer);
            assert!(ended.is_err());
        }
        for length in [0, 1, 63, 64, 200, MAX_MESSAGE] {
            assert!(with_claim(&home.door, |_, _| vec![1; length]).await.is_err());
        }
    });
}

#[test]
fn a_newcomer_shows_nothing_to_another_node_than_it_was_sent_to() {
    runtime().block_on(async {
        let (theirs, mut ours) = tokio::io::duplex(64 << 10);
        let member = NodeAddress { key: keypair(1).author(), at: address().into() };
        let imposter = async {
            let mut knock = [0; Knock::BYTES];
            ours.read_exact(&mut knock).await.unwrap();
            let mut transcript = Transcript::new();
            Knock::decode(&knock, &mut transcript).unwrap();
            let greeting = Greeting::encode(&keypair(8), &[0; 32], &mut transcript);
            super::message::write(&mut ours, &greeting).await.unwrap();
            let mut rest = Vec::new();
            ours.read_to_end(&mut rest).await.unwrap();
            rest
        };
        let key = keypair(3);
        let own = record(3);
        let (answer, heard) = tokio::join!(client::converse(theirs, &member, &key, Some(&SECRET), &own), imposter);
        assert!(matches!(answer, Err(JoinError::OtherKey)), "{answer:?}");
        assert!(heard.is_empty());
    });
}

#[test]
fn an_answer_is_signed_and_bounded() {
    let transcript = Transcript::new();
    let many = Answer(Ok((1..=100).map(record).collect()));
    let bytes = many.encode(&keypair(1), &transcript);
    assert!(bytes.len() <= MAX_MESSAGE);
    let read = Answer::decode(&bytes, &keypair(1).author(), &transcript).unwrap();
    assert_eq!(read.0.unwrap().len(), 16);
    assert!(Answer::decode(&bytes, &keypair(2).author(), &transcript).is_err());
    let refused = Answer(Err(Refused { reason: "\u{fc}".repeat(500), later: true }));
    let bytes = refused.encode(&keypair(1), &transcript);
    let read = Answer::decode(&bytes, &keypair(1).author(), &transcript).unwrap();
    assert_eq!(read.0.unwrap_err().reason.chars().count(), 100);
}

#[test]
fn a_flood_from_one_address_leaves_room_for_others() {
    let mut counts = Counts::default();
    let now = Instant::now();
    let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
    assert_eq!((0..1000).filter(|_| counts.admit(ip(1), now)).count(), 20);
    assert!(counts.admit(ip(2), now));
    assert_eq!((0..=255).filter(|n| counts.admit(ip(*n), now)).count(), 179);
    assert!(counts.admit(ip(1), now + Duration::from_secs(10)));
}
