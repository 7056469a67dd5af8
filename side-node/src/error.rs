//! Errors as people meet them: what was tried, why it failed, what to do next, and whose turn it is (the exit code).

use std::fmt;
use std::process::ExitCode;

use serde_json::json;

/// Who can mend it. The numbers are the process's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Blame {
    /// The person at the keyboard.
    User = 1,
    /// The command line was wrong.
    Usage = 2,
    /// A peer, a relay or another server cannot be reached.
    Remote = 3,
    /// We: a bug.
    Bug = 255,
}

/// An error that ends a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    blame: Blame,
    message: String,
    hint: Option<String>,
    busy: bool,
}

impl Blame {
    /// The word in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Blame::User => "user",
            Blame::Usage => "usage",
            Blame::Remote => "remote",
            Blame::Bug => "bug",
        }
    }
}

impl CommandError {
    /// Something that the person at the keyboard can mend. `message` says what was tried and why it failed.
    pub fn user(message: impl Into<String>) -> Self {
        Self { blame: Blame::User, message: message.into(), hint: None, busy: false }
    }

    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { blame: Blame::Usage, message: message.into(), hint: None, busy: false }
    }

    /// Something out there does not answer.
    pub fn remote(message: impl Into<String>) -> Self {
        Self { blame: Blame::Remote, message: message.into(), hint: None, busy: false }
    }

    /// A bug of ours.
    pub fn bug(message: impl Into<String>) -> Self {
        let hint = "this is a bug in Side; please report it with what you did before".to_owned();
        Self { blame: Blame::Bug, message: message.into(), hint: Some(hint), busy: false }
    }

    /// An error of the operating system while `what` was done; the hint follows from its kind.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let hint = match error.kind() {
            K::PermissionDenied => "check who owns the folder and its permissions, or choose another root with --home",
            K::ReadOnlyFilesystem => "the file system is read-only; choose another root with --home or remount it",
            K::StorageFull | K::QuotaExceeded => "free some disk space; nothing that was acknowledged is lost",
            K::NotFound => "check the path; if the folder of the nodes is meant, --home or SIDE_HOME names another one",
            _ => "see the reason above",
        };
        Self::user(format!("{what}: {error}")).hint(hint)
    }

    /// Says that another process has what was wanted, perhaps for a moment only.
    pub fn busy(mut self) -> Self {
        self.busy = true;
        self
    }

    /// Whether another process has what was wanted.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Adds the next step to take.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Who can mend it.
    pub fn blame(&self) -> Blame {
        self.blame
    }

    /// What was tried and why it failed.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The next step to take, if one is known.
    pub fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.blame as u8)
    }

    /// The error as one JSON object, for `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        json!({ "error": { "kind": self.blame.label(), "message": self.message, "hint": self.hint } })
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CommandError {}
