//! A filter judges who acted once and remembers it. The promise: what it remembers is what it would
//! judge again, at every event, whatever changed in between.

use fixtures::SITUATIONS;
use replay::{
    event_view::EventView,
    rules::Filter,
    walk::{TimeRange, Walk},
};
use trace_format::ChunkSource;

/// Each true for some events and false for others, and true of an actor only for a time: a fork, an
/// exec, another user, an exit or a container's name decides.
const CONDITIONS: [&str; 10] = [
    "proc.name = sh",
    "proc.pname = sh",
    "proc.aname in (sh, runc)",
    "proc.cmdline contains '-c' or proc.exepath startswith /usr",
    "not proc.pexepath exists",
    "user.uid != 0",
    "proc.ppid exists and proc.pid > 1000",
    "container.name exists and container.image != ''",
    "proc.started_outside = true",
    "proc.name = sh and evt.type = execve",
];

#[test]
fn what_is_remembered_is_what_would_be_judged_again() {
    let mut passed = [0u64; CONDITIONS.len()];
    let mut events = 0u64;
    for situation in SITUATIONS {
        // The number of an event is not about who acted: the second filter judges each anew.
        let mut filters: Vec<(Filter, Filter)> = CONDITIONS
            .iter()
            .map(|condition| {
                let anew = format!("({condition}) or evt.num < 0");
                let compile = |condition: &str| Filter::compile(condition).unwrap();
                (compile(condition), compile(&anew))
            })
            .collect();
        let mut walk = Walk::new(TimeRange::default(), |view: &EventView<'_>| {
            events += 1;
            for (place, (remembering, anew)) in filters.iter_mut().enumerate() {
                let expected = anew.matches(view.event, view.state);
                let found = remembering.matches(view.event, view.state);
                let condition = CONDITIONS[place];
                assert_eq!(found, expected, "{condition} of {:?}", view.event);
                passed[place] += u64::from(found);
            }
            Ok::<(), ()>(())
        });
        let built = (situation.build)().build();
        let mut source = built.source();
        while let Some(chunk) = source.next_chunk().unwrap() {
            walk.push(chunk.events().unwrap()).unwrap();
        }
        walk.finish().unwrap();
    }
    let vacuous: Vec<_> = CONDITIONS
        .iter()
        .zip(passed)
        .filter(|(_, passed)| *passed == 0 || *passed == events)
        .collect();
    assert!(vacuous.is_empty(), "of {events} events: {vacuous:?}");
}
