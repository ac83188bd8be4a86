//! What a run found: the document, the table, and the comparison with an earlier run.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Cost, Limits, Sizes, Timing};
use crate::engine::Device;
use crate::{Error, Result};

/// The document of `waata bench --json`; docs/benchmarks.md has every field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema_version: u32,
    pub version: String,
    /// Git revision, where the build or the environment gave `WAATA_REVISION`.
    pub revision: Option<String>,
    /// When the run ended, UTC.
    pub date: String,
    pub device: DeviceFacts,
    pub sizes: Sizes,
    pub limits: Limits,
    pub cases: Vec<CaseReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// "cpu" or "cuda".
    pub kind: String,
    pub name: String,
    /// Threads of the CPU code.
    pub threads: usize,
    pub compute_capability: Option<String>,
    pub driver: Option<i32>,
    pub memory_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseReport {
    pub name: String,
    /// Median and least time of a repetition, milliseconds.
    pub ms: f64,
    pub min_ms: f64,
    /// Distance of the quartiles over the median.
    pub spread: f64,
    pub repetitions: usize,
    /// Compulsory traffic and operations.
    pub bytes: f64,
    pub flops: f64,
    /// `bytes` and `flops` over the median, 10^9 a second.
    pub gb_per_s: f64,
    pub gflop_per_s: f64,
    /// The least time that the limits allow, over the median.
    pub share_of_limit: f64,
}

impl CaseReport {
    pub(super) fn new(name: String, cost: Cost, timing: Timing, limits: &Limits) -> CaseReport {
        let seconds = timing.ms / 1e3;
        CaseReport {
            name,
            ms: timing.ms,
            min_ms: timing.min_ms,
            spread: timing.spread,
            repetitions: timing.repetitions,
            bytes: cost.bytes,
            flops: cost.flops,
            gb_per_s: cost.bytes / seconds / 1e9,
            gflop_per_s: cost.flops / seconds / 1e9,
            share_of_limit: limits.floor(cost) / seconds,
        }
    }
}

impl DeviceFacts {
    fn of(device: &Device) -> DeviceFacts {
        let threads = rayon::current_num_threads();
        match device {
            Device::Cpu => DeviceFacts {
                kind: "cpu".into(),
                name: processor(),
                threads,
                compute_capability: None,
                driver: None,
                memory_bytes: None,
            },
            Device::Gpu(gpu) => {
                let info = gpu.info();
                let (major, minor) = info.capability;
                DeviceFacts {
                    kind: "cuda".into(),
                    name: info.name.clone(),
                    threads,
                    compute_capability: Some(format!("{major}.{minor}")),
                    driver: Some(info.driver),
                    memory_bytes: Some(info.memory_bytes),
                }
            }
        }
    }
}

/// The processor by its own name, where the system tells it.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    model.and_then(|rest| rest.split_once(':')).map_or("cpu", |(_, name)| name.trim()).to_string()
}

impl Report {
    pub(super) fn new(device: &Device, sizes: Sizes, limits: Limits, cases: Vec<CaseReport>) -> Report {
        let given = std::env::var("WAATA_REVISION").ok().filter(|r| !r.is_empty());
        Report {
            schema_version: 1,
            version: env!("CARGO_PKG_VERSION").into(),
            revision: given.or(option_env!("WAATA_REVISION").map(String::from)),
            date: utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())),
            device: DeviceFacts::of(device),
            sizes,
            limits,
            cases,
        }
    }
}

/// Lines above the table: the device and its limits.
pub fn heading(device: &Device, limits: &Limits) -> String {
    let device = DeviceFacts::of(device);
    let streaming = match limits.streaming_copy_gb_per_s {
        Some(speed) => format!(", {speed:.1} GB/s past the caches"),
        None => String::new(),
    };
    format!(
        "{}, {} threads\ncopy {:.1} GB/s{streaming}\narithmetic {:.0} GFLOP/s: {}",
        device.name, device.threads, limits.copy_gb_per_s, limits.gflop_per_s, limits.arithmetic
    )
}

/// Seconds since 1970 as 2026-01-31T23:59:59Z, by the rules of the Gregorian calendar.
fn utc(seconds: u64) -> String {
    let (days, time) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Years that begin in March put the leap day at their end; 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (400 * era + year, month + 3),
        _ => (400 * era + year + 1, month - 9),
    };
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Title and rows of the table, 80 columns.
pub fn title() -> String {
    format!("{:<35}{:>10}{:>10}{:>7}{:>6}{:>7}{:>5}", "case", "ms", "best", "spread", "GB/s", "GFLOP", "of")
}

pub fn row(case: &CaseReport) -> String {
    format!(
        "{:<35}{:>10.3}{:>10.3}{:>6.1}%{:>6.1}{:>7.1}{:>4.0}%",
        case.name,
        case.ms,
        case.min_ms,
        case.spread * 100.0,
        case.gb_per_s,
        case.gflop_per_s,
        case.share_of_limit * 100.0
    )
}

/// A case beside the same one of an earlier run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub name: String,
    pub ms: f64,
    /// Absent where the earlier run did not have the case.
    pub baseline_ms: Option<f64>,
    /// ms / baseline_ms - 1
    pub change: Option<f64>,
}

/// Every case of a run beside `baseline`'s. `Error::Config` where the two differ in sizes or in the kind of device, and
/// so cannot be compared.
pub fn compare(report: &Report, baseline: &Report) -> Result<Vec<Change>> {
    let refuse = |what: &str, here: String, there: String| {
        let why = format!("the baseline has {what} {there}, this run {here}");
        Err(Error::config("--baseline", why, "compare runs of the same sizes on the same kind of device"))
    };
    if report.sizes != baseline.sizes {
        return refuse("the sizes", format!("{:?}", report.sizes), format!("{:?}", baseline.sizes));
    }
    if report.device.kind != baseline.device.kind {
        return refuse("the device", report.device.kind.clone(), baseline.device.kind.clone());
    }
    let beside = |case: &CaseReport| {
        let before = baseline.cases.iter().find(|b| b.name == case.name).map(|b| b.ms);
        Change {
            name: case.name.clone(),
            ms: case.ms,
            baseline_ms: before,
            change: before.map(|before| case.ms / before - 1.0),
        }
    };
    Ok(report.cases.iter().map(beside).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn rows_fit_a_terminal() {
        let limits = Limits {
            copy_gb_per_s: 30.0,
            streaming_copy_gb_per_s: None,
            gflop_per_s: 200.0,
            arithmetic: "".into(),
        };
        let timing = Timing { ms: 100.0, min_ms: 90.0, spread: 0.05, repetitions: 3 };
        let case = CaseReport::new("a".into(), Cost { bytes: 1.5e9, flops: 4e9 }, timing, &limits);
        assert_eq!((case.gb_per_s, case.gflop_per_s, case.share_of_limit), (15.0, 40.0, 0.5));
        assert_eq!(row(&case).len(), title().len());
        assert!(title().len() <= 80);
    }
}
