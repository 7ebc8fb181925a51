//! How fast are sealing and decoding, and what does an event weigh? `cargo bench -p trace-format`
//!
//! The stream is what nginx under load looks like to a recorder of every call: a few threads that
//! each go round epoll_wait, accept4, recvfrom, openat, fstat, sendfile, close, with jittery times
//! and a different descriptor and file each round. Prints medians; several rounds, because
//! neighbours on the machine disturb single ones.

use std::time::Instant;

use trace_format::*;

const EVENTS: u64 = 1_000_000;
const ROUNDS: usize = 9;

/// xorshift64: jitter that is the same every run.
struct Jitter(u64);
impl Jitter {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn nginx_like() -> Vec<Event> {
    const THREADS: usize = 4;
    let mut jitter = Jitter(0x9e37_79b9_7f4a_7c15);
    let mut clock = [5_000_000_000u64; THREADS];
    let mut step = [0usize; THREADS];
    let mut fd = [8u64; THREADS];
    let mut seqs = [0u64; THREADS];
    let files: Vec<Text> = (0..40)
        .map(|file| Text::from(format!("/usr/share/nginx/html/page-{file}.html")))
        .collect();
    let mut events = Vec::with_capacity(EVENTS as usize);
    while events.len() < EVENTS as usize {
        // The thread whose clock is furthest behind runs next.
        let thread = (0..THREADS)
            .min_by_key(|thread| clock[*thread])
            .expect("there are threads");
        clock[thread] += 1_500 + jitter.below(4_000);
        let stack = 0x7ffd_1000_0000 + (thread as u64) * 0x10_0000;
        let heap = 0x5581_2000_0000 + jitter.below(64) * 0x1000;
        let call = |nr: u32, ret: i64, args: [u64; 6]| {
            EventData::Syscall(Syscall {
                nr,
                ret,
                args,
                duration_ns: 0,
            })
        };
        let data = match step[thread] % 6 {
            0 => call(232, 1, [11, 0x5581_2abc_d000, 512, u64::MAX, 0, 0]),
            1 => {
                fd[thread] = 8 + jitter.below(120);
                call(
                    288,
                    fd[thread] as i64,
                    [6, stack + 0x40, stack + 0x3c, 0x800, 0, 0],
                )
            }
            2 => call(
                45,
                80 + jitter.below(60) as i64,
                [fd[thread], heap, 1024, 0, 0, 0],
            ),
            3 => {
                let file = jitter.below(40);
                EventData::Open(Open {
                    nr: 257,
                    ret: fd[thread] as i64 + 1,
                    flags: 0x800,
                    mode: 0,
                    path: files[file as usize].clone(),
                    dev: 0x35,
                    ino: 1_000 + file,
                    marks: PathMarks(0),
                    duration_ns: 0,
                })
            }
            4 => call(
                40,
                612,
                [fd[thread], fd[thread] + 1, stack + 0x80, 612, 0, 0],
            ),
            _ => call(3, 0, [fd[thread], 0, 0, 0, 0, 0]),
        };
        step[thread] += 1;
        events.push(Event {
            boot_ns: clock[thread],
            cpu: thread as u16,
            probe: 2,
            seq: seqs[thread],
            tid: 4_000 + thread as u32,
            pid: 4_000 + thread as u32,
            cgroup_id: 8_811,
            data,
        });
        seqs[thread] += 1;
    }
    events
}

fn seal(events: Vec<Event>) -> (Vec<SealedChunk>, f64, f64) {
    let mut builder = ChunkBuilder::new([7; 16], Limits::default());
    let mut chunks = Vec::new();
    let (mut pushing, mut sealing) = (0.0, 0.0);
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let start = Instant::now();
        let mut last = 0;
        while !builder.is_full() {
            let Some(event) = events.next() else { break };
            last = event.boot_ns;
            builder.push(event);
        }
        pushing += start.elapsed().as_secs_f64();
        let start = Instant::now();
        chunks.push(builder.seal(last));
        sealing += start.elapsed().as_secs_f64();
    }
    (chunks, pushing, sealing)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let events = nginx_like();
    let (mut pushes, mut seals, mut decodes) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let (chunks, pushing, sealing) = seal(events.clone());
        pushes.push(pushing);
        seals.push(pushing + sealing);
        bytes = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let start = Instant::now();
        let decoded: usize = chunks
            .iter()
            .map(|chunk| chunk.decode().expect("just sealed").events.len())
            .sum();
        decodes.push(start.elapsed().as_secs_f64());
        assert_eq!(decoded, events.len());
    }
    let rate = |seconds| EVENTS as f64 / seconds / 1e6;
    println!("push only      {:6.2} M events/s", rate(median(pushes)));
    println!("push and seal  {:6.2} M events/s", rate(median(seals)));
    println!("decode         {:6.2} M events/s", rate(median(decodes)));
    println!(
        "size           {:6.2} B/event",
        bytes as f64 / EVENTS as f64
    );
}
