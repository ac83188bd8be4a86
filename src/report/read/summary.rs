//! summary.csv: which differences hold beyond chance.

use super::sheet::Sheet;
use base::Result;

/// A model's metric against that of a baseline, tested over the learners.
#[derive(Clone, Debug)]
pub struct Test {
    pub model: String,
    pub optimizer: String,
    pub weighting: String,
    pub metric: String,
    /// The baseline's MODEL-OPTIMIZER-WEIGHTING.
    pub baseline: String,
    /// Mean over learners of model minus baseline, with its interval of 95 %.
    pub difference: f64,
    pub interval: Option<(f64, f64)>,
    /// The p-value alone, and corrected for the number of tests.
    pub p: Option<f64>,
    pub p_holm: Option<f64>,
}

impl Test {
    /// The corrected p-value, else the plain one.
    pub fn decisive(&self) -> Option<f64> {
        self.p_holm.or(self.p)
    }
}

/// Rows that have no difference (the baseline itself, a model without this metric) are left out.
pub fn read(sheet: &Sheet) -> Result<Vec<Test>> {
    let [model, optimizer, weighting, metric] =
        ["model", "optimizer", "weighting", "metric"].map(|name| sheet.need(name));
    let (model, optimizer, weighting, metric) = (model?, optimizer?, weighting?, metric?);
    let column = |name: &str| sheet.column(name);
    let (baseline, difference) = (column("baseline"), column("difference"));
    let (low, high) = (column("low"), column("high"));
    let (p, p_holm) = (column("p"), column("p_holm"));
    let mut tests = vec![];
    for row in sheet.rows() {
        let number = |column: Option<usize>| column.map_or(Ok(None), |i| row.number(i));
        let Some(difference) = number(difference)? else { continue };
        tests.push(Test {
            model: row.text(model).into(),
            optimizer: row.text(optimizer).into(),
            weighting: row.text(weighting).into(),
            metric: row.text(metric).into(),
            baseline: baseline.map_or("", |i| row.text(i)).into(),
            difference,
            interval: number(low)?.zip(number(high)?),
            p: number(p)?,
            p_holm: number(p_holm)?,
        });
    }
    Ok(tests)
}
