//! What a layer does, from its input on the left to its output on the right.

use std::path::{Path, PathBuf};

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::records::Results;
use crate::Error;
use crate::chart::{Area, Drawn, FONT, draw_svg};

const SIZE: (u32, u32) = (800, 290);
/// The side of a map, and how far the maps of a stack are apart, in pixels.
const MAP: i32 = 56;
const APART: i32 = 8;
const STACK: i32 = MAP + 2 * APART;

const INK: RGBColor = RGBColor(31, 41, 51);
const ARROW: RGBColor = RGBColor(82, 96, 109);
const PRIMARY_CHANNELS: RGBColor = RGBColor(127, 178, 229);
const OTHER_CHANNELS: RGBColor = RGBColor(214, 231, 247);
const PRIMARY_MAPS: RGBColor = RGBColor(242, 166, 90);
const SECONDARY_MAPS: RGBColor = RGBColor(251, 223, 194);

/// The left sides of the stacks, and the upper sides of the two rows.
const INPUT: i32 = 30;
const CHANNELS: i32 = 210;
const PRIMARY: i32 = 472;
const OUTPUT: i32 = 684;
const UPPER: i32 = 44;
const LOWER: i32 = 174;

/// The middle of a stack whose left or upper side is here.
const fn middle(side: i32) -> i32 {
    side + STACK / 2
}

/// Draws a layer with full coefficients that combines filters and channels. There are no numbers in it.
pub(super) fn draw(_: &Results, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let svg = folder.join("operation.svg");
    let title = "The operation of a LinearConv layer: the coefficients B add the other channels onto the primary \
                 channels, a convolution with the primary filters P makes the primary maps, and the coefficients A \
                 combine the primary maps to the secondary maps.";
    draw_svg(&svg, title, SIZE, |area| {
        draw_stacks(area)?;
        draw_arrows(area)?;
        draw_boxes(area)?;
        draw_names(area)
    })?;
    Ok(vec![svg])
}

fn draw_stacks(area: &Area<'_>) -> Drawn<()> {
    let stacks = [
        (INPUT, UPPER, PRIMARY_CHANNELS),
        (INPUT, LOWER, OTHER_CHANNELS),
        (CHANNELS, UPPER, PRIMARY_CHANNELS),
        (PRIMARY, UPPER, PRIMARY_MAPS),
        (OUTPUT, UPPER, PRIMARY_MAPS),
        (OUTPUT, LOWER, SECONDARY_MAPS),
    ];
    for (left, top, color) in stacks {
        for map in 0..3 {
            let (x, y) = (left + (2 - map) * APART, top + map * APART);
            draw_box(area, [(x, y), (x + MAP, y + MAP)], color)?;
        }
    }
    Ok(())
}

fn draw_arrows(area: &Area<'_>) -> Drawn<()> {
    let (upper, lower) = (middle(UPPER), middle(LOWER));
    let below = UPPER + STACK + 4;
    let [to_channels, from_primary] = [CHANNELS, PRIMARY].map(middle);
    let arrows: [&[(i32, i32)]; 8] = [
        &[(INPUT + STACK + 6, upper), (CHANNELS - 6, upper)],
        &[(INPUT + STACK + 6, lower), (138, lower)],
        &[(176, lower), (to_channels, lower), (to_channels, below)],
        &[(CHANNELS + STACK + 6, upper), (318, upper)],
        &[(438, upper), (PRIMARY - 6, upper)],
        &[(PRIMARY + STACK + 6, upper), (OUTPUT - 6, upper)],
        &[(from_primary, below), (from_primary, lower), (578, lower)],
        &[(616, lower), (OUTPUT - 6, lower)],
    ];
    arrows
        .iter()
        .try_for_each(|points| draw_arrow(area, points))
}

fn draw_boxes(area: &Area<'_>) -> Drawn<()> {
    let (upper, lower) = (middle(UPPER), middle(LOWER));
    let bold = font(FontStyle::Bold);
    draw_box(area, [(140, lower - 18), (174, lower + 18)], WHITE)?;
    draw_text(area, "B", (157, lower), &bold)?;
    draw_box(area, [(320, upper - 26), (436, upper + 26)], WHITE)?;
    let plain = font(FontStyle::Normal);
    draw_text(area, "convolution", (378, upper - 10), &plain)?;
    draw_text(area, "with P", (378, upper + 10), &plain)?;
    draw_box(area, [(580, lower - 18), (614, lower + 18)], WHITE)?;
    draw_text(area, "A", (597, lower), &bold)
}

fn draw_names(area: &Area<'_>) -> Drawn<()> {
    let bold = font(FontStyle::Bold);
    let plain = font(FontStyle::Normal);
    let heads = [
        ("input", INPUT),
        ("channels", CHANNELS),
        ("primary maps", PRIMARY),
        ("output", OUTPUT),
    ];
    for (name, left) in heads {
        draw_text(area, name, (middle(left), 22), &bold)?;
    }
    let below = STACK + 18;
    let names = [
        ("s primary", middle(INPUT), UPPER + below),
        ("c − s others", middle(INPUT), LOWER + below),
        ("m primary", middle(OUTPUT), UPPER + below),
        ("n secondary", middle(OUTPUT), LOWER + below),
        ("added", CHANNELS, 160),
        ("combined", 552, 160),
    ];
    for (name, x, y) in names {
        draw_text(area, name, (x, y), &plain)?;
    }
    Ok(())
}

fn font(style: FontStyle) -> TextStyle<'static> {
    let font = (FONT, 16).into_font().style(style);
    font.color(&INK).pos(Pos::new(HPos::Center, VPos::Center))
}

fn draw_text(area: &Area<'_>, text: &str, at: (i32, i32), style: &TextStyle<'_>) -> Drawn<()> {
    Ok(area.draw(&Text::new(text.to_owned(), at, style.clone()))?)
}

fn draw_box(area: &Area<'_>, corners: [(i32, i32); 2], color: RGBColor) -> Drawn<()> {
    area.draw(&Rectangle::new(corners, color.filled()))?;
    Ok(area.draw(&Rectangle::new(corners, INK))?)
}

/// A line with a head at its end. Its parts are level or upright.
fn draw_arrow(area: &Area<'_>, points: &[(i32, i32)]) -> Drawn<()> {
    const HEAD: i32 = 9;
    area.draw(&PathElement::new(points, ARROW.stroke_width(2)))?;
    let [.., (from_x, from_y), (x, y)] = *points else {
        return Ok(());
    };
    let (along, up) = ((x - from_x).signum() * HEAD, (y - from_y).signum() * HEAD);
    let head = [
        (x, y),
        (x - along + up / 2, y - up + along / 2),
        (x - along - up / 2, y - up - along / 2),
    ];
    Ok(area.draw(&Polygon::new(head, ARROW))?)
}
