//! Trains WAA-TA on the sample for two epochs, then loads the run and recommends courses to one learner:
//! `cargo run --release --example train_and_recommend`.

use std::path::Path;

use waata::config::{Base, Config};
use waata::data::Split;
use waata::engine::Device;
use waata::train::{EpochLog, Meta, Observer, Run};
use waata::{Recommender, Result, serve};

/// Prints a line per epoch.
struct Log;

impl Observer for Log {
    fn epoch(&mut self, log: &EpochLog) {
        let ndcg = log.valid.as_ref().and_then(|valid| valid.get("ndcg@10")).copied().unwrap_or(f64::NAN);
        println!("epoch {}: validation NDCG@10 {ndcg:.4}", log.epoch);
    }
}

fn main() -> Result<()> {
    let sample = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample"));
    let dir = std::env::temp_dir().join(format!("waata-example-{}", std::process::id()));

    let data = serve::open_data(sample)?;
    let config = Config::resolve(Base::File(sample.join("run.toml")), &["train.epochs=2".to_string()])?;
    let device = Device::parse("auto")?;
    let mut run = Run::new(&data, &config, &device, &dir)?;
    Meta::write(&dir, sample, &data)?;
    run.train(&mut Log)?;

    // The folder is all that is needed from here on.
    let model = Recommender::load(&dir)?;
    let found = model.ranker().evaluate(Split::Test, None, &mut |_, _| {})?;
    println!("test recall@10 {:.4} over {} learners", found.metric("recall@10")?, found.learners);
    println!("courses for learner 4:");
    for course in model.recommend("4", 5)? {
        println!("  {} ({:.3})", course.name, course.score);
    }
    Ok(())
}
