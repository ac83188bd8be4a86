//! Random numbers of a training step, where recorded work finds those of each replay.

use super::{Device, Index, Philox};
use base::Result;

/// The random numbers of one step, as its layers take them. On a GPU seed and stream of the step stand in memory, and
/// kernels read them there.
#[derive(Clone, Debug)]
pub struct StepRandom {
    step: Philox,
    /// What the layer adds to the stream, by exclusive or.
    layer: u64,
    /// (4) seed and stream of the step, the lower words first.
    words: Option<Index<u32>>,
}

/// The two halves of a number, the lower first.
pub fn split(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

impl StepRandom {
    pub fn new(device: &Device, step: Philox) -> Result<StepRandom> {
        let words = match device {
            Device::Cpu => None,
            Device::Gpu(_) => Some(Index::new(device, [split(step.seed), split(step.stream)].concat())?),
        };
        Ok(StepRandom { step, layer: 0, words })
    }

    /// Numbers of a layer's own.
    pub fn of_layer(&self, layer: u64) -> StepRandom {
        StepRandom { layer: self.layer ^ layer, ..self.clone() }
    }

    /// The numbers themselves.
    pub fn philox(&self) -> Philox {
        Philox::new(self.step.seed, self.step.stream ^ self.layer)
    }

    /// Address of the step's words, and what the layer adds to the stream; `None` without a GPU.
    pub fn on_device(&self) -> Option<(u64, u64)> {
        self.words.as_ref().map(|words| (words.address(), self.layer))
    }
}
