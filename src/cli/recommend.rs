//! `waata recommend`

use std::path::PathBuf;

use serde::Serialize;

use super::{eval, print_json, show};
use waata::data::{Dataset, Split};
use waata::eval::{Ranker, top_courses};
use waata::serve::find_learner;
use waata::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run
    run: PathBuf,
    /// The learner's id in the source of the data set
    #[arg(long, value_name = "ID")]
    learner: String,
    /// Number of courses, 1 to 128
    #[arg(short, default_value_t = 10, value_name = "N")]
    k: usize,
    /// Data set, if it has moved since the run was trained
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Print one JSON document
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
    let model = eval::open(&args.run, &args.data, &[], &args.device)?;
    let learner = find_learner(model.data(), &args.learner)?;
    match args.json {
        true => print_json(&answer(&model.ranker(), learner, args.k)?),
        false => show::line(&text(&model.ranker(), learner, args.k)?),
    }
}

/// The first learner with a history.
pub fn first_with_history(data: &Dataset) -> Option<u32> {
    (0..data.learners() as u32).find(|&u| data.courses_in(u as usize, &[Split::Train]).next().is_some())
}

fn answer(ranker: &Ranker, learner: u32, k: usize) -> Result<Answer> {
    let data = ranker.data;
    let name = |c: u32| data.entity_names[c as usize].to_string();
    let best = top_courses(ranker, learner, k)?;
    Ok(Answer {
        schema_version: 1,
        learner: data.learner_names[learner as usize].to_string(),
        taken: data.courses_of(learner as usize).iter().map(|&course| Course { course, name: name(course) }).collect(),
        recommendations: best
            .into_iter()
            .enumerate()
            .map(|(i, (course, score))| Scored { rank: i + 1, course, name: name(course), score })
            .collect(),
    })
}

/// The answer as a person reads it.
pub fn text(ranker: &Ranker, learner: u32, k: usize) -> Result<String> {
    const SHOWN: usize = 5;
    let answer = answer(ranker, learner, k)?;
    let mut text = format!("learner {} took {} courses", answer.learner, answer.taken.len());
    let skipped = answer.taken.len().saturating_sub(SHOWN);
    if skipped > 0 {
        text += &format!(", {SHOWN} of them");
    }
    for c in &answer.taken[skipped..] {
        text += &format!("\n        {}", c.name);
    }
    text += match answer.recommendations.is_empty() {
        true => "\nevery course is taken already",
        false => "\nnext, of the courses not taken yet",
    };
    for s in &answer.recommendations {
        text += &format!("\n  {:>3}.  {}  ({:.3})", s.rank, s.name, s.score);
    }
    Ok(text)
}
