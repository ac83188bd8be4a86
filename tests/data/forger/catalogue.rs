//! The courses as the raw files have them: ids, videos, exercises and problems, and which of them are listed.

use std::ops::Range;

use base::Result;
use waata_data::synth::Draws;

use super::expected::Tally;
use super::lines::Lines;
use super::{Folder, World, words};

const CATALOGUE: u64 = 7;

/// Ids of courses, videos, exercises and problems begin here; smaller numbers are free for what no course has.
const FIRST: u64 = 580_000;

/// Vectors are indexed by course.
pub(super) struct Catalogue {
    /// 584313 of C_584313.
    pub numbers: Vec<u64>,
    /// Whether course.json has the course. The others have no items.
    pub listed: Vec<bool>,
    /// Numbers of V_.
    pub videos: Vec<Range<u64>>,
    /// Numbers of Ex_.
    pub exercises: Vec<Range<u64>>,
    /// Numbers of Pm_, the same number for each exercise, in the order of the exercises.
    pub problems: Vec<Range<u64>>,
}

impl Catalogue {
    pub fn new(world: &World) -> Catalogue {
        let courses = world.data.courses;
        let mut draws = Draws::new(world.recipe.seed, CATALOGUE, 0);
        // 435 of 4,216 courses have enrolments and no line in course.json.
        let unlisted = (courses * 435 + 2_108) / 4_216;
        let mut listed: Vec<bool> = (0..courses).map(|k| k >= unlisted).collect();
        draws.shuffle(&mut listed);
        let mut catalogue = Catalogue {
            numbers: (0..courses as u64).map(|c| FIRST + 11 * c + draws.below(11) as u64).collect(),
            listed,
            videos: Vec::with_capacity(courses),
            exercises: Vec::with_capacity(courses),
            problems: Vec::with_capacity(courses),
        };
        let [mut video, mut exercise, mut problem] = [FIRST; 3];
        for course in 0..courses {
            let kind = draws.below(100);
            let [videos, exercises, each] = [8 + draws.below(92), 2 + draws.below(37), 1 + draws.below(7)];
            let listed = catalogue.listed[course];
            // Some have no videos, some no exercises, some nothing.
            let count = |n: usize, without: Range<usize>| {
                if listed && !without.contains(&kind) { n as u64 } else { 0 }
            };
            let (videos, exercises) = (count(videos, 0..8), count(exercises, 4..12));
            catalogue.videos.push(video..video + videos);
            catalogue.exercises.push(exercise..exercise + exercises);
            catalogue.problems.push(problem..problem + exercises * each as u64);
            video += videos;
            exercise += exercises;
            problem += exercises * each as u64;
        }
        catalogue
    }

    /// Videos and problems of a course.
    pub fn items(&self, course: usize) -> [u32; 2] {
        [&self.videos[course], &self.problems[course]].map(|range| (range.end - range.start) as u32)
    }

    pub fn has_items(&self, course: usize) -> bool {
        self.items(course) != [0, 0]
    }

    /// The exercise and the problem of each pair, in order.
    pub fn exercise_problems(&self) -> impl Iterator<Item = (u64, u64)> {
        self.exercises.iter().zip(&self.problems).flat_map(|(exercises, problems)| {
            let each = (problems.end - problems.start) / (exercises.end - exercises.start).max(1);
            exercises.clone().flat_map(move |exercise| {
                let first = problems.start + (exercise - exercises.start) * each;
                (first..first + each).map(move |problem| (exercise, problem))
            })
        })
    }

    /// An exercise that no course has, and its problem.
    pub fn loose(&self, k: u64) -> (u64, u64) {
        let end = |ranges: &[Range<u64>]| ranges.last().map_or(FIRST, |range| range.end);
        (end(&self.exercises) + k, end(&self.problems) + k)
    }

    /// Writes course.json. Answers the fields that it names: (course, field).
    pub fn write(&self, folder: &mut Folder, world: &World) -> Result<Vec<(u32, u32)>> {
        let (mut out, mut pairs) = (Lines::default(), Vec::new());
        for course in (0..self.numbers.len()).filter(|&c| self.listed[c]) {
            let mut draws = Draws::new(world.recipe.seed, CATALOGUE, 1 + course as u64);
            out.text(r#"{"id":"C_"#).number(self.numbers[course]).text(r#"","name":""#);
            // Escapes are right JSON, and a reader must understand them.
            match draws.below(20) {
                0 => out.text(r"\u300a").letters(4, &mut draws).text(r"\u300b"),
                1 => out.text(r#"\""#).letters(4, &mut draws).text(r#"\""#),
                _ => out.letters(4, &mut draws),
            };
            out.text(r#"","field":["#);
            // course-field.json has those that are left out here; what is named besides, it has not.
            let named = match (world.field[course], draws.below(8)) {
                (None, _) | (_, 0 | 1) => vec![],
                (Some(own), 2) => vec![own, (own + 1) % world.field_count as u32],
                (Some(own), 3) => vec![own, own],
                (Some(own), _) => vec![own],
            };
            for (k, &field) in named.iter().enumerate() {
                out.text(if k > 0 { ",\"" } else { "\"" }).text(&words::field(field as usize)).text("\"");
                pairs.push((course as u32, field));
            }
            out.text(r#"],"prerequisites":""#);
            if let Some(before) = world.prerequisite[course] {
                out.text("C_").number(self.numbers[before as usize]).text(" ").letters(6, &mut draws);
            }
            out.text(r#"","about":"<p>"#);
            let about = 100 + draws.below(1_000);
            out.letters(about, &mut draws).text(r#"</p>","resource":["#);
            let planted = self.resources(course, &mut out, &mut draws);
            folder.expected.quirks(&planted);
            out.text("]}").end(r#"{"id":"C_584313","name":"#);
        }
        let listed = self.listed.iter().filter(|&&l| l).count();
        let empty = (0..self.numbers.len()).filter(|&c| self.listed[c] && !self.has_items(c)).count();
        folder.expected.quirk("courses_without_resources", empty as u64);
        folder.expected.found.insert("courses in course.json", listed as u64);
        folder.put("entities/course.json", &out)?;
        Ok(pairs)
    }

    /// Videos, with exercises between them; now and then one again, one of another kind, and one without id.
    fn resources(&self, course: usize, out: &mut Lines, draws: &mut Draws) -> Tally {
        let (videos, exercises) = (self.videos[course].clone(), self.exercises[course].clone());
        let mut planted = Tally::new();
        let mut resources: Vec<(&str, u64)> = videos.map(|v| ("V_", v)).collect();
        for (k, exercise) in exercises.enumerate() {
            resources.insert((3 * k + 2).min(resources.len()), ("Ex_", exercise));
        }
        if let Some(&again) = resources.first()
            && draws.below(30) == 0
        {
            resources.push(again);
            planted.insert("resources_repeated", 1);
        }
        if !resources.is_empty() && draws.below(30) == 0 {
            resources.push(("H_", course as u64));
            planted.insert("resources_of_other_kinds", 1);
        }
        for (k, (prefix, number)) in resources.into_iter().enumerate() {
            let (chapter, section, part) = (k / 12 + 1, k % 12 / 4 + 1, k % 4 + 1);
            out.text(if k > 0 { ",{" } else { "{" }).text(r#""titles":["第"#).number(chapter as u64).text("课 ");
            out.letters(4, draws).text(r#"",""#).letters(5, draws).text(r#"",""#).letters(5, draws);
            out.text(r#""],"resource_id":""#).text(prefix).number(number).text(r#"","chapter":""#);
            out.number(chapter as u64).text(".").number(section as u64).text(".").number(part as u64).text("\"}");
        }
        planted
    }
}
