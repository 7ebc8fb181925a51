//! `dbd`: transfers between accounts in a file of pages, each a transaction with a rollback journal.
//!
//! The order of calls is that of a database in rollback mode: the pages as they were go to the
//! journal and are synced, the pages are written and synced, the journal is unlinked. A journal that
//! is there at the start is played back.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rand::Rng;

use crate::{image, inside::pace::Pace};

const PAGE_BYTES: usize = 4096;
const PAGES: u64 = 64;
const ACCOUNTS: u64 = PAGES * PAGE_BYTES as u64 / 8;
const OPENING: u64 = 1000;

/// `dbd PACE_MILLI SEED`
pub fn main(args: &[String]) -> i32 {
    let Some(pace) = Pace::from_args(args) else {
        eprintln!("usage: dbd PACE_MILLI SEED");
        return 2;
    };
    // A transaction is several syncs: fewer of them than of requests for a page.
    let mut pace = pace.slower(3.0);
    loop {
        match Database::open(Path::new(image::SCRATCH)) {
            Ok(mut database) => {
                while transact(&mut database, &mut pace).is_ok() {
                    pace.sleep();
                }
            }
            Err(error) => eprintln!("error: dbd: {error}"),
        }
        // A full file system may have room again later.
        pace.sleep();
    }
}

fn transact(database: &mut Database, pace: &mut Pace) -> io::Result<()> {
    let (from, to) = (
        pace.rng.random_range(0..ACCOUNTS),
        pace.rng.random_range(0..ACCOUNTS),
    );
    if pace.rng.random_bool(0.6) {
        return database.balance(from).map(drop);
    }
    let amount = pace.rng.random_range(1..10);
    let balance = database.balance(from)?;
    if from != to && balance >= amount {
        let other = database.balance(to)?;
        database.write(&[(from, balance - amount), (to, other + amount)])?;
    }
    Ok(())
}

struct Database {
    file: File,
    journal: PathBuf,
}

impl Database {
    fn open(directory: &Path) -> io::Result<Database> {
        let path = directory.join("accounts.db");
        let journal = directory.join("accounts.db-journal");
        let new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        if new {
            let page = OPENING.to_le_bytes().repeat(PAGE_BYTES / 8);
            for number in 0..PAGES {
                file.write_all_at(&page, number * PAGE_BYTES as u64)?;
            }
            file.sync_all()?;
        }
        let database = Database { file, journal };
        database.roll_back()?;
        Ok(database)
    }

    /// Undoes a transaction that was cut off.
    fn roll_back(&self) -> io::Result<()> {
        let Ok(journal) = fs::read(&self.journal) else {
            return Ok(());
        };
        for entry in journal.chunks_exact(8 + PAGE_BYTES) {
            let (number, page) = entry.split_at(8);
            let number = u64::from_le_bytes(number.try_into().unwrap_or_default());
            if number < PAGES {
                self.file.write_all_at(page, number * PAGE_BYTES as u64)?;
            }
        }
        self.file.sync_all()?;
        fs::remove_file(&self.journal)
    }

    fn balance(&self, account: u64) -> io::Result<u64> {
        let mut value = [0; 8];
        self.file.read_exact_at(&mut value, account * 8)?;
        Ok(u64::from_le_bytes(value))
    }

    fn write(&mut self, values: &[(u64, u64)]) -> io::Result<()> {
        let mut before = Vec::new();
        for (account, _) in values {
            let number = account * 8 / PAGE_BYTES as u64;
            let mut page = [0; PAGE_BYTES];
            self.file
                .read_exact_at(&mut page, number * PAGE_BYTES as u64)?;
            before.extend_from_slice(&number.to_le_bytes());
            before.extend_from_slice(&page);
        }
        let journal = File::create(&self.journal)?;
        journal.write_all_at(&before, 0)?;
        journal.sync_all()?;
        for (account, value) in values {
            self.file.write_all_at(&value.to_le_bytes(), account * 8)?;
        }
        self.file.sync_all()?;
        fs::remove_file(&self.journal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_was_cut_off_is_undone() {
        let directory = tempfile::tempdir().unwrap();
        let mut database = Database::open(directory.path()).unwrap();
        database.write(&[(1, 7), (ACCOUNTS - 1, 9)]).unwrap();
        assert_eq!(
            [1, ACCOUNTS - 1, 2].map(|account| database.balance(account).unwrap()),
            [7, 9, OPENING]
        );
        // As if it had been killed between journal and pages: the page as it was is in the journal.
        let mut journal = 0u64.to_le_bytes().to_vec();
        journal.extend(5u64.to_le_bytes().repeat(PAGE_BYTES / 8));
        fs::write(&database.journal, journal).unwrap();
        let database = Database::open(directory.path()).unwrap();
        assert_eq!(database.balance(1).unwrap(), 5);
        assert!(!database.journal.exists());
    }
}
