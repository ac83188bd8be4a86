//! MOOCCubeX (Yu et al., CIKM 2021) as it is published: JSON lines in `entities/` and `relations/`, and tables in
//! *.txt. docs/data.md says what becomes of each file. Ids are a prefix and a number.

use super::shared::completed::{Completed, Items, Log};
use super::shared::graph::Graph;
use super::shared::mooc::{self, Courses, Learners, Mooc, Table, USERS, note_unknown};
use super::shared::source::Source;
use super::shared::values::{json, lossy, number, pair, require_number};
use super::{Format, locate};
use crate::Interactions;
use base::Result;
use serde::Deserialize;
use std::collections::HashMap;

const FIELDS: &str = "relations/course-field.json";
const PREREQUISITES: [&str; 3] = ["prerequisites/psy.json", "prerequisites/math.json", "prerequisites/cs.json"];
const WATCHED: &str = "relations/user-video.json";
const ANSWERED: &str = "relations/user-problem.json";
const PROBLEMS: &str = "relations/exercise-problem.txt";

pub(super) const FORMAT: Format = Format {
    name: "mooccubex",
    about: "entities/ and relations/ of MOOCCubeX",
    options: &["--completed-share"],
    detect: |source| Ok(locate(source, USERS).is_some()),
    read: mooc::read::<MoocCubeX>,
};

/// The lines of schools and teachers are those of one copy.
const TABLES: [Table; 2] = [
    Table {
        relation: "school",
        file: "relations/course-school.txt",
        course: 0,
        prefix: "S_",
        published: Some([3_748, 428]),
    },
    Table {
        relation: "teacher",
        file: "relations/course-teacher.txt",
        course: 0,
        prefix: "T_",
        published: Some([13_312, 17_018]),
    },
];

const CONCEPTS: Table = Table {
    relation: "concept",
    file: "relations/concept-course.txt",
    course: 1,
    prefix: "K_",
    published: Some([406_777, 637_572]),
};

struct MoocCubeX;

impl Mooc for MoocCubeX {
    const FORMAT: Format = FORMAT;
    const PUBLISHED: Option<[u64; 2]> = Some([3_781, 3_330_294]);
    /// The number: 24 of U_24.
    type Key = u64;
    /// 584313 for C_584313.
    type Course = u64;

    fn key(id: &str, prefix: &str) -> Result<u64, String> {
        require_number(id, prefix)
    }

    fn course_key(course: u64) -> Result<u64, String> {
        Ok(course)
    }

    fn id(key: &u64, prefix: &str) -> String {
        format!("{prefix}{key}")
    }

    fn graph(source: &mut Source, courses: &Courses<u64>) -> Result<Graph> {
        let mut graph = Graph::new(courses.names.clone());
        read_fields(source, courses, &mut graph)?;
        for table in &TABLES {
            table.read::<MoocCubeX>(source, courses, &mut graph)?;
        }
        let concepts = CONCEPTS.read::<MoocCubeX>(source, courses, &mut graph)?;
        read_prerequisites(source, &mut graph, &concepts)?;
        Ok(graph)
    }

    fn mark_completed(
        source: &mut Source,
        courses: &Courses<u64>,
        learners: &Learners<u64>,
        interactions: &Interactions,
        completed: &mut Completed,
    ) -> Result<()> {
        let videos = Items::new(courses.videos.clone(), courses.len());
        read_watched(source, &videos, learners, interactions, completed)?;
        read_answered(source, courses, learners, interactions, completed)
    }
}

#[derive(Deserialize)]
struct FieldLine {
    /// 584313 for C_584313.
    course_id: u64,
    field: Vec<String>,
}

/// Fields of course.json and of course-field.json: each has some that the other has not.
fn read_fields(source: &mut Source, courses: &Courses<u64>, graph: &mut Graph) -> Result<()> {
    let (mut known, mut pairs) = (HashMap::new(), Vec::new());
    let mut add = |course: u32, field: &str| {
        let field = field.trim();
        if !field.is_empty() {
            pairs.push((course, graph.entity(&mut known, field, || format!("field:{field}"))));
        }
    };
    courses.fields.iter().for_each(|(course, field)| add(*course, field));
    if let Some(path) = source.find(FIELDS) {
        let mut unknown = 0;
        let lines = source.lines(
            &path,
            |line| json(line),
            |_, line: FieldLine| {
                match courses.get(&line.course_id) {
                    Some(course) => line.field.iter().for_each(|field| add(course, field)),
                    None => unknown += 1,
                }
                Ok(())
            },
        )?;
        source.count("courses in course-field.json", lines, 632);
        note_unknown(source, FIELDS, unknown);
    }
    graph.relate("field", pairs);
    Ok(())
}

/// A pair of concepts by their names, without the field that belongs to the id of a concept (`K_name_field`). What models
/// predicted stands in the same lines and is passed over.
#[derive(Deserialize)]
struct PrerequisiteLine {
    /// What comes first.
    c1: String,
    c2: String,
    /// 1 or 0: whether people found that it does.
    ground_truth: Option<f64>,
}

/// Adds (concept, prerequisite, concept that comes before it) for each pair that people confirmed. `concepts` are those of
/// the courses, by their ids. Each file is of one discipline, so a pair is of concepts of one field.
fn read_prerequisites(source: &mut Source, graph: &mut Graph, concepts: &HashMap<String, u32>) -> Result<()> {
    let mut named: HashMap<&str, Vec<(&str, u32)>> = HashMap::new();
    for (id, &entity) in concepts {
        if let Some((name, field)) = id.strip_prefix("K_").and_then(|id| id.rsplit_once('_')) {
            named.entry(name).or_default().push((field, entity));
        }
    }
    named.values_mut().for_each(|list| list.sort_unstable());
    let of = |name: &str| named.get(name).map_or(&[][..], Vec::as_slice);
    let mut pairs = Vec::new();
    for file in PREREQUISITES {
        let Some(path) = source.find(file) else { continue };
        let parse = |line: &[u8]| {
            let line: PrerequisiteLine = json(line)?;
            Ok((line.ground_truth == Some(1.0)).then(|| (of(&line.c1), of(&line.c2))))
        };
        let (mut confirmed, mut left_out, mut distinct) = (0, 0, 0);
        let lines = source.lines(&path, parse, |_, found| {
            let Some((before, after)) = found else { return Ok(()) };
            confirmed += 1;
            let known = pairs.len();
            pairs.extend(of_one_field(before, after));
            left_out += (pairs.len() == known) as u64;
            // Lines may repeat, and a line may be of many fields.
            if pairs.len() > 2 * distinct + 1024 {
                pairs.sort_unstable();
                pairs.dedup();
                distinct = pairs.len();
            }
            Ok(())
        })?;
        source.note_if(
            lines,
            format!(
                "{file}: {confirmed} of {lines} pairs are prerequisites, {left_out} of them not of two concepts that \
                 courses have in one field, and left out"
            ),
        );
    }
    graph.relate("prerequisite", pairs);
    Ok(())
}

/// The pairs (after, before) of concepts in one field, of two lists in the order of fields.
fn of_one_field<'a>(before: &'a [(&str, u32)], after: &'a [(&str, u32)]) -> impl Iterator<Item = (u32, u32)> + 'a {
    after.iter().filter_map(|&(field, after)| {
        let place = before.binary_search_by_key(&field, |(field, _)| field).ok()?;
        (before[place].1 != after).then_some((after, before[place].1))
    })
}

/// Seconds. No video is as long: what ends later is an error of the player.
const LONGEST: f64 = 50_000.0;

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
    source: &mut Source,
    videos: &Items<u64>,
    learners: &Learners<u64>,
    interactions: &Interactions,
    completed: &mut Completed,
) -> Result<()> {
    let (Some(path), false) = (source.find(WATCHED), videos.is_empty()) else { return Ok(()) };
    let parse = |line: &[u8]| {
        let line: WatchLine = json(line)?;
        let learner = learners.get(&require_number(line.user_id, "U_")?);
        let (mut all, mut unsound, mut places) = (0, 0, vec![]);
        for video in &line.seq {
            let sound = video.segment.iter().filter(|s| s.is_sound()).count();
            all += video.segment.len() as u64;
            unsound += (video.segment.len() - sound) as u64;
            if sound > 0 {
                places.push(number(video.video_id, "V_").and_then(|video| videos.place(&video)));
            }
        }
        Ok((learner, places, all, unsound))
    };
    let mut log = Log::new(videos, interactions);
    let (mut segments, mut dropped) = (0, 0);
    let lines = source.lines(&path, parse, |_, (learner, places, all, unsound)| {
        segments += all;
        dropped += unsound;
        places.into_iter().for_each(|place| log.reach(learner, place));
        Ok(())
    })?;
    source.count("learners in user-video.json", lines, 310_360);
    source.note_if(
        dropped,
        format!(
            "{WATCHED}: {dropped} of {segments} segments end before they start or after {LONGEST} s, and do not count"
        ),
    );
    log.end(source, WATCHED, "videos watched");
    completed.mark(source, &log, "videos");
    Ok(())
}

#[derive(Deserialize)]
struct AnswerLine<'a> {
    user_id: &'a str,
    problem_id: &'a str,
}

/// Marks enrolments by the problems answered, right or wrong.
fn read_answered(
    source: &mut Source,
    courses: &Courses<u64>,
    learners: &Learners<u64>,
    interactions: &Interactions,
    completed: &mut Completed,
) -> Result<()> {
    let (path, problems) = (source.find(ANSWERED), read_problems(source, courses)?);
    let (Some(path), false) = (path, problems.is_empty()) else { return Ok(()) };
    let parse = |line: &[u8]| {
        let line: AnswerLine = json(line)?;
        let learner = learners.get(&require_number(line.user_id, "U_")?);
        Ok((learner, number(line.problem_id, "Pm_").and_then(|problem| problems.place(&problem))))
    };
    let mut log = Log::new(&problems, interactions);
    source.lines(&path, parse, |_, (learner, place)| {
        log.reach(learner, place);
        Ok(())
    })?;
    log.end(source, ANSWERED, "answers");
    completed.mark(source, &log, "problems");
    Ok(())
}

/// The problems of every course, by the exercises among its resources.
fn read_problems(source: &mut Source, courses: &Courses<u64>) -> Result<Items<u64>> {
    let mut exercises = courses.exercises.clone();
    exercises.sort_unstable();
    let mut pairs = Vec::new();
    if let Some(path) = source.find(PROBLEMS) {
        let parse = |line: &[u8]| pair(line).map(|columns| columns.map(String::from));
        source.lines(&path, parse, |at, [exercise, problem]| {
            let (Some(exercise), Some(problem)) = (number(&exercise, "Ex_"), number(&problem, "Pm_")) else {
                if at == 1 && !exercise.starts_with("Ex_") && !problem.starts_with("Pm_") {
                    return Ok(());
                }
                let line = lossy([exercise, problem].join("\t"));
                return Err(format!("'{line}' is not Ex_ and a number, a tab, Pm_ and a number"));
            };
            let first = exercises.partition_point(|&(e, _)| e < exercise);
            let courses = exercises[first..].iter().take_while(|&&(e, _)| e == exercise);
            pairs.extend(courses.map(|&(_, course)| (problem, course)));
            Ok(())
        })?;
    }
    Ok(Items::new(pairs, courses.len()))
}
