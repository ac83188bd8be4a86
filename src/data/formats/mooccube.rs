//! MOOCCube (Yu et al., ACL 2020) as it is published: JSON lines in `entities/`, and tables in `relations/` whose names
//! end in .json. Ids are texts.

use super::shared::completed::{Completed, Items, Log};
use super::shared::graph::Graph;
use super::shared::mooc::{self, Courses, Learners, Mooc, Table};
use super::shared::source::Source;
use super::shared::values::{json, pair, require_prefix};
use super::{Format, locate};
use crate::Interactions;
use base::Result;
use serde::Deserialize;

/// What MOOCCubeX does not have. It repeats entities/user.json without the times, and is not read.
const MARK: &str = "relations/user-course.json";
const WATCHED: &str = "relations/user-video.json";
const ACTIVITY: &str = "additional_information/user_video_act.json";

pub(super) const FORMAT: Format = Format {
    name: "mooccube",
    about: "entities/ and relations/ of MOOCCube",
    options: &["--completed-share"],
    detect: |source| Ok(locate(source, MARK).is_some()),
    read: mooc::read::<MoocCube>,
};

const TABLES: [Table; 3] = [
    Table { relation: "school", file: "relations/school-course.json", course: 1, prefix: "S_", published: None },
    Table { relation: "teacher", file: "relations/teacher-course.json", course: 1, prefix: "T_", published: None },
    Table { relation: "concept", file: "relations/course-concept.json", course: 0, prefix: "K_", published: None },
];

#[derive(Deserialize)]
struct ActivityLine {
    id: String,
    activity: Vec<Activity>,
}

#[derive(Deserialize)]
struct Activity {
    video_id: String,
}

struct MoocCube;

impl Mooc for MoocCube {
    const FORMAT: Format = FORMAT;
    const PUBLISHED: Option<[u64; 2]> = None;
    type Key = String;
    type Course = String;

    fn key(id: &str, prefix: &str) -> Result<String, String> {
        require_prefix(id, prefix).map(String::from)
    }

    fn course_key(course: String) -> Result<String, String> {
        Self::key(&course, "C_")
    }

    fn id(key: &String, _: &str) -> String {
        key.clone()
    }

    fn graph(source: &mut Source, courses: &Courses<String>) -> Result<Graph> {
        let mut graph = Graph::new(courses.names.clone());
        for table in &TABLES {
            table.read::<MoocCube>(source, courses, &mut graph)?;
        }
        Ok(graph)
    }

    /// By the videos watched: pairs of learner and video, and the records of watching, whichever is there.
    fn mark_completed(
        source: &mut Source,
        courses: &Courses<String>,
        learners: &Learners<String>,
        interactions: &Interactions,
        completed: &mut Completed,
    ) -> Result<()> {
        let videos = Items::new(courses.videos.clone(), courses.len());
        let mut log = Log::new(&videos, interactions);
        let (pairs, records) = (source.find(WATCHED), source.find(ACTIVITY));
        if let Some(path) = &pairs {
            let parse = |line: &[u8]| {
                let [user, video] = pair(line)?;
                let (user, video) = (Self::key(user, "U_")?, require_prefix(video, "V_")?);
                Ok((learners.get(&user), videos.place(video)))
            };
            source.lines(path, parse, |_, (learner, place)| {
                log.reach(learner, place);
                Ok(())
            })?;
            log.end(source, WATCHED, "videos watched");
        }
        if let Some(path) = &records {
            let parse = |line: &[u8]| {
                let ActivityLine { id, activity } = json(line)?;
                let places = activity.iter().map(|record| videos.place(record.video_id.as_str()));
                Ok((learners.get(&Self::key(&id, "U_")?), places.collect::<Vec<_>>()))
            };
            source.lines(path, parse, |_, (learner, places)| {
                places.into_iter().for_each(|place| log.reach(learner, place));
                Ok(())
            })?;
            log.end(source, ACTIVITY, "records of watching");
        }
        if (pairs.is_some() || records.is_some()) && !videos.is_empty() {
            completed.mark(source, &log, "videos");
        }
        Ok(())
    }
}
