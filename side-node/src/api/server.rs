//! The control socket of a running node.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::control::MAX_CONNECTIONS;
use super::routes::{Api, full_router, no_such_method, nothing_here};
use crate::daemon::Mailbox;
use crate::error::CommandError;
use crate::home::{NodeHome, create_private_dir_all, require_private};

/// How long a connection may take to send the head of a request, the pause before it included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of a request's head.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// How long those who are being answered are waited for when the node stops.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

    /// Serves until `stop`, and then for a moment whoever is being answered.
    pub async fn serve(self, mailbox: Mailbox, stop: CancellationToken) {
        let router = full_router(Api::new(mailbox)).fallback(nothing_here).method_not_allowed_fallback(no_such_method);
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                slot = slots.clone().acquire_owned() => {
                    let Ok(slot) = slot else { break };
                    tokio::select! {
                        accepted = self.listener.accept() => accepted.map(|(stream, _)| (stream, slot)),
                        () = stop.cancelled() => break,
                    }
                }
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    connections.spawn(async move {
                        let _slot = slot;
                        connection(stream, router, stop).await;
                    });
                }
                Err(error) => {
                    // Too many open files, say. Whoever waits in the queue is served when it is over.
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Whoever comes now finds that the node does not run.
        drop(self);
        connections.close();
        let _ = tokio::time::timeout(GRACE, connections.wait()).await;
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

async fn connection(stream: UnixStream, router: Router, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_BUFFER_BYTES);
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a control connection broke");
    }
}
