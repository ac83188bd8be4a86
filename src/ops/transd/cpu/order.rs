use super::super::triples::Columns;
use base::Result;
use engine::{Device, parallel};
use graph::{InverseIndex, SortedGroups};

/// Triples of one task, unless there are many relations: each task has sums of its own for all of them.
const TASK: usize = 512;

/// The triples sorted by the entity that a triple and its negative share: its row is read once for all of them, and
/// its part of the gradient is summed where they are visited.
#[derive(Debug)]
pub struct ByKept {
    /// (B) kept entity, replaced entity, its replacement, and 2 relation + side. The kept entity is the head, or the
    /// tail where `side` is 1.
    pub ids: Vec<[u32; 4]>,
    /// Triples of one task; the last may have fewer.
    pub task: usize,
    /// (runs + 1) the triples of a run, which share their kept entity and their task, are `runs[q] .. runs[q + 1]`.
    pub runs: Vec<u32>,
    /// (tasks + 1) the runs of task t are `of_task[t] .. of_task[t + 1]`.
    pub of_task: Vec<u32>,
    /// Uses of entities. Below `runs`: the run. From there on, 2 i and 2 i + 1 are what is replaced in triple i, and
    /// what replaces it.
    pub uses: InverseIndex,
}

impl ByKept {
    pub fn new(batch: &Columns) -> Result<ByKept> {
        let count = batch.count();
        let mut kept = vec![0; count];
        parallel::for_chunks(&mut kept, |first, kept| {
            for (k, kept) in kept.iter_mut().enumerate() {
                let i = first + k;
                *kept = if batch.head_changes(i) { batch.tails[i] } else { batch.heads[i] };
            }
        });
        let sorted = SortedGroups::new(&kept, batch.entities)?;
        let task = TASK.max(2 * batch.relations);
        let mut used = Vec::with_capacity(sorted.id.len() + count / task + 1 + 2 * count);
        let (mut runs, mut of_task) = (Vec::with_capacity(sorted.id.len() + count / task + 2), vec![]);
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
        let shared = used.len();
        used.resize(shared + 2 * count, 0);
        let flat: &mut [u32] = bytemuck::cast_slice_mut(&mut ids);
        parallel::for_rows2((flat, 4), (&mut used[shared..], 2), |first, ids, used| {
            let rows = ids.chunks_exact_mut(4).zip(used.chunks_exact_mut(2));
            for ((ids, used), &i) in rows.zip(&sorted.place[first..]) {
                let i = i as usize;
                let kind = batch.kind(i);
                ids.copy_from_slice(&match kind & 1 {
                    0 => [batch.heads[i], batch.tails[i], batch.negative_tails[i], kind],
                    _ => [batch.tails[i], batch.heads[i], batch.negative_heads[i], kind],
                });
                used.copy_from_slice(&ids[1..3]);
            }
        });
        Ok(ByKept { task, runs, of_task, uses: InverseIndex::new(&Device::Cpu, &used, batch.entities)?, ids })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Number of runs, which are the first uses.
    pub fn run_count(&self) -> usize {
        self.runs.len() - 1
    }
}
