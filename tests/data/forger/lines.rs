//! Lines of raw files, written fast: hundreds of millions of them go through here.

use waata_data::synth::Draws;

use super::words::LETTERS;

/// One malformed line follows this many others, so that they stay below a line in a thousand.
const BROKEN_EVERY: u64 = 1_500;

/// Text, and how many lines it is.
#[derive(Default)]
pub struct Lines {
    pub bytes: Vec<u8>,
    /// With malformed ones.
    pub lines: u64,
    pub malformed: u64,
}

impl Lines {
    #[inline]
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    #[inline]
    pub fn number(&mut self, mut value: u64) -> &mut Self {
        let (mut digits, mut at) = ([0; 20], 20);
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(&digits[at..]);
        self
    }

    /// Tenths as a decimal number, such as 12.5.
    #[inline]
    pub fn tenths(&mut self, value: u64) -> &mut Self {
        self.number(value / 10);
        self.bytes.extend_from_slice(&[b'.', b'0' + (value % 10) as u8]);
        self
    }

    /// Seconds since 1970 as 2019-05-20 16:06:48.
    #[inline]
    pub fn date(&mut self, seconds: u64) -> &mut Self {
        let (days, clock) = (seconds / 86_400, seconds % 86_400);
        // Years begin in March, so that the day that a leap year adds comes last; 400 years are an era.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + (month <= 2) as u64;
        let mut out = *b"0000-00-00 00:00:00";
        let parts = [year / 100, year % 100, month, day, clock / 3_600, clock / 60 % 60, clock % 60];
        for (at, value) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
            out[at] += (value / 10) as u8;
            out[at + 1] += (value % 10) as u8;
        }
        self.bytes.extend_from_slice(&out);
        self
    }

    /// Any `count` letters.
    pub fn letters(&mut self, count: usize, draws: &mut Draws) -> &mut Self {
        let mut left = count;
        while left > 0 {
            for mut bits in draws.bits() {
                for _ in 0..left.min(5) {
                    self.letter(bits as usize);
                    bits >>= 6;
                }
                left -= left.min(5);
            }
        }
        self
    }

    /// The letter of a number, which counts modulo 64.
    pub fn letter(&mut self, number: usize) {
        self.bytes.extend_from_slice(&LETTERS.as_bytes()[number % 64 * 3..][..3]);
    }

    /// Ends a line. Often enough `broken`, a malformed line, follows.
    #[inline]
    pub fn end(&mut self, broken: &str) {
        self.bytes.push(b'\n');
        self.lines += 1;
        if (self.lines - self.malformed).is_multiple_of(BROKEN_EVERY) {
            self.broken(broken);
        }
    }

    /// A malformed line.
    pub fn broken(&mut self, line: &str) {
        self.text(line).text("\n");
        self.lines += 1;
        self.malformed += 1;
    }
}
