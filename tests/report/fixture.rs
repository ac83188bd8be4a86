//! The folder of a comparison, made in code with invented numbers.

use std::fmt::Write;
use std::fs;
use std::path::Path;

pub const ALL: [&str; 17] = [
    "waa-ta",
    "waa-ta1",
    "waa-ta2",
    "waa-ta3",
    "mmoe",
    "ple",
    "fdn",
    "esmm",
    "esm2",
    "ctcvr",
    "single-task",
    "shared-bottom",
    "popularity",
    "itemknn",
    "ease",
    "bpr-mf",
    "lightgcn",
];

pub struct Fixture<'a> {
    pub data: &'a str,
    pub models: &'a [&'a str],
    /// Of WAA-TA; the other trained models have the first.
    pub optimizers: &'a [&'a str],
    pub weightings: &'a [&'a str],
    pub seeds: u64,
    pub epochs: u64,
    /// All metrics of all runs are this.
    pub constant: Option<f64>,
}

impl Default for Fixture<'_> {
    fn default() -> Self {
        Fixture {
            data: "invented",
            models: &ALL,
            optimizers: &["adam", "sgd", "adagrad", "rmsprop", "adamw"],
            weightings: &["metabalance", "pcgrad"],
            seeds: 3,
            epochs: 12,
            constant: None,
        }
    }
}

/// A number in 0..1 that depends on the text alone.
fn noise(text: &str) -> f64 {
    let hash = text.bytes().fold(0xcbf29ce484222325u64, |h, b| (h ^ b as u64).wrapping_mul(0x100000001b3));
    ((hash ^ (hash >> 29)).wrapping_mul(0x9e3779b97f4a7c15) >> 40) as f64 / (1u64 << 24) as f64
}

/// How good a model is: EASE above WAA-TA above the rest.
fn quality(model: &str) -> f64 {
    match model {
        "ease" => 0.21,
        "waa-ta" => 0.20,
        model => 0.08 + 0.1 * noise(model),
    }
}

struct Run {
    name: String,
    model: String,
    optimizer: String,
    weighting: String,
    seed: u64,
}

fn is_counted(model: &str) -> bool {
    ["popularity", "itemknn", "ease"].contains(&model)
}

impl Fixture<'_> {
    fn runs(&self) -> Vec<Run> {
        let mut runs = vec![];
        for &model in self.models {
            let all = model == "waa-ta";
            let single = ["bpr-mf", "lightgcn", "ctcvr", "single-task", "waa-ta1"].contains(&model);
            let some = |names: &[&str], none: bool| -> Vec<String> {
                let taken = if all { names.len() } else { 1 };
                if none { vec!["none".into()] } else { names.iter().take(taken).map(|n| n.to_string()).collect() }
            };
            for optimizer in some(self.optimizers, is_counted(model)) {
                for weighting in some(self.weightings, is_counted(model) || single) {
                    for seed in 1..=if is_counted(model) { 1 } else { self.seeds } {
                        let name = format!("{model}-{optimizer}-{weighting}-{seed}");
                        let (model, optimizer) = (model.to_string(), optimizer.clone());
                        runs.push(Run { name, model, optimizer, weighting: weighting.clone(), seed });
                    }
                }
            }
        }
        runs.sort_by(|a, b| {
            (&a.model, &a.optimizer, &a.weighting, a.seed).cmp(&(&b.model, &b.optimizer, &b.weighting, b.seed))
        });
        runs
    }

    fn metric(&self, run: &Run, metric: &str) -> Option<f64> {
        let (family, rest) = metric.split_once(['@', '/'])?;
        if is_counted(&run.model) && (family == "logloss" || metric == "auc/completed") {
            return None;
        }
        if self.constant.is_some() {
            return self.constant;
        }
        let k: f64 = rest.parse().unwrap_or(10.0);
        let scale = match family {
            "recall" | "hr" => (k / 10.0).sqrt(),
            "coverage" => 2.0,
            "arp" => 9000.0,
            _ => 0.6 + k / 200.0,
        };
        // The optimizer and weighting that were asked for first are the best ones.
        let place = |names: &[&str], name: &str| names.iter().position(|n| *n == name).unwrap_or(0) as f64;
        let loss = 0.02 * place(self.optimizers, &run.optimizer) + 0.005 * place(self.weightings, &run.weighting);
        let value = (quality(&run.model) - loss) * scale + 0.004 * (noise(&format!("{}{metric}", run.name)) - 0.5);
        Some(if metric == "ndcg@50" && run.model == "waa-ta" { value + 0.02 } else { value })
    }

    /// Writes every file of the folder.
    pub fn write(&self, dir: &Path) {
        let runs = self.runs();
        let mut metrics = vec!["auc/completed".to_string(), "auc/enrolled".into(), "logloss/completed".into()];
        for k in [10, 20, 50] {
            metrics
                .extend(["arp", "coverage", "hr", "mrr", "ndcg", "popularity", "recall"].map(|m| format!("{m}@{k}")));
        }
        metrics.sort();
        let facts = "run,data,data_fingerprint,split_fingerprint,model,optimizer,weighting,seed,\
                     settings_fingerprint,best_epoch,steps,parameters";
        let mut results = vec![facts.split(',').map(str::to_string).chain(metrics.iter().cloned()).collect()];
        let mut slices = vec![["run", "kind", "slice", "learners", "metric", "value"].map(String::from).to_vec()];
        for run in &runs {
            let mut row: Vec<String> = vec![run.name.clone(), self.data.into(), "d1".repeat(32), "5b".repeat(32)];
            row.extend([&run.model, &run.optimizer, &run.weighting].map(String::clone));
            row.extend([run.seed.to_string(), "0123456789abcdef".into(), "7".into(), "840".into(), "123456".into()]);
            row.extend(metrics.iter().map(|m| self.metric(run, m).map_or(String::new(), |v| v.to_string())));
            results.push(row);
            for (kind, slice, learners) in [
                ("activity", "1", 40),
                ("activity", "2-4", 300),
                ("activity", "10-19", 90),
                ("activity", "5-9", 120),
                ("popularity", "head", 500),
                ("popularity", "middle", 200),
                ("popularity", "tail", 80),
            ] {
                for metric in ["ndcg@20", "recall@20"] {
                    let value = self.metric(run, metric).unwrap_or(0.0) * (0.5 + noise(slice));
                    let row = [&run.name, kind, slice, &learners.to_string(), metric, &value.to_string()];
                    slices.push(row.map(String::from).to_vec());
                }
            }
            self.write_run(dir, run);
        }
        csv(&dir.join("results.csv"), &results);
        csv(&dir.join("slices.csv"), &slices);
        csv(&dir.join("summary.csv"), &self.summary(&runs, &metrics));
        let list = |names: &[&str]| names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
        let seeds: Vec<String> = (1..=self.seeds).map(|s| s.to_string()).collect();
        let mut plan = format!("schema_version = 1\ndata_path = \"/data/{}\"\n", "invented");
        let _ = writeln!(plan, "models = [{}]\noptimizers = [{}]", list(self.models), list(self.optimizers));
        let _ = writeln!(plan, "weightings = [{}]\nseeds = [{}]", list(self.weightings), seeds.join(", "));
        let _ = writeln!(plan, "resamples = 10000\n\n[eval]\nk = [10, 20, 50]\nmetric = \"ndcg@20\"");
        fs::write(dir.join("compare.toml"), plan).unwrap();
        let command = r#"{"schema_version": 1, "command": "waata compare --data invented --models all --seeds 3 --out out",
            "started": "2026-01-31T23:59:59Z"}"#;
        fs::write(dir.join("command.json"), command).unwrap();
    }

    fn summary(&self, runs: &[Run], metrics: &[String]) -> Vec<Vec<String>> {
        let head = "model,optimizer,weighting,seeds,metric,mean,sd,baseline,difference,low,high,p,p_holm";
        let mut rows = vec![head.split(',').map(str::to_string).collect::<Vec<String>>()];
        let mean = |run: &Run, metric: &str| {
            let same =
                |r: &&Run| (&r.model, &r.optimizer, &r.weighting) == (&run.model, &run.optimizer, &run.weighting);
            let values: Vec<f64> = runs.iter().filter(same).filter_map(|r| self.metric(r, metric)).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        for run in runs.iter().filter(|run| run.seed == 1) {
            for metric in metrics {
                let baselines = runs.iter().filter(|r| !r.model.starts_with("waa-ta"));
                let best =
                    baselines.max_by(|a, b| mean(a, metric).total_cmp(&mean(b, metric)).then(b.name.cmp(&a.name)));
                let tested = ["recall", "ndcg"].iter().any(|m| metric.starts_with(m));
                let id = |r: &Run| format!("{}-{}-{}", r.model, r.optimizer, r.weighting);
                let mut row = vec![run.model.clone(), run.optimizer.clone(), run.weighting.clone()];
                let own = mean(run, metric);
                if own.is_nan() {
                    continue;
                }
                row.extend([self.seeds.to_string(), metric.clone(), own.to_string(), "0.001".into()]);
                match best.filter(|best| tested && id(best) != id(run)) {
                    Some(best) => {
                        let difference = own - mean(best, metric);
                        row.push(id(best));
                        row.extend([difference, difference - 0.003, difference + 0.003].map(|v| v.to_string()));
                        row.extend(["0.0002".into(), "0.0032".into()]);
                    }
                    None => row.extend(vec![String::new(); 6]),
                }
                rows.push(row);
            }
        }
        rows
    }

    fn write_run(&self, dir: &Path, run: &Run) {
        let folder = dir.join("runs").join(&run.name);
        fs::create_dir_all(&folder).unwrap();
        let Run { model, optimizer, weighting, seed, .. } = run;
        let settings = format!(
            "seed = {seed}\n\n[model]\nname = \"{model}\"\n\n[train]\noptimizer = \"{optimizer}\"\n\n\
             [weighting]\ncombine = \"{weighting}\"\n\n[eval]\nmetric = \"ndcg@20\"\n"
        );
        fs::write(folder.join("run.toml"), settings).unwrap();
        fs::write(folder.join("run.json"), "{\"schema_version\": 1, \"version\": \"0.1.0\"}").unwrap();
        if is_counted(model) || self.epochs == 0 {
            return;
        }
        let mut log = String::new();
        for epoch in 1..=self.epochs {
            let done = 1.0 - (-(epoch as f64) / 4.0).exp();
            let wave = |what: &str| noise(&format!("{}{what}{epoch}", run.name)) - 0.5;
            let valid = self.metric(run, "ndcg@20").unwrap() * done + 0.002 * wave("v");
            let mut values = vec![("loss/enrolled", 0.7 - 0.3 * done), ("loss/completed", 0.5 - 0.1 * done)];
            values.push(("norm/completed", 0.5));
            if weighting != "none" {
                values.push(("weight/completed", 1.0 - 0.4 * done + 0.1 * wave("w")));
                values.push(("cosine/completed", 0.3 - 0.5 * done + 0.1 * wave("c")));
            }
            if model.starts_with("waa-ta") {
                values.push(("gate/enrolled", 0.5 + 0.2 * done + 0.02 * wave("g")));
                values.push(("gate/completed", 0.5 - 0.1 * done));
            }
            let values: Vec<String> = values.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let _ = writeln!(
                log,
                "{{\"epoch\":{epoch},\"step\":{},\"values\":{{{}}},\"valid\":{{\"ndcg@20\":{valid}}},\"best\":false}}",
                70 * epoch,
                values.join(",")
            );
        }
        fs::write(folder.join("log.jsonl"), log).unwrap();
    }
}

fn csv(path: &Path, rows: &[Vec<String>]) {
    let mut out = csv::Writer::from_path(path).unwrap();
    rows.iter().for_each(|row| out.write_record(row).unwrap());
    out.flush().unwrap();
}
