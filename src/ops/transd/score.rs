use super::cpu::{Tables, distance};
use super::{Distance, ProjNorm, check_tables};
use base::{Error, Result};
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::{Index, Tensor, parallel};

/// Plausibility g = -d of triples, formula (2): (B, 1), higher is more plausible. No gradient.
///
/// `tables` are E (N, n), P (N, n), R (Q, m), R_p (Q, m). `Error::Shape` for ids out of range.
pub fn transd_score(
    tables: [&Tensor; 4],
    heads: &Index<u32>,
    relations: &Index<u32>,
    tails: &Index<u32>,
    kind: Distance,
    norm: ProjNorm,
) -> Result<Tensor> {
    check_tables(&tables, tables[0].rows(), tables[2].rows())?;
    let count = heads.len();
    if relations.len() != count || tails.len() != count {
        let got = format!("{} relations, {} tails", relations.len(), tails.len());
        return Err(Error::shape("transd_score", format!("{count} of each column"), got));
    }
    let below = |ids: &Index<u32>, n: usize| ids.host().iter().all(|&id| (id as usize) < n);
    if !below(heads, tables[0].rows()) || !below(tails, tables[0].rows()) || !below(relations, tables[2].rows()) {
        let expected = format!("ids below {} entities, {} relations", tables[0].rows(), tables[2].rows());
        return Err(Error::shape("transd_score", expected, "an id out of range"));
    }
    let (n, m) = (tables[0].cols(), tables[2].cols());
    let mut scores = tables[0].empty_like(count, 1)?;
    if let Some(gpu) = tables[0].gpu() {
        if count > 0 {
            gpu.launch(kernels::TRANSD_SCORE, Grid::warps(count, 256))
                .tensors(tables)
                .indices([heads, relations, tails])
                .tensor_mut(&mut scores)
                .count(count)
                .count(n)
                .count(m)
                .value(kind.code())
                .value(norm.code())
                .run()?;
        }
        return Ok(scores);
    }
    dispatch_float!(scores.dtype(), T => {
        let x = Tables::<T>::new(&tables);
        let (heads, relations, tails) = (heads.host(), relations.host(), tails.host());
        parallel::for_rows(scores.host_mut::<T>(), 1, |first, out| {
            let mut e = vec![0.0 as T; m];
            for (i, out) in out.iter_mut().enumerate() {
                let (r, rp) = x.relation(relations[first + i]);
                let head = x.projected(heads[first + i], rp, norm);
                let tail = x.projected(tails[first + i], rp, norm);
                e.copy_from_slice(r);
                head.add_to(1.0, rp, &mut e);
                tail.add_to(-1.0, rp, &mut e);
                *out = -distance(&e, parallel::dot(&e, &e), kind);
            }
        });
    });
    Ok(scores)
}
