//! Who holds memory: bytes in use and the most that were, and, where a thread asks for it, every piece as it comes and
//! goes, with what it is for.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Where a piece of memory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Tensors in host memory: freed blocks wait for the next request of their size.
    Pool,
    /// Lists in host memory.
    Host,
    /// A GPU's memory.
    Device,
}

/// What a piece of memory is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Parameters,
    OptimizerStates,
    Gradients,
    Activations,
    Graph,
    #[default]
    Batch,
    Ranking,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Parameters => "parameters",
            Part::OptimizerStates => "optimizer states",
            Part::Gradients => "gradients",
            Part::Activations => "activations",
            Part::Graph => "graph",
            Part::Batch => "batches",
            Part::Ranking => "ranking",
        }
    }
}

/// One thing that happened while a trace was kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Piece `id`, counted from 0, came.
    Take {
        id: usize,
        place: Place,
        bytes: usize,
        part: Part,
        name: String,
    },
    /// It went.
    Give {
        id: usize,
    },
    Mark(&'static str),
    /// What waited of freed tensors was freed ([`empty_cache`]).
    LetGo,
}

/// What happened so far, and whether it is still written down.
#[derive(Default, Debug)]
struct Trace {
    open: bool,
    taken: usize,
    events: Vec<Event>,
}

/// What a piece is for, and the trace that it belongs to, whichever thread then fills or frees it.
#[derive(Clone)]
pub(super) struct Label {
    trace: Arc<Mutex<Trace>>,
    part: Part,
    name: String,
}

thread_local! {
    /// The trace that this thread keeps.
    static TRACE: RefCell<Option<Arc<Mutex<Trace>>>> = const { RefCell::new(None) };
    static SCOPES: RefCell<Vec<(Part, String)>> = const { RefCell::new(vec![]) };
}

/// Bytes of lists in host memory, and the most there were.
static LISTS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Runs `work` and gives every piece of memory that this thread asked for, in the order in which they came and went. What
/// other threads ask for on its behalf is not told. Traces do not nest.
pub fn traced<R>(work: impl FnOnce() -> R) -> (R, Vec<Event>) {
    let trace = Arc::new(Mutex::new(Trace { open: true, ..Trace::default() }));
    TRACE.set(Some(trace.clone()));
    let result = work();
    TRACE.set(None);
    let trace = trace.lock().map(|mut trace| std::mem::take(&mut *trace)).unwrap_or_default();
    (result, trace.events)
}

/// Runs `work` off the record: all that it asks for, it gives back.
pub fn untraced<R>(work: impl FnOnce() -> R) -> R {
    let trace = TRACE.take();
    let result = work();
    TRACE.set(trace);
    result
}

/// A place in the trace.
pub fn mark(name: &'static str) {
    note(Event::Mark(name));
}

fn note(event: Event) {
    if let Some(trace) = TRACE.with_borrow(Option::clone) {
        tell(&trace, |trace| trace.events.push(event));
    }
}

fn tell<R>(trace: &Mutex<Trace>, what: impl FnOnce(&mut Trace) -> R) -> Option<R> {
    let mut trace = trace.lock().ok()?;
    trace.open.then(|| what(&mut trace))
}

/// Names what is asked for as long as it lives.
pub struct Scope(bool);

/// What is asked for from here on is for this, but within a scope of ranking: there all is for that.
pub fn scope(part: Part, name: &str) -> Scope {
    let keeps = TRACE.with_borrow(Option::is_some);
    if keeps {
        SCOPES.with_borrow_mut(|scopes| {
            let ranks = scopes.last().is_some_and(|(part, _)| *part == Part::Ranking);
            scopes.push((if ranks { Part::Ranking } else { part }, name.to_string()));
        });
    }
    Scope(keeps)
}

impl Drop for Scope {
    fn drop(&mut self) {
        if self.0 {
            SCOPES.with_borrow_mut(Vec::pop);
        }
    }
}

/// The innermost scope of this thread, where it keeps a trace.
pub(super) fn label() -> Option<Box<Label>> {
    let trace = TRACE.with_borrow(Option::clone)?;
    let (part, name) = SCOPES.with_borrow(|scopes| scopes.last().cloned()).unwrap_or_default();
    Some(Box::new(Label { trace, part, name }))
}

/// A piece of memory that somebody holds, for the accounts: made beside it, and dropped with it.
#[derive(Debug)]
pub struct Allocation {
    place: Place,
    bytes: usize,
    /// The trace that it is in, and its number there.
    traced: Option<(Arc<Mutex<Trace>>, usize)>,
}

impl Allocation {
    /// Lists of these many bytes.
    pub fn lists(bytes: usize) -> Allocation {
        Allocation::new(Place::Host, bytes, label().as_deref())
    }

    /// What tasks take together of the tensors' pool while they run (`Buffer::scratch`), at most.
    pub fn scratch(bytes: usize) -> Allocation {
        Allocation::new(Place::Pool, bytes, label().as_deref())
    }

    /// A piece of no bytes is a piece: how many there are does not depend on sizes.
    pub(super) fn new(place: Place, bytes: usize, label: Option<&Label>) -> Allocation {
        if place == Place::Host {
            let now = LISTS[0].fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
            LISTS[1].fetch_max(now, Ordering::Relaxed);
        }
        let traced = label.and_then(|Label { trace, part, name }| {
            let id = tell(trace, |trace| {
                let id = trace.taken;
                trace.taken += 1;
                trace.events.push(Event::Take { id, place, bytes, part: *part, name: name.clone() });
                id
            })?;
            Some((trace.clone(), id))
        });
        Allocation { place, bytes, traced }
    }
}

impl Clone for Allocation {
    fn clone(&self) -> Allocation {
        Allocation::new(self.place, self.bytes, label().as_deref())
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.place == Place::Host {
            LISTS[0].fetch_sub(self.bytes as u64, Ordering::Relaxed);
        }
        if let Some((trace, id)) = &self.traced {
            tell(trace, |trace| trace.events.push(Event::Give { id: *id }));
        }
    }
}

/// Bytes in host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Of tensors, now, and the most there were.
    pub tensors: u64,
    pub tensors_peak: u64,
    /// Of freed tensors' blocks that wait for the next request, now, and the most of both together.
    pub waiting: u64,
    pub blocks_peak: u64,
    /// Of lists: graphs, schedules, ids.
    pub lists: u64,
    pub lists_peak: u64,
}

/// Frees what waits for tensors of the sizes of before: between phases that have nothing of a size in common.
pub fn empty_cache() {
    note(Event::LetGo);
    super::buffer::empty_cache();
}

/// Frees what waits for tensors of the sizes of before, and counts the most anew.
pub fn release() {
    super::buffer::release();
}

/// What tensors and lists of this process hold in host memory.
pub fn usage() -> Usage {
    let [lists, lists_peak] = [0, 1].map(|i: usize| LISTS[i].load(Ordering::Relaxed));
    Usage { lists, lists_peak, ..super::buffer::usage() }
}
