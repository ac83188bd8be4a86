//! OULAD, the Open University Learning Analytics dataset (Kuzilek, Hlosta, Zdrahal 2017), as it is published: csv files
//! of module presentations, which are the courses, and of students. Gender, region, education, deprivation, age and
//! disability stand in the rows of students and are never kept.

use super::shared::graph::Graph;
use super::shared::ids::TextIds;
use super::shared::source::Source;
use super::shared::values::{date, lossy, require_number, require_text};
use super::{Format, Loaded, Request, locate};
use crate::assemble::Rows;
use base::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The enrolments, with what became of them.
const STUDENTS: &str = "studentInfo.csv";
const REGISTRATIONS: &str = "studentRegistration.csv";
const COURSES: &str = "courses.csv";
const ASSESSMENTS: &str = "assessments.csv";
const SUBMISSIONS: &str = "studentAssessment.csv";
const SITES: &str = "vle.csv";

/// Columns that make a course.
const MODULE: &str = "code_module";
const PRESENTATION: &str = "code_presentation";
const STUDENT: &str = "id_student";

const DAY: f64 = 86_400.0;

/// Days that a presentation's length is rounded down to.
const LENGTH_STEP: u32 = 10;

pub(super) const FORMAT: Format = Format {
    name: "oulad",
    about: "studentInfo.csv and the other tables of OULAD",
    options: &[],
    detect: |source| Ok(locate(source, STUDENTS).is_some()),
    read,
};

/// Relations to attributes of a course, in the order of their numbers, and what the names of their entities begin with.
const RELATIONS: [(&str, &str); 6] = [
    ("module", "module"),
    ("year", "year"),
    ("start_month", "start"),
    ("assessment_type", "assessment"),
    ("activity_type", "activity"),
    ("length", "length"),
];

#[derive(Default)]
struct Tables {
    learners: TextIds,
    courses: TextIds,
    /// When each course starts, in seconds since 1970.
    starts: Vec<f64>,
    rows: Rows,
    /// The row of a (learner, course).
    row_of: HashMap<(u32, u32), usize>,
    completed: Vec<u8>,
    /// Pairs of a course and an attribute, by the names of [`RELATIONS`].
    attributes: HashMap<&'static str, Vec<(u32, String)>>,
}

/// Reads a folder of OULAD; only studentInfo.csv must be there. Errors: `Error::Data` with file and line for too many
/// malformed lines, `Error::Io` for files that cannot be read.
fn read(request: &Request) -> Result<Loaded> {
    let mut source = Source::open(request.source, request.options, &FORMAT)?;
    let students = source.require(STUDENTS)?;
    let mut tables = Tables::default();
    tables.read_courses(&mut source)?;
    tables.read_students(&mut source, &students)?;
    if tables.completed.is_empty() {
        let remedy = "copy it again: it may have been cut off";
        return Err(Error::data(students, None, "the file has no rows", remedy));
    }
    tables.read_registrations(&mut source)?;
    let engaged = tables.read_assessments(&mut source)?;
    tables.read_sites(&mut source)?;
    source.count("enrolments", tables.completed.len() as u64, 32_593);
    source.count("learners", tables.learners.names.len() as u64, 28_785);
    source.count("courses", tables.courses.names.len() as u64, 22);
    let graph = graph(tables.courses.names, &tables.starts, &tables.attributes);
    let mut dataset = graph.dataset(source.name(), tables.learners.names);
    let mut rows = tables.rows;
    for (label, values) in [("engaged", engaged), ("completed", Some(tables.completed))] {
        if let Some(values) = values {
            dataset.labels.push(label.into());
            rows.labels.push(values);
        }
    }
    source.note_missing();
    source.finish_rows(dataset, rows)
}

impl Tables {
    /// The course of a module's presentation, such as AAA and 2013J. Err: why it is none.
    fn course(&mut self, module: &str, presentation: &str) -> Result<u32, String> {
        let (module, presentation) = (require_text(module, MODULE)?, require_text(presentation, PRESENTATION)?);
        let name = format!("{module}_{presentation}");
        if let Some(course) = self.courses.get(&name) {
            return Ok(course);
        }
        let letter = presentation.char_indices().next_back().map_or(0, |(at, _)| at);
        let (year, letter) = presentation.split_at(letter);
        let month = match letter {
            "B" => "02",
            "J" => "10",
            _ => "",
        };
        let Some(start) = date(&format!("{year}-{month}-01")) else {
            let shown = lossy(presentation);
            return Err(format!("{PRESENTATION} '{shown}' is not a year and B or J, for February or October"));
        };
        let course = self.courses.of(&name);
        self.starts.push(start);
        self.add("module", course, module);
        self.add("year", course, year);
        self.add("start_month", course, letter);
        Ok(course)
    }

    fn add(&mut self, relation: &'static str, course: u32, value: &str) {
        self.attributes.entry(relation).or_default().push((course, value.into()));
    }

    /// The row of an enrolment. None where there is none.
    fn row(&self, student: &str, course: Option<u32>) -> Option<usize> {
        self.row_of.get(&(self.learners.get(student)?, course?)).copied()
    }

    fn read_courses(&mut self, source: &mut Source) -> Result<()> {
        let Some(path) = source.find(COURSES) else { return Ok(()) };
        let columns = [MODULE, PRESENTATION, "module_presentation_length"];
        source.rows(&path, columns, [], |[module, presentation, length], []| {
            let days: u32 =
                length.parse().map_err(|_| format!("the length '{}' is no number of days", lossy(length)))?;
            let course = self.course(module, presentation)?;
            self.add("length", course, &(days / LENGTH_STEP * LENGTH_STEP).to_string());
            Ok(())
        })?;
        Ok(())
    }

    fn read_students(&mut self, source: &mut Source, path: &Path) -> Result<()> {
        let columns = [MODULE, PRESENTATION, STUDENT, "final_result"];
        source.rows(path, columns, [], |[module, presentation, student, result], []| {
            require_number(student, "")?;
            let completed = match result {
                "Pass" | "Distinction" => 1,
                "Fail" | "Withdrawn" => 0,
                other => return Err(format!("there is no final_result '{}'", lossy(other))),
            };
            let course = self.course(module, presentation)?;
            let learner = self.learners.of(student);
            self.row_of.entry((learner, course)).or_insert(self.completed.len());
            self.rows.learner.push(learner);
            self.rows.course.push(course);
            self.completed.push(completed);
            Ok(())
        })?;
        Ok(())
    }

    /// When each enrolment was made: the start of its presentation and the days before or after it.
    fn read_registrations(&mut self, source: &mut Source) -> Result<()> {
        let Some(path) = source.find(REGISTRATIONS) else { return Ok(()) };
        // Without a date an enrolment comes before the learner's others.
        let mut time = vec![f64::NEG_INFINITY; self.completed.len()];
        let mut unknown = 0;
        let columns = [MODULE, PRESENTATION, STUDENT, "date_registration"];
        let rows = source.rows(&path, columns, [], |[module, presentation, student, date], []| {
            require_number(student, "")?;
            let days = match date {
                "" => None,
                text => {
                    Some(text.parse::<i32>().map_err(|_| format!("date_registration '{}' is no number", lossy(text)))?)
                }
            };
            let course = self.courses.get(&format!("{module}_{presentation}"));
            match (self.row(student, course), course, days) {
                (Some(row), Some(course), Some(days)) => {
                    time[row] = self.starts[course as usize] + days as f64 * DAY;
                }
                (Some(_), ..) => {}
                (None, ..) => unknown += 1,
            }
            Ok(())
        })?;
        source.count("registrations", rows, 32_593);
        note_unknown(source, REGISTRATIONS, unknown);
        let undated = time.iter().filter(|t| !t.is_finite()).count();
        source.note_if(
            undated as u64,
            format!("{undated} of {} enrolments have no date of registration and come first", time.len()),
        );
        self.rows.time = time;
        Ok(())
    }

    /// Types of assessments as attributes, and whether each enrolment has a submission. None where a file is missing.
    fn read_assessments(&mut self, source: &mut Source) -> Result<Option<Vec<u8>>> {
        let (assessments, submissions) = (source.find(ASSESSMENTS), source.find(SUBMISSIONS));
        let Some(path) = assessments else { return Ok(None) };
        let mut course_of: HashMap<u64, u32> = HashMap::new();
        let columns = [MODULE, PRESENTATION, "id_assessment", "assessment_type"];
        let rows = source.rows(&path, columns, [], |[module, presentation, assessment, kind], []| {
            let assessment = require_number(assessment, "")?;
            let kind = require_text(kind, "assessment_type")?;
            let course = self.course(module, presentation)?;
            course_of.insert(assessment, course);
            self.add("assessment_type", course, kind);
            Ok(())
        })?;
        source.count("assessments", rows, 206);
        let Some(path) = submissions else { return Ok(None) };
        let mut engaged = vec![0; self.completed.len()];
        let mut unknown = 0;
        let rows = source.rows(&path, ["id_assessment", STUDENT], [], |[assessment, student], []| {
            require_number(student, "")?;
            let course = course_of.get(&require_number(assessment, "")?);
            match self.row(student, course.copied()) {
                Some(row) => engaged[row] = 1,
                None => unknown += 1,
            }
            Ok(())
        })?;
        source.count("submissions", rows, 173_912);
        note_unknown(source, SUBMISSIONS, unknown);
        Ok(Some(engaged))
    }

    /// Types of activities of the virtual learning environment.
    fn read_sites(&mut self, source: &mut Source) -> Result<()> {
        let Some(path) = source.find(SITES) else { return Ok(()) };
        let columns = [MODULE, PRESENTATION, "activity_type"];
        let rows = source.rows(&path, columns, [], |[module, presentation, activity], []| {
            let activity = require_text(activity, "activity_type")?;
            let course = self.course(module, presentation)?;
            self.add("activity_type", course, activity);
            Ok(())
        })?;
        source.count("sites", rows, 6_364);
        Ok(())
    }
}

fn note_unknown(source: &mut Source, file: &str, rows: u64) {
    source.note_if(rows, format!("{file}: {rows} rows name no enrolment of {STUDENTS}; they are left out"));
}

/// Courses and their attributes, and the presentation of the same module before each.
fn graph(course_names: Vec<String>, starts: &[f64], attributes: &HashMap<&'static str, Vec<(u32, String)>>) -> Graph {
    let mut graph = Graph::new(course_names);
    for (relation, prefix) in RELATIONS {
        let mut known = HashMap::new();
        let mut pairs = vec![];
        for (course, value) in attributes.get(relation).into_iter().flatten() {
            pairs.push((*course, graph.entity(&mut known, value, || format!("{prefix}:{value}"))));
        }
        graph.relate(relation, pairs);
    }
    let mut modules: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (course, module) in attributes.get("module").into_iter().flatten() {
        modules.entry(module).or_default().push(*course);
    }
    let mut previous = vec![];
    for mut courses in modules.into_values() {
        courses.sort_by(|&a, &b| starts[a as usize].total_cmp(&starts[b as usize]));
        previous.extend(courses.windows(2).map(|pair| (pair[1], pair[0])));
    }
    graph.relate("previous_presentation", previous);
    graph
}
