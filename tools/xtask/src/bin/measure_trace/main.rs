//! The part of `cargo xtask bench trace` that calls the codec itself: built like the programs that it
//! measures, and run pinned to one core. Prints one JSON object.

mod grow;
mod rows;
mod sizes;
mod speed;

use std::path::PathBuf;

use clap::Parser;

#[derive(Parser)]
enum Question {
    /// What the events of a trace weigh, as they are and as bincode rows
    Sizes { trace: PathBuf },
    /// How many events a second are sealed and read
    Speed {
        trace: PathBuf,
        #[arg(long, default_value_t = 7)]
        rounds: u32,
    },
    /// A trace repeated until it has so many bytes
    Grow {
        trace: PathBuf,
        out: PathBuf,
        bytes: u64,
    },
}

fn main() -> anyhow::Result<()> {
    let answer = match Question::parse() {
        Question::Sizes { trace } => sizes::sizes(&trace)?,
        Question::Speed { trace, rounds } => speed::speed(&trace, rounds)?,
        Question::Grow { trace, out, bytes } => grow::grow(&trace, &out, bytes)?,
    };
    println!("{answer}");
    Ok(())
}
