//! Output: results, progress and tables.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use waata::{Error, Result};

/// One line of results. A reader that went away (`| head`) is no error.
pub fn line(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("stdout", "writing")(e)),
        _ => Ok(()),
    }
}

/// A line on stderr, if anybody reads it.
pub fn stderr(text: std::fmt::Arguments) {
    _ = writeln!(std::io::stderr(), "{text}");
}

const WIDTH: usize = 80;

/// A name, and from column `indent` on a text in lines of at most 80 columns.
pub fn entry(name: &str, indent: usize, text: &str) -> String {
    let mut lines = format!("{name:<indent$}");
    let mut column = lines.chars().count();
    for (i, word) in text.split_whitespace().enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > WIDTH {
            lines += &format!("\n{:indent$}{word}", "");
            column = indent + width;
        } else {
            lines += &format!("{}{word}", if i > 0 { " " } else { "" });
            column += width + usize::from(i > 0);
        }
    }
    lines
}

/// Progress of something countable: a bar with ETA on a terminal, else a line every ten seconds.
pub struct Meter {
    bar: Option<ProgressBar>,
    what: String,
    /// How much was done at the first report, and when. The time left is estimated from there on: resumed work starts
    /// far along, and the first step is slower than the others.
    first: Option<(u64, Instant)>,
    said: Instant,
}

const QUIET: Duration = Duration::from_secs(10);

impl Meter {
    pub fn new(what: impl Into<String>, of: u64) -> Meter {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(of);
            let template = "{prefix:>12} [{bar:28}] {pos}/{len} {elapsed}<{eta} {msg}";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
            bar.set_prefix(what.clone());
            bar
        });
        Meter { bar, what, first: None, said: Instant::now() }
    }

    pub fn at(&mut self, done: u64, of: u64, message: impl FnOnce() -> String) {
        let begun = self.first.is_some();
        let (first, since) = *self.first.get_or_insert_with(|| (done, Instant::now()));
        match &self.bar {
            Some(bar) => {
                bar.set_length(of);
                bar.set_position(done);
                if !begun {
                    bar.reset_eta();
                }
                bar.set_message(message());
            }
            None if self.said.elapsed() >= QUIET => {
                self.said = Instant::now();
                let per_unit = since.elapsed().as_secs_f64() / done.saturating_sub(first) as f64;
                let left = match per_unit.is_finite() {
                    true => format!(", about {:.0} s left", per_unit * of.saturating_sub(done) as f64),
                    false => String::new(),
                };
                eprintln!("{}: {done} of {of}{left} {}", self.what, message());
            }
            None => {}
        }
    }

    /// A line above the bar.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Metrics as a table: one row per cut-off, then one per task.
pub fn metrics(metrics: &BTreeMap<String, f64>) -> String {
    let names = ["recall", "ndcg", "hr", "mrr", "coverage", "popularity"];
    let mut cutoffs: Vec<usize> = metrics.keys().filter_map(|k| k.strip_prefix("recall@")?.parse().ok()).collect();
    cutoffs.sort_unstable();
    let value = |name: &str| metrics.get(name).map_or("-".to_string(), |value| format!("{value:.4}"));
    let mut text = format!("{:>6}", "K");
    names.iter().for_each(|n| text += &format!("{n:>11}"));
    for k in cutoffs {
        text += &format!("\n{k:>6}");
        names.iter().for_each(|n| text += &format!("{:>11}", value(&format!("{n}@{k}"))));
    }
    for task in metrics.keys().filter_map(|name| name.strip_prefix("logloss/")) {
        let auc = value(&format!("auc/{task}"));
        text += &format!("\n  {task:<20} AUC {auc}  log-loss {}", value(&format!("logloss/{task}")));
    }
    text
}
