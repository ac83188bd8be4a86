//! `waata recommend`

use std::path::PathBuf;

use serde::Serialize;

use super::eval::{Opened, with_run};
use super::{print_json, show};
use waata::data::{Dataset, Split};
use waata::eval::top_courses;
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run
    run: PathBuf,
    /// The learner's id in the source of the data set
    #[arg(long)]
    learner: String,
    /// How many courses
    #[arg(short, default_value_t = 10)]
    k: usize,
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, default_value = "auto")]
    device: String,
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    schema_version: u32,
    learner: String,
    /// Courses that the learner has taken, in time order where it is known.
    taken: Vec<Course>,
    recommendations: Vec<Scored>,
}

#[derive(Serialize)]
struct Course {
    course: u32,
    name: String,
}

#[derive(Serialize)]
struct Scored {
    rank: usize,
    course: u32,
    name: String,
    score: f32,
}

pub fn run(args: Args) -> Result<()> {
    if !(1..=128).contains(&args.k) {
        return Err(Error::config("-k", "must be between 1 and 128", "try -k 10"));
    }
    with_run(&args.run, args.data.as_deref(), &[], &args.device, |opened| {
        let learner = find(opened.data, &args.learner)?;
        match args.json {
            true => print_json(&answer(opened, learner, args.k)?),
            false => show::line(&text(opened, learner, args.k)?),
        }
    })
}

fn find(data: &Dataset, name: &str) -> Result<u32> {
    data.learner_names.find(name).ok_or_else(|| {
        let some: Vec<&str> = data.learner_names.iter().take(3).collect();
        Error::config(
            "--learner",
            format!("`{name}` is not in the data set"),
            format!("ids look like {}", some.join(", ")),
        )
    })
}

/// The first learner that something is known of.
pub fn first_with_history(data: &Dataset) -> Option<u32> {
    (0..data.learners() as u32).find(|&u| data.courses_in(u as usize, &[Split::Train]).next().is_some())
}

fn answer(opened: &Opened, learner: u32, k: usize) -> Result<Answer> {
    let data = opened.data;
    let name = |c: u32| data.entity_names[c as usize].to_string();
    let best = top_courses(&opened.run.ranker(), learner, k)?;
    Ok(Answer {
        schema_version: 1,
        learner: data.learner_names[learner as usize].to_string(),
        taken: data
            .courses_of(learner as usize)
            .iter()
            .map(|&course| Course { course, name: name(course) })
            .collect(),
        recommendations: best
            .into_iter()
            .enumerate()
            .map(|(i, (course, score))| Scored { rank: i + 1, course, name: name(course), score })
            .collect(),
    })
}

/// The answer as a person reads it.
pub fn text(opened: &Opened, learner: u32, k: usize) -> Result<String> {
    const SHOWN: usize = 5;
    let answer = answer(opened, learner, k)?;
    let mut text = format!("learner {} took {} courses", answer.learner, answer.taken.len());
    let skipped = answer.taken.len().saturating_sub(SHOWN);
    if skipped > 0 {
        text += &format!(", {SHOWN} of them");
    }
    for c in &answer.taken[skipped..] {
        text += &format!("\n        {}", c.name);
    }
    text += "\nnext, of the courses not taken yet";
    for s in &answer.recommendations {
        text += &format!("\n  {:>3}.  {}  ({:.3})", s.rank, s.name, s.score);
    }
    Ok(text)
}
