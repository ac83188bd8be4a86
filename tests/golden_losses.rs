//! The losses against torch's values: formulas (8) as BPR, (14) and (15), and the softmax over all courses.

mod common;

use serde_json::Value;
use waata::engine::{DType, Tensor};
use waata::graph::IdSets;
use waata::ops::*;

use common::golden::{Target, ids, numbers, read, shape, targets};

#[test]
fn binary_cross_entropy() {
    let golden = &read("losses.json")["bce"];
    for target in targets() {
        let labels = target.column(&golden["labels"]);
        for case in golden["cases"].as_array().unwrap() {
            let op = |tasks: usize| match case["pos_weight"].as_f64() {
                Some(weight) => BceLoss::with_pos_weight(vec![weight as f32; tasks]),
                None => BceLoss::new(),
            };
            let (loss, grads) = target.loss(op(1), &[&target.column(&golden["logits"]), &labels]);
            target.close("loss", &[loss], &numbers(&case["loss"]));
            target.same("gradient", &grads[0], &case["gradient"]);
            // One row with a task for each logit: its losses one by one.
            let row = [target.tensor(&golden["logits"]), target.tensor(&golden["labels"])];
            let (each, _) = target.run(op(row[0].cols()), &row.each_ref(), &row[0].zeros_like().unwrap());
            target.same("each", &each[0], &case["each"]);
        }
    }
}

/// Vectors of one dimension, of which the learner's is 1: the scores themselves.
#[test]
fn bpr_on_scores() {
    let case = &read("losses.json")["bpr_scores"];
    for target in targets() {
        let (pos, neg) = (target.column(&case["pos"]), target.column(&case["neg"]));
        let ones = target.of(pos.rows(), 1, &vec![1.0; pos.rows()]);
        let (loss, grads) = target.loss(Bpr::new(0.0), &[&ones, &pos, &neg]);
        target.close("loss", &[loss], &numbers(&case["loss"]));
        target.same("pos", &grads[1], &case["gradients"]["pos"]);
        target.same("neg", &grads[2], &case["gradients"]["neg"]);
    }
}

#[test]
fn bpr_on_vectors() {
    let golden = &read("losses.json")["bpr_vectors"];
    for target in targets() {
        let inputs = ["user", "pos", "neg"].map(|name| target.tensor(&golden["inputs"][name]));
        for case in [golden, &golden["with_l2"]] {
            let lambda = case["lambda"].as_f64().unwrap_or(0.0) as f32;
            let (loss, grads) = target.loss(Bpr::new(lambda), &inputs.each_ref());
            target.close("loss", &[loss], &numbers(&case["loss"]));
            for (name, grad) in ["user", "pos", "neg"].iter().zip(&grads) {
                target.same(name, grad, &case["gradients"][*name]);
            }
        }
    }
}

fn softmax(target: &Target, wanted: &Value, inputs: [&Tensor; 2]) -> (f64, Vec<Tensor>) {
    let courses = inputs[1].rows();
    let op = SoftmaxLoss::new(&target.device, ids(wanted), courses, None, SoftmaxOptions::default()).unwrap();
    let bias = target.of(1, courses, &vec![0.0; courses]);
    target.loss(op, &[inputs[0], inputs[1], &bias])
}

/// (users, courses) match scores, out of the ranking's lists.
fn ranked_scores(users: &Tensor, courses: &Tensor) -> Vec<f64> {
    let (rows, count) = (users.rows(), courses.rows());
    let seen = IdSets::none(&users.device(), rows, count).unwrap();
    let top = Scorer::match_score(courses.clone()).unwrap().rank(users, &seen, count).unwrap();
    let mut scores = vec![f64::NAN; rows * count];
    for row in 0..rows {
        for (id, score) in top.row(row).iter().zip(top.row_scores(row)) {
            scores[row * count + *id as usize] = *score as f64;
        }
    }
    scores
}

#[test]
fn cross_entropy() {
    let case = &read("losses.json")["cross_entropy"];
    for target in targets() {
        let [users, courses] = ["users", "courses"].map(|name| target.tensor(&case["inputs"][name]));
        if users.dtype() == DType::F32 {
            let ranked = ranked_scores(&users, &courses);
            target.close("logits", &ranked, &numbers(&case["logits"]));
        }
        let (loss, grads) = softmax(&target, &case["target"], [&users, &courses]);
        target.close("loss", &[loss], &numbers(&case["loss"]));
        target.same("users", &grads[0], &case["gradients"]["users"]);
        target.same("courses", &grads[1], &case["gradients"]["courses"]);
        // A course's bias is in the logits of every row.
        let count = courses.rows();
        let logits = numbers(&case["gradients"]["logits"]);
        let bias: Vec<f64> = (0..count).map(|c| logits.iter().skip(c).step_by(count).sum()).collect();
        target.close("bias", &grads[2].to_f64().unwrap(), &bias);
    }
}

/// Learners that are unit vectors: the logits of learner b are column b of the courses.
#[test]
fn cross_entropy_of_extreme_logits() {
    let case = &read("losses.json")["cross_entropy"]["extreme"];
    for target in targets() {
        let transposed = |value: &Value| -> Vec<f64> {
            let (rows, cols) = shape(value);
            let values = numbers(value);
            (0..cols).flat_map(|c| (0..rows).map(|r| values[r * cols + c]).collect::<Vec<_>>()).collect()
        };
        let users = target.of(3, 3, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let courses = target.of(3, 3, &transposed(&case["logits"]));
        let (loss, grads) = softmax(&target, &case["target"], [&users, &courses]);
        target.close("loss", &[loss], &numbers(&case["loss"]));
        target.close("courses", &grads[1].to_f64().unwrap(), &transposed(&case["gradient"]));
    }
}

#[test]
fn orthogonality() {
    let golden = &read("losses.json")["orthogonality"];
    let forms = [
        ("a", OrthForm::A),
        ("a0", OrthForm::A0),
        ("b", OrthForm::B),
        ("c", OrthForm::C),
        ("d", OrthForm::D),
        ("fdn_code", OrthForm::FdnCode),
    ];
    assert_eq!(golden["forms"].as_object().unwrap().len(), forms.len());
    for target in targets() {
        let inputs = ["s", "t"].map(|name| target.tensor(&golden["inputs"][name]));
        for (name, form) in forms {
            let case = &golden["forms"][name];
            let (loss, grads) = target.loss(Orthogonality::new(form), &inputs.each_ref());
            target.close(name, &[loss], &numbers(&case["loss"]));
            target.same(&format!("{name}: s"), &grads[0], &case["gradients"]["s"]);
            target.same(&format!("{name}: t"), &grads[1], &case["gradients"]["t"]);
        }
    }
}
