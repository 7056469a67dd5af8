//! A chain's headers on disk, so that a restart fetches the new ones only: `NODE/btc/NETWORK/headers.sqlite`.
//!
//! Nothing in it is secret or irreplaceable. What is read is checked again by [`crate::btc::chain`].

use std::path::Path;

use bdk_wallet::rusqlite::{self, Transaction, TransactionBehavior, params};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};

use super::database::{Database, StorageError};

/// Marks the file as one of ours (SQLite's `application_id`): "shdr".
const APPLICATION_ID: i64 = 0x7368_6472;
const TABLES: &str = "
CREATE TABLE header (height INTEGER PRIMARY KEY NOT NULL, bytes BLOB NOT NULL CHECK (length(bytes) = 80)) STRICT;
";

/// The open file.
#[derive(Debug)]
pub struct HeaderStore {
    database: Database,
}

impl HeaderStore {
    /// The file's name.
    pub const FILE: &'static str = "headers.sqlite";

    /// Opens the file in a chain's folder, making it if there is none.
    ///
    /// # Errors
    /// [`StorageError`], but not its last two.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        Ok(Self { database: Database::open(folder, Self::FILE, APPLICATION_ID, TABLES)? })
    }

    /// The stored headers: the first one's height, and all of them up to the first gap.
    ///
    /// # Errors
    /// [`StorageError::Database`], [`StorageError::Foreign`] if one does not read.
    pub fn headers(&self) -> Result<(u32, Vec<Header>), StorageError> {
        let read = || -> Result<Vec<(i64, Vec<u8>)>, rusqlite::Error> {
            let mut statement = self.database.connection.prepare("SELECT height, bytes FROM header ORDER BY height")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let rows = read().map_err(self.database.fail())?;
        let damaged = |height: i64| self.database.foreign(format!("the stored header {height} does not read"));
        let Some((first, _)) = rows.first() else { return Ok((0, Vec::new())) };
        let first = u32::try_from(*first).map_err(|_| damaged(*first))?;
        let mut headers = Vec::with_capacity(rows.len());
        for (nth, (height, bytes)) in rows.iter().enumerate() {
            if *height != i64::from(first) + nth as i64 {
                break;
            }
            headers.push(deserialize(bytes).map_err(|_| damaged(*height))?);
        }
        Ok((first, headers))
    }

    /// Replaces the headers from height `from` on, and drops those below `first`.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn save_headers<'a>(
        &mut self,
        first: u32,
        from: u32,
        headers: impl IntoIterator<Item = &'a Header>,
    ) -> Result<(), StorageError> {
        let fail = self.database.fail();
        let transaction =
            self.database.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        let save = |transaction: &Transaction<'_>| -> Result<(), rusqlite::Error> {
            transaction
                .execute("DELETE FROM header WHERE height >= ?1 OR height < ?2", [i64::from(from), i64::from(first)])?;
            let mut statement = transaction.prepare("INSERT OR REPLACE INTO header (height, bytes) VALUES (?1, ?2)")?;
            for (nth, header) in headers.into_iter().enumerate() {
                statement.execute(params![i64::from(from) + nth as i64, serialize(header)])?;
            }
            Ok(())
        };
        save(&transaction).map_err(&fail)?;
        transaction.commit().map_err(&fail)
    }

    /// Forgets all headers: they are damaged, or of a devnet that was started afresh.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub fn forget_headers(&mut self) -> Result<(), StorageError> {
        self.database.connection.execute("DELETE FROM header", []).map(|_| ()).map_err(self.database.fail())
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::{Network, constants};

    use super::*;

    #[test]
    fn headers_are_replaced_from_a_height_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = HeaderStore::open(folder.path()).unwrap();
        assert_eq!(store.headers().unwrap(), (0, vec![]));
        let genesis = constants::genesis_block(Network::Regtest).header;
        let numbered = |n: u32| Header { nonce: n, ..genesis };
        let all: Vec<Header> = (0..10).map(numbered).collect();
        store.save_headers(0, 0, &all).unwrap();
        store.save_headers(2, 7, &[numbered(70), numbered(80)]).unwrap();
        let (first, headers) = store.headers().unwrap();
        assert_eq!(first, 2);
        let nonces: Vec<u32> = headers.iter().map(|header| header.nonce).collect();
        assert_eq!(nonces, [2, 3, 4, 5, 6, 70, 80]);
        store.forget_headers().unwrap();
        assert_eq!(store.headers().unwrap(), (0, vec![]));
    }
}
