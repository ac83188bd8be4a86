//! MOOCCube (Yu et al., ACL 2020) as it is published: JSON lines in `entities/`, and tables in `relations/` whose names
//! end in .json. Ids are texts. Of a learner nothing but the id and the enrolments is kept.

use super::completed::{Completed, Log};
use super::coverage::Items;
use super::raw::{RawFolder, RawOptions, enrolment_times, json, pair};
use super::relations::{Course, Graph, Table};
use super::table::Numbering;
use super::text::lossy;
use super::{Loaded, checked, folder_name};
use crate::assemble::{Rows, assemble};
use crate::{Dataset, Interactions};
use base::{Error, Result};
use serde::Deserialize;
use std::borrow::Cow;
use std::path::Path;

/// What MOOCCubeX does not have. It repeats entities/user.json without the times, and is not read.
pub const MARK: &str = "relations/user-course.json";

const USERS: &str = "entities/user.json";
const COURSES: &str = "entities/course.json";
const WATCHED: &str = "relations/user-video.json";
const ACTIVITY: &str = "additional_information/user_video_act.json";

const TABLES: [Table; 3] = [
    Table {
        relation: "school",
        file: "relations/school-course.json",
        course: 1,
        prefix: "S_",
        entities: "entities/school.json",
        published: None,
    },
    Table {
        relation: "teacher",
        file: "relations/teacher-course.json",
        course: 1,
        prefix: "T_",
        entities: "entities/teacher.json",
        published: None,
    },
    Table {
        relation: "concept",
        file: "relations/course-concept.json",
        course: 0,
        prefix: "K_",
        entities: "entities/concept.json",
        published: None,
    },
];

/// Reads a folder of MOOCCube; only `entities/user.json` must be there. Errors: as for MOOCCubeX.
pub fn read(folder: &Path, options: &RawOptions) -> Result<Loaded> {
    let mut raw = RawFolder::open(folder, options, "mooccube")?;
    let users = raw.require(USERS)?;
    let mut courses = read_courses(&mut raw)?;
    let (learners, rows) = read_learners(&mut raw, &users, &mut courses.ids)?;
    if rows.len() == 0 {
        let remedy = "check that the file is whole, and that it is MOOCCube's";
        return Err(Error::data(users, None, "no learner has an enrolment", remedy));
    }
    let mut graph = Graph::new(courses.ids.names.clone());
    for table in &TABLES {
        graph.read(&mut raw, table, |id| match courses.ids.get(id) {
            Some(course) => Course::Known(course),
            None if id.starts_with("C_") => Course::Unknown,
            None => Course::NoId,
        })?;
    }
    let count = courses.ids.names.len();
    let (interactions, duplicates) = assemble(rows, learners.names.len(), count);
    raw.report.duplicates = duplicates;
    let completed = read_watched(&mut raw, options, &courses, &learners, &interactions)?;
    let mut dataset = Dataset {
        name: folder_name(folder),
        learner_names: learners.names.into(),
        entity_names: graph.entity_names.into(),
        courses: count,
        relation_names: graph.relation_names.into(),
        triples: graph.triples.into(),
        labels: Vec::new(),
        interactions,
    };
    if let Some(values) = completed {
        dataset.labels.push("completed".into());
        dataset.interactions.label_values.push(values.into());
    }
    checked(folder, dataset, raw.finish())
}

#[derive(Deserialize)]
struct CourseLine<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    video_order: Option<Vec<String>>,
}

/// The courses of course.json in its order, then those that only enrolments name.
#[derive(Default)]
struct Courses {
    /// The names are the id and, where course.json has one, the title.
    ids: Numbering,
    videos: Numbering,
    /// (video, course)
    pairs: Vec<(u64, u32)>,
}

fn read_courses(raw: &mut RawFolder) -> Result<Courses> {
    let mut courses = Courses::default();
    let Some(path) = raw.find(COURSES) else { return Ok(courses) };
    raw.lines(&path, |_, line| {
        let line: CourseLine = json(line)?;
        require_prefix(&line.id, "C_")?;
        if courses.ids.get(&line.id).is_some() {
            return Err(format!("the course {} is listed twice", line.id));
        }
        let course = courses.ids.of(&line.id);
        if let Some(name) = line.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            courses.ids.names[course as usize] = format!("{} {name}", line.id);
        }
        for video in line.video_order.iter().flatten() {
            courses.pairs.push((courses.videos.of(video) as u64, course));
        }
        Ok(())
    })?;
    Ok(courses)
}

#[derive(Deserialize)]
struct UserLine<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    course_order: Vec<String>,
    #[serde(borrow)]
    enroll_time: Vec<&'a str>,
}

fn read_learners(raw: &mut RawFolder, path: &Path, courses: &mut Numbering) -> Result<(Numbering, Rows)> {
    let (mut learners, mut rows) = (Numbering::default(), Rows::default());
    let listed = courses.names.len();
    let mut idle = 0u64;
    let mut times = Vec::new();
    raw.lines(path, |_, line| {
        let line: UserLine = json(line)?;
        require_prefix(&line.id, "U_")?;
        line.course_order.iter().try_for_each(|course| require_prefix(course, "C_"))?;
        enrolment_times(line.course_order.len(), &line.enroll_time, &mut times)?;
        if times.is_empty() {
            idle += 1;
            return Ok(());
        }
        let learner = learners.of(&line.id);
        for (course, &time) in line.course_order.iter().zip(&times) {
            rows.learner.push(learner);
            rows.course.push(courses.of(course));
            rows.time.push(time);
        }
        Ok(())
    })?;
    if idle > 0 {
        raw.note(format!("{USERS}: {idle} learners have no enrolment and are left out"));
    }
    let added = courses.names.len() - listed;
    if added > 0 {
        raw.note(format!(
            "{added} courses have enrolments but no line in course.json: they are kept by their ids"
        ));
    }
    Ok((learners, rows))
}

#[derive(Deserialize)]
struct ActivityLine<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    activity: Vec<Activity<'a>>,
}

#[derive(Deserialize)]
struct Activity<'a> {
    #[serde(borrow)]
    video_id: Cow<'a, str>,
}

/// The label by the videos watched: pairs of learner and video, and the records of watching, whichever is there.
fn read_watched(
    raw: &mut RawFolder,
    options: &RawOptions,
    courses: &Courses,
    learners: &Numbering,
    interactions: &Interactions,
) -> Result<Option<Vec<u8>>> {
    let items = Items::new(courses.pairs.clone(), courses.ids.names.len());
    let mut log = Log::new(&items, interactions);
    let mut completed = Completed::new(options, interactions);
    let video = |id: &str| courses.videos.get(id).and_then(|video| items.place(video.into()));
    let (pairs, records) = (raw.find(WATCHED), raw.find(ACTIVITY));
    if let Some(path) = &pairs {
        let parse = |line: &[u8]| {
            let [user, watched] = pair(line)?;
            require_prefix(user, "U_")?;
            require_prefix(watched, "V_")?;
            Ok((learners.get(user), video(watched)))
        };
        raw.log(path, parse, &mut log, |log, (learner, place)| log.reach(learner, place))?;
        log.end(raw, WATCHED, "videos watched");
    }
    if let Some(path) = &records {
        let parse = |line: &[u8]| {
            let line: ActivityLine = json(line)?;
            require_prefix(&line.id, "U_")?;
            let places = line.activity.iter().map(|record| video(&record.video_id));
            Ok((learners.get(&line.id), places.collect::<Vec<_>>()))
        };
        raw.log(path, parse, &mut log, |log, (learner, places)| {
            places.into_iter().for_each(|place| log.reach(learner, place));
        })?;
        log.end(raw, ACTIVITY, "records of watching");
    }
    if (pairs.is_some() || records.is_some()) && !items.is_empty() {
        completed.mark(raw, &log.coverage, "videos");
    }
    Ok(completed.finish(raw))
}

fn require_prefix(id: &str, prefix: &str) -> Result<(), String> {
    match id.strip_prefix(prefix) {
        Some(rest) if !rest.is_empty() => Ok(()),
        _ => Err(format!("the id '{}' does not begin with {prefix}", lossy(id.as_bytes()))),
    }
}
