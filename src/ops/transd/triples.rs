use crate::engine::{Device, Index};
use crate::graph::{Pieces, Segments};
use crate::{Error, Result};

/// A batch of triples with one corrupted triple each, sorted by relation, and its schedules.
#[derive(Clone, Debug)]
pub struct Triples {
    pub(super) entities: usize,
    pub(super) relations: usize,
    pub(super) head: Index<u32>,
    pub(super) relation: Index<u32>,
    pub(super) tail: Index<u32>,
    /// The entity that the negative triple has in place of its tail, or of its head where `side` is 1.
    pub(super) corrupt: Index<u32>,
    pub(super) side: Index<u32>,
    /// Pieces of the triples of each relation.
    pub(super) by_relation: Pieces,
    /// Uses of entities: 3 i, 3 i + 1, 3 i + 2 are head, tail and corrupted entity of triple i.
    pub(super) uses: Segments,
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
        let column = |of: &dyn Fn(usize) -> u32| order.iter().map(|&i| of(i as usize)).collect::<Vec<u32>>();
        let (head, tail) = (column(&|i| heads[i]), column(&|i| tails[i]));
        let side = column(&|i| changed(i).0 as u32);
        let corrupt = column(&|i| if changed(i).0 { negative_heads[i] } else { negative_tails[i] });
        let used: Vec<u32> = (0..count).flat_map(|i| [head[i], tail[i], corrupt[i]]).collect();
        Ok(Triples {
            entities,
            relations,
            by_relation: Pieces::new(device, &offsets)?,
            uses: Segments::new(device, &used, entities)?,
            head: Index::new(device, head)?,
            relation: Index::new(device, column(&|i| relation_ids[i]))?,
            tail: Index::new(device, tail)?,
            corrupt: Index::new(device, corrupt)?,
            side: Index::new(device, side)?,
        })
    }

    pub fn len(&self) -> usize {
        self.head.len()
    }

    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }
}
