//! The control socket of a running node.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::control::{MAX_CONNECTIONS, MAX_REQUEST_BYTES, Response, parse_request};
use crate::daemon::Mailbox;
use crate::error::CommandError;
use crate::home::{NodeHome, create_private_dir_all, require_private};

/// The listening socket. Dropping it removes the file.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlServer {
    /// Binds the socket. The caller holds the folder's lock, so a socket that is already there was left behind by a killed process.
    pub fn bind(home: &NodeHome) -> Result<Self, CommandError> {
        let path = home.control_socket();
        let failed = |e: &io::Error| CommandError::io(format!("cannot listen on {}", path.display()), e);
        if let Some(folder) = path.parent() {
            private_folder(folder)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(|e| failed(&e))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|e| failed(&e))?;
        Ok(Self { listener, path })
    }

    /// Serves until `stop`.
    pub async fn serve(self, mailbox: Mailbox, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                slot = slots.clone().acquire_owned() => {
                    let Ok(slot) = slot else { return };
                    tokio::select! {
                        accepted = self.listener.accept() => accepted.map(|(stream, _)| (stream, slot)),
                        () = stop.cancelled() => return,
                    }
                }
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let (mailbox, stop) = (mailbox.clone(), stop.clone());
                    tokio::spawn(async move {
                        let _slot = slot;
                        tokio::select! {
                            ended = converse(stream, mailbox) => {
                                if let Err(error) = ended {
                                    tracing::debug!(%error, "a control connection broke");
                                }
                            }
                            () = stop.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    // Too many open files, say. Whoever waits in the queue is served when it is over.
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes sure that nobody else can put something into the socket's folder.
fn private_folder(folder: &Path) -> Result<(), CommandError> {
    let failed = |e: &io::Error| CommandError::io(format!("cannot use {}", folder.display()), e);
    create_private_dir_all(folder).map_err(|e| failed(&e))?;
    let metadata = fs::symlink_metadata(folder).map_err(|e| failed(&e))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(CommandError::user(format!("{} belongs to somebody else", folder.display()))
            .hint("choose a root with a shorter path, with --home"));
    }
    require_private(folder)
}

async fn converse(stream: UnixStream, mailbox: Mailbox) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(MAX_REQUEST_BYTES as u64 + 1).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(());
        }
        let too_long = line.len() > MAX_REQUEST_BYTES;
        let answer = if too_long {
            Err(CommandError::usage(format!("a request has at most {MAX_REQUEST_BYTES} bytes")))
        } else {
            match parse_request(&line) {
                Ok(request) => mailbox.ask_in(request.group.as_deref(), request.verb).await,
                Err(error) => Err(error),
            }
        };
        let response = match answer {
            Ok(value) => Response::Ok(value),
            Err(error) => Response::Error(error.into()),
        };
        let mut bytes = serde_json::to_vec(&response)?;
        bytes.push(b'\n');
        writer.write_all(&bytes).await?;
        writer.flush().await?;
        if too_long {
            return Ok(());
        }
    }
}
