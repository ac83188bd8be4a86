//! entities/user.json.

use std::ops::Range;

use base::Result;
use sha2::{Digest, Sha256};
use waata_data::synth::Draws;

use super::expected::Tally;
use super::lines::Lines;
use super::{Catalogue, Folder, World};

const USER: u64 = 8;
const TIMES: u64 = 9;

/// Learners of a block.
pub(super) const BLOCK: usize = 128;

/// From September 2013 to December 2020.
const PERIOD: Range<u64> = 1_380_000_000..1_609_000_000;

/// 24 of U_24. The two numbers before the next learner's are free.
pub(super) fn number(learner: usize) -> u64 {
    24 + 10 * learner as u64 + (learner as u64 * 5 + 3) % 8
}

/// The number of somebody without an enrolment, who stands behind some learners in user.json.
pub(super) fn idle(learner: usize) -> Option<u64> {
    (learner % 97 == 7).then(|| 24 + 10 * learner as u64 + 8)
}

/// The number of somebody whom user.json does not list.
pub(super) fn absent(learner: usize) -> Option<u64> {
    (learner % 131 == 11).then(|| 24 + 10 * learner as u64 + 9)
}

pub(super) fn block(number: usize, learners: usize) -> Range<usize> {
    number * BLOCK..learners.min((number + 1) * BLOCK)
}

/// When a learner enrolled, in seconds since 1970, ascending.
pub(super) fn times(world: &World, learner: usize) -> Vec<u64> {
    let mut draws = Draws::new(world.recipe.seed, TIMES, learner as u64);
    let first = PERIOD.start + draws.below((PERIOD.end - PERIOD.start) as usize * 7 / 8) as u64;
    let degree = world.data.rows(learner).len() as u64;
    let gap = ((PERIOD.end - first) / degree) as usize;
    (0..degree)
        .scan(first, |at, _| {
            *at += 1 + draws.below(gap) as u64;
            Some(*at)
        })
        .collect()
}

/// What a block of learners came to.
struct Block {
    /// One line per enrolment, as [`super::Expected::rows_sha256`] has them.
    rows: Vec<u8>,
    courses: Vec<u32>,
    completed: u64,
    duplicates: u64,
    planted: Tally,
}

/// Writes the file; answers which courses have an enrolment.
pub(super) fn write(folder: &mut Folder, world: &World, catalogue: &Catalogue) -> Result<Vec<bool>> {
    let learners = world.data.learners();
    let blocks: Vec<usize> = (0..learners.div_ceil(BLOCK)).collect();
    let mut taken = vec![false; catalogue.numbers.len()];
    let mut hash = Sha256::new();
    let (mut enrolments, mut completed, mut duplicates, mut planted) = (0, 0, 0, Tally::new());
    let take = |block: Block| {
        hash.update(&block.rows);
        enrolments += block.courses.len() as u64;
        completed += block.completed;
        duplicates += block.duplicates;
        block.courses.iter().for_each(|&c| taken[c as usize] = true);
        block.planted.into_iter().for_each(|(name, count)| *planted.entry(name).or_default() += count);
    };
    folder.stream("entities/user.json", &blocks, |at| make(world, catalogue, block(at, learners)), take)?;
    let expected = &mut folder.expected;
    expected.rows_sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    expected.counts.learners = learners as u64;
    expected.counts.enrolments = enrolments;
    expected.counts.completed = completed;
    expected.duplicates = duplicates;
    expected.quirks(&planted);
    expected.found.insert("learners in user.json", expected.lines("entities/user.json"));
    Ok(taken)
}

fn make(world: &World, catalogue: &Catalogue, learners: Range<usize>) -> (Lines, Block) {
    let mut out = Lines::default();
    let mut block = Block {
        rows: Vec::new(),
        courses: Vec::new(),
        completed: 0,
        duplicates: 0,
        planted: Tally::from(
            ["learners_without_enrolment", "learners_repeated", "learners_out_of_order"].map(|name| (name, 0)),
        ),
    };
    for learner in learners {
        let times = times(world, learner);
        let mut rows = Lines { bytes: std::mem::take(&mut block.rows), ..Default::default() };
        let mut entries: Vec<(u64, u64)> = Vec::with_capacity(times.len() + 1);
        for ((course, completed), time) in world.enrolments(learner).zip(times) {
            let completed = (completed && catalogue.has_items(course)) as u64;
            block.completed += completed;
            block.courses.push(course as u32);
            entries.push((catalogue.numbers[course], time));
            rows.text("U_").number(number(learner)).text(",C_").number(catalogue.numbers[course]);
            rows.text(",").number(completed).text("\n");
        }
        block.rows = rows.bytes;
        lines_of(learner, entries, world, &mut out, &mut block);
        if let Some(number) = idle(learner) {
            let mut draws = Draws::new(world.recipe.seed, USER, learner as u64 | 1 << 31);
            line(number, &[], &mut draws, &mut out, &mut block);
            *block.planted.entry("learners_without_enrolment").or_default() += 1;
        }
        // One malformed line on at least as many others as `Lines` would need, which blocks are too short for.
        if learner % 1_500 == 1_499 {
            out.broken(match learner / 1_500 % 3 {
                0 => r#"{"id":"U_5","name":"","gender":1,"school":"","year_of_birth":null,"course_order":[58"#,
                1 => r#"{"id":"U_5","course_order":[584313,597214],"enroll_time":["2019-05-20 16:06:48"]}"#,
                _ => r#"{"id":"5","course_order":[584313],"enroll_time":["2019-05-20 16:06:48"]}"#,
            });
        }
    }
    (out, block)
}

/// The line of a learner, now and then with a course twice, out of time order, or as two lines.
fn lines_of(learner: usize, mut entries: Vec<(u64, u64)>, world: &World, out: &mut Lines, block: &mut Block) {
    let mut draws = Draws::new(world.recipe.seed, USER, learner as u64);
    let [again, order, split, _] = draws.bits();
    if again % 50 == 0 {
        let (course, time) = entries[draws.below(entries.len())];
        entries.push((course, time + 1 + draws.below(5_000_000) as u64));
        block.duplicates += 1;
    }
    let half = entries.len() / 2;
    if order % 4 == 0 && half > 0 {
        entries.rotate_left(half);
        *block.planted.entry("learners_out_of_order").or_default() += 1;
    }
    let (first, second) = entries.split_at(if split % 200 == 0 && half > 0 { half } else { entries.len() });
    line(number(learner), first, &mut draws, out, block);
    if !second.is_empty() {
        line(number(learner), second, &mut draws, out, block);
        *block.planted.entry("learners_repeated").or_default() += 1;
    }
}

fn line(number: u64, entries: &[(u64, u64)], draws: &mut Draws, out: &mut Lines, block: &mut Block) {
    let [gender, school, birth, letters] = draws.bits();
    out.text(r#"{"id":"U_"#).number(number).text(r#"","name":""#).letters(2 + letters as usize % 2, draws);
    out.text(r#"","gender":"#).text(["0", "1", "2", "null"][gender as usize % 4]).text(r#","school":""#);
    if school % 4 == 0 {
        out.letters(3, draws).text("大学");
    }
    out.text(r#"","year_of_birth":"#);
    match birth % 64 {
        0 => {
            out.text("NaN");
            *block.planted.entry("nan_years_of_birth").or_default() += 1;
        }
        1..32 => _ = out.text("null"),
        value => _ = out.number(1950 + value as u64),
    }
    out.text(r#","course_order":["#);
    for (k, (course, _)) in entries.iter().enumerate() {
        out.text(if k > 0 { "," } else { "" }).number(*course);
    }
    out.text(r#"],"enroll_time":["#);
    for (k, (_, time)) in entries.iter().enumerate() {
        out.text(if k > 0 { ",\"" } else { "\"" }).date(*time).text("\"");
    }
    out.text("]}").end("");
}
