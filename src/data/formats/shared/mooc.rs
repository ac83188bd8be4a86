//! What the data sets of XuetangX, MOOCCube and MOOCCubeX, have in common: JSON lines of courses and learners, tables of two
//! ids around the courses, and logs of learners. Every file is read once, line by line, so memory grows with enrolments and
//! courses but not with the logs. Of a learner nothing but the id and the enrolments is ever taken out of a line.

use super::completed::Completed;
use super::graph::Graph;
use super::ids::intern;
use super::source::Source;
use super::values::{date, json, lossy, pair, require_prefix};
use crate::assemble::{Rows, assemble};
use crate::formats::{Format, Loaded, Request};
use crate::{Dataset, Interactions};
use base::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;

pub const USERS: &str = "entities/user.json";
const COURSES: &str = "entities/course.json";

/// What differs between the data sets.
pub trait Mooc {
    const FORMAT: Format;
    /// Lines of course.json and of user.json, where they are published.
    const PUBLISHED: Option<[u64; 2]>;
    /// What an id is known by.
    type Key: Hash + Ord + Clone + Send + Sync;
    /// A course as an enrolment names it.
    type Course: DeserializeOwned;

    /// Err: why a text is no id with the prefix.
    fn key(id: &str, prefix: &str) -> Result<Self::Key, String>;
    fn course_key(course: Self::Course) -> Result<Self::Key, String>;
    fn id(key: &Self::Key, prefix: &str) -> String;

    /// The graph around the courses.
    fn graph(source: &mut Source, courses: &Courses<Self::Key>) -> Result<Graph>;

    /// Marks the enrolments that the logs show completed.
    fn mark_completed(
        source: &mut Source,
        courses: &Courses<Self::Key>,
        learners: &Learners<Self::Key>,
        interactions: &Interactions,
        completed: &mut Completed,
    ) -> Result<()>;
}

/// Reads a folder; only `entities/user.json` must be there. Errors: `Error::Data` with file and line for too many
/// malformed lines, `Error::Io` for files that cannot be read.
pub fn read<M: Mooc>(request: &Request) -> Result<Loaded> {
    let mut source = Source::open(request.source, request.options, &M::FORMAT)?;
    let users = source.require(USERS)?;
    let mut courses = Courses::read::<M>(&mut source)?;
    let (learners, rows) = Learners::read::<M>(&mut source, &users, &mut courses)?;
    if rows.len() == 0 {
        let remedy = format!("check that the file is whole, and that it is one of {}", M::FORMAT.name);
        return Err(Error::data(users, None, "no learner has an enrolment", remedy));
    }
    let graph = M::graph(&mut source, &courses)?;
    let (interactions, duplicates) = assemble(rows, learners.names.len(), courses.len());
    source.report.duplicates = duplicates;
    let mut completed = Completed::new(&source);
    M::mark_completed(&mut source, &courses, &learners, &interactions, &mut completed)?;
    let mut dataset = Dataset { interactions, ..graph.dataset(source.name(), learners.names) };
    completed.finish(&mut source, &mut dataset);
    source.note_missing();
    source.finish(dataset)
}

#[derive(Deserialize)]
struct CourseLine {
    id: String,
    name: Option<String>,
    field: Option<Vec<String>>,
    resource: Option<Vec<Resource>>,
    video_order: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Resource {
    resource_id: Option<String>,
}

/// The courses, numbered from 0: those of course.json in its order, then those that only enrolments name.
pub struct Courses<K> {
    known: HashMap<K, u32>,
    /// The id, and the name where course.json has one: "C_584313 Logic".
    pub names: Vec<String>,
    /// (course, field)
    pub fields: Vec<(u32, String)>,
    /// (video, course)
    pub videos: Vec<(K, u32)>,
    /// (exercise, course)
    pub exercises: Vec<(K, u32)>,
}

impl<K: Hash + Ord + Clone + Send> Courses<K> {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn get(&self, key: &K) -> Option<u32> {
        self.known.get(key).copied()
    }

    fn read<M: Mooc<Key = K>>(source: &mut Source) -> Result<Courses<K>> {
        let mut courses =
            Courses { known: HashMap::new(), names: vec![], fields: vec![], videos: vec![], exercises: vec![] };
        let Some(path) = source.find(COURSES) else { return Ok(courses) };
        let parse = |line: &[u8]| {
            let line: CourseLine = json(line)?;
            Ok((M::key(&line.id, "C_")?, line))
        };
        let mut strange = 0;
        source.lines(&path, parse, |_, (key, line)| {
            if courses.known.contains_key(&key) {
                return Err(format!("the course {} is listed twice", line.id));
            }
            let course = courses.names.len() as u32;
            let name = M::id(&key, "C_");
            courses.known.insert(key, course);
            courses.names.push(match line.name.as_deref().map(str::trim) {
                None | Some("") => name,
                Some(name) => format!("{} {name}", line.id),
            });
            courses.fields.extend(line.field.into_iter().flatten().map(|field| (course, field)));
            let resources = line.resource.into_iter().flatten().filter_map(|resource| resource.resource_id);
            for id in resources.chain(line.video_order.into_iter().flatten()) {
                match (M::key(&id, "V_"), M::key(&id, "Ex_")) {
                    (Ok(video), _) => courses.videos.push((video, course)),
                    (_, Ok(exercise)) => courses.exercises.push((exercise, course)),
                    _ => strange += 1,
                }
            }
            Ok(())
        })?;
        if let Some([published, _]) = M::PUBLISHED {
            source.count("courses in course.json", courses.len() as u64, published);
        }
        source.note_if(
            strange,
            format!("{COURSES}: {strange} resources are neither V_ nor Ex_ and a number, and do not count"),
        );
        Ok(courses)
    }
}

#[derive(Deserialize)]
struct UserLine<'a, C> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    course_order: Vec<C>,
    #[serde(borrow)]
    enroll_time: Vec<&'a str>,
}

/// The learners with an enrolment.
pub struct Learners<K> {
    known: HashMap<K, u32>,
    names: Vec<String>,
}

impl<K: Hash + Ord + Clone + Send> Learners<K> {
    pub fn get(&self, key: &K) -> Option<u32> {
        self.known.get(key).copied()
    }

    /// Learners and enrolments.
    fn read<M: Mooc<Key = K>>(
        source: &mut Source,
        path: &Path,
        courses: &mut Courses<K>,
    ) -> Result<(Learners<K>, Rows)> {
        let (mut learners, mut rows) = (Learners { known: HashMap::new(), names: vec![] }, Rows::default());
        let parse = |line: &[u8]| {
            let line: UserLine<M::Course> = json(line)?;
            let learner = M::key(&line.id, "U_")?;
            let courses = line.course_order.into_iter().map(M::course_key).collect::<Result<Vec<_>, _>>()?;
            if courses.len() != line.enroll_time.len() {
                let (courses, times) = (courses.len(), line.enroll_time.len());
                return Err(format!("course_order has {courses} values, enroll_time {times}"));
            }
            let time = |text: &str| date(text).ok_or_else(|| format!("the enroll_time '{}' is no date", lossy(text)));
            let times = line.enroll_time.into_iter().map(time).collect::<Result<Vec<_>, _>>()?;
            Ok((learner, courses, times))
        };
        let listed = courses.len();
        let (mut idle, mut repeated) = (0, 0);
        let lines = source.lines(path, parse, |_, (key, listed, times)| {
            if times.is_empty() {
                idle += 1;
                return Ok(());
            }
            let next = learners.names.len() as u32;
            let learner = intern(&mut learners.known, &mut learners.names, &key, || M::id(&key, "U_"));
            repeated += (learner != next) as u64;
            for (course, time) in listed.iter().zip(times) {
                let name = || M::id(course, "C_");
                rows.learner.push(learner);
                rows.course.push(intern(&mut courses.known, &mut courses.names, course, name));
                rows.time.push(time);
            }
            Ok(())
        })?;
        if let Some([_, published]) = M::PUBLISHED {
            source.count("learners in user.json", lines, published);
        }
        let added = (courses.len() - listed) as u64;
        source.note_if(idle, format!("{USERS}: {idle} learners have no enrolment and are left out"));
        source.note_if(
            repeated,
            format!("{USERS}: {repeated} lines name a learner again and were joined with the first"),
        );
        source.note_if(
            added,
            format!("{added} courses have enrolments but no line in course.json: they are kept by their ids"),
        );
        Ok((learners, rows))
    }
}

/// A table of two ids, one of them a course's, whose relation is also the name of the JSON lines in `entities/` that name
/// what stands beside the courses.
pub struct Table {
    pub relation: &'static str,
    pub file: &'static str,
    /// Which column has the course: 0 or 1.
    pub course: usize,
    /// What the ids of the other column begin with.
    pub prefix: &'static str,
    /// Lines of the two files, where they are published.
    pub published: Option<[u64; 2]>,
}

#[derive(Deserialize)]
struct EntityLine {
    id: String,
    name: Option<String>,
}

impl Table {
    /// Adds the triples of the table and the names of its entities; answers these by their ids.
    pub fn read<M: Mooc>(
        &self,
        source: &mut Source,
        courses: &Courses<M::Key>,
        graph: &mut Graph,
    ) -> Result<HashMap<String, u32>> {
        let known = self.read_pairs::<M>(source, courses, graph)?;
        self.read_names(source, &known, graph)?;
        Ok(known)
    }

    fn read_pairs<M: Mooc>(
        &self,
        source: &mut Source,
        courses: &Courses<M::Key>,
        graph: &mut Graph,
    ) -> Result<HashMap<String, u32>> {
        let (mut known, mut pairs) = (HashMap::new(), Vec::new());
        let Some(path) = source.find(self.file) else { return Ok(known) };
        let (mut unknown, mut header) = (0, 0);
        let parse = |line: &[u8]| pair(line).map(|columns| columns.map(String::from));
        let lines = source.lines(&path, parse, |number, columns| {
            let (course, other) = (&columns[self.course], &columns[1 - self.course]);
            if number == 1 && !columns.iter().any(|id| id.starts_with("C_") || id.starts_with(self.prefix)) {
                header = 1;
                return Ok(());
            }
            let Some(course) = M::key(course, "C_").ok().filter(|_| other.starts_with(self.prefix)) else {
                let mut ids = ["C_", self.prefix];
                ids.rotate_left(self.course);
                let [first, second] = ids;
                return Err(format!("'{}' is not an id {first}..., a tab and {second}...", lossy(columns.join("\t"))));
            };
            match courses.get(&course) {
                Some(course) => pairs.push((course, graph.entity(&mut known, other, || other.clone()))),
                None => unknown += 1,
            }
            Ok(())
        })?;
        if let Some([published, _]) = self.published {
            let name = self.file.rsplit('/').next().unwrap_or(self.file);
            source.count(format!("lines of {name}"), lines - header, published);
        }
        source.note_if(header, format!("{}: the first line is a header and was passed over", self.file));
        note_unknown(source, self.file, unknown);
        graph.relate(self.relation, pairs);
        Ok(known)
    }

    /// Adds names to the ids, unless an id has its name in it as those of concepts do.
    fn read_names(&self, source: &mut Source, known: &HashMap<String, u32>, graph: &mut Graph) -> Result<()> {
        let Some(path) = source.find(&format!("entities/{}.json", self.relation)) else { return Ok(()) };
        let parse = |line: &[u8]| {
            let EntityLine { id, name } = json(line)?;
            require_prefix(&id, self.prefix)?;
            let name = name.filter(|name| !id.contains(name.trim()));
            Ok(known.get(&id).zip(name).map(|(&entity, name)| (entity, format!("{id} {}", name.trim()))))
        };
        let lines = source.lines(&path, parse, |_, named| {
            if let Some((entity, name)) = named {
                graph.entity_names[entity as usize] = name;
            }
            Ok(())
        })?;
        if let Some([_, published]) = self.published {
            source.count(format!("entities in {}.json", self.relation), lines, published);
        }
        Ok(())
    }
}

pub fn note_unknown(source: &mut Source, file: &str, lines: u64) {
    source.note_if(
        lines,
        format!("{file}: {lines} lines name a course that neither course.json nor an enrolment has, and are left out"),
    );
}
