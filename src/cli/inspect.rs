//! `waata inspect`

use std::path::PathBuf;

use super::{eval, open_data, print_json, show};
use crate::Result;
use crate::data::Counts;
use crate::train::RunFiles;

#[derive(clap::Args)]
pub struct Args {
    /// A prepared data set, a folder of source files, or a run
    dir: PathBuf,
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    if (RunFiles { dir: args.dir.clone() }).meta().is_file() {
        let description = eval::describe(&args.dir)?;
        if args.json {
            return print_json(&description);
        }
        return show::line(&description.text());
    }
    let c = Counts::of(&open_data(&args.dir)?);
    if args.json {
        return print_json(&c);
    }
    show::line(&format!("{}, fingerprint {}", c.name, &c.fingerprint[..16.min(c.fingerprint.len())]))?;
    show::line(&format!("{:>12} learners     {:>10} entities", c.learners, c.entities))?;
    show::line(&format!("{:>12} courses      {:>10} relations", c.courses, c.relations))?;
    show::line(&format!("{:>12} enrolments   {:>10} triples", c.enrolments, c.triples))?;
    show::line(&format!(
        "train {}, valid {}, test {}; density {:.3} %",
        c.train,
        c.valid,
        c.test,
        100.0 * c.density
    ))?;
    for (what, d) in [("learner", &c.learner_degree), ("course", &c.course_degree)] {
        show::line(&format!(
            "enrolments per {what}: min {}, median {}, mean {:.1}, max {}",
            d.min, d.median, d.mean, d.max
        ))?;
    }
    for label in &c.labels {
        show::line(&format!("label {}: {:.1} % of enrolments", label.name, 100.0 * label.rate))?;
    }
    for r in &c.triples_by_relation {
        show::line(&format!("{:>12} triples of {}", r.triples, r.name))?;
    }
    Ok(())
}
