//! An account of memory that nobody allocates: pieces come and go by their sizes, and the most that there was at a time is
//! remembered.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::memory;

/// What a piece of memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Parameters,
    OptimizerStates,
    Gradients,
    Activations,
    Graph,
    Batch,
    Ranking,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Parameters => "parameters",
            Part::OptimizerStates => "optimizer states",
            Part::Gradients => "gradients",
            Part::Activations => "activations",
            Part::Graph => "graph",
            Part::Batch => "batches",
            Part::Ranking => "ranking",
        }
    }
}

/// Where a piece lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On the device of the run.
    Tensor,
    /// In host memory.
    List,
    /// In host memory, with a copy on a GPU.
    Index,
}

#[derive(Clone, Debug)]
pub(super) struct Piece {
    place: Place,
    part: Part,
    name: String,
    bytes: usize,
}

/// Bytes by what they are for.
pub(super) type Named = BTreeMap<(Part, String), usize>;

pub(super) struct Ledger {
    on_gpu: bool,
    tensors: usize,
    lists: usize,
    device: usize,
    named: Named,
    /// Of each size of tensors: how many there are, and the most at a time since `empty_cache`. On the CPU a freed block
    /// waits for the next tensor of its size.
    sizes: BTreeMap<usize, [usize; 2]>,
    /// The bytes of the most of each size.
    reserved: usize,
    pub phase: &'static str,
    pub peak: Peaks,
}

/// The most of each kind so far, and what there was when the most was in host memory.
#[derive(Default)]
pub(super) struct Peaks {
    pub host: usize,
    pub tensors: usize,
    pub tensors_and_lists: usize,
    pub device: usize,
    pub phase: &'static str,
    pub cached: usize,
    pub named: Named,
    pub by_phase: BTreeMap<String, u64>,
}

impl Ledger {
    pub fn new(on_gpu: bool) -> Ledger {
        Ledger {
            on_gpu,
            tensors: 0,
            lists: 0,
            device: 0,
            named: Named::new(),
            sizes: BTreeMap::new(),
            reserved: 0,
            phase: "build",
            peak: Peaks::default(),
        }
    }

    pub fn take(&mut self, place: Place, part: Part, name: &str, bytes: usize) -> Piece {
        // In the ranking all is for it.
        let part = if self.phase == "validation" || self.phase == "test" { part.in_ranking() } else { part };
        let piece = Piece { place, part, name: name.to_string(), bytes };
        *self.named.entry((part, piece.name.clone())).or_default() += bytes;
        if place != Place::Tensor {
            self.lists += bytes;
        }
        if place != Place::List && self.on_gpu {
            self.device += bytes;
        }
        if place == Place::Tensor {
            let block = self.block(bytes);
            let [now, most] = self.sizes.entry(block).or_default();
            *now += 1;
            if *now > *most {
                *most = *now;
                self.reserved += block;
            }
            if !self.on_gpu {
                self.tensors += block;
            }
        }
        self.measure();
        piece
    }

    pub fn free(&mut self, piece: Piece) {
        let Piece { place, part, name, bytes } = piece;
        if let Some(named) = self.named.get_mut(&(part, name)) {
            *named -= bytes;
        }
        if place != Place::Tensor {
            self.lists -= bytes;
        }
        if place != Place::List && self.on_gpu {
            self.device -= bytes;
        }
        if place == Place::Tensor {
            let block = self.block(bytes);
            self.sizes.entry(block).or_default()[0] -= 1;
            if !self.on_gpu {
                self.tensors -= block;
            }
        }
    }

    /// Takes and gives back.
    pub fn touch(&mut self, place: Place, part: Part, name: &str, bytes: usize) {
        let piece = self.take(place, part, name, bytes);
        self.free(piece);
    }

    pub fn begin(&mut self, phase: &'static str) {
        self.phase = phase;
        self.empty_cache();
        self.measure();
    }

    pub fn empty_cache(&mut self) {
        self.sizes.values_mut().for_each(|[now, most]| *most = *now);
        self.reserved = self.sizes.iter().map(|(size, [now, _])| size * now).sum();
    }

    /// The memory that a CUDA graph keeps of work that has taken its pieces since `empty_cache`: blocks are used again
    /// within it, each by pieces of its size.
    pub fn of_capture(&self) -> usize {
        self.sizes.iter().map(|(size, [now, most])| size * (most - now)).sum()
    }

    fn block(&self, bytes: usize) -> usize {
        if self.on_gpu { bytes } else { memory::block_bytes(bytes) }
    }

    fn measure(&mut self) {
        let blocks = match self.on_gpu {
            true => 0,
            false => {
                memory::most_blocks(self.tensors, self.peak.tensors.max(self.tensors)).min(self.reserved)
            }
        };
        let host = self.lists + blocks.max(self.tensors);
        let peak = &mut self.peak;
        peak.tensors = peak.tensors.max(self.tensors);
        peak.tensors_and_lists = peak.tensors_and_lists.max(self.tensors + self.lists);
        peak.device = peak.device.max(self.device);
        let of_phase = peak.by_phase.entry(self.phase.to_string()).or_default();
        *of_phase = (host as u64).max(*of_phase);
        let score = if self.on_gpu { (self.device, peak.device) } else { (host, peak.host) };
        if score.0 >= score.1 {
            (peak.phase, peak.named) = (self.phase, self.named.clone());
            peak.cached = blocks.saturating_sub(self.tensors);
        }
        peak.host = peak.host.max(host);
    }
}

impl Part {
    fn in_ranking(self) -> Part {
        match self {
            Part::Activations | Part::Batch | Part::Graph => Part::Ranking,
            other => other,
        }
    }
}
