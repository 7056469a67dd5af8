//! Two copies over TCP: the session of `bft_json_crdt::sync` says what to send, this file sends it.
//!
//! A frame is its length (4 bytes, big endian), a kind and the content. Kind 0 is a message of the session. Kind 1 means "I have nothing to send, and have
//! handled so many of your messages": when that is all of them, and there is nothing to send here either, both are done.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use bft_json_crdt::replica::Outcome;
use bft_json_crdt::sync::{Action, MAX_FRAME, Message, SessionLimits, SyncSession};

use crate::Failure;
use crate::list::Copy;

/// Somebody who says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// Frames that were read and not yet handled. A session has fewer on their way; whoever sends more has to wait.
const AHEAD: usize = 32;

/// What came of a session.
#[derive(Default)]
pub(crate) struct Report {
    /// Changes that are new here.
    pub(crate) applied: usize,
    /// Keys of those who were caught with two changes of one number.
    pub(crate) caught: Vec<String>,
}

/// Brings both sides up to date.
pub(crate) fn run(stream: &TcpStream, copy: &mut Copy) -> Result<Report, Failure> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let (sender, frames) = sync_channel(AHEAD);
    let reader = stream.try_clone()?;
    // Reading has a thread of its own, so that two who write at once do not wait for each other for ever.
    thread::spawn(move || read_frames(&reader, &sender));
    let report = talk(stream, &frames, copy);
    let _ = stream.shutdown(std::net::Shutdown::Both);
    report
}

fn talk(mut stream: &TcpStream, frames: &Receiver<Vec<u8>>, copy: &mut Copy) -> Result<Report, Failure> {
    let mut session = SyncSession::new(copy.list.replica(), SessionLimits::default());
    let mut report = Report::default();
    let (mut sent, mut handled, mut told) = (0_u64, 0_u64, None);
    let mut they_handled = None;
    loop {
        while let Some(message) = session.poll_send(copy.list.replica()) {
            write_frame(&mut stream, 0, &message.encode())?;
            sent += 1;
        }
        if told != Some((sent, handled)) {
            write_frame(&mut stream, 1, &handled.to_be_bytes())?;
            told = Some((sent, handled));
        }
        if they_handled == Some(sent) {
            return Ok(report);
        }
        let frame = frames.recv().map_err(|_| "the other side is gone")?;
        match frame.split_first() {
            Some((0, message)) => {
                handled += 1;
                let message = Message::decode(&message.to_vec().into())?;
                for action in session.receive(copy.list.replica(), message)? {
                    carry_out(action, &mut session, copy, &mut report)?;
                }
            }
            Some((1, count)) => they_handled = Some(u64::from_be_bytes(count.try_into()?)),
            _ => return Err("a frame of no known kind".into()),
        }
    }
}

fn carry_out(action: Action, session: &mut SyncSession, copy: &mut Copy, report: &mut Report) -> Result<(), Failure> {
    let replica = copy.list.replica_mut();
    let (outcome, is_batch) = match action {
        Action::Apply(batch) => (replica.apply_batch(batch), true),
        Action::Proof(proof) => {
            (replica.apply_proof(proof).ok_or("the other side sent a proof that proves nothing")?, false)
        }
    };
    let missing = replica.missing(16);
    session.missing(missing);
    let Outcome { applied, proofs, .. } = outcome;
    report.applied += applied.len();
    report.caught.extend(proofs.iter().map(|proof| hex::encode(proof.author().as_bytes())));
    // On disk first; then the other side may forget that it has to send this.
    copy.save()?;
    if is_batch {
        session.handled();
    }
    Ok(())
}

fn write_frame(stream: &mut &TcpStream, kind: u8, content: &[u8]) -> Result<(), Failure> {
    let length = u32::try_from(content.len() + 1)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(content);
    stream.write_all(&frame)?;
    Ok(())
}

/// Reads until the line is closed, silent, or breaks the rules.
fn read_frames(stream: &TcpStream, frames: &SyncSender<Vec<u8>>) {
    let mut stream = BufReader::new(stream);
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let length = u32::from_be_bytes(length) as usize;
        // What a stranger claims is no reason to take memory.
        if length > MAX_FRAME + 1 {
            return;
        }
        let mut frame = vec![0; length];
        if stream.read_exact(&mut frame).is_err() || frames.send(frame).is_err() {
            return;
        }
    }
}
