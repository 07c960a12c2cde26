//! im2col and its transpose. The matrix has one column for each output pixel, with the values that
//! a filter reads there, and one row for each weight of a filter. Filters multiply it as they are
//! stored.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::real::Real;
use super::threads::Threads;
use super::tiles::Tile;

/// Writes the columns of a tile of `images`.
///
/// # Shapes
/// - images: `[count, channels, height_in, width_in]`
/// - columns: `[filter_size, pixels]`
pub(super) fn im2col<T: Real>(
    geometry: &Geometry,
    images: &[T],
    tile: &Tile,
    columns: &mut [T],
    threads: Threads,
) {
    let windows = windows(geometry, tile);
    let plane = geometry.input_plane();
    let of_channel = columns.len() / geometry.channels;
    let fill = |(channel, columns): (usize, &mut [T])| {
        let taps = columns.chunks_exact_mut(of_channel / windows.len());
        for (window, tap) in windows.iter().zip(taps) {
            let images = images.chunks_exact(geometry.channels * plane);
            let maps = tap.chunks_exact_mut(tile.image_pixels());
            for (image, map) in images.zip(maps) {
                window.copy(&image[channel * plane..][..plane], map);
            }
        }
    };
    if threads.within_image() {
        let channels = columns.par_chunks_exact_mut(of_channel);
        channels.enumerate().for_each(fill);
    } else {
        let channels = columns.chunks_exact_mut(of_channel);
        channels.enumerate().for_each(fill);
    }
}

/// Adds the columns of a tile to `images`: the transpose of [`im2col`]. Sets column values that lie
/// outside of the images to zero.
///
/// # Shapes
/// As in [`im2col`].
pub(super) fn col2im<T: Real>(
    geometry: &Geometry,
    columns: &mut [T],
    tile: &Tile,
    images: &mut [T],
    threads: Threads,
) {
    let windows = windows(geometry, tile);
    let plane = geometry.input_plane();
    let image = geometry.channels * plane;
    let of_channel = columns.len() / geometry.channels;
    // Adds the columns of one channel to that channel of every image, which begins at `start`.
    let add = |columns: &mut [T], images: &mut [T], image: usize, start: usize| {
        let taps = columns.chunks_exact_mut(of_channel / windows.len());
        for (window, tap) in windows.iter().zip(taps) {
            let maps = tap.chunks_exact_mut(tile.image_pixels());
            for (image, map) in images.chunks_exact_mut(image).zip(maps) {
                window.add(map, &mut image[start..][..plane]);
            }
        }
    };
    // The channels of one image are separate slices; the channels of several images are not.
    if threads.within_image() && images.len() == image {
        let channels = images.par_chunks_exact_mut(plane);
        let columns = columns.par_chunks_exact_mut(of_channel);
        let channels = columns.zip(channels);
        channels.for_each(|(columns, channel)| add(columns, channel, plane, 0));
    } else {
        let channels = columns.chunks_exact_mut(of_channel).enumerate();
        channels.for_each(|(channel, columns)| add(columns, images, image, channel * plane));
    }
}

/// What each tap reads for the output pixels of a tile.
fn windows(geometry: &Geometry, tile: &Tile) -> Vec<Window> {
    (0..geometry.taps())
        .map(|tap| Window::new(geometry, tile, tap))
        .collect()
}

/// The pixels of a channel that one tap reads, and their places in a map of a tile.
enum Window {
    /// Output and input rows have the same length and the stride is 1, so one block of the channel
    /// is one block of the map. The block runs over the ends of rows: where x is not `inside`, the
    /// tap reads padding.
    Block {
        map: Range<usize>,
        plane: Range<usize>,
        inside: Range<usize>,
        width: usize,
    },
    /// Any other convolution or tile, row by row.
    Rows {
        /// Where each run of pixels begins, in the map and in the channel.
        runs: Vec<(usize, usize)>,
        /// Pixels of a run.
        length: usize,
        /// The stride from one pixel of a run to the next in the channel.
        stride: usize,
    },
}

impl Window {
    fn new(geometry: &Geometry, tile: &Tile, tap: usize) -> Self {
        let offset = geometry.offset(tap);
        let [inside_rows, inside] = [0, 1].map(|axis| geometry.inside(axis, offset[axis]));
        let (rows, columns) = (&tile.rows, &tile.columns);
        let inside = inside.start.max(columns.start)..inside.end.min(columns.end);
        let first = inside_rows.start.max(rows.start);
        let end = match inside.is_empty() {
            true => first,
            false => inside_rows.end.min(rows.end).max(first),
        };
        let width = columns.len();
        if !geometry.in_step() || width < geometry.output[1] {
            let run = |row: usize| {
                let y = (row * geometry.stride[0]).strict_add_signed(offset[0]);
                let x = (inside.start * geometry.stride[1]).strict_add_signed(offset[1]);
                let map = (row - rows.start) * width + inside.start - columns.start;
                (map, y * geometry.input[1] + x)
            };
            return Self::Rows {
                runs: (first..end).map(run).collect(),
                length: inside.len(),
                stride: geometry.stride[1],
            };
        }
        // Before the first and after the last value of the channel there is only padding.
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
            inside,
            width,
        }
    }

    /// Copies what the tap reads from a channel. Padding is zero.
    fn copy<T: Real>(&self, channel: &[T], output: &mut [T]) {
        match self {
            Self::Block {
                map,
                plane,
                inside,
                width,
            } => {
                output[..map.start].fill(T::zero());
                output[map.end..].fill(T::zero());
                output[map.clone()].copy_from_slice(&channel[plane.clone()]);
                clear_outside(output, inside, *width);
            }
            Self::Rows {
                runs,
                length,
                stride,
            } => {
                output.fill(T::zero());
                for (map, start) in runs {
                    let output = &mut output[*map..][..*length];
                    if *stride == 1 {
                        output.copy_from_slice(&channel[*start..][..*length]);
                        continue;
                    }
                    let values = channel[*start..].iter().step_by(*stride);
                    for (output, value) in output.iter_mut().zip(values) {
                        *output = *value;
                    }
                }
            }
        }
    }

    /// The transpose of [`copy`](Self::copy): adds the map to the channel.
    fn add<T: Real>(&self, input: &mut [T], channel: &mut [T]) {
        match self {
            Self::Block {
                map,
                plane,
                inside,
                width,
            } => {
                clear_outside(input, inside, *width);
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
                    let values = &input[*map..][..*length];
                    if *stride == 1 {
                        let sums = channel[*start..][..*length].iter_mut();
                        sums.zip(values).for_each(|(sum, value)| *sum += *value);
                        continue;
                    }
                    let sums = channel[*start..].iter_mut().step_by(*stride);
                    for (sum, value) in sums.zip(values) {
                        *sum += *value;
                    }
                }
            }
        }
    }
}

/// Sets a map to zero where x is not inside, one x at a time. There are few such x, often one: a
/// call that clears one value of a row would cost more than writing the value.
fn clear_outside<T: Real>(map: &mut [T], inside: &Range<usize>, width: usize) {
    for x in (0..inside.start).chain(inside.end..width) {
        for value in map[x..].iter_mut().step_by(width) {
            *value = T::zero();
        }
    }
}
