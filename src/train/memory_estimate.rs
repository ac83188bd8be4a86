//! How much memory a run will take, by arithmetic: nothing is allocated, and any settings are answered in a second or two.
//!
//! Each phase of a run is a list of what is alive at its peak. Sizes follow from counts of the data set and from the shapes
//! of the model; docs/settings.md says how close they are to what is measured.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::*;
use crate::data::Dataset;
use crate::engine::gradient_weighting::Combine;
use crate::engine::optim;
use crate::engine::system::{Resident, available, resident, size};
use crate::engine::{DType, Device};
use crate::eval::BLOCK;
use crate::models::{self, Make};
use crate::train::run::train_splits;
use crate::{Error, Result};

/// What a piece of memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Parameters,
    OptimizerStates,
    Gradients,
    Activations,
    Graph,
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

/// Bytes of something that is large.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    pub part: Part,
    pub name: String,
    pub bytes: u64,
}

/// The memory of a run, in bytes: upper figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryEstimate {
    pub schema_version: u32,
    /// Peak of the process in host memory, and of the run on a GPU.
    pub host: u64,
    pub device: u64,
    /// Peak of the tensors in host memory, without cached blocks, and with the lists that `engine::memory` counts.
    pub tensors: u64,
    pub tensors_and_lists: u64,
    /// When the peak is reached: `build`, `samplers`, `steps`, `triples`, `validation`, `restore` or `test`.
    pub phase: String,
    /// The program with the opened data set, and how much of it is mapped files.
    pub opened: u64,
    pub mapped: u64,
    /// What threads work in and libraries take for themselves.
    pub threads: u64,
    /// Freed blocks at the peak that wait for the next tensor of their size.
    pub cached: u64,
    pub parts: BTreeMap<Part, u64>,
    /// What is largest at the peak.
    pub largest: Vec<Share>,
    /// Peak of each phase in host memory.
    pub phases: BTreeMap<String, u64>,
    #[serde(skip)]
    before: Resident,
}

/// How many of the largest are named.
const NAMED: usize = 12;

/// Stacks, buffers of matrix products and rankings, lists of a batch in the making: of the program, and of each thread.
const WORK: u64 = 24 << 20;
const WORK_OF_THREAD: u64 = 4 << 20;

/// Bytes that a run on `device` may take; none where the system does not say.
pub fn limit(device: &Device) -> Result<Option<u64>> {
    match device {
        Device::Cpu => Ok(available()),
        Device::Gpu(gpu) => Ok(Some(gpu.driver().memory()?.0 + gpu.memory_in_use().0)),
    }
}

impl MemoryEstimate {
    /// The estimate for a run of `config` on opened `data`.
    pub fn new(config: &Config, data: &Dataset, device: &Device) -> Result<MemoryEstimate> {
        MemoryEstimate::after(resident().unwrap_or_default(), config, data, device)
    }

    /// As `new`, for a process that held this much before.
    fn after(before: Resident, config: &Config, data: &Dataset, device: &Device) -> Result<MemoryEstimate> {
        let is_gpu = matches!(device, Device::Gpu(_));
        let phases = match models::find(&config.model.name)?.make {
            Make::ClosedForm(_) => closed_form(config, &Counts::new(config, data)),
            Make::Neural(_) => Shapes::new(config, data, is_gpu)?.phases(data),
        };
        let sum = |p: &Phase, of: fn(&Piece) -> bool| p.pieces.iter().filter(|x| of(x)).map(|x| x.bytes).sum::<u64>();
        let (tensor, list) = (|x: &Piece| x.place == Place::Tensor, |x: &Piece| x.place == Place::List);
        let index = |x: &Piece| x.place == Place::Index;
        let host = |p: &Phase| match is_gpu {
            true => sum(p, list) + sum(p, index),
            false => sum(p, |_| true) + p.cached,
        };
        let most = |of: &dyn Fn(&Phase) -> u64| phases.iter().map(of).max().unwrap_or(0);
        let device = if is_gpu { most(&|p| sum(p, tensor) + sum(p, index)) } else { 0 };
        let tensors = if is_gpu { 0 } else { most(&|p| sum(p, tensor)) };
        let score = |p: &&Phase| if is_gpu { sum(p, tensor) } else { host(p) };
        let Some(peak) = phases.iter().max_by_key(score) else {
            return Err(Error::shape("memory estimate", "phases", "none"));
        };
        let mut parts = BTreeMap::new();
        peak.pieces.iter().for_each(|p| *parts.entry(p.part).or_default() += p.bytes);
        let share = |p: &Piece| Share { part: p.part, name: p.name.clone(), bytes: p.bytes };
        let mut largest: Vec<Share> = peak.pieces.iter().filter(|p| p.bytes > 0).map(share).collect();
        largest.sort_by_key(|share| std::cmp::Reverse(share.bytes));
        largest.truncate(NAMED);
        let threads = WORK + WORK_OF_THREAD * rayon::current_num_threads() as u64;
        Ok(MemoryEstimate {
            schema_version: 2,
            // Opening the data set may have taken more than the run will.
            host: (before.now + threads + most(&host)).max(before.peak),
            device,
            tensors,
            tensors_and_lists: tensors + most(&|p| sum(p, index)),
            phase: peak.name.into(),
            opened: before.now,
            mapped: before.files,
            threads,
            cached: peak.cached,
            parts,
            largest,
            phases: phases.iter().map(|p| (p.name.to_string(), host(p))).collect(),
            before,
        })
    }

    /// In a line.
    pub fn summary(&self) -> String {
        let gpu = if self.device > 0 { format!("; on the GPU {}", size(self.device)) } else { String::new() };
        format!("memory estimate: at most {}, in phase `{}`{gpu}", size(self.host), self.phase)
    }

    /// As a table for people.
    pub fn text(&self) -> String {
        let mut text = self.summary();
        let mut row = |name: &str, bytes: u64, more: &str| {
            text += &format!("\n  {name:<42}{:>12}{more}", size(bytes));
        };
        let mapped = match self.mapped {
            0 => String::new(),
            mapped => format!(" ({} of it files)", size(mapped)),
        };
        row("program and data set", self.opened, &mapped);
        row("working memory of threads and libraries", self.threads, "");
        for (part, bytes) in &self.parts {
            row(part.name(), *bytes, "");
        }
        row("cached blocks", self.cached, "");
        text += "\n  largest:";
        for share in &self.largest {
            text += &format!("\n    {:<18}{:<22}{:>12}", share.part.name(), share.name, size(share.bytes));
        }
        text
    }

    /// What has to fit: a GPU's memory where there is one, else the host's.
    pub fn needed(&self) -> u64 {
        if self.device > 0 { self.device } else { self.host }
    }

    /// `Error::Memory` where the run needs more than `limit` bytes, with what would fit. This is the estimate of `config`.
    pub fn fits(&self, limit: u64, config: &Config, data: &Dataset, device: &Device) -> Result<()> {
        if self.needed() <= limit {
            return Ok(());
        }
        let largest = self.largest.iter().take(3).map(|share| format!("{} {}", share.name, size(share.bytes)));
        let why = format!(
            "the run needs {} and may take {}; in phase `{}` the largest are {}",
            size(self.needed()),
            size(limit),
            self.phase,
            largest.collect::<Vec<_>>().join(", ")
        );
        let options = options(config);
        // Each alone, then one after the other.
        let mut trials: Vec<Vec<String>> = options.clone();
        trials.extend((2..=options.len()).map(|n| options[..n].concat()));
        for settings in trials {
            let Ok(other) = config.with(&settings) else { continue };
            let Ok(estimate) = MemoryEstimate::after(self.before, &other, data, device) else { continue };
            let needed = estimate.needed();
            if needed <= limit {
                let set = settings.iter().map(|s| format!("--set '{s}'")).collect::<Vec<_>>().join(" ");
                return Err(Error::Memory { why, remedy: format!("{} would do with {set}", size(needed)) });
            }
        }
        let remedy = "no setting tried would fit: take a machine with more memory or a part of the data set, or set another \
                      --memory-limit";
        Err(Error::Memory { why, remedy: remedy.into() })
    }
}

/// Settings that save memory, those first that change the least of what is learned.
fn options(config: &Config) -> Vec<Vec<String>> {
    let m = &config.model;
    let mut options = vec![];
    if m.fan_out.is_empty()
        && !m.layers.is_empty()
        && m.encoder == EncoderKind::Graph
        && m.propagation == Propagation::Full
    {
        let fan_out: Vec<usize> = (0..m.layers.len()).map(|l| if l == 0 { 10 } else { 5 }).collect();
        options.push(vec![format!("model.fan_out={fan_out:?}")]);
    }
    if !config.kg.shared_state {
        options.push(vec!["kg.shared_state=true".into()]);
    }
    if config.train.batch_size > 256 {
        options.push(vec!["train.batch_size=256".into()]);
    }
    if m.dim > 32 {
        let layers: Vec<usize> = m.layers.iter().map(|&width| width.min(32)).collect();
        options.push(vec!["model.dim=32".into(), format!("model.layers={layers:?}")]);
    }
    if config.train.optimizer != "sgd" {
        options.push(vec!["train.optimizer=sgd".into()]);
    }
    options
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// On the device of the run.
    Tensor,
    /// In host memory.
    List,
    /// In host memory, with a copy on a GPU.
    Index,
}

#[derive(Clone)]
struct Piece {
    place: Place,
    part: Part,
    name: String,
    bytes: u64,
}

/// What is alive at the peak of a phase, and freed blocks that wait for tensors of their sizes.
#[derive(Clone)]
struct Phase {
    name: &'static str,
    pieces: Vec<Piece>,
    cached: u64,
}

fn piece(place: Place, part: Part, name: &str, bytes: usize) -> Piece {
    Piece { place, part, name: name.into(), bytes: bytes as u64 }
}

/// How much more than on average a batch may hold of what varies: histories, and sampled neighbourhoods.
const FULLER: f64 = 1.06;
/// Blocks are rounded up: the mean of what they hold beyond their tensors.
const ROUNDED: f64 = 1.03;
/// Shares of what a step takes for the batch and for the whole graph that stay cached beside its peak: measured, upper.
const CACHED_OF_BATCH: f64 = 0.9;
const CACHED_OF_GRAPH: f64 = 0.3;
/// Chunks in which the CPU sums gradients of MLPs, of at least so many rows, and in which it streams over enrolments.
const MLP_CHUNKS: usize = 32;
const MLP_ROWS: usize = 128;
const STREAM_CHUNKS: usize = 16;

/// Counts of a data set as a run sees it.
#[derive(Default)]
struct Counts {
    learners: usize,
    courses: usize,
    enrolments: usize,
    /// Enrolments that training knows; those to predict, and the learners that have some, in validation and test.
    known: usize,
    relevant: [usize; 2],
    asked: [usize; 2],
    /// Positives of an epoch, and the mean length of their histories and of those of test learners.
    positives: usize,
    history: f64,
    test_history: f64,
    graph: Graph,
    /// Triples that TransD learns.
    taught: usize,
    /// (nodes) edges and groups of each node of the graph.
    degree: Vec<u32>,
    groups: Vec<u32>,
}

/// Sizes of a graph: groups are distinct (dst, relation), `streamed` enrolments that the CPU streams over.
#[derive(Clone, Copy, Default)]
struct Graph {
    num_dst: usize,
    num_src: usize,
    edges: usize,
    groups: usize,
    streamed: usize,
}

impl Graph {
    /// Bytes of its lists.
    fn lists(&self) -> usize {
        let rows = |n: usize| 8 * n + 24 * (n.min(self.edges) + self.edges / 256);
        let streamed = if self.streamed > 0 { 16 * self.streamed + 4 * (self.edges - self.streamed) } else { 0 };
        20 * (self.edges + self.groups)
            + 8 * (2 * self.num_dst + self.num_src)
            + 2 * rows(self.num_dst)
            + rows(self.num_src)
            + rows(self.groups)
            + streamed
    }
}

impl Counts {
    fn new(config: &Config, data: &Dataset) -> Counts {
        let (learners, courses, enrolments) = (data.learners(), data.courses, data.enrolments());
        let mut c = Counts { learners, courses, enrolments, ..Counts::default() };
        let before = match config.train.history {
            KnownHistory::Auto => data.splits_by_time(),
            KnownHistory::Before => true,
            KnownHistory::Others => false,
        };
        let mut known_of = vec![0u32; learners];
        for (u, known_of) in known_of.iter_mut().enumerate() {
            let mut of = [0usize; 3];
            data.rows(u).for_each(|r| of[data.interactions.split[r].index()] += 1);
            let known: usize = train_splits(config).iter().map(|&s| of[s.index()]).sum();
            for i in 0..2 {
                c.relevant[i] += of[1 + i];
                c.asked[i] += usize::from(of[1 + i] > 0);
            }
            *known_of = known as u32;
            c.known += known;
            let drawn = match config.train.positives_per_learner {
                0 => known,
                n => n.min(known),
            };
            c.positives += drawn;
            c.history += drawn as f64 * mean_history(config, before, known);
            c.test_history += if of[2] > 0 { known.min(config.model.max_history) as f64 } else { 0.0 };
        }
        c.history /= c.positives.max(1) as f64;
        c.test_history /= c.asked[1].max(1) as f64;
        c.count_graph(config, data, &known_of);
        c
    }

    fn count_graph(&mut self, config: &Config, data: &Dataset, known_of: &[u32]) {
        if config.model.encoder == EncoderKind::Table {
            let nodes = self.learners + self.courses;
            self.graph = Graph { num_dst: nodes, num_src: nodes, ..Graph::default() };
            return;
        }
        let full = config.model.propagation == Propagation::Full;
        let shift = if full { self.learners } else { 0 };
        let nodes = shift + data.entities();
        (self.degree, self.groups) = (vec![0; nodes], vec![0; nodes]);
        let triples = if config.kg.propagate { &data.triples[..] } else { &[] };
        let ends = |&[h, r, t]: &[u32; 3]| [(h, 2 * r), (t, 2 * r + 1)];
        let mut groups: Vec<(u32, u32)> = triples.iter().flat_map(ends).collect();
        groups.iter().for_each(|(v, _)| self.degree[shift + *v as usize] += 1);
        groups.sort_unstable();
        groups.dedup();
        groups.iter().for_each(|(v, _)| self.groups[shift + *v as usize] += 1);
        if full {
            let courses = data.course_degrees(train_splits(config));
            for (v, &known) in known_of.iter().chain(&courses).enumerate() {
                self.degree[v] += known;
                self.groups[v] += u32::from(known > 0);
            }
        }
        if config.attention.self_loop {
            self.degree.iter_mut().chain(&mut self.groups).for_each(|n| *n += 1);
        }
        let sum = |of: &[u32]| of.iter().map(|&n| n as usize).sum();
        let streams = full && config.model.fan_out.is_empty() && !config.attention.self_loop;
        let streams = streams && self.known >= 128 * self.courses && self.courses <= 64 * 1024;
        let streamed = if streams { self.known } else { 0 };
        self.graph =
            Graph { num_dst: nodes, num_src: nodes, edges: sum(&self.degree), groups: sum(&self.groups), streamed };
        let enrolments = if config.kg.enrolments && full { 2 * self.known } else { 0 };
        self.taught = enrolments + 2 * triples.len();
    }

    /// Nodes, edges and groups of each level of a sampled step on `rows` positives and `pairs` pairs, the batch's own nodes
    /// first: each node is in a level with a chance that follows from those of the nodes that may draw it.
    fn levels(&self, config: &Config, data: &Dataset, rows: usize, pairs: usize) -> Vec<[usize; 3]> {
        let (n, shift, splits) = (self.graph.num_dst, self.learners, train_splits(config));
        let each = rows as f64 / self.known.max(1) as f64;
        let negatives = (pairs - rows) as f64 / self.courses.max(1) as f64;
        let mut level = vec![0f64; n];
        for (p, &known) in level.iter_mut().zip(&self.degree[..shift]) {
            *p = 1.0 - (-each * f64::from(known)).exp();
        }
        for (p, &known) in level[shift..].iter_mut().zip(&data.course_degrees(splits)) {
            let all = config.loss.ranking == Ranking::Softmax;
            *p = if all { 1.0 } else { 1.0 - (-each * f64::from(known) - negatives).exp() };
        }
        let mut levels = vec![];
        for &k in &config.model.fan_out {
            let drawn = |v: usize| f64::from(self.degree[v].min(k as u32));
            let sum = |of: &dyn Fn(usize) -> f64| (0..n).map(|v| level[v] * of(v)).sum::<f64>();
            let groups = |v: usize| drawn(v).min(f64::from(self.groups[v]));
            levels.push([sum(&|_| 1.0), sum(&drawn), sum(&groups)].map(|x| (FULLER * x) as usize));
            let share: Vec<f64> = (0..n).map(|v| level[v] * drawn(v) / f64::from(self.degree[v].max(1))).collect();
            let mut draws = vec![0f64; n];
            let mut edge = |a: usize, b: usize| {
                draws[b] += share[a];
                draws[a] += share[b];
            };
            for u in 0..self.learners {
                for r in data.rows(u).filter(|&r| splits.contains(&data.interactions.split[r])) {
                    edge(u, shift + data.interactions.course[r] as usize);
                }
            }
            if config.kg.propagate {
                data.triples.iter().for_each(|&[h, _, t]| edge(shift + h as usize, shift + t as usize));
            }
            level.iter_mut().zip(draws).for_each(|(p, draws)| *p = 1.0 - (1.0 - *p) * (-draws).exp());
        }
        levels.push([(FULLER * level.iter().sum::<f64>()) as usize, 0, 0]);
        levels
    }
}

/// Mean length of the history of a drawn positive of a learner with `known` enrolments: those before it, or all others.
fn mean_history(config: &Config, before: bool, known: usize) -> f64 {
    let late = config.train.positives_per_learner > 0 && config.train.draw == PositiveDraw::Late;
    let (mut sum, mut weights) = (0.0, 0.0);
    for i in 0..known {
        let weight = if late { (i + 1) as f64 } else { 1.0 };
        let length = (if before { i } else { known - 1 }) as f64 * f64::from(1.0 - config.model.history_dropout);
        sum += weight * length.min(config.model.max_history as f64);
        weights += weight;
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// Distinct numbers among `draws` of `n`, on average.
fn distinct(draws: usize, n: usize) -> usize {
    let n = n.max(1) as f64;
    (n * (1.0 - (-(draws as f64) / n).exp())).round() as usize
}

/// Models with a solution in closed form: they have no tensors but their table.
fn closed_form(config: &Config, c: &Counts) -> Vec<Phase> {
    let matrix = c.courses * c.courses;
    let (table, work) = match config.model.name.as_str() {
        "ease" => (4 * matrix, 12 * matrix),
        "itemknn" => (4 * matrix, if config.rankers.itemknn_neighbours > 0 { 8 } else { 4 } * matrix),
        _ => (4 * c.courses, 0),
    };
    let rows = BLOCK.min(c.asked[1]) * (table / c.courses.max(1));
    let courses = piece(Place::Tensor, Part::Parameters, "courses", table);
    let solve = vec![
        courses.clone(),
        piece(Place::List, Part::Batch, "courses of learners", 8 * c.known + 24 * c.learners),
        piece(Place::List, Part::Activations, "solution", work),
    ];
    let test = vec![
        courses.clone(),
        piece(Place::Tensor, Part::Ranking, "learners", rows),
        piece(Place::List, Part::Ranking, "courses and learners", table + rows),
    ];
    let phase = |name, pieces| Phase { name, pieces, cached: 0 };
    let restore = vec![courses.clone(), piece(Place::Tensor, Part::Parameters, "courses as read", table)];
    vec![phase("steps", solve), phase("restore", restore), phase("test", test)]
}

/// Floats of a step: of the batch and of the whole graph, kept from forward to backward, and what a backward pass takes
/// beside them.
#[derive(Clone, Copy, Default)]
struct Step {
    batch: usize,
    graph: usize,
    head_backward: usize,
    graph_backward: usize,
}

/// A model by its sizes.
struct Shapes<'a> {
    config: &'a Config,
    c: Counts,
    tasks: usize,
    is_gpu: bool,
    /// D, the width of Z.
    width: usize,
    /// Floats of E or P; of tables of learners and outcomes; of all other parameters.
    table: usize,
    tables: usize,
    others: usize,
    relations: usize,
    /// Floats of the head's parameters, and of what it makes of a pair.
    head: usize,
    of_pair: usize,
    /// Of those the features, and the outputs of MLPs over them.
    features: usize,
    outputs: usize,
    /// Whether the encoder has projections.
    has_projections: bool,
    /// Losses whose gradients are weighted, and the walks of the tape in a step.
    walks: usize,
    /// State tensors that the optimizer keeps of a parameter.
    states: usize,
}

impl<'a> Shapes<'a> {
    fn new(config: &'a Config, data: &Dataset, is_gpu: bool) -> Result<Shapes<'a>> {
        let c = Counts::new(config, data);
        let (m, n, rm) = (&config.model, config.model.dim, config.relation_dim());
        let tasks = models::task_names(config, data)?.len();
        let width = match m.stack {
            Stack::Concat => n + m.layers.iter().sum::<usize>(),
            _ => m.layers.last().copied().unwrap_or(n),
        };
        let head = models::head_params(config, width, tasks)?;
        let has_projections = m.encoder != EncoderKind::Table && m.aggregator != Aggregator::Light;
        let relations = 2 * data.relations() + 3;
        let free =
            m.propagation == Propagation::History && matches!(m.learner, LearnerInit::Free | LearnerInit::FreeHistory);
        let outcomes = match m.history_labels {
            HistoryLabels::None => 0,
            HistoryLabels::Shared => n << data.labels.len().min(16),
            HistoryLabels::Course => (c.courses * n) << data.labels.len().min(16),
        };
        let mut others = relations * 2 * rm + head.elements() + c.courses;
        let mut from = n;
        for &to in m.layers.iter().filter(|_| m.aggregator != Aggregator::Light) {
            others += 2 * (from + 1) * to;
            from = to;
        }
        others += if m.course_output == CourseOutput::Separate { c.courses * n } else { 0 };
        // Layers' outputs, and what towers read.
        let weights = || head.iter().filter(|p| p.name.ends_with(".w")).map(|p| (&p.name, p.value.shape()));
        let fused = weights().filter(|(name, _)| name.starts_with("tower") && name.ends_with(".0.w"));
        let layers: usize = weights().map(|(_, (_, cols))| cols).sum();
        let features = if head.is_empty() { 0 } else { config.head.bottom.width(width) };
        let of_pair = features + layers + fused.map(|(_, (rows, _))| rows).sum::<usize>();
        let inner = |name: &str| !["tower", "gate", "aux"].iter().any(|part| name.starts_with(part));
        let last = config.head.widths.last().copied().unwrap_or(0);
        let outputs = weights().filter(|(name, (_, cols))| inner(name) && *cols == last).map(|(_, (_, cols))| cols);
        let outputs: usize = outputs.sum();
        let decomposed = head.iter().any(|p| p.name.starts_with("specific"));
        let weight = |task: usize| config.loss.task_weights.get(task).copied().unwrap_or(1.0);
        let walks = match config.weighting.combine {
            Combine::Sum => 1,
            _ => {
                (0..tasks).filter(|&task| weight(task) != 0.0).count()
                    + usize::from(config.loss.ranking != Ranking::Bce)
                    + usize::from(decomposed && config.loss.aux_weight != 0.0)
                    + usize::from(decomposed && config.loss.orth_weight != 0.0)
            }
        };
        Ok(Shapes {
            config,
            tasks,
            is_gpu,
            width,
            table: c.graph.num_dst * n,
            tables: outcomes + if free { 2 * c.learners * n } else { 0 },
            others,
            relations,
            head: head.elements(),
            of_pair,
            features,
            outputs,
            has_projections,
            walks,
            states: optim::named(&config.train.optimizer)?.states().len(),
            c,
        })
    }

    fn is_differentiated(&self) -> bool {
        self.config.attention.mode == AttentionMode::Differentiated
    }

    fn reads_projections(&self) -> bool {
        self.has_projections && (self.is_differentiated() || self.config.attention.message == Message::Projected)
    }

    /// Floats of attention over a graph.
    fn attention(&self, g: &Graph) -> usize {
        let (n, m) = (self.config.model.dim, self.config.relation_dim());
        let half = if self.config.model.storage == DType::F32 { 0 } else { g.groups * m / 2 + g.num_src * n };
        g.groups * (m + 3) + g.num_dst * (n + 1) + g.num_src + g.edges + g.streamed + half
    }

    /// Columns of the states that layer `l` reads.
    fn layer_width(&self, l: usize) -> usize {
        if l == 0 { self.config.model.dim } else { self.config.model.layers[l - 1] }
    }

    /// Floats of layer `l + 1` of the dst nodes, with its messages.
    fn layer(&self, g: &Graph, l: usize) -> usize {
        let (from, to) = (self.layer_width(l), self.config.model.layers[l]);
        let messages = if l == 0 && self.is_differentiated() { 0 } else { g.num_dst * from };
        let projected = self.config.attention.message == Message::Projected;
        let projected = if projected { g.num_src + 2 * g.num_dst * from } else { 0 };
        let half = if self.config.model.storage == DType::F32 { 0 } else { g.num_src * from / 2 };
        let layer = match self.config.model.aggregator {
            Aggregator::Light => 0,
            // The CPU keeps signs, a byte each.
            Aggregator::Bi if !self.is_gpu => g.num_dst * (to + to / 4),
            Aggregator::Bi => 3 * g.num_dst * to,
            Aggregator::Gcn | Aggregator::Graphsage => 2 * g.num_dst * to,
        };
        messages + projected + half + layer
    }

    /// Floats of the layers over one graph; in a backward pass those of all states' gradients, and of the widest messages'
    /// or of the attention's.
    fn propagation(&self, g: &Graph) -> (usize, usize) {
        let layers = &self.config.model.layers;
        if layers.is_empty() {
            return (0, 0);
        }
        let (differentiated, n) = (self.is_differentiated(), self.config.model.dim);
        let attention = if differentiated { self.attention(g) } else { 0 };
        let kept = attention + (0..layers.len()).map(|l| self.layer(g, l)).sum::<usize>();
        let widest = layers.iter().copied().fold(n, usize::max);
        // A layer that only gathers is its messages.
        let light = self.config.model.aggregator == Aggregator::Light;
        let of_attention = g.groups * (self.config.relation_dim() + 3) + g.edges + g.num_dst * (n + 2) + g.streamed;
        let sums = if g.streamed > 0 { STREAM_CHUNKS * self.c.courses * (n + 2) } else { 0 };
        let backward = g.num_dst * layers.iter().sum::<usize>()
            + sums
            + (if light { 0 } else { g.num_dst * widest }).max(if differentiated { of_attention } else { 0 });
        (kept, backward)
    }

    /// Floats of Z of some rows, and of what it is made from.
    fn stack(&self, rows: usize) -> usize {
        let model = &self.config.model;
        if model.layers.is_empty() {
            return rows * model.dim;
        }
        let copies = 1 + usize::from(model.normalize) + usize::from(model.layer_scale != 1.0);
        rows * (self.width + model.dim + copies * model.layers.iter().sum::<usize>())
    }

    /// The graph from learners to the courses of their histories.
    fn history_graph(&self, rows: usize, mean: f64) -> Graph {
        let edges = (rows as f64 * mean) as usize;
        Graph { num_dst: rows, num_src: self.c.graph.num_dst, edges, groups: rows.min(edges), streamed: 0 }
    }

    /// Floats of learners that are represented by their histories.
    fn histories(&self, g: &Graph) -> usize {
        let attention = match self.config.attention.mode {
            AttentionMode::Laplacian | AttentionMode::Symmetric => g.edges,
            AttentionMode::Refreshed | AttentionMode::Differentiated => self.attention(g),
        };
        let layers: usize = (0..self.config.model.layers.len()).map(|l| self.layer(g, l)).sum();
        let outcomes = if self.config.model.history_labels == HistoryLabels::None { 0 } else { 2 };
        attention + layers + g.num_dst * self.config.model.dim * (4 + outcomes)
    }

    /// A step on `rows` positives; `levels` of a sampled one.
    fn step(&self, rows: usize, pairs: usize, courses: usize, levels: &[[usize; 3]]) -> Step {
        let (c, d, n) = (&self.c, self.width, self.config.model.dim);
        let mut step = Step::default();
        if levels.is_empty() {
            (step.graph, step.graph_backward) = self.propagation(&c.graph);
        } else {
            let tables = 1 + usize::from(self.reads_projections());
            step.batch += tables * n * levels.iter().map(|level| level[0]).sum::<usize>();
            for l in 0..levels.len() - 1 {
                let h = levels.len() - 2 - l;
                let [num_dst, edges, groups] = levels[h];
                let g = Graph { num_dst, num_src: levels[h + 1][0], edges, groups, streamed: 0 };
                let attention = if self.is_differentiated() { self.attention(&g) } else { edges };
                let below: usize = levels[..h].iter().map(|level| level[0]).sum();
                let kept = attention + self.layer(&g, l) + below * self.config.model.layers[l];
                step.batch += kept;
                step.graph_backward += kept * 3 / 4;
            }
        }
        if self.config.model.propagation == Propagation::History {
            let histories = self.histories(&self.history_graph(rows, FULLER * c.history));
            step.batch += histories;
            step.graph_backward += histories / 2;
        }
        step.batch += self.stack(rows) + self.stack(courses);
        step.batch += match self.config.loss.ranking {
            Ranking::Bce => 0,
            Ranking::Bpr => rows * (2 * d + 1),
            Ranking::Softmax => rows * d + courses * (d + 1),
        };
        step.batch += pairs * (2 * d + self.of_pair + 7 * self.tasks);
        if self.head > 0 {
            // Gradients of the features and of what the MLPs make of them, with sums of their parameters' gradients; then of
            // the features and of Z.
            let chunk = pairs.div_ceil(MLP_CHUNKS).next_multiple_of(MLP_ROWS);
            let chunks = if self.is_gpu { pairs.div_ceil(1024) } else { pairs.div_ceil(chunk.max(1)) };
            let mlps = pairs * (self.features + self.outputs) + chunks * self.head * 9 / 10;
            step.head_backward = mlps.max(pairs * (self.features + 2 * d));
        }
        step
    }

    /// Floats of a step on triples: kept, and those of the parameters' gradients.
    fn triples(&self, triples: usize, nodes: usize) -> [usize; 2] {
        let (n, m) = (self.config.model.dim, self.config.relation_dim());
        let kept = match self.is_gpu {
            true => triples * (4 * m + 7),
            false => triples * 16 + distinct(3 * triples, nodes) * 2 * (m + 1) + nodes,
        };
        [kept + 34 * self.relations * 2 * m, nodes * 2 * n + 2 * self.relations * m]
    }

    fn phases(&self, data: &Dataset) -> Vec<Phase> {
        use Part::*;
        use Place::*;
        let (config, c, n) = (self.config, &self.c, self.config.model.dim);
        let rounded = if self.is_gpu { 1.0 } else { ROUNDED };
        let floats =
            |part, name: &str, floats: usize| piece(Tensor, part, name, (4.0 * rounded * floats as f64) as usize);
        let sampled = !config.model.fan_out.is_empty();
        let tables = if self.has_projections { 2 } else { 1 };
        let parameters = vec![
            floats(Parameters, "entity", self.table),
            floats(Parameters, "entity_proj", (tables - 1) * self.table),
            floats(Parameters, "learners and outcomes", self.tables),
            floats(Parameters, "layers, relations and head", self.others),
        ];
        let mut held = parameters.clone();
        held.push(piece(Index, Part::Graph, "graph", c.graph.lists()));
        let constant = !self.is_differentiated() && config.model.encoder == EncoderKind::Graph;
        held.push(floats(Part::Graph, "attention", if constant { c.graph.edges } else { 0 }));
        held.push(piece(List, Part::Graph, "attention", if constant && sampled { 4 * c.graph.edges } else { 0 }));
        let mut build = held.clone();
        build.push(piece(List, Part::Graph, "edges being sorted", 40 * c.graph.edges));
        let mut phases = vec![Phase { name: "build", pieces: build, cached: 0 }];

        let taught = if config.kg.phase == KgPhase::Off { 0 } else { c.taught };
        held.push(piece(List, Batch, "positives", 16 * c.positives.max(c.known) + 12 * c.learners));
        let mut samplers = held.clone();
        samplers.push(piece(List, Batch, "triples", if taught > 0 { 16 * c.graph.edges + 12 * taught } else { 0 }));
        phases.push(Phase { name: "samplers", pieces: samplers, cached: 0 });
        held.push(piece(List, Batch, "triples", if taught > 0 { 24 * taught + 8 * c.graph.num_dst } else { 0 }));

        // Steps on interactions.
        let rows = config.train.batch_size.min(c.positives);
        let pairs = rows * (1 + if c.courses > 1 { config.train.negatives } else { 0 });
        let levels = if sampled { c.levels(config, data, rows, pairs) } else { vec![] };
        let courses = match config.loss.ranking {
            crate::config::Ranking::Bce | crate::config::Ranking::Bpr if sampled => distinct(pairs, c.courses),
            _ => c.courses,
        };
        let mut step = self.step(rows, pairs, courses, &levels);
        let on_tape = levels.last().map_or(c.graph.num_dst, |level| level[0]);
        let mut gradient = (1 + usize::from(self.reads_projections())) * on_tape * n + self.tables + self.others;
        let mut gradients = self.walks * gradient;
        let joint = config.kg.is_joint(self.tasks) && taught > 0;
        let of_triples = config.kg.batch_size.min(taught);
        if joint {
            let [kept, gradient] = self.triples(of_triples, on_tape);
            step.batch += kept;
            gradients += if config.weighting.combine == Combine::Sum { 0 } else { gradient };
        }
        gradient = gradient.min(gradients);
        let head = step.head_backward.saturating_sub(gradient);
        let backward = head.max(step.graph_backward);
        let states = self.states;
        let projections = usize::from(self.reads_projections() || (joint && self.has_projections));
        let main = states * ((1 + projections) * self.table + self.tables + self.others);
        let of_kg = states * (tables * self.table + 2 * self.relations * config.relation_dim());
        let separate = taught > 0 && !joint;
        // States of the triples' phase are there from the second epoch's steps on.
        let later = match (separate, config.kg.shared_state) {
            (false, _) => 0,
            (true, true) => states * (tables - 1 - projections) * self.table,
            (true, false) => of_kg,
        };
        let epochs = config.train.epochs;
        held.push(floats(OptimizerStates, "of interactions", main));
        let batch_lists = self.batch_lists(rows, pairs, &levels);
        let mut steps = held.clone();
        steps.extend([
            floats(OptimizerStates, "of triples", if epochs > 1 { later } else { 0 }),
            floats(Activations, "batch", step.batch),
            floats(Activations, "graph", step.graph),
            floats(Gradients, "of parameters", gradients),
            floats(Gradients, "of activations", backward),
            floats(Batch, "labels", pairs * self.tasks * 2),
            piece(Index, Batch, "lists of the batch", batch_lists),
            piece(List, Batch, "batch", pairs * (8 + 8 * self.tasks) + rows * (16 + 5 * c.history as usize)),
        ]);
        let is_captured = self.captured(rows, joint);
        let captured = floats(
            Activations,
            "captured step",
            if is_captured { step.batch + step.graph + gradients + backward } else { 0 },
        );
        let cached = CACHED_OF_BATCH * step.batch as f64 + CACHED_OF_GRAPH * (step.graph + gradients) as f64;
        phases.push(Phase { name: "steps", pieces: steps, cached: (4.0 * cached) as u64 });
        let before = held.clone();
        held.push(captured);
        // The last batch of an epoch has another size and runs kernel by kernel, beside the captured step.
        let rest = c.positives % rows.max(1);
        if is_captured && rest > 0 {
            let last = self.step(rest, pairs * rest / rows, courses, &levels);
            let mut pieces = before;
            pieces.extend([
                held[held.len() - 1].clone(),
                floats(OptimizerStates, "of triples", if epochs > 1 { later } else { 0 }),
                floats(Activations, "of the last batch", last.batch + last.graph),
                floats(Gradients, "of the last batch", gradients + backward),
                piece(Index, Batch, "lists of both batches", 2 * batch_lists),
            ]);
            phases.push(Phase { name: "last step of an epoch", pieces, cached: 0 });
        }

        // Steps on triples.
        if separate {
            held.push(floats(OptimizerStates, "of triples", later));
            let nodes = if sampled { distinct(4 * of_triples, c.graph.num_dst) } else { c.graph.num_dst };
            let [kept, gradient] = self.triples(of_triples, nodes);
            let rows = if sampled { 2 * nodes * n } else { 0 };
            let mut pieces = held.clone();
            pieces.extend([
                floats(Activations, "triples", kept + rows),
                floats(Gradients, "of parameters", gradient),
                piece(Index, Batch, "lists of triples", 100 * of_triples),
            ]);
            phases.push(Phase { name: "triples", pieces, cached: 4 * kept as u64 });
        }

        // Rankings.
        let validates = !config.train.include_valid;
        if validates {
            let asked = match config.train.valid_learners {
                0 => c.asked[0],
                n => n.min(c.asked[0]),
            };
            phases.push(self.ranking("validation", held.clone(), asked, 0, &floats));
        }
        held.retain(|p| p.part != OptimizerStates && p.name != "captured step");
        if validates {
            let mut restore = held.clone();
            restore.extend(parameters.iter().map(|p| Piece { name: format!("{} as read", p.name), ..p.clone() }));
            restore.push(piece(List, Parameters, "a tensor as read", 4 * self.table.max(self.tables / 2)));
            phases.push(Phase { name: "restore", pieces: restore, cached: 0 });
        }
        held.retain(|p| p.part != Batch);
        phases.push(self.ranking("test", held, c.asked[1], 1, &floats));
        phases
    }

    /// Bytes of the lists of a batch.
    fn batch_lists(&self, rows: usize, pairs: usize, levels: &[[usize; 3]]) -> usize {
        let mut bytes = 40 * pairs + 80 * rows;
        for (h, [num_dst, edges, groups]) in levels.iter().copied().enumerate() {
            let num_src = levels.get(h + 1).map_or(0, |level| level[0]);
            bytes += match num_src {
                0 => 4 * num_dst,
                _ => Graph { num_dst, num_src, edges, groups, streamed: 0 }.lists() + 32 * num_dst + 4 * edges,
            };
        }
        if self.config.model.propagation == Propagation::History {
            let graph = self.history_graph(rows, FULLER * self.c.history).lists();
            bytes += if self.config.model.history_labels == HistoryLabels::None { graph } else { 2 * graph };
        }
        bytes
    }

    /// Whether steps are captured on a GPU: there are several of them, and nothing blocks it (`Model::graph_blocker`).
    fn captured(&self, rows: usize, joint: bool) -> bool {
        let c = self.config;
        let masks = c.loss.ranking == Ranking::Softmax && c.loss.softmax_mask_seen;
        self.is_gpu
            && self.c.positives >= 2 * rows
            && c.train.cuda_graph == CudaGraph::Auto
            && c.model.fan_out.is_empty()
            && c.model.propagation == Propagation::Full
            && !(masks || joint || matches!(c.weighting.combine, Combine::PcGrad | Combine::CaGrad))
    }

    /// The ranking of `asked` learners, in blocks.
    fn ranking(
        &self,
        name: &'static str,
        held: Vec<Piece>,
        asked: usize,
        part: usize,
        floats: &dyn Fn(Part, &str, usize) -> Piece,
    ) -> Phase {
        let (c, g, d, layers) = (&self.c, &self.c.graph, self.width, &self.config.model.layers);
        let rows = BLOCK.min(asked);
        let states = g.num_dst * layers.iter().sum::<usize>();
        let widest = layers.iter().copied().fold(self.config.model.dim, usize::max);
        let attention = if self.is_differentiated() && !layers.is_empty() { self.attention(g) } else { 0 };
        let messages = if layers.is_empty() { 0 } else { g.num_dst * widest + g.edges };
        let encode = attention.saturating_sub(states).max(messages);
        let graph = self.history_graph(rows, c.test_history);
        let is_history = self.config.model.propagation == Propagation::History;
        let learners = self.stack(rows) + if is_history { self.histories(&graph) } else { 0 };
        let judged = 2 * rows * c.relevant[part] / c.asked[part].max(1);
        let block = learners + judged * (2 * d + self.of_pair + 2 * self.tasks);
        let lists = 40 * judged + 20 * rows + if is_history { graph.lists() } else { 0 };
        let scores = 2 * asked * c.relevant[part] / c.asked[part].max(1) * (5 * self.tasks + 8);
        let mut pieces = held;
        pieces.extend([
            floats(Part::Ranking, "layers of nodes", states + self.stack(c.courses)),
            floats(Part::Ranking, "encoding or a block", encode.max(block)),
            piece(Place::Index, Part::Ranking, "lists of a block", lists),
            piece(Place::List, Part::Ranking, "courses of learners", 4 * c.enrolments + 20 * c.learners + scores),
        ]);
        let cached = (4.0 * CACHED_OF_BATCH * block as f64) as u64;
        Phase { name, pieces, cached }
    }
}
