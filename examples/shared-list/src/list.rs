//! The list: its shape, and the files that it lives in.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bft_json_crdt::change::DocumentId;
use bft_json_crdt::identity::Keypair;
use bft_json_crdt::replica::Limits;
use bft_json_crdt::{BaseCrdt, CrdtNode, ListCrdt, LwwRegisterCrdt};

use crate::Failure;

/// All who have this id share one list. A real program draws it when somebody makes a new one.
pub(crate) const DOCUMENT: DocumentId = DocumentId(*b"shared-list: an example document");
/// A list longer than this is not read: it would have to fit into memory.
const MAX_FILE: u64 = 64 << 20;

/// The document: what is in it, and how it merges.
#[derive(CrdtNode)]
pub(crate) struct List {
    /// In an order that merges: what two people add at once stands one after the other, for both alike.
    pub(crate) items: ListCrdt<Item>,
}

/// A thing on the list.
#[derive(CrdtNode)]
pub(crate) struct Item {
    /// What it is.
    pub(crate) text: LwwRegisterCrdt<String>,
    /// Whether somebody has got it.
    pub(crate) done: LwwRegisterCrdt<bool>,
}

/// Somebody's copy: `NAME.key` holds who they are, `NAME.list` what they have.
pub(crate) struct Copy {
    name: String,
    /// The replica, seen as a list.
    pub(crate) list: BaseCrdt<List>,
}

impl Copy {
    /// Makes a key and an empty list.
    pub(crate) fn create(name: &str) -> Result<Self, Failure> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(format!("{name}.key"))?;
        writeln!(file, "{}", hex::encode(seed))?;
        file.sync_all()?;
        let copy = Self { name: name.to_owned(), list: BaseCrdt::new(DOCUMENT, Keypair::from_seed(&seed)) };
        copy.save()?;
        Ok(copy)
    }

    /// Reads key and list. Ids and signatures in the file are checked.
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        let key = fs::read_to_string(format!("{name}.key"))
            .map_err(|error| format!("{name}.key: {error}; make it with: shared-list new {name}"))?;
        let mut seed = [0; 32];
        hex::decode_to_slice(key.trim(), &mut seed)?;
        let path = format!("{name}.list");
        if fs::metadata(&path)?.len() > MAX_FILE {
            return Err(format!("{path} is larger than {MAX_FILE} bytes").into());
        }
        let bytes = fs::read(&path)?.into();
        let list = BaseCrdt::load(&bytes, Keypair::from_seed(&seed), Limits::default())?;
        Ok(Self { name: name.to_owned(), list })
    }

    /// Puts everything on disk, whole or not at all. Nothing is told to anybody before this.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let path = PathBuf::from(format!("{}.list", self.name));
        let next = path.with_extension("next");
        let mut file = File::create(&next)?;
        file.write_all(&self.list.save())?;
        file.sync_all()?;
        fs::rename(&next, &path)?;
        Ok(())
    }
}

/// The clock. The library has none.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
