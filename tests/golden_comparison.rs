//! Log-loss and the statistics of a comparison against other libraries (tests/golden/comparison.json).

mod common;

use common::golden::{ids, numbers, read};
use waata::eval::log_loss;
use waata::experiment::stats::{holm, mean, paired_bootstrap, sd};

fn close(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance, "{what}: {got}, not {want}");
}

#[test]
fn log_loss_of_logits() {
    let golden = &read("comparison.json")["log_loss"];
    let logits: Vec<f32> = numbers(&golden["logits"]).into_iter().map(|z| z as f32).collect();
    let labels: Vec<bool> = ids(&golden["labels"]).into_iter().map(|y| y == 1).collect();
    close(log_loss(&logits, &labels).unwrap(), golden["value"].as_f64().unwrap(), 1e-12, "log-loss");
}

#[test]
fn holm_correction() {
    let golden = &read("comparison.json")["holm"];
    let corrected = holm(&numbers(&golden["p"]));
    for (got, want) in corrected.iter().zip(numbers(&golden["corrected"])) {
        close(*got, want, 1e-15, "Holm");
    }
}

#[test]
fn bootstrap() {
    for case in read("comparison.json")["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let d = numbers(&case["differences"]);
        close(sd(&d).unwrap(), case["sd"].as_f64().unwrap(), 1e-15, name);
        // The same draws: the same numbers.
        let number = |part: &str, key: &str| case[part][key].as_f64().unwrap();
        let (resamples, seed) = (number("exact", "resamples") as usize, number("exact", "seed") as u64);
        let found = paired_bootstrap(std::slice::from_ref(&d), resamples, seed)[0].unwrap();
        close(found.mean, number("exact", "mean"), 1e-15, name);
        close(found.low, number("exact", "low"), 1e-15, name);
        close(found.high, number("exact", "high"), 1e-15, name);
        close(found.p, number("exact", "p"), 1e-15, name);
        assert_eq!(found.mean, mean(&d).unwrap());
        // Draws of scipy's own: an end of the interval strays by 0.03 of its width at 10,000 resamples, one of few values
        // by a step between them; p comes close to the t-test's.
        let found = paired_bootstrap(std::slice::from_ref(&d), 10_000, 1)[0].unwrap();
        let (low, high) = (number("scipy", "low"), number("scipy", "high"));
        let stray = 0.06 * (high - low);
        close(found.low, low, stray, name);
        close(found.high, high, stray, name);
        close(found.p, number("scipy", "p"), 0.03, name);
    }
}
