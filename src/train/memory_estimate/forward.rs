//! The values of a model's forward pass by their shapes: encoder (`layers::Encoder`), head, losses (`models::Neural`).

use super::counts::{Counts, GraphSize, Level, distinct};
use super::tape::{Extra, ShadowTape, Var};
use crate::config::{
    Aggregator, AttentionMode, Config, CourseOutput, EdgeBias, EncoderKind, HistoryLabels, LearnerInit,
    Logit, Message, Propagation, Ranking, Stack, Storage,
};
use crate::models;
use crate::{Error, Result};

/// A parameter by its shape.
pub(super) struct Shape {
    pub name: String,
    pub rows: usize,
    pub cols: usize,
}

/// What a step or a block of the ranking works on.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    pub rows: usize,
    pub pairs: usize,
    /// Courses of histories.
    pub history: usize,
    /// Triples of a joint step.
    pub triples: usize,
    /// Of a sampled step.
    pub levels: Vec<Level>,
    pub courses: usize,
}

pub(super) struct Shapes<'a> {
    pub config: &'a Config,
    pub counts: &'a Counts,
    pub tasks: usize,
    pub on_gpu: bool,
    pub params: Vec<Shape>,
    /// D, the width of Z.
    pub width: usize,
    /// Places of the head's parameters.
    pub head: std::ops::Range<usize>,
}

/// Losses by their part in the weighting of gradients.
#[derive(Default)]
pub(super) struct Losses {
    pub weighted: Vec<Var>,
    pub constraints: Vec<Var>,
}

/// Attention over a graph.
struct Attention {
    alpha: Var,
    first: Option<Var>,
    log_sum: Option<Var>,
}

/// Chunks in which the CPU sums the gradients of an MLP's parameters (`ops::GroupedMlp`), and those of a graph's courses.
const MLP_CHUNKS: usize = 32;
const STREAM_CHUNKS: usize = 16;
/// Logits of a block of the softmax objective.
const SOFTMAX_LOGITS: [usize; 2] = [1 << 22, 1 << 28];

impl<'a> Shapes<'a> {
    pub fn new(
        config: &'a Config,
        counts: &'a Counts,
        labels: usize,
        tasks: usize,
        on_gpu: bool,
    ) -> Result<Self> {
        let (m, n) = (&config.model, config.model.dim);
        let (nodes, q) = (counts.graph.heads, counts.graph.relations);
        let rm = config.relation_dim();
        let bare = m.encoder == EncoderKind::Table || m.aggregator == Aggregator::Light;
        let mut params = vec![];
        let mut add = |name: &str, rows, cols| params.push(Shape { name: name.into(), rows, cols });
        add("entity", nodes, n);
        if !bare {
            add("entity_proj", nodes, n);
            add("relation", q, rm);
            add("relation_proj", q, rm);
        }
        let free = matches!(m.learner, LearnerInit::Free | LearnerInit::FreeHistory);
        if m.propagation == Propagation::History && free {
            add("learner", counts.learners, n);
            add("learner_proj", counts.learners, n);
        }
        let outcomes = 1usize.checked_shl(labels as u32).unwrap_or(usize::MAX);
        match m.history_labels {
            HistoryLabels::None => {}
            HistoryLabels::Shared => add("outcome", outcomes, n),
            HistoryLabels::Course => add("outcome", counts.courses.saturating_mul(outcomes), n),
        }
        if !bare {
            if config.attention.logit == Logit::Gat {
                add("gat", 3, rm);
            }
            let recency = config.attention.edge_bias == EdgeBias::Recency;
            add("edge_bias", 1 + if recency { config.attention.recency_buckets } else { 0 }, 1);
        }
        let mut from = n;
        for (l, &to) in m.layers.iter().enumerate() {
            let input = if m.aggregator == Aggregator::Graphsage { 2 * from } else { from };
            if m.aggregator != Aggregator::Light {
                add(&format!("layers.{l}.w1"), input, to);
                add(&format!("layers.{l}.b1"), 1, to);
                if m.aggregator == Aggregator::Bi {
                    add(&format!("layers.{l}.w2"), from, to);
                    add(&format!("layers.{l}.b2"), 1, to);
                }
            }
            from = to;
        }
        if m.course_output == CourseOutput::Separate {
            add("course_output", counts.courses, n);
        }
        let width = match m.stack {
            Stack::Concat => n + m.layers.iter().sum::<usize>(),
            _ => m.layers.last().copied().unwrap_or(n),
        };
        let first = params.len();
        let head = models::head_params(config, width, tasks)?;
        params.extend(head.iter().map(|p| {
            let (rows, cols) = p.value.shape();
            Shape { name: p.name.clone(), rows, cols }
        }));
        let head = first..params.len();
        if config.loss.ranking == Ranking::Softmax {
            params.push(Shape { name: "course_bias".into(), rows: 1, cols: counts.courses });
        }
        let floats = params.iter().try_fold(0usize, |sum, p| sum.checked_add(p.rows.checked_mul(p.cols)?));
        if floats.is_none_or(|n| n > isize::MAX as usize / 64) {
            return Err(Error::Memory {
                why: "the parameters alone need more than any machine has".into(),
                remedy: "lower model.dim, model.layers or head.widths".into(),
            });
        }
        Ok(Shapes { config, counts, tasks, on_gpu, params, width, head })
    }

    /// The place of a parameter, which is its value on the tape.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.params.iter().position(|p| p.name == name)
    }

    /// The parameters on a tape, of large tables the rows of `compact`, in the parameters' order.
    pub fn on_tape(&self, t: &mut ShadowTape, compact: Option<(usize, bool, usize)>) {
        for p in &self.params {
            let rows = match (compact, p.name.as_str()) {
                (Some((nodes, _, _)), "entity") => Some(nodes),
                (Some((nodes, true, _)), "entity_proj") => Some(nodes),
                (Some((_, _, courses)), "course_output") if courses > 0 => Some(courses),
                _ => None,
            };
            t.parameter(rows.unwrap_or(p.rows) * p.cols, rows.is_some());
        }
    }

    fn is_differentiated(&self) -> bool {
        self.config.attention.mode == AttentionMode::Differentiated
    }

    pub fn reads_projections(&self) -> bool {
        self.is_differentiated() || self.config.attention.message == Message::Projected
    }

    /// P, or E where there is none.
    fn projections(&self) -> Var {
        self.place("entity_proj").unwrap_or(0)
    }

    /// The floats of a table that edges gather, in the type of `model.storage`.
    fn stored(&self, t: &mut ShadowTape, x: Var) -> Var {
        match self.config.model.storage {
            Storage::F32 => x,
            Storage::Bf16 | Storage::F16 => {
                let floats = t.floats(x);
                t.op_with("cast", &[x], &[floats], 2, Extra::default())[0]
            }
        }
    }

    fn attend(
        &self,
        t: &mut ShadowTape,
        g: &GraphSize,
        (x, p): (Var, Var),
        (xt, pt): (Var, Var),
    ) -> Attention {
        let (n, m) = (self.config.model.dim, self.config.relation_dim());
        let param = |name| self.place(name).unwrap_or(0);
        let mut inputs = vec![x, p, param("relation"), param("relation_proj")];
        inputs.extend(self.place("gat"));
        let saved = Extra { saved: g.groups, ..Extra::default() };
        let query = t.op_with("query", &inputs, &[g.groups * m, g.groups], 4, saved);
        let (u, xt, pt) = (self.stored(t, query[0]), self.stored(t, xt), self.stored(t, pt));
        let (pairs, columns) = g.streamed;
        let widened = if pairs > 0 && u != query[0] { g.groups * m + 2 * g.tails * n } else { 0 };
        let sums = STREAM_CHUNKS * columns * (n + 2);
        let extra = Extra {
            saved: g.tails + g.groups + pairs,
            forward: widened + sums,
            backward: widened + g.heads + g.edges + 2 * g.groups + g.tails + pairs + 2 * sums,
        };
        let inputs = [u, query[1], xt, pt, param("relation_proj"), param("edge_bias")];
        let out = t.op_with("attend", &inputs, &[g.heads * n, g.edges, g.heads], 4, extra);
        if g.heads == self.counts.graph.heads {
            [query[0], query[1], u].into_iter().for_each(|v| t.forget(v));
        }
        Attention { first: Some(out[0]), alpha: out[1], log_sum: Some(out[2]) }
    }

    /// What the heads gather of layer `l`, whose states have `width` columns.
    fn messages(
        &self,
        t: &mut ShadowTape,
        g: &GraphSize,
        attention: &Attention,
        (l, width): (usize, usize),
        (x, p): (Var, Var),
        besides: Option<Var>,
        is_history: bool,
    ) -> Var {
        let mut a = match (l, attention.first) {
            (0, Some(first)) => first,
            _ => {
                let rows = self.stored(t, x);
                let sums = STREAM_CHUNKS * g.streamed.1 * width;
                let backward = sums + g.streamed.0;
                let extra = Extra { forward: sums, backward, ..Extra::default() };
                t.op_with("aggregate", &[attention.alpha, rows], &[g.heads * width], 4, extra)[0]
            }
        };
        if self.config.attention.message == Message::Projected {
            let s = t.op("row dot", &[p, x], &[g.tails])[0];
            let rp = self.place("relation_proj").unwrap_or(0);
            let along = t.op("relation mix", &[attention.alpha, s, rp], &[g.heads * width])[0];
            a = t.op("combine", &[a, along], &[g.heads * width])[0];
        }
        if let Some(besides) = besides {
            a = t.op("combine", &[a, besides], &[g.heads * width])[0];
        }
        match attention.log_sum {
            Some(log_sum) if is_history && self.config.attention.norm_power != 1.0 => {
                t.op("scale rows", &[a, log_sum], &[g.heads * width])[0]
            }
            _ => a,
        }
    }

    fn layer(&self, t: &mut ShadowTape, l: usize, rows: usize, (x, a): (Var, Var)) -> Var {
        let Some(w1) = self.place(&format!("layers.{l}.w1")) else { return a };
        let bi = self.config.model.aggregator == Aggregator::Bi;
        let (from, to) = (self.layer_width(l), self.config.model.layers[l]);
        let inputs: Vec<Var> = [x, a].into_iter().chain(w1..w1 + if bi { 4 } else { 2 }).collect();
        let products = if bi { 2 } else { 1 };
        let input = rows * self.params[w1].rows;
        let extra = match bi && !self.on_gpu {
            // Signs of the products, a byte each.
            true => Extra { saved: rows * to / 4, ..Extra::default() },
            false => Extra {
                saved: products * rows * to,
                forward: products * input,
                backward: products * (rows * to + input.max(rows * from)),
            },
        };
        t.op_with("bi-interaction", &inputs, &[rows * to], 4, extra)[0]
    }

    /// Columns of the states that layer `l` reads.
    fn layer_width(&self, l: usize) -> usize {
        if l == 0 { self.config.model.dim } else { self.config.model.layers[l - 1] }
    }

    /// Layer states of the whole graph's nodes.
    pub fn nodes(&self, t: &mut ShadowTape) -> Vec<Var> {
        let (g, e, p) = (&self.counts.graph, 0, self.projections());
        let layers = self.config.model.layers.len();
        if layers == 0 {
            return vec![e];
        }
        let attention = match self.is_differentiated() {
            true => self.attend(t, g, (e, p), (e, p)),
            // Its tensor belongs to the model.
            false => Attention { alpha: t.constant(0), first: None, log_sum: None },
        };
        let mut states = vec![e];
        for l in 0..layers {
            let at = (l, self.layer_width(l));
            let a = self.messages(t, g, &attention, at, (states[l], p), None, false);
            states.push(self.layer(t, l, g.heads, (states[l], a)));
            if states[l + 1] != a {
                t.forget(a);
            }
        }
        states
    }

    /// Layer states of the batch's own nodes over sampled neighborhoods.
    fn sampled_nodes(&self, t: &mut ShadowTape, levels: &[Level]) -> Vec<Var> {
        let hops = levels.len() - 1;
        let descend = |t: &mut ShadowTape, x: Var, to: usize, width: usize| -> Vec<Var> {
            let mut all = vec![x];
            for level in levels[..to].iter().rev() {
                let last = all[all.len() - 1];
                all.extend(t.op("gather", &[last], &[level[0] * width]));
            }
            all.reverse();
            all
        };
        let n = self.config.model.dim;
        let e = descend(t, 0, hops, n);
        let p = if self.reads_projections() { descend(t, self.projections(), hops, n) } else { e.clone() };
        let (mut states, mut x) = (vec![e[0]], e.clone());
        for l in 0..hops {
            let h = hops - 1 - l;
            let [heads, edges, groups] = levels[h];
            let relations = self.counts.graph.relations;
            let g = GraphSize { heads, tails: levels[h + 1][0], edges, groups, relations, streamed: (0, 0) };
            let attention = match self.is_differentiated() {
                true => self.attend(t, &g, (e[h], p[h]), (e[h + 1], p[h + 1])),
                false => Attention { alpha: t.constant(edges), first: None, log_sum: None },
            };
            let at = (l, self.layer_width(l));
            let a = self.messages(t, &g, &attention, at, (x[h + 1], p[h + 1]), None, false);
            let y = self.layer(t, l, heads, (x[h], a));
            x = descend(t, y, h, self.config.model.layers[l]);
            states.push(x[0]);
        }
        states
    }

    /// The graph from learners to the courses of their histories.
    pub fn history_graph(&self, rows: usize, edges: usize) -> GraphSize {
        let (tails, relations) = (self.counts.graph.heads, self.counts.graph.relations);
        GraphSize { heads: rows, tails, edges, groups: rows.min(edges), relations, streamed: (0, 0) }
    }

    /// Layer states of learners that are represented by their histories.
    fn history_states(&self, t: &mut ShadowTape, nodes: &[Var], rows: usize, edges: usize) -> Vec<Var> {
        let (model, n) = (&self.config.model, self.config.model.dim);
        let (g, p_nodes) = (self.history_graph(rows, edges), self.projections());
        let (x, p) = match (self.place("learner"), model.learner) {
            (Some(learner), _) => {
                let gather = |t: &mut ShadowTape, from| t.op("gather", &[from], &[rows * n])[0];
                (gather(t, learner), gather(t, learner + 1))
            }
            (None, LearnerInit::History) => (t.constant(rows * n), t.constant(rows * n)),
            (None, _) => {
                let ones = t.constant(rows);
                let latest = |t: &mut ShadowTape, from| t.op("aggregate", &[ones, from], &[rows * n])[0];
                (latest(t, nodes[0]), latest(t, p_nodes))
            }
        };
        let attention = match self.config.attention.mode {
            AttentionMode::Laplacian | AttentionMode::Symmetric => {
                Attention { alpha: t.constant(edges), first: None, log_sum: None }
            }
            AttentionMode::Refreshed | AttentionMode::Differentiated => {
                let attention = self.attend(t, &g, (x, p), (nodes[0], p_nodes));
                let first = attention.first.filter(|_| self.is_differentiated());
                Attention { first, ..attention }
            }
        };
        let outcome = self.place("outcome");
        let outcome = outcome.map(|table| t.op("aggregate", &[attention.alpha, table], &[rows * n])[0]);
        let first = self.messages(t, &g, &attention, (0, n), (nodes[0], p_nodes), outcome, true);
        let x0 = match model.learner {
            LearnerInit::Free | LearnerInit::Latest => x,
            LearnerInit::History => first,
            LearnerInit::FreeHistory | LearnerInit::LatestHistory => {
                t.op("combine", &[x, first], &[rows * n])[0]
            }
        };
        let mut states = vec![x0];
        for l in 0..model.layers.len() {
            let at = (l, self.layer_width(l));
            let a = match l {
                0 => first,
                _ => self.messages(t, &g, &attention, at, (nodes[l], p_nodes), None, true),
            };
            states.push(self.layer(t, l, rows, (states[l], a)));
        }
        states
    }

    /// Z of rows with these layer states.
    fn stack(&self, t: &mut ShadowTape, states: &[Var], rows: usize) -> Var {
        let model = &self.config.model;
        let mut parts = vec![states[0]];
        for (l, &state) in states.iter().enumerate().skip(1) {
            let (mut x, floats) = (state, rows * model.layers[l - 1]);
            if model.normalize {
                let norms = Extra { saved: rows, ..Extra::default() };
                x = t.op_with("l2 normalize", &[x], &[floats], 4, norms)[0];
            }
            if model.layer_scale != 1.0 {
                x = t.op("combine", &[x], &[floats])[0];
            }
            parts.push(x);
        }
        match model.stack {
            _ if parts.len() == 1 => parts[0],
            Stack::Last => parts[parts.len() - 1],
            Stack::Concat | Stack::Sum | Stack::Mean => t.op("stack", &parts, &[rows * self.width])[0],
        }
    }

    /// Z of some rows of nodes.
    fn rows(&self, t: &mut ShadowTape, nodes: &[Var], rows: usize, output: Option<Var>) -> Var {
        let mut states = vec![];
        for (l, &x) in nodes.iter().enumerate() {
            states.push(match (l, output) {
                (0, Some(output)) => output,
                _ => t.op("gather", &[x], &[rows * self.layer_width(l)])[0],
            });
        }
        self.stack(t, &states, rows)
    }

    /// Z of learners, from the layer states of nodes.
    pub fn learners(&self, t: &mut ShadowTape, nodes: &[Var], rows: usize, history: usize) -> Var {
        match self.config.model.propagation {
            Propagation::Full => self.rows(t, nodes, rows, None),
            Propagation::History => {
                let states = self.history_states(t, nodes, rows, history);
                self.stack(t, &states, rows)
            }
        }
    }

    pub fn courses(&self, t: &mut ShadowTape, nodes: &[Var], courses: usize) -> Var {
        self.rows(t, nodes, courses, self.place("course_output"))
    }

    /// The head on `pairs` pairs: logits of the tasks, of the auxiliary heads, and of the rest that losses read. All that is
    /// between is one value.
    pub fn judge(&self, t: &mut ShadowTape, pairs: usize, (z_u, z_i): (Var, Var)) -> Vec<Var> {
        let z_u = t.op("gather", &[z_u], &[pairs * self.width])[0];
        let z_i = t.op("gather", &[z_i], &[pairs * self.width])[0];
        let head = &self.params[self.head.clone()];
        if head.is_empty() {
            return t.op("match score", &[z_u, z_i], &vec![pairs; self.tasks]);
        }
        let features = crate::models::pair_features_width(&self.config.head, self.width);
        let x = t.op("pair features", &[z_u, z_i], &[pairs * features])[0];
        let weights = || head.iter().filter(|p| p.name.ends_with(".w"));
        // Layers' outputs, and what towers read.
        let layers: usize = weights().map(|p| p.cols).sum();
        let fused = weights().filter(|p| p.name.starts_with("tower") && p.name.ends_with(".0.w"));
        let fused: usize = fused.map(|p| p.rows).sum();
        let inputs: Vec<Var> = std::iter::once(x).chain(self.head.clone()).collect();
        let chunks = if self.on_gpu { pairs.div_ceil(1024) } else { MLP_CHUNKS };
        let parameters: usize = head.iter().map(|p| p.rows * p.cols).sum();
        let backward = chunks * parameters + if self.on_gpu { pairs * layers / 2 } else { 0 };
        let inner = t.op_with(
            "head",
            &inputs,
            &[pairs * (layers + fused)],
            4,
            Extra { backward, ..Extra::default() },
        )[0];
        t.op("logits", &[inner], &vec![pairs; 2 * self.tasks])
    }

    fn transd(&self, t: &mut ShadowTape, triples: usize) -> Var {
        let m = self.config.relation_dim();
        let nodes = t.floats(0) / self.config.model.dim.max(1);
        let saved = match self.on_gpu {
            true => triples * (4 * m + 3) + self.counts.graph.relations * 2 * m,
            false => {
                triples * 16
                    + distinct(3 * triples, nodes) * 2 * (m + 1)
                    + self.counts.graph.relations * 2 * m
            }
        };
        let forward =
            if self.on_gpu { 4 * triples } else { nodes + 32 * self.counts.graph.relations * 2 * m };
        let inputs = [
            0,
            self.projections(),
            self.place("relation").unwrap_or(0),
            self.place("relation_proj").unwrap_or(0),
        ];
        t.op_with("transd", &inputs, &[1], 4, Extra { saved, forward, backward: 0 })[0]
    }

    /// All losses of a step.
    pub fn losses(&self, t: &mut ShadowTape, w: &Work) -> Losses {
        let (config, mut losses) = (&self.config.loss, Losses::default());
        let sampled = w.levels.len() > 1;
        let nodes = if sampled { self.sampled_nodes(t, &w.levels) } else { self.nodes(t) };
        let z_u = self.learners(t, &nodes, w.rows, w.history);
        let courses = if sampled { w.courses } else { self.counts.courses };
        let z_courses = self.courses(t, &nodes, courses);
        let d = self.width;
        match config.ranking {
            Ranking::Bce => {}
            Ranking::Bpr => {
                let i = t.op("gather", &[z_courses], &[w.rows * d])[0];
                let j = t.op("gather", &[z_courses], &[w.rows * d])[0];
                let slope = Extra { saved: w.rows, ..Extra::default() };
                losses.weighted.extend(t.op_with("bpr", &[z_u, i, j], &[1], 4, slope));
            }
            Ranking::Softmax => {
                let most = SOFTMAX_LOGITS[usize::from(self.on_gpu)] / courses.max(1);
                let block = w.rows.min((most / 32 * 32).max(32));
                let saved = w.rows * d + courses * (d + 1);
                let extra = Extra { saved, forward: block * (courses + d), backward: 0 };
                let bias = self.params.len() - 1;
                losses.weighted.extend(t.op_with("softmax", &[z_u, z_courses, bias], &[1], 4, extra));
            }
        }
        let out = self.judge(t, w.pairs, (z_u, z_courses));
        let slopes = Extra { saved: self.tasks * w.pairs, ..Extra::default() };
        let weight = |task: usize| config.task_weights.get(task).copied().unwrap_or(1.0);
        if (0..self.tasks).any(|task| weight(task) != 0.0) {
            let bce = t.op_with("cross-entropy", &out[..self.tasks], &vec![1; self.tasks], 4, slopes);
            let learned = bce.into_iter().enumerate().filter(|&(task, _)| weight(task) != 0.0);
            losses.weighted.extend(learned.map(|(_, loss)| loss));
        }
        let decomposed = self.params[self.head.clone()].iter().any(|p| p.name.starts_with("specific"));
        if config.aux_weight != 0.0 && decomposed {
            losses.weighted.extend(t.op_with("cross-entropy", &out[self.tasks..], &[1], 4, slopes));
        }
        if config.orth_weight != 0.0 && decomposed {
            let moments = Extra { saved: 3 * w.pairs * self.tasks, ..Extra::default() };
            losses.constraints.extend(t.op_with("orthogonality", &out, &[1], 4, moments));
        }
        if w.triples > 0 && config.kg_weight != 0.0 {
            losses.weighted.push(self.transd(t, w.triples));
        }
        losses
    }

    /// The loss of a step on triples.
    pub fn triple_loss(&self, t: &mut ShadowTape, triples: usize) -> Var {
        self.transd(t, triples)
    }
}
