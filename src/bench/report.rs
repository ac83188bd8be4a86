//! The results of a run: the document, the table, and the comparison with an earlier run.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Cost, Limits, Sizes, Timing};
use crate::engine::Device;
use crate::{Error, Result};

/// The document of `waata bench --json`; docs/benchmarks.md explains every field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema_version: u32,
    pub version: String,
    /// Git revision: `WAATA_REVISION` of the environment, else the program's own.
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
    #[serde(flatten)]
    pub timing: Timing,
    #[serde(flatten)]
    pub cost: Cost,
    /// Bytes and operations over the median, 10^9 a second.
    pub gb_per_s: f64,
    pub gflop_per_s: f64,
    /// The least time that the limits allow, over the median.
    pub share_of_limit: f64,
}

impl CaseReport {
    pub fn new(name: String, cost: Cost, timing: Timing, limits: &Limits) -> CaseReport {
        let seconds = timing.ms / 1e3;
        let (gb_per_s, gflop_per_s) = (cost.bytes / seconds / 1e9, cost.flops / seconds / 1e9);
        let share_of_limit = limits.floor(cost) / seconds;
        CaseReport { name, timing, cost, gb_per_s, gflop_per_s, share_of_limit }
    }
}

impl DeviceFacts {
    fn of(device: &Device) -> DeviceFacts {
        let gpu = match device {
            Device::Cpu => None,
            Device::Gpu(gpu) => Some(gpu.info()),
        };
        DeviceFacts {
            kind: if gpu.is_some() { "cuda" } else { "cpu" }.into(),
            name: gpu.map_or_else(processor, |gpu| gpu.name.clone()),
            threads: rayon::current_num_threads(),
            compute_capability: gpu.map(|gpu| format!("{}.{}", gpu.capability.0, gpu.capability.1)),
            driver: gpu.map(|gpu| gpu.driver),
            memory_bytes: gpu.map(|gpu| gpu.memory_bytes),
        }
    }
}

/// The processor's name, where the system tells it.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    model.and_then(|rest| rest.split_once(':')).map_or("cpu", |(_, name)| name.trim()).to_string()
}

impl Report {
    pub(super) fn new(device: &Device, options: &super::Options, limits: Limits, cases: Vec<CaseReport>) -> Report {
        let given = std::env::var("WAATA_REVISION").ok().filter(|r| !r.is_empty());
        Report {
            schema_version: 1,
            version: env!("CARGO_PKG_VERSION").into(),
            revision: given.or_else(|| options.revision.clone()),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            device: DeviceFacts::of(device),
            sizes: options.sizes.clone(),
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

/// Title and rows of the table, 80 columns.
pub fn title() -> String {
    format!("{:<35}{:>10}{:>10}{:>7}{:>6}{:>7}{:>5}", "case", "ms", "best", "spread", "GB/s", "GFLOP", "of")
}

pub fn row(case: &CaseReport) -> String {
    let (name, t) = (&case.name, &case.timing);
    let (gb, gflop) = (case.gb_per_s, case.gflop_per_s);
    let (spread, share) = (t.spread * 100.0, case.share_of_limit * 100.0);
    format!("{name:<35}{:>10.3}{:>10.3}{spread:>6.1}%{gb:>6.1}{gflop:>7.1}{share:>4.0}%", t.ms, t.min_ms)
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
    let change = |case: &CaseReport| {
        let ms = case.timing.ms;
        let baseline_ms = baseline.cases.iter().find(|b| b.name == case.name).map(|b| b.timing.ms);
        Change { name: case.name.clone(), ms, baseline_ms, change: baseline_ms.map(|before| ms / before - 1.0) }
    };
    Ok(report.cases.iter().map(change).collect())
}
