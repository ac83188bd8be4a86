//! entities/user.json: who enrolled in which course, and when. Names, gender, school and year of birth stand in the
//! same lines; they are passed over by the parser.

use super::USERS;
use super::courses::Courses;
use crate::assemble::Rows;
use crate::formats::raw::{RawFolder, enrolment_times, json, require_number};
use base::Result;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

#[derive(Deserialize)]
struct Line<'a> {
    id: &'a str,
    /// Numbers of courses, 584313 for C_584313.
    course_order: Vec<u64>,
    #[serde(borrow)]
    enroll_time: Vec<&'a str>,
}

pub(super) struct Learners {
    /// By the number in the id: 24 of U_24. Only those with an enrolment.
    pub known: HashMap<u64, u32>,
    /// The ids.
    pub names: Vec<String>,
    pub rows: Rows,
}

pub(super) fn read(raw: &mut RawFolder, path: &Path, courses: &mut Courses) -> Result<Learners> {
    let mut out = Learners { known: HashMap::new(), names: Vec::new(), rows: Rows::default() };
    let listed = courses.len();
    let (mut idle, mut repeated) = (0u64, 0u64);
    let parse = |line: &[u8]| {
        let line: Line = json(line)?;
        let (number, mut times) = (require_number(line.id, "U_")?, vec![]);
        enrolment_times(line.course_order.len(), &line.enroll_time, &mut times)?;
        Ok((number, line.course_order, times))
    };
    let lines = raw.parsed(path, parse, |(number, course_order, times)| {
        if times.is_empty() {
            idle += 1;
            return;
        }
        let next = out.names.len() as u32;
        let learner = *out.known.entry(number).or_insert(next);
        if learner == next {
            out.names.push(format!("U_{number}"));
        } else {
            repeated += 1;
        }
        for (course, time) in course_order.into_iter().zip(times) {
            out.rows.learner.push(learner);
            out.rows.course.push(courses.get_or_add(course));
            out.rows.time.push(time);
        }
    })?;
    raw.count("learners in user.json", lines, 3_330_294);
    if idle > 0 {
        raw.note(format!("{USERS}: {idle} learners have no enrolment and are left out"));
    }
    if repeated > 0 {
        raw.note(format!("{USERS}: {repeated} lines name a learner again and were joined with the first"));
    }
    let added = courses.len() - listed;
    if added > 0 {
        raw.note(format!(
            "{added} courses have enrolments but no line in course.json: they are kept by their ids"
        ));
    }
    Ok(out)
}
