//! What a product reads for each pixel: indirection in place of im2col, as in XNNPACK (Dukhan 2019,
//! [arXiv 1907.02129](https://arxiv.org/abs/1907.02129)).

use std::ops::Range;

use super::panels::Panels;
use crate::flex::geometry::Geometry;

/// The values of some pixels, as slices. The columns of the matrix are divided into segments; a
/// pixel has one slice for each segment.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    /// `[segments, pixels]`
    slices: Vec<&'a [f32]>,
    pixels: usize,
}

impl<'a> Rows<'a> {
    /// One segment, with a slice for each pixel.
    pub(super) fn new(slices: Vec<&'a [f32]>) -> Self {
        Self {
            pixels: slices.len(),
            slices,
        }
    }

    /// A segment for each tap: what the tap reads for these output pixels.
    ///
    /// # Shapes
    /// - images: `[count, height_in, width_in, channels]`
    /// - zeros: `[channels]`, what a tap reads outside of an image
    pub(super) fn of_taps(
        geometry: &Geometry,
        images: &'a [f32],
        pixels: Range<usize>,
        zeros: &'a [f32],
    ) -> Self {
        let channels = geometry.channels;
        let [height, width] = geometry.input;
        let [rows, columns] = geometry.output;
        // The first row of each pixel's image among the rows of all images, and where the pixel's
        // window would begin without padding.
        let origins = pixels.clone().map(|pixel| {
            let (row, column) = (pixel / columns, pixel % columns);
            let (image, row) = (row / rows, row % rows);
            let (y, x) = (row * geometry.stride[0], column * geometry.stride[1]);
            (image * height, y, x)
        });
        let origins: Vec<_> = origins.collect();
        let mut slices = Vec::with_capacity(geometry.taps() * pixels.len());
        for tap in 0..geometry.taps() {
            let [down, right] = geometry.offset(tap);
            slices.extend(origins.iter().map(|(image, y, x)| {
                let (y, x) = (y.wrapping_add_signed(down), x.wrapping_add_signed(right));
                match y < height && x < width {
                    true => &images[((image + y) * width + x) * channels..][..channels],
                    false => zeros,
                }
            }));
        }
        Self {
            slices,
            pixels: pixels.len(),
        }
    }

    /// A segment for each panel of sums that a product has computed.
    ///
    /// # Shapes
    /// - sums: `[panels, pixels, rows of a panel]`
    pub(super) fn of_sums(panels: &Panels, sums: &'a [f32], pixels: usize) -> Self {
        let mut slices = Vec::with_capacity(panels.count() * pixels);
        for panel in panels.iter() {
            let sums = &sums[panel.rows.start * pixels..][..panel.width * pixels];
            let rows = sums.chunks_exact(panel.width);
            slices.extend(rows.map(|row| &row[..panel.rows.len()]));
        }
        Self { slices, pixels }
    }

    /// The values of all segments side by side: im2col, for short segments.
    ///
    /// # Shapes
    /// - output: `[pixels, columns]`
    pub(super) fn patches(&self) -> Vec<f32> {
        let mut patches = Vec::with_capacity(self.pixels * self.columns());
        for pixel in 0..self.pixels {
            for segment in self.segments() {
                patches.extend_from_slice(segment[pixel]);
            }
        }
        patches
    }

    pub(super) fn pixels(&self) -> usize {
        self.pixels
    }

    /// The slices of all pixels, segment by segment.
    pub(super) fn segments(&self) -> impl Iterator<Item = &[&'a [f32]]> + Clone {
        self.slices.chunks_exact(self.pixels.max(1))
    }

    /// Number of columns of a matrix that can multiply these pixels.
    ///
    /// # Panics
    /// Panics where the slices of a segment have different lengths.
    pub(super) fn columns(&self) -> usize {
        let lengths = self.segments().map(|segment| {
            let length = segment.first().map_or(0, |values| values.len());
            assert!(
                segment.iter().all(|values| values.len() == length),
                "values of a segment"
            );
            length
        });
        lengths.sum()
    }
}
