//! `waata inspect`

use std::path::{Path, PathBuf};

use super::{eval, open_data, print_json, show};
use waata::data::{Counts, store};
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// A prepared data set, a folder of source files, or a run
    dir: PathBuf,
    /// Verify a prepared data set: SHA-256 of the file, fingerprint, order of the names, and that no learner has a course
    /// twice
    #[arg(long)]
    verify: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn not_a_data_set(dir: &Path) -> Error {
    let why = format!("{} is not a prepared data set", dir.display());
    Error::config("--verify", why, "name the folder that waata prepare wrote")
}

pub fn run(args: Args) -> Result<()> {
    if eval::is_run(&args.dir) {
        if args.verify {
            return Err(not_a_data_set(&args.dir));
        }
        let description = eval::describe(&args.dir)?;
        if args.json {
            return print_json(&description);
        }
        return show::line(&description.text());
    }
    let data = match args.verify {
        true if !args.dir.join(store::MANIFEST).is_file() => return Err(not_a_data_set(&args.dir)),
        true => {
            let (data, manifest) = store::verify(&args.dir)?;
            let file = args.dir.join(store::ARRAYS);
            eprintln!("{}: {} bytes, all as the manifest says", file.display(), manifest.data.bytes);
            data
        }
        false => open_data(&args.dir)?,
    };
    let c = Counts::of(&data);
    if args.json {
        return print_json(&c);
    }
    show::line(&format!("{}, fingerprint {}", c.name, &c.fingerprint[..16.min(c.fingerprint.len())]))?;
    show::line(&format!("{:>12} learners     {:>10} entities", c.learners, c.entities))?;
    show::line(&format!("{:>12} courses      {:>10} relations", c.courses, c.relations))?;
    show::line(&format!("{:>12} enrolments   {:>10} triples", c.enrolments, c.triples))?;
    show::line(&format!("train {}, valid {}, test {}; density {:.3} %", c.train, c.valid, c.test, 100.0 * c.density))?;
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
