//! The control socket of a running node.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::control::MAX_CONNECTIONS;
use super::routes::{Api, full_router, no_such_method, nothing_here};
use crate::daemon::Mailbox;
use crate::error::CommandError;
use crate::home::{NodeHome, create_private_dir_all, require_private};
use crate::http_server::{self, Limits, Listener};

/// What clients may take.
const LIMITS: Limits = Limits {
    connections: MAX_CONNECTIONS,
    head: Duration::from_secs(30),
    head_bytes: 64 << 10,
    // The owner's own programs: one that follows may stand in a pipe whose end is not read for long.
    unread: None,
    grace: Duration::from_secs(2),
};

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
        http_server::serve(self, router, LIMITS, stop).await;
    }
}

impl Listener for ControlServer {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lies_in_no_folder_that_others_reach() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("made/side");
        private_folder(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        private_folder(&folder).unwrap();
        for open in [0o701, 0o710, 0o755, 0o777] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(open)).unwrap();
            assert!(private_folder(&folder).unwrap_err().message().contains("can be read by others"), "{open:o}");
        }
        if rustix::process::geteuid().is_root() {
            // Where the long path of a root goes, anybody may have made the folder before.
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::chown(&folder, Some(12_345), None).unwrap();
            assert!(private_folder(&folder).unwrap_err().message().contains("belongs to somebody else"));
        }
    }
}
