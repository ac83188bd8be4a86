//! The figures: grouped bars and curves as SVG that follows the page's light or dark, names itself to screen readers
//! and shows each value under the pointer.

use maud::{Markup, PreEscaped, html};

use super::field::{Role, Stat};
use super::names;

/// Colors, strokes and type of all figures, for a light and a dark page. The page has it once; a file of its own brings
/// it along. The colors can be told apart by color-blind readers (Okabe and Ito, without the yellow that white paper
/// swallows), and neighboring curves differ in their dashes too.
pub const STYLE: &str = include_str!("chart.css");

/// Colors and dash patterns of curves. The two counts are coprime: 28 combinations.
const COLORS: usize = 7;
const DASHES: usize = 4;

/// Width of every figure in its own units, about that of a phone.
const WIDTH: f64 = 420.0;
const LINE: f64 = 17.0;

pub struct Figure {
    /// File name without extension, unique in a report.
    pub id: String,
    pub title: String,
    pub caption: String,
    /// The numbers in words, for screen readers.
    description: String,
    height: f64,
    body: Markup,
}

impl Figure {
    fn svg(&self, namespace: Option<&str>) -> Markup {
        let (width, height) = (WIDTH, round(self.height));
        html! {
            svg xmlns=[namespace] class="plot" role="img" viewBox={ "0 0 " (width) " " (height) }
                width=(width) height=(height) aria-labelledby={ (self.id) "-title " (self.id) "-desc" } {
                title id={ (self.id) "-title" } { (self.title) }
                desc id={ (self.id) "-desc" } { (self.description) }
                @if namespace.is_some() {
                    style { (PreEscaped(STYLE)) }
                    rect class="paper" width=(width) height=(height) {}
                }
                (self.body)
            }
        }
    }

    /// For a page that has [`STYLE`].
    pub fn inline(&self) -> Markup {
        self.svg(None)
    }

    /// For a file of its own.
    pub fn standalone(&self) -> String {
        printable(self.svg(Some("http://www.w3.org/2000/svg")))
    }
}

/// Markup as text, without the control characters that XML does not allow.
pub fn printable(markup: Markup) -> String {
    let bad = |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    markup.into_string().replace(bad, "\u{fffd}")
}

impl Role {
    fn class(self) -> &'static str {
        match self {
            Role::Own => "own",
            Role::Best => "best",
            Role::Other => "other",
        }
    }
}

/// The bars of one model, one per series.
pub struct Group {
    pub label: String,
    pub role: Role,
    pub bars: Vec<Option<Stat>>,
}

pub struct Curve {
    pub label: String,
    pub role: Role,
    /// By epoch, ascending and finite.
    pub points: Vec<(u64, Stat)>,
}

/// Grouped horizontal bars with error bars and their values; the series are steps of one scale, from light to dark.
pub fn bars(id: String, title: String, series: &[String], groups: &[Group]) -> Figure {
    const BAR: f64 = 11.0;
    const GAP: f64 = 9.0;
    let ends = groups.iter().flat_map(|g| g.bars.iter().flatten()).flat_map(Stat::range);
    let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    let high = if low == high { low + 1.0 } else { high };
    let left = groups.iter().map(|g| text_width(&short(&g.label))).fold(52.0, f64::max) + 10.0;
    let x = |value: f64| left + (WIDTH - 46.0 - left) * (value - low) / (high - low);
    let height = series.len() as f64 * BAR + GAP;
    let opacity = |i: usize| round(1.0 - 0.65 * (series.len() - 1 - i) as f64 / series.len() as f64);
    let bar = |group: &Group, i: usize, top: f64| {
        let y = top + i as f64 * BAR;
        let Some(stat) = &group.bars[i] else { return text("tick", x(0.0) + 4.0, y + 9.0, "start", "–") };
        let (from, to) = (x(stat.mean.min(0.0)), x(stat.mean.max(0.0)));
        let [low, high] = stat.range().map(x);
        let middle = y + BAR / 2.0 - 0.5;
        html! {
            rect class={ "fill " (group.role.class()) } fill-opacity=(opacity(i)) x=(round(from)) y=(round(y))
                width=(round(to - from)) height=(BAR - 1.0) { title { (group.label) ", " (series[i]) ": " (stat) } }
            @if high > low {
                (line("error", (low, middle), (high, middle)))
                @for end in [low, high] { (line("error", (end, middle - 2.5), (end, middle + 2.5))) }
            }
            (text("value", high.max(to) + 4.0, y + 8.5, "start", &names::number(stat.mean)))
        }
    };
    let legend = |i: usize, x: f64, y: f64| {
        html! { rect class="fill own" fill-opacity=(opacity(i)) x=(x) y=(y + 2.0) width="20" height="10" {} }
    };
    let bottom = 4.0 + groups.len() as f64 * height;
    let (legend, end) = self::legend(bottom + 6.0, series, legend);
    let body = html! {
        @for (i, group) in groups.iter().enumerate() {
            @let top = 4.0 + GAP / 2.0 + i as f64 * height;
            @let class = if group.role == Role::Other { "label" } else { "label strong" };
            (text(class, left - 6.0, top + (height - GAP) / 2.0 + 4.0, "end", &short(&group.label)))
            @for i in 0..series.len() { (bar(group, i, top)) }
        }
        (line("axis", (x(0.0), 4.0), (x(0.0), bottom)))
        (legend)
    };
    let values = |g: &Group| {
        let value = |bar: &Option<Stat>| bar.map_or("no value".into(), |stat| names::number(stat.mean));
        format!("{}: {}", g.label, g.bars.iter().map(value).collect::<Vec<_>>().join(", "))
    };
    let values: Vec<String> = groups.iter().map(values).collect();
    let description = format!("{} of each model. {}.", series.join(", "), values.join("; "));
    let caption = format!("{title}. Error bars: one standard deviation over seeds.");
    Figure { id, title, caption, description, height: end, body }
}

/// Curves over epochs with bands of one standard deviation. More curves than colors are gray but for those that stand
/// out. None without any point.
pub fn lines(id: String, title: String, y: &str, mut curves: Vec<Curve>) -> Option<Figure> {
    const TOP: f64 = 24.0;
    const BOTTOM: f64 = 210.0;
    curves.retain(|curve| !curve.points.is_empty());
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (first, last) = (points().map(|(x, _)| *x).min()?, points().map(|(x, _)| *x).max()?);
    let last = last.max(first + 1);
    let range = |(low, high): (f64, f64), v: f64| (low.min(v), high.max(v));
    let (low, high) = points().flat_map(|(_, s)| s.range()).fold((f64::INFINITY, f64::NEG_INFINITY), range);
    let scale = Scale::covering(low, high);
    let left = scale.ticks.iter().map(|(_, label)| text_width(label)).fold(0.0, f64::max) + 8.0;
    let right = WIDTH - 14.0;
    let x = |epoch: u64| left + (right - left) * (epoch - first) as f64 / (last - first) as f64;
    let y_of = |value: f64| BOTTOM - (BOTTOM - TOP) * (value - scale.low) / (scale.high - scale.low);
    let many = curves.len() > COLORS;
    let class = |i: usize, role: Role| match many {
        true => role.class().to_string(),
        false => format!("c{} d{}", i % COLORS, i % DASHES),
    };
    let path = |points: &mut dyn Iterator<Item = (f64, f64)>| {
        points.map(|(x, y)| format!("{} {}", round(x), round(y))).collect::<Vec<_>>().join("L")
    };
    let curve = |i: usize, curve: &Curve| {
        let class = class(i, curve.role);
        let at = |side: usize| move |(epoch, stat): &(u64, Stat)| (x(*epoch), y_of(stat.range()[side]));
        let band = curve.points.iter().map(at(1)).chain(curve.points.iter().rev().map(at(0)));
        let mean = curve.points.iter().map(|(epoch, stat)| (x(*epoch), y_of(stat.mean)));
        html! {
            @if let [(epoch, stat)] = curve.points[..] {
                circle class={ "fill " (class) } cx=(round(x(epoch))) cy=(round(y_of(stat.mean))) r="4" {
                    title { (curve.label) ": " (stat) }
                }
            } @else {
                @if (!many || curve.role != Role::Other) && curve.points.iter().any(|(_, s)| s.sd.is_some()) {
                    path class={ "band " (class) } d={ "M" (path(&mut { band })) "Z" } {}
                }
                path class={ "curve " (class) } d={ "M" (path(&mut { mean })) } { title { (curve.label) } }
            }
        }
    };
    // The ones that stand out are drawn last, above the others.
    let mut order: Vec<usize> = (0..curves.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(curves[i].role as usize));
    let mut entries: Vec<(String, String)> = vec![];
    for (i, c) in curves.iter().enumerate() {
        let class = class(i, c.role);
        let label = if many && c.role == Role::Other { "others".into() } else { short(&c.label) };
        if !entries.iter().any(|(known, _)| many && *known == class) {
            entries.push((class, label));
        }
    }
    let labels: Vec<String> = entries.iter().map(|(_, label)| label.clone()).collect();
    let sample = |i: usize, x: f64, y: f64| {
        line(&format!("curve {}", entries[i].0), (x, y + LINE / 2.0 - 1.0), (x + 20.0, y + LINE / 2.0 - 1.0))
    };
    let (legend, height) = self::legend(BOTTOM + 42.0, &labels, sample);
    let mut steps = (0..18).map(|i| [1, 2, 5][i % 3] * 10u64.pow(i as u32 / 3));
    let step = steps.find(|step| (last - first) / step < 8).unwrap_or(1);
    let body = html! {
        @for (value, label) in &scale.ticks {
            (line("grid", (left, y_of(*value)), (right, y_of(*value))))
            (text("tick", left - 5.0, y_of(*value) + 4.0, "end", label))
        }
        @for epoch in (first..=last).filter(|epoch| epoch % step == 0) {
            (text("tick", x(epoch), BOTTOM + 15.0, "middle", &epoch.to_string()))
        }
        (line("axis", (left, BOTTOM), (right, BOTTOM)))
        (text("tick", 4.0, 13.0, "start", y))
        (text("tick", (left + right) / 2.0, BOTTOM + 31.0, "middle", "epoch"))
        @for i in order { (curve(i, &curves[i])) }
        (legend)
    };
    let ends = |c: &Curve| {
        let ((first, from), (last, to)) = (c.points[0], c.points[c.points.len() - 1]);
        let from = format!("{} at epoch {first}", names::number(from.mean));
        format!("{}: {from}, {} at epoch {last}", c.label, names::number(to.mean))
    };
    let ends: Vec<String> = curves.iter().map(ends).collect();
    let description = format!("{y} by epoch. {}.", ends.join("; "));
    let caption = format!("{title}. Mean over the seeds that reached the epoch; band: one standard deviation.");
    Some(Figure { id, title, caption, description, height, body })
}

/// Rounds to two decimals, without negative zero.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0 + 0.0
}

/// A label of a length that fits any figure.
fn short(label: &str) -> String {
    match label.char_indices().nth(24) {
        Some((end, _)) => format!("{}…", &label[..end]),
        None => label.into(),
    }
}

/// An upper estimate of a label's width: fonts differ.
fn text_width(text: &str) -> f64 {
    8.4 * text.chars().count() as f64
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Markup {
    html! { line class=(class) x1=(round(x1)) y1=(round(y1)) x2=(round(x2)) y2=(round(y2)) {} }
}

fn text(class: &str, x: f64, y: f64, anchor: &str, text: &str) -> Markup {
    html! { text class=(class) x=(round(x)) y=(round(y)) text-anchor=(anchor) { (text) } }
}

/// A legend in as many rows as it needs below `top`, with a sample before each label. Returns its lower end too.
fn legend(top: f64, labels: &[String], sample: impl Fn(usize, f64, f64) -> Markup) -> (Markup, f64) {
    let (mut x, mut y) = (8.0, top);
    let mut places = vec![];
    for label in labels {
        let width = 26.0 + text_width(label) + 10.0;
        if x > 8.0 && x + width > WIDTH {
            (x, y) = (8.0, y + LINE);
        }
        places.push((x, y));
        x += width;
    }
    let markup = html! {
        @for (i, (x, y)) in places.iter().enumerate() {
            (sample(i, *x, *y))
            (text("label", x + 26.0, y + 11.5, "start", &labels[i]))
        }
    };
    (markup, y + LINE + 4.0)
}

/// An axis that begins and ends at a tick.
#[derive(Debug)]
struct Scale {
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Covers `low..=high` by some five steps of 1, 2 or 5 times a power of ten. A range of no width is widened.
    fn covering(low: f64, high: f64) -> Scale {
        let size = low.abs().max(high.abs());
        let pad = if high - low > 1e-9 * size { 0.0 } else { 0.1 * size.max(1e-3) };
        let (low, high) = (low - pad, high + pad);
        let rough = (high - low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= rough * (1.0 - 1e-9));
        let step = step.unwrap_or(10.0 * power);
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        let decimals = (-(step * (1.0 + 1e-9)).log10().floor()).clamp(0.0, 6.0) as usize;
        let label = |value: f64| match size >= 1e6 || step < 1e-6 {
            true => format!("{value:.1e}"),
            false => format!("{value:.decimals$}"),
        };
        let ticks = (0..=(last - first) as usize).map(|i| (first + i as f64) * step + 0.0);
        Scale { low: first * step, high: last * step, ticks: ticks.map(|value| (value, label(value))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        let labels = |low, high| -> Vec<String> {
            Scale::covering(low, high).ticks.into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(0.0, 0.31), ["0.0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(labels(-0.013, 0.021), ["-0.02", "-0.01", "0.00", "0.01", "0.02", "0.03"]);
        assert_eq!(labels(3.0, 47.0), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(labels(0.0, 3e7), ["0.0e0", "1.0e7", "2.0e7", "3.0e7"]);
        for (low, high) in [(0.0, 0.0), (0.2, 0.2), (-4.0, -4.0), (1.0, 1.0 + 1e-15), (1e-300, 2e-300), (-1e12, 3e15)] {
            let scale = Scale::covering(low, high);
            assert!(scale.low < scale.high && (2..=13).contains(&scale.ticks.len()), "{low} {high}: {scale:?}");
            assert!(scale.low <= low && scale.high >= high * (1.0 - 1e-12), "{scale:?}");
        }
    }

    #[test]
    fn text_cannot_leave_its_place() {
        let markup = text("a\"b", -0.001, 12.504, "end", "<b> & \u{0}");
        let expected =
            "<text class=\"a&quot;b\" x=\"0\" y=\"12.5\" text-anchor=\"end\">&lt;b&gt; &amp; \u{fffd}</text>";
        assert_eq!(printable(markup), expected);
    }
}
