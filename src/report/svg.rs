//! SVG images: elements, escaping, scales with round ticks, and the style that all plots share.
//!
//! Plots are a few rectangles, lines and words, so they are written here; a plotting crate would bring font handling,
//! fixed colours instead of the reader's light or dark, and no accessible text.

use std::fmt::Write;

/// Colours, strokes and type of every plot, by class, for a light and a dark page. The page has it once; a file of its
/// own carries it along. The seven colours of curves are told apart by colour-blind readers (Okabe and Ito, without the
/// yellow that white paper swallows), and neighbours differ in their dashes too.
pub const STYLE: &str = include_str!("plot.css");

/// Colours of curves, and patterns of their dashes. The two counts share no divisor: 28 pairs.
pub const COLOURS: usize = 7;
pub const DASHES: usize = 4;

/// Width of every plot in its own units; a phone shows them at about two thirds of a pixel.
pub const WIDTH: f64 = 520.0;

/// Height of a line of text.
pub const LINE: f64 = 18.0;

/// About how wide a text is: fonts differ, so layouts leave room.
pub fn text_width(text: &str) -> f64 {
    let width = |c: char| match c {
        'i' | 'l' | 'j' | 't' | 'f' | ' ' | '.' | ',' | ':' | '-' | '\'' | '|' => 5.5,
        'm' | 'w' | '@' | '%' | '+' | '=' | '±' => 11.5,
        c if c.is_uppercase() => 10.0,
        _ => 8.2,
    };
    text.chars().map(width).sum()
}

/// For XML text and attributes. Characters that XML 1.0 does not know become the replacement character.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if (c as u32) < 0x20 => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate: two decimals at most, no negative zero.
pub fn coordinate(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// The body of an image that grows by elements.
#[derive(Default)]
pub struct Canvas {
    body: String,
}

impl Canvas {
    fn open(&mut self, name: &str, class: &str, numbers: &[(&str, f64)]) {
        let _ = write!(self.body, "<{name} class=\"{class}\"");
        for (key, value) in numbers {
            let _ = write!(self.body, " {key}=\"{}\"", coordinate(*value));
        }
    }

    /// `tip` is what a pointer over the rectangle shows.
    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), tip: &str) {
        let numbers = [("x", x), ("y", y), ("width", width.max(0.0)), ("height", height.max(0.0))];
        self.open("rect", class, &numbers);
        match tip.is_empty() {
            true => self.body.push_str("/>\n"),
            false => _ = writeln!(self.body, "><title>{}</title></rect>", escape(tip)),
        }
    }

    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.open("line", class, &[("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)]);
        self.body.push_str("/>\n");
    }

    pub fn circle(&mut self, class: &str, (cx, cy): (f64, f64), radius: f64, tip: &str) {
        self.open("circle", class, &[("cx", cx), ("cy", cy), ("r", radius)]);
        let _ = writeln!(self.body, "><title>{}</title></circle>", escape(tip));
    }

    /// A line through points, or the outline of an area where `closed`.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)], closed: bool, tip: &str) {
        let mut d = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let _ = write!(d, "{}{} {}", if i == 0 { "M" } else { "L" }, coordinate(*x), coordinate(*y));
        }
        if closed {
            d.push('Z');
        }
        let _ =
            writeln!(self.body, "<path class=\"{class}\" d=\"{d}\"><title>{}</title></path>", escape(tip));
    }

    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.open("text", class, &[("x", x), ("y", y)]);
        let _ = writeln!(self.body, " text-anchor=\"{anchor}\">{}</text>", escape(text));
    }

    /// `id` is the figure's file name without its ending: unique in a page. `title` and `description` are what a
    /// screen reader says instead of the image.
    pub fn finish(self, id: &str, height: f64, title: &str, description: &str) -> Image {
        Image { id: id.into(), height, title: title.into(), description: description.into(), body: self.body }
    }
}

/// A finished plot.
#[derive(Clone, Debug)]
pub struct Image {
    pub id: String,
    pub title: String,
    description: String,
    height: f64,
    body: String,
}

impl Image {
    fn write(&self, style: &str, namespace: &str) -> String {
        let (id, width, height) = (escape(&self.id), coordinate(WIDTH), coordinate(self.height));
        format!(
            "<svg{namespace} class=\"plot\" role=\"img\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" aria-labelledby=\"{id}-title {id}-desc\">\n\
             <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n{style}{}</svg>\n",
            escape(&self.title),
            escape(&self.description),
            self.body
        )
    }

    /// For a page that has [`STYLE`].
    pub fn inline(&self) -> String {
        self.write("", "")
    }

    /// For a file of its own.
    pub fn standalone(&self) -> String {
        let style = format!(
            "<style>{STYLE}</style>\n<rect class=\"paper\" x=\"0\" y=\"0\" width=\"{}\" height=\"{}\"/>\n",
            coordinate(WIDTH),
            coordinate(self.height)
        );
        self.write(&style, " xmlns=\"http://www.w3.org/2000/svg\"")
    }
}

/// An axis: its range, which begins and ends at a tick, and the ticks with their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Covers `low..=high` with about `count` steps of 1, 2 or 5 times a power of ten. A range of no width is widened
    /// around its value; numbers that are not finite give 0..1.
    pub fn covering(low: f64, high: f64, count: usize) -> Scale {
        let (mut low, mut high) = if low <= high { (low, high) } else { (high, low) };
        if !(low.is_finite() && high.is_finite()) {
            (low, high) = (0.0, 1.0);
        }
        let size = low.abs().max(high.abs());
        if high - low <= 1e-9 * size || high == low {
            let pad = if size == 0.0 { 0.5 } else { 0.1 * size };
            (low, high) = (low - pad, high + pad);
        }
        let rough = (high - low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|m| m * power)
            .find(|step| *step >= rough * (1.0 - 1e-9))
            .unwrap_or(10.0 * power);
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil();
        let count = (last - first).round() as usize;
        // Decimals that tell two ticks apart.
        let decimals = (-(step * (1.0 + 1e-9)).log10().floor()).clamp(0.0, 12.0) as usize;
        let far = size >= 1e6 || step < 1e-6;
        let ticks: Vec<(f64, String)> = (0..=count)
            .map(|i| {
                let value = (first + i as f64) * step;
                let value = if value == 0.0 { 0.0 } else { value };
                let label = if far { format!("{value:e}") } else { format!("{value:.decimals$}") };
                (value, label)
            })
            .map(|(value, label)| (value, if far { round_exponent(value, label) } else { label }))
            .collect();
        let (low, high) = (first * step, last * step);
        Scale { low, high, ticks }
    }

    /// Whole numbers only, for epochs: steps of at least 1.
    pub fn counting(low: f64, high: f64, count: usize) -> Scale {
        let mut scale = Scale::covering(low, high.max(low + 1.0), count.min((high - low).max(1.0) as usize));
        scale.ticks.retain(|(value, _)| (value - value.round()).abs() < 1e-9);
        for (value, label) in &mut scale.ticks {
            *label = format!("{value:.0}");
        }
        (scale.low, scale.high) = (low, high.max(low + 1.0));
        scale.ticks.retain(|(value, _)| (low..=high.max(low + 1.0)).contains(value));
        scale
    }

    /// Where a value lies between the ends, 0..1.
    pub fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// Powers of ten without the digits of rounding: 3.0000000000000004e7 is 3e7.
fn round_exponent(value: f64, label: String) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let short = format!("{value:.3e}");
    match short.split_once('e') {
        Some((digits, exponent)) => {
            format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        None => label,
    }
}

/// A legend in as many rows as it needs, below `top`: for each entry a sample (drawn by `sample` at a corner) and its
/// label. Returns the height.
pub fn legend(
    canvas: &mut Canvas,
    top: f64,
    labels: &[String],
    mut sample: impl FnMut(&mut Canvas, usize, f64, f64),
) -> f64 {
    const SAMPLE: f64 = 30.0;
    let (mut x, mut y) = (8.0, top);
    for (i, label) in labels.iter().enumerate() {
        let width = SAMPLE + text_width(label) + 14.0;
        if x > 8.0 && x + width > WIDTH {
            (x, y) = (8.0, y + LINE);
        }
        sample(canvas, i, x, y);
        canvas.text("label", (x + SAMPLE, y + 12.0), Anchor::Start, label);
        x += width;
    }
    if labels.is_empty() { 0.0 } else { y + LINE - top }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        Scale::covering(low, high, 5).ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(0.0, 0.31), ["0.0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(labels(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(-0.013, 0.021), ["-0.02", "-0.01", "0.00", "0.01", "0.02", "0.03"]);
        assert_eq!(labels(3.0, 47.0), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(labels(0.0, 3e7), ["0", "1e7", "2e7", "3e7"]);
        assert_eq!(labels(0.0, 2.5e-8), ["0", "5e-9", "1e-8", "1.5e-8", "2e-8", "2.5e-8"]);
    }

    #[test]
    fn scales_cover_their_range_whatever_it_is() {
        let odd = [
            (0.0, 0.0),
            (0.2, 0.2),
            (-4.0, -4.0),
            (1.0, 1.0 + 1e-15),
            (5.0, 1.0),
            (f64::NAN, 1.0),
            (0.0, f64::INFINITY),
            (1e-300, 2e-300),
            (-1e12, 3e15),
        ];
        for (low, high) in odd {
            let scale = Scale::covering(low, high, 5);
            assert!(scale.low < scale.high, "{low} {high}: {scale:?}");
            assert!((2..=13).contains(&scale.ticks.len()), "{low} {high}: {scale:?}");
            if low.is_finite() && high.is_finite() {
                assert!(
                    scale.low <= low.min(high) && scale.high >= low.max(high) * (1.0 - 1e-12),
                    "{scale:?}"
                );
            }
            let places: Vec<f64> = scale.ticks.iter().map(|(v, _)| scale.place(*v)).collect();
            assert!(places.windows(2).all(|w| w[0] < w[1]), "{scale:?}");
        }
    }

    #[test]
    fn epochs_are_whole() {
        for (low, high) in [(1.0, 1.0), (1.0, 2.0), (1.0, 20.0), (1.0, 400.0), (7.0, 9.0)] {
            let scale = Scale::counting(low, high, 6);
            assert!(!scale.ticks.is_empty() && scale.ticks.len() <= 12, "{scale:?}");
            assert!(scale.ticks.iter().all(|(v, label)| label.parse::<u64>().unwrap() as f64 == *v));
            assert_eq!(scale.low, low);
        }
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(
            escape("a<b> & \"c\" 'd'\u{0}\u{1b}"),
            "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\u{fffd}\u{fffd}"
        );
        assert_eq!(coordinate(-0.001), "0");
        assert_eq!(coordinate(12.50), "12.5");
    }
}
