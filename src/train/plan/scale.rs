//! From rehearsals to the size of the run: each piece of memory has the size that follows from the counts it follows in
//! all miniatures.

use super::rehearsal::Stage;
use super::sizes::Sizes;
use crate::engine::memory::{Event, Part, Place};
use crate::{Error, Result};

/// A piece of memory at the size of the run.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub place: Place,
    pub bytes: usize,
    pub part: Part,
    pub name: String,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Take(Piece),
    /// The piece that was taken as the n-th.
    Give(usize),
    Phase(&'static str),
    /// What waits of freed tensors is freed.
    LetGo,
}

/// What came in one rehearsal, in order: pieces and marks, each with the sizes of its stage, and when pieces went.
struct Came<'a> {
    events: Vec<(&'a Event, &'a Sizes)>,
    /// How many events had come when piece `id` went.
    ends: Vec<usize>,
}

impl<'a> Came<'a> {
    fn new(stages: &'a [Stage]) -> Came<'a> {
        let mut came = Came { events: vec![], ends: vec![] };
        for stage in stages {
            for event in &stage.events {
                if let Event::Give { id } = event {
                    came.ends[*id] = came.events.len();
                    continue;
                }
                if let Event::Take { .. } = event {
                    came.ends.push(usize::MAX);
                }
                came.events.push((event, &stage.sizes));
            }
        }
        came
    }
}

/// The account of the run: `rehearsals` of the same stages, with the sizes of the run from `full`. What comes must be
/// the same in all of them, in the same order; a piece goes when the last of its like goes.
pub(super) fn scale(
    rehearsals: &[Vec<Stage>],
    mut full: impl FnMut(&'static str) -> Sizes,
) -> Result<Vec<Act>> {
    let all: Vec<Came> = rehearsals.iter().map(|stages| Came::new(stages)).collect();
    let count = all.iter().map(|came| came.events.len()).max().unwrap_or(0);
    let mut going: Vec<Vec<usize>> = vec![vec![]; count];
    for id in 0..all.iter().map(|came| came.ends.len()).min().unwrap_or(0) {
        let end = all.iter().map(|came| came.ends[id]).max().unwrap_or(0);
        if let Some(going) = going.get_mut(end) {
            going.push(id);
        }
    }
    let (mut acts, mut wanted) = (vec![], vec![]);
    for (n, gone) in going.into_iter().enumerate() {
        acts.extend(gone.into_iter().map(Act::Give));
        let like: Vec<Option<&(&Event, &Sizes)>> = all.iter().map(|came| came.events.get(n)).collect();
        let Some((&(first, _), same)) = like[0].zip(like.iter().copied().collect::<Option<Vec<_>>>()) else {
            return Err(differ(n, &like));
        };
        match first {
            Event::LetGo | Event::Mark(_) if same.iter().any(|(other, _)| *other != first) => {
                return Err(differ(n, &like));
            }
            Event::LetGo => acts.push(Act::LetGo),
            Event::Mark(name) => {
                wanted = full(name);
                acts.push(Act::Phase(name));
            }
            Event::Take { place, part, name, .. } => {
                let bytes = same.iter().map(|(other, _)| match other {
                    Event::Take { place: at, name: other, bytes, .. } if other == name && at == place => {
                        Some(*bytes as f64)
                    }
                    _ => None,
                });
                let bytes = bytes.collect::<Option<Vec<f64>>>().ok_or_else(|| differ(n, &like))?;
                let sizes: Vec<&Sizes> = same.iter().map(|(_, sizes)| *sizes).collect();
                let bytes = at_full_size(&bytes, &sizes, &wanted).round() as usize;
                acts.push(Act::Take(Piece { place: *place, bytes, part: *part, name: name.clone() }));
            }
            Event::Give { .. } => {}
        }
    }
    Ok(acts)
}

fn differ(n: usize, like: &[Option<&(&Event, &Sizes)>]) -> Error {
    let events: Vec<String> =
        like.iter().map(|event| event.map_or("nothing".into(), |(event, _)| format!("{event:?}"))).collect();
    let got = format!("as number {n} {}", events.join(" or "));
    Error::shape("memory plan", "rehearsals that ask for the same pieces", got)
}

/// What `bytes`, seen at some `sizes`, are at the sizes of the run.
fn at_full_size(bytes: &[f64], sizes: &[&Sizes], full: &Sizes) -> f64 {
    if bytes.iter().all(|b| *b == bytes[0]) {
        return bytes[0];
    }
    let usable = |j: usize| sizes.iter().all(|s| s[j].1 > 0.0);
    // In proportion to a count, or to a count and something constant, as offsets are.
    for constant in [false, true] {
        for (j, (_, size)) in full.iter().enumerate().filter(|(j, _)| usable(*j)) {
            let (least, most) = extremes(sizes, j);
            let rate = match constant {
                false => bytes[0] / sizes[0][j].1,
                true if sizes[least][j].1 == sizes[most][j].1 => continue,
                true => (bytes[most] - bytes[least]) / (sizes[most][j].1 - sizes[least][j].1),
            };
            let rest = if constant { bytes[0] - rate * sizes[0][j].1 } else { 0.0 };
            let fits = |(b, s): (&f64, &&Sizes)| (rest + rate * s[j].1 - b).abs() < 0.01;
            if rate > 0.0 && bytes.iter().zip(sizes).all(fits) {
                return (rest + rate * size).max(0.0);
            }
        }
    }
    // Not quite in proportion to any: to the one that comes closest.
    let spread = |j: usize| {
        let rates = bytes.iter().zip(sizes).map(|(b, s)| b / s[j].1);
        let (low, high) = rates.fold((f64::MAX, 0f64), |(low, high), r| (low.min(r), high.max(r)));
        (high / low.max(f64::MIN_POSITIVE), high)
    };
    let closest = (0..full.len()).filter(|&j| usable(j)).map(|j| (spread(j), full[j].1));
    let closest = closest.min_by(|a, b| a.0.0.total_cmp(&b.0.0));
    closest.map_or(bytes[0], |((_, rate), size)| rate * size)
}

/// The rehearsals with the least and the most of count `j`.
fn extremes(sizes: &[&Sizes], j: usize) -> (usize, usize) {
    let order = |a: &usize, b: &usize| sizes[*a][j].1.total_cmp(&sizes[*b][j].1);
    let least = (0..sizes.len()).min_by(order).unwrap_or(0);
    (least, (0..sizes.len()).max_by(order).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_what_they_followed() {
        let at = |a: f64, b: f64| -> Sizes { vec![("a".into(), a), ("b".into(), b)] };
        let small = [at(3.0, 10.0), at(5.0, 7.0), at(4.0, 19.0)];
        let small: Vec<&Sizes> = small.iter().collect();
        let full = at(1000.0, 500.0);
        assert_eq!(at_full_size(&[8.0, 8.0, 8.0], &small, &full), 8.0);
        assert_eq!(at_full_size(&[24.0, 40.0, 32.0], &small, &full), 8000.0);
        assert_eq!(at_full_size(&[48.0, 36.0, 84.0], &small, &full), 2008.0);
        // Between the two: nearer to a.
        let got = at_full_size(&[24.0, 41.0, 33.0], &small, &full);
        assert!((8000.0..8300.0).contains(&got), "{got}");
    }
}
