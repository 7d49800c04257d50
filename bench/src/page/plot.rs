//! Plots as SVG.

use std::error::Error;

use plotters::prelude::*;

/// Width and height in the units of the picture; a page scales it.
const SIZE: (u32, u32) = (900, 400);
/// Colours that people with colour-blindness tell apart (Okabe and Ito, 2008), without yellow, which white swallows.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(204, 121, 167),
    RGBColor(120, 120, 120),
];

/// A line of a plot.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
    /// Its place among the set-ups, by which it has its colour in all plots.
    pub(super) colour: usize,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to this.
    Linear(f64),
    /// In powers of ten, around what is shown.
    Log,
}

/// An axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis<'a> {
    pub(super) title: &'a str,
    pub(super) scale: Scale,
}

/// The plot as an SVG element, and whose line has which colour; empty if there is nothing to show.
pub(super) fn plot(lines: &[Line], x: Axis<'_>, y: Axis<'_>) -> String {
    let names = lines.iter().map(|line| {
        let RGBColor(red, green, blue) = COLOURS[line.colour % COLOURS.len()];
        format!("<span><i style=\"background:rgb({red},{green},{blue})\"></i>{}</span>", super::escape(&line.name))
    });
    let svg = picture(lines, x, y);
    if svg.is_empty() { svg } else { format!("{svg}<p class=\"legend\">{}</p>", names.collect::<String>()) }
}

fn picture(lines: &[Line], x: Axis<'_>, y: Axis<'_>) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    if points().next().is_none() {
        return String::new();
    }
    let (xs, ys) = (points().map(|point| point.0), points().map(|point| point.1));
    let ((left, right), (low, high)) = (bounds(xs, x.scale), bounds(ys, y.scale));
    let mut svg = String::new();
    let drawn = match (x.scale, y.scale) {
        (Scale::Linear(_), Scale::Linear(_)) => draw(&mut svg, lines, (left..right, low..high), x, y),
        (Scale::Linear(_), Scale::Log) => draw(&mut svg, lines, (left..right, (low..high).log_scale()), x, y),
        (Scale::Log, Scale::Linear(_)) => draw(&mut svg, lines, ((left..right).log_scale(), low..high), x, y),
        (Scale::Log, Scale::Log) => draw(&mut svg, lines, ((left..right).log_scale(), (low..high).log_scale()), x, y),
    };
    // A picture that cannot be drawn says so, and the figures are in the tables.
    drawn.map_or_else(|error| format!("<p class=\"soft\">no plot: {}</p>", super::escape(&error.to_string())), |()| svg)
}

fn bounds(values: impl Iterator<Item = f64>, scale: Scale) -> (f64, f64) {
    match scale {
        Scale::Linear(most) => (0.0, most),
        Scale::Log => {
            let (low, high) = values
                .filter(|value| *value > 0.0)
                .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
            if low > high { (1.0, 10.0) } else { (low / 1.3, high * 1.3) }
        }
    }
}

fn draw<X, Y>(
    svg: &mut String,
    lines: &[Line],
    (xs, ys): (X, Y),
    x: Axis<'_>,
    y: Axis<'_>,
) -> Result<(), Box<dyn Error>>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
    Y::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
{
    {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(70)
            .build_cartesian_2d(xs, ys)
            .map_err(|error| error.to_string())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(x.title)
            .y_desc(y.title)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .label_style(("sans-serif", 14))
            .draw()
            .map_err(|error| error.to_string())?;
        for line in lines {
            let colour = COLOURS[line.colour % COLOURS.len()];
            let points = line.points.iter().copied().filter(|point| x.shows(point.0) && y.shows(point.1));
            let points: Vec<(f64, f64)> = points.collect();
            let drawn = chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(3)));
            drawn.map_err(|error| error.to_string())?;
            if points.len() <= MARKED {
                let marks = points.into_iter().map(|point| Circle::new(point, 4, colour.filled()));
                chart.draw_series(marks).map_err(|error| error.to_string())?;
            }
        }
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Lines with so few points have each of them marked.
const MARKED: usize = 12;

impl Axis<'_> {
    /// A scale in powers of ten has no place for zero.
    fn shows(&self, value: f64) -> bool {
        value.is_finite() && (self.scale != Scale::Log || value > 0.0)
    }
}

/// `150k`, `2.5`
fn number(value: f64) -> String {
    let short = |value: f64, unit: &str| {
        let text = format!("{value:.1}");
        format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
    };
    match value.abs() {
        1e6.. => short(value / 1e6, "M"),
        1e3.. => short(value / 1e3, "k"),
        _ => short(value, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_in_the_picture_with_its_name() {
        let line = |name: &str, colour| Line {
            name: name.to_owned(),
            points: vec![(0.0, 0.0), (10.0, 100.0), (1e6, 50.0)],
            colour,
        };
        let lines = [line("kernel", 0), line("filter", 3)];
        for x in [Scale::Linear(1e6), Scale::Log] {
            for y in [Scale::Linear(100.0), Scale::Log] {
                let svg = plot(&lines, Axis { title: "across", scale: x }, Axis { title: "up", scale: y });
                assert!(svg.starts_with("<svg") && svg.contains("</svg>"), "{svg}");
                assert!(["kernel", "filter", "across", "up"].iter().all(|word| svg.contains(word)), "{x:?} {y:?}");
                assert_eq!(
                    svg.matches("<circle").count(),
                    2 * if (x, y) == (Scale::Linear(1e6), Scale::Linear(100.0)) { 3 } else { 2 }
                );
            }
        }
        let axis = Axis { title: "", scale: Scale::Log };
        assert_eq!(plot(&[], axis, axis), "");
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (2.5, "2.5"), (999.0, "999"), (150_000.0, "150k"), (1_250_000.0, "1.2M")] {
            assert_eq!(number(value), text);
        }
    }
}
