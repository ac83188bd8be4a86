use std::sync::Arc;

use crate::engine::{Device, Index, RowSet};
use crate::graph::{Pieces, Segments};
use crate::{Error, Result};

/// A batch of triples with one corrupted triple each, sorted by relation, and its schedules.
#[derive(Clone, Debug)]
pub struct Triples {
    pub(super) entities: usize,
    pub(super) relations: usize,
    /// (B) head, tail, corrupted entity, and 2 relation + side. The negative triple has the corrupted entity in place
    /// of its tail, or of its head where `side` is 1.
    pub(super) ids: Index<[u32; 4]>,
    /// (3 B) where each use stands in the segments of `uses`.
    pub(super) places: Index<u32>,
    /// Pieces of the triples of each relation.
    pub(super) by_relation: Pieces,
    /// Uses of entities: 3 i, 3 i + 1, 3 i + 2 are head, tail and corrupted entity of triple i.
    pub(super) uses: Segments,
    /// The rows of E and P that have uses.
    rows: Arc<RowSet>,
}

impl Triples {
    /// Triples (heads, relations, tails) of `entities` entities and `relations` relations, and their negatives.
    ///
    /// A negative triple keeps its relation and differs from its triple in the head, in the tail, or in neither.
    /// `Error::Shape` where it differs in both, for ids out of range, and for columns of different lengths.
    pub fn new(
        device: &Device,
        (entities, relations): (usize, usize),
        (heads, relation_ids, tails): (&[u32], &[u32], &[u32]),
        (negative_heads, negative_tails): (&[u32], &[u32]),
    ) -> Result<Triples> {
        let count = heads.len();
        let lengths = [relation_ids.len(), tails.len(), negative_heads.len(), negative_tails.len()];
        if lengths.iter().any(|&length| length != count) || count > i32::MAX as usize {
            let expected = format!("five columns of {count} ids, fewer than 2^31");
            return Err(Error::shape("transd", expected, format!("{lengths:?}")));
        }
        if relations > i32::MAX as usize {
            return Err(Error::shape("transd", "fewer than 2^31 relations", format!("{relations}")));
        }
        if let Some(r) = relation_ids.iter().find(|&&r| r as usize >= relations) {
            return Err(Error::shape("transd", format!("relations below {relations}"), format!("{r}")));
        }
        let changed = |i: usize| (negative_heads[i] != heads[i], negative_tails[i] != tails[i]);
        if let Some(i) = (0..count).find(|&i| changed(i) == (true, true)) {
            return Err(Error::shape(
                "transd",
                "negatives that change one side",
                format!("both in triple {i}"),
            ));
        }
        let (offsets, order) = crate::graph::sorted_by(relations, count, |i| relation_ids[i]);
        let ids: Vec<[u32; 4]> = order
            .iter()
            .map(|&i| {
                let i = i as usize;
                let side = changed(i).0;
                let corrupt = if side { negative_heads[i] } else { negative_tails[i] };
                [heads[i], tails[i], corrupt, 2 * relation_ids[i] + side as u32]
            })
            .collect();
        let used: Vec<u32> = ids.iter().flat_map(|ids| [ids[0], ids[1], ids[2]]).collect();
        let uses = Segments::new(device, &used, entities)?;
        let mut places = vec![0u32; used.len()];
        for s in 0..uses.count() {
            uses.uses(s).iter().for_each(|&place| places[place as usize] = s as u32);
        }
        Ok(Triples {
            entities,
            relations,
            by_relation: Pieces::new(device, &offsets)?,
            rows: Arc::new(RowSet::of_sorted(uses.row.clone(), entities)),
            uses,
            ids: Index::new(device, ids)?,
            places: Index::new(device, places)?,
        })
    }

    /// The entities that occur, of all: whose gradient a batch has.
    pub fn rows(&self) -> &Arc<RowSet> {
        &self.rows
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
