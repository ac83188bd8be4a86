//! A data set, array by array: what the store writes and reads, with what must hold of the values.
//!
//! An array is read in pieces, in parallel, and all that is asked about a piece is asked while it lies in the cache: its
//! checksum, and whether its values are in range. A large data set is so checked in the time that its bytes take to come
//! from memory, whatever the number of arrays and of threads.

use std::ops::Range;

use rayon::prelude::*;
use safetensors::Dtype;
use twox_hash::XxHash3_64;

use super::dataset::Dataset;
use super::names::Names;
use base::simd::vectorized;

/// Bytes of a piece: whole values and whole triples, and few enough for the cache of one core.
pub(crate) const PIECE: usize = 3 << 16;

/// Names that one task checks.
const NAMES: usize = 1 << 12;

/// One array of a data set.
pub(crate) struct Section<'a> {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: &'a [u8],
    rule: Rule,
}

/// What must hold of the values of an array.
enum Rule {
    /// No u64 is less than the one before.
    Ascending,
    /// Each u32 is below the number; what it counts.
    Below(usize, &'static str),
    /// No u8 is above the number.
    AtMost(u8),
    /// Heads and tails are entities, the middle is a relation.
    Triples { entities: usize, relations: usize },
    /// UTF-8, name by name: see [`check_text`].
    Text,
}

/// The arrays of a data set in the order of the file: the widest values first, so that each array begins at a multiple
/// of the size of its values without gaps between them.
pub(crate) fn of(data: &Dataset) -> Vec<Section<'_>> {
    let i = &data.interactions;
    let n = i.course.len();
    let array = |name: &str, dtype, shape: &[usize], bytes, rule| Section {
        name: name.into(),
        dtype,
        shape: shape.into(),
        bytes,
        rule,
    };
    let mut all = vec![array("offsets", Dtype::U64, &[i.offsets.len()], i.offsets.bytes(), Rule::Ascending)];
    for (what, names) in data.names() {
        let (name, offsets) = (names_array(what, "offsets"), names.offsets());
        all.push(array(&name, Dtype::U64, &[offsets.len()], offsets.bytes(), Rule::Ascending));
    }
    all.push(array("course", Dtype::U32, &[n], i.course.bytes(), Rule::Below(data.courses, "course")));
    let triples = Rule::Triples { entities: data.entities(), relations: data.relations() };
    all.push(array("triples", Dtype::U32, &[data.triples.len(), 3], data.triples.bytes(), triples));
    for (what, names) in data.names() {
        let (name, order) = (names_array(what, "order"), names.order());
        all.push(array(&name, Dtype::U32, &[order.len()], order.bytes(), Rule::Below(names.len(), "name")));
    }
    all.push(array("split", Dtype::U8, &[i.split.len()], i.split.bytes(), Rule::AtMost(2)));
    for (label, values) in data.labels.iter().zip(&i.label_values) {
        all.push(array(&label_array(label), Dtype::U8, &[values.len()], values, Rule::AtMost(1)));
    }
    for (what, names) in data.names() {
        let (name, bytes) = (names_array(what, "bytes"), names.bytes());
        all.push(array(&name, Dtype::U8, &[bytes.len()], bytes, Rule::Text));
    }
    all
}

/// The array of one column of names: `names/learners/offsets`.
pub(crate) fn names_array(what: &str, column: &str) -> String {
    format!("names/{what}/{column}")
}

/// The array of a label: `label/completed`.
pub(crate) fn label_array(label: &str) -> String {
    format!("label/{label}")
}

impl Section<'_> {
    fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let end = self.bytes.len();
        (0..end).step_by(PIECE).map(move |at| at..end.min(at + PIECE))
    }

    /// What is wrong with the values of a piece.
    fn fault(&self, piece: Range<usize>) -> Option<String> {
        let (name, bytes) = (&self.name, &self.bytes[piece.clone()]);
        match self.rule {
            Rule::Ascending => {
                // From the last value of the piece before on.
                let from = piece.start.saturating_sub(size_of::<u64>());
                let values: &[u64] = bytemuck::cast_slice(&self.bytes[from..piece.end]);
                let falls = values.windows(2).fold(false, |falls, w| falls | (w[0] > w[1]));
                falls.then(|| format!("{name}: offsets are not ascending"))
            }
            Rule::Below(below, what) => {
                let values: &[u32] = bytemuck::cast_slice(bytes);
                let most = values.iter().fold(0, |most, &v| v.max(most));
                (most as usize >= below).then(|| format!("{name}: {what} {most} of only {below}"))
            }
            Rule::AtMost(limit) => {
                let most = bytes.iter().fold(0, |most, &v| v.max(most));
                (most > limit).then(|| format!("{name}: {most} is larger than {limit}"))
            }
            Rule::Triples { entities, relations } => {
                let triples: &[[u32; 3]] = bytemuck::cast_slice(bytes);
                let most =
                    triples.iter().fold([0; 3], |m, t| [m[0].max(t[0]), m[1].max(t[1]), m[2].max(t[2])]);
                let limits = [entities, relations, entities];
                let bad = |t: &[u32; 3]| t.iter().zip(limits).any(|(&v, limit)| v as usize >= limit);
                if !bad(&most) {
                    return None;
                }
                let [h, r, t] = triples.iter().find(|t| bad(t))?;
                Some(format!(
                    "{name}: ({h}, {r}, {t}) with only {entities} entities and {relations} relations"
                ))
            }
            Rule::Text => None,
        }
    }
}

/// Something about every piece of every section, section by section.
fn by_piece<R: Send>(sections: &[Section], f: impl Fn(&Section, Range<usize>) -> R + Sync) -> Vec<Vec<R>> {
    let pieces: Vec<(&Section, Range<usize>)> =
        sections.iter().flat_map(|s| s.pieces().map(move |piece| (s, piece))).collect();
    let mut found = pieces.into_par_iter().map(|(s, piece)| f(s, piece)).collect::<Vec<R>>().into_iter();
    sections.iter().map(|s| found.by_ref().take(s.pieces().count()).collect()).collect()
}

/// XXH3-64 of the little-endian XXH3-64 sums of the pieces.
fn joined(pieces: &[u64]) -> u64 {
    XxHash3_64::oneshot(bytemuck::cast_slice(pieces))
}

/// The checksum of some bytes that are not an array.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    joined(&bytes.chunks(PIECE).map(XxHash3_64::oneshot).collect::<Vec<u64>>())
}

/// The checksum of each section.
pub(crate) fn checksums(sections: &[Section]) -> Vec<u64> {
    by_piece(sections, |s, piece| XxHash3_64::oneshot(&s.bytes[piece])).iter().map(|p| joined(p)).collect()
}

/// Checks the values of a data set whose shapes are right, and the checksums of its sections where they are stated.
/// Errors: what does not hold.
pub(crate) fn check(data: &Dataset, stated: Option<&[u64]>) -> Result<(), String> {
    let sections = of(data);
    let found = by_piece(&sections, |s, piece| {
        let bytes = &s.bytes[piece.clone()];
        let sum = if stated.is_some() { XxHash3_64::oneshot(bytes) } else { 0 };
        let plain = !matches!(s.rule, Rule::Text) || bytes.is_ascii();
        (sum, vectorized(|| s.fault(piece)), plain)
    });
    for (i, (section, pieces)) in sections.iter().zip(&found).enumerate() {
        let sums: Vec<u64> = pieces.iter().map(|p| p.0).collect();
        if stated.is_some_and(|stated| stated[i] != joined(&sums)) {
            return Err(format!(
                "array '{}' does not have the checksum that the manifest states",
                section.name
            ));
        }
        if let Some(fault) = pieces.iter().find_map(|p| p.1.clone()) {
            return Err(fault);
        }
    }
    for (what, names) in data.names() {
        let text = names_array(what, "bytes");
        let plain =
            sections.iter().zip(&found).filter(|(s, _)| s.name == text).all(|(_, p)| p.iter().all(|p| p.2));
        // Any bytes below 128 are text, wherever they are cut.
        if !plain {
            check_text(what, names)?;
        }
    }
    Ok(())
}

/// That each name is UTF-8: all of them together are, and none begins within a character.
fn check_text(what: &str, names: &Names) -> Result<(), String> {
    let (offsets, bytes) = (names.offsets(), names.bytes());
    let block = |first: usize| {
        let cuts = &offsets[first..=names.len().min(first + NAMES)];
        let (start, end) = (cuts[0] as usize, cuts[cuts.len() - 1] as usize);
        match std::str::from_utf8(&bytes[start..end]) {
            Ok(text) => cuts.iter().all(|&cut| text.is_char_boundary(cut as usize - start)),
            Err(_) => false,
        }
    };
    let blocks: Vec<usize> = (0..names.len()).step_by(NAMES).collect();
    match blocks.par_iter().find_first(|&&first| !block(first)) {
        Some(first) => Err(format!("names of {what}: one of {first} and the next {NAMES} is not UTF-8")),
        None => Ok(()),
    }
}
