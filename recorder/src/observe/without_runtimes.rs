//! Stands in for `runtimes` in a `rec` that is built without it: no engine is asked, and what is known of a
//! container is the state that runc and crun keep on disk.

use std::{thread, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{metadata::Answer, oci};

/// Questions that wait; one more gets no answer.
const QUEUE_MAX: usize = 1_024;
/// The state is written while the container is made.
const RETRY: Duration = Duration::from_millis(100);

pub struct Resolver {
    questions: Sender<String>,
    pub answers: Receiver<Answer>,
}

impl Resolver {
    /// Starts the thread. It ends when the resolver is dropped.
    pub fn start() -> Self {
        let (questions, asked) = bounded::<String>(QUEUE_MAX);
        let (answer, answers) = unbounded();
        thread::Builder::new()
            .name("rec-runtimes".into())
            .spawn(move || {
                for id in asked {
                    let metadata = oci::find(&id).or_else(|| {
                        thread::sleep(RETRY);
                        oci::find(&id)
                    });
                    // Nobody waits any more: the capture has ended.
                    let _ = answer.send(Answer { id, metadata });
                }
            })
            .expect("a thread for the container runtimes: the process may start threads");
        Resolver { questions, answers }
    }

    /// Asks for a container; false when the queue is full (then no answer comes).
    pub fn ask(&self, id: &str, runtime: &str) -> bool {
        runtime != "sandbox" && self.questions.try_send(id.to_owned()).is_ok()
    }
}
