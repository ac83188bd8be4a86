use super::super::triples::Columns;
use crate::Result;
use crate::engine::Device;
use crate::engine::parallel;
use crate::graph::{Runs, Segments};

/// Triples of one task, unless there are many relations: each task has sums of its own for all of them.
const TASK: usize = 512;

/// The triples sorted by the entity that a triple and its negative share: its row is read once for all of them, and
/// its part of the gradient is summed where they are visited.
#[derive(Debug)]
pub struct ByKept {
    /// (B) kept entity, replaced entity, its replacement, and 2 relation + side. The kept entity is the head, or the tail
    /// where `side` is 1.
    pub ids: Vec<[u32; 4]>,
    /// Triples of one task; the last may have fewer.
    pub task: usize,
    /// (runs + 1) the triples of a run, which share their kept entity and their task, are `runs[q] .. runs[q + 1]`.
    pub runs: Vec<u32>,
    /// (tasks + 1) the runs of task t are `of_task[t] .. of_task[t + 1]`.
    pub of_task: Vec<u32>,
    /// Uses of entities. Below `runs`: the run. From there on, 2 i and 2 i + 1 are what is replaced in triple i, and what
    /// replaces it.
    pub uses: Segments,
}

impl ByKept {
    pub fn new(batch: &Columns) -> Result<ByKept> {
        let count = batch.count();
        let kept: Vec<u32> =
            (0..count).map(|i| if batch.head_changes(i) { batch.tails[i] } else { batch.heads[i] }).collect();
        let sorted = Runs::new(&kept, batch.entities)?;
        let task = TASK.max(2 * batch.relations);
        let (mut used, mut runs, mut of_task) = (Vec::with_capacity(3 * count), vec![], vec![]);
        for (&id, own) in sorted.id.iter().zip(sorted.offsets.windows(2)) {
            let (mut at, stop) = (own[0] as usize, own[1] as usize);
            while at < stop {
                if at.is_multiple_of(task) {
                    of_task.push(runs.len() as u32);
                }
                used.push(id);
                runs.push(at as u32);
                at = stop.min((at / task + 1) * task);
            }
        }
        of_task.push(runs.len() as u32);
        runs.push(count as u32);
        let mut ids = vec![[0; 4]; count];
        parallel::for_rows(&mut ids, 1, |first, ids| {
            for (ids, &i) in ids.iter_mut().zip(&sorted.place[first..]) {
                let i = i as usize;
                let kind = batch.kind(i);
                *ids = match kind & 1 {
                    0 => [batch.heads[i], batch.tails[i], batch.negative_tails[i], kind],
                    _ => [batch.tails[i], batch.heads[i], batch.negative_heads[i], kind],
                };
            }
        });
        used.extend(ids.iter().flat_map(|ids| [ids[1], ids[2]]));
        Ok(ByKept { task, runs, of_task, uses: Segments::new(&Device::Cpu, &used, batch.entities)?, ids })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Number of runs, which are the first uses.
    pub fn run_count(&self) -> usize {
        self.runs.len() - 1
    }
}
