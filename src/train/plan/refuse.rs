//! What to do where a run does not fit: the first settings that would, by a plan of their own.

use super::MemoryPlan;
use crate::config::{Config, EncoderKind, Propagation};
use crate::data::Dataset;
use crate::engine::Device;
use crate::engine::system::{available, size};
use crate::{Error, Result};

/// Bytes that a run on `device` may take; none where the system does not say.
pub fn limit(device: &Device) -> Result<Option<u64>> {
    match device {
        Device::Cpu => Ok(available()),
        Device::Gpu(gpu) => Ok(Some(gpu.driver().memory()?.0 + gpu.memory_in_use().0)),
    }
}

impl MemoryPlan {
    /// `Error::Memory` where the run needs more than `limit` bytes, with what would fit. This is the plan of `config`.
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
            let Ok(plan) = MemoryPlan::after(self.before, &other, data, device) else { continue };
            let needed = plan.needed();
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
