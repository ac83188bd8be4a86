//! The history encoder (`history` propagation): a learner attends to the courses taken, in a graph from the batch's rows
//! to their courses.

use std::sync::Arc;

use super::{AttentionOutput, Encoder, States, constant};
use crate::Result;
use crate::config::{AttentionMode, HistoryLabels, LearnerInit};
use crate::engine::{Device, Var};
use crate::graph::{Edge, Graph};
use crate::layers::ForwardCtx;
use crate::layers::history::{Histories, recency_bucket};
use crate::ops::{Aggregate, Combine, Gather, Rows, laplacian_weights};

impl Encoder {
    /// Layer states of learners that are known by their histories, (rows, d_l) each. `nodes` are the states of the
    /// courses' side; `learner` the ids of the rows, which matter where learners have vectors of their own.
    pub fn encode_history(
        &self,
        ctx: &mut ForwardCtx,
        nodes: &[Var],
        learner: &[u32],
        histories: &Histories,
    ) -> Result<States> {
        let (device, courses) = (ctx.device, ctx.rows(nodes[0]));
        let graph = Arc::new(self.history_graph(device, histories, courses, |at, back| {
            let bucket = if self.has_bias { recency_bucket(back, self.attention.recency_buckets) } else { 0 };
            Some((histories.course[at], bucket))
        })?);
        let p_nodes = self.projections(ctx);
        let (x, p) = match self.learner {
            // A learner's initial embedding is that of the most recent course; without a history it is 0.
            None if self.model.learner != LearnerInit::History => {
                let latest = self.history_graph(device, histories, courses, |at, back| {
                    (back == 0).then(|| (histories.course[at], 0))
                })?;
                let ones = constant(device, ctx.dtype, vec![1.0; latest.edges()])?;
                let (ones, latest) = (ctx.tape.constant(ones), Arc::new(latest));
                let mut of = |table| ctx.tape.apply(Aggregate::new(latest.clone()), &[ones, table]);
                (of(nodes[0])?, of(p_nodes)?)
            }
            Some((x, p)) => {
                let ids = Rows::new(device, learner.to_vec(), self.learners)?;
                let (x, p) = (ctx.param(x), ctx.param(p));
                (ctx.tape.apply(Gather::new(ids.clone()), &[x])?, ctx.tape.apply(Gather::new(ids), &[p])?)
            }
            None => {
                let rows = histories.rows();
                (ctx.zeros(rows, self.model.dim)?, ctx.zeros(rows, self.model.dim)?)
            }
        };
        let attention = match self.attention.mode {
            AttentionMode::Laplacian | AttentionMode::Symmetric => {
                let alpha = constant(device, ctx.dtype, laplacian_weights(&graph))?;
                AttentionOutput::constant(ctx.tape.constant(alpha))
            }
            AttentionMode::Refreshed => {
                let attention = self.attend(ctx, &graph, (x, p), (nodes[0], p_nodes))?;
                let alpha = ctx.tape.detach(attention.alpha);
                let log_sum = attention.log_sum.map(|v| ctx.tape.detach(v));
                AttentionOutput { log_sum, ..AttentionOutput::constant(alpha) }
            }
            AttentionMode::Differentiated => self.attend(ctx, &graph, (x, p), (nodes[0], p_nodes))?,
        };
        let outcomes = self.outcomes(ctx, &attention, histories)?;
        let first = self.messages(ctx, &graph, &attention, 0, (nodes[0], p_nodes), outcomes)?;
        let x0 = match self.model.learner {
            LearnerInit::Free | LearnerInit::Latest => x,
            LearnerInit::History => first,
            LearnerInit::FreeHistory | LearnerInit::LatestHistory => ctx.tape.apply(Combine::sum(2), &[x, first])?,
        };
        let mut states = vec![x0];
        for l in 0..self.layers.len() {
            let a = match l {
                0 => first,
                _ => self.messages(ctx, &graph, &attention, l, (nodes[l], p_nodes), None)?,
            };
            states.push(self.layer(ctx, l, states[l], a, 1)?);
        }
        Ok(states)
    }

    /// What the labels of the courses taken add to the message (**own**): the vectors of the outcomes, summed under the
    /// attention of the courses themselves, (rows, n). Labels of the past say much about what is next: who did not finish
    /// takes the same again.
    fn outcomes(
        &self,
        ctx: &mut ForwardCtx,
        attention: &AttentionOutput,
        histories: &Histories,
    ) -> Result<Option<Var>> {
        let Some(table) = self.outcome.map(|id| ctx.param(id)) else { return Ok(None) };
        let graph = self.history_graph(ctx.device, histories, ctx.rows(table), |at, _| {
            let first = match self.model.history_labels {
                HistoryLabels::Course => histories.course[at] << self.labels,
                HistoryLabels::Shared | HistoryLabels::None => 0,
            };
            Some((first + histories.outcome[at] as u32, 0))
        })?;
        Ok(Some(ctx.tape.apply(Aggregate::new(Arc::new(graph)), &[attention.alpha, table])?))
    }

    /// A graph from each row of `histories` to tails made of its entries. `edge` takes the place of an entry in the
    /// lists and how many entries of the row come after it, and gives tail and bucket, or no edge.
    fn history_graph(
        &self,
        device: &Device,
        histories: &Histories,
        tails: usize,
        edge: impl Fn(usize, usize) -> Option<(u32, u32)>,
    ) -> Result<Graph> {
        let relation = self.relations.enrol();
        let (mut edges, mut offsets) = (Vec::with_capacity(histories.course.len()), vec![0]);
        for (head, range) in histories.offsets.windows(2).enumerate() {
            let (head, end) = (head as u32, range[1] as usize);
            edges.extend((range[0] as usize..end).filter_map(|at| {
                edge(at, end - 1 - at).map(|(tail, bucket)| Edge { dst: head, relation, src: tail, bucket })
            }));
            offsets.push(edges.len() as u64);
        }
        Graph::from_sorted(device, histories.rows(), tails, self.relations.count(), offsets, &edges)
    }
}
