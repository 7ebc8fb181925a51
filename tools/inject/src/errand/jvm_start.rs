//! Starts as a big runtime does: a reserved heap, dozens of threads, many files read, a burst of CPU.

use std::{
    fs, hint, ptr, thread,
    time::{Duration, Instant},
};

use crate::act::{Act, ActError, Ctx, Info, Kind, Signal};

pub struct JvmStart;

static INFO: Info = Info {
    name: "jvm_start",
    kind: Kind::HardNegative,
    attack_id: "",
    about: "reserves a heap, starts 10 to 40 threads, reads files, computes for a second, then waits",
    needs: "a pids limit of 64",
    signals: &[Signal::ThreadRate],
};

const HEAP_BYTES: usize = 512 << 20;
/// Of the heap that is touched at the start.
const TOUCHED_BYTES: usize = 8 << 20;
const PAGE: usize = 4096;
const STACK_BYTES: usize = 64 << 10;
const WARM_UP: Duration = Duration::from_secs(1);

impl Act for JvmStart {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn run(&self, ctx: &mut Ctx) -> Result<String, ActError> {
        let threads = ctx.scale(8.0, 40.0).round() as usize;
        reserve()?;
        let ctx = &*ctx;
        thread::scope(|scope| {
            for number in 0..threads {
                thread::Builder::new()
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, move || live(ctx, number))
                    .map_err(ActError::io("start", "a thread"))?;
            }
            Ok(format!("{threads} threads, {HEAP_BYTES} bytes reserved"))
        })
    }
}

/// Reserved, not taken: only what is touched counts against a limit. Gone with the task's process.
fn reserve() -> Result<(), ActError> {
    // SAFETY: a new mapping of its own; the writes stay within it.
    unsafe {
        let heap = libc::mmap(
            ptr::null_mut(),
            HEAP_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if heap == libc::MAP_FAILED {
            return Err(ActError::io("reserve", "a heap")(
                std::io::Error::last_os_error(),
            ));
        }
        for page in (0..TOUCHED_BYTES).step_by(PAGE) {
            heap.cast::<u8>().add(page).write_volatile(1);
        }
    }
    Ok(())
}

/// Loads classes, compiles for a moment, then waits for work.
fn live(ctx: &Ctx, number: usize) {
    let _ = fs::read(format!("/srv/data/table{}.csv", number % 4));
    let start = Instant::now();
    let mut state = number as u64 + 1;
    while start.elapsed() < WARM_UP && !ctx.over() {
        for _ in 0..10_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).rotate_left(7);
        }
        hint::black_box(state);
        thread::sleep(Duration::from_millis(20));
    }
    while !ctx.over() {
        ctx.sleep(Duration::from_millis(500));
    }
}
