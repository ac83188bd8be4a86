//! The label `completed`: the share of a course's videos that were watched, or of its problems that were answered.

use super::courses::Courses;
use crate::Interactions;
use crate::formats::completed::{Completed, Log};
use crate::formats::coverage::Items;
use crate::formats::raw::{RawFolder, RawOptions, json, number, pair, require_number};
use crate::formats::text::lossy;
use base::Result;
use serde::Deserialize;
use std::collections::HashMap;

const WATCHED: &str = "relations/user-video.json";
const ANSWERED: &str = "relations/user-problem.json";
const PROBLEMS: &str = "relations/exercise-problem.txt";

/// Seconds. No video is as long: what ends later is an error of the player.
const LONGEST: f64 = 50_000.0;

/// A value per enrolment; None where no file says what learners did.
pub(super) fn read(
    raw: &mut RawFolder,
    options: &RawOptions,
    courses: &Courses,
    learners: &HashMap<u64, u32>,
    interactions: &Interactions,
) -> Result<Option<Vec<u8>>> {
    let mut completed = Completed::new(options, interactions);
    read_watched(raw, courses, learners, interactions, &mut completed)?;
    read_answered(raw, courses, learners, interactions, &mut completed)?;
    Ok(completed.finish(raw))
}

#[derive(Deserialize)]
struct WatchLine<'a> {
    user_id: &'a str,
    #[serde(borrow)]
    seq: Vec<Watched<'a>>,
}

#[derive(Deserialize)]
struct Watched<'a> {
    video_id: &'a str,
    segment: Vec<Segment>,
}

/// Positions in the video, in seconds.
#[derive(Deserialize)]
struct Segment {
    start_point: Option<f64>,
    end_point: Option<f64>,
}

impl Segment {
    fn is_sound(&self) -> bool {
        matches!((self.start_point, self.end_point), (Some(start), Some(end)) if start <= end && end <= LONGEST)
    }
}

/// Marks enrolments by the videos watched.
fn read_watched(
    raw: &mut RawFolder,
    courses: &Courses,
    learners: &HashMap<u64, u32>,
    interactions: &Interactions,
    completed: &mut Completed,
) -> Result<()> {
    let videos = Items::new(courses.videos.clone(), courses.len());
    let Some(path) = raw.find(WATCHED) else { return Ok(()) };
    if videos.is_empty() {
        return Ok(());
    }
    let mut log = Log::new(&videos, interactions);
    let parse = |line: &[u8]| {
        let line: WatchLine = json(line)?;
        let learner = learners.get(&require_number(line.user_id, "U_")?).copied();
        let (mut all, mut bad, mut places) = (0, 0, vec![]);
        for video in &line.seq {
            let sound = video.segment.iter().filter(|s| s.is_sound()).count();
            all += video.segment.len() as u64;
            bad += (video.segment.len() - sound) as u64;
            if sound > 0 {
                places.push(number(video.video_id, "V_").and_then(|video| videos.place(video)));
            }
        }
        Ok((learner, places, all, bad))
    };
    let lines = raw.log(&path, parse, &mut log, |log, (learner, places, all, bad)| {
        log.counted[0] += all;
        log.counted[1] += bad;
        places.into_iter().for_each(|place| log.reach(learner, place));
    })?;
    let [segments, unsound] = log.counted;
    raw.count("learners in user-video.json", lines, 310_360);
    if unsound > 0 {
        raw.note(format!(
            "{WATCHED}: {unsound} of {segments} segments end before they start or after {LONGEST} s, and do not count"
        ));
    }
    log.end(raw, WATCHED, "videos watched");
    completed.mark(raw, &log.coverage, "videos");
    Ok(())
}

#[derive(Deserialize)]
struct AnswerLine<'a> {
    user_id: &'a str,
    problem_id: &'a str,
}

/// Marks enrolments by the problems answered, right or wrong.
fn read_answered(
    raw: &mut RawFolder,
    courses: &Courses,
    learners: &HashMap<u64, u32>,
    interactions: &Interactions,
    completed: &mut Completed,
) -> Result<()> {
    let (path, problems) = (raw.find(ANSWERED), problems(raw, courses)?);
    let (Some(path), false) = (path, problems.is_empty()) else { return Ok(()) };
    let mut log = Log::new(&problems, interactions);
    let parse = |line: &[u8]| {
        let line: AnswerLine = json(line)?;
        let learner = learners.get(&require_number(line.user_id, "U_")?).copied();
        Ok((learner, number(line.problem_id, "Pm_").and_then(|problem| problems.place(problem))))
    };
    raw.log(&path, parse, &mut log, |log, (learner, place)| log.reach(learner, place))?;
    log.end(raw, ANSWERED, "answers");
    completed.mark(raw, &log.coverage, "problems");
    Ok(())
}

/// The problems of every course, by the exercises among its resources.
fn problems(raw: &mut RawFolder, courses: &Courses) -> Result<Items> {
    let mut exercises = courses.exercises.clone();
    exercises.sort_unstable();
    let mut pairs = Vec::new();
    if let Some(path) = raw.find(PROBLEMS) {
        raw.lines(&path, |at, line| {
            let columns = pair(line)?;
            let (Some(exercise), Some(problem)) = (number(columns[0], "Ex_"), number(columns[1], "Pm_"))
            else {
                let header = at == 1 && !columns[0].starts_with("Ex_") && !columns[1].starts_with("Pm_");
                let why = || format!("'{}' is not Ex_ and a number, a tab, Pm_ and a number", lossy(line));
                return if header { Ok(()) } else { Err(why()) };
            };
            let first = exercises.partition_point(|&(e, _)| e < exercise);
            let courses = exercises[first..].iter().take_while(|&&(e, _)| e == exercise);
            pairs.extend(courses.map(|&(_, course)| (problem, course)));
            Ok(())
        })?;
    }
    Ok(Items::new(pairs, courses.len()))
}
