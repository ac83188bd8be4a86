//! What the operating system says of this process. All of it is Linux's; elsewhere nothing is known.

use std::fs;
use std::path::Path;

/// Bytes of this process that are in memory; none where the system does not say.
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
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
        assert!(resident() != Some(0));
    }
}
