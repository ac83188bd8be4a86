//! The tables of a data set.

use super::{Column, Folder};
use crate::dataset::Dataset;
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
    /// Writes the tables of a part of a data set.
    pub fn part(&mut self, data: &Dataset, part: Part) -> Result<()> {
        match part {
            Part::Interactions => {
                let i = &data.interactions;
                let (offsets, mut learner) = (&i.offsets[..], 0);
                // Rows are asked for in order.
                let learner = move |row: usize| {
                    while offsets[learner + 1] as usize <= row {
                        learner += 1;
                    }
                    learner as u32
                };
                let mut columns = vec![
                    Column::computed("learner", learner),
                    Column::u32("course", &i.course),
                    Column::u8("split", bytemuck::cast_slice(&i.split)),
                ];
                let labels = data.labels.iter().zip(&i.label_values);
                columns.extend(labels.map(|(label, values)| Column::u8(format!("label/{label}"), values)));
                self.table("interactions", data.enrolments(), columns)
            }
            Part::Graph => {
                let places = ["head", "relation", "tail"].into_iter().enumerate();
                let columns = places.map(|(k, name)| Column::computed(name, move |row| data.triples[row][k]));
                self.table("graph", data.triples.len(), columns.collect())
            }
            Part::Names => data.names().into_iter().try_for_each(|(what, names)| self.names(what, names)),
        }
    }
}
