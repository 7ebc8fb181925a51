//! `dbd`: transfers between accounts in a SQLite database, each a transaction.
//!
//! SQLite in its usual mode: the pages as they were go to a journal, which is synced, the pages are
//! written and synced, the journal is unlinked. What was cut off is rolled back at the next start.

use std::path::Path;

use rand::Rng;
use rusqlite::{Connection, Result};

use crate::{image, inside::pace::Pace};

const ACCOUNTS: i64 = 2048;
const OPENING: i64 = 1000;

/// Transfers that are remembered; older ones are deleted.
const TRANSFERS_MAX: i64 = 1000;

/// SQLite's page cache: the container's memory is small.
const CACHE_KIB: i64 = 256;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS account (
        id INTEGER PRIMARY KEY,
        balance INTEGER NOT NULL CHECK (balance >= 0)
    );
    CREATE TABLE IF NOT EXISTS transfer (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source INTEGER NOT NULL REFERENCES account (id),
        target INTEGER NOT NULL REFERENCES account (id),
        amount INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS transfer_source ON transfer (source);
";

/// `dbd PACE_MILLI SEED`
pub fn main(args: &[String]) -> i32 {
    let Some(pace) = Pace::from_args(args) else {
        eprintln!("usage: dbd PACE_MILLI SEED");
        return 2;
    };
    // A transaction is several syncs: fewer of them than of requests for a page.
    let mut pace = pace.slower(3.0);
    let path = Path::new(image::SCRATCH).join("accounts.db");
    loop {
        match Database::open(&path) {
            Ok(mut database) => {
                while transact(&mut database, &mut pace).is_ok() {
                    pace.sleep();
                }
            }
            Err(error) => eprintln!("error: dbd: {}: {error}", path.display()),
        }
        // A full file system may have room again later.
        pace.sleep();
    }
}

/// Somebody looks at an account, or somebody pays.
fn transact(database: &mut Database, pace: &mut Pace) -> Result<()> {
    let mut account = || pace.rng.random_range(0..ACCOUNTS);
    let (from, to) = (account(), account());
    if pace.rng.random_bool(0.6) {
        return database.statement(from).map(drop);
    }
    database
        .transfer(from, to, pace.rng.random_range(1..10))
        .map(drop)
}

struct Database {
    connection: Connection,
}

impl Database {
    fn open(path: &Path) -> Result<Database> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let filling = connection.transaction()?;
        filling.execute_batch(SCHEMA)?;
        filling.execute(
            "WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?1)
             INSERT OR IGNORE INTO account (id, balance) SELECT n, ?2 FROM number",
            (ACCOUNTS, OPENING),
        )?;
        filling.commit()?;
        Ok(Database { connection })
    }

    /// Balance, and how much was paid from the account lately.
    fn statement(&self, account: i64) -> Result<(i64, i64)> {
        self.connection.query_row(
            "SELECT balance, (SELECT COALESCE(SUM(amount), 0) FROM transfer WHERE source = ?1)
             FROM account WHERE id = ?1",
            [account],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    /// False: there is not enough on the account, and nothing has changed.
    fn transfer(&mut self, from: i64, to: i64, amount: i64) -> Result<bool> {
        // Dropped without a commit it is rolled back.
        let transaction = self.connection.transaction()?;
        let taken = transaction.execute(
            "UPDATE account SET balance = balance - ?1 WHERE id = ?2 AND balance >= ?1",
            (amount, from),
        )?;
        if taken == 0 {
            return Ok(false);
        }
        transaction.execute(
            "UPDATE account SET balance = balance + ?1 WHERE id = ?2",
            (amount, to),
        )?;
        transaction.execute(
            "INSERT INTO transfer (source, target, amount) VALUES (?1, ?2, ?3)",
            (from, to, amount),
        )?;
        let last = transaction.last_insert_rowid();
        transaction.execute(
            "DELETE FROM transfer WHERE id <= ?1",
            [last - TRANSFERS_MAX],
        )?;
        transaction.commit()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(database: &Database) -> i64 {
        let sum = "SELECT SUM(balance) FROM account";
        database
            .connection
            .query_row(sum, [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_transfer_is_done_wholly_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts.db");
        let mut database = Database::open(&path).unwrap();
        assert!(database.transfer(1, 2, 7).unwrap());
        assert!(!database.transfer(3, 4, OPENING + 1).unwrap());
        // Nobody has that account: what was taken by then is given back.
        assert!(database.transfer(5, ACCOUNTS, 1).is_err());
        drop(database);
        let database = Database::open(&path).unwrap();
        let statement = |account| database.statement(account).unwrap();
        assert_eq!(statement(1), (OPENING - 7, 7));
        assert_eq!(statement(2), (OPENING + 7, 0));
        assert_eq!([3, 4, 5].map(statement), [(OPENING, 0); 3]);
        assert_eq!(total(&database), ACCOUNTS * OPENING);
    }

    #[test]
    fn the_file_does_not_grow_without_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts.db");
        let mut database = Database::open(&path).unwrap();
        // A journal for each of thousands of transfers would take its time on a real disk.
        let quick = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF";
        database.connection.execute_batch(quick).unwrap();
        for number in 0..3 * TRANSFERS_MAX {
            assert!(
                database
                    .transfer(number % ACCOUNTS, (number + 1) % ACCOUNTS, 1)
                    .unwrap()
            );
        }
        let count = "SELECT COUNT(*) FROM transfer";
        let kept: i64 = database
            .connection
            .query_row(count, [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, TRANSFERS_MAX);
        assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    }
}
