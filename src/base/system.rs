//! What the operating system says of this process and its memory. All of it is Linux's; elsewhere nothing is known.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of this process that are resident, the most that were, and those of them that lie in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    pub now: u64,
    pub peak: u64,
    pub files: u64,
}

/// None where the system does not say.
pub fn resident() -> Option<Resident> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |key: &str| kibibytes(&status, key);
    Some(Resident { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")?, files: bytes("RssFile:").unwrap_or(0) })
}

/// Bytes that this process may come to hold: what it holds and what is available, or the limit of its control group where
/// that is less.
pub fn available() -> Option<u64> {
    let free = kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let own = resident()?.now;
    Some(groups().into_iter().filter_map(limit).fold(free + own, u64::min))
}

/// Whether a process is there; none where the system does not say.
pub fn is_running(process: u32) -> Option<bool> {
    Path::new("/proc/self").exists().then(|| Path::new("/proc").join(process.to_string()).exists())
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

/// Bytes as written: a number, alone or with K, M or G (of 1024, with or without `iB`). Err: why it is none.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        other => return Err(format!("`{other}` is no unit: use K, M or G")),
    };
    let number: f64 = digits.trim().parse().map_err(|_| format!("`{digits}` is no number"))?;
    match number.is_finite() && number >= 0.0 {
        true => Ok((number * f64::from(unit)) as u64),
        false => Err("must not be negative".into()),
    }
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// The folders of the process's control groups of memory, and of those around them.
fn groups() -> Vec<PathBuf> {
    let mut all = vec![];
    for line in fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(path)) = (fields.next(), fields.next()) else { continue };
        let root = match kinds {
            "" => PathBuf::from("/sys/fs/cgroup"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => "/sys/fs/cgroup/memory".into(),
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        // In a container the path may be that of the host: then the root is the group.
        all.extend(own.ancestors().take_while(|folder| folder.starts_with(&root)).map(PathBuf::from));
    }
    all
}

fn limit(group: PathBuf) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok();
    read("memory.max").or_else(|| read("memory.limit_in_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert_eq!(parse_size(" 1.5 m"), Ok(3 << 19));
        assert_eq!(parse_size("10"), Ok(10));
        for bad in ["", "G", "2T", "-1K", "1e999", "nan"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!((size(3 << 19), size(5 << 29)), ("1.5 MiB".into(), "2.50 GiB".into()));
    }

    #[test]
    fn this_process_is_running() {
        assert!(is_running(std::process::id()) != Some(false));
        assert!(resident().is_none_or(|own| 0 < own.now && own.now <= own.peak));
        assert!(available() != Some(0));
    }
}
