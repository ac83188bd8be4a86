//! Values recorded from other libraries (tests/golden/README.md), and what the code here is run on beside them.

use serde_json::Value;
use waata::engine::{DType, Device, Gpu, Op, Tape, Tensor};

use super::{HostDriver, Order};

pub fn read(file: &str) -> Value {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

/// The numbers of an array, of nested lists, or of one number, in row-major order.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Object(array) => numbers(&array["data"]),
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap_or_else(|| panic!("no number: {other}"))],
    }
}

pub fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|x| x as u32).collect()
}

/// (rows, cols) of an array; a vector is a row.
pub fn shape(value: &Value) -> (usize, usize) {
    match value["shape"].as_array().map(|s| s.iter().map(|n| n.as_u64().unwrap() as usize).collect()) {
        None => (1, 1),
        Some::<Vec<usize>>(s) => match s[..] {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => panic!("no matrix: {s:?}"),
        },
    }
}

/// A device and precision, and how far its results may be from the recorded ones, relative to their largest.
pub struct Target {
    pub device: Device,
    pub dtype: DType,
    pub tolerance: f64,
}

/// The CPU in both precisions, and the kernels by the host executor.
pub fn targets() -> Vec<Target> {
    let host = Device::Gpu(Gpu::new(HostDriver::new(Order::Shuffle(3))));
    vec![
        // Options such as slopes and temperatures are f32 and may be off by 3e-8 of their value.
        Target { device: Device::Cpu, dtype: DType::F64, tolerance: 1e-8 },
        Target { device: Device::Cpu, dtype: DType::F32, tolerance: 1e-5 },
        Target { device: host, dtype: DType::F32, tolerance: 1e-5 },
    ]
}

impl Target {
    pub fn tensor(&self, value: &Value) -> Tensor {
        let (rows, cols) = shape(value);
        self.of(rows, cols, &numbers(value))
    }

    /// A vector as a column.
    pub fn column(&self, value: &Value) -> Tensor {
        let values = numbers(value);
        self.of(values.len(), 1, &values)
    }

    pub fn of(&self, rows: usize, cols: usize, values: &[f64]) -> Tensor {
        Tensor::from_f64(&self.device, self.dtype, rows, cols, values).unwrap()
    }

    /// Outputs of an op, and the gradients of `<upstream, output 0>`.
    pub fn run(&self, op: impl Op + 'static, inputs: &[&Tensor], upstream: &Tensor) -> (Vec<Tensor>, Vec<Tensor>) {
        let mut tape = Tape::new();
        let vars: Vec<_> = inputs.iter().map(|x| tape.parameter((*x).clone())).collect();
        let outputs = tape.apply_all(op, &vars).unwrap();
        let mut grads = tape.backward(&[(outputs[0], upstream.clone())]).unwrap();
        let of = |(v, x): (_, &&Tensor)| grads.take(v).unwrap_or_else(|| x.zeros_like().unwrap());
        let grads = vars.iter().copied().zip(inputs).map(of).collect();
        (outputs.iter().map(|y| tape.value(*y).clone()).collect(), grads)
    }

    /// As `run`, of a loss.
    pub fn loss(&self, op: impl Op + 'static, inputs: &[&Tensor]) -> (f64, Vec<Tensor>) {
        let (outputs, grads) = self.run(op, inputs, &self.of(1, 1, &[1.0]));
        (outputs[0].scalar().unwrap(), grads)
    }

    pub fn close(&self, what: &str, got: &[f64], want: &[f64]) {
        self.within(what, got, want, self.tolerance);
    }

    /// Fails where an element is off by more than `tolerance` times the largest wanted magnitude, or 1.
    pub fn within(&self, what: &str, got: &[f64], want: &[f64], tolerance: f64) {
        assert_eq!(got.len(), want.len(), "{what}");
        let scale = want.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let (device, dtype) = (self.device.name(), self.dtype);
            assert!(
                (got - want).abs() <= tolerance * scale,
                "{what}[{i}] on {device} in {dtype:?}: {got}, recorded {want}"
            );
        }
    }

    pub fn same(&self, what: &str, got: &Tensor, want: &Value) {
        self.close(what, &got.to_f64().unwrap(), &numbers(want));
    }
}
