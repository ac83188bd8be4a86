//! The phases of a run, with what each takes.

use super::counts::{Counts, GraphSize, distinct, graph_lists, rows_lists};
use super::forward::{Shapes, Work};
use super::ledger::{Ledger, Part, Peaks, Piece, Place};
use super::tape::{Grads, ShadowTape, Var};
use crate::Result;
use crate::config::{
    AttentionMode, Combine, Config, CudaGraph, EncoderKind, HistoryLabels, KgPhase, LabelSpace, Propagation,
    Ranking,
};
use crate::data::Dataset;
use crate::eval::BLOCK;
use crate::models::{self, Kind};
use crate::train::run::train_splits;

/// How much more than on average a batch may hold of what varies: histories, and sampled neighborhoods.
const FULLER: f64 = 1.06;

pub(super) fn peaks(config: &Config, data: &Dataset, tasks: usize, on_gpu: bool) -> Result<Peaks> {
    let splits = train_splits(config);
    let counts = Counts::new(config, data, splits);
    let mut ledger = Ledger::new(on_gpu);
    if let Kind::ClosedForm(_) = models::kind(config)? {
        closed_form(config, &counts, &mut ledger);
        return Ok(ledger.peak);
    }
    let shapes = Shapes::new(config, &counts, data.labels.len(), tasks, on_gpu)?;
    let joint = config.kg.is_joint(tasks) && counts.taught > 0;
    let work = |rows: usize, fuller: f64| {
        let triples = if joint { config.kg.batch_size.min(counts.taught) } else { 0 };
        let mut work = Work {
            rows,
            pairs: counts.pairs(config, rows),
            history: (rows as f64 * counts.history * fuller) as usize,
            triples,
            ..Work::default()
        };
        if !config.model.fan_out.is_empty() {
            let extra = distinct(3 * triples, counts.graph.heads);
            work.levels = counts.levels(config, (data, splits), rows, extra);
            let more = |n: &mut usize| *n = (*n as f64 * fuller) as usize;
            work.levels.iter_mut().flatten().for_each(more);
            work.courses = counts.courses_of_batch(config, rows);
        }
        work
    };
    let rows = config.train.batch_size.min(counts.positives);
    let last = counts.positives % rows.max(1);
    let mut steps = vec![work(rows, FULLER)];
    if last > 0 {
        steps.push(work(last, 1.0));
    }
    let mut run = Schedule { config, counts: &counts, shapes, ledger: &mut ledger, main: vec![], kg: vec![] };
    run.all(&steps, joint);
    Ok(ledger.peak)
}

/// Models with a solution in closed form: they have no tensors but their table.
fn closed_form(config: &Config, c: &Counts, ledger: &mut Ledger) {
    let matrix = c.courses * c.courses;
    let (table, work) = match config.model.name.as_str() {
        "ease" => (4 * matrix, 12 * matrix),
        "itemknn" => (4 * matrix, if config.rankers.itemknn_neighbours > 0 { 8 } else { 4 } * matrix),
        _ => (4 * c.courses, 0),
    };
    ledger.begin("steps");
    let lists = ledger.take(Place::List, Part::Batch, "courses of learners", 8 * c.known + 24 * c.learners);
    let solving = ledger.take(Place::List, Part::Activations, "solving", work);
    ledger.take(Place::Tensor, Part::Parameters, "courses", table);
    ledger.free(solving);
    ledger.free(lists);
    ledger.begin("test");
    let rows = BLOCK.min(c.asked[1]) * (table / c.courses.max(1));
    ledger.take(Place::Tensor, Part::Ranking, "learners", rows);
    ledger.take(Place::List, Part::Ranking, "courses", table);
    ledger.take(Place::List, Part::Ranking, "learners", rows);
}

struct Schedule<'a> {
    config: &'a Config,
    counts: &'a Counts,
    shapes: Shapes<'a>,
    ledger: &'a mut Ledger,
    /// States of each parameter in the optimizer of interactions, and in that of triples.
    main: Vec<Option<Piece>>,
    kg: Vec<Option<Piece>>,
}

impl Schedule<'_> {
    fn all(&mut self, steps: &[Work], joint: bool) {
        self.build();
        self.samplers();
        let taught = if self.config.kg.phase == KgPhase::Off || joint { 0 } else { self.counts.taught };
        let mut captured = None;
        for _ in 0..self.config.train.epochs.clamp(1, 2) {
            self.ledger.begin("steps");
            for (i, work) in steps.iter().enumerate() {
                self.step(work);
                if i == 0 && captured.is_none() && self.captures(work, joint) {
                    self.ledger.empty_cache();
                    self.step(work);
                    let bytes = self.ledger.of_capture();
                    captured =
                        Some(self.ledger.take(Place::Tensor, Part::Activations, "captured step", bytes));
                }
            }
            if taught > 0 {
                self.ledger.begin("triples");
                self.triples(self.config.kg.batch_size.min(taught));
            }
            if !self.config.train.include_valid {
                let asked = match self.config.train.valid_learners {
                    0 => self.counts.asked[0],
                    n => n.min(self.counts.asked[0]),
                };
                self.ledger.begin("validation");
                self.rank(asked, 0);
            }
        }
        self.ledger.begin("restore");
        let states = self.main.drain(..).chain(self.kg.drain(..)).flatten();
        states.chain(captured).for_each(|piece| self.ledger.free(piece));
        if !self.config.train.include_valid {
            // The checkpoint is read before its tensors replace those of the model.
            let read: Vec<Piece> = self.parameters("read from the checkpoint");
            let largest = self.shapes.params.iter().map(|p| p.rows * p.cols).max().unwrap_or(0);
            self.ledger.touch(Place::List, Part::Parameters, "a tensor of the checkpoint", 4 * largest);
            read.into_iter().for_each(|piece| self.ledger.free(piece));
        }
        self.ledger.begin("test");
        self.rank(self.counts.asked[1], 1);
    }

    /// Whether steps like this are captured: there are several of them, and nothing blocks it (`Model::graph_blocker`).
    fn captures(&self, work: &Work, joint: bool) -> bool {
        let c = self.config;
        self.shapes.on_gpu
            && self.counts.positives >= 2 * work.rows
            && c.train.cuda_graph == CudaGraph::Auto
            && c.model.fan_out.is_empty()
            && c.model.propagation == Propagation::Full
            && !(c.loss.ranking == Ranking::Softmax && c.loss.softmax_mask_seen)
            && !matches!(c.weighting.combine, Combine::PcGrad | Combine::CaGrad)
            && !joint
    }

    fn parameters(&mut self, name: &str) -> Vec<Piece> {
        let take = |p: &super::forward::Shape| {
            let name = if name.is_empty() { &p.name } else { name };
            self.ledger.take(Place::Tensor, Part::Parameters, name, 4 * p.rows * p.cols)
        };
        self.shapes.params.iter().map(take).collect()
    }

    fn build(&mut self) {
        let (g, table) = (self.counts.graph, self.config.model.encoder == EncoderKind::Table);
        let edges = self.ledger.take(Place::List, Part::Graph, "edges", 16 * g.edges);
        self.parameters("");
        let sorted = self.ledger.take(Place::List, Part::Graph, "edges being sorted", 24 * g.edges);
        self.ledger.take(Place::Index, Part::Graph, "graph", graph_lists(&g));
        self.ledger.free(sorted);
        self.ledger.free(edges);
        if self.config.attention.mode != AttentionMode::Differentiated && !table {
            self.ledger.take(Place::Tensor, Part::Graph, "attention", 4 * g.edges);
            self.ledger.touch(Place::List, Part::Graph, "attention", 12 * g.edges);
            if !self.config.model.fan_out.is_empty() {
                self.ledger.take(Place::List, Part::Graph, "attention", 4 * g.edges);
            }
        }
    }

    fn samplers(&mut self) {
        self.ledger.begin("samplers");
        let c = self.counts;
        let taught = if self.config.kg.phase == KgPhase::Off { 0 } else { c.taught };
        self.ledger.take(Place::List, Part::Batch, "positives", 12 * c.known + 12 * c.learners);
        if taught > 0 {
            self.ledger.touch(Place::List, Part::Batch, "triples", 16 * c.graph.edges + 12 * taught);
            self.ledger.take(Place::List, Part::Batch, "triples", 20 * taught + 8 * c.graph.heads);
        }
        self.ledger.take(Place::List, Part::Batch, "order of the epoch", 4 * c.positives + 4 * taught);
    }

    /// Lists and tensors of a batch.
    fn batch(&mut self, w: &Work) -> Vec<Piece> {
        let (c, config, tasks, on_gpu) = (self.counts, self.config, self.shapes.tasks, self.shapes.on_gpu);
        let masked = 1 + usize::from(config.loss.label_space == LabelSpace::Enrolled);
        let courses = if w.courses > 0 { w.courses } else { c.courses };
        let of_pairs =
            rows_lists(w.pairs, w.rows, on_gpu) + rows_lists(w.pairs, distinct(w.pairs, courses), on_gpu);
        let mut lists =
            of_pairs + rows_lists(w.rows, w.rows, on_gpu) + rows_lists(w.triples * 5, w.triples * 3, on_gpu);
        if config.loss.ranking == Ranking::Bpr {
            lists += 2 * rows_lists(w.rows, distinct(w.rows, courses), on_gpu);
        }
        for (h, [heads, edges, groups]) in w.levels.iter().copied().enumerate() {
            if let Some([tails, ..]) = w.levels.get(h + 1).copied() {
                let relations = c.graph.relations;
                lists += graph_lists(&GraphSize { heads, tails, edges, groups, relations, streamed: (0, 0) });
                lists += rows_lists(heads, heads, on_gpu) + 4 * edges + 4 * heads;
            }
        }
        if let Some([nodes, ..]) = w.levels.last() {
            lists += 4 * nodes + w.levels.len() * c.graph.heads / 5;
            lists += rows_lists(w.courses, w.courses, on_gpu);
        }
        if config.model.propagation == Propagation::History {
            let graph = graph_lists(&self.shapes.history_graph(w.rows, w.history));
            lists += graph * if config.model.history_labels == HistoryLabels::None { 1 } else { 2 };
            if self.shapes.place("learner").is_some() {
                lists += 2 * rows_lists(w.rows, w.rows, on_gpu);
            }
        }
        let host = w.pairs * (8 + 4 * tasks * masked) + 16 * w.rows + 5 * w.history;
        let labels = 4 * w.pairs * tasks * masked * if config.loss.aux_weight != 0.0 { 2 } else { 1 };
        vec![
            self.ledger.take(Place::List, Part::Batch, "batch", host),
            self.ledger.take(Place::Index, Part::Batch, "lists of the batch", lists),
            self.ledger.take(Place::Tensor, Part::Batch, "labels", labels),
        ]
    }

    fn step(&mut self, w: &Work) {
        let batch = self.batch(w);
        let parameters = self.shapes.params.len();
        let compact = w
            .levels
            .last()
            .map(|level| (level[0], self.shapes.reads_projections() || w.triples > 0, w.courses));
        let mut tape = ShadowTape::new(self.ledger, false);
        self.shapes.on_tape(&mut tape, compact);
        let losses = self.shapes.losses(&mut tape, w);
        let mut grads: Vec<Grads> = vec![];
        if self.config.weighting.combine == Combine::Sum {
            let all: Vec<Var> = losses.weighted.iter().chain(&losses.constraints).copied().collect();
            grads.push(tape.backward(&all, parameters));
        } else {
            grads.extend(losses.weighted.iter().map(|&loss| tape.backward(&[loss], parameters)));
            if !losses.constraints.is_empty() {
                grads.push(tape.backward(&losses.constraints, parameters));
            }
        }
        tape.end();
        self.update(grads, false);
        batch.into_iter().for_each(|piece| self.ledger.free(piece));
    }

    fn triples(&mut self, triples: usize) {
        let (nodes, on_gpu) = (distinct(4 * triples, self.counts.graph.heads), self.shapes.on_gpu);
        let lists = 60 * triples + rows_lists(5 * triples, 3 * triples, on_gpu);
        let batch = self.ledger.take(Place::Index, Part::Batch, "triples of a batch", lists);
        let sampled = !self.config.model.fan_out.is_empty();
        let parameters = self.shapes.params.len();
        let mut tape = ShadowTape::new(self.ledger, false);
        self.shapes.on_tape(&mut tape, sampled.then_some((nodes, true, 0)));
        let loss = self.shapes.triple_loss(&mut tape, triples);
        let grads = tape.backward(&[loss], parameters);
        tape.end();
        self.update(vec![grads], true);
        self.ledger.free(batch);
    }

    /// The optimizer makes states of the parameters that have a gradient.
    fn update(&mut self, grads: Vec<Grads>, of_triples: bool) {
        let states = match self.config.train.optimizer.as_str() {
            "sgd" => 0,
            "adagrad" | "rmsprop" => 1,
            _ => 2,
        };
        let (own, name) = match of_triples && !self.config.kg.shared_state {
            true => (&mut self.kg, "of triples"),
            false => (&mut self.main, "of interactions"),
        };
        own.resize(self.shapes.params.len(), None);
        for (i, (p, state)) in self.shapes.params.iter().zip(own).enumerate() {
            let reached = grads.iter().any(|g| g[i].is_some());
            if states > 0 && state.is_none() && reached {
                let bytes = 4 * states * p.rows * p.cols;
                *state = Some(self.ledger.take(Place::Tensor, Part::OptimizerStates, name, bytes));
            }
        }
        grads.into_iter().flatten().flatten().for_each(|piece| self.ledger.free(piece));
    }

    /// The ranking of `asked` learners, in blocks; `part` 0 is validation and 1 the test.
    fn rank(&mut self, asked: usize, part: usize) {
        let (c, d, tasks) = (self.counts, self.shapes.width, self.shapes.tasks);
        let mut held = vec![];
        let mut tape = ShadowTape::new(self.ledger, true);
        self.shapes.on_tape(&mut tape, None);
        let nodes = self.shapes.nodes(&mut tape);
        let courses = self.shapes.courses(&mut tape, &nodes, c.courses);
        let sizes: Vec<usize> = nodes.iter().map(|&v| tape.floats(v)).collect();
        held.extend(tape.end_but(&[&nodes[..], &[courses]].concat()));
        let head = &self.shapes.params[self.shapes.head.clone()];
        let first = head.iter().filter(|p| p.name.ends_with(".0.w") && !p.name.starts_with("tower"));
        let hidden: usize = first.map(|p| p.cols).sum();
        let place = if self.shapes.on_gpu { Place::Tensor } else { Place::List };
        held.push(self.ledger.take(place, Part::Ranking, "courses", 4 * c.courses * (d + hidden)));
        let learners = 12 * c.learners + 8 * asked;
        held.push(self.ledger.take(Place::List, Part::Ranking, "learners", learners));
        let rows = BLOCK.min(asked);
        let history = (rows as f64 * c.test_history) as usize;
        let mut lists = 20 * rows + 8 * history + 4 * rows * c.known / c.learners.max(1);
        if self.config.model.propagation == Propagation::History {
            lists += graph_lists(&self.shapes.history_graph(rows, history));
        }
        held.push(self.ledger.take(Place::Index, Part::Ranking, "lists of a block", lists));
        let pairs = 2 * rows * c.relevant[part] / c.asked[part].max(1);
        for judged in [0, pairs] {
            if judged > 0 {
                let taken = 4 * c.enrolments + 8 * c.learners;
                let scores = 2 * (asked * c.relevant[part] / c.asked[part].max(1)) * (5 * tasks + 8);
                held.push(self.ledger.take(
                    Place::List,
                    Part::Ranking,
                    "courses of learners",
                    taken + scores,
                ));
                let lists = rows_lists(2 * judged, rows + c.courses.min(judged), self.shapes.on_gpu);
                held.push(self.ledger.take(Place::Index, Part::Ranking, "lists of pairs", lists));
            }
            let mut tape = ShadowTape::new(self.ledger, true);
            self.shapes.on_tape(&mut tape, None);
            let states: Vec<Var> = sizes.iter().map(|&floats| tape.parameter(floats, false)).collect();
            let z_u = self.shapes.learners(&mut tape, &states, rows, history);
            if judged > 0 {
                let z_courses = tape.parameter(c.courses * d, false);
                self.shapes.judge(&mut tape, judged, (z_u, z_courses));
            } else {
                tape.constant(rows * hidden);
            }
            tape.end();
        }
        held.into_iter().for_each(|piece| self.ledger.free(piece));
    }
}
