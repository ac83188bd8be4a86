//! Times of enrolments: numbers of any unit, or ISO 8601 dates.

/// How the times of a file are written; one file uses one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeKind {
    Number,
    Date,
}

/// A finite number as it stands, or `YYYY-MM-DD[(T| )HH:MM[:SS[.fraction]]][Z|(+|-)HH:MM]` as seconds since 1970
/// (UTC where no offset is given). None when it is neither.
pub(crate) fn parse_time(text: &str) -> Option<(f64, TimeKind)> {
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some((number, TimeKind::Number));
    }
    parse_iso(text).map(|t| (t, TimeKind::Date))
}

fn parse_iso(text: &str) -> Option<f64> {
    let (date, rest) = text.split_at_checked(10)?;
    let [y, m, d] = numbers(date, '-', [4, 2, 2])?;
    let leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let days_in_month = match m {
        2 => 28 + leap as i64,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if d == 0 || d > days_in_month {
        return None;
    }
    let midnight = days_since_1970(y, m, d) as f64 * 86_400.0;
    if rest.is_empty() {
        return Some(midnight);
    }
    let clock = rest.strip_prefix(['T', ' '])?;
    let (clock, offset) = clock.split_at(clock.find(['Z', '+', '-']).unwrap_or(clock.len()));
    let offset = match offset.split_at_checked(1) {
        None | Some(("Z", "")) => 0,
        Some((sign, offset)) => {
            let [h, m] = numbers(offset, ':', [2, 2])?;
            if sign == "+" { h * 3600 + m * 60 } else { -(h * 3600 + m * 60) }
        }
    };
    let (clock, fraction) = match clock.split_once('.') {
        None => (clock, 0.0),
        Some((c, f)) if !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()) => (c, format!("0.{f}").parse().ok()?),
        Some(_) => return None,
    };
    let [h, min, s] = match clock.len() {
        5 => numbers(clock, ':', [2, 2]).map(|[h, m]| [h, m, 0])?,
        _ => numbers(clock, ':', [2, 2, 2])?,
    };
    (h < 24 && min < 60 && s <= 60).then(|| midnight + (h * 3600 + min * 60 + s) as f64 + fraction - offset as f64)
}

/// N numbers of exactly the given widths.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut out = [0; N];
    for (value, width) in out.iter_mut().zip(widths) {
        let part = parts.next().filter(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_digit()))?;
        *value = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Days of the proleptic Gregorian calendar, counted in 400-year eras of years that start in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - (month <= 2) as i64;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates() {
        let at = |s| parse_time(s).map(|(t, _)| t);
        assert_eq!(at("-68.0"), Some(-68.0));
        assert_eq!(at("1970-01-01"), Some(0.0));
        assert_eq!(at("2000-03-01"), Some(951_868_800.0));
        assert_eq!(at("2019-05-20 16:06:48"), Some(1_558_368_408.0));
        assert_eq!(at("2019-05-20T16:06:48.5Z"), Some(1_558_368_408.5));
        assert_eq!(at("2019-05-20T18:06+02:00"), Some(1_558_368_360.0));
        assert_eq!(at("2019-05-20T14:06-02:00"), Some(1_558_368_360.0));
        for bad in [
            "",
            "NaN",
            "inf",
            "2019-02-29",
            "2019-13-01",
            "2019-05-20x",
            "20.5.2019",
            "2019-05-20T25:00",
            "2019-05-20T12:00+",
            "2019-05-20T12:00ZZ",
            "2019-05-20T12:00Zé",
            "日本語のテキスト",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
