//! Curves as an SVG drawing.

use crate::outcome::{LineStyle, Plot};
use plotters::prelude::*;
use smalti_base::{Error, Result};
use std::ops::Range;

/// The colours in a drawing; the report's style sheet gives them their look in light and in dark.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const FIRST: RGBColor = RGBColor(3, 3, 3);
const SECOND: RGBColor = RGBColor(4, 4, 4);

/// One axis of a drawing.
pub(super) struct Axis<'a> {
    pub(super) name: &'a str,
    pub(super) range: Range<f64>,
    pub(super) label: &'a dyn Fn(&f64) -> String,
}

/// The points of a curve, and how it is drawn.
pub(super) type Curve = (Vec<(f64, f64)>, LineStyle);

/// A drawing of `lines` on axes `[x, y]`, 760 x 320.
///
/// # Errors
/// [`Error::Value`] where the drawing fails.
pub(super) fn chart(axes: [Axis<'_>; 2], lines: &[Curve]) -> Result<String> {
    let mut svg = String::new();
    try_chart(&mut svg, axes, lines).map_err(|e| Error::value("curve", "a drawing", e))?;
    Ok(svg)
}

fn try_chart(
    svg: &mut String,
    [x, y]: [Axis<'_>; 2],
    lines: &[Curve],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (760, 320)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(x.range, y.range.clone())?;
    let text = ("sans-serif", 14).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(x.name)
        .y_desc(y.name)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(x.label)
        .y_label_formatter(y.label)
        .draw()?;
    for (points, style) in lines {
        let within = points.iter().copied().filter(|(_, v)| y.range.contains(v));
        let style = match style {
            LineStyle::First => FIRST.stroke_width(2),
            LineStyle::Second => SECOND.stroke_width(2),
            LineStyle::Reference => INK.stroke_width(1),
        };
        chart.draw_series(LineSeries::new(within, style))?;
    }
    root.present()?;
    Ok(())
}

/// The drawing of `plot`, or nothing where it has no two points to join.
///
/// # Errors
/// [`Error::Value`] where the drawing fails.
pub(super) fn draw(plot: &Plot) -> Result<Option<String>> {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let all: Vec<(f64, f64)> =
        plot.lines.iter().flat_map(|l| l.points.iter().filter(finite)).copied().collect();
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) =
            all.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        (low < high).then_some((low, high))
    };
    let (Some((left, right)), Some((low, high))) = (range(|p| p.0), range(|p| p.1)) else { return Ok(None) };
    let margin = 0.03 * (high - low);
    let label = |v: &f64| ((v * 100.0).round() / 100.0).to_string();
    let [x, y] = &plot.axes;
    let axes = [
        Axis { name: x, range: left..right, label: &label },
        Axis { name: y, range: low - margin..high + margin, label: &label },
    ];
    let lines: Vec<Curve> = plot
        .lines
        .iter()
        .map(|line| (line.points.iter().filter(finite).copied().collect(), line.style))
        .collect();
    chart(axes, &lines).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Line;

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        Plot {
            title: "t".into(),
            axes: ["x".into(), "y".into()],
            lines: vec![
                Line { points: points.clone(), style: LineStyle::First },
                Line { points, style: LineStyle::Reference },
            ],
            legend: ["a".into(), "b".into()],
            caption: String::new(),
        }
    }

    #[test]
    fn a_plot_has_its_lines_and_axes() {
        let svg = draw(&plot(vec![(0.0, 1.0), (5.0, f64::NAN), (9.0, -0.5)])).unwrap().unwrap();
        assert!(svg.contains("#030303") && svg.contains("<polyline") && !svg.contains("NaN"), "{svg}");
        for nothing in [vec![], vec![(1.0, 1.0)], vec![(0.0, f64::NAN), (1.0, 2.0)]] {
            assert_eq!(draw(&plot(nothing)).unwrap(), None);
        }
    }
}
