//! The ops, the losses and the metrics against values recorded from other libraries (tests/golden/README.md): on the CPU
//! in double and single precision, and the kernels by the host executor.

mod common;

use std::sync::Arc;

use serde_json::Value;
use waata::config::Idcg;
use waata::engine::{Device, Index, Tape, Tensor};
use waata::eval::{RANKING, Scorer, auc, ranking_metrics};
use waata::graph::{Edge, Graph, IdSets};
use waata::ops::*;

use common::golden::{Target, ids, numbers, read, shape, targets};

/// The tables E, P, R, R_p of a case: heads, tails and corrupted tails one below the other.
fn transd_tables(target: &Target, inputs: &Value) -> [Tensor; 4] {
    let stack = |names: [&str; 3]| {
        let (rows, cols) = shape(&inputs[names[0]]);
        let values: Vec<f64> = names.iter().flat_map(|name| numbers(&inputs[*name])).collect();
        target.of(3 * rows, cols, &values)
    };
    [
        stack(["h", "t", "t_neg"]),
        stack(["h_p", "t_p", "t_neg_p"]),
        target.tensor(&inputs["r"]),
        target.tensor(&inputs["r_p"]),
    ]
}

fn transd_norm(case: &Value) -> ProjNorm {
    match case["proj_norm"].as_str().unwrap() {
        "none" => ProjNorm::None,
        "clamp" => ProjNorm::Clamp,
        other => panic!("{other}"),
    }
}

#[test]
fn transd_scores() {
    for target in targets() {
        for case in read("transd.json")["cases"].as_array().unwrap() {
            let tables = transd_tables(&target, &case["inputs"]);
            let b = tables[2].rows() as u32;
            let index = |first: u32| Index::new(&target.device, (first..first + b).collect()).unwrap();
            for (key, tails) in [("score", b), ("score_neg", 2 * b)] {
                let each = tables.each_ref();
                let norm = transd_norm(case);
                let kind = Distance::L2Squared;
                let got = transd_score(each, &index(0), &index(0), &index(tails), kind, norm).unwrap();
                target.same(key, &got, &case[key]);
            }
        }
    }
}

/// The loss and its gradients for E, P, R, R_p. `heads`: whether the corrupted entity takes the head's place.
fn transd_loss(target: &Target, case: &Value, loss: TransDLoss, corrupt_heads: bool) -> (f64, Vec<Vec<f64>>) {
    let tables = transd_tables(target, &case["inputs"]);
    let (b, nodes) = (tables[2].rows() as u32, tables[0].rows());
    let [h, t, other] = [0, 1, 2].map(|i| (i * b..(i + 1) * b).collect::<Vec<u32>>());
    let negatives = if corrupt_heads { (&other[..], &t[..]) } else { (&h[..], &other[..]) };
    let triples = Triples::new(&target.device, (nodes, b as usize), (&h, &h[..b as usize], &t), negatives).unwrap();
    let options = TransDOptions { loss, proj_norm: transd_norm(case), l2: 0.0, ..Default::default() };
    let (value, grads) = target.loss(TransD::new(options, triples), &tables.each_ref());
    (value, grads.iter().map(|g| g.to_f64().unwrap()).collect())
}

#[test]
fn transd_losses() {
    for target in targets() {
        for case in read("transd.json")["cases"].as_array().unwrap() {
            for key in ["margin", "bpr"] {
                let want = &case[key];
                let loss = match want["gamma"].as_f64() {
                    Some(gamma) => TransDLoss::Margin { gamma: gamma as f32 },
                    None => TransDLoss::Bpr,
                };
                let (value, grads) = transd_loss(&target, case, loss, false);
                target.close(key, &[value], &numbers(&want["loss"]));
                let of = |names: &[&str]| names.iter().flat_map(|n| numbers(&want["gradients"][*n])).collect();
                let tables: [Vec<f64>; 4] =
                    [of(&["h", "t", "t_neg"]), of(&["h_p", "t_p", "t_neg_p"]), of(&["r"]), of(&["r_p"])];
                for (i, table) in tables.iter().enumerate() {
                    target.close(&format!("{key}: d{i}"), &grads[i], table);
                }
            }
        }
    }
}

/// With a margin that is never met the hinge loss is a mean of distances, and what only the positive triple has (its tail,
/// or its head when heads are corrupted) gets the gradient of minus its score.
#[test]
fn transd_score_gradients() {
    for target in targets() {
        for case in read("transd.json")["cases"].as_array().unwrap() {
            let upstream = numbers(&case["upstream"]);
            let (b, n) = shape(&case["inputs"]["h"]);
            for (corrupt_heads, block, names) in [(false, 1, ["t", "t_p"]), (true, 0, ["h", "h_p"])] {
                let all = TransDLoss::Margin { gamma: 1e3 };
                let (_, grads) = transd_loss(&target, case, all, corrupt_heads);
                for (grad, name) in grads.iter().zip(names) {
                    let rows = &grad[block * b * n..(block + 1) * b * n];
                    let got: Vec<f64> = rows.iter().enumerate().map(|(i, g)| -upstream[i / n] * b as f64 * g).collect();
                    target.close(name, &got, &numbers(&case["score_gradients"][name]));
                }
            }
        }
    }
}

fn graph(target: &Target, nodes: usize, relations: usize, edges: &[[u32; 3]]) -> Arc<Graph> {
    let edges: Vec<Edge> =
        edges.iter().map(|&[head, relation, tail]| Edge { dst: head, relation, src: tail, bucket: 0 }).collect();
    Arc::new(Graph::new(&target.device, nodes, nodes, relations, &edges).unwrap())
}

#[test]
fn attention() {
    for target in targets() {
        for case in read("attention.json")["cases"].as_array().unwrap() {
            let edges: Vec<[u32; 3]> =
                ids(&case["graph"]["edges"]).chunks_exact(3).map(|e| [e[0], e[1], e[2]]).collect();
            let inputs =
                ["entity", "entity_proj", "relation", "relation_proj"].map(|name| target.tensor(&case["inputs"][name]));
            let g = graph(&target, inputs[0].rows(), inputs[2].rows(), &edges);
            assert!(edges.iter().zip(g.src.host()).all(|(e, t)| e[2] == *t), "the file's order of edges");
            let mut tape = Tape::new();
            let [x, p, r, rp] = inputs.clone().map(|t| tape.parameter(t));
            let bias = tape.constant(target.of(1, 1, &[0.0]));
            let query = tape.apply_all(Query::new(g.clone(), LogitKind::Tanh), &[x, p, r, rp]).unwrap();
            let attend = RelationAttention::new(g.clone(), LogitKind::Tanh, 1.0);
            let heard = tape.apply_all(attend, &[query[0], query[1], x, p, rp, bias]).unwrap();
            let mut grads = tape.backward(&[(heard[0], target.tensor(&case["upstream"]))]).unwrap();
            // Logits of up to 53 leave single precision two decimal digits less (README of the golden values).
            let large = case["name"].as_str().unwrap().contains("large");
            let tolerance = if large && target.tolerance > 1e-6 { 5e-4 } else { target.tolerance };
            let same = |what: &str, got: &Tensor, want: &Value| {
                target.within(what, &got.to_f64().unwrap(), &numbers(want), tolerance);
            };
            same("out", tape.value(heard[0]), &case["out"]);
            same("alpha", tape.value(heard[1]), &case["alpha"]);
            // alpha_e = exp(logit_e - log_sum): the softmax's denominator is that of the recorded logits.
            let log_sum = tape.value(heard[2]).to_f64().unwrap();
            let logits = numbers(&case["logit"]);
            for (v, log_sum) in log_sum.iter().enumerate().filter(|(v, _)| !g.row(*v).is_empty()) {
                let top = logits[g.row(v)].iter().fold(f64::MIN, |m, &z| m.max(z));
                let sum: f64 = logits[g.row(v)].iter().map(|z| (z - top).exp()).sum();
                target.within("log_sum", &[*log_sum], &[top + sum.ln()], tolerance);
            }
            for (name, var) in ["entity", "entity_proj", "relation", "relation_proj"].iter().zip([x, p, r, rp]) {
                same(name, &grads.take(var).unwrap(), &case["gradients"][*name]);
            }
        }
    }
}

#[test]
fn aggregator() {
    for target in targets() {
        for case in read("aggregator.json")["cases"].as_array().unwrap() {
            let (rowptr, tails) = (ids(&case["graph"]["rowptr"]), ids(&case["graph"]["col"]));
            let heads = rowptr.windows(2).enumerate().flat_map(|(v, w)| (w[0]..w[1]).map(move |_| v as u32));
            let edges: Vec<[u32; 3]> = heads.zip(&tails).map(|(v, &t)| [v, 0, t]).collect();
            let g = graph(&target, rowptr.len() - 1, 1, &edges);
            let mut tape = Tape::new();
            let names = ["x", "w1", "w2", "b1", "b2"];
            let [x, w1, w2, b1, b2] = names.map(|name| tape.parameter(target.tensor(&case["inputs"][name])));
            let alpha = tape.constant(target.column(&case["graph"]["value"]));
            let a = tape.apply(Aggregate::new(g), &[alpha, x]).unwrap();
            let slope = case["slope"].as_f64().unwrap() as f32;
            let op = BiInteraction::new(Aggregator::Bi, slope, 0.0, None);
            let out = tape.apply(op, &[x, a, w1, w2, b1, b2]).unwrap();
            target.same("side", tape.value(a), &case["side"]);
            target.same("out", tape.value(out), &case["out"]);
            let mut grads = tape.backward(&[(out, target.tensor(&case["upstream"]))]).unwrap();
            for (name, var) in names.iter().zip([x, w1, w2, b1, b2]) {
                target.same(name, &grads.take(var).unwrap(), &case["gradients"][*name]);
            }
        }
    }
}

#[test]
fn gate() {
    for target in targets() {
        let golden = read("gate.json");
        for kind in ["vector", "scalar"] {
            let case = &golden[kind];
            let inputs = ["s", "t", "w", "b"].map(|name| target.tensor(&case["inputs"][name]));
            let (outputs, grads) = target.run(Gate, &inputs.each_ref(), &target.tensor(&case["upstream"]));
            target.same("fused", &outputs[0], &case["fused"]);
            target.same("gate", &outputs[1], &case["gate"]);
            for (name, grad) in ["s", "t", "w", "b"].iter().zip(&grads) {
                target.same(&format!("{kind}: {name}"), grad, &case["gradients"][*name]);
            }
        }
    }
}

#[test]
fn softmax_gate() {
    for target in targets() {
        let case = &read("gate.json")["softmax"];
        let mut tape = Tape::new();
        let [z, w] = ["z", "w"].map(|name| tape.parameter(target.tensor(&case["inputs"][name])));
        let (b, count, d) = (5, 3, 4);
        // Expert e of (batch, expert, width).
        let expert = |values: &[f64], e: usize| -> Vec<f64> {
            (0..b).flat_map(|row| values[(row * count + e) * d..][..d].to_vec()).collect()
        };
        let all = numbers(&case["inputs"]["experts"]);
        let experts: Vec<_> = (0..count).map(|e| tape.parameter(target.of(b, d, &expert(&all, e)))).collect();
        let zero = tape.constant(target.of(1, count, &[0.0; 3]));
        let logits = tape.apply(Linear { activation: Activation::Identity }, &[z, w, zero]).unwrap();
        let inputs: Vec<_> = std::iter::once(logits).chain(experts.iter().copied()).collect();
        let mixed = tape.apply(SoftmaxMixture::default(), &inputs).unwrap();
        target.same("mixed", tape.value(mixed), &case["mixed"]);
        let mut grads = tape.backward(&[(mixed, target.tensor(&case["upstream"]))]).unwrap();
        target.same("z", &grads.take(z).unwrap(), &case["gradients"]["z"]);
        target.same("w", &grads.take(w).unwrap(), &case["gradients"]["w"]);
        let want = numbers(&case["gradients"]["experts"]);
        for (e, var) in experts.iter().enumerate() {
            target.close("expert", &grads.take(*var).unwrap().to_f64().unwrap(), &expert(&want, e));
        }
    }
}

#[test]
fn metrics() {
    let golden = read("metrics.json");
    let (rows, courses) = shape(&golden["scores"]);
    let sets = |key: &str| -> Vec<Vec<u32>> { golden[key].as_array().unwrap().iter().map(ids).collect() };
    let evaluated: Vec<usize> = ids(&golden["evaluated"]).into_iter().map(|u| u as usize).collect();
    let truth = IdSets::new(&Device::Cpu, sets("relevant"), courses).unwrap();
    let cutoffs = [1, 3, 10, 20];
    for target in targets().iter().skip(1) {
        let seen = IdSets::new(&target.device, sets("masked"), courses).unwrap();
        let scores = target.of(rows, courses, &numbers(&golden["scores"]));
        // The recorded scores as products with unit vectors.
        let unit: Vec<f64> = (0..courses * courses).map(|i| (i % (courses + 1) == 0) as u8 as f64).collect();
        let scorer = Scorer::match_score(target.of(courses, courses, &unit)).unwrap();
        let top = scorer.rank(&scores, &seen, 20).unwrap();
        let got = ranking_metrics(&top, &truth, &cutoffs, Idcg::Truth).unwrap();
        assert_eq!(got.rows, evaluated);
        for at in &got.at {
            for ((name, mean), each) in RANKING.into_iter().zip(at.means()).zip(&at.values).take(2) {
                let key = format!("{name}@{}", at.k);
                target.within(&key, each, &numbers(&golden["per_learner"][&key]), 1e-12);
                target.within(&key, &[mean], &numbers(&golden["mean"][&key]), 1e-12);
            }
        }
    }
}

#[test]
fn areas_under_the_roc_curve() {
    for case in read("auc.json")["cases"].as_array().unwrap() {
        let scores: Vec<f32> = numbers(&case["scores"]).into_iter().map(|s| s as f32).collect();
        let labels: Vec<bool> = ids(&case["labels"]).into_iter().map(|l| l == 1).collect();
        let (got, want) = (auc(&scores, &labels).unwrap(), case["auc"].as_f64().unwrap());
        assert!((got - want).abs() <= 1e-12, "{}: {got}, recorded {want}", case["name"]);
    }
}
