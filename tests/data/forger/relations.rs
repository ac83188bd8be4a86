//! What connects courses with fields, schools, teachers, concepts and problems, concepts with concepts, and the names of
//! those.

use base::Result;
use waata_data::synth::Draws;

use super::lines::Lines;
use super::words::field as field_name;
use super::{Catalogue, Folder, World};

const ENTITY: u64 = 10;

/// Concepts of a block.
const BLOCK: usize = 4_096;

/// A malformed line of the tables: one column.
const ONE_COLUMN: &str = "C_584313";

/// A malformed line of the files of entities: cut off.
const CUT: &str = r#"{"id":"S_1","name":"#;

/// Pairs (course, other) that the reader finds, by relation.
struct Pairs<'a> {
    known: &'a [bool],
    pairs: Vec<(u32, u32)>,
    unknown: u64,
}

impl Pairs<'_> {
    /// A line names the pair.
    fn add(&mut self, course: usize, other: u32) {
        if self.known[course] {
            self.pairs.push((course as u32, other));
        } else {
            self.unknown += 1;
        }
    }
}

/// Courses that no file but these has.
fn strange_courses(courses: usize) -> std::ops::Range<u64> {
    100..101 + courses as u64 / 220
}

/// Writes course.json and all files of relations. `taken` says which courses have an enrolment.
pub(super) fn write(folder: &mut Folder, world: &World, catalogue: &Catalogue, taken: &[bool]) -> Result<()> {
    let known: Vec<bool> = catalogue.listed.iter().zip(taken).map(|(listed, taken)| *listed | taken).collect();
    let added = taken.iter().zip(&catalogue.listed).filter(|&(&taken, &listed)| taken && !listed).count();
    folder.expected.quirk("courses_only_in_enrolments", added as u64);
    folder.expected.counts.courses = known.iter().filter(|&&k| k).count() as u64;
    folder.expected.counts.entities = folder.expected.counts.courses;
    fields(folder, world, catalogue, &known)?;
    schools(folder, world, catalogue, &known)?;
    teachers(folder, world, catalogue, &known)?;
    let linked = concepts(folder, world, catalogue, &known)?;
    prerequisites(folder, world, &linked)?;
    exercises(folder, catalogue)
}

/// Counts the triples and entities of a relation.
fn relate(folder: &mut Folder, relation: &'static str, mut pairs: Vec<(u32, u32)>) {
    pairs.sort_unstable();
    pairs.dedup();
    let triples = pairs.len() as u64;
    let mut entities: Vec<u32> = pairs.into_iter().map(|(_, other)| other).collect();
    entities.sort_unstable();
    entities.dedup();
    let counts = &mut folder.expected.counts;
    counts.entities += entities.len() as u64;
    counts.relations += (triples > 0) as u64;
    counts.triples += triples;
    counts.triples_by_relation.insert(relation, triples);
}

fn fields(folder: &mut Folder, world: &World, catalogue: &Catalogue, known: &[bool]) -> Result<()> {
    let mut out = Lines::default();
    let mut pairs = Pairs { known, pairs: catalogue.write(folder, world)?, unknown: 0 };
    let mut draws = Draws::new(world.recipe.seed, ENTITY, 0);
    let broken = r#"{"course_id":"C_584313","field":[]}"#;
    let mut line = |number: u64, field: u32| {
        out.text(r#"{"course_id":"#).number(number).text(r#","course_name":""#).letters(5, &mut draws);
        out.text(r#"","field":[""#).text(&field_name(field as usize)).text(r#""]}"#).end(broken);
    };
    for (course, field) in world.field.iter().enumerate().filter_map(|(c, field)| Some((c, (*field)?))) {
        line(catalogue.numbers[course], field);
        pairs.add(course, field);
    }
    for number in strange_courses(known.len()) {
        line(number, 0);
        pairs.unknown += 1;
    }
    folder.expected.quirk("fields_of_unknown_courses", pairs.unknown);
    folder.expected.found.insert("courses in course-field.json", out.lines);
    folder.put("relations/course-field.json", &out)?;
    relate(folder, "field", pairs.pairs);
    Ok(())
}

/// With line ends of Windows, as one copy has them.
fn schools(folder: &mut Folder, world: &World, catalogue: &Catalogue, known: &[bool]) -> Result<()> {
    let mut out = Lines::default();
    let mut pairs = Pairs { known, pairs: Vec::new(), unknown: 0 };
    let mut line = |number: u64, school: u32| {
        out.text("C_").number(number).text("\tS_").number(school as u64 + 1).text("\r").end("C_584313\r")
    };
    for (course, school) in world.school.iter().enumerate().filter_map(|(c, school)| Some((c, (*school)?))) {
        line(catalogue.numbers[course], school);
        pairs.add(course, school);
    }
    for number in strange_courses(known.len()) {
        line(number, 0);
        pairs.unknown += 1;
    }
    folder.expected.quirk("schools_of_unknown_courses", pairs.unknown);
    folder.expected.found.insert("lines of course-school.txt", out.lines);
    folder.put("relations/course-school.txt", &out)?;
    relate(folder, "school", pairs.pairs);
    let mut out = Lines::default();
    for school in 0..world.school_count {
        let mut draws = Draws::new(world.recipe.seed, ENTITY + 1, school as u64);
        out.text(r#"{"id":"S_"#).number(school as u64 + 1).text(r#"","name":""#).letters(3, &mut draws);
        out.text(r#"大学","name_en":"University","sign":"","about":""#).letters(420, &mut draws);
        out.text(r#"","motto":""#).letters(8, &mut draws).text(r#""}"#).end(CUT);
    }
    folder.expected.found.insert("entities in school.json", out.lines);
    folder.put("entities/school.json", &out)
}

/// Some lines come twice.
fn teachers(folder: &mut Folder, world: &World, catalogue: &Catalogue, known: &[bool]) -> Result<()> {
    let mut out = Lines::default();
    let mut pairs = Pairs { known, pairs: Vec::new(), unknown: 0 };
    let mut repeated = 0;
    for (course, &number) in catalogue.numbers.iter().enumerate() {
        for (k, &teacher) in world.teachers[course].iter().enumerate() {
            let times = 1 + (k == 0 && course % 60 == 1) as u64;
            for _ in 0..times {
                out.text("C_").number(number).text("\tT_").number(teacher as u64 + 1).end(ONE_COLUMN);
                pairs.add(course, teacher);
            }
            repeated += times - 1;
        }
    }
    folder.expected.quirk("teacher_lines_repeated", repeated);
    folder.expected.quirk("teachers_of_unknown_courses", pairs.unknown);
    folder.expected.found.insert("lines of course-teacher.txt", out.lines);
    folder.put("relations/course-teacher.txt", &out)?;
    relate(folder, "teacher", pairs.pairs);
    let mut out = Lines::default();
    for teacher in 0..world.teacher_count {
        let mut draws = Draws::new(world.recipe.seed, ENTITY + 2, teacher as u64);
        out.text(r#"{"id":"T_"#).number(teacher as u64 + 1).text(r#"","name":"#);
        match draws.below(50) {
            0 => out.text("null"),
            _ => out.text("\"").letters(3, &mut draws).text("\""),
        };
        out.text(r#","name_en":"","about":""#);
        let about = draws.below(240);
        out.letters(about, &mut draws).text(r#"","job_title":"教授","org_name":""#);
        out.letters(4, &mut draws).text(r#"大学"}"#).end(CUT);
    }
    folder.expected.found.insert("entities in teacher.json", out.lines);
    folder.put("entities/teacher.json", &out)
}

/// Writes K_ and the name of a concept: five letters and its field, both of which belong to the id.
fn concept(out: &mut Lines, concept: u32, field: &str) {
    out.text("K_");
    letters(out, concept);
    out.text("_").text(field);
}

/// The name of a concept.
fn letters(out: &mut Lines, concept: u32) {
    // Multiplying by an odd number gives every number below 2^30 another one.
    let scattered = concept.wrapping_mul(0x9E37_79B1) as usize;
    (0..5).for_each(|k| out.letter(scattered >> (6 * k)));
}

/// Links with a header, as one copy has it; every concept has a line, also those without a link. Gives the concepts of
/// known courses.
fn concepts(folder: &mut Folder, world: &World, catalogue: &Catalogue, known: &[bool]) -> Result<Vec<u32>> {
    let names: Vec<String> = (0..world.field_count).map(field_name).collect();
    let mut pairs = Pairs { known, pairs: Vec::new(), unknown: 0 };
    let mut out = Lines::default();
    out.text("concept\tcourse\n");
    out.lines += 1;
    for (course, &number) in catalogue.numbers.iter().enumerate() {
        for &k in &world.concepts[course] {
            concept(&mut out, k, &names[world.field_of_concept(k)]);
            out.text("\tC_").number(number).end(ONE_COLUMN);
            pairs.add(course, k);
        }
    }
    folder.expected.quirk("header_lines", 1);
    folder.expected.quirk("concepts_of_unknown_courses", pairs.unknown);
    folder.expected.found.insert("lines of concept-course.txt", out.lines - 1);
    folder.put("relations/concept-course.txt", &out)?;
    let mut linked: Vec<u32> = pairs.pairs.iter().map(|&(_, k)| k).collect();
    linked.sort_unstable();
    linked.dedup();
    relate(folder, "concept", pairs.pairs);
    let count = world.concept_count;
    let blocks: Vec<usize> = (0..count.div_ceil(BLOCK)).collect();
    let make = |block: usize| {
        let mut out = Lines::default();
        for k in block * BLOCK..count.min((block + 1) * BLOCK) {
            let mut draws = Draws::new(world.recipe.seed, ENTITY + 3, k as u64);
            out.text(r#"{"id":""#);
            let from = out.bytes.len() + 2;
            concept(&mut out, k as u32, &names[world.field_of_concept(k as u32)]);
            let name = out.bytes[from..from + 15].to_vec();
            out.text(r#"","name":""#).bytes.extend_from_slice(&name);
            out.text(r#"","context":[""#);
            let [first, second] = [5 + draws.below(30), 5 + draws.below(30)];
            out.letters(first, &mut draws).text(r#"",""#).letters(second, &mut draws);
            out.text(r#""]}"#).end(CUT);
        }
        (out, ())
    };
    folder.stream("entities/concept.json", &blocks, make, |()| ())?;
    let lines = folder.expected.lines("entities/concept.json");
    folder.expected.found.insert("entities in concept.json", lines);
    Ok(linked)
}

/// Disciplines whose concepts people went through. Few courses may have none of them.
const ANNOTATED: [(&str, &str); 3] = [
    ("prerequisites/psy.json", "心理学"),
    ("prerequisites/math.json", "数学"),
    ("prerequisites/cs.json", "计算机科学与技术"),
];

/// Pairs of concepts of a discipline, each with eight others: the one that follows it builds on it, but for every fourth.
/// Models that had nothing to say predicted NaN, and some concepts are of no course.
fn prerequisites(folder: &mut Folder, world: &World, linked: &[u32]) -> Result<()> {
    const PAIRED: usize = 8;
    let (mut triples, mut nan, mut unknown) = (0, 0, 0);
    for (k, (file, discipline)) in ANNOTATED.into_iter().enumerate() {
        let fields = world.field_count;
        let field = (0..fields).find(|&field| field_name(field) == discipline).unwrap_or(k);
        let own: Vec<u32> = linked.iter().copied().filter(|&k| world.field_of_concept(k) == field).collect();
        let mut draws = Draws::new(world.recipe.seed, ENTITY + 4, k as u64);
        let mut out = Lines::default();
        let mut line = |before: u32, after: u32, true_pair: bool| {
            out.text(r#"{"c1":""#);
            letters(&mut out, before);
            out.text(r#"","c2":""#);
            letters(&mut out, after);
            out.text(r#"","ground_truth":"#).number(true_pair as u64).text(r#","text_predict":["#);
            match draws.below(50) {
                0 => {
                    nan += 1;
                    out.text("NaN,NaN");
                }
                _ => {
                    out.tenths(draws.below(10) as u64).text(",").tenths(draws.below(10) as u64);
                }
            }
            out.text(r#"],"graph_predict":[0.5,0.5]}"#).end(r#"{"c1":"天","ground_truth":1}"#);
        };
        for (at, &before) in own.iter().enumerate() {
            for (step, &after) in own[at + 1..].iter().take(PAIRED).enumerate() {
                let true_pair = step == 0 && at % 4 != 3;
                line(before, after, true_pair);
                triples += true_pair as u64;
            }
        }
        // No concept has such a number.
        let strange = world.concept_count as u32;
        for after in own.iter().take(1 + own.len() / 100) {
            line(strange, *after, true);
            unknown += 1;
        }
        folder.put(file, &out)?;
    }
    folder.expected.quirk("nan_predictions", nan);
    folder.expected.quirk("prerequisites_of_unknown_concepts", unknown);
    let counts = &mut folder.expected.counts;
    counts.relations += (triples > 0) as u64;
    counts.triples += triples;
    if triples > 0 {
        counts.triples_by_relation.insert("prerequisite", triples);
    }
    Ok(())
}

/// With line ends of Windows, and with exercises that no course has.
fn exercises(folder: &mut Folder, catalogue: &Catalogue) -> Result<()> {
    let mut out = Lines::default();
    let loose = catalogue.numbers.len() as u64 / 10 + 1;
    for (exercise, problem) in catalogue.exercise_problems().chain((0..loose).map(|k| catalogue.loose(k))) {
        out.text("Ex_").number(exercise).text("\tPm_").number(problem).text("\r").end("Ex_1\r");
    }
    folder.expected.quirk("problems_of_no_course", loose);
    folder.put("relations/exercise-problem.txt", &out)
}
