//! OULAD, the Open University Learning Analytics dataset (Kuzilek, Hlosta, Zdrahal 2017), as it is published: csv files
//! of module presentations, which are the courses, and of students. Gender, region, education, deprivation, age and
//! disability stand in the rows of students and are never kept.

use super::raw::{RawFolder, RawOptions, require_number};
use super::raw_rows::id;
use super::relations::Graph;
use super::table::Numbering;
use super::text::lossy;
use super::time::parse_time;
use super::{Loaded, finish, folder_name};
use crate::Dataset;
use crate::assemble::Rows;
use base::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The enrolments, with what became of them.
pub const STUDENTS: &str = "studentInfo.csv";
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

#[derive(Default)]
struct Source {
    learners: Numbering,
    courses: Numbering,
    /// When each course starts, in seconds since 1970.
    starts: Vec<f64>,
    rows: Rows,
    /// The row of a (learner, course).
    row_of: HashMap<(u32, u32), usize>,
    completed: Vec<u8>,
    /// Pairs of a course and an attribute, by relation.
    attributes: BTreeMap<Relation, Vec<(u32, String)>>,
}

/// In the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    Module,
    Year,
    Start,
    Assessment,
    Activity,
    Length,
}

impl Relation {
    /// The name of the relation, and what its entities' names begin with.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Relation::Module => ("module", "module"),
            Relation::Year => ("year", "year"),
            Relation::Start => ("start_month", "start"),
            Relation::Assessment => ("assessment_type", "assessment"),
            Relation::Activity => ("activity_type", "activity"),
            Relation::Length => ("length", "length"),
        }
    }
}

/// Reads a folder of OULAD; only studentInfo.csv must be there. Errors: `Error::Data` with file and line for too many
/// malformed lines, `Error::Io` for files that cannot be read.
pub fn read(folder: &Path, options: &RawOptions) -> Result<Loaded> {
    let mut raw = RawFolder::open(folder, options, "oulad")?;
    let students = raw.require(STUDENTS)?;
    let mut out = Source::default();
    read_courses(&mut raw, &mut out)?;
    read_students(&mut raw, &students, &mut out)?;
    if out.completed.is_empty() {
        let remedy = "copy it again: it may have been cut off";
        return Err(Error::data(students, None, "the file has no rows", remedy));
    }
    read_registrations(&mut raw, &mut out)?;
    let engaged = read_assessments(&mut raw, &mut out)?;
    read_sites(&mut raw, &mut out)?;
    raw.count("enrolments", out.completed.len() as u64, 32_593);
    raw.count("learners", out.learners.names.len() as u64, 28_785);
    raw.count("courses", out.courses.names.len() as u64, 22);
    let mut rows = out.rows;
    let mut labels = vec![];
    if let Some(engaged) = engaged {
        labels.push("engaged".to_string());
        rows.labels.push(engaged);
    }
    labels.push("completed".into());
    rows.labels.push(out.completed);
    let courses = out.courses.names.len();
    let graph = graph(out.courses.names, &out.starts, out.attributes);
    let dataset = Dataset {
        name: folder_name(folder),
        learner_names: out.learners.names.into(),
        courses,
        entity_names: graph.entity_names.into(),
        relation_names: graph.relation_names.into(),
        triples: graph.triples.into(),
        labels,
        ..Default::default()
    };
    finish(folder, dataset, rows, raw.finish())
}

impl Source {
    /// The course of a module's presentation, such as AAA and 2013J. Err: why it is none.
    fn course(&mut self, module: &str, presentation: &str) -> Result<u32, String> {
        let (module, presentation) = (id(module, MODULE)?, id(presentation, PRESENTATION)?);
        let name = format!("{module}_{presentation}");
        if let Some(course) = self.courses.get(&name) {
            return Ok(course);
        }
        let (year, month) = presentation.split_at(presentation.len().saturating_sub(1));
        let date = match month {
            "B" => format!("{year}-02-01"),
            "J" => format!("{year}-10-01"),
            _ => String::new(),
        };
        let Some((start, _)) = parse_time(&date) else {
            let shown = lossy(presentation.as_bytes());
            return Err(format!(
                "{PRESENTATION} '{shown}' is not a year and B or J, for February or October"
            ));
        };
        let course = self.courses.of(&name);
        self.starts.push(start);
        for (relation, value) in
            [(Relation::Module, module), (Relation::Year, year), (Relation::Start, month)]
        {
            self.attributes.entry(relation).or_default().push((course, value.to_string()));
        }
        Ok(course)
    }

    /// A course that is known already.
    fn known_course(&self, module: &str, presentation: &str) -> Option<u32> {
        self.courses.get(&format!("{module}_{presentation}"))
    }
}

fn read_courses(raw: &mut RawFolder, out: &mut Source) -> Result<()> {
    let Some(path) = raw.find(COURSES) else { return Ok(()) };
    let columns = [MODULE, PRESENTATION, "module_presentation_length"];
    raw.rows(&path, columns, [], |[module, presentation, length], []| {
        let days: u32 = length
            .parse()
            .map_err(|_| format!("the length '{}' is no number of days", lossy(length.as_bytes())))?;
        let course = out.course(module, presentation)?;
        let length = days / LENGTH_STEP * LENGTH_STEP;
        out.attributes.entry(Relation::Length).or_default().push((course, length.to_string()));
        Ok(())
    })?;
    Ok(())
}

fn read_students(raw: &mut RawFolder, path: &Path, out: &mut Source) -> Result<()> {
    let columns = [MODULE, PRESENTATION, STUDENT, "final_result"];
    raw.rows(path, columns, [], |[module, presentation, student, result], []| {
        require_number(student, "")?;
        let completed = match result {
            "ForwardCtx" | "Distinction" => 1,
            "Fail" | "Withdrawn" => 0,
            other => return Err(format!("there is no final_result '{}'", lossy(other.as_bytes()))),
        };
        let course = out.course(module, presentation)?;
        let learner = out.learners.of(student);
        out.row_of.entry((learner, course)).or_insert(out.completed.len());
        out.rows.learner.push(learner);
        out.rows.course.push(course);
        out.completed.push(completed);
        Ok(())
    })?;
    Ok(())
}

/// When each enrolment was made: the start of its presentation and the days before or after it.
fn read_registrations(raw: &mut RawFolder, out: &mut Source) -> Result<()> {
    let Some(path) = raw.find(REGISTRATIONS) else { return Ok(()) };
    // Without a date an enrolment comes before the learner's others.
    let mut time = vec![f64::NEG_INFINITY; out.completed.len()];
    let mut unknown = 0u64;
    let columns = [MODULE, PRESENTATION, STUDENT, "date_registration"];
    let rows = raw.rows(&path, columns, [], |[module, presentation, student, date], []| {
        require_number(student, "")?;
        let days = match date {
            "" => None,
            text => match text.parse::<i32>() {
                Ok(days) => Some(days as f64),
                Err(_) => {
                    return Err(format!("date_registration '{}' is no number", lossy(text.as_bytes())));
                }
            },
        };
        let enrolment = out.learners.get(student).zip(out.known_course(module, presentation));
        match enrolment.and_then(|pair| Some((out.row_of.get(&pair)?, pair.1))) {
            Some((&row, course)) => {
                if let Some(days) = days {
                    time[row] = out.starts[course as usize] + days * DAY;
                }
            }
            None => unknown += 1,
        }
        Ok(())
    })?;
    raw.count("registrations", rows, 32_593);
    if unknown > 0 {
        raw.note(format!(
            "{REGISTRATIONS}: {unknown} rows name no enrolment of {STUDENTS}; they are left out"
        ));
    }
    let undated = time.iter().filter(|t| !t.is_finite()).count();
    if undated > 0 {
        raw.note(format!(
            "{undated} of {} enrolments have no date of registration and come first",
            time.len()
        ));
    }
    out.rows.time = time;
    Ok(())
}

/// Types of assessments as attributes, and whether each enrolment has a submission. None where a file is missing.
fn read_assessments(raw: &mut RawFolder, out: &mut Source) -> Result<Option<Vec<u8>>> {
    let (assessments, submissions) = (raw.find(ASSESSMENTS), raw.find(SUBMISSIONS));
    let Some(path) = assessments else { return Ok(None) };
    let mut course_of: HashMap<u64, u32> = HashMap::new();
    let columns = [MODULE, PRESENTATION, "id_assessment", "assessment_type"];
    let rows = raw.rows(&path, columns, [], |[module, presentation, assessment, kind], []| {
        let (assessment, kind) = (require_number(assessment, "")?, id(kind, "assessment_type")?);
        let course = out.course(module, presentation)?;
        course_of.insert(assessment, course);
        out.attributes.entry(Relation::Assessment).or_default().push((course, kind.to_string()));
        Ok(())
    })?;
    raw.count("assessments", rows, 206);
    let Some(path) = submissions else { return Ok(None) };
    let mut engaged = vec![0; out.completed.len()];
    let mut unknown = 0u64;
    let rows = raw.rows(&path, ["id_assessment", STUDENT], [], |[assessment, student], []| {
        require_number(student, "")?;
        let course = course_of.get(&require_number(assessment, "")?);
        let enrolment = out.learners.get(student).zip(course.copied());
        match enrolment.and_then(|pair| out.row_of.get(&pair)) {
            Some(&row) => engaged[row] = 1,
            None => unknown += 1,
        }
        Ok(())
    })?;
    raw.count("submissions", rows, 173_912);
    if unknown > 0 {
        raw.note(format!("{SUBMISSIONS}: {unknown} rows name no enrolment of {STUDENTS}; they are left out"));
    }
    Ok(Some(engaged))
}

/// Types of activities of the virtual learning environment.
fn read_sites(raw: &mut RawFolder, out: &mut Source) -> Result<()> {
    let Some(path) = raw.find(SITES) else { return Ok(()) };
    let columns = [MODULE, PRESENTATION, "activity_type"];
    let rows = raw.rows(&path, columns, [], |[module, presentation, activity], []| {
        let activity = id(activity, "activity_type")?;
        let course = out.course(module, presentation)?;
        out.attributes.entry(Relation::Activity).or_default().push((course, activity.to_string()));
        Ok(())
    })?;
    raw.count("sites", rows, 6_364);
    Ok(())
}

/// Courses and their attributes, and the presentation of the same module before each.
fn graph(
    course_names: Vec<String>,
    starts: &[f64],
    attributes: BTreeMap<Relation, Vec<(u32, String)>>,
) -> Graph {
    let mut modules: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (course, module) in attributes.get(&Relation::Module).into_iter().flatten() {
        modules.entry(module.clone()).or_default().push(*course);
    }
    let mut graph = Graph::new(course_names);
    for (relation, values) in attributes {
        let (name, prefix) = relation.names();
        let mut known = HashMap::new();
        let pairs = values.iter().map(|(course, value)| {
            (*course, graph.entity(&mut known, value, |value| format!("{prefix}:{value}")))
        });
        let pairs = pairs.collect();
        graph.relate(name, pairs);
    }
    let mut previous = vec![];
    for mut courses in modules.into_values() {
        courses.sort_by(|&a, &b| starts[a as usize].total_cmp(&starts[b as usize]));
        previous.extend(courses.windows(2).map(|pair| (pair[1], pair[0])));
    }
    graph.relate("previous_presentation", previous);
    graph
}
