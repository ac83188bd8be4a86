//! Time per repetition: the median, the best, and how far apart they lie.

use std::time::{Duration, Instant};

use crate::Result;
use crate::engine::Device;

/// Fewest and most repetitions of a case.
const REPETITIONS: (usize, usize) = (3, 2000);

/// Times of the repetitions of one case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Median, in milliseconds.
    pub ms: f64,
    pub min_ms: f64,
    /// Distance of the quartiles over the median.
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

/// Runs `work` for about `budget`, after warming up for a tenth of it (once at least): pools fill, pages are touched,
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
        times.push(once(device, work)?);
    }
    Ok(Timing::of(times))
}

/// Milliseconds of one call.
fn once(device: &Device, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    match device {
        Device::Gpu(gpu) => Ok(gpu.driver().time(work)? as f64),
        Device::Cpu => {
            let started = Instant::now();
            work()?;
            Ok(started.elapsed().as_secs_f64() * 1e3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let t = Timing::of(vec![5.0, 1.0, 2.0, 4.0, 3.0]);
        assert_eq!((t.ms, t.min_ms, t.repetitions), (3.0, 1.0, 5));
        assert!((t.spread - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(Timing::of(vec![7.0]), Timing { ms: 7.0, min_ms: 7.0, spread: 0.0, repetitions: 1 });
    }

    #[test]
    fn repeats_within_its_budget() {
        let mut calls = 0;
        let mut work = || {
            calls += 1;
            Ok(())
        };
        let t = measure(&Device::Cpu, Duration::ZERO, &mut work).unwrap();
        assert_eq!((t.repetitions, calls), (3, 4));
    }
}
