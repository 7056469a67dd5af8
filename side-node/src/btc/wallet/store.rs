//! The wallet's database: BDK's tables, and beside them the outbox, which holds what was signed until it is buried.
//!
//! A transaction that was signed and perhaps sent must not be forgotten: not by a crash between signing and sending, not by a server that drops it from its
//! mempool, not by a reorg. So its bytes are on disk before anybody hears of it, and leave only when it, or what took its place, lies deep.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bdk_wallet::rusqlite::{Connection, OptionalExtension as _, params};
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Transaction, Txid};

use super::WalletError;
use crate::btc::network::Network;

/// The version of our own tables.
const SCHEMA: i64 = 1;

/// More swaps than anybody begins between a backup and its use; there are 2^31 numbers.
const SWAPS_SINCE_BACKUP: u32 = 10_000;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS side_meta (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS side_outbox (
    txid TEXT PRIMARY KEY NOT NULL,
    raw BLOB NOT NULL,
    made_s INTEGER NOT NULL,
    replaced_by TEXT
) STRICT;
";

/// A signed transaction that is not buried yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its id.
    pub txid: Txid,
    /// Its bytes.
    pub tx: Transaction,
    /// When it was signed, in seconds since 1970.
    pub made_s: u64,
    /// What took its place: then it is not sent again.
    pub replaced_by: Option<Txid>,
}

/// The database.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    pub(super) connection: Connection,
}

/// Makes the wallet in a file that comes from a backup pass over the numbers that swaps may have been given since, so that no key and no preimage serves twice.
pub(crate) fn skip_swap_numbers(path: &Path) -> Result<(), bdk_wallet::rusqlite::Error> {
    let db = Connection::open(path)?;
    let sql = "UPDATE side_meta SET value = CAST(CAST(value AS INTEGER) + ?1 AS TEXT) WHERE name = ?2";
    if db.execute(sql, params![SWAPS_SINCE_BACKUP, super::NEXT_SWAP])? == 0 {
        db.execute("INSERT INTO side_meta VALUES (?1, ?2)", params![super::NEXT_SWAP, SWAPS_SINCE_BACKUP.to_string()])?;
    }
    db.execute("INSERT OR REPLACE INTO side_meta VALUES (?1, '1')", params![super::RESTORED])?;
    db.close().map_err(|(_, why)| why)
}

impl Store {
    /// Opens or makes the database for a network.
    pub(super) fn open(path: &Path, network: Network) -> Result<Self, WalletError> {
        // SQLite would make the file readable for all; what it makes beside it takes over this mode.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|why| WalletError::Io { path: path.to_owned(), why })?;
        let database = |why| WalletError::Database { path: path.to_owned(), why };
        let connection = Connection::open(path).map_err(database)?;
        let store = Self { path: path.to_owned(), connection };
        let version: i64 =
            store.connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
        if version > SCHEMA {
            return Err(WalletError::Foreign {
                path: path.to_owned(),
                why: format!("it has version {version}, and this program knows {SCHEMA}"),
            });
        }
        store
            .connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .and_then(|()| store.connection.execute_batch(TABLES))
            .and_then(|()| store.connection.pragma_update(None, "user_version", SCHEMA))
            .map_err(database)?;
        match store.meta("network")? {
            None => store.set_meta("network", network.name())?,
            Some(name) if name == network.name() => {}
            Some(name) => {
                return Err(WalletError::Foreign {
                    path: path.to_owned(),
                    why: format!("it is of network {name}, not {network}"),
                });
            }
        }
        Ok(store)
    }

    pub(super) fn error(&self, why: bdk_wallet::rusqlite::Error) -> WalletError {
        WalletError::Database { path: self.path.clone(), why }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn meta(&self, name: &str) -> Result<Option<String>, WalletError> {
        self.connection
            .query_row("SELECT value FROM side_meta WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(|e| self.error(e))
    }

    pub(super) fn set_meta(&self, name: &str, value: &str) -> Result<(), WalletError> {
        let sql = "INSERT INTO side_meta VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
        self.connection.execute(sql, [name, value]).map(|_| ()).map_err(|e| self.error(e))
    }

    /// Everything in the outbox, oldest first.
    pub(super) fn outbox(&self) -> Result<Vec<Outgoing>, WalletError> {
        let sql = "SELECT txid, raw, made_s, replaced_by FROM side_outbox ORDER BY made_s, txid";
        let rows = (|| {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?, row.get(3)?))
            })?;
            rows.collect::<Result<Vec<(String, Vec<u8>, i64, Option<String>)>, _>>()
        })()
        .map_err(|e| self.error(e))?;
        rows.into_iter()
            .map(|(txid, raw, made_s, replaced_by)| {
                let damaged = || WalletError::Foreign {
                    path: self.path.clone(),
                    why: format!("its outbox entry {txid} is damaged"),
                };
                let tx: Transaction = deserialize(&raw).map_err(|_| damaged())?;
                let replaced_by = replaced_by.map(|id| id.parse()).transpose().map_err(|_| damaged())?;
                if tx.compute_txid().to_string() != txid {
                    return Err(damaged());
                }
                Ok(Outgoing { txid: tx.compute_txid(), tx, made_s: made_s.unsigned_abs(), replaced_by })
            })
            .collect()
    }

    /// Puts a transaction into the outbox, durable when this returns. `replaces` is not sent again from now on.
    pub(super) fn put(&mut self, tx: &Transaction, made_s: u64, replaces: Option<Txid>) -> Result<(), WalletError> {
        let txid = tx.compute_txid().to_string();
        let raw = serialize(tx);
        let made_s = i64::try_from(made_s).unwrap_or(i64::MAX);
        (|| {
            let transaction = self.connection.transaction()?;
            transaction.execute(
                "INSERT OR IGNORE INTO side_outbox (txid, raw, made_s) VALUES (?1, ?2, ?3)",
                params![txid, raw, made_s],
            )?;
            if let Some(replaced) = replaces {
                let sql = "UPDATE side_outbox SET replaced_by = ?1 WHERE txid = ?2 OR replaced_by = ?2";
                transaction.execute(sql, [&txid, &replaced.to_string()])?;
            }
            transaction.commit()
        })()
        .map_err(|e| self.error(e))
    }

    /// Takes a transaction out of the outbox; what it replaced is sent again.
    pub(super) fn remove(&mut self, txid: &Txid) -> Result<(), WalletError> {
        let txid = txid.to_string();
        (|| {
            let transaction = self.connection.transaction()?;
            transaction.execute("UPDATE side_outbox SET replaced_by = NULL WHERE replaced_by = ?1", [&txid])?;
            transaction.execute("DELETE FROM side_outbox WHERE txid = ?1", [&txid])?;
            transaction.commit()
        })()
        .map_err(|e| self.error(e))
    }

    /// Empties the outbox of transactions that are buried, or can never be mined since something that is buried spent their coins.
    pub(super) fn settle(&mut self, txids: &[Txid]) -> Result<(), WalletError> {
        for txid in txids {
            self.connection
                .execute("DELETE FROM side_outbox WHERE txid = ?1", [txid.to_string()])
                .map_err(|e| self.error(e))?;
        }
        Ok(())
    }
}
