//! What the host asks of a step's work, and what it gives the backward passes to begin with.

use std::collections::BTreeMap;

use crate::engine::device::GpuBuffer;
use crate::engine::gradient_weighting::{BalanceLog, GradientWeighting, Report};
use crate::engine::{Gradients, Tape, Tensor, Var};
use crate::models::{Loss, Losses, Role};
use crate::{Error, Result};

/// Losses, gates and what the weighting has found, gathered so that one transfer brings them. Work that is replayed
/// overwrites them.
pub(super) struct StepMetrics {
    /// Names in the log, with the place of their tensor and the column of it; the mean of all where there is none.
    names: Vec<(String, usize, Option<usize>)>,
    /// Names of the losses whose gradients are weighted, with their weights in (16).
    pub weighted: Vec<(String, f64)>,
    values: Values,
    report: Option<Report>,
}

enum Values {
    Host(Vec<Vec<f64>>),
    /// The report's doubles, then tensors of these many floats.
    Device(GpuBuffer, Vec<usize>),
}

impl StepMetrics {
    pub fn new(tasks: &[String], tape: &Tape, losses: &Losses, report: Option<Report>) -> Result<StepMetrics> {
        let mut vars: Vec<Var> = losses.losses.iter().map(|l| l.var).chain(losses.gates.iter().copied()).collect();
        vars.sort_by_key(|v| v.id());
        vars.dedup();
        let place = |var: Var| vars.partition_point(|v| v.id() < var.id());
        let loss = |l: &Loss| (format!("loss/{}", l.name), place(l.var), Some(l.column));
        let gates = tasks.iter().zip(&losses.gates);
        let gates = gates.map(|(task, gate)| (format!("gate/{task}"), place(*gate), None));
        let tensors: Vec<&Tensor> = vars.iter().map(|v| tape.value(*v)).collect();
        Ok(StepMetrics {
            names: losses.losses.iter().map(loss).chain(gates).collect(),
            weighted: weighted(&losses.losses).map(|l| (l.name.clone(), l.weight)).collect(),
            values: Values::new(&tensors, report.as_ref())?,
            report,
        })
    }

    /// Values by name, and the weighting's log; waits for the work.
    pub fn read(&self, balancer: &mut GradientWeighting) -> Result<(BTreeMap<String, f64>, Option<BalanceLog>)> {
        let (found, values) = self.values.read(self.report.as_ref())?;
        let value = |(name, tensor, column): &(String, usize, Option<usize>)| {
            let all = &values[*tensor];
            let mean = || all.iter().sum::<f64>() / all.len().max(1) as f64;
            (name.clone(), column.map_or_else(mean, |column| all[column]))
        };
        let log = self.report.as_ref().map(|report| balancer.finish(report, &found)).transpose()?;
        Ok((self.names.iter().map(value).collect(), log))
    }
}

impl Values {
    fn new(tensors: &[&Tensor], report: Option<&Report>) -> Result<Values> {
        let Some(gpu) = tensors.first().and_then(|t| t.gpu()) else {
            return Ok(Values::Host(tensors.iter().map(|t| t.to_f64()).collect::<Result<_>>()?));
        };
        let report = report.and_then(Report::on_device);
        let parts: Vec<&GpuBuffer> = report.into_iter().chain(tensors.iter().filter_map(|t| t.buffer())).collect();
        let all = GpuBuffer::concatenated(gpu, &parts)?;
        Ok(Values::Device(all, tensors.iter().map(|t| t.len()).collect()))
    }

    /// The report's numbers, and those of each tensor.
    fn read(&self, report: Option<&Report>) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
        let (buffer, lengths) = match self {
            Values::Host(values) => return Ok((vec![], values.clone())),
            Values::Device(buffer, lengths) => (buffer, lengths),
        };
        let bytes: Vec<u8> = buffer.read()?;
        let (found, mut rest) = bytes.split_at(report.and_then(Report::on_device).map_or(0, GpuBuffer::bytes));
        let mut tensors = vec![];
        for length in lengths {
            let (own, after) = rest.split_at(length * size_of::<f32>());
            tensors.push(bytemuck::pod_collect_to_vec::<u8, f32>(own).into_iter().map(f64::from).collect());
            rest = after;
        }
        Ok((bytemuck::pod_collect_to_vec(found), tensors))
    }
}

/// Those whose gradients are weighted, the target first.
pub(super) fn weighted(losses: &[Loss]) -> impl Iterator<Item = &Loss> {
    losses.iter().filter(|l| l.role != Role::Constraint)
}

/// Gradients of losses with respect to themselves: the same in every step, so they are made once.
#[derive(Default)]
pub(super) struct Seeds(BTreeMap<(usize, usize, usize, u64), Tensor>);

impl Seeds {
    /// The gradient of the weighted sum of some losses.
    pub fn gradients(&mut self, tape: &Tape, losses: &[&Loss]) -> Result<Gradients> {
        let seeds = losses
            .iter()
            .map(|l| Ok((l.var, self.one_hot(tape, l.var, l.column, l.weight)?)))
            .collect::<Result<Vec<_>>>()?;
        tape.backward(&seeds)
    }

    pub fn one_hot(&mut self, tape: &Tape, var: Var, column: usize, weight: f64) -> Result<Tensor> {
        let value = tape.value(var);
        let (rows, cols) = value.shape();
        let key = (rows, cols, column, weight.to_bits());
        if let Some(seed) = self.0.get(&key)
            && (seed.dtype(), seed.device()) == (value.dtype(), value.device())
        {
            return Ok(seed.clone());
        }
        let mut seed = vec![0.0; value.len()];
        let Some(place) = seed.get_mut(column) else {
            return Err(Error::shape("loss", format!("a column below {}", value.len()), format!("{column}")));
        };
        *place = weight;
        let seed = Tensor::from_f64(&value.device(), value.dtype(), rows, cols, &seed)?;
        self.0.insert(key, seed.clone());
        Ok(seed)
    }
}
