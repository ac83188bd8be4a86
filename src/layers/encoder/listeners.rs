//! Learners who listen to their histories (`history` propagation): a small graph from the batch's rows to their courses.

use std::sync::Arc;

use super::{AttentionOutput, Encoder, States, constant};
use crate::Result;
use crate::config::{AttentionMode, HistoryLabels, LearnerInit};
use crate::engine::{Device, Tensor, Var};
use crate::graph::{Edge, Graph};
use crate::layers::ForwardCtx;
use crate::layers::history::{Histories, recency_bucket};
use crate::ops::{Aggregate, Combine, Gather, Rows, laplacian_weights};

impl Encoder {
    /// Layer states of learners that listen to their histories, (rows, d_l) each. `nodes` are the states of the
    /// courses' side; `learner` the ids of the rows, which matter where learners have vectors of their own.
    pub fn listeners(
        &self,
        pass: &mut ForwardCtx,
        nodes: &[Var],
        learner: &[u32],
        histories: &Histories,
    ) -> Result<States> {
        let graph = Arc::new(self.history_graph(pass.device, histories, pass.rows(nodes[0]))?);
        let rows = histories.rows();
        let p_nodes = self.projections(pass);
        let (x, p) = match self.learner {
            None if self.model.learner != LearnerInit::History => {
                let latest = Arc::new(self.latest_graph(pass.device, histories, pass.rows(nodes[0]))?);
                let ones =
                    Tensor::from_f64(pass.device, pass.dtype, latest.edges(), 1, &vec![1.0; latest.edges()])?;
                let ones = pass.tape.constant(ones);
                let mut of = |table| pass.tape.apply(Aggregate::new(latest.clone()), &[ones, table]);
                (of(nodes[0])?, of(p_nodes)?)
            }
            Some((x, p)) => {
                let ids = Rows::new(pass.device, learner.to_vec(), self.learners)?;
                let (x, p) = (pass.param(x), pass.param(p));
                (pass.tape.apply(Gather::new(ids.clone()), &[x])?, pass.tape.apply(Gather::new(ids), &[p])?)
            }
            None => (pass.zeros(rows, self.model.dim)?, pass.zeros(rows, self.model.dim)?),
        };
        let heard = match self.attention.mode {
            AttentionMode::Laplacian | AttentionMode::Symmetric => {
                let alpha = constant(pass.device, pass.dtype, laplacian_weights(&graph))?;
                AttentionOutput { alpha: pass.tape.constant(alpha), first: None, log_sum: None }
            }
            AttentionMode::Refreshed => {
                let heard = self.attend(pass, &graph, (x, p), (nodes[0], p_nodes))?;
                let alpha = pass.tape.detach(heard.alpha);
                let log_sum = heard.log_sum.map(|v| pass.tape.detach(v));
                AttentionOutput { alpha, first: None, log_sum }
            }
            AttentionMode::Differentiated => self.attend(pass, &graph, (x, p), (nodes[0], p_nodes))?,
        };
        let became = self.outcomes(pass, &heard, histories)?;
        let first = self.messages(pass, &graph, &heard, 0, (nodes[0], p_nodes), became)?;
        let x0 = match self.model.learner {
            LearnerInit::Free | LearnerInit::Latest => x,
            LearnerInit::History => first,
            LearnerInit::FreeHistory | LearnerInit::LatestHistory => {
                pass.tape.apply(Combine::sum(2), &[x, first])?
            }
        };
        let mut states = vec![x0];
        for l in 0..self.layers.len() {
            let a = if l == 0 {
                first
            } else {
                self.messages(pass, &graph, &heard, l, (nodes[l], p_nodes), None)?
            };
            states.push(self.layer(pass, l, states[l], a, 1)?);
        }
        Ok(states)
    }

    /// What rows hear of what became of their courses (**own**): the vectors of the outcomes, summed under the attention
    /// of the courses themselves, (rows, n). Labels of the past say much about what is next: who did not finish takes the
    /// same again.
    fn outcomes(
        &self,
        pass: &mut ForwardCtx,
        heard: &AttentionOutput,
        histories: &Histories,
    ) -> Result<Option<Var>> {
        let Some(table) = self.outcome.map(|id| pass.param(id)) else { return Ok(None) };
        let mut edges = Vec::with_capacity(histories.course.len());
        for v in 0..histories.rows() {
            let range = histories.offsets[v] as usize..histories.offsets[v + 1] as usize;
            for (&course, &outcome) in histories.course[range.clone()].iter().zip(&histories.outcome[range]) {
                let first = match self.model.history_labels {
                    HistoryLabels::Course => course << self.labels,
                    HistoryLabels::Shared | HistoryLabels::None => 0,
                };
                let tail = first + outcome as u32;
                edges.push(Edge { dst: v as u32, relation: self.relations.enrol(), src: tail, bucket: 0 });
            }
        }
        let offsets = histories.offsets.clone();
        let (heads, tails) = (histories.rows(), pass.rows(table));
        let graph = Graph::from_sorted(pass.device, heads, tails, self.relations.count(), offsets, &edges)?;
        Ok(Some(pass.tape.apply(Aggregate::new(Arc::new(graph)), &[heard.alpha, table])?))
    }

    /// From each row to its latest course; rows without a history hear nothing.
    fn latest_graph(&self, device: &Device, histories: &Histories, tails: usize) -> Result<Graph> {
        let (mut edges, mut offsets) = (vec![], vec![0]);
        for v in 0..histories.rows() {
            let relation = self.relations.enrol();
            edges.extend(histories.row(v).last().map(|&tail| Edge {
                dst: v as u32,
                relation,
                src: tail,
                bucket: 0,
            }));
            offsets.push(edges.len() as u64);
        }
        Graph::from_sorted(device, histories.rows(), tails, self.relations.count(), offsets, &edges)
    }

    fn history_graph(&self, device: &Device, histories: &Histories, tails: usize) -> Result<Graph> {
        let mut edges = Vec::with_capacity(histories.course.len());
        for v in 0..histories.rows() {
            let row = histories.row(v);
            for (i, &course) in row.iter().enumerate() {
                let bucket = match self.has_bias {
                    true => recency_bucket(row.len() - 1 - i, self.attention.recency_buckets),
                    false => 0,
                };
                edges.push(Edge { dst: v as u32, relation: self.relations.enrol(), src: course, bucket });
            }
        }
        let offsets = histories.offsets.clone();
        Graph::from_sorted(device, histories.rows(), tails, self.relations.count(), offsets, &edges)
    }
}
