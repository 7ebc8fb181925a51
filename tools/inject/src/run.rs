//! Carries out a plan: recorder, containers, acts, labels, and everything away again.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    act::{self, ATTACK_VERSION, FromOutside},
    campaign::report,
    cgroup::Limits,
    entropy,
    frame::{Ending, Moment, Order, Said},
    interrupt,
    label::{Label, LabelWriter},
    mark::{self, Edge, Marker},
    plan::{Plan, PlannedAct, PlannedContainer},
    proc,
    raise::{self, Place, Raised},
    record::{Recorded, Recorder},
    runtime::{Heard, Identity, Runtime},
    signal,
};

/// How often containers are listened to and the pids of acts looked up: shorter than any process
/// that an act leaves to be seen.
const TICK: Duration = Duration::from_millis(40);

/// An act of which nothing is heard this long after its time is given up.
const LOST_AFTER: Duration = Duration::from_secs(15);

/// Pids that one label can name; a storm of processes is not listed one by one.
const PIDS_MAX: usize = 256;

/// What to record with, and where to.
pub struct Recording {
    pub program: PathBuf,
    pub profile: Option<String>,
    pub directory: PathBuf,
}

/// What a run came to: the fixed shape of `--json`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub run: String,
    pub runtime: &'static str,
    pub seed: u64,
    /// Containers of an earlier injector that were still there.
    pub reaped: usize,
    pub interrupted: bool,
    pub recorded: Option<Recorded>,
    pub containers: Vec<Ran>,
    pub acts: Vec<Acted>,
}

#[derive(Debug, Serialize)]
pub struct Ran {
    #[serde(flatten)]
    pub identity: Identity,
    /// Acts that were ordered in it.
    pub acts: usize,
}

#[derive(Debug, Serialize)]
pub struct Acted {
    #[serde(flatten)]
    pub label: Label,
    /// What the act said it did.
    pub detail: String,
}

impl Acted {
    fn mark(&self, edge: Edge) -> String {
        let label = &self.label;
        let boot_ns = match edge {
            Edge::Start => label.start_boot_ns,
            Edge::Stop => label.end_boot_ns,
        };
        mark::text(edge, &label.run, &label.class, &label.container_id, boot_ns)
    }
}

impl Outcome {
    pub fn all_done(&self) -> bool {
        self.acts.iter().all(|acted| acted.label.outcome == "done")
    }
}

/// Steps of a run, for whoever watches.
pub enum Step<'a> {
    Note(&'a str),
    /// What the result does not say and its owner should know.
    Warning(&'a str),
    Progress {
        done: Duration,
        total: Duration,
        acting: usize,
    },
}

pub fn run(
    plan: &Plan,
    runtime: &mut dyn Runtime,
    limits: &Limits,
    recording: Option<&Recording>,
    watch: &mut dyn FnMut(Step),
) -> Result<Outcome> {
    let reaped = runtime
        .reap()
        .context("cannot clean up after an earlier run")?;
    if reaped > 0 {
        watch(Step::Note(&format!(
            "removed {reaped} containers of an injector that was killed"
        )));
    }
    let run = entropy::hex::<8>()?;
    let mut recorder = recording
        .map(|to| {
            fs::create_dir_all(&to.directory)
                .with_context(|| format!("cannot create {:?}", to.directory))?;
            let bound = Duration::from_millis(plan.lifetime_ms);
            Recorder::start(&to.program, &to.directory, to.profile.as_deref(), bound)
        })
        .transpose()?;
    // Only now: a recorder that cannot start must not leave a directory that looks like a run.
    let mut labels = recording
        .map(|to| prepare(&to.directory, plan))
        .transpose()?;
    let mut limits = limits.within_host();
    if !runtime.limits_together()? {
        limits = limits.shared_by(plan.containers.len());
        watch(Step::Warning(&format!(
            "the engine leaves cgroups to systemd, so no cgroup limits all containers together: each has at most {:.2} CPUs",
            limits.cpu_milli as f64 / 1000.0
        )));
    }
    let mut stage = Stage {
        run,
        plan,
        limits,
        containers: Vec::new(),
        acted: Vec::new(),
    };
    let played = stage.raise(runtime, watch).and_then(|()| {
        let marks = recorder.as_mut().map(|recorder| &mut recorder.marks);
        stage.play(runtime, labels.as_mut(), marks, watch)
    });
    // Everything is put away before an error is passed on.
    let stopped = stage.strike();
    let finished = runtime.finish();
    let recorded = recorder.map(Recorder::stop).transpose();
    played?;
    stopped?;
    finished?;
    let containers = stage
        .containers
        .iter()
        .map(|live| Ran {
            identity: live.identity(),
            acts: live.ordered,
        })
        .collect();
    let outcome = Outcome {
        run: stage.run,
        runtime: runtime.name(),
        seed: plan.seed,
        reaped,
        interrupted: interrupt::asked(),
        recorded: recorded?,
        containers,
        acts: stage.acted,
    };
    if let Some(to) = recording {
        report::write(&to.directory, plan, &outcome)?;
    }
    Ok(outcome)
}

/// The files beside the trace.
fn prepare(directory: &Path, plan: &Plan) -> Result<LabelWriter> {
    let labels = LabelWriter::create(directory)?;
    let path = directory.join("plan.json");
    let json = serde_json::to_string_pretty(plan).context("cannot encode the plan")? + "\n";
    fs::write(&path, json).with_context(|| format!("cannot write {path:?}"))?;
    Ok(labels)
}

struct Stage<'a> {
    run: String,
    plan: &'a Plan,
    limits: Limits,
    containers: Vec<Live<'a>>,
    acted: Vec<Acted>,
}

/// A container and what is still to be done in it.
struct Live<'a> {
    planned: &'a PlannedContainer,
    /// In the plan.
    place: usize,
    /// Of its image.
    version: u32,
    raised: Raised,
    /// By the time they are due, the next one last.
    due: Vec<PlannedAct>,
    acting: Vec<Acting>,
    ordered: usize,
    /// What the supervisor said when it gave up.
    fault: Option<String>,
}

/// An act that was ordered and has not ended.
struct Acting {
    task: u64,
    act: PlannedAct,
    /// In the container, and the moment before it was forked.
    started: Option<(u32, Moment)>,
    pids: Vec<u32>,
    lost_at: Instant,
}

impl Stage<'_> {
    /// Starts the containers and their workloads.
    fn raise(&mut self, runtime: &mut dyn Runtime, watch: &mut dyn FnMut(Step)) -> Result<()> {
        let mut told = false;
        for (place, planned) in self.plan.containers.iter().enumerate() {
            let partner = self
                .containers
                .iter()
                .find(|live| live.is_shared_by(planned));
            let raised = raise::one(
                planned,
                &Place {
                    version: 1,
                    place,
                    plan: self.plan,
                    limits: &self.limits,
                    partner: partner.map(|live| live.raised.container.identity()),
                },
                runtime,
            )?;
            if let Some(reason) = &raised.no_network
                && !runtime.is_guest()
                && !told
            {
                told = true;
                watch(Step::Warning(&format!(
                    "containers have no network but loopback: {reason}"
                )));
            }
            let mut due = planned.acts.clone();
            due.sort_by_key(|act| std::cmp::Reverse(act.at_ms));
            self.containers.push(Live {
                planned,
                place,
                version: 1,
                raised,
                due,
                acting: Vec::new(),
                ordered: 0,
                fault: None,
            });
            if interrupt::asked() {
                break;
            }
        }
        watch(Step::Note(&format!(
            "{} containers run in the {} runtime",
            self.containers.len(),
            runtime.name()
        )));
        Ok(())
    }

    /// From the warm-up to the end of the last act and the time after it.
    fn play(
        &mut self,
        runtime: &mut dyn Runtime,
        mut labels: Option<&mut LabelWriter>,
        mut marks: Option<&mut Marker>,
        watch: &mut dyn FnMut(Step),
    ) -> Result<()> {
        let start = Instant::now();
        let total = Duration::from_millis(self.plan.total_ms);
        let mut next_task = 1;
        loop {
            let done = start.elapsed();
            let into_acts = done.checked_sub(Duration::from_millis(self.plan.warmup_ms));
            let (mut begun, mut ended) = (Vec::new(), Vec::new());
            for live in &mut self.containers {
                if let Some(time) = into_acts {
                    while let Some(act) = live.next_due(time) {
                        live.ordered += 1;
                        match act::by_number(act.number).and_then(|act| act.done_outside()) {
                            Some(how) => {
                                let acted = live.replace(
                                    how,
                                    act,
                                    &self.run,
                                    self.plan,
                                    &self.limits,
                                    runtime,
                                );
                                begun.push(acted.mark(Edge::Start));
                                ended.push(acted);
                            }
                            None => {
                                let refused = live.order(act, &mut next_task, &self.run);
                                ended.extend(refused);
                            }
                        }
                    }
                }
                live.listen(&self.run, &mut begun, &mut ended, watch);
                live.look_up_pids();
                live.give_up(&self.run, &mut ended, interrupt::asked());
            }
            // One that never began has no stop either.
            let stops = ended
                .iter()
                .filter(|acted| acted.label.start_boot_ns != 0)
                .map(|acted| acted.mark(Edge::Stop));
            for text in begun.into_iter().chain(stops) {
                if let Some(marker) = &mut marks
                    && let Err(error) = marker.mark(&text)
                {
                    // The labels say the same; a recorder that refuses one mark refuses the next.
                    watch(Step::Warning(&format!(
                        "the trace has no marks from here on: {error:#}"
                    )));
                    marks = None;
                }
            }
            for acted in ended {
                if let Some(labels) = &mut labels {
                    labels.write(&acted.label)?;
                }
                self.acted.push(acted);
            }
            let acting = self.containers.iter().map(|live| live.acting.len()).sum();
            let due: usize = self.containers.iter().map(|live| live.due.len()).sum();
            watch(Step::Progress {
                done: done.min(total),
                total,
                acting,
            });
            if interrupt::asked() || (done >= total && acting == 0 && due == 0) {
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
    }

    fn strike(&mut self) -> Result<()> {
        let mut result = Ok(());
        for live in &mut self.containers {
            let stopped = live.raised.container.stop();
            // The first error counts, but every container is stopped.
            result = result.and(stopped);
        }
        result
    }
}

impl Live<'_> {
    fn identity(&self) -> Identity {
        self.raised.container.identity().clone()
    }

    fn next_due(&mut self, time: Duration) -> Option<PlannedAct> {
        self.due
            .pop_if(|act| u128::from(act.at_ms) <= time.as_millis())
    }

    /// Whether it is the first half of the pair that this one is to be the second of.
    fn is_shared_by(&self, planned: &PlannedContainer) -> bool {
        let with = planned.shares_ipc.as_ref().filter(|half| !half.first);
        with.is_some_and(|half| half.with == self.planned.name)
    }

    /// Orders it, or says why not.
    fn order(&mut self, act: PlannedAct, next_task: &mut u64, run: &str) -> Option<Acted> {
        if let Some(reason) = self.raised.refuses(act.number) {
            let acting = Acting {
                task: 0,
                act,
                started: None,
                pids: Vec::new(),
                lost_at: Instant::now(),
            };
            let identity = self.raised.container.identity();
            let outcome = format!("refused: {reason}");
            return Some(acting.into_acted(run, identity, Moment::now(), outcome, String::new()));
        }
        let task = *next_task;
        *next_task += 1;
        let order = Order::Act {
            task,
            class: act.number,
            intensity_milli: (act.intensity * 1000.0).round() as u64,
            duration_ms: act.duration_ms,
            seed: act.seed,
        };
        let lost_at = Instant::now() + Duration::from_millis(act.duration_ms) + LOST_AFTER;
        self.acting.push(Acting {
            task,
            act,
            started: None,
            pids: Vec::new(),
            lost_at,
        });
        if self.raised.container.wire().order(&order).is_err()
            && let Some(acting) = self.acting.last_mut()
        {
            acting.lost_at = Instant::now();
        }
        None
    }

    /// Stops the container and starts one in its place. What still acted in it is lost with it.
    fn replace(
        &mut self,
        how: FromOutside,
        act: PlannedAct,
        run: &str,
        plan: &Plan,
        limits: &Limits,
        runtime: &mut dyn Runtime,
    ) -> Acted {
        let start = Moment::now();
        if how == FromOutside::Deploy {
            self.version += 1;
        }
        let replaced = match runtime.is_guest() {
            true => Err(anyhow::anyhow!("this container is not ours to replace")),
            false => self.raised.container.stop().and_then(|()| {
                let place = Place {
                    version: self.version,
                    place: self.place,
                    plan,
                    limits,
                    partner: None,
                };
                raise::one(self.planned, &place, runtime)
            }),
        };
        for acting in &mut self.acting {
            acting.lost_at = Instant::now();
        }
        let outcome = match replaced {
            Ok(raised) => {
                self.raised = raised;
                "done".to_owned()
            }
            Err(error) if runtime.is_guest() => format!("refused: {error:#}"),
            Err(error) => format!("failed: {error:#}"),
        };
        let acting = Acting {
            task: 0,
            act,
            started: Some((0, start)),
            pids: Vec::new(),
            lost_at: Instant::now(),
        };
        let identity = self.raised.container.identity();
        acting.into_acted(run, identity, Moment::now(), outcome, String::new())
    }

    /// `begun` gets the marks of acts that have begun.
    fn listen(
        &mut self,
        run: &str,
        begun: &mut Vec<String>,
        ended: &mut Vec<Acted>,
        watch: &mut dyn FnMut(Step),
    ) {
        loop {
            let name = self.raised.container.identity().name.clone();
            let said = match self.raised.container.wire().hear(Duration::ZERO) {
                Heard::Said(said) => said,
                Heard::Nothing => return,
                Heard::Closed => {
                    // It is gone, and with it what ran in it.
                    for acting in &mut self.acting {
                        acting.lost_at = Instant::now();
                    }
                    return;
                }
            };
            match said {
                Said::Start { task, pid, at } => {
                    if let Some(acting) = self.acting.iter_mut().find(|acting| acting.task == task)
                    {
                        acting.started = Some((pid, at));
                        let id = &self.raised.container.identity().id;
                        begun.push(mark::text(
                            Edge::Start,
                            run,
                            acting.act.class,
                            id,
                            at.boot_ns,
                        ));
                        watch(Step::Note(&format!(
                            "{name}: {} has begun",
                            acting.act.class
                        )));
                    }
                }
                Said::End {
                    task,
                    at,
                    how,
                    detail,
                    ..
                } => {
                    let Some(place) = self.acting.iter().position(|acting| acting.task == task)
                    else {
                        continue;
                    };
                    let acting = self.acting.remove(place);
                    let outcome = outcome(&how, &detail);
                    ended.push(acting.into_acted(
                        run,
                        self.raised.container.identity(),
                        at,
                        outcome,
                        detail,
                    ));
                }
                Said::Fatal(text) => {
                    watch(Step::Note(&format!("{name} gave up: {text}")));
                    self.fault = Some(text);
                }
                Said::Other(text) => watch(Step::Note(&format!("{name}: {text}"))),
                Said::Hello { .. } | Said::Ready => {}
            }
        }
    }

    fn look_up_pids(&mut self) {
        let cgroup = self.raised.container.identity().cgroup.clone();
        for acting in &mut self.acting {
            let Some((task, _)) = acting.started else {
                continue;
            };
            for pid in proc::of_task(&cgroup, task) {
                if !acting.pids.contains(&pid) && acting.pids.len() < PIDS_MAX {
                    acting.pids.push(pid);
                }
            }
        }
    }

    fn give_up(&mut self, run: &str, ended: &mut Vec<Acted>, interrupted: bool) {
        let now = Instant::now();
        let over = |acting: &mut Acting| interrupted || now >= acting.lost_at;
        let outcome = match (interrupted, &self.fault) {
            (true, _) => "interrupted".to_owned(),
            (false, Some(fault)) => format!("lost: {fault}"),
            (false, None) => "lost: the container said nothing of its end".to_owned(),
        };
        for acting in self.acting.extract_if(.., over) {
            let identity = self.raised.container.identity();
            ended.push(acting.into_acted(
                run,
                identity,
                Moment::now(),
                outcome.clone(),
                String::new(),
            ));
        }
    }
}

fn outcome(how: &Ending, detail: &str) -> String {
    match how {
        Ending::Exit(0) => "done".into(),
        Ending::Exit(_) => format!("failed: {detail}"),
        Ending::Signal(signal) => format!("killed: signal {signal}"),
        Ending::Overran => "overran: killed after its time".into(),
        Ending::Refused => format!("refused: {detail}"),
    }
}

impl Acting {
    fn into_acted(
        self,
        run: &str,
        identity: &Identity,
        end: Moment,
        outcome: String,
        detail: String,
    ) -> Acted {
        let info = act::by_number(self.act.number).map(|act| act.info());
        let (start, end) = match self.started {
            Some((_, start)) => (start, end),
            None => (Moment::default(), Moment::default()),
        };
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        let label = Label {
            run: run.to_owned(),
            container_id: identity.id.clone(),
            container_name: identity.name.clone(),
            image: identity.image.clone(),
            cgroup_id: identity.cgroup_id,
            class: self.act.class.to_owned(),
            attack_id: info
                .map(|info| info.attack_id)
                .unwrap_or_default()
                .to_owned(),
            attack_version: ATTACK_VERSION.to_owned(),
            intensity: self.act.intensity,
            start_boot_ns: start.boot_ns,
            end_boot_ns: end.boot_ns,
            start_wall_ns: start.wall_ns,
            end_wall_ns: end.wall_ns,
            pids: pids.join(" "),
            seed: self.act.seed,
            expected_signals: info
                .map(|info| signal::joined(info.signals))
                .unwrap_or_default(),
            outcome,
            kind: info
                .map(|info| info.kind.name())
                .unwrap_or_default()
                .to_owned(),
        };
        Acted { label, detail }
    }
}
