//! entities/course.json: names, fields and resources.

use super::COURSES;
use crate::formats::raw::{RawFolder, json, number, require_number};
use base::Result;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    field: Option<Vec<String>>,
    #[serde(borrow, default)]
    resource: Option<Vec<Resource<'a>>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    resource_id: Option<Cow<'a, str>>,
}

/// The courses, numbered from 0: those of course.json in its order, then those that only enrolments name.
#[derive(Default)]
pub(super) struct Courses {
    /// By the number in the id: 584313 of C_584313.
    numbers: HashMap<u64, u32>,
    /// The id, and the name where course.json has one: "C_584313 Logic".
    pub names: Vec<String>,
    /// (course, field)
    pub fields: Vec<(u32, String)>,
    /// (number of V_, course)
    pub videos: Vec<(u64, u32)>,
    /// (number of Ex_, course)
    pub exercises: Vec<(u64, u32)>,
}

impl Courses {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn get(&self, number: u64) -> Option<u32> {
        self.numbers.get(&number).copied()
    }

    /// The course of an enrolment, which becomes one where course.json does not have it.
    pub fn get_or_add(&mut self, number: u64) -> u32 {
        *self.numbers.entry(number).or_insert_with(|| {
            self.names.push(format!("C_{number}"));
            self.names.len() as u32 - 1
        })
    }
}

pub(super) fn read(raw: &mut RawFolder) -> Result<Courses> {
    let mut courses = Courses::default();
    let Some(path) = raw.find(COURSES) else { return Ok(courses) };
    let mut strange = 0u64;
    raw.lines(&path, |_, line| {
        let line: Line = json(line)?;
        let number_of_course = require_number(&line.id, "C_")?;
        if courses.get(number_of_course).is_some() {
            return Err(format!("the course {} is listed twice", line.id));
        }
        let course = courses.get_or_add(number_of_course);
        if let Some(name) = line.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            courses.names[course as usize] = format!("{} {name}", line.id);
        }
        courses.fields.extend(line.field.into_iter().flatten().map(|field| (course, field)));
        for id in line.resource.iter().flatten().filter_map(|r| r.resource_id.as_deref()) {
            match (number(id, "V_"), number(id, "Ex_")) {
                (Some(video), _) => courses.videos.push((video, course)),
                (_, Some(exercise)) => courses.exercises.push((exercise, course)),
                _ => strange += 1,
            }
        }
        Ok(())
    })?;
    raw.count("courses in course.json", courses.len() as u64, 3_781);
    if strange > 0 {
        raw.note(format!(
            "{COURSES}: {strange} resources are neither V_ nor Ex_ and a number, and do not count"
        ));
    }
    Ok(courses)
}
