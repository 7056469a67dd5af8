//! The newcomer's side of the conversation at the door.

use std::time::Duration;

use bft_json_crdt::identity::Keypair;
use side_ledger::GroupId;
use side_ledger::address::NodeAddress;
use side_ledger::invitation::JoinSecret;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Refused;
use super::message::{Answer, Claim, Greeting, Knock, Transcript, read, write};
use crate::daemon::invited::token_pair;
use crate::net::p2p::Record;

/// How long a whole conversation may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// Why a conversation came to nothing.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Nobody is there, or whoever is there does not answer as a member does.
    #[error("{0}")]
    Unreachable(String),
    /// Another key is there than the address says.
    #[error("another node is there than the invitation says")]
    OtherKey,
    /// The member says no.
    #[error("it lets us not in: {0}")]
    Refused(#[from] Refused),
}

impl From<std::io::Error> for JoinError {
    fn from(error: std::io::Error) -> Self {
        Self::Unreachable(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the connection was ended".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// Asks the member at `member` to be let into the group of `record`, which says where this node is. Gives where other members are; their signatures
/// have not been checked.
pub async fn join(
    member: &NodeAddress,
    keypair: &Keypair,
    secret: Option<&JoinSecret>,
    record: &Record,
) -> Result<Vec<Record>, JoinError> {
    let conversation = async {
        let stream = TcpStream::connect(member.at.to_string()).await?;
        converse(stream, member, keypair, secret, record).await
    };
    timeout(DEADLINE, conversation).await.map_err(|_| JoinError::Unreachable("it took too long".to_owned()))?
}

pub(super) async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    member: &NodeAddress,
    keypair: &Keypair,
    secret: Option<&JoinSecret>,
    record: &Record,
) -> Result<Vec<Record>, JoinError> {
    let malformed = |error| JoinError::Unreachable(format!("it does not answer as a member does: {error}"));
    let nonce = crate::clock::random().map_err(|error| JoinError::Unreachable(error.to_string()))?;
    let group: GroupId = *record.group();
    let mut transcript = Transcript::new();
    stream.write_all(&Knock { group, key: keypair.author(), nonce }.encode(&mut transcript)).await?;
    let greeting = Greeting::decode(&read(&mut stream).await?, &mut transcript).map_err(malformed)?;
    // Nothing of the invitation's is shown to anybody else.
    if greeting.key != member.key {
        return Err(JoinError::OtherKey);
    }
    let secret = secret.map(token_pair);
    let claim = Claim::encode(keypair, secret.as_ref(), record, &mut transcript);
    write(&mut stream, &claim).await?;
    let Answer(answer) = Answer::decode(&read(&mut stream).await?, &member.key, &transcript).map_err(malformed)?;
    Ok(answer?)
}
