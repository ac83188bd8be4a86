//! Optimisers against torch's recorded trajectories, and their kernels against the CPU code.

mod common;

use std::collections::BTreeMap;

use serde_json::Value;
use waata::engine::optim::{Optimizer, Rule};
use waata::engine::{DType, Device, Gpu, Owner, Params, Philox, Tensor};

use common::{HostDriver, Order, golden};

fn tensor(value: &Value) -> Tensor {
    let (rows, cols) = golden::shape(value);
    Tensor::from_f64(&Device::Cpu, DType::F64, rows, cols, &golden::numbers(value)).unwrap()
}

fn golden_optimizer(variant: &Value) -> Optimizer {
    let settings = &variant["settings"];
    let number = |key: &str| settings[key].as_f64().unwrap();
    let beta = |i: usize| settings["betas"][i].as_f64().unwrap();
    let rule = match variant["optimizer"].as_str().unwrap() {
        "SGD" => Rule::Sgd {
            momentum: number("momentum"),
            dampening: number("dampening"),
            nesterov: settings["nesterov"].as_bool().unwrap(),
        },
        "Adagrad" => Rule::Adagrad {
            lr_decay: number("lr_decay"),
            initial: number("initial_accumulator_value"),
            eps: number("eps"),
        },
        "RMSprop" => Rule::RmsProp { alpha: number("alpha"), eps: number("eps") },
        "Adam" => Rule::Adam { beta1: beta(0), beta2: beta(1), eps: number("eps") },
        "AdamW" => Rule::AdamW { beta1: beta(0), beta2: beta(1), eps: number("eps") },
        other => panic!("{other}"),
    };
    Optimizer::with_rule(rule, number("lr"), number("weight_decay"))
}

#[test]
fn trajectories_are_torchs() {
    for file in ["adam.json", "optimizers.json"] {
        let golden = golden::read(file);
        for variant in golden["variants"].as_array().unwrap() {
            let mut optimizer = golden_optimizer(variant);
            let mut params = Params::default();
            let id = params.add("w", Owner::Shared, tensor(&golden["start"]));
            let mut kept = variant["after"].as_array().unwrap().iter();
            let mut next = kept.next();
            for (k, grad) in golden["step_gradients"].as_array().unwrap().iter().enumerate() {
                optimizer.step(&mut params, &[Some(tensor(grad))]).unwrap();
                let Some(want) = next.filter(|n| n["step"].as_u64() == Some(k as u64 + 1)) else { continue };
                let want_values = tensor(&want["params"]);
                for (got, want) in params.get(id).value.host::<f64>().iter().zip(want_values.host::<f64>()) {
                    assert!(
                        (got - want).abs() <= 1e-13,
                        "{variant:.80}: step {}: {got}, torch {want}",
                        k + 1
                    );
                }
                next = kept.next();
            }
            assert!(next.is_none());
        }
    }
}

fn rules() -> Vec<(Rule, f64)> {
    let mut rules = vec![
        (Rule::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false }, 0.1),
        (Rule::Sgd { momentum: 0.9, dampening: 0.5, nesterov: false }, 0.0),
        (Rule::Sgd { momentum: 0.9, dampening: 0.0, nesterov: true }, 0.1),
        (Rule::Adagrad { lr_decay: 0.1, initial: 0.3, eps: 1e-10 }, 0.1),
    ];
    for decay in [0.0, 0.1] {
        rules.push((Rule::RmsProp { alpha: 0.9, eps: 1e-8 }, decay));
        rules.push((Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 }, decay));
        rules.push((Rule::AdamW { beta1: 0.8, beta2: 0.99, eps: 1e-8 }, decay));
    }
    rules
}

fn normals(device: &Device, stream: u64, (rows, cols): (usize, usize)) -> Tensor {
    let random = Philox::new(9, stream);
    let values: Vec<f64> = (0..rows * cols).map(|i| random.normal_at(i as u64)).collect();
    Tensor::from_f64(device, DType::F32, rows, cols, &values).unwrap()
}

/// Eleven tensors, more than one launch holds; one of them empty.
const SHAPES: [(usize, usize); 11] =
    [(3, 5), (1, 1), (40, 30), (0, 4), (7, 1), (1, 9), (16, 16), (2, 2), (5, 5), (1, 300), (8, 1)];

fn params(device: &Device) -> Params {
    let mut params = Params::default();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        params.add(format!("p{i}"), Owner::Shared, normals(device, i as u64, shape));
    }
    params
}

/// Step `k`'s gradients: tensor 4 has none in step 1, tensor 5 never one.
fn gradients(device: &Device, k: u64) -> Vec<Option<Tensor>> {
    let grad = |(i, shape): (usize, (usize, usize))| {
        let absent = i == 5 || (i == 4 && k == 1);
        (!absent).then(|| normals(device, 100 * (k + 1) + i as u64, shape))
    };
    SHAPES.into_iter().enumerate().map(grad).collect()
}

fn values(params: &Params) -> Vec<Vec<f32>> {
    params.iter().map(|p| p.value.to_vec().unwrap()).collect()
}

fn devices() -> Vec<Device> {
    let mut devices: Vec<Device> = [Order::Forward, Order::Reverse, Order::Shuffle(7)]
        .map(|order| Device::Gpu(Gpu::new(HostDriver::new(order))))
        .into();
    devices.extend(Device::parse("auto").ok().filter(|d| *d != Device::Cpu));
    devices
}

#[test]
fn kernels_agree_with_the_cpu() {
    for (rule, decay) in rules() {
        let run = |device: &Device| {
            let (mut params, mut optimizer) = (params(device), Optimizer::with_rule(rule, 0.01, decay));
            for k in 0..3 {
                optimizer.step(&mut params, &gradients(device, k)).unwrap();
            }
            values(&params)
        };
        let want = run(&Device::Cpu);
        for device in devices() {
            for (got, want) in run(&device).iter().flatten().zip(want.iter().flatten()) {
                assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{rule:?} on {}", device.name());
            }
        }
    }
}

/// A tensor large enough for a launch of its own.
#[test]
fn a_large_tensor_agrees_with_the_cpu() {
    let run = |device: &Device| {
        let (mut params, shape) = (Params::default(), (300, 900));
        params.add("small", Owner::Shared, normals(device, 0, (1, 3)));
        params.add("large", Owner::Shared, normals(device, 1, shape));
        let grads = [Some(normals(device, 2, (1, 3))), Some(normals(device, 3, shape))];
        Optimizer::new("adam", 0.01, 0.0).unwrap().step(&mut params, &grads).unwrap();
        values(&params)
    };
    let (want, got) = (run(&Device::Cpu), run(&devices()[0]));
    assert!(got.iter().flatten().zip(want.iter().flatten()).all(|(g, w)| (g - w).abs() <= 1e-5));
}

#[test]
fn a_parameter_without_gradient_stays() {
    for (rule, decay) in rules() {
        let mut params = params(&Device::Cpu);
        let before = values(&params);
        let mut optimizer = Optimizer::with_rule(rule, 0.01, decay);
        for k in 0..2 {
            optimizer.step(&mut params, &gradients(&Device::Cpu, k)).unwrap();
        }
        assert_eq!(before[5], values(&params)[5]);
        assert_ne!(before[4], values(&params)[4]);
    }
}

#[test]
fn a_restored_state_continues_with_the_same_bits() {
    for (rule, decay) in rules() {
        let mut params = params(&Device::Cpu);
        let mut optimizer = Optimizer::with_rule(rule, 0.01, decay);
        for k in 0..2 {
            optimizer.step(&mut params, &gradients(&Device::Cpu, k)).unwrap();
        }
        let saved: BTreeMap<String, Tensor> = optimizer.state(&params).unwrap().into_iter().collect();
        let (mut twin_params, mut twin) = (params.clone(), Optimizer::with_rule(rule, 0.01, decay));
        twin.restore(&twin_params, optimizer.steps(), &saved).unwrap();
        assert_eq!(twin.steps(), 2);
        for k in 2..4 {
            optimizer.step(&mut params, &gradients(&Device::Cpu, k)).unwrap();
            twin.step(&mut twin_params, &gradients(&Device::Cpu, k)).unwrap();
        }
        assert_eq!(values(&params), values(&twin_params), "{rule:?}");
    }
}

#[test]
fn refusals() {
    assert!(Optimizer::new("adamax", 0.1, 0.0).is_err());
    let mut params = params(&Device::Cpu);
    let mut optimizer = Optimizer::new("adam", 0.1, 0.0).unwrap();
    assert!(optimizer.step(&mut params, &[]).is_err());
    let mut grads = gradients(&Device::Cpu, 0);
    grads[0] = Some(normals(&Device::Cpu, 0, (5, 3)));
    assert!(optimizer.step(&mut params, &grads).is_err());
    let wrong = BTreeMap::from([("m.p0".to_string(), normals(&Device::Cpu, 0, (1, 1)))]);
    assert!(optimizer.restore(&params, 1, &wrong).is_err());
}
