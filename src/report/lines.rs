//! Curves over epochs, each with a band.

use super::svg::{self, Anchor, COLOURS, Canvas, DASHES, Image, LINE, Scale, WIDTH};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub mean: f64,
    /// Half the height of the band; none where a single value was seen.
    pub spread: Option<f64>,
}

pub struct Curve {
    pub label: String,
    /// In order of x, finite.
    pub points: Vec<Point>,
}

pub struct Lines {
    /// File name without its ending.
    pub id: String,
    pub title: String,
    pub description: String,
    pub x: String,
    pub y: String,
    pub curves: Vec<Curve>,
}

const TOP: f64 = 26.0;
const BOTTOM: f64 = 250.0;

impl Lines {
    pub fn draw(&self) -> Image {
        let mut canvas = Canvas::default();
        let points = || self.curves.iter().flat_map(|c| c.points.iter());
        let ends = points().flat_map(|p| {
            let spread = p.spread.unwrap_or(0.0);
            [p.mean - spread, p.mean + spread]
        });
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values
                .filter(|v| v.is_finite())
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let (low, high) = range(&mut { ends });
        let vertical = Scale::covering(low, high, 5);
        let (first, last) = range(&mut points().map(|p| p.x));
        let (first, last) = if first.is_finite() { (first, last) } else { (0.0, 1.0) };
        let horizontal = Scale::counting(first, last, 8);
        let longest = vertical.ticks.iter().map(|(_, label)| svg::text_width(label)).fold(0.0, f64::max);
        let (left, right) = (longest + 16.0, WIDTH - 16.0);
        let at = |x: f64, y: f64| {
            (left + (right - left) * horizontal.place(x), BOTTOM - (BOTTOM - TOP) * vertical.place(y))
        };
        for (value, label) in &vertical.ticks {
            let (_, y) = at(first, *value);
            canvas.line("grid", (left, y), (right, y));
            canvas.text("tick", (left - 6.0, y + 4.0), Anchor::End, label);
        }
        for (value, label) in &horizontal.ticks {
            let (x, _) = at(*value, vertical.low);
            canvas.line("axis", (x, BOTTOM), (x, BOTTOM + 4.0));
            canvas.text("tick", (x, BOTTOM + 17.0), Anchor::Middle, label);
        }
        canvas.line("axis", (left, BOTTOM), (right, BOTTOM));
        canvas.text("label soft", (8.0, 14.0), Anchor::Start, &self.y);
        canvas.text("label soft", ((left + right) / 2.0, BOTTOM + 34.0), Anchor::Middle, &self.x);
        // Bands first: no curve is behind one.
        for (i, curve) in self.curves.iter().enumerate() {
            let edge = |sign: f64| {
                move |p: &Point| {
                    at(p.x, (p.mean + sign * p.spread.unwrap_or(0.0)).clamp(vertical.low, vertical.high))
                }
            };
            if curve.points.len() > 1 && curve.points.iter().any(|p| p.spread.is_some_and(|s| s > 0.0)) {
                let upper = curve.points.iter().map(edge(1.0));
                let lower = curve.points.iter().rev().map(edge(-1.0));
                let outline: Vec<(f64, f64)> = upper.chain(lower).collect();
                canvas.path(&format!("band fill c{}", i % COLOURS), &outline, true, &curve.label);
            }
        }
        for (i, curve) in self.curves.iter().enumerate() {
            let line: Vec<(f64, f64)> = curve.points.iter().map(|p| at(p.x, p.mean)).collect();
            match curve.points.as_slice() {
                [] => {}
                [only] => {
                    let tip = format!("{}: {:.4}", curve.label, only.mean);
                    canvas.circle(&format!("fill c{}", i % COLOURS), line[0], 4.0, &tip);
                }
                _ => canvas.path(&curve_class(i), &line, false, &curve.label),
            }
        }
        let labels: Vec<String> = self.curves.iter().map(|c| c.label.clone()).collect();
        let top = BOTTOM + 44.0;
        let height = svg::legend(&mut canvas, top, &labels, |canvas, i, x, y| {
            canvas.line(&curve_class(i), (x, y + LINE / 2.0 - 1.0), (x + 24.0, y + LINE / 2.0 - 1.0));
        });
        canvas.finish(&self.id, top + height + 6.0, &self.title, &self.description)
    }
}

fn curve_class(i: usize) -> String {
    format!("curve c{} d{}", i % COLOURS, i % DASHES)
}
