//! Charts as SVG: panels side by side, each with its series and a legend.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Error;

/// A chart with its own axes.
pub(crate) struct Panel {
    /// What stands above it.
    pub title: String,
    /// What the horizontal axis shows.
    pub x: String,
    /// What the vertical axis shows.
    pub y: String,
    /// The ends of the vertical axis; the series choose where there are none.
    pub range: Option<(f64, f64)>,
    /// What it shows. Later series cover earlier ones.
    pub series: Vec<Series>,
}

/// Points of one color.
pub(crate) struct Series {
    /// Its name in the legend.
    pub label: String,
    /// The number of its color.
    pub color: usize,
    /// How its points look.
    pub mark: Mark,
    /// Points that are no numbers are left out.
    pub points: Vec<(f64, f64)>,
}

/// How the points of a series look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A line with a dot at each point.
    Line,
    /// A thin line without dots.
    Thin,
    /// A dot at each point.
    Dots,
    /// An open circle at each point.
    Circles,
}

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

const PANEL: (u32, u32) = (480, 400);
pub(crate) const FONT: &str = "sans-serif";
/// The fraction of an axis that stays free beside the points.
const MARGIN: f64 = 0.06;
/// The fraction of the vertical axis that a name in the legend takes.
const LEGEND: f64 = 0.065;
/// The colors of Okabe and Ito, which people who are color-blind can tell apart too, brown and grey.
const COLORS: [RGBColor; 9] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(120, 70, 20),
    RGBColor(120, 120, 120),
];

/// Draws on a new SVG file of this size in pixels, on white, so that it is legible on a dark page too. It is narrower
/// on a narrow page. The title is for people who cannot see it.
///
/// # Errors
/// Names the file.
pub(crate) fn draw_svg(
    path: &Path,
    title: &str,
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Drawn<()>,
) -> Result<(), Error> {
    let mut svg = String::new();
    let drawn: Drawn<()> = (|| {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        Ok(area.present()?)
    })();
    let written = drawn.and_then(|()| {
        let svg = described(&svg, title);
        Ok(crate::files::write(path, svg.as_bytes())?)
    });
    written.map_err(|error| Error::Figure {
        path: path.into(),
        reason: error.to_string(),
    })
}

/// Adds what the library for charts does not write.
fn described(svg: &str, title: &str) -> String {
    let begun = r#"<svg role="img" style="max-width:100%;height:auto" "#;
    let svg = svg.replacen("<svg ", begun, 1);
    svg.replacen('\n', &format!("\n<title>{title}</title>\n"), 1)
}

/// Draws panels side by side below a title.
///
/// # Errors
/// Names the file.
pub(crate) fn draw_panels(path: &Path, title: &str, panels: &[Panel]) -> Result<(), Error> {
    let width = PANEL.0 * panels.len() as u32;
    draw_svg(path, title, (width, PANEL.1), |area| {
        let area = area.titled(title, (FONT, 20))?;
        let areas = area.split_evenly((1, panels.len()));
        areas
            .iter()
            .zip(panels)
            .try_for_each(|(area, panel)| panel.draw(area))
    })
}

impl Panel {
    /// The ends of the vertical axis, with room for the legend below the points.
    fn with_legend(&self, (low, high): (f64, f64)) -> (f64, f64) {
        (low - (high - low) * LEGEND * self.series.len() as f64, high)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn<()> {
        let points = || self.series.iter().flat_map(Series::finite);
        let (left, right) = ends(points().map(|(x, _)| x));
        let (low, high) = self
            .range
            .unwrap_or_else(|| self.with_legend(ends(points().map(|(_, y)| y))));
        let mut builder = ChartBuilder::on(area);
        builder
            .margin(10)
            .x_label_area_size(38)
            .y_label_area_size(48);
        if !self.title.is_empty() {
            builder.caption(&self.title, (FONT, 15));
        }
        let mut chart = builder.build_cartesian_2d(left..right, low..high)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE)
            .x_desc(&self.x)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .y_desc(&self.y)
            .draw()?;
        for series in &self.series {
            let color = COLORS[series.color % COLORS.len()].to_rgba();
            let points: Vec<_> = series.finite().collect();
            let (filled, open) = (color.filled(), color.stroke_width(1));
            let drawn = match series.mark {
                Mark::Line => chart.draw_series(LineSeries::new(points, filled).point_size(3))?,
                Mark::Thin => chart.draw_series(LineSeries::new(points, open))?,
                Mark::Dots => {
                    chart.draw_series(points.into_iter().map(|at| Circle::new(at, 4, filled)))?
                }
                Mark::Circles => {
                    chart.draw_series(points.into_iter().map(|at| Circle::new(at, 4, open)))?
                }
            };
            let drawn = drawn.label(&series.label);
            match series.mark {
                Mark::Line | Mark::Thin => {
                    drawn.legend(move |(x, y)| PathElement::new([(x, y), (x + 15, y)], filled))
                }
                Mark::Dots => drawn.legend(move |(x, y)| Circle::new((x + 8, y), 4, filled)),
                Mark::Circles => drawn.legend(move |(x, y)| Circle::new((x + 8, y), 4, open)),
            };
        }
        let mut labels = chart.configure_series_labels();
        labels
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    }
}

impl Series {
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.points.iter().copied();
        points.filter(|(x, y)| x.is_finite() && y.is_finite())
    }
}

/// A number without zeros at its end.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// The ends of an axis that shows these values.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return (0.0, 1.0);
    }
    let margin = ((high - low) * MARGIN).max(high.abs() * 1e-3).max(1e-3);
    (low - margin, high + margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_room_for_any_values() {
        assert_eq!(ends([].into_iter()), (0.0, 1.0));
        for values in [vec![3.0], vec![0.0, 0.0], vec![-2.0, 5.0]] {
            let (low, high) = ends(values.iter().copied());
            assert!(values.iter().all(|&value| low < value && value < high));
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 5.0, 0.35, 120.0].map(short),
            ["0", "5", "0.35", "120"]
        );
    }

    #[test]
    fn a_figure_that_cannot_be_written_names_its_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("absent/figure.svg");
        let error = draw_panels(&path, "title", &[]).expect_err("no such folder");
        assert!(error.to_string().contains("absent/figure.svg"), "{error}");
    }
}
