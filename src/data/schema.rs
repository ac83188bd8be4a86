//! The arrays of a data set, and what must hold of them: the one description that writing, opening, checking and the
//! fingerprint share.
//!
//! An array is checked in pieces, in parallel, and while a piece is in the cache all is asked of it: its checksum, and
//! whether its values are in range. So a large data set is checked at the speed of memory.

use bytemuck::Pod;
use rayon::prelude::*;
use safetensors::Dtype;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

use crate::column::Column;
use crate::dataset::{Dataset, Interactions, Split};
use crate::names::Names;
use base::simd::vectorized;

/// Bytes of a piece: a multiple of every element size, and small enough for the cache of one core.
const PIECE: usize = 3 << 16;

/// Names that one task checks.
const NAMES: usize = 1 << 12;

/// The lists of names, and the arrays of each: `names/learners/offsets` and so on.
const LEARNERS: &str = "learners";
const ENTITIES: &str = "entities";
const RELATIONS: &str = "relations";
const OFFSETS: &str = "offsets";
const ORDER: &str = "order";
const BYTES: &str = "bytes";

/// A type of elements that arrays consist of.
pub(crate) trait Element: Pod {
    const DTYPE: Dtype;
    /// The shape of one element; empty for a number.
    const SHAPE: &'static [usize] = &[];
}

impl Element for u64 {
    const DTYPE: Dtype = Dtype::U64;
}

impl Element for u32 {
    const DTYPE: Dtype = Dtype::U32;
}

impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
}

impl Element for Split {
    const DTYPE: Dtype = Dtype::U8;
}

impl Element for [u32; 3] {
    const DTYPE: Dtype = Dtype::U32;
    const SHAPE: &'static [usize] = &[3];
}

/// One array of a data set.
pub(crate) struct Array<'a> {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: &'a [u8],
    rule: Rule<'a>,
}

/// What must hold of the values of an array.
enum Rule<'a> {
    /// No u64 is less than the one before.
    Ascending,
    /// Each u32 is below the number; what it counts.
    Below(usize, &'static str),
    /// No u8 is above the number.
    AtMost(u8),
    /// Heads and tails are entities, the middle is a relation.
    Triples { entities: usize, relations: usize },
    /// Each name is UTF-8.
    Text(&'a Names),
}

/// The arrays of a data set in the order of the file: the widest values first, so that each array begins at a multiple
/// of the size of its values without gaps between them.
pub(crate) fn arrays(data: &Dataset) -> Vec<Array<'_>> {
    fn array<'a, T: Element>(name: impl Into<String>, column: &'a Column<T>, rule: Rule<'a>) -> Array<'a> {
        let shape = [&[column.len()], T::SHAPE].concat();
        Array { name: name.into(), dtype: T::DTYPE, shape, bytes: column.bytes(), rule }
    }
    let (i, names) = (&data.interactions, data.names());
    let mut all = vec![array(OFFSETS, &i.offsets, Rule::Ascending)];
    all.extend(names.map(|(what, n)| array(names_array(what, OFFSETS), n.offsets(), Rule::Ascending)));
    all.push(array("course", &i.course, Rule::Below(data.courses, "course")));
    let triples = Rule::Triples { entities: data.entities(), relations: data.relations() };
    all.push(array("triples", &data.triples, triples));
    all.extend(names.map(|(what, n)| array(names_array(what, ORDER), n.order(), Rule::Below(n.len(), "name"))));
    all.push(array("split", &i.split, Rule::AtMost(2)));
    let labels = data.labels.iter().zip(&i.label_values);
    all.extend(labels.map(|(label, values)| array(label_array(label), values, Rule::AtMost(1))));
    all.extend(names.map(|(what, n)| array(names_array(what, BYTES), n.bytes(), Rule::Text(n))));
    all
}

fn names_array(what: &str, column: &str) -> String {
    format!("names/{what}/{column}")
}

fn label_array(label: &str) -> String {
    format!("label/{label}")
}

/// Where [`read`] takes the arrays from.
pub(crate) trait Source {
    /// The values of the array of that name. Errors: it is not there, or has elements of another type.
    fn column<T: Element>(&self, name: &str) -> base::Result<Column<T>>;
}

/// The data set whose columns are the arrays of `source`. Nothing is known of their lengths and values.
pub(crate) fn read(
    source: &impl Source,
    name: String,
    courses: usize,
    labels: Vec<String>,
    has_time: bool,
) -> base::Result<Dataset> {
    let names = |what: &str| {
        base::Result::Ok(Names::from_columns(
            source.column(&names_array(what, OFFSETS))?,
            source.column(&names_array(what, BYTES))?,
            source.column(&names_array(what, ORDER))?,
        ))
    };
    let label_values = labels.iter().map(|label| source.column(&label_array(label)));
    let interactions = Interactions {
        offsets: source.column(OFFSETS)?,
        course: source.column("course")?,
        label_values: label_values.collect::<base::Result<_>>()?,
        split: source.column("split")?,
        has_time,
    };
    Ok(Dataset {
        name,
        learner_names: names(LEARNERS)?,
        entity_names: names(ENTITIES)?,
        courses,
        relation_names: names(RELATIONS)?,
        triples: source.column("triples")?,
        labels,
        interactions,
    })
}

/// XXH3-64 of the little-endian XXH3-64 sums of the pieces.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    combine(&bytes.par_chunks(PIECE).map(XxHash3_64::oneshot).collect::<Vec<u64>>())
}

fn combine(sums: &[u64]) -> u64 {
    XxHash3_64::oneshot(bytemuck::cast_slice(sums))
}

impl Array<'_> {
    /// Checks the values, and the checksum where one is stated. Errors: what does not hold.
    fn check(&self, stated: Option<u64>) -> Result<(), String> {
        let pieces = self.bytes.par_chunks(PIECE).enumerate().map(|(i, piece)| {
            let sum = stated.map_or(0, |_| XxHash3_64::oneshot(piece));
            (sum, vectorized(|| self.fault(i * PIECE, piece)))
        });
        let (sums, faults): (Vec<u64>, Vec<Option<String>>) = pieces.unzip();
        if stated.is_some_and(|stated| stated != combine(&sums)) {
            let name = &self.name;
            return Err(format!("array '{name}' does not have the checksum that the manifest states"));
        }
        match faults.into_iter().flatten().next() {
            Some(fault) => Err(fault),
            None => self.check_text(),
        }
    }

    /// What is wrong with the values of the piece that begins at byte `at`.
    fn fault(&self, at: usize, piece: &[u8]) -> Option<String> {
        let name = &self.name;
        match self.rule {
            Rule::Ascending => {
                // From the last value of the piece before on.
                let from = at.saturating_sub(size_of::<u64>());
                let values: &[u64] = bytemuck::cast_slice(&self.bytes[from..at + piece.len()]);
                let falls = values.windows(2).fold(false, |falls, w| falls | (w[0] > w[1]));
                falls.then(|| format!("{name}: offsets are not ascending"))
            }
            Rule::Below(below, what) => {
                let values: &[u32] = bytemuck::cast_slice(piece);
                let most = values.iter().fold(0, |most, &v| v.max(most));
                (most as usize >= below).then(|| format!("{name}: {what} {most} of only {below}"))
            }
            Rule::AtMost(limit) => {
                let most = piece.iter().fold(0, |most, &v| v.max(most));
                (most > limit).then(|| format!("{name}: {most} is larger than {limit}"))
            }
            Rule::Triples { entities, relations } => {
                let triples: &[[u32; 3]] = bytemuck::cast_slice(piece);
                let most = triples.iter().fold([0; 3], |m, t| [m[0].max(t[0]), m[1].max(t[1]), m[2].max(t[2])]);
                let limits = [entities, relations, entities];
                let bad = |t: &[u32; 3]| t.iter().zip(limits).any(|(&v, limit)| v as usize >= limit);
                if !bad(&most) {
                    return None;
                }
                let [h, r, t] = triples.iter().find(|t| bad(t))?;
                Some(format!("{name}: ({h}, {r}, {t}) with only {entities} entities and {relations} relations"))
            }
            Rule::Text(_) => None,
        }
    }

    /// Names are UTF-8 where all of them together are, and none begins within a character. Their offsets are checked before.
    fn check_text(&self) -> Result<(), String> {
        let Rule::Text(names) = self.rule else { return Ok(()) };
        let is_text = |first: usize| {
            let cuts = &names.offsets()[first..=names.len().min(first + NAMES)];
            let (start, end) = (cuts[0] as usize, cuts[cuts.len() - 1] as usize);
            let text = std::str::from_utf8(&self.bytes[start..end]);
            text.is_ok_and(|text| cuts.iter().all(|&cut| text.is_char_boundary(cut as usize - start)))
        };
        let blocks = (0..names.len().div_ceil(NAMES)).into_par_iter();
        match blocks.map(|block| block * NAMES).find_first(|&first| !is_text(first)) {
            Some(first) => Err(format!("{}: one of {first} and the next {NAMES} is not UTF-8", self.name)),
            None => Ok(()),
        }
    }
}

/// Checks the lengths of all arrays, then their values, and the checksums that are stated, by the names of the arrays.
/// Errors: what does not hold.
pub(crate) fn check(data: &Dataset, stated: impl Fn(&str) -> Option<u64>) -> Result<(), String> {
    data.check_lengths()?;
    arrays(data).iter().try_for_each(|array| array.check(stated(&array.name)))
}

impl Dataset {
    /// The lists of names by what the store calls them.
    pub(crate) fn names(&self) -> [(&'static str, &Names); 3] {
        [(LEARNERS, &self.learner_names), (ENTITIES, &self.entity_names), (RELATIONS, &self.relation_names)]
    }

    /// Checks every length and range that the rest of the program relies on, and that no learner has a course twice.
    /// Errors: what does not hold.
    pub fn validate(&self) -> Result<(), String> {
        check(self, |_| None)?;
        self.check_courses_once()
    }

    /// Lengths of the columns, and first and last offsets: what can be told without a look at the other values.
    fn check_lengths(&self) -> Result<(), String> {
        let i = &self.interactions;
        let (n, learners, entities) = (i.course.len(), self.learners(), self.entities());
        let columns = self.labels.iter().map(String::as_str).zip(&i.label_values);
        if self.courses > entities {
            return Err(format!("{} courses but {entities} entities", self.courses));
        }
        for (count, what) in [(entities, "entities"), (learners, "learners")] {
            if count >= u32::MAX as usize {
                return Err(format!("{count} {what} are too many for 32-bit ids"));
            }
        }
        let mut lengths = vec![
            ("offsets of learners", i.offsets.len(), learners + 1),
            ("splits of rows", i.split.len(), n),
            ("label columns", i.label_values.len(), self.labels.len()),
        ];
        lengths.extend(columns.map(|(label, values)| (label, values.len(), n)));
        lengths.extend(self.names().map(|(what, names)| (what, names.order().len(), names.len())));
        if let Some((what, found, wanted)) = lengths.into_iter().find(|(_, found, wanted)| found != wanted) {
            return Err(format!("{what}: {found} values instead of {wanted}"));
        }
        let names = self.names().map(|(what, names)| (what, names.offsets(), names.bytes().len()));
        for (what, offsets, total) in [("rows", &i.offsets, n)].into_iter().chain(names) {
            if [offsets.first(), offsets.last()] != [Some(&0), Some(&(total as u64))] {
                return Err(format!("offsets of {what} do not run from 0 to {total}"));
            }
        }
        Ok(())
    }

    /// Errors: the first learner who has a course twice. Lengths and ranges are checked before.
    pub(crate) fn check_courses_once(&self) -> Result<(), String> {
        let twice = (0..self.learners()).into_par_iter().find_map_first(|u| {
            let mut courses = self.courses_of(u).to_vec();
            courses.sort_unstable();
            courses.windows(2).find(|w| w[0] == w[1]).map(|w| format!("learner {u} has course {} twice", w[0]))
        });
        twice.map_or(Ok(()), Err)
    }

    /// SHA-256 over sizes, rows, labels, split and triples (not over names): results of two runs can be compared when
    /// their fingerprints are equal.
    pub fn fingerprint(&self) -> String {
        let i = &self.interactions;
        let mut hash = Sha256::new();
        hash.update(b"waata dataset 1\n");
        for size in [self.learners(), self.courses, self.entities(), self.relations(), self.labels.len()] {
            hash.update((size as u64).to_le_bytes());
        }
        hash.update([i.has_time as u8]);
        hash_values(&mut hash, &i.offsets);
        hash_values(&mut hash, &i.course);
        hash_values(&mut hash, &i.split);
        for (name, values) in self.labels.iter().zip(&i.label_values) {
            hash_values(&mut hash, name.as_bytes());
            hash_values(&mut hash, values);
        }
        hash_values::<u32>(&mut hash, bytemuck::cast_slice(&self.triples));
        hex(&hash.finalize())
    }

    /// SHA-256 over the split alone: which rows, in their order, are train, valid and test.
    pub fn split_fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"waata split 1\n");
        hash_values(&mut hash, &self.interactions.split);
        hex(&hash.finalize())
    }
}

/// The bytes, then how many values they are: no two different sequences of arrays hash alike.
fn hash_values<T: Pod>(hash: &mut Sha256, values: &[T]) {
    hash.update(bytemuck::cast_slice(values));
    hash.update((values.len() as u64).to_le_bytes());
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
