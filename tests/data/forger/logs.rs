//! relations/user-video.json and relations/user-problem.json: what learners did, and more that must not count.
//!
//! An enrolment is completed where its learner watched half of the course's videos or answered half of its problems.
//! The logs are made from the label: as many items are reached as it takes, or fewer.

use std::ops::Range;

use base::{Philox, Result};
use waata_data::synth::Draws;

use super::expected::Tally;
use super::learners::{BLOCK, absent, block, idle, number, times};
use super::lines::Lines;
use super::{Catalogue, Folder, World};

const DEED: u64 = 14;
const WATCHED: u64 = 15;
const ANSWERED: u64 = 16;
const ORDER: u64 = 17;

/// Numbers of videos and problems that no course has lie below this one, and above 0.
const NOBODYS: u64 = 100_000;

/// Tenths of a second; no segment that counts ends later.
const LONGEST: u64 = 500_000;

/// What a learner did in one course. Both runs go round from the last item to the first.
struct Deed {
    course: usize,
    time: u64,
    /// The first video watched, and how many.
    videos: (u64, u64),
    /// The first problem answered, and how many.
    problems: (u64, u64),
}

/// Both logs.
pub(super) fn write(folder: &mut Folder, world: &World, catalogue: &Catalogue) -> Result<()> {
    type Make<'a> = fn(&mut Log<'a>, usize, &[Deed], &mut Draws);
    let files: [(&'static str, u64, Make<'_>, Make<'_>); 2] = [
        ("relations/user-video.json", WATCHED, Log::watched, Log::stranger_watched),
        ("relations/user-problem.json", ANSWERED, Log::answered, Log::stranger_answered),
    ];
    let (learners, seed) = (world.data.learners(), world.recipe.seed);
    for (file, stream, make, stranger) in files {
        let mut blocks: Vec<usize> = (0..learners.div_ceil(BLOCK)).collect();
        Philox::new(seed, ORDER + stream).shuffle(&mut blocks);
        let made = |at: usize| {
            let mut log = Log { catalogue, out: Lines::default(), tally: Tally::new() };
            for learner in block(at, learners) {
                let mut draws = Draws::new(seed, stream, learner as u64);
                if world.recipe.is_logged(learner) {
                    make(&mut log, learner, &deeds(world, catalogue, learner), &mut draws);
                }
                if idle(learner).or(absent(learner)).is_some() {
                    stranger(&mut log, learner, &[], &mut draws);
                }
            }
            (log.out, log.tally)
        };
        let mut tally = Tally::new();
        let take = |block: Tally| block.into_iter().for_each(|(name, n)| *tally.entry(name).or_default() += n);
        folder.stream(file, &blocks, made, take)?;
        folder.expected.quirks(&tally);
    }
    let lines = folder.expected.lines("relations/user-video.json");
    folder.expected.found.insert("learners in user-video.json", lines);
    Ok(())
}

/// One for each enrolment.
fn deeds(world: &World, catalogue: &Catalogue, learner: usize) -> Vec<Deed> {
    let mut draws = Draws::new(world.recipe.seed, DEED, learner as u64);
    let rows = world.enrolments(learner).zip(times(world, learner));
    rows.map(|((course, completed), time)| {
        let [videos, problems] = catalogue.items(course).map(u64::from);
        let [way, video, problem, any] = std::array::from_fn(|_| draws.uniform());
        // 0.25 of those who complete a course do it by its videos, 0.1 by both.
        let by_videos = completed && videos > 0 && (way < 0.35 || problems == 0);
        let by_problems = completed && problems > 0 && (way >= 0.25 || videos == 0);
        let reach = |all: u64, done: bool, share: f64, few: f64| {
            let half = all.div_ceil(2);
            match done {
                true => half + (share * (all - half + 1) as f64) as u64,
                false => (few * half as f64) as u64,
            }
        };
        let some = |used: bool, share: f64| if used { share } else { 0.0 };
        Deed {
            course,
            time,
            videos: ((way * videos as f64) as u64, reach(videos, by_videos, video, some(any < 0.5, video * video))),
            problems: ((any * problems as f64) as u64, reach(problems, by_problems, problem, some(way < 0.6, problem))),
        }
    })
    .collect()
}

/// `count` numbers of a range from the one at `first` on, round from its end to its start.
fn run(range: &Range<u64>, (first, count): (u64, u64)) -> impl Iterator<Item = u64> {
    let (start, all) = (range.start, range.end - range.start);
    (first..first + count).map(move |at| start + at % all.max(1))
}

/// Part of a log.
struct Log<'a> {
    catalogue: &'a Catalogue,
    out: Lines,
    tally: Tally,
}

impl Log<'_> {
    fn count(&mut self, name: &'static str, count: u64) {
        *self.tally.entry(name).or_default() += count;
    }

    /// A course with items of the kind that the learner is not enrolled in.
    fn other_course(&self, kind: usize, deeds: &[Deed], draws: &mut Draws) -> Option<usize> {
        let course = draws.below(self.catalogue.numbers.len());
        let other = self.catalogue.items(course)[kind] > 0 && deeds.iter().all(|deed| deed.course != course);
        other.then_some(course)
    }

    /// The line of a learner, or two; none for one who watched nothing.
    fn watched(&mut self, learner: usize, deeds: &[Deed], draws: &mut Draws) {
        let split = if learner % 64 == 5 { deeds.len().div_ceil(2) } else { deeds.len() };
        let parts = [&deeds[..split], &deeds[split..]];
        let before = self.out.lines;
        for (k, part) in parts.into_iter().enumerate() {
            let start = self.out.bytes.len();
            self.out.text(r#"{"user_id":"U_"#).number(number(learner)).text(r#"","seq":["#);
            let empty = self.out.bytes.len();
            part.iter().for_each(|deed| self.watched_course(deed, draws));
            if k == 0 {
                self.watched_elsewhere(learner, deeds, part.last().map_or(0, |deed| deed.time), draws);
            }
            if self.out.bytes.len() == empty {
                self.out.bytes.truncate(start);
                continue;
            }
            // The comma behind the last video.
            self.out.bytes.pop();
            self.out.text("]}").end("");
        }
        self.count("learners_with_two_lines_of_videos", (self.out.lines - before) / 2);
        // Blocks have few lines; about 2,500 learners have well over a thousand.
        if learner % 27_001 == 27_000 {
            self.out.broken(r#"{"user_id":"U_24","seq":[{"video_id":"V_849","segment":[{"start_point":1"#);
        }
    }

    fn watched_course(&mut self, deed: &Deed, draws: &mut Draws) {
        let videos = self.catalogue.videos[deed.course].clone();
        let all = videos.end - videos.start;
        for video in run(&videos, deed.videos) {
            let bits = draws.bits();
            let segments = [1, 1, 2, 3][bits[0] as usize % 4];
            self.video("V_", video, segments, bits[1].is_multiple_of(40), deed.time, draws);
            self.count("videos_watched", 1);
        }
        // One that was not watched: it has no segment, or only errors of the player.
        if deed.videos.1 < all && draws.below(16) == 0 {
            let next = run(&videos, (deed.videos.0 + deed.videos.1, 1)).next().unwrap_or(videos.start);
            let unsound = draws.below(4) > 0;
            self.video("V_", next, 0, unsound, deed.time, draws);
            self.count("videos_without_a_sound_segment", 1);
        }
    }

    /// Videos that lead to no enrolment.
    fn watched_elsewhere(&mut self, learner: usize, deeds: &[Deed], time: u64, draws: &mut Draws) {
        if learner % 30 == 3
            && let Some(course) = self.other_course(0, deeds, draws)
        {
            self.video("V_", self.catalogue.videos[course].start, 1, false, time, draws);
            self.count("videos_watched", 1);
            self.count("videos_not_enrolled", 1);
        }
        if learner % 30 == 4 {
            let prefix = if learner % 60 == 4 { "V_" } else { "" };
            self.video(prefix, 1 + learner as u64 % NOBODYS, 1, false, time, draws);
            self.count("videos_watched", 1);
            self.count("videos_of_no_course", 1);
        }
    }

    fn stranger_watched(&mut self, learner: usize, _: &[Deed], draws: &mut Draws) {
        let Some(user) = idle(learner).or(absent(learner)) else { return };
        let video = self.catalogue.videos.iter().find(|v| !v.is_empty()).map_or(1, |v| v.start);
        self.out.text(r#"{"user_id":"U_"#).number(user).text(r#"","seq":["#);
        self.video("V_", video, 2, false, 1_580_000_000, draws);
        self.out.bytes.pop();
        self.out.text("]}").end("");
        self.count("videos_watched", 1);
        self.count("videos_of_strangers", 1);
    }

    /// A video with `sound` segments, and one that does not count where `unsound`; a comma follows.
    fn video(&mut self, prefix: &str, video: u64, sound: u64, unsound: bool, time: u64, draws: &mut Draws) {
        self.out.text(r#"{"video_id":""#).text(prefix).number(video).text(r#"","segment":["#);
        for _ in 0..sound {
            let [start, length, speed, later] = draws.bits().map(u64::from);
            let start = start % 9_000;
            self.out.text(r#"{"start_point":"#).tenths(start);
            self.out.text(r#","end_point":"#).tenths(start + length % 3_000);
            self.segment_end(speed, time + later % 8_000_000);
        }
        if unsound {
            let [kind, start, by, _] = draws.bits().map(u64::from);
            let start = 100 + start % 9_000;
            match kind % 3 {
                0 => {
                    self.out.text(r#"{"start_point":"#).tenths(start);
                    self.out.text(r#","end_point":"#).tenths(start - 1 - by % 100);
                }
                1 => {
                    self.out.text(r#"{"start_point":"#).tenths(start);
                    self.out.text(r#","end_point":"#).tenths(LONGEST + 1 + by % 9_000_000);
                }
                _ => {
                    self.out.text(r#"{"start_point":NaN,"end_point":"#).tenths(start);
                    self.count("nan_start_points", 1);
                }
            }
            self.segment_end(by, time);
        }
        self.count("segments", sound + unsound as u64);
        self.count("segments_unsound", unsound as u64);
        if sound + unsound as u64 > 0 {
            self.out.bytes.pop();
        }
        self.out.text("]},");
    }

    fn segment_end(&mut self, speed: u64, time: u64) {
        self.out.text(r#","speed":"#).text(["1.0", "1.0", "1.25", "2.0"][speed as usize % 4]);
        self.out.text(r#","local_start_time":"#).number(time).text("},");
    }

    /// The answers of a learner, most problems more than once.
    fn answered(&mut self, learner: usize, deeds: &[Deed], draws: &mut Draws) {
        let (user, mut answers, mut nan) = (number(learner), 0, 0);
        for deed in deeds {
            let mut time = deed.time;
            for problem in run(&self.catalogue.problems[deed.course], deed.problems) {
                let attempts = [1, 1, 2, 4][draws.bits()[0] as usize % 4];
                for attempt in 1..=attempts {
                    let bits = draws.bits();
                    time += bits[0] as u64 % 4_000;
                    nan += self.answer(user, problem, attempt, bits, time) as u64;
                }
                answers += attempts;
            }
        }
        let time = deeds.last().map_or(0, |deed| deed.time);
        if learner % 30 == 6
            && let Some(course) = self.other_course(1, deeds, draws)
        {
            nan += self.answer(user, self.catalogue.problems[course].start, 1, draws.bits(), time) as u64;
            answers += 1;
            self.count("answers_not_enrolled", 1);
        }
        if learner % 30 == 8 {
            nan += self.answer(user, 1 + learner as u64 % NOBODYS, 1, draws.bits(), time) as u64;
            answers += 1;
            self.count("answers_of_no_course", 1);
        }
        self.count("answers", answers);
        self.count("nan_scores", nan);
    }

    fn stranger_answered(&mut self, learner: usize, _: &[Deed], draws: &mut Draws) {
        let Some(user) = idle(learner).or(absent(learner)) else { return };
        let problem = self.catalogue.problems.iter().find(|p| !p.is_empty()).map_or(1, |p| p.start);
        let nan = self.answer(user, problem, 1, draws.bits(), 1_580_000_000);
        self.count("answers", 1);
        self.count("nan_scores", nan as u64);
        self.count("answers_of_strangers", 1);
    }

    /// One answer; true where its score is NaN.
    fn answer(&mut self, user: u64, problem: u64, attempt: u64, bits: [u32; 4], time: u64) -> bool {
        let [_, correct, score, rare] = bits;
        let out = &mut self.out;
        out.text(r#"{"log_id":""#).number(user).text("_").number(problem).text(r#"","problem_id":"Pm_"#);
        out.number(problem).text(r#"","user_id":"U_"#).number(user).text(r#"","is_correct":"#);
        out.text(["0", "1", "1", "1", "1", "1", "0", "null"][correct as usize % 8]).text(r#","attempts":"#);
        out.number(attempt).text(r#","score":"#);
        let nan = rare % 1_024 == 0;
        match rare % 16 {
            _ if nan => out.text("NaN"),
            0 => out.text("null"),
            1 => out.tenths(score as u64 % 50),
            _ => out.number(score as u64 % 100),
        };
        out.text(r#","submit_time":""#).date(time).text(r#""}"#);
        out.end(r#"{"log_id":"5_7","problem_id":"Pm_7","user_id":"U_5","is_corr"#);
        nan
    }
}
