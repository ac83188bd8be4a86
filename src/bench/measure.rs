//! Time per repetition: median, minimum and spread.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::engine::Device;

/// Fewest and most repetitions of a case.
const REPETITIONS: (usize, usize) = (3, 2000);

/// Times of the repetitions of one case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median, in milliseconds.
    pub ms: f64,
    pub min_ms: f64,
    /// Interquartile range over the median.
    pub spread: f64,
    pub repetitions: usize,
}

impl Timing {
    /// `times` in milliseconds, at least one.
    pub fn of(mut times: Vec<f64>) -> Timing {
        times.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let at = q * (times.len() - 1) as f64;
            let (low, part) = (at as usize, at.fract());
            times[low] * (1.0 - part) + times[(low + 1).min(times.len() - 1)] * part
        };
        let ms = quantile(0.5);
        let spread = if ms > 0.0 { (quantile(0.75) - quantile(0.25)) / ms } else { 0.0 };
        Timing { ms, min_ms: times[0], spread, repetitions: times.len() }
    }
}

/// Runs `work` for about `budget`, after a warm-up of a tenth of it (at least one call): pools fill, pages are touched,
/// the clock settles. On a GPU the time is the device's own, between events around the work.
pub fn measure(device: &Device, budget: Duration, work: &mut dyn FnMut() -> Result<()>) -> Result<Timing> {
    let started = Instant::now();
    loop {
        work()?;
        if started.elapsed() >= budget / 10 {
            break;
        }
    }
    let (least, most) = REPETITIONS;
    let mut times = vec![];
    let started = Instant::now();
    while times.len() < least || (started.elapsed() < budget && times.len() < most) {
        times.push(match device {
            Device::Gpu(gpu) => gpu.driver().time(work)? as f64,
            Device::Cpu => {
                let started = Instant::now();
                work()?;
                started.elapsed().as_secs_f64() * 1e3
            }
        });
    }
    Ok(Timing::of(times))
}
