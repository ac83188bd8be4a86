//! How much memory a run will take, by arithmetic: nothing is allocated, and any settings are answered in a second or two.
//!
//! The sizes of parameters, lists and activations follow from counts of the data set (`counts`) and from the shapes of the
//! forward pass (`forward`). A tape without values (`tape`) gives what is alive at a time in the forward and backward
//! passes, and a ledger (`ledger`) keeps the most of it over the phases of a run.

mod counts;
mod forward;
mod ledger;
mod schedule;
mod tape;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{Config, EncoderKind, Propagation};
use crate::data::Dataset;
use crate::engine::Device;
use crate::engine::system::{Resident, available, resident, size};
use crate::models;
use crate::{Error, Result};

pub use ledger::Part;

/// Bytes of something that is large.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    pub part: Part,
    pub name: String,
    pub bytes: u64,
}

/// The memory of a run, in bytes: upper figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryEstimate {
    pub schema_version: u32,
    /// Peak of the process in host memory, and of the run on a GPU.
    pub host: u64,
    pub device: u64,
    /// Peak of the tensors in host memory, without cached blocks, and with lists.
    pub tensors: u64,
    pub tensors_and_lists: u64,
    /// When the peak is reached: `build`, `samplers`, `steps`, `triples`, `validation`, `restore` or `test`.
    pub phase: String,
    /// The program with the opened data set, and how much of it is mapped files.
    pub opened: u64,
    pub mapped: u64,
    /// What threads work in and libraries take for themselves.
    pub threads: u64,
    /// Freed blocks at the peak that wait for the next tensor of their size.
    pub cached: u64,
    pub parts: BTreeMap<Part, u64>,
    /// What is largest at the peak.
    pub largest: Vec<Share>,
    /// Peak of each phase in host memory.
    pub phases: BTreeMap<String, u64>,
    #[serde(skip)]
    before: Resident,
}

/// How many of the largest are named.
const NAMED: usize = 12;

/// Stacks, buffers of matrix products and rankings, lists of a batch in the making: of the program, and of each thread.
const WORK: u64 = 24 << 20;
const WORK_OF_THREAD: u64 = 4 << 20;

/// Bytes that a run on `device` may take; none where the system does not say.
pub fn limit(device: &Device) -> Result<Option<u64>> {
    match device {
        Device::Cpu => Ok(available()),
        Device::Gpu(gpu) => Ok(Some(gpu.driver().memory()?.0 + gpu.memory_in_use().0)),
    }
}

impl MemoryEstimate {
    /// The estimate for a run of `config` on opened `data`.
    pub fn new(config: &Config, data: &Dataset, device: &Device) -> Result<MemoryEstimate> {
        MemoryEstimate::after(resident().unwrap_or_default(), config, data, device)
    }

    /// As `new`, for a process that held this much before.
    fn after(before: Resident, config: &Config, data: &Dataset, device: &Device) -> Result<MemoryEstimate> {
        let tasks = models::task_names(config, data)?.len();
        let peak = schedule::peaks(config, data, tasks, matches!(device, Device::Gpu(_)))?;
        let mut parts = BTreeMap::new();
        let mut largest = vec![];
        for ((part, name), bytes) in peak.named.into_iter().filter(|(_, bytes)| *bytes > 0) {
            *parts.entry(part).or_default() += bytes as u64;
            largest.push(Share { part, name, bytes: bytes as u64 });
        }
        largest.sort_by_key(|share| std::cmp::Reverse(share.bytes));
        largest.truncate(NAMED);
        let threads = WORK + WORK_OF_THREAD * rayon::current_num_threads() as u64;
        Ok(MemoryEstimate {
            schema_version: 2,
            // Opening the data set may have taken more than the run will.
            host: (before.now + threads + peak.host as u64).max(before.peak),
            device: peak.device as u64,
            tensors: peak.tensors as u64,
            tensors_and_lists: peak.tensors_and_lists as u64,
            phase: peak.phase.into(),
            opened: before.now,
            mapped: before.files,
            threads,
            cached: peak.cached as u64,
            parts,
            largest,
            phases: peak.by_phase,
            before,
        })
    }

    /// In a line.
    pub fn summary(&self) -> String {
        let gpu = if self.device > 0 { format!("; on the GPU {}", size(self.device)) } else { String::new() };
        format!("memory estimate: at most {}, in phase `{}`{gpu}", size(self.host), self.phase)
    }

    /// As a table for people.
    pub fn text(&self) -> String {
        let mut text = self.summary();
        let mut row = |name: &str, bytes: u64, more: &str| {
            text += &format!("\n  {name:<42}{:>12}{more}", size(bytes));
        };
        let mapped = match self.mapped {
            0 => String::new(),
            mapped => format!(" ({} of it files)", size(mapped)),
        };
        row("program and data set", self.opened, &mapped);
        row("working memory of threads and libraries", self.threads, "");
        for (part, bytes) in &self.parts {
            row(part.name(), *bytes, "");
        }
        row("cached blocks", self.cached, "");
        text += "\n  largest:";
        for share in &self.largest {
            text += &format!("\n    {:<18}{:<22}{:>12}", share.part.name(), share.name, size(share.bytes));
        }
        text
    }

    /// What has to fit: a GPU's memory where there is one, else the host's.
    pub fn needed(&self) -> u64 {
        if self.device > 0 { self.device } else { self.host }
    }

    /// `Error::Memory` where the run needs more than `limit` bytes, with what would fit. This is the estimate of `config`.
    pub fn fits(&self, limit: u64, config: &Config, data: &Dataset, device: &Device) -> Result<()> {
        if self.needed() <= limit {
            return Ok(());
        }
        let largest =
            self.largest.iter().take(3).map(|share| format!("{} {}", share.name, size(share.bytes)));
        let why = format!(
            "the run needs {} and may take {}; in phase `{}` the largest are {}",
            size(self.needed()),
            size(limit),
            self.phase,
            largest.collect::<Vec<_>>().join(", ")
        );
        let options = options(config);
        // Each alone, then one after the other.
        let mut trials: Vec<Vec<String>> = options.clone();
        trials.extend((2..=options.len()).map(|n| options[..n].concat()));
        for settings in trials {
            let Ok(other) = config.with(&settings) else { continue };
            let Ok(estimate) = MemoryEstimate::after(self.before, &other, data, device) else { continue };
            let needed = estimate.needed();
            if needed <= limit {
                let set = settings.iter().map(|s| format!("--set '{s}'")).collect::<Vec<_>>().join(" ");
                return Err(Error::Memory { why, remedy: format!("{} would do with {set}", size(needed)) });
            }
        }
        let remedy = "no setting tried would fit: take a machine with more memory or a part of the data set, or set another \
                      --memory-limit";
        Err(Error::Memory { why, remedy: remedy.into() })
    }
}

/// Settings that save memory, those first that change the least of what is learned.
fn options(config: &Config) -> Vec<Vec<String>> {
    let m = &config.model;
    let mut options = vec![];
    if m.fan_out.is_empty()
        && !m.layers.is_empty()
        && m.encoder == EncoderKind::Graph
        && m.propagation == Propagation::Full
    {
        let fan_out: Vec<usize> = (0..m.layers.len()).map(|l| if l == 0 { 10 } else { 5 }).collect();
        options.push(vec![format!("model.fan_out={fan_out:?}")]);
    }
    if !config.kg.shared_state {
        options.push(vec!["kg.shared_state=true".into()]);
    }
    if config.train.batch_size > 256 {
        options.push(vec!["train.batch_size=256".into()]);
    }
    if m.dim > 32 {
        let layers: Vec<usize> = m.layers.iter().map(|&width| width.min(32)).collect();
        options.push(vec!["model.dim=32".into(), format!("model.layers={layers:?}")]);
    }
    if config.train.optimizer != "sgd" {
        options.push(vec!["train.optimizer=sgd".into()]);
    }
    options
}
