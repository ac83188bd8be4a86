//! Grouped horizontal bars with error bars: a group per model, whose name has room whatever its length.

use super::svg::{self, Anchor, COLOURS, Canvas, Image, LINE, Scale, WIDTH};

pub struct Bar {
    pub value: f64,
    /// Half the length of the error bar, in units of the value.
    pub error: Option<f64>,
}

pub struct Group {
    pub label: String,
    /// The one that the comparison is about.
    pub strong: bool,
    /// One per series; none where there is no value.
    pub bars: Vec<Option<Bar>>,
}

pub struct Bars {
    /// File name without its ending.
    pub id: String,
    pub title: String,
    pub description: String,
    pub axis: String,
    /// What the bars of a group are, from top to bottom.
    pub series: Vec<String>,
    pub groups: Vec<Group>,
}

const BAR: f64 = 10.0;
const GAP: f64 = 10.0;
const TOP: f64 = 8.0;

impl Bars {
    /// Shades of one colour, from light to dark, for up to three series that are steps of one scale, as cut-offs are.
    fn class(&self, series: usize) -> String {
        match self.series.len() {
            1 => "fill k1".into(),
            2 | 3 => format!("fill k{series}"),
            _ => format!("fill c{}", series % COLOURS),
        }
    }

    pub fn draw(&self) -> Image {
        let mut canvas = Canvas::default();
        let bold = |g: &Group| if g.strong { 1.2 } else { 1.0 };
        let longest = self.groups.iter().map(|g| bold(g) * svg::text_width(&g.label)).fold(0.0, f64::max);
        let left = (longest + 14.0).clamp(60.0, 0.45 * WIDTH);
        let right = WIDTH - 14.0;
        let ends = self.groups.iter().flat_map(|g| g.bars.iter().flatten()).flat_map(|bar| {
            let error = bar.error.unwrap_or(0.0);
            [bar.value - error, bar.value + error]
        });
        let (low, high) =
            ends.filter(|v| v.is_finite()).fold((0.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        let scale = match low == high {
            true => Scale::covering(0.0, 1.0, 5),
            false => Scale::covering(low, high, 5),
        };
        let x = |value: f64| left + (right - left) * scale.place(value);
        let height = self.series.len().max(1) as f64 * BAR;
        let bottom = TOP + self.groups.len() as f64 * (height + GAP);
        for (value, label) in &scale.ticks {
            canvas.line("grid", (x(*value), TOP), (x(*value), bottom));
            canvas.text("tick", (x(*value), bottom + 15.0), Anchor::Middle, label);
        }
        for (i, group) in self.groups.iter().enumerate() {
            let top = TOP + GAP / 2.0 + i as f64 * (height + GAP);
            let class = if group.strong { "label strong" } else { "label" };
            canvas.text(class, (left - 8.0, top + height / 2.0 + 4.5), Anchor::End, &group.label);
            for (series, bar) in group.bars.iter().enumerate() {
                let y = top + series as f64 * BAR;
                let name = self.series.get(series).map_or("", String::as_str);
                let Some(bar) = bar.as_ref().filter(|bar| bar.value.is_finite()) else {
                    canvas.text("tick", (x(0.0) + 4.0, y + BAR - 1.0), Anchor::Start, "no value");
                    continue;
                };
                let (from, to) = (x(bar.value.min(0.0)), x(bar.value.max(0.0)));
                let spread = bar.error.map_or(String::new(), |e| format!(" ± {e:.4}"));
                let tip = format!("{}, {name}: {:.4}{spread}", group.label, bar.value);
                canvas.rect(&self.class(series), (from, y), (to - from, BAR - 1.5), &tip);
                if let Some(error) = bar.error.filter(|e| *e > 0.0 && e.is_finite()) {
                    let (a, b, middle) = (x(bar.value - error), x(bar.value + error), y + (BAR - 1.5) / 2.0);
                    canvas.line("error", (a, middle), (b, middle));
                    for end in [a, b] {
                        canvas.line("error", (end, middle - 3.0), (end, middle + 3.0));
                    }
                }
            }
        }
        canvas.line("axis", (x(0.0), TOP), (x(0.0), bottom));
        canvas.text("label soft", ((left + right) / 2.0, bottom + 33.0), Anchor::Middle, &self.axis);
        let mut end = bottom + 42.0;
        if self.series.len() > 1 {
            end += svg::legend(&mut canvas, end, &self.series, |canvas, i, x, y| {
                canvas.rect(&self.class(i), (x, y + 2.0), (22.0, LINE - 6.0), "");
            });
        }
        canvas.finish(&self.id, end + 6.0, &self.title, &self.description)
    }
}
