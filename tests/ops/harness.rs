//! What a case is, and what is checked of it.

use waata::Result;
use waata::engine::{DType, Device, Gpu, MathMode, Op, Philox, Tape, Tensor};

use crate::common::{self, Order};

type Make = Box<dyn Fn(&Device) -> Result<Box<dyn Op>>>;

/// An op with options, and inputs.
pub struct Case {
    name: String,
    make: Make,
    inputs: Vec<Input>,
    forward_tolerance: f64,
    backward_tolerance: f64,
}

struct Input {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
    differentiable: bool,
    /// What it is stored in where others are f32.
    storage: DType,
}

impl Case {
    /// `make` builds the op for a device; the forward pass must not depend on anything but it and the inputs.
    pub fn new<O: Op + 'static>(name: impl Into<String>, make: impl Fn(&Device) -> O + 'static) -> Case {
        Case {
            name: name.into(),
            make: Box::new(move |device| Ok(Box::new(make(device)) as Box<dyn Op>)),
            inputs: vec![],
            forward_tolerance: 1e-5,
            backward_tolerance: 1e-4,
        }
    }

    /// Random normal values of standard deviation 0.5.
    pub fn input(self, rows: usize, cols: usize) -> Case {
        let random = Philox::new(20_26, self.inputs.len() as u64);
        let values = (0..rows * cols).map(|i| 0.5 * random.normal_at(i as u64)).collect();
        self.input_of(rows, cols, values)
    }

    pub fn input_of(mut self, rows: usize, cols: usize, values: Vec<f64>) -> Case {
        assert_eq!(values.len(), rows * cols);
        self.inputs.push(Input { rows, cols, values, differentiable: true, storage: DType::F32 });
        self
    }

    /// An input that never gets a gradient (labels, masks).
    #[allow(dead_code)]
    pub fn constant(self, rows: usize, cols: usize, values: Vec<f64>) -> Case {
        let mut case = self.input_of(rows, cols, values);
        case.inputs.last_mut().unwrap().differentiable = false;
        case
    }

    /// The last input is stored in `dtype` where others are f32: its values are rounded to that, for f64, too.
    pub fn stored(mut self, dtype: DType) -> Case {
        let input = self.inputs.last_mut().unwrap();
        let t = Tensor::from_f64(&Device::Cpu, dtype, input.rows, input.cols, &input.values).unwrap();
        (input.values, input.storage) = (t.to_f64().unwrap(), dtype);
        self
    }

    /// Other tolerances than 1e-5 forward and 1e-4 backward, relative to the largest magnitude; say why.
    #[allow(dead_code)]
    pub fn tolerance(mut self, forward: f64, backward: f64) -> Case {
        (self.forward_tolerance, self.backward_tolerance) = (forward, backward);
        self
    }

    /// Outputs, and gradients of a fixed random functional of all outputs. Gradients start from non-zero values
    /// in no case: the tape gives zeros; that backward adds is checked by running it on a tape with a second use.
    fn run(&self, device: &Device, dtype: DType) -> Result<(Vec<Tensor>, Vec<Option<Tensor>>)> {
        let mut tape = Tape::new();
        let mut vars = vec![];
        for input in &self.inputs {
            let stored = if dtype == DType::F32 { input.storage } else { dtype };
            let t = Tensor::from_f64(device, stored, input.rows, input.cols, &input.values)?;
            vars.push(if input.differentiable { tape.parameter(t) } else { tape.constant(t) });
        }
        let outputs = tape.apply_all((self.make)(device)?, &vars)?;
        let mut seeds = vec![];
        for (j, y) in outputs.iter().enumerate() {
            let (rows, cols) = tape.value(*y).shape();
            seeds.push((*y, Tensor::from_f64(device, dtype, rows, cols, &upstream(j, rows * cols))?));
        }
        let mut grads = tape.backward(&seeds)?;
        let computed = |t: &Tensor| assert_eq!(t.dtype(), dtype, "{}: not in 16 bits", self.name);
        outputs.iter().for_each(|y| computed(tape.value(*y)));
        vars.iter().filter_map(|v| grads.get(*v)).for_each(computed);
        let values = outputs.iter().map(|y| tape.value(*y).clone()).collect();
        Ok((values, vars.iter().map(|v| grads.take(*v)).collect()))
    }

    /// The functional that `run` differentiates, evaluated in f64 on the CPU at given inputs.
    fn functional(&self, inputs: &[Vec<f64>]) -> f64 {
        let mut op = (self.make)(&Device::Cpu).unwrap();
        let x: Vec<Tensor> = (self.inputs.iter().zip(inputs))
            .map(|(i, v)| Tensor::from_f64(&Device::Cpu, DType::F64, i.rows, i.cols, v).unwrap())
            .collect();
        let y = op.forward(&x.iter().collect::<Vec<_>>()).unwrap();
        let value = |(j, y): (usize, &Tensor)| {
            y.host::<f64>().iter().zip(upstream(j, y.len())).map(|(y, u)| y * u).sum::<f64>()
        };
        y.iter().enumerate().map(value).sum()
    }
}

/// Fixed weights of output j.
fn upstream(j: usize, len: usize) -> Vec<f64> {
    let random = Philox::new(77, j as u64);
    (0..len).map(|i| random.normal_at(i as u64)).collect()
}

/// Elements of each input that finite differences visit.
const PROBES: usize = 60;

/// The CPU backward in f64 against central differences (eps 1e-6, atol 1e-5, rtol 1e-3).
pub fn gradients(cases: Vec<Case>) {
    for case in cases {
        let (_, grads) = case.run(&Device::Cpu, DType::F64).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut x: Vec<Vec<f64>> = case.inputs.iter().map(|i| i.values.clone()).collect();
        for (i, input) in case.inputs.iter().enumerate().filter(|(_, input)| input.differentiable) {
            let Some(grad) = &grads[i] else {
                assert!(
                    input.values.is_empty() || case.functional(&x) == 0.0,
                    "{}: no gradient of input {i}",
                    case.name
                );
                continue;
            };
            let grad = grad.host::<f64>().to_vec();
            let stride = input.values.len().div_ceil(PROBES).max(1) | 1;
            for e in (0..input.values.len()).step_by(stride) {
                let eps = 1e-6;
                let at = x[i][e];
                x[i][e] = at + eps;
                let above = case.functional(&x);
                x[i][e] = at - eps;
                let below = case.functional(&x);
                x[i][e] = at;
                let want = (above - below) / (2.0 * eps);
                let error = (grad[e] - want).abs();
                assert!(
                    error <= 1e-5 + 1e-3 * want.abs(),
                    "{}: d input {i} [{e}]: backward {}, differences {want}",
                    case.name,
                    grad[e]
                );
            }
        }
    }
}

/// The kernels against the CPU code in f32 and f64: by the host executor in three thread orders, and on the card.
pub fn kernels(cases: Vec<Case>) {
    let devices = common::devices();
    for case in cases {
        let exact = case.run(&Device::Cpu, DType::F64).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let cpu = case.run(&Device::Cpu, DType::F32).unwrap();
        compare(&case, "CPU f32", &cpu, &exact).unwrap();
        for (name, device) in &devices {
            let got = case.run(device, DType::F32).unwrap_or_else(|e| panic!("{} on {name}: {e}", case.name));
            compare(&case, name, &got, &exact).unwrap();
        }
    }
}

/// The kernels on the matrix units against the CPU code in f64: operands of products are rounded to 10 or 7 bits of
/// mantissa, so that a sum of products of magnitude 1 is off by some 2^-11 or 2^-8.
pub fn matrix_units(cases: Vec<Case>) {
    for (unit, tolerance) in [(MathMode::Tf32, 4e-3), (MathMode::Bf16, 3e-2)] {
        for order in [Order::Forward, Order::Shuffle(7)] {
            let gpu = Gpu::new(common::HostDriver::new(order));
            gpu.set_matrix_unit(unit);
            let device = Device::Gpu(gpu);
            for case in &cases {
                let passed = passes_roughly(case, &device, tolerance);
                passed.unwrap_or_else(|why| panic!("{unit:?} {order:?}: {why}"));
            }
        }
    }
}

/// `passes` with one tolerance for outputs and gradients.
pub fn passes_roughly(case: &Case, device: &Device, tolerance: f64) -> Result<(), String> {
    let exact = case.run(&Device::Cpu, DType::F64).map_err(|e| e.to_string())?;
    let got = case.run(device, DType::F32).map_err(|e| format!("{}: {e}", case.name))?;
    for (got, want) in got.0.iter().zip(&exact.0) {
        close(&case.name, got, want, tolerance)?;
    }
    for (got, want) in got.1.iter().zip(&exact.1) {
        if let (Some(got), Some(want)) = (got, want) {
            close(&format!("{}: gradient", case.name), got, want, tolerance)?;
        }
    }
    Ok(())
}

/// Whether the kernels of a device pass this case: what `kernels` demands, as a value.
pub fn passes(case: &Case, device: &Device) -> Result<(), String> {
    let exact = case.run(&Device::Cpu, DType::F64).map_err(|e| e.to_string())?;
    let got = case.run(device, DType::F32).map_err(|e| e.to_string())?;
    compare(case, "executor", &got, &exact)
}

type Outcome = (Vec<Tensor>, Vec<Option<Tensor>>);

fn compare(case: &Case, device: &str, got: &Outcome, want: &Outcome) -> Result<(), String> {
    for (j, (got, want)) in got.0.iter().zip(&want.0).enumerate() {
        close(&format!("{} on {device}: output {j}", case.name), got, want, case.forward_tolerance)?;
    }
    for (i, (got, want)) in got.1.iter().zip(&want.1).enumerate() {
        match (got, want) {
            (Some(got), Some(want)) => {
                close(&format!("{} on {device}: d input {i}", case.name), got, want, case.backward_tolerance)?
            }
            (None, None) => {}
            _ => return Err(format!("{} on {device}: only one side has a gradient of input {i}", case.name)),
        }
    }
    Ok(())
}

fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<(), String> {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (got.to_f64().unwrap(), want.to_f64().unwrap());
    let scale = want.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (e, (g, w)) in got.iter().zip(&want).enumerate() {
        // NaN is far from everything.
        let off = (g - w).abs();
        if off.is_nan() || off > tolerance * scale {
            return Err(format!("{what} [{e}]: got {g}, want {w} (scale {scale:.3})"));
        }
    }
    Ok(())
}

/// The two tests of an op's file.
#[macro_export]
macro_rules! op_tests {
    ($cases:ident) => {
        #[test]
        fn gradients() {
            $crate::harness::gradients($cases());
        }

        #[test]
        fn kernels() {
            $crate::harness::kernels($cases());
        }
    };
}
