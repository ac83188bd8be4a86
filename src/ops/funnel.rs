//! Probabilities along a funnel, as logits: products and mixtures that stay finite at any logits.
//!
//! A model that multiplies probabilities (ESMM, ESM2) hands on the logit of the product. Cross-entropy, AUC and log-loss
//! then work as for any other logit, and no 1 - p is ever formed.

use super::launch::launch;
use super::{check, check_shape};
use base::Result;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::{Backward, Op, Real, Tensor, parallel};

/// How logits become one.
///
/// * `Both`, inputs a, b: logit(s(a) s(b)) = -ln(e^-a + e^-b + e^-(a+b)).
/// * `Either`, inputs c, a, b: logit(s(c) s(a) + s(-c) s(b)).
///
/// with s the sigmoid. Inputs and output of one shape, taken element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funnel {
    Both,
    Either,
}

/// ln(e^x + e^y)
#[inline(always)]
fn log_add_exp<T: Real>(x: T, y: T) -> T {
    let top = x.max(y);
    top + (-(x - y).abs()).fast_exp().fast_ln_1p()
}

/// ln s(x)
#[inline(always)]
fn log_sigmoid<T: Real>(x: T) -> T {
    -(-x).softplus()
}

impl Funnel {
    fn inputs(self) -> usize {
        match self {
            Funnel::Both => 2,
            Funnel::Either => 3,
        }
    }

    /// The logit, and its slopes along the inputs. Inputs past `Both`'s two are not read.
    #[inline(always)]
    fn at<T: Real>(self, x: [T; 3]) -> (T, [T; 3]) {
        match self {
            Funnel::Both => {
                let (a, b) = (x[0], x[1]);
                let log = log_add_exp(log_add_exp(-a, -b), -(a + b));
                let neither = (-(a + b) - log).fast_exp();
                (-log, [(-a - log).fast_exp() + neither, (-b - log).fast_exp() + neither, T::zero()])
            }
            Funnel::Either => {
                let [c, a, b] = x;
                let (with, without) = (log_sigmoid(c), log_sigmoid(-c));
                let (a_yes, b_yes) = (with + log_sigmoid(a), without + log_sigmoid(b));
                let (a_no, b_no) = (with + log_sigmoid(-a), without + log_sigmoid(-b));
                let (yes, no) = (log_add_exp(a_yes, b_yes), log_add_exp(a_no, b_no));
                // The shares of the first way in p and in 1 - p.
                let (p, q) = ((a_yes - yes).fast_exp(), (a_no - no).fast_exp());
                let (p_b, q_b) = ((b_yes - yes).fast_exp(), (b_no - no).fast_exp());
                let da = p * (-a).sigmoid() + q * a.sigmoid();
                let db = p_b * (-b).sigmoid() + q_b * b.sigmoid();
                (yes - no, [p - q, da, db])
            }
        }
    }
}

impl Op for Funnel {
    fn name(&self) -> &'static str {
        "funnel"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        let wanted = self.inputs();
        check(x.len() == wanted, "funnel", || format!("{wanted} logits"), || format!("{}", x.len()))?;
        for other in &x[1..] {
            check_shape("funnel", "a logit", other, x[0].rows(), x[0].cols())?;
        }
        let mut y = x[0].empty_like(x[0].rows(), x[0].cols())?;
        match x[0].gpu() {
            _ if y.is_empty() => {}
            Some(gpu) => {
                let (n, third) = (y.len() as u64, x.get(2).copied());
                launch!(gpu, kernels::FUNNEL_FWD, Grid::cover(y.len(), 256); &mut y, x[0], x[1], third, n)?;
            }
            None => dispatch_float!(x[0].dtype(), T => {
                let inputs: Vec<&[T]> = x.iter().map(|x| x.host()).collect();
                parallel::for_chunks(y.host_mut::<T>(), |first, y| {
                    for (i, y) in y.iter_mut().enumerate() {
                        *y = self.at(gathered(&inputs, first + i)).0;
                    }
                });
            }),
        }
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let Some(dy) = dy[0].filter(|dy| !dy.is_empty()) else { return Ok(()) };
        if let Some(gpu) = x[0].gpu() {
            let [da, db, rest @ ..] = dx else { return Ok(()) };
            let (n, third, grid) = (dy.len() as u64, x.get(2).copied(), Grid::cover(dy.len(), 256));
            let dthird = rest.first_mut().and_then(Option::as_mut);
            return launch!(gpu, kernels::FUNNEL_BWD, grid; da, db, dthird, dy, x[0], x[1], third, n);
        }
        dispatch_float!(x[0].dtype(), T => {
            let inputs: Vec<&[T]> = x.iter().map(|x| x.host()).collect();
            for (k, dx) in dx.iter_mut().enumerate() {
                let (Some(dx), dy) = (dx, dy.host::<T>()) else { continue };
                parallel::for_chunks(dx.host_mut::<T>(), |first, dx| {
                    for (i, (dx, &dy)) in dx.iter_mut().zip(&dy[first..]).enumerate() {
                        *dx += dy * self.at(gathered(&inputs, first + i)).1[k];
                    }
                });
            }
        });
        Ok(())
    }
}

/// Element `i` of each input.
#[inline(always)]
fn gathered<T: Real>(inputs: &[&[T]], i: usize) -> [T; 3] {
    [inputs[0][i], inputs[1][i], inputs.get(2).map_or(T::zero(), |x| x[i])]
}
