//! Walks through a trace's events in order, with the state they happened in: what `cat` and `export`
//! are made of.

use trace_format::{ChunkEvents, Context, ContextRecord, Event, EventHead, Mark};

use hashbrown::HashSet;

use crate::{
    ahead::Kinds,
    event_view::EventView,
    import::native::{Native, Told},
    order::{Disorder, EventRef, Fold, Order},
    resolve::{Depth, State},
    rules::Filter,
    time::Point,
};

/// From the first point on, up to and without the second. An open end is no end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    pub from: Option<Point>,
    pub to: Option<Point>,
}

/// Families of chunks that are remembered as reported: a chunk's can be in the fold twice at most.
const UNREADABLE_MAX: usize = 65_536;

/// Events that are left out, because their fields are malformed: all of one family in one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub chunk: u64,
    pub family: u16,
    pub error: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unreadable {
            chunk,
            family,
            error,
        } = self;
        write!(
            f,
            "events of family {family} in chunk {chunk} are left out: {error}"
        )
    }
}

/// A note that stands between events.
pub struct Noted<'a> {
    pub boot_ns: u64,
    pub wall_ns: Option<u64>,
    pub mark: &'a Mark,
}

type Note<'n, E> = Box<dyn FnMut(&Noted<'_>) -> Result<(), E> + 'n>;

/// The fold: order, state and a visitor that may fail.
pub struct Walk<'n, V, E> {
    order: Order,
    visiting: Visiting<'n, V, E>,
    trace_uuid: Option<[u8; 16]>,
}

struct Visiting<'n, V, E> {
    state: State,
    /// Of an imported capture: the view that state, rules and everything else has of it.
    native: Native,
    /// Reused: what the current row tells.
    told: Vec<Told>,
    /// Visit the capture's rows as they are instead of what they tell.
    rows: bool,
    filter: Option<Filter>,
    /// What filter and visitor see of the state.
    looks_at: Depth,
    kinds: Kinds,
    visit: V,
    /// Visits marks; without it they are passed over.
    note: Option<Note<'n, E>>,
    range: TimeRange,
    /// Time of the trace's first record.
    start_ns: Option<u64>,
    /// The first failure; nothing is visited after it.
    failed: Option<E>,
    unreadable: Vec<Unreadable>,
    unreadable_reported: HashSet<(u32, u64, u16)>,
    /// An event at or after the range's end came: nothing follows.
    past_end: bool,
}

impl<'n, V, E> Walk<'n, V, E>
where
    V: FnMut(&EventView<'_>) -> Result<(), E>,
{
    pub fn new(range: TimeRange, visit: V) -> Self {
        let visiting = Visiting {
            state: State::new(),
            native: Native::default(),
            told: Vec::new(),
            rows: false,
            filter: None,
            looks_at: Depth::All,
            kinds: Kinds::default(),
            visit,
            note: None,
            range,
            start_ns: None,
            failed: None,
            unreadable: Vec::new(),
            unreadable_reported: HashSet::new(),
            past_end: false,
        };
        Walk {
            order: Order::default(),
            visiting,
            trace_uuid: None,
        }
    }

    /// Visits every block of an imported capture instead of the events they make together.
    pub fn showing_rows(mut self) -> Self {
        self.visiting.rows = true;
        self
    }

    /// The visitor sees no more than this of the state: not everything has to be kept up to date for it.
    pub fn looking_at(mut self, depth: Depth) -> Self {
        self.visiting.looks_at = depth;
        self
    }

    /// Visits only what fulfils a condition. Of an imported block, the event that it completes is judged.
    pub fn filtered(mut self, filter: Option<Filter>) -> Self {
        if let Some(filter) = &filter {
            self.visiting.looks_at = self.visiting.looks_at.max(filter.looks_at());
        }
        self.visiting.filter = filter;
        self
    }

    /// Visits marks too, in their place between the events, whatever the filter.
    pub fn noting(mut self, note: impl FnMut(&Noted<'_>) -> Result<(), E> + 'n) -> Self {
        self.visiting.note = Some(Box::new(note));
        self
    }

    /// The trace began at this time: known to whoever begins in its middle.
    pub fn started_at(mut self, start_ns: Option<u64>) -> Self {
        self.visiting.start_ns = start_ns;
        self
    }

    /// Takes the next chunk, of the same trace or the next part of its capture; `Ok(false)`: the range
    /// has ended, further chunks change nothing.
    pub fn push(&mut self, chunk: ChunkEvents) -> Result<bool, E> {
        self.visiting.start_ns.get_or_insert(chunk.header.first_ns);
        let uuid = chunk.header.trace_uuid;
        if self
            .trace_uuid
            .replace(uuid)
            .is_some_and(|last| last != uuid)
        {
            self.order.next_part();
        }
        self.order.push(chunk, &mut self.visiting);
        self.outcome()
    }

    /// A chunk was passed over: nothing older than its watermark follows.
    pub fn pass(&mut self, watermark_ns: u64) -> Result<bool, E> {
        self.order.pass(watermark_ns, &mut self.visiting);
        self.outcome()
    }

    pub fn finish(&mut self) -> Result<bool, E> {
        self.order.finish(&mut self.visiting);
        self.outcome()
    }

    pub fn disorder(&self) -> Disorder {
        self.order.disorder()
    }

    pub fn state(&self) -> &State {
        &self.visiting.state
    }

    /// What was found unreadable since this was last asked.
    pub fn take_unreadable(&mut self) -> Vec<Unreadable> {
        std::mem::take(&mut self.visiting.unreadable)
    }

    fn outcome(&mut self) -> Result<bool, E> {
        match self.visiting.failed.take() {
            Some(error) => Err(error),
            None => Ok(!self.visiting.past_end),
        }
    }
}

impl<V, E> Visiting<'_, V, E> {
    fn reached(&self, point: Point, boot_ns: u64) -> bool {
        let start_ns = self.start_ns.unwrap_or(0);
        point.is_reached(boot_ns, || self.state.wall_ns(boot_ns), start_ns)
    }
}

impl<V, E> Visiting<'_, V, E>
where
    V: FnMut(&EventView<'_>) -> Result<(), E>,
{
    /// Ends the walk when the range ends with an event of that time; whether the event is in the range.
    #[inline]
    fn comes_to(&mut self, boot_ns: u64) -> bool {
        if self.range.to.is_some_and(|to| self.reached(to, boot_ns)) {
            self.past_end = true;
            return false;
        }
        let from = self.range.from;
        from.is_none_or(|from| self.reached(from, boot_ns))
    }

    /// Whether an event that is left out of the fold is shown; `None`: only the fold can tell.
    #[inline]
    fn foresee(&mut self, head: &EventHead<'_>, unwanted: bool) -> Option<bool> {
        match &mut self.filter {
            None => Some(true),
            Some(_) if unwanted => Some(false),
            Some(filter) => filter.foresee(head, &self.state),
        }
    }
}

impl<V, E> Visiting<'_, V, E> {
    fn cannot_read(&mut self, at: EventRef, error: &trace_format::Error) {
        let which = (at.part, at.chunk, at.family);
        if self.unreadable_reported.len() >= UNREADABLE_MAX {
            self.unreadable_reported.clear();
        }
        if self.unreadable_reported.insert(which) {
            self.unreadable.push(Unreadable {
                chunk: at.chunk,
                family: at.family,
                error: error.to_string(),
            });
        }
    }
}

impl<V, E> Fold for Visiting<'_, V, E>
where
    V: FnMut(&EventView<'_>) -> Result<(), E>,
{
    fn context(&mut self, record: &ContextRecord) {
        self.state.context(record);
        if let Context::Mark(mark) = &record.body {
            self.noted(record.boot_ns, mark);
        }
    }

    fn event(&mut self, event: &Event, at: EventRef) {
        if self.failed.is_some() || self.past_end {
            return;
        }
        let shown = self.comes_to(event.boot_ns);
        if self.past_end {
            return;
        }
        let mut told = std::mem::take(&mut self.told);
        if self.native.fold(event, &self.state, &mut told) {
            self.state.passed(event);
            self.told(event, at, shown, &told);
        } else {
            self.state.before(event);
            self.show(event, event, at, shown);
            self.state.after(event);
        }
        told.clear();
        self.told = told;
    }

    fn unreadable(&mut self, at: EventRef, error: &trace_format::Error) {
        self.cannot_read(at, error);
    }

    #[inline]
    fn takes(&mut self, chunk: &ChunkEvents, index: usize, at: EventRef) -> bool {
        let head = chunk.head(index);
        let nr = || Some(*chunk.first_field(index).as_ref().ok()? as u32);
        let ahead = self.kinds.of(&head, nr, &self.state, self.filter.as_ref());
        if !ahead.depth.is_out_of(self.looks_at) {
            return false;
        }
        if self.failed.is_some() || self.past_end {
            return true;
        }
        let in_range = self.comes_to(head.boot_ns);
        if self.past_end {
            return true;
        }
        let shown = match in_range {
            false => false,
            true => match self.foresee(&head, ahead.unwanted) {
                Some(shown) => shown,
                None => return false,
            },
        };
        // Of a capture, the folded event is shown, or judged when a condition asks what happened: for
        // both, the first half of a call has to be there when the second comes.
        let folded = !self.rows || self.filter.as_ref().is_some_and(|it| !it.is_about_actor());
        let first_half = ahead.has_exit && folded && !ahead.unwanted;
        if first_half || (shown && ahead.of_capture && !self.rows) {
            return false;
        }
        self.state.left_out(&head);
        if ahead.is_call {
            self.native.left_out(head.tid);
        }
        if shown {
            self.show_row(chunk, index, at);
        }
        true
    }
}

impl<V, E> Visiting<'_, V, E>
where
    V: FnMut(&EventView<'_>) -> Result<(), E>,
{
    fn noted(&mut self, boot_ns: u64, mark: &Mark) {
        let over = self.failed.is_some() || self.past_end;
        let TimeRange { from, to } = self.range;
        let before = from.is_some_and(|from| !self.reached(from, boot_ns));
        let after = to.is_some_and(|to| self.reached(to, boot_ns));
        if over || before || after {
            return;
        }
        let noted = Noted {
            boot_ns,
            wall_ns: self.state.wall_ns(boot_ns),
            mark,
        };
        if let Some(note) = &mut self.note
            && let Err(error) = note(&noted)
        {
            self.failed = Some(error);
        }
    }

    /// Visits a row if `judged`, the event that filters look at, fulfils the condition.
    fn show(&mut self, event: &Event, judged: &Event, at: EventRef, shown: bool) {
        let matches = |filter: &mut Filter| filter.matches(judged, &self.state);
        if shown && self.failed.is_none() && self.filter.as_mut().is_none_or(matches) {
            self.visit(event, judged, at);
        }
    }

    /// Visits a row that is left out of the fold.
    fn show_row(&mut self, chunk: &ChunkEvents, index: usize, at: EventRef) {
        let row = match self.kinds.row(at.family).take() {
            Some(mut row) => chunk.event_into(index, &mut row).map(|()| row),
            None => chunk.event(index),
        };
        let row = match row {
            Ok(row) => row,
            Err(error) => return self.cannot_read(at, error),
        };
        self.visit(&row, &row, at);
        *self.kinds.row(at.family) = Some(row);
    }

    fn visit(&mut self, event: &Event, judged: &Event, at: EventRef) {
        let view = EventView::new(event, at, &self.state).judged_as(judged);
        if let Err(error) = (self.visit)(&view) {
            self.failed = Some(error);
        }
    }

    /// Applies what a row tells, and shows it or the row.
    fn told(&mut self, row: &Event, at: EventRef, shown: bool, told: &[Told]) {
        let mut row_shown = !self.rows;
        for one in told {
            match one {
                Told::Context(record) => {
                    self.state.context(record);
                }
                Told::Descriptor {
                    pid,
                    fd,
                    descriptor,
                } => self.state.has_descriptor(*pid, *fd, (**descriptor).clone()),
                Told::Bare(event) => {
                    self.state.saw();
                    if !row_shown {
                        self.show(row, event, at, shown);
                        row_shown = true;
                    } else if !self.rows {
                        self.show(event, event, at, shown);
                    }
                }
                Told::Event(event) | Told::Silent(event) => {
                    self.state.before(event);
                    if !row_shown {
                        self.show(row, event, at, shown);
                        row_shown = true;
                    } else if !self.rows && matches!(one, Told::Event(_)) {
                        self.show(event, event, at, shown);
                    }
                    self.state.after(event);
                }
            }
        }
        if !row_shown {
            self.show(row, row, at, shown);
        }
    }
}
