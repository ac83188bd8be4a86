//! How a node's vector meets its neighbourhood's: formula (6) and the two aggregators it is compared with.

mod cpu;

use super::activation::Activation;
use super::concat::{add_columns, concat};
use super::dense;
use super::{Dropout, check, check_shape, saved};
use base::Result;
use cpu::Layer;
use engine::device::{Grid, kernels};
use engine::dispatch_float;
use engine::parallel::{self, Trans};
use engine::{Backward, DType, Device, Op, Philox, Real, StepRandom, Tensor};

/// Which function joins x and a. f is LeakyReLU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregator {
    /// f((x + a) W1 + b1) + f((x * a) W2 + b2)
    #[default]
    Bi,
    /// f((x + a) W + b)
    Gcn,
    /// f([x | a] W + b)
    GraphSage,
}

impl Aggregator {
    /// Shapes of the weights, in the order of the op's inputs after x and a: W1, W2, b1, b2, or W, b.
    pub fn weights(self, d_in: usize, d_out: usize) -> Vec<(usize, usize)> {
        match self {
            Aggregator::Bi => vec![(d_in, d_out), (d_in, d_out), (1, d_out), (1, d_out)],
            Aggregator::Gcn => vec![(d_in, d_out), (1, d_out)],
            Aggregator::GraphSage => vec![(2 * d_in, d_out), (1, d_out)],
        }
    }
}

/// Inputs x (N, d_in), a (N, d_in), then the weights (`Aggregator::weights`); output (N, d_out), after dropout.
pub struct BiInteraction {
    aggregator: Aggregator,
    slope: f32,
    dropout: Dropout,
    /// The dropout's random numbers, where a GPU reads them from memory.
    step: Option<StepRandom>,
    /// The activated products before dropout, one or two of (N, d_out), of whose signs backward needs to know; by
    /// blocks these signs alone, a byte for each element of the output.
    activated: Option<Vec<Tensor>>,
}

/// What the dense products are taken of: s = x + a and q = x * a (`Bi`), s (`Gcn`), or [x | a] (`GraphSage`).
fn products_of(aggregator: Aggregator, x: &Tensor, a: &Tensor) -> Result<Vec<Tensor>> {
    if aggregator == Aggregator::GraphSage {
        return Ok(vec![concat(&[x, a])?]);
    }
    let mut s = x.empty_like(x.rows(), x.cols())?;
    let mut q = match aggregator {
        Aggregator::Bi => Some(x.empty_like(x.rows(), x.cols())?),
        _ => None,
    };
    if let Some(gpu) = x.gpu().filter(|_| !x.is_empty()) {
        gpu.launch(kernels::AGGREGATE_INPUTS, Grid::cover(x.len().div_ceil(4), 256))
            .tensor_mut(&mut s)
            .optional_mut(q.as_mut())
            .tensor(x)
            .tensor(a)
            .value(x.len() as u64)
            .run()?;
    } else if x.gpu().is_none() {
        dispatch_float!(x.dtype(), T => {
            let (x, a) = (x.host::<T>(), a.host::<T>());
            let join = |to: &mut Tensor, f: fn(T, T) -> T| {
                parallel::for_chunks(to.host_mut::<T>(), |at, to| {
                    to.iter_mut().zip(&x[at..]).zip(&a[at..]).for_each(|((to, &x), &a)| *to = f(x, a));
                });
            };
            join(&mut s, |x, a| x + a);
            if let Some(q) = &mut q {
                join(q, |x, a| x * a);
            }
        });
    }
    Ok(std::iter::once(s).chain(q).collect())
}

impl BiInteraction {
    /// `slope` of the LeakyReLU: 0.01 is what PyTorch versions of KGAT have, 0.2 its TensorFlow version. `rate` of
    /// the dropout, in [0, 1); without `random` there is none.
    pub fn new(aggregator: Aggregator, slope: f32, rate: f32, random: Option<Philox>) -> BiInteraction {
        let dropout = random.map_or(Dropout::none(), |random| Dropout { rate, random });
        BiInteraction { aggregator, slope, dropout, step: None, activated: None }
    }

    /// As `new`, with the random numbers of a step.
    pub fn of_step(aggregator: Aggregator, slope: f32, rate: f32, random: StepRandom) -> BiInteraction {
        let op = BiInteraction::new(aggregator, slope, rate, Some(random.philox()));
        BiInteraction { step: Some(random), ..op }
    }

    fn products(&self) -> usize {
        if self.aggregator == Aggregator::Bi { 2 } else { 1 }
    }

    /// Whether the CPU's code by blocks applies.
    fn by_blocks(&self, x: &[&Tensor]) -> bool {
        self.aggregator == Aggregator::Bi && x[0].gpu().is_none() && !x[0].is_empty() && !x[2].is_empty()
    }

    fn layer<'a, T: Real>(&self, x: &[&'a Tensor]) -> Layer<'a, T> {
        Layer {
            x: x[0].host(),
            a: x[1].host(),
            w: [x[2].host(), x[3].host()],
            b: [x[4].host(), x[5].host()],
            d_in: x[0].cols(),
            d_out: x[2].cols(),
            slope: T::of(self.slope as f64),
            dropout: self.dropout,
        }
    }

    fn backward_by_blocks<T: Real>(&self, x: &[&Tensor], dy: &Tensor, signs: &Tensor, dx: &mut [Option<Tensor>]) {
        let (nodes, weights) = dx.split_at_mut(2);
        let (first, second) = nodes.split_at_mut(1);
        let layer = self.layer::<T>(x);
        let parts = layer.backward(
            dy.host(),
            &bytemuck::cast_slice(signs.host::<f32>())[..dy.len()],
            first[0].as_mut().map(Tensor::host_overwrite),
            second[0].as_mut().map(Tensor::host_overwrite),
        );
        let (mut begin, area) = (0, x[2].len());
        for (gradient, len) in weights.iter_mut().zip([area, area, x[2].cols(), x[2].cols()]) {
            if let Some(gradient) = gradient {
                let gradient = gradient.host_mut::<T>();
                parts.iter().for_each(|part| parallel::axpy(T::one(), &part[begin..begin + len], gradient));
            }
            begin += len;
        }
    }

    fn check_inputs(&self, x: &[&Tensor]) -> Result<()> {
        const NAMES: [&str; 4] = ["W1", "W2", "b1", "b2"];
        self.dropout.check("bi-interaction")?;
        let wanted = 2 + 2 * self.products();
        check(x.len() == wanted, "bi-interaction", || format!("{wanted} inputs"), || format!("{}", x.len()))?;
        check_shape("bi-interaction", "a", x[1], x[0].rows(), x[0].cols())?;
        let shapes = self.aggregator.weights(x[0].cols(), x[2].cols());
        for (i, (rows, cols)) in shapes.into_iter().enumerate() {
            let name = if self.products() == 2 { NAMES[i] } else { ["W", "b"][i] };
            check_shape("bi-interaction", name, x[2 + i], rows, cols)?;
        }
        Ok(())
    }

    /// dropout(h1 + h2), or dropout(h1)
    fn output(&self, h: &[Tensor]) -> Result<Tensor> {
        let [h1, h2] = h else { return self.dropout.apply(&h[0], self.step.as_ref()) };
        let mut y = h1.empty_like(h1.rows(), h1.cols())?;
        if let Some(gpu) = h1.gpu().filter(|_| !h1.is_empty()) {
            gpu.launch(kernels::AGGREGATE_OUTPUTS, Grid::cover(h1.len().div_ceil(4), 256))
                .tensor_mut(&mut y)
                .tensor(h1)
                .tensor(h2)
                .value(self.dropout.options(self.step.as_ref()))
                .value(h1.len() as u64)
                .run()?;
        } else if h1.gpu().is_none() {
            dispatch_float!(h1.dtype(), T => {
                let (h1, h2) = (h1.host::<T>(), h2.host::<T>());
                parallel::for_chunks(y.host_mut::<T>(), |at, y| {
                    self.dropout.scales::<T>(at, y.len(), |i, scale| y[i] = scale * (h1[at + i] + h2[at + i]));
                });
            });
        }
        Ok(y)
    }

    /// d = mask dy f'(h) for each product.
    fn output_backward(&self, dy: &Tensor, h: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut d = h.iter().map(|h| h.empty_like(h.rows(), h.cols())).collect::<Result<Vec<_>>>()?;
        if let Some(gpu) = dy.gpu() {
            let (d1, d2) = d.split_at_mut(1);
            gpu.launch(kernels::AGGREGATE_OUTPUTS_BWD, Grid::cover(dy.len().div_ceil(4), 256))
                .tensor_mut(&mut d1[0])
                .optional_mut(d2.first_mut())
                .tensor(dy)
                .tensor(&h[0])
                .optional(h.get(1))
                .value(self.dropout.options(self.step.as_ref()))
                .value(self.slope)
                .value(dy.len() as u64)
                .run()?;
            return Ok(d);
        }
        dispatch_float!(dy.dtype(), T => {
            let (dy, slope) = (dy.host::<T>(), T::of(self.slope as f64));
            for (d, h) in d.iter_mut().zip(h) {
                let h = h.host::<T>();
                parallel::for_chunks(d.host_mut::<T>(), |at, d| {
                    self.dropout.scales::<T>(at, d.len(), |i, scale| {
                        let lrelu = if h[at + i] > 0.0 { 1.0 } else { slope };
                        d[i] = scale * dy[at + i] * lrelu;
                    });
                });
            }
        });
        Ok(d)
    }
}

/// dx += p1 + a p2, da += p1 + x p2; p2 absent means 0.
fn inputs_backward(
    x: &Tensor,
    a: &Tensor,
    p: &[Tensor],
    dx: Option<&mut Tensor>,
    da: Option<&mut Tensor>,
) -> Result<()> {
    if let Some(gpu) = x.gpu() {
        return gpu
            .launch(kernels::AGGREGATE_INPUTS_BWD, Grid::cover(x.len().div_ceil(4), 256))
            .optional_mut(dx)
            .optional_mut(da)
            .tensor(&p[0])
            .optional(p.get(1))
            .tensor(x)
            .tensor(a)
            .value(x.len() as u64)
            .run();
    }
    dispatch_float!(x.dtype(), T => {
        let p1 = p[0].host::<T>();
        for (grad, other) in [(dx, a), (da, x)] {
            let Some(grad) = grad else { continue };
            let product = p.get(1).map(|p2| (p2.host::<T>(), other.host::<T>()));
            parallel::for_chunks(grad.host_mut::<T>(), |at, grad| {
                parallel::axpy(1.0, &p1[at..at + grad.len()], grad);
                if let Some((p2, other)) = product {
                    let terms = p2[at..].iter().zip(&other[at..]);
                    grad.iter_mut().zip(terms).for_each(|(g, (&p2, &other))| *g += p2 * other);
                }
            });
        }
    });
    Ok(())
}

impl Op for BiInteraction {
    fn name(&self) -> &'static str {
        "bi-interaction"
    }

    fn forward(&mut self, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.check_inputs(x)?;
        if self.by_blocks(x) {
            let mut y = x[0].empty_like(x[0].rows(), x[2].cols())?;
            // Four bytes to an element: memory of tensors is used again from step to step.
            let mut signs = Tensor::empty(&Device::Cpu, DType::F32, y.len().div_ceil(4), 1)?;
            let bytes = &mut bytemuck::cast_slice_mut(signs.host_mut::<f32>())[..y.len()];
            dispatch_float!(y.dtype(), T => self.layer::<T>(x).forward(y.host_mut(), bytes));
            self.activated = Some(vec![signs]);
            return Ok(vec![y]);
        }
        let inputs = products_of(self.aggregator, x[0], x[1])?;
        let (w, b) = x[2..].split_at(self.products());
        let mut h = Vec::with_capacity(2);
        for ((input, w), b) in inputs.iter().zip(w).zip(b) {
            h.push(dense::affine(input, w, Some(b), Activation::LeakyRelu(self.slope))?);
        }
        let y = self.output(&h)?;
        self.activated = Some(h);
        Ok(vec![y])
    }

    fn backward(&self, Backward { x, dy, dx, .. }: Backward) -> Result<()> {
        let Some(dy) = dy[0] else { return Ok(()) };
        if dy.is_empty() {
            return Ok(());
        }
        let activated = saved("bi-interaction", &self.activated)?;
        if self.by_blocks(x) {
            dispatch_float!(dy.dtype(), T => self.backward_by_blocks::<T>(x, dy, &activated[0], dx));
            return Ok(());
        }
        let d = self.output_backward(dy, activated)?;
        let (dnodes, dweights) = dx.split_at_mut(2);
        let (dw, db) = dweights.split_at_mut(self.products());
        if dw.iter().any(Option::is_some) {
            // Made again rather than kept: one memory-bound pass, against two matrices of N x d_in for every layer.
            let inputs = products_of(self.aggregator, x[0], x[1])?;
            for ((input, d), dw) in inputs.iter().zip(&d).zip(dw) {
                if let Some(dw) = dw {
                    dense::matmul(input, Trans::Yes, d, Trans::No, 1.0, dw)?;
                }
            }
        }
        for (d, db) in d.iter().zip(db) {
            if let Some(db) = db {
                dense::add_column_sums(d, db)?;
            }
        }
        let [dx, da] = dnodes else { return Ok(()) };
        if x[0].is_empty() || (dx.is_none() && da.is_none()) {
            return Ok(());
        }
        let mut p = Vec::with_capacity(2);
        for (d, w) in d.iter().zip(&x[2..]) {
            let mut product = d.empty_like(d.rows(), w.rows())?;
            dense::matmul(d, Trans::No, w, Trans::Yes, 0.0, &mut product)?;
            p.push(product);
        }
        if self.aggregator == Aggregator::GraphSage {
            let width = x[0].cols();
            for (i, part) in [dx, da].into_iter().enumerate() {
                if let Some(part) = part {
                    add_columns(part, &p[0], i * width)?;
                }
            }
            return Ok(());
        }
        inputs_backward(x[0], x[1], &p, dx.as_mut(), da.as_mut())
    }
}
