//! `waata doctor`

use serde::Serialize;

use super::{print_json, show};
use waata::Result;
use waata::engine::device::{DRIVERS, kernels, probe};

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    version: &'static str,
    /// What `--device auto` takes: "cpu" or "cuda".
    choice: &'static str,
    why: String,
    driver: Option<i32>,
    /// Wrappers of the CUDA driver that WAATA_DRIVER may name.
    drivers: &'static [&'static str],
    devices: Vec<DeviceReport>,
    kernels: KernelReport,
    cpu: CpuReport,
}

#[derive(Serialize)]
struct DeviceReport {
    name: String,
    compute_capability: String,
    memory_bytes: u64,
}

#[derive(Serialize)]
struct KernelReport {
    compiled: bool,
    compiler: Option<&'static str>,
    count: usize,
    architectures: Vec<&'static str>,
}

#[derive(Serialize)]
struct CpuReport {
    threads: usize,
    features: Vec<&'static str>,
}

pub fn run(args: Args) -> Result<()> {
    let found = probe();
    let compiled = kernels::FATBINS.is_some();
    let report = Report {
        schema_version: 1,
        version: env!("CARGO_PKG_VERSION"),
        choice: if found.usable { "cuda" } else { "cpu" },
        why: found.why,
        driver: found.devices.first().map(|d| d.driver),
        drivers: DRIVERS,
        devices: (found.devices.iter())
            .map(|d| DeviceReport {
                name: d.name.clone(),
                compute_capability: format!("{}.{}", d.capability.0, d.capability.1),
                memory_bytes: d.memory_bytes,
            })
            .collect(),
        kernels: KernelReport {
            compiled,
            compiler: kernels::NVCC,
            count: kernels::ALL.len(),
            architectures: if compiled { kernels::ARCHITECTURES.to_vec() } else { vec![] },
        },
        cpu: CpuReport { threads: rayon::current_num_threads(), features: cpu_features() },
    };
    if args.json {
        return print_json(&report);
    }
    let line = |name: &str, text: &str| show::line(&show::entry(name, 10, text));
    show::line(&format!("waata {}", *super::VERSION))?;
    line("device", &format!("{}: {}", report.choice, report.why))?;
    for d in &report.devices {
        let (capability, gib) = (&d.compute_capability, d.memory_bytes >> 30);
        line("", &format!("{}, compute capability {capability}, {gib} GiB", d.name))?;
    }
    if let Some(driver) = report.driver {
        line("driver", &format!("supports CUDA {}.{}", driver / 1000, driver % 1000 / 10))?;
    }
    if DRIVERS.len() > 1 {
        line("wrappers", &format!("{} (WAATA_DRIVER)", DRIVERS.join(", ")))?;
    }
    let count = report.kernels.count;
    line(
        "kernels",
        &match report.kernels.compiler {
            Some(nvcc) if compiled => {
                format!("{count} for {} ({nvcc})", report.kernels.architectures.join(", "))
            }
            _ => format!("not in this build: run scripts/install-nvcc.sh and build again ({count} in the source)"),
        },
    )?;
    let threads = report.cpu.threads;
    line(
        "cpu",
        &match &report.cpu.features[..] {
            [] => format!("{threads} threads"),
            features => format!("{threads} threads, {}", features.join(", ")),
        },
    )
}

fn cpu_features() -> Vec<&'static str> {
    #[allow(unused_mut)]
    let mut features = vec![];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            features.extend(["avx2", "fma"]);
        }
        if is_x86_feature_detected!("avx512f") {
            features.push("avx512f");
        }
    }
    features
}
