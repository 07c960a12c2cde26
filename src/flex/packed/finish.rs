//! The last step of a layer: from the sums of a product to the output, with bias, shortcut and
//! ReLU.

use pulp::{Simd, WithSimd};

use super::panels::Panels;

/// The sums of a product, by panels.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub(super) matrix: &'a Panels,
    /// `[panels, pixels, rows of a panel]`
    pub(super) values: &'a [f32],
}

/// Values that are added to the outputs. The values for pixel `i` begin at `values[i · stride]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortcut<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

/// Writes the outputs of some pixels.
///
/// # Shapes
/// - bias: `[outputs]`
/// - output: `[pixels, outputs]`
pub(super) struct Finish<'a> {
    /// The sums of the primary filters, and then of the secondary filters.
    pub(super) sums: [Option<Sums<'a>>; 2],
    /// Output `i` shows filter `order[i]`.
    pub(super) order: Option<&'a [usize]>,
    pub(super) bias: &'a [f32],
    pub(super) shortcut: Option<Shortcut<'a>>,
    pub(super) relu: bool,
    pub(super) output: &'a mut [f32],
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            sums,
            order,
            bias,
            shortcut,
            relu,
            output,
        } = self;
        let outputs = bias.len();
        let pixels = output.len() / outputs.max(1);
        let places: Option<Vec<(usize, usize, usize)>> = order.map(|order| {
            let places: Vec<_> = places(&sums, pixels).collect();
            order.iter().map(|filter| places[*filter]).collect()
        });
        for (pixel, output) in output.chunks_exact_mut(outputs.max(1)).enumerate() {
            match &places {
                Some(places) => {
                    for ((output, bias), (part, start, width)) in
                        output.iter_mut().zip(bias).zip(places)
                    {
                        let values = sums[*part].map_or(&[][..], |sums| sums.values);
                        *output = values[start + pixel * width] + *bias;
                    }
                }
                None => {
                    let mut first = 0;
                    for sums in sums.iter().flatten() {
                        for panel in sums.matrix.iter() {
                            let start = panel.rows.start * pixels + pixel * panel.width;
                            let rows = panel.rows.len();
                            let sums = &sums.values[start..][..rows];
                            let bias = &bias[first..][..rows];
                            let output = &mut output[first..][..rows];
                            for ((output, sum), bias) in output.iter_mut().zip(sums).zip(bias) {
                                *output = *sum + *bias;
                            }
                            first += rows;
                        }
                    }
                }
            }
            let shortcut = shortcut.map(|shortcut| &shortcut.values[pixel * shortcut.stride..]);
            follow(output, shortcut, relu);
        }
    }
}

/// Adds the first values of a shortcut to the outputs of a pixel, and applies ReLU.
#[inline(always)]
pub(super) fn follow(output: &mut [f32], shortcut: Option<&[f32]>, relu: bool) {
    if let Some(shortcut) = shortcut {
        let shortcut = &shortcut[..output.len()];
        for (output, value) in output.iter_mut().zip(shortcut) {
            *output += *value;
        }
    }
    if relu {
        for output in output {
            // NaN stays NaN.
            *output = if *output < 0.0 { 0.0 } else { *output };
        }
    }
}

/// The place of each filter's sums: the index of the product, the place of the first pixel, and the
/// distance from one pixel to the next.
fn places<'a>(
    sums: &'a [Option<Sums<'a>>; 2],
    pixels: usize,
) -> impl Iterator<Item = (usize, usize, usize)> + 'a {
    let parts = sums.iter().enumerate();
    let parts = parts.filter_map(|(part, sums)| Some((part, sums.as_ref()?.matrix)));
    let panels = parts.flat_map(|(part, matrix)| matrix.iter().map(move |panel| (part, panel)));
    panels.flat_map(move |(part, panel)| {
        let start = panel.rows.start * pixels;
        (0..panel.rows.len()).map(move |row| (part, start + row, panel.width))
    })
}
