//! The member's side of the conversation at the door.
//!
//! Whoever comes costs a bounded number of signatures and a bounded time; how many are served at once and a second is bounded, for each address and
//! altogether, so that a flood of newcomers takes little from members.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bft_json_crdt::identity::{AuthorId, Keypair};
use side_ledger::GroupId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Refused;
use super::message::{Answer, Claim, Greeting, Knock, Transcript, read, write};
use crate::net::p2p::{Newcomers, Record, Turned};

/// How long a whole conversation may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most conversations at once.
const MAX_AT_ONCE: usize = 16;
/// Most conversations from one address in [`PERIOD`]: a person tries a few times, a machine that guesses tries more.
const MAX_FROM_ADDRESS: u32 = 20;
/// Most conversations from all addresses in [`PERIOD`].
const MAX_FROM_ALL: u32 = 200;
/// The time for which conversations are counted.
const PERIOD: Duration = Duration::from_secs(10);

/// Who decides about newcomers.
pub trait Host: Send + Sync + 'static {
    /// Lets `key` into `group`, or says why not. `token` is that of a secret whose holder it is. What lets it in is durable when this returns; then the
    /// key may connect. Gives where members are.
    fn let_in(
        &self,
        group: &GroupId,
        key: &AuthorId,
        token: Option<&AuthorId>,
        record: Record,
    ) -> Result<Vec<Record>, Refused>;
}

/// Serves newcomers until there are no more: the network has stopped.
pub async fn serve(keypair: Keypair, mut newcomers: Newcomers, host: Arc<dyn Host>, turned: Arc<Turned>) {
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    let mut counts = Counts::default();
    while let Some((address, stream)) = newcomers.recv().await {
        if !counts.admit(address.ip(), Instant::now()) {
            tracing::debug!(%address, "too many newcomers");
            turned.note_newcomer();
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            turned.note_newcomer();
            continue;
        };
        let (keypair, host, turned) = (keypair.clone(), host.clone(), turned.clone());
        tokio::spawn(async move {
            let _place = place;
            match timeout(DEADLINE, converse(&keypair, stream, address, &host)).await {
                Ok(Ok(Verdict::LetIn)) => {}
                Ok(Ok(Verdict::Refused)) => turned.note_refused(),
                Ok(Err(error)) => tracing::debug!(%address, %error, "a newcomer's conversation ended"),
                Err(_) => tracing::debug!(%address, "a newcomer took too long"),
            }
        });
    }
}

/// What came of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    LetIn,
    Refused,
}

/// One conversation.
pub(super) async fn converse(
    keypair: &Keypair,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    host: &Arc<dyn Host>,
) -> std::io::Result<Verdict> {
    let malformed = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    let mut transcript = Transcript::new();
    let mut knock = [0; Knock::BYTES];
    stream.read_exact(&mut knock).await?;
    let knock = Knock::decode(&knock, &mut transcript).map_err(malformed)?;
    let nonce = crate::clock::random().map_err(|error| std::io::Error::other(error.to_string()))?;
    let greeting = Greeting::encode(keypair, &nonce, &mut transcript);
    write(&mut stream, &greeting).await?;
    let claim = read(&mut stream).await?;
    let claim = Claim::decode(&claim, &knock, &mut transcript).map_err(malformed)?;
    let answer = {
        let host = host.clone();
        // It writes to the disk.
        let deciding = move || host.let_in(&knock.group, &knock.key, claim.token.as_ref(), claim.record);
        tokio::task::spawn_blocking(deciding).await.map_err(std::io::Error::other)?
    };
    match &answer {
        Ok(_) => tracing::info!(%address, key = %knock.key, group = %knock.group, "a newcomer was let in"),
        Err(refused) => {
            tracing::info!(%address, key = %knock.key, group = %knock.group, %refused, "a newcomer was refused")
        }
    }
    let verdict = if answer.is_ok() { Verdict::LetIn } else { Verdict::Refused };
    // It is decided, whether or not the newcomer hears of it.
    let _ = write(&mut stream, &Answer(answer).encode(keypair, &transcript)).await;
    Ok(verdict)
}

/// How many came lately.
#[derive(Debug, Default)]
pub(super) struct Counts {
    since: Option<Instant>,
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl Counts {
    /// Whether one more may come from `address`. At most [`MAX_FROM_ALL`] addresses are remembered.
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        let from_address = self.by_address.get(&address).copied().unwrap_or_default();
        if self.all >= MAX_FROM_ALL || from_address >= MAX_FROM_ADDRESS {
            return false;
        }
        self.all += 1;
        self.by_address.insert(address, from_address + 1);
        true
    }
}
