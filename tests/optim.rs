//! Optimizers against torch's recorded trajectories, and their kernels against the CPU code.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use waata::engine::optim::{Adagrad, Adam, OPTIMIZERS, Optimizer, RmsProp, Rule, Sgd};
use waata::engine::{DType, Device, Gradient, Owner, Params, Philox, RowSet, Tensor};

use common::{devices, golden};

fn tensor(value: &Value) -> Tensor {
    let (rows, cols) = golden::shape(value);
    Tensor::from_f64(&Device::Cpu, DType::F64, rows, cols, &golden::numbers(value)).unwrap()
}

fn golden_optimizer(variant: &Value) -> Optimizer {
    let settings = &variant["settings"];
    let number = |key: &str| settings[key].as_f64().unwrap();
    let beta = |i: usize| settings["betas"][i].as_f64().unwrap();
    let rule: Rule = match variant["optimizer"].as_str().unwrap() {
        "SGD" => Arc::new(Sgd {
            momentum: number("momentum"),
            dampening: number("dampening"),
            nesterov: settings["nesterov"].as_bool().unwrap(),
        }),
        "Adagrad" => Arc::new(Adagrad {
            lr_decay: number("lr_decay"),
            initial: number("initial_accumulator_value"),
            eps: number("eps"),
        }),
        "RMSprop" => Arc::new(RmsProp { alpha: number("alpha"), eps: number("eps") }),
        "Adam" | "SparseAdam" => {
            Arc::new(Adam { beta1: beta(0), beta2: beta(1), eps: number("eps"), decoupled: false })
        }
        "AdamW" => Arc::new(Adam { beta1: beta(0), beta2: beta(1), eps: number("eps"), decoupled: true }),
        other => panic!("{other}"),
    };
    // SparseAdam has no weight decay.
    Optimizer::with_rule(rule, number("lr"), settings["weight_decay"].as_f64().unwrap_or(0.0))
}

/// Runs every variant of a golden file; `grads[k]` is the gradient of step k + 1.
fn follow(golden: &Value, grads: &[Gradient]) {
    for variant in golden["variants"].as_array().unwrap() {
        let mut optimizer = golden_optimizer(variant);
        let mut params = Params::default();
        let id = params.add("w", Owner::Shared, tensor(&golden["start"]));
        let mut kept = variant["after"].as_array().unwrap().iter();
        let mut next = kept.next();
        for (k, grad) in grads.iter().enumerate() {
            optimizer.step(&mut params, &[Some(grad.clone())]).unwrap();
            let Some(want) = next.filter(|n| n["step"].as_u64() == Some(k as u64 + 1)) else { continue };
            let want = tensor(&want["params"]);
            for (got, want) in params.get(id).value.host::<f64>().iter().zip(want.host::<f64>()) {
                assert!((got - want).abs() <= 1e-13, "{variant:.80}: step {}: {got}, torch {want}", k + 1);
            }
            next = kept.next();
        }
        assert!(next.is_none());
    }
}

#[test]
fn trajectories_are_torchs() {
    for file in ["adam.json", "optimizers.json"] {
        let golden = golden::read(file);
        let grads = golden["step_gradients"].as_array().unwrap();
        follow(&golden, &grads.iter().map(|g| tensor(g).into()).collect::<Vec<_>>());
    }
}

#[test]
fn row_sparse_trajectories_are_torchs() {
    let golden = golden::read("sparse_optimizers.json");
    let (rows, _) = golden::shape(&golden["start"]);
    let sets = golden["rows"].as_array().unwrap().iter();
    let sets = sets.map(|ids| Arc::new(RowSet::new(&Device::Cpu, golden::ids(ids), rows).unwrap()));
    let grads = golden["step_gradients"].as_array().unwrap().iter().map(tensor);
    follow(&golden, &sets.zip(grads).map(|(rows, g)| Gradient::Rows(rows, g)).collect::<Vec<_>>());
}

fn rules() -> Vec<(Rule, f64)> {
    let mut rules: Vec<(Rule, f64)> = vec![
        (Arc::new(Sgd { momentum: 0.0, dampening: 0.0, nesterov: false }), 0.1),
        (Arc::new(Sgd { momentum: 0.9, dampening: 0.5, nesterov: false }), 0.0),
        (Arc::new(Sgd { momentum: 0.9, dampening: 0.0, nesterov: true }), 0.1),
        (Arc::new(Adagrad { lr_decay: 0.1, initial: 0.3, eps: 1e-10 }), 0.1),
    ];
    for decay in [0.0, 0.1] {
        rules.push((Arc::new(RmsProp { alpha: 0.9, eps: 1e-8 }), decay));
        rules.push((Arc::new(Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: false }), decay));
        rules.push((Arc::new(Adam { beta1: 0.8, beta2: 0.99, eps: 1e-8, decoupled: true }), decay));
    }
    rules.extend(OPTIMIZERS.iter().map(|(_, rule)| (rule(), 0.1)));
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
fn gradients(device: &Device, k: u64) -> Vec<Option<Gradient>> {
    let grad = |(i, shape): (usize, (usize, usize))| {
        let absent = i == 5 || (i == 4 && k == 1);
        (!absent).then(|| normals(device, 100 * (k + 1) + i as u64, shape).into())
    };
    SHAPES.into_iter().enumerate().map(grad).collect()
}

fn values(params: &Params) -> Vec<Vec<f32>> {
    params.iter().map(|p| p.value.to_vec().unwrap()).collect()
}

#[test]
fn kernels_agree_with_the_cpu() {
    for (rule, decay) in rules() {
        let run = |device: &Device| {
            let (mut params, mut optimizer) = (params(device), Optimizer::with_rule(rule.clone(), 0.01, decay));
            for k in 0..3 {
                optimizer.step(&mut params, &gradients(device, k)).unwrap();
            }
            values(&params)
        };
        let want = run(&Device::Cpu);
        for (on, device) in devices() {
            for (got, want) in run(&device).iter().flatten().zip(want.iter().flatten()) {
                assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{rule:?} on {on}");
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
        let grads = [Some(normals(device, 2, (1, 3)).into()), Some(normals(device, 3, shape).into())];
        Optimizer::new("adam", 0.01, 0.0).unwrap().step(&mut params, &grads).unwrap();
        values(&params)
    };
    let (want, got) = (run(&Device::Cpu), run(&devices()[0].1));
    assert!(got.iter().flatten().zip(want.iter().flatten()).all(|(g, w)| (g - w).abs() <= 1e-5));
}

#[test]
fn a_parameter_without_gradient_stays() {
    for (rule, decay) in rules() {
        let mut params = params(&Device::Cpu);
        let before = values(&params);
        let mut optimizer = Optimizer::with_rule(rule.clone(), 0.01, decay);
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
        let mut optimizer = Optimizer::with_rule(rule.clone(), 0.01, decay);
        for k in 0..2 {
            optimizer.step(&mut params, &gradients(&Device::Cpu, k)).unwrap();
        }
        let saved: BTreeMap<String, Tensor> = optimizer.state(&params).unwrap().into_iter().collect();
        let (mut twin_params, mut twin) = (params.clone(), Optimizer::with_rule(rule.clone(), 0.01, decay));
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
    grads[0] = Some(normals(&Device::Cpu, 0, (5, 3)).into());
    assert!(optimizer.step(&mut params, &grads).is_err());
    let wrong = BTreeMap::from([("m.p0".to_string(), normals(&Device::Cpu, 0, (1, 1)))]);
    assert!(optimizer.restore(&params, 1, &wrong).is_err());
}

/// Rows of step `k`: all three kinds of overlap with the step before; none in step 3.
fn row_sets(device: &Device, k: u64) -> Vec<Arc<RowSet>> {
    let ids = |rows: usize| (0..rows as u32).filter(|r| k != 3 && (r + k as u32).is_multiple_of(3)).collect();
    SHAPES.into_iter().map(|(rows, _)| Arc::new(RowSet::new(device, ids(rows), rows).unwrap())).collect()
}

fn sparse(device: &Device, k: u64) -> Vec<Option<Gradient>> {
    let grad = |(i, rows): (usize, Arc<RowSet>)| {
        let tensor = normals(device, 100 * (k + 1) + i as u64, (rows.len(), SHAPES[i].1));
        (i != 5).then(|| Gradient::Rows(rows, tensor))
    };
    row_sets(device, k).into_iter().enumerate().map(grad).collect()
}

/// The rows that move do so as under a dense gradient; no other number changes, in parameter or state.
#[test]
fn rows_move_as_the_dense_rule_moves_them() {
    for (rule, decay) in rules() {
        let (mut params, mut optimizer) = (params(&Device::Cpu), Optimizer::with_rule(rule.clone(), 0.01, decay));
        for k in 0..5 {
            let (sets, grads) = (row_sets(&Device::Cpu, k), sparse(&Device::Cpu, k));
            let all = |optimizer: &Optimizer, params: &Params| -> BTreeMap<String, Tensor> {
                optimizer.state(params).unwrap().into_iter().collect()
            };
            // A dense twin of this one step, whose gradient is zero where there is no row.
            let (mut twin_params, mut twin) = (params.clone(), Optimizer::with_rule(rule.clone(), 0.01, decay));
            twin.restore(&params, optimizer.steps(), &all(&optimizer, &params)).unwrap();
            let dense = |(grad, (rows, cols)): (&Option<Gradient>, (usize, usize))| {
                let mut values = vec![0.0; rows * cols];
                let grad = grad.as_ref()?;
                let of = grad.tensor().to_f64().unwrap();
                for (row, of) in grad.rows().unwrap().ids().host().iter().zip(of.chunks(cols)) {
                    values[*row as usize * cols..][..cols].copy_from_slice(of);
                }
                Some(Tensor::from_f64(&Device::Cpu, DType::F32, rows, cols, &values).unwrap().into())
            };
            let dense: Vec<Option<Gradient>> = grads.iter().zip(SHAPES).map(dense).collect();
            let (before, before_state) = (values(&params), all(&optimizer, &params));
            optimizer.step(&mut params, &grads).unwrap();
            twin.step(&mut twin_params, &dense).unwrap();
            let (got, want) = (values(&params), values(&twin_params));
            let (state, want_state) = (all(&optimizer, &params), all(&twin, &twin_params));
            assert_eq!(state.keys().collect::<Vec<_>>(), want_state.keys().collect::<Vec<_>>());
            for (i, (set, (rows, cols))) in sets.iter().zip(SHAPES).enumerate() {
                let moves = |at: usize| i != 5 && set.ids().host().contains(&((at / cols) as u32));
                for at in 0..rows * cols {
                    let from = if moves(at) { &want } else { &before };
                    assert_eq!(got[i][at], from[i][at], "{rule:?} step {k} tensor {i} element {at}");
                }
                for (name, now) in state.iter().filter(|(name, _)| name.ends_with(&format!(".p{i}"))) {
                    let (now, want) = (now.to_vec().unwrap(), want_state[name].to_vec().unwrap());
                    // Before its first step a parameter has no state; what it starts from is the rule's.
                    let start = rule.initial() as f32;
                    let had = before_state.get(name).map(|t| t.to_vec().unwrap());
                    for at in 0..now.len() {
                        let kept = had.as_ref().map_or(start, |had| had[at]);
                        assert_eq!(now[at], if moves(at) { want[at] } else { kept }, "{name} {rule:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn row_kernels_agree_with_the_cpu() {
    for (rule, decay) in rules() {
        let run = |device: &Device| {
            let (mut params, mut optimizer) = (params(device), Optimizer::with_rule(rule.clone(), 0.01, decay));
            for k in 0..3 {
                optimizer.step(&mut params, &sparse(device, k)).unwrap();
            }
            // Dense and row-sparse gradients may stand side by side and follow each other.
            let mut mixed = gradients(device, 0);
            mixed.truncate(6);
            mixed.extend(sparse(device, 4).split_off(6));
            optimizer.step(&mut params, &mixed).unwrap();
            values(&params)
        };
        let want = run(&Device::Cpu);
        for (on, device) in devices() {
            for (got, want) in run(&device).iter().flatten().zip(want.iter().flatten()) {
                assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{rule:?} on {on}");
            }
        }
    }
}

#[test]
fn gathered_rows() {
    for device in devices().into_iter().map(|(_, device)| device).chain([Device::Cpu]) {
        for cols in [1, 3, 8, 64] {
            let table = normals(&device, 0, (50, cols));
            let rows = RowSet::new(&device, vec![0, 7, 8, 30, 49], 50).unwrap();
            let (all, got) = (table.to_vec().unwrap(), rows.gather(&table).unwrap());
            let want: Vec<f32> =
                rows.ids().host().iter().flat_map(|&r| all[r as usize * cols..][..cols].to_vec()).collect();
            assert_eq!((got.shape(), got.to_vec().unwrap()), ((5, cols), want));
        }
        let table = normals(&device, 0, (3, 4));
        assert_eq!(RowSet::new(&device, vec![], 3).unwrap().gather(&table).unwrap().shape(), (0, 4));
        assert!(RowSet::new(&device, vec![1], 4).unwrap().gather(&table).is_err());
    }
    let new = |ids: &[u32]| RowSet::new(&Device::Cpu, ids.to_vec(), 4);
    assert!(new(&[1, 1]).is_err() && new(&[2, 1]).is_err() && new(&[4]).is_err() && new(&[0, 3]).is_ok());
}

#[test]
fn row_sparse_refusals() {
    let cpu = Device::Cpu;
    let rows = |ids: Vec<u32>, of| Arc::new(RowSet::new(&cpu, ids, of).unwrap());
    let grad = |ids: &[u32], of, shape| Gradient::Rows(rows(ids.to_vec(), of), normals(&cpu, 0, shape));
    let mut params = Params::default();
    params.add("w", Owner::Shared, normals(&cpu, 0, (5, 3)));
    let mut step = |grad| Optimizer::new("adam", 0.1, 0.0).unwrap().step(&mut params, &[Some(grad)]);
    assert!(step(grad(&[1, 2], 5, (2, 3))).is_ok());
    for wrong in [grad(&[1, 2], 6, (2, 3)), grad(&[1, 2], 5, (2, 4)), grad(&[1, 2], 5, (3, 3))] {
        assert!(step(wrong).is_err());
    }
    let mut sum = grad(&[1, 2], 5, (2, 3));
    assert!(sum.add(&grad(&[1, 2], 5, (2, 3))).is_ok());
    assert!(sum.add(&grad(&[1, 3], 5, (2, 3))).is_err());
    assert!(sum.add(&normals(&cpu, 0, (5, 3)).into()).is_err());
}

/// A sum of terms moves a parameter as the one gradient that it is: dense and row-sparse, of one to six terms.
#[test]
fn sums_of_gradients() {
    let cpu = Device::Cpu;
    let shapes = [(5, 4), (70, 33), (3, 1)];
    for sparse in [false, true] {
        for (rule, decay) in rules() {
            let run = |device: &Device, formed: bool| {
                let mut params = Params::default();
                let mut sums: Vec<Vec<(f64, Gradient)>> = vec![];
                for (t, (rows, cols)) in shapes.into_iter().enumerate() {
                    params.add(format!("p{t}"), Owner::Shared, normals(device, t as u64, (rows, cols)));
                    let ids: Vec<u32> = (0..rows as u32).filter(|r| !sparse || r % 2 == 1).collect();
                    let set = Arc::new(RowSet::new(device, ids, rows).unwrap());
                    // Gradients of 1, 2 and 6 terms.
                    let terms = [1, 2, 6][t];
                    let tensors: Vec<(f64, Tensor)> = (0..terms)
                        .map(|k| {
                            let stream = (10 * t + k + 5) as u64;
                            (0.5 + k as f64 / 4.0, normals(device, stream, (set.len(), cols)))
                        })
                        .collect();
                    let gradient = |tensor| match sparse {
                        true => Gradient::Rows(set.clone(), tensor),
                        false => Gradient::Dense(tensor),
                    };
                    let refs: Vec<(f64, &Tensor)> = tensors.iter().map(|(f, t)| (*f, t)).collect();
                    sums.push(match formed {
                        true => vec![(1.0, gradient(Tensor::weighted_sum(&refs).unwrap()))],
                        false => tensors.iter().map(|(f, t)| (*f, gradient(t.clone()))).collect(),
                    });
                }
                let mut optimizer = Optimizer::with_rule(rule.clone(), 0.01, decay);
                optimizer.step_sums(&mut params, &sums).unwrap();
                optimizer.step_sums(&mut params, &sums).unwrap();
                values(&params)
            };
            let want = run(&cpu, true);
            assert_eq!(run(&cpu, false), want, "{rule:?}");
            for (on, device) in &devices()[..2] {
                for (got, want) in run(device, false).iter().flatten().zip(want.iter().flatten()) {
                    assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{rule:?} on {on}");
                }
            }
        }
    }
    let mut params = Params::default();
    params.add("w", Owner::Shared, normals(&cpu, 0, (4, 2)));
    let rows = Arc::new(RowSet::new(&cpu, vec![1], 4).unwrap());
    let odd = [(1.0, normals(&cpu, 1, (4, 2)).into()), (1.0, Gradient::Rows(rows, normals(&cpu, 2, (1, 2))))];
    assert!(Optimizer::new("adam", 0.1, 0.0).unwrap().step_sums(&mut params, &[odd.to_vec()]).is_err());
}
