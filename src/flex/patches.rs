//! Between feature maps and the matrix of their patches, one row for each weight of a filter and
//! one column for each output pixel, so that filters multiply it as they are stored.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::product::Real;

/// Writes the patches of the given output rows of `images`.
///
/// # Shapes
/// - images: `[count, channels, input]`
/// - patches: `[filter_size, count · rows · output width]`
pub(super) fn gather<T: Real>(
    geometry: &Geometry,
    images: &[T],
    rows: &Range<usize>,
    patches: &mut [T],
    parallel: bool,
) {
    let channel_patches = patches.len() / geometry.channels;
    let fill = |(channel, patches): (usize, &mut [T])| {
        let taps = patches.chunks_exact_mut(channel_patches / geometry.taps());
        for (tap, row) in taps.enumerate() {
            let maps = row.chunks_exact_mut(rows.len() * geometry.output[1]);
            for (image, map) in images
                .chunks_exact(geometry.channels * geometry.input_plane())
                .zip(maps)
            {
                let plane = &image[channel * geometry.input_plane()..][..geometry.input_plane()];
                gather_tap(geometry, plane, rows, tap, map);
            }
        }
    };
    if parallel {
        patches
            .par_chunks_exact_mut(channel_patches)
            .enumerate()
            .for_each(fill);
    } else {
        patches
            .chunks_exact_mut(channel_patches)
            .enumerate()
            .for_each(fill);
    }
}

/// Adds the patches of the given output rows to `images`: the transpose of [`gather`]. Clears
/// values of the patches that lie outside of the images.
pub(super) fn scatter<T: Real>(
    geometry: &Geometry,
    patches: &mut [T],
    rows: &Range<usize>,
    images: &mut [T],
) {
    let channel_patches = patches.len() / geometry.channels;
    for (channel, patches) in patches.chunks_exact_mut(channel_patches).enumerate() {
        let taps = patches.chunks_exact_mut(channel_patches / geometry.taps());
        for (tap, row) in taps.enumerate() {
            let maps = row.chunks_exact_mut(rows.len() * geometry.output[1]);
            for (image, map) in images
                .chunks_exact_mut(geometry.channels * geometry.input_plane())
                .zip(maps)
            {
                let plane =
                    &mut image[channel * geometry.input_plane()..][..geometry.input_plane()];
                scatter_tap(geometry, map, rows, tap, plane);
            }
        }
    }
}

/// Copies what one tap sees from one channel: a shifted plane with zeros beyond its border.
fn gather_tap<T: Real>(
    geometry: &Geometry,
    plane: &[T],
    rows: &Range<usize>,
    tap: usize,
    map: &mut [T],
) {
    let offset = geometry.offset(tap);
    if geometry.in_step() {
        let shift = Shift::new(geometry, rows, offset);
        map[..shift.map.start].fill(T::zero());
        map[shift.map.end..].fill(T::zero());
        map[shift.map.clone()].copy_from_slice(&plane[shift.plane.clone()]);
        shift.clear_border(geometry, map);
        return;
    }
    let [width_in, width_out] = [geometry.input[1], geometry.output[1]];
    let [inside_rows, columns] = [0, 1].map(|axis| geometry.inside(axis, offset[axis]));
    for (row, map) in rows.clone().zip(map.chunks_exact_mut(width_out)) {
        if !inside_rows.contains(&row) {
            map.fill(T::zero());
            continue;
        }
        let start = (row * geometry.stride[0]).strict_add_signed(offset[0]) * width_in;
        map[..columns.start].fill(T::zero());
        map[columns.end..].fill(T::zero());
        for column in columns.clone() {
            let x = (column * geometry.stride[1]).strict_add_signed(offset[1]);
            map[column] = plane[start + x];
        }
    }
}

/// The transpose of [`gather_tap`].
fn scatter_tap<T: Real>(
    geometry: &Geometry,
    map: &mut [T],
    rows: &Range<usize>,
    tap: usize,
    plane: &mut [T],
) {
    let offset = geometry.offset(tap);
    if geometry.in_step() {
        let shift = Shift::new(geometry, rows, offset);
        shift.clear_border(geometry, map);
        for (sum, value) in plane[shift.plane.clone()]
            .iter_mut()
            .zip(&map[shift.map.clone()])
        {
            *sum += *value;
        }
        return;
    }
    let [width_in, width_out] = [geometry.input[1], geometry.output[1]];
    let [inside_rows, columns] = [0, 1].map(|axis| geometry.inside(axis, offset[axis]));
    for (row, map) in rows.clone().zip(map.chunks_exact(width_out)) {
        if inside_rows.contains(&row) {
            let start = (row * geometry.stride[0]).strict_add_signed(offset[0]) * width_in;
            for column in columns.clone() {
                let x = (column * geometry.stride[1]).strict_add_signed(offset[1]);
                plane[start + x] += map[column];
            }
        }
    }
}

/// A tap of a convolution in step: one block of a plane against one block of a map of output rows.
/// The block runs over the ends of rows; those values are not the tap's and have to be cleared.
struct Shift {
    map: Range<usize>,
    plane: Range<usize>,
    columns: Range<usize>,
}

impl Shift {
    fn new(geometry: &Geometry, rows: &Range<usize>, offset: [isize; 2]) -> Self {
        let width = geometry.output[1];
        let inside = geometry.inside(0, offset[0]);
        let first = inside.start.max(rows.start);
        let end = inside.end.min(rows.end).max(first);
        // Within the plane, the first row's first and the last row's last value may be missing.
        let block = (first * width) as isize..(end * width) as isize;
        let shift = offset[0] * width as isize + offset[1];
        let plane_end = geometry.input_plane() as isize;
        let start = (block.start + shift).clamp(0, plane_end);
        let stop = (block.end + shift).clamp(start, plane_end);
        let origin = (rows.start * width) as isize;
        let to_map = |value: isize| (value - shift - origin).unsigned_abs();
        if start == stop {
            return Self {
                map: 0..0,
                plane: 0..0,
                columns: 0..0,
            };
        }
        Self {
            map: to_map(start)..to_map(stop),
            plane: start.unsigned_abs()..stop.unsigned_abs(),
            columns: geometry.inside(1, offset[1]),
        }
    }

    fn clear_border<T: Real>(&self, geometry: &Geometry, map: &mut [T]) {
        let width = geometry.output[1];
        if self.columns == (0..width) {
            return;
        }
        for row in map.chunks_exact_mut(width) {
            row[..self.columns.start].fill(T::zero());
            row[self.columns.end..].fill(T::zero());
        }
    }
}
