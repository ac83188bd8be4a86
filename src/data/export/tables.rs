//! The tables of a data set.

use super::{BLOCK, Folder, Format, Kind, Values, column};
use crate::dataset::Dataset;
use crate::names::Names;
use base::Result;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `interactions`: learner, course, split and labels of every enrolment, by learner and in time order.
    Interactions,
    /// `graph`: head, relation and tail of every triple.
    Graph,
    /// `learners`, `entities` (courses first) and `relations`: the name of each id.
    Names,
}

impl Folder<'_> {
    /// The tables of a part of a data set.
    pub fn part(&mut self, data: &Dataset, part: Part) -> Result<()> {
        match part {
            Part::Interactions => interactions(data, self),
            Part::Graph => graph(data, self),
            Part::Names => {
                data.names().into_iter().try_for_each(|(what, names)| write_names(what, names, self))
            }
        }
    }
}

fn interactions(data: &Dataset, folder: &mut Folder) -> Result<()> {
    let i = &data.interactions;
    let mut columns =
        vec![column("learner", Kind::U32), column("course", Kind::U32), column("split", Kind::U8)];
    columns.extend(data.labels.iter().map(|label| column(&format!("label/{label}"), Kind::U8)));
    let rows = data.enrolments();
    folder.table("interactions", &columns, rows, |put| {
        let mut learner = 0;
        for start in (0..rows).step_by(BLOCK) {
            let block = start..rows.min(start + BLOCK);
            let learners: Vec<u32> = (block.clone())
                .map(|row| {
                    while i.offsets[learner + 1] as usize <= row {
                        learner += 1;
                    }
                    learner as u32
                })
                .collect();
            let split = &bytemuck::cast_slice(&i.split)[block.clone()];
            let mut values =
                vec![Values::U32(&learners), Values::U32(&i.course[block.clone()]), Values::U8(split)];
            values.extend(i.label_values.iter().map(|label| Values::U8(&label[block.clone()])));
            put(&values)?;
        }
        Ok(())
    })
}

fn graph(data: &Dataset, folder: &mut Folder) -> Result<()> {
    let columns = ["head", "relation", "tail"].map(|name| column(name, Kind::U32));
    folder.table("graph", &columns, data.triples.len(), |put| {
        data.triples.chunks(BLOCK).try_for_each(|triples| {
            let place = |at: usize| triples.iter().map(|t| t[at]).collect::<Vec<u32>>();
            let [head, relation, tail] = [place(0), place(1), place(2)];
            put(&[Values::U32(&head), Values::U32(&relation), Values::U32(&tail)])
        })
    })
}

/// numpy has no texts of many lengths: there the names are one array of bytes and one of where each begins.
fn write_names(what: &str, names: &Names, folder: &mut Folder) -> Result<()> {
    if folder.format() == Format::Npy {
        let (bytes, offsets) = (names.bytes(), names.offsets());
        folder.table(&format!("{what}-bytes"), &[column("bytes", Kind::U8)], bytes.len(), |put| {
            bytes.chunks(BLOCK).try_for_each(|block| put(&[Values::U8(block)]))
        })?;
        return folder.table(
            &format!("{what}-offsets"),
            &[column("offset", Kind::U64)],
            offsets.len(),
            |put| offsets.chunks(BLOCK).try_for_each(|block| put(&[Values::U64(block)])),
        );
    }
    let columns = [column("id", Kind::U32), column("name", Kind::Text)];
    folder.table(what, &columns, names.len(), |put| {
        (0..names.len()).step_by(BLOCK).try_for_each(|start| {
            let block = start..names.len().min(start + BLOCK);
            let ids: Vec<u32> = block.clone().map(|id| id as u32).collect();
            put(&[Values::U32(&ids), Values::Text(block.map(|id| &names[id]).collect())])
        })
    })
}
