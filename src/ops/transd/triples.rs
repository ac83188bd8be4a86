use std::sync::Arc;

use super::cpu::ByKept;
use base::{Error, Result};
use engine::{Device, Index, RowSet, parallel};
use graph::{InverseIndex, RowSplits};

/// A batch of triples with one corrupted triple each, in the order and with the schedules that its device wants.
#[derive(Clone, Debug)]
pub struct Triples {
    pub(super) entities: usize,
    pub(super) relations: usize,
    count: usize,
    /// The rows of E and P that have uses.
    rows: Arc<RowSet>,
    pub(super) order: Order,
}

#[derive(Clone, Debug)]
pub(super) enum Order {
    Cpu(Arc<ByKept>),
    Gpu(Arc<ByRelation>),
}

/// The triples sorted by relation: a warp takes one of them, and another sums a relation's.
#[derive(Debug)]
pub(super) struct ByRelation {
    pub entities: usize,
    pub relations: usize,
    /// (B) head, tail, corrupted entity, and 2 relation + side. The negative triple has the corrupted entity in place
    /// of its tail, or of its head where `side` is 1.
    pub ids: Index<[u32; 4]>,
    /// RowSplits of the triples of each relation.
    pub by_relation: RowSplits,
    /// Uses of entities: 3 i, 3 i + 1, 3 i + 2 are head, tail and corrupted entity of triple i.
    pub uses: InverseIndex,
}

impl ByRelation {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    fn new(device: &Device, batch: &Columns) -> Result<ByRelation> {
        let (offsets, order) = graph::sorted_by(batch.relations, batch.count(), |i| batch.relation_ids[i]);
        let ids: Vec<[u32; 4]> = order
            .iter()
            .map(|&i| {
                let i = i as usize;
                let side = batch.head_changes(i);
                let corrupt = if side { batch.negative_heads[i] } else { batch.negative_tails[i] };
                [batch.heads[i], batch.tails[i], corrupt, batch.kind(i)]
            })
            .collect();
        let used: Vec<u32> = ids.iter().flat_map(|ids| [ids[0], ids[1], ids[2]]).collect();
        Ok(ByRelation {
            entities: batch.entities,
            relations: batch.relations,
            by_relation: RowSplits::new(device, &offsets)?,
            uses: InverseIndex::new(device, &used, batch.entities)?,
            ids: Index::new(device, ids)?,
        })
    }
}

/// A batch as it is given.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub entities: usize,
    pub relations: usize,
    pub heads: &'a [u32],
    pub relation_ids: &'a [u32],
    pub tails: &'a [u32],
    pub negative_heads: &'a [u32],
    pub negative_tails: &'a [u32],
}

impl Columns<'_> {
    pub fn count(&self) -> usize {
        self.heads.len()
    }

    /// Whether triple i's head is corrupted; otherwise its tail is, or nothing.
    #[inline(always)]
    pub fn head_changes(&self, i: usize) -> bool {
        self.negative_heads[i] != self.heads[i]
    }

    /// 2 relation + side
    #[inline(always)]
    pub fn kind(&self, i: usize) -> u32 {
        2 * self.relation_ids[i] + self.head_changes(i) as u32
    }

    fn check(&self) -> Result<()> {
        let count = self.count();
        let lengths = [self.relation_ids.len(), self.tails.len(), self.negative_heads.len(), self.negative_tails.len()];
        if lengths.iter().any(|&length| length != count) || count > i32::MAX as usize {
            let expected = format!("five columns of {count} ids, fewer than 2^31");
            return Err(Error::shape("transd", expected, format!("{lengths:?}")));
        }
        if self.relations > i32::MAX as usize {
            return Err(Error::shape("transd", "fewer than 2^31 relations", format!("{}", self.relations)));
        }
        let most = self.relation_ids.iter().copied().reduce(u32::max);
        if let Some(r) = most.filter(|&r| r as usize >= self.relations) {
            return Err(Error::shape("transd", format!("relations below {}", self.relations), format!("{r}")));
        }
        // Without a way out of the loop, which vector units cannot take.
        let both = |i: usize| self.head_changes(i) && self.negative_tails[i] != self.tails[i];
        let wrong = parallel::map_chunks(count, 16 * 1024, |range| {
            range.fold(u32::MAX, |first, i| if both(i) { first.min(i as u32) } else { first })
        });
        match wrong.into_iter().min() {
            Some(i) if i != u32::MAX => {
                let got = format!("both in triple {i}");
                Err(Error::shape("transd", "negatives that change one side", got))
            }
            _ => Ok(()),
        }
    }
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
        let batch = Columns { entities, relations, heads, relation_ids, tails, negative_heads, negative_tails };
        batch.check()?;
        let (order, row) = match device {
            Device::Cpu => {
                let order = ByKept::new(&batch)?;
                let row = order.uses.row.clone();
                (Order::Cpu(Arc::new(order)), row)
            }
            Device::Gpu(_) => {
                let order = ByRelation::new(device, &batch)?;
                let row = order.uses.row.clone();
                (Order::Gpu(Arc::new(order)), row)
            }
        };
        let rows = Arc::new(RowSet::of_sorted(row, entities));
        Ok(Triples { entities, relations, count: batch.count(), rows, order })
    }

    /// The entities that occur, of all: whose gradient a batch has.
    pub fn rows(&self) -> &Arc<RowSet> {
        &self.rows
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
