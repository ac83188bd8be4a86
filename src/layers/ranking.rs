//! The multi-task head as a ranking reads it: the first task's logit alone.

use super::{Head, Mlp};
use crate::Result;
use crate::config::{BottomKind, Fusion, HeadActivation};
use crate::engine::{Params, Tensor};
use crate::ops::{Activation, Bottom, PairHead};

impl Head {
    /// The first task's logit of pairs with vectors of `dim` columns; other tasks' towers and the auxiliary heads are
    /// left out.
    pub fn first_task(&self, params: &Params, dim: usize) -> Result<PairHead> {
        let config = &self.config;
        let bottom = match config.bottom {
            BottomKind::Concat => Bottom::Concat,
            BottomKind::Hadamard => Bottom::Hadamard,
            BottomKind::ConcatHadamard => Bottom::ConcatHadamard,
        };
        let act = match config.activation {
            HeadActivation::Relu => Activation::Relu,
            HeadActivation::Elu => Activation::Elu,
        };
        let (m, fdn) = (config.pairs, config.fusion == Fusion::FdnConcat);
        // Side by side as the fusion reads them: [S | T], or the codes [T | S].
        let (shared, specific) = (self.shared.iter(), self.specific[..m].iter());
        let mlps: Vec<&Mlp> =
            if fdn { specific.chain(shared).collect() } else { shared.chain(specific).collect() };
        let layer = |mlp: &Mlp, i: usize| -> (&Tensor, &Tensor) {
            let (w, b) = mlp.layers[i];
            (&params.get(w).value, &params.get(b).value)
        };
        let first: Vec<(&Tensor, &Tensor)> = mlps.iter().map(|mlp| layer(mlp, 0)).collect();
        let mut head = PairHead::new(bottom, dim, &first, act)?;
        let mut at = 0;
        let mut width = config.widths[0];
        for (i, &next) in config.widths.iter().enumerate().skip(1) {
            let to = head.reserve(mlps.len() * next);
            for (j, mlp) in mlps.iter().enumerate() {
                head.dense(at + j * width, layer(mlp, i), act, to + j * next)?;
            }
            (at, width) = (to, next);
        }
        if !fdn {
            let shared = self.shared.len();
            if m > 1 {
                let to = head.reserve(2 * width);
                for (part, from, parts) in [(0, at, shared), (1, at + shared * width, m)] {
                    match self.projections.get(part) {
                        Some(mlp) => {
                            head.dense(from, layer(mlp, 0), Activation::Identity, to + part * width)?
                        }
                        None => head.mean(from, parts, width, to + part * width)?,
                    }
                }
                at = to;
            }
            let (w, b) = self.gates[0];
            let (w, b) = (&params.get(w).value, &params.get(b).value);
            let logits = head.reserve(w.cols());
            head.dense(at, (w, b), Activation::Identity, logits)?;
            let to = head.reserve(width);
            match config.fusion {
                Fusion::SoftmaxGate => head.softmax(at, width, logits, to)?,
                _ => head.gate(at, width, logits, w.cols(), to)?,
            }
            at = to;
        }
        let tower = &self.towers[0];
        for i in 0..tower.layers.len() {
            let (w, b) = layer(tower, i);
            let to = head.reserve(w.cols());
            let act = if i + 1 == tower.layers.len() { Activation::Identity } else { act };
            head.dense(at, (w, b), act, to)?;
            at = to;
        }
        Ok(head)
    }
}
