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
    let windows = windows(geometry, rows);
    let plane = geometry.input_plane();
    let channel_patches = patches.len() / geometry.channels;
    let fill = |(channel, patches): (usize, &mut [T])| {
        let taps = patches.chunks_exact_mut(channel_patches / windows.len());
        for (window, row) in windows.iter().zip(taps) {
            let images = images.chunks_exact(geometry.channels * plane);
            let maps = row.chunks_exact_mut(rows.len() * geometry.output[1]);
            for (image, map) in images.zip(maps) {
                window.gather(&image[channel * plane..][..plane], map);
            }
        }
    };
    if parallel {
        let channels = patches.par_chunks_exact_mut(channel_patches);
        channels.enumerate().for_each(fill);
    } else {
        let channels = patches.chunks_exact_mut(channel_patches);
        channels.enumerate().for_each(fill);
    }
}

/// Adds the patches of the given output rows to `images`: the transpose of [`gather`]. Clears
/// values of the patches that lie outside of the images.
pub(super) fn scatter<T: Real>(
    geometry: &Geometry,
    patches: &mut [T],
    rows: &Range<usize>,
    images: &mut [T],
    parallel: bool,
) {
    let windows = windows(geometry, rows);
    let plane = geometry.input_plane();
    let image = geometry.channels * plane;
    let channel_patches = patches.len() / geometry.channels;
    // Adds the patches of one channel to a plane of every image, which begins at `start`.
    let add = |patches: &mut [T], images: &mut [T], image: usize, start: usize| {
        let taps = patches.chunks_exact_mut(channel_patches / windows.len());
        for (window, row) in windows.iter().zip(taps) {
            let maps = row.chunks_exact_mut(rows.len() * geometry.output[1]);
            for (image, map) in images.chunks_exact_mut(image).zip(maps) {
                window.scatter(map, &mut image[start..][..plane]);
            }
        }
    };
    // The channels of one image are slices of their own; those of several are not.
    if parallel && images.len() == image {
        let channels = images.par_chunks_exact_mut(plane);
        let patches = patches.par_chunks_exact_mut(channel_patches);
        let channels = patches.zip(channels);
        channels.for_each(|(patches, channel)| add(patches, channel, plane, 0));
    } else {
        let channels = patches.chunks_exact_mut(channel_patches).enumerate();
        channels.for_each(|(channel, patches)| add(patches, images, image, channel * plane));
    }
}

/// What each tap of a filter sees from the given output rows.
fn windows(geometry: &Geometry, rows: &Range<usize>) -> Vec<Window> {
    (0..geometry.taps())
        .map(|tap| Window::new(geometry, rows, tap))
        .collect()
}

/// The part of a channel that one tap of a filter sees, and where it lies in a map of some output
/// rows.
enum Window {
    /// Output and input rows are equally long and in step: one block of the channel is one block
    /// of the map. The block runs over the ends of rows; in the columns outside of `columns` the
    /// tap sees the padding.
    Block {
        map: Range<usize>,
        plane: Range<usize>,
        columns: Range<usize>,
        width: usize,
    },
    /// Any other convolution, row by row.
    Rows {
        /// Where a run of pixels begins in the map and in the channel.
        runs: Vec<(usize, usize)>,
        /// Pixels of a run.
        length: usize,
        /// From one of its pixels to the next in the channel.
        stride: usize,
    },
}

impl Window {
    fn new(geometry: &Geometry, rows: &Range<usize>, tap: usize) -> Self {
        let offset = geometry.offset(tap);
        let [inside_rows, columns] = [0, 1].map(|axis| geometry.inside(axis, offset[axis]));
        let first = inside_rows.start.max(rows.start);
        let end = match columns.is_empty() {
            true => first,
            false => inside_rows.end.min(rows.end).max(first),
        };
        let width = geometry.output[1];
        if !geometry.in_step() {
            let run = |row: usize| {
                let y = (row * geometry.stride[0]).strict_add_signed(offset[0]);
                let x = (columns.start * geometry.stride[1]).strict_add_signed(offset[1]);
                let map = (row - rows.start) * width + columns.start;
                (map, y * geometry.input[1] + x)
            };
            return Self::Rows {
                runs: (first..end).map(run).collect(),
                length: columns.len(),
                stride: geometry.stride[1],
            };
        }
        // Before the channel's first and after its last value there is only padding.
        let shift = offset[0] * width as isize + offset[1];
        let clamp =
            |pixel: usize| (pixel as isize + shift).clamp(0, geometry.input_plane() as isize);
        let plane = clamp(first * width)..clamp(end * width);
        let map = if plane.is_empty() {
            0..0
        } else {
            let origin = (rows.start * width) as isize + shift;
            (plane.start - origin).unsigned_abs()..(plane.end - origin).unsigned_abs()
        };
        Self::Block {
            map,
            plane: plane.start.unsigned_abs()..plane.end.unsigned_abs(),
            columns,
            width,
        }
    }

    /// Copies what the tap sees from a channel, zeros where that is padding.
    fn gather<T: Real>(&self, channel: &[T], output: &mut [T]) {
        match self {
            Self::Block {
                map,
                plane,
                columns,
                width,
            } => {
                output[..map.start].fill(T::zero());
                output[map.end..].fill(T::zero());
                output[map.clone()].copy_from_slice(&channel[plane.clone()]);
                clear_outside(output, columns, *width);
            }
            Self::Rows {
                runs,
                length,
                stride,
            } => {
                output.fill(T::zero());
                for (map, start) in runs {
                    let values = channel[*start..].iter().step_by(*stride);
                    for (output, value) in output[*map..][..*length].iter_mut().zip(values) {
                        *output = *value;
                    }
                }
            }
        }
    }

    /// The transpose of [`gather`](Self::gather): adds the map to the channel.
    fn scatter<T: Real>(&self, input: &mut [T], channel: &mut [T]) {
        match self {
            Self::Block {
                map,
                plane,
                columns,
                width,
            } => {
                clear_outside(input, columns, *width);
                let sums = channel[plane.clone()].iter_mut();
                for (sum, value) in sums.zip(&input[map.clone()]) {
                    *sum += *value;
                }
            }
            Self::Rows {
                runs,
                length,
                stride,
            } => {
                for (map, start) in runs {
                    let sums = channel[*start..].iter_mut().step_by(*stride);
                    for (sum, value) in sums.zip(&input[*map..][..*length]) {
                        *sum += *value;
                    }
                }
            }
        }
    }
}

/// Sets the columns of a map outside of `columns` to zero, column by column: there are few, often
/// one, and a call to clear one value of each row would cost more than the value.
fn clear_outside<T: Real>(map: &mut [T], columns: &Range<usize>, width: usize) {
    for column in (0..columns.start).chain(columns.end..width) {
        for value in map[column..].iter_mut().step_by(width) {
            *value = T::zero();
        }
    }
}
