//! The attention encoder: TransD-attentive propagation over the graph, formulas (1) and (3) to (7).
//!
//! Nodes are learners, then courses, then attributes (`full` propagation), or courses and attributes alone, with
//! learners attending to their courses at the end (`history`).

mod history_encoder;
mod sampled;

use std::sync::Arc;

use super::history::{MAX_HISTORY_LABELS, Relations};
use super::{ForwardCtx, ParamBuilder};
use crate::config::{
    self, AttentionConfig, AttentionMode, Config, CourseOutput, EdgeBias, EncoderKind, HistoryLabels, LearnerInit,
    Logit, Message, ModelConfig, ProjInit, Propagation, Stack,
};
use crate::engine::{DType, Device, Owner, ParamId, Params, Tape, Tensor, Var};
use crate::graph::{Edge, Graph, block_rows};
use crate::ops::{
    Aggregate, Aggregator, BiInteraction, Cast, Combine, Concat, Gather, L2Normalize, LogitKind, Query,
    RelationAttention, RelationMix, RowDot, Rows, ScaleRows, laplacian_weights, symmetric_weights,
};
use crate::{Error, Result};

struct Layer {
    w1: ParamId,
    b1: ParamId,
    /// Of the element-wise product; the bi-interaction alone has them.
    second: Option<(ParamId, ParamId)>,
}

/// Projections, relations and what else the logits (4) are made of.
#[derive(Clone, Copy)]
struct Geometry {
    entity_proj: ParamId,
    relation: ParamId,
    relation_proj: ParamId,
    gat: Option<ParamId>,
    edge_bias: ParamId,
}

pub struct Encoder {
    model: ModelConfig,
    attention: AttentionConfig,
    relations: Relations,
    learners: usize,
    /// How many an enrolment has.
    labels: usize,
    entity: ParamId,
    /// What attention and TransD need; a table of vectors has none of it.
    geometry: Option<Geometry>,
    /// Vectors of learners apart from the entities', under `history` propagation.
    learner: Option<(ParamId, ParamId)>,
    /// Vectors (outcomes, n), or (courses * outcomes, n), of what became of courses.
    outcome: Option<ParamId>,
    has_bias: bool,
    /// None where a layer only gathers (`light`).
    layers: Vec<Option<Layer>>,
    output: Option<ParamId>,
    graph: Arc<Graph>,
    /// Attention of the graph's edges where it is a constant.
    fixed: Option<Tensor>,
    /// The same in host memory, where steps draw from it.
    fixed_values: Vec<f32>,
    /// The courses' rows among the graph's nodes.
    course_rows: Rows,
}

/// Layer states X^(0) .. X^(L) of some nodes.
type States = Vec<Var>;

impl Encoder {
    /// `edges`: of the whole graph (`full`) or of courses and attributes (`history`), inverses included. `labels`: how
    /// many labels an enrolment has.
    pub fn new(
        b: &mut ParamBuilder,
        config: &Config,
        relations: Relations,
        (learners, courses, entities): (usize, usize, usize),
        edges: &[Edge],
        labels: usize,
    ) -> Result<Encoder> {
        let (model, attention) = (config.model.clone(), config.attention.clone());
        let (n, m) = (model.dim, config.relation_dim());
        let table = model.encoder == EncoderKind::Table;
        let nodes = match model.propagation {
            _ if table => learners + courses,
            Propagation::Full => learners + entities,
            Propagation::History => entities,
        };
        // Rows of a table are vectors of n numbers: Xavier's rule for a map from n to n.
        let xavier = |width: usize| (1.0 / width as f64).sqrt();
        let std = if model.init_std > 0.0 { model.init_std } else { xavier(n) };
        let unless = |zero, width| if config.kg.proj_init == zero { 0.0 } else { xavier(width) };
        let (entity_std, relation_std) = (unless(ProjInit::EntityZero, n), unless(ProjInit::RelationZero, m));
        let entity = b.normal("entity", Owner::Shared, nodes, n, std)?;
        let q = relations.count();
        // LightGCN has no attention, and a table no neighbours.
        let bare = table || model.aggregator == config::Aggregator::Light;
        let projections = match bare {
            true => None,
            false => Some([
                b.normal("entity_proj", Owner::Shared, nodes, n, entity_std)?,
                b.normal("relation", Owner::Shared, q, m, xavier(m))?,
                b.normal("relation_proj", Owner::Shared, q, m, relation_std)?,
            ]),
        };
        let learner = match (model.propagation, model.learner) {
            (Propagation::History, LearnerInit::Free | LearnerInit::FreeHistory) => Some((
                b.normal("learner", Owner::Shared, learners, n, std)?,
                b.normal("learner_proj", Owner::Shared, learners, n, entity_std)?,
            )),
            _ => None,
        };
        if model.history_labels != HistoryLabels::None && labels > MAX_HISTORY_LABELS {
            let why = format!("{labels} labels would make {} outcomes of a course", 1u64 << labels.min(63));
            let remedy = format!("prepare the data set with at most {MAX_HISTORY_LABELS} labels");
            return Err(Error::config("model.history_labels", why, remedy));
        }
        // From 0 on, what became of a course changes nothing until it is learned to.
        let outcome = match model.history_labels {
            HistoryLabels::None => None,
            HistoryLabels::Shared => Some(b.zeros("outcome", Owner::Shared, 1 << labels, n)?),
            HistoryLabels::Course => Some(b.zeros("outcome", Owner::Shared, courses << labels, n)?),
        };
        let gat = match attention.logit {
            Logit::Gat if !bare => Some(b.xavier("gat", Owner::Shared, 3, m)?),
            _ => None,
        };
        let has_bias = attention.edge_bias == EdgeBias::Recency;
        let buckets = if has_bias { 1 + attention.recency_buckets } else { 1 };
        let geometry = match projections {
            Some([entity_proj, relation, relation_proj]) => {
                let edge_bias = b.zeros("edge_bias", Owner::Shared, buckets, 1)?;
                Some(Geometry { entity_proj, relation, relation_proj, gat, edge_bias })
            }
            None => None,
        };
        let mut layers = vec![];
        let mut from = n;
        for (l, &to) in model.layers.iter().enumerate() {
            use config::Aggregator::*;
            let input = if model.aggregator == Graphsage { 2 * from } else { from };
            if model.aggregator == Light {
                layers.push(None);
                continue;
            }
            let name = |part: &str| format!("layers.{l}.{part}");
            let w1 = b.xavier(&name("w1"), Owner::Shared, input, to)?;
            let b1 = b.zeros(&name("b1"), Owner::Shared, 1, to)?;
            let second = match model.aggregator {
                Bi => {
                    Some((b.xavier(&name("w2"), Owner::Shared, from, to)?, b.zeros(&name("b2"), Owner::Shared, 1, to)?))
                }
                Gcn | Graphsage | Light => None,
            };
            layers.push(Some(Layer { w1, b1, second }));
            from = to;
        }
        let output = match model.course_output {
            CourseOutput::Separate => Some(b.normal("course_output", Owner::Shared, courses, n, std)?),
            CourseOutput::Tied => None,
        };
        let widest = model.layers.iter().copied().fold(n, usize::max);
        let mut graph = Graph::new(b.device, nodes, nodes, q, edges)?.with_blocks(b.device, block_rows(widest))?;
        if model.fan_out.is_empty() {
            graph = graph.streamed(b.device)?;
        }
        let graph = Arc::new(graph);
        let fixed = match attention.mode {
            AttentionMode::Differentiated => None,
            AttentionMode::Symmetric => Some(constant(b.device, b.dtype, symmetric_weights(&graph))?),
            // Also what `refreshed` starts from.
            _ => Some(constant(b.device, b.dtype, laplacian_weights(&graph))?),
        };
        let first = match model.propagation {
            Propagation::Full => learners as u32,
            Propagation::History => 0,
        };
        let course_rows = Rows::new(b.device, (first..first + courses as u32).collect(), nodes)?;
        let mut encoder = Encoder {
            model,
            attention,
            relations,
            learners,
            labels,
            entity,
            geometry,
            learner,
            outcome,
            has_bias,
            layers,
            output,
            graph,
            fixed: None,
            fixed_values: vec![],
            course_rows,
        };
        if let Some(alpha) = fixed {
            encoder.set_fixed_attention(alpha)?;
        }
        Ok(encoder)
    }

    /// D, the width of Z.
    pub fn width(&self) -> usize {
        match self.model.stack {
            Stack::Concat => self.model.dim + self.model.layers.iter().sum::<usize>(),
            _ => self.model.layers.last().copied().unwrap_or(self.model.dim),
        }
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The parameters of TransD, in the order of its inputs: E, P, R, R_p. `Error::Config` where there are none.
    pub fn transd(&self) -> Result<[ParamId; 4]> {
        let g = self.geometry()?;
        Ok([self.entity, g.entity_proj, g.relation, g.relation_proj])
    }

    fn geometry(&self) -> Result<&Geometry> {
        self.geometry.as_ref().ok_or_else(|| {
            let why = "this encoder has no projections: neither attention nor triples work with it";
            Error::config("model.encoder", why, "set model.encoder = \"graph\" and an aggregator other than light")
        })
    }

    /// P of all nodes on the tape; E, which nobody reads as P, where there is none.
    fn projections(&self, ctx: &ForwardCtx) -> Var {
        ctx.param(self.geometry.map_or(self.entity, |g| g.entity_proj))
    }

    /// The courses' output vectors, where they have any.
    pub fn course_output(&self) -> Option<ParamId> {
        self.output
    }

    /// Node id of a course on the graph.
    pub fn course_node(&self, course: u32) -> u32 {
        match self.model.propagation {
            Propagation::Full => self.learners as u32 + course,
            Propagation::History => course,
        }
    }

    /// The attention that is a constant between refreshes, for checkpoints.
    pub fn fixed_attention(&self) -> Option<&Tensor> {
        self.fixed.as_ref()
    }

    pub fn set_fixed_attention(&mut self, alpha: Tensor) -> Result<()> {
        if self.samples() {
            self.fixed_values = alpha.to_vec()?;
        }
        match &mut self.fixed {
            // Where it was: recorded steps read it there.
            Some(fixed) if fixed.shape() == alpha.shape() && fixed.dtype() == alpha.dtype() => fixed.assign(&alpha),
            fixed => {
                *fixed = Some(alpha);
                Ok(())
            }
        }
    }

    /// Recomputes the constant attention from the parameters (mode `refreshed`); called once per epoch.
    pub fn refresh(&mut self, params: &Params, device: &Device, dtype: DType) -> Result<()> {
        if self.attention.mode != AttentionMode::Refreshed {
            return Ok(());
        }
        let mut tape = Tape::inference();
        let vars = params.on_tape(&mut tape);
        let ctx = &mut ForwardCtx { tape: &mut tape, vars: &vars, device, dtype, dropout: None };
        let (e, p) = (ctx.param(self.entity), self.projections(ctx));
        let graph = self.graph.clone();
        let attention = self.attend(ctx, &graph, (e, p), (e, p))?;
        let alpha = ctx.tape.value(attention.alpha).clone();
        self.set_fixed_attention(alpha)
    }

    /// Layer states of the graph's nodes, (nodes, d_l) each.
    pub fn nodes(&self, ctx: &mut ForwardCtx) -> Result<States> {
        let (e, p) = (ctx.param(self.entity), self.projections(ctx));
        if self.layers.is_empty() {
            return Ok(vec![e]);
        }
        let attention = match &self.fixed {
            Some(alpha) => AttentionOutput::constant(ctx.tape.constant(alpha.clone())),
            None => self.attend(ctx, &self.graph, (e, p), (e, p))?,
        };
        let mut states = vec![e];
        for l in 0..self.layers.len() {
            let a = self.messages(ctx, &self.graph, &attention, l, (states[l], p), None)?;
            states.push(self.layer(ctx, l, states[l], a, 0)?);
            // A layer that only gathers hands on what was gathered.
            if states[l + 1] != a {
                ctx.tape.forget(a)?;
            }
        }
        Ok(states)
    }

    /// Z (7): what stacking makes of layer states.
    pub fn stack(&self, ctx: &mut ForwardCtx, states: &[Var]) -> Result<Var> {
        let mut parts = vec![states[0]];
        for &x in &states[1..] {
            let mut x = x;
            if self.model.normalize {
                x = ctx.tape.apply(L2Normalize::default(), &[x])?;
            }
            if self.model.layer_scale != 1.0 {
                x = ctx.tape.apply(Combine { weights: vec![self.model.layer_scale] }, &[x])?;
            }
            parts.push(x);
        }
        match self.model.stack {
            _ if parts.len() == 1 => Ok(parts[0]),
            Stack::Concat => ctx.tape.apply(Concat, &parts),
            Stack::Last => Ok(parts[parts.len() - 1]),
            Stack::Sum => ctx.tape.apply(Combine::sum(parts.len()), &parts),
            Stack::Mean => ctx.tape.apply(Combine::mean(parts.len()), &parts),
        }
    }

    /// Z of the nodes in some rows of `nodes`, (rows, D). The rest of Z is not made, nor a gradient of it.
    pub fn rows(&self, ctx: &mut ForwardCtx, nodes: &[Var], rows: &Rows) -> Result<Var> {
        let gathered = |&x: &Var| ctx.tape.apply(Gather::new(rows.clone()), &[x]);
        let states = nodes.iter().map(gathered).collect::<Result<Vec<_>>>()?;
        self.stack(ctx, &states)
    }

    /// Z of all courses as targets, (courses, D).
    pub fn course_targets(&self, ctx: &mut ForwardCtx, nodes: &[Var]) -> Result<Var> {
        self.targets(ctx, nodes, &self.course_rows)
    }

    /// As `course_targets`, of the courses in some rows of `nodes`. Where courses have an output vector of their own,
    /// the rows of these courses stand on the tape.
    pub fn targets(&self, ctx: &mut ForwardCtx, nodes: &[Var], rows: &Rows) -> Result<Var> {
        let mut states = vec![];
        for (l, &x) in nodes.iter().enumerate() {
            states.push(match (l, self.output) {
                (0, Some(output)) => ctx.param(output),
                _ => ctx.tape.apply(Gather::new(rows.clone()), &[x])?,
            });
        }
        self.stack(ctx, &states)
    }

    fn attend(
        &self,
        ctx: &mut ForwardCtx,
        graph: &Arc<Graph>,
        (x, p): (Var, Var),
        (xt, pt): (Var, Var),
    ) -> Result<AttentionOutput> {
        let geometry = *self.geometry()?;
        let (r, rp) = (ctx.param(geometry.relation), ctx.param(geometry.relation_proj));
        let kind = match self.attention.logit {
            Logit::KgatTanh => LogitKind::Tanh,
            Logit::Dot => LogitKind::Dot,
            Logit::Gat => LogitKind::Gat { slope: self.model.slope },
        };
        let mut inputs = vec![x, p, r, rp];
        inputs.extend(geometry.gat.map(|a| ctx.param(a)));
        let query = ctx.tape.apply_all(Query::new(graph.clone(), kind), &inputs)?;
        let bias = ctx.param(geometry.edge_bias);
        let attention = RelationAttention::new(graph.clone(), kind, self.attention.temperature);
        let (u, xt, pt) = (self.stored(ctx, query[0])?, self.stored(ctx, xt)?, self.stored(ctx, pt)?);
        let outputs = ctx.tape.apply_all(attention, &[u, query[1], xt, pt, rp, bias])?;
        if Arc::ptr_eq(graph, &self.graph) {
            [query[0], query[1], u].into_iter().try_for_each(|made| ctx.tape.forget(made))?;
        }
        Ok(AttentionOutput { first: Some(outputs[0]), alpha: outputs[1], log_sum: Some(outputs[2]) })
    }

    /// Rows as edges gather them.
    fn stored(&self, ctx: &mut ForwardCtx, x: Var) -> Result<Var> {
        match self.model.storage {
            DType::F32 => Ok(x),
            to => ctx.tape.apply(Cast::to(to), &[x]),
        }
    }

    /// a (3): the message to each head from layer l, whose states are `x`, plus `besides`.
    fn messages(
        &self,
        ctx: &mut ForwardCtx,
        graph: &Arc<Graph>,
        attention: &AttentionOutput,
        l: usize,
        (x, p): (Var, Var),
        besides: Option<Var>,
    ) -> Result<Var> {
        let mut a = match (l, attention.first) {
            (0, Some(first)) => first,
            _ => {
                let rows = self.stored(ctx, x)?;
                ctx.tape.apply(Aggregate::new(graph.clone()), &[attention.alpha, rows])?
            }
        };
        if self.attention.message == Message::Projected {
            let s = ctx.tape.apply(RowDot, &[p, x])?;
            let rp = ctx.param(self.geometry()?.relation_proj);
            let along = ctx.tape.apply(RelationMix::new(graph.clone()), &[attention.alpha, s, rp])?;
            a = ctx.tape.apply(Combine::sum(2), &[a, along])?;
        }
        if let Some(besides) = besides {
            a = ctx.tape.apply(Combine::sum(2), &[a, besides])?;
        }
        let is_history = !Arc::ptr_eq(graph, &self.graph);
        match attention.log_sum {
            Some(log_sum) if is_history && self.attention.norm_power != 1.0 => {
                let power = 1.0 - self.attention.norm_power;
                ctx.tape.apply(ScaleRows { power }, &[a, log_sum])
            }
            _ => Ok(a),
        }
    }

    /// (6) on nodes with states x and messages a. `side` tells the dropout of nodes and of learners apart.
    fn layer(&self, ctx: &mut ForwardCtx, l: usize, x: Var, a: Var, side: u64) -> Result<Var> {
        let Some(layer) = &self.layers[l] else { return Ok(a) };
        let aggregator = match self.model.aggregator {
            config::Aggregator::Bi => Aggregator::Bi,
            config::Aggregator::Gcn | config::Aggregator::Light => Aggregator::Gcn,
            config::Aggregator::Graphsage => Aggregator::GraphSage,
        };
        let (slope, rate) = (self.model.slope, self.model.message_dropout);
        let op = match &ctx.dropout {
            Some(random) if rate > 0.0 => {
                let random = random.of_layer((1 + 2 * l as u64 + side) << 48);
                BiInteraction::of_step(aggregator, slope, rate, random)
            }
            _ => BiInteraction::new(aggregator, slope, rate, None),
        };
        let mut inputs = vec![x, a, ctx.param(layer.w1)];
        match layer.second {
            Some((w2, b2)) => inputs.extend([ctx.param(w2), ctx.param(layer.b1), ctx.param(b2)]),
            None => inputs.push(ctx.param(layer.b1)),
        }
        ctx.tape.apply(op, &inputs)
    }
}

/// Attention over one graph.
struct AttentionOutput {
    /// (edges, 1)
    alpha: Var,
    /// (heads, n) the message of layer 0, where the attention makes it in the same pass.
    first: Option<Var>,
    /// (heads, 1) logarithm of the softmax's denominator.
    log_sum: Option<Var>,
}

impl AttentionOutput {
    /// Attention that is not computed here.
    fn constant(alpha: Var) -> AttentionOutput {
        AttentionOutput { alpha, first: None, log_sum: None }
    }
}

fn constant(device: &Device, dtype: DType, weights: Vec<f32>) -> Result<Tensor> {
    let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
    Tensor::from_f64(device, dtype, weights.len(), 1, &weights)
}
