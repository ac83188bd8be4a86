//! How much memory a run will take, before it takes any: printed, compared with what there is, and at the end with what
//! was used.
//!
//! A rehearsal of the run on a few tiny data sets tells every tensor and list that comes and goes, and what its size
//! follows from (`rehearsal`, `scale`). At the sizes of the run the account is gone through with the pool of freed blocks
//! as it is (`PlannedPool`), and the lists that a rehearsal does not see are added.

mod hops;
mod miniature;
mod refuse;
mod rehearsal;
mod scale;
mod sizes;
mod solved;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Result;
use crate::config::{Config, KgPhase};
use crate::data::Dataset;
use crate::engine::memory::{self, Part, Place};
use crate::engine::system::{Resident, resident, size};
use crate::engine::{Device, PlannedPool};
use crate::eval::BLOCK;
use crate::models;
use crate::train::run::train_splits;
use rehearsal::PHASES;
use scale::{Act, Piece};
use sizes::{Counts, Sizes};

pub use refuse::limit;

/// Bytes of something that is large.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    pub part: Part,
    pub name: String,
    pub bytes: u64,
}

/// The memory of a run, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryPlan {
    pub schema_version: u32,
    /// The most in host memory, and on a GPU.
    pub host: u64,
    pub device: u64,
    /// The most that tensors hold of the host's, without freed blocks.
    pub tensors: u64,
    /// When the most is in host memory: `build`, `samplers`, `epoch`, `steps`, `triples`, `validation`, `restore` or `test`.
    pub phase: String,
    /// What is in host memory by then: the program and the opened data set, of which so much lies in files that are
    /// mapped.
    pub opened: u64,
    pub mapped: u64,
    /// Freed blocks that wait for the next tensor of their size.
    pub waiting: u64,
    pub parts: BTreeMap<Part, u64>,
    /// What is largest at that time.
    pub largest: Vec<Share>,
    /// The most in host memory of each phase.
    pub phases: BTreeMap<String, u64>,
    #[serde(skip)]
    before: Resident,
}

/// How much more than on average a batch may hold of what varies: histories, and neighbours that are drawn.
const FULLER: f64 = 1.06;

/// How many of the largest are named.
const NAMED: usize = 12;

impl MemoryPlan {
    /// The plan of a run of `config` on opened `data`.
    pub fn new(config: &Config, data: &Dataset, device: &Device) -> Result<MemoryPlan> {
        MemoryPlan::after(resident().unwrap_or_default(), config, data, device)
    }

    /// As `new`, for a process that held this much before.
    fn after(before: Resident, config: &Config, data: &Dataset, device: &Device) -> Result<MemoryPlan> {
        let counts = Counts::new(config, data, train_splits(config));
        let tasks = models::task_names(config, data)?;
        let mut acts = match models::closed_form(config, data, &Device::Cpu)? {
            Some(_) => solved::acts(config, &counts),
            None => {
                let joint = rehearsal::joint(config, tasks.len()) && counts.taught(config) > 0;
                let mut full = Full::new(config, data, &counts, joint);
                let rehearsals = (0..miniature::MINIATURES)
                    .map(|i| rehearsal::rehearse(i, config, data, &counts, device))
                    .collect::<Result<Vec<_>>>()?;
                // What waits after rehearsals is of no use to the run.
                memory::release();
                scale::scale(&rehearsals, |phase| full.next(phase))?
            }
        };
        // Before the first epoch samplers are made.
        let first = acts.iter().position(|act| matches!(act, Act::Phase("epoch"))).unwrap_or(acts.len());
        acts.insert(first, Act::Phase("samplers"));
        let lists = |phase: &str| lists(config, &counts, tasks.len(), phase);
        let mut plan = MemoryPlan::of(&acts, lists, before.now);
        plan.mapped = before.files;
        // Opening the data set may have taken more than the run will.
        plan.host = plan.host.max(before.peak);
        plan.before = before;
        Ok(plan)
    }

    /// Goes through the acts twice: for the peak, and for what is there then.
    fn of(acts: &[Act], lists: impl Fn(&str) -> Vec<Piece>, opened: u64) -> MemoryPlan {
        let mut plan = MemoryPlan {
            schema_version: 1,
            host: 0,
            device: 0,
            tensors: 0,
            phase: PHASES[0].into(),
            opened,
            mapped: 0,
            waiting: 0,
            parts: BTreeMap::new(),
            largest: vec![],
            phases: BTreeMap::new(),
            before: Resident::default(),
        };
        let mut peak = 0;
        let mut account = Account::default();
        for (i, act) in acts.iter().enumerate() {
            account.follow(act, &lists);
            let host = opened + account.host() as u64;
            let most = plan.phases.entry(account.phase.clone()).or_default();
            *most = host.max(*most);
            plan.tensors = plan.tensors.max(account.in_pool as u64);
            plan.device = plan.device.max(account.device as u64);
            if host > plan.host {
                (plan.host, peak) = (host, i);
            }
        }
        let mut account = Account::default();
        acts.iter().take(peak + 1).for_each(|act| account.follow(act, &lists));
        plan.phase = account.phase.clone();
        plan.waiting = account.waiting() as u64;
        let mut named: BTreeMap<(Part, &str), u64> = BTreeMap::new();
        for piece in account.pieces.iter().flatten().map(|(piece, _)| piece).chain(&account.lists) {
            *plan.parts.entry(piece.part).or_default() += piece.bytes as u64;
            *named.entry((piece.part, &piece.name)).or_default() += piece.bytes as u64;
        }
        let share = |((part, name), bytes): ((Part, &str), u64)| Share { part, name: name.into(), bytes };
        plan.largest = named.into_iter().map(share).collect();
        plan.largest.sort_by_key(|share| std::cmp::Reverse(share.bytes));
        plan.largest.truncate(NAMED);
        plan
    }

    /// In a line.
    pub fn summary(&self) -> String {
        let gpu = if self.device > 0 { format!("; {} on the GPU", size(self.device)) } else { String::new() };
        format!("memory plan: {} at most, in phase `{}`{gpu}", size(self.host), self.phase)
    }

    /// As a table for people.
    pub fn text(&self) -> String {
        let mut text = self.summary();
        let mapped = if self.mapped > 0 {
            format!(" ({} of it mapped files)", size(self.mapped))
        } else {
            String::new()
        };
        let mut row = |name: &str, bytes: u64, more: &str| {
            text += &format!("\n  {name:<52}{:>12}{more}", size(bytes));
        };
        row("program and data set", self.opened, &mapped);
        for (part, bytes) in &self.parts {
            row(part.name(), *bytes, "");
        }
        row("freed blocks that wait", self.waiting, "");
        text += "\n  largest:";
        for share in &self.largest {
            text += &format!("\n    {:<18}{:<32}{:>12}", share.part.name(), share.name, size(share.bytes));
        }
        text
    }

    /// What has to fit: a GPU's memory where there is one, else the host's.
    pub fn needed(&self) -> u64 {
        if self.device > 0 { self.device } else { self.host }
    }
}

/// The sizes of a run's stages, by turns: steps and blocks are not all of a size, and freed blocks wait for each size.
struct Full {
    /// A step on average, one whose batch holds more, and the last of an epoch.
    steps: Vec<Sizes>,
    /// A block of learners and the last one, of the validation and of the test.
    valid: Vec<Sizes>,
    test: Vec<Sizes>,
    turns: BTreeMap<&'static str, usize>,
}

impl Full {
    fn new(config: &Config, data: &Dataset, counts: &Counts, joint: bool) -> Full {
        let splits = train_splits(config);
        let batch = config.train.batch_size;
        let rest = |n: usize, of: usize| if n > of && !n.is_multiple_of(of) { n % of } else { of };
        let step = |batch: usize, more: f64| {
            let mut work = sizes::work(config, counts, (batch, BLOCK), joint);
            work.hops = hops::hops(config, data, splits, counts, &work);
            work.fuller(more);
            sizes::sizes(counts, &work)
        };
        let block = |n: usize| sizes::sizes(counts, &sizes::work(config, counts, (batch, n), joint));
        let asked = match config.train.valid_learners {
            0 => counts.asked[0],
            n => n.min(counts.asked[0]),
        };
        Full {
            steps: vec![step(batch, 1.0), step(batch, FULLER), step(rest(counts.positives, batch), 1.0)],
            valid: vec![block(BLOCK), block(rest(asked, BLOCK))],
            test: vec![block(BLOCK), block(rest(counts.asked[1], BLOCK))],
            turns: BTreeMap::new(),
        }
    }

    /// The sizes of the next stage of a phase.
    fn next(&mut self, phase: &'static str) -> Sizes {
        let turn = self.turns.entry(phase).or_default();
        *turn += 1;
        let (of, cycle) = match phase {
            "steps" => (&self.steps, self.steps.len()),
            "validation" => (&self.valid, self.valid.len()),
            "test" => (&self.test, self.test.len()),
            _ => (&self.valid, 1),
        };
        of[(*turn - 1) % cycle].clone()
    }
}

/// Who holds what at some time of a run.
#[derive(Default)]
struct Account {
    phase: String,
    pool: PlannedPool,
    /// RowSplits by the order in which they came, with what was touched of their blocks.
    pieces: Vec<Option<(Piece, usize)>>,
    in_pool: usize,
    in_lists: usize,
    device: usize,
    lists: Vec<Piece>,
}

impl Account {
    fn follow(&mut self, act: &Act, lists: &impl Fn(&str) -> Vec<Piece>) {
        match act {
            Act::Phase(name) => {
                // As the run does between its steps, its triples, and its rankings.
                if self.phase != *name {
                    self.pool.empty_cache();
                }
                self.phase = name.to_string();
                self.lists = lists(name);
            }
            Act::LetGo => self.pool.empty_cache(),
            Act::Take(piece) => {
                let mut touched = 0;
                match piece.place {
                    Place::Pool => {
                        touched = self.pool.take(piece.bytes);
                        self.in_pool += piece.bytes;
                    }
                    Place::Host => self.in_lists += piece.bytes,
                    Place::Device => self.device += piece.bytes,
                }
                self.pieces.push(Some((piece.clone(), touched)));
            }
            Act::Give(id) => {
                let Some((piece, touched)) = self.pieces.get_mut(*id).and_then(Option::take) else { return };
                match piece.place {
                    Place::Pool => {
                        self.pool.give(piece.bytes, touched);
                        self.in_pool -= piece.bytes;
                    }
                    Place::Host => self.in_lists -= piece.bytes,
                    Place::Device => self.device -= piece.bytes,
                }
            }
        }
    }

    fn host(&self) -> usize {
        self.pool.touched() + self.in_lists + self.lists.iter().map(|piece| piece.bytes).sum::<usize>()
    }

    fn waiting(&self) -> usize {
        self.pool.touched().saturating_sub(self.in_pool)
    }
}

/// Lists beside those that a rehearsal sees: of the samplers and of the evaluation.
fn lists(config: &Config, c: &Counts, tasks: usize, phase: &str) -> Vec<Piece> {
    let piece = |part, name: &str, bytes| Piece { place: Place::Host, bytes, part, name: name.into() };
    let taught = if config.kg.phase == KgPhase::Off { 0 } else { c.taught(config) };
    let samplers = [
        piece(Part::Batch, "positives", 12 * c.known + 12 * c.learners),
        piece(Part::Batch, "order of the epoch", 4 * c.positives + 4 * taught),
        piece(
            Part::Batch,
            "triples and their corruptions",
            if taught > 0 { 20 * taught + 8 * c.nodes } else { 0 },
        ),
    ];
    let taken = piece(Part::Ranking, "courses of learners", 4 * c.enrolments + 12 * c.learners);
    match phase {
        "build" | "restore" => vec![],
        // The edges once more, of which the triples are made; then the triples, sorted.
        "samplers" => {
            let made = if taught > 0 { (16 * c.edges).max(20 * taught) + 12 * taught } else { 0 };
            samplers[..1].iter().cloned().chain([piece(Part::Batch, "triples in the making", made)]).collect()
        }
        "validation" => samplers.into_iter().chain([taken]).collect(),
        "test" => vec![
            taken,
            piece(Part::Ranking, "scores of pairs", 2 * c.wanted[1] * (5 * tasks + 8) + 8 * c.learners),
        ],
        _ => samplers.into(),
    }
}
