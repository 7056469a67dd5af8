//! Asking a running node from another process.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::control::{CONTROL_VERSION, MAX_RESPONSE_BYTES, Request, Response, UNKNOWN_OUTCOME, Verb};
use crate::error::CommandError;
use crate::home::NodeHome;

/// How long a node may take to answer: a digest over millions of changes on a loaded machine takes seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Asks the running node. `None` if none is running. An error that [is busy](CommandError::is_busy) comes from a node that is stopping and has not
/// taken the request: ask again.
pub fn ask<T: DeserializeOwned>(home: &NodeHome, group: Option<&str>, verb: Verb) -> Result<Option<T>, CommandError> {
    let path = home.control_socket();
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        // No socket, or one that a killed process left behind.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => {
            return Err(CommandError::io(format!("cannot reach the node through {}", path.display()), &error));
        }
    };
    let only_reads = verb.only_reads();
    let request = Request { version: CONTROL_VERSION, group: group.map(str::to_owned), verb };
    let response = exchange(&stream, &request).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            CommandError::remote(format!("node {:?} does not answer", home.name())).hint("see its console and its log")
        }
        _ => {
            let broke_off = CommandError::remote(format!("node {:?} broke off: {error}", home.name()));
            match only_reads {
                true => broke_off.hint("it has probably stopped; try again").busy(),
                false => broke_off.hint(UNKNOWN_OUTCOME),
            }
        }
    })?;
    match response {
        Response::Ok(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|e| CommandError::bug(format!("the running node answers in another form: {e}"))),
        Response::Error(error) => Err(error.into()),
    }
}

fn exchange(stream: &UnixStream, request: &Request) -> io::Result<Response> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    (&mut &*stream).write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(MAX_RESPONSE_BYTES).read_until(b'\n', &mut answer)?;
    if answer.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}
