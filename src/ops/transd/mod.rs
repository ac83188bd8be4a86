//! The knowledge-graph loss: TransD's projection (1), its distance (2), and a pairwise loss over corrupted
//! triples, with value and gradient in one pass.
//!
//! On a GPU the forward pass visits the triples sorted by relation, so the gradients of a relation are sums of
//! neighbouring triples and need no storage; on the CPU sorted by the entity that a triple and its negative share, so
//! these entities' rows are read, and their gradients summed, once. Those of the other entities are added in the
//! backward pass by sorted segments of their uses. The projection's own gradient is cheap there: every use of an entity
//! shares its two rows, so only the sum of r_p . G is needed beside the sum of G.

mod cpu;
mod gpu;
mod score;
mod triples;

pub use score::transd_score;
use triples::Order;
pub use triples::Triples;

use super::{check, check_shape, inputs};
use base::{Error, Result};
use engine::{Backward, Op, Tensor};
use serde::{Deserialize, Serialize};

/// Pairwise loss of z = d(positive) - d(negative).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TransDLoss {
    /// mean softplus(z)
    Bpr,
    /// mean max(0, gamma + z)
    Margin { gamma: f32 },
}

/// Distance d = -g of the residual e = h_perp + r - t_perp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// sum e^2, formula (2)
    L2Squared,
    /// sqrt(sum e^2 + 1e-12)
    L2,
    /// sum |e|
    L1,
}

/// What is done to a projected entity before the distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjNorm {
    /// Nothing, as formula (1) says.
    None,
    /// Scaled to the unit sphere where it lies outside the unit ball.
    Clamp,
    /// Scaled to norm 1.
    L2,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransDOptions {
    pub loss: TransDLoss,
    pub distance: Distance,
    pub proj_norm: ProjNorm,
    /// lambda of lambda/2 * mean(|h_perp|^2 + |r|^2 + |t_perp|^2 + |corrupted entity's projection|^2)
    pub l2: f32,
}

impl Default for TransDOptions {
    fn default() -> Self {
        TransDOptions { loss: TransDLoss::Bpr, distance: Distance::L2Squared, proj_norm: ProjNorm::None, l2: 1e-5 }
    }
}

/// Inputs E (N, n), P (N, n), R (Q, m), R_p (Q, m); output the loss (1, 1). n and m may differ. An empty batch
/// has loss 0. Formulas (1) and (2).
///
/// E and P may stand on the tape as `Tape::parameter_of_rows` of `Triples::rows`, both of them: then their gradients
/// are compact.
pub struct TransD {
    triples: Triples,
    options: TransDOptions,
    saved: Option<UnitGradients>,
}

/// The gradient for upstream 1, as far as the forward pass of a device takes it.
enum UnitGradients {
    Cpu(cpu::TripleGradients),
    Gpu(gpu::RowGradients),
}

impl TransD {
    pub fn new(options: TransDOptions, triples: Triples) -> TransD {
        TransD { triples, options, saved: None }
    }
}

/// Fails unless the four tables fit each other and the triples.
fn check_tables(x: &[&Tensor], entities: usize, relations: usize) -> Result<()> {
    let [e, p, r, rp] = inputs("transd", "E, P, R, R_p", x)?;
    for (name, table, rows, cols) in [
        ("E", e, entities, e.cols()),
        ("P", p, entities, e.cols()),
        ("R", r, relations, r.cols()),
        ("R_p", rp, relations, r.cols()),
    ] {
        check_shape("transd", name, table, rows, cols)?;
    }
    check(e.cols() > 0 && r.cols() > 0, "transd", || "n, m of 1 or more".into(), || "0".into())
}

impl Op for TransD {
    fn name(&self) -> &'static str {
        "transd"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        check_tables(x, self.triples.entities, self.triples.relations)?;
        if self.triples.is_empty() {
            return Ok(vec![Tensor::zeros(&x[0].device(), x[0].dtype(), 1, 1)?]);
        }
        let (loss, saved) = match (x[0].gpu(), &self.triples.order) {
            (Some(gpu), Order::Gpu(triples)) => {
                let (loss, saved) = gpu::forward(gpu, triples, &self.options, x)?;
                (loss, UnitGradients::Gpu(saved))
            }
            (None, Order::Cpu(triples)) => {
                let (loss, saved) = cpu::forward(triples, &self.options, x)?;
                (loss, UnitGradients::Cpu(saved))
            }
            _ => return Err(Error::shape("transd", "tables on the triples' device", x[0].device().name())),
        };
        self.saved = Some(saved);
        Ok(vec![loss])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let rows = |i: usize| dx[i].as_ref().map(Tensor::rows);
        let fits = |rows: Option<usize>| rows.is_none_or(|n| [x[0].rows(), self.triples.rows().len()].contains(&n));
        let alike = rows(0).is_none() || rows(1).is_none() || rows(0) == rows(1);
        check(
            fits(rows(0)) && fits(rows(1)) && alike,
            "transd",
            || "gradients of E and P alike".into(),
            || format!("{:?} and {:?} rows", rows(0), rows(1)),
        )?;
        match (dy[0], &self.saved, &self.triples.order) {
            (Some(dy), Some(UnitGradients::Gpu(saved)), Order::Gpu(triples)) => {
                gpu::backward(triples, saved, x, dy, dx)
            }
            (Some(dy), Some(UnitGradients::Cpu(saved)), Order::Cpu(triples)) => {
                cpu::backward(triples, self.options.distance, saved, x, dy, dx);
                Ok(())
            }
            _ => dx.iter_mut().flatten().try_for_each(Tensor::fill_zero),
        }
    }

    fn overwrites(&self) -> bool {
        true
    }
}
