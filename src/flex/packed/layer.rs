//! A convolution with one group that is prepared for inference.

use std::sync::OnceLock;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor};

use super::combination::{Coefficients, Combination, Output};
use super::finish::Shortcut;
use super::images::{Images, check_shortcut};
use super::panels::Panels;
use super::pixels::Pixels;
use super::rows::Rows;
use super::values::{self, matrix};
use super::winograd::{self, Winograd};
use crate::coefficients::Factors;
use crate::convolution::check_outputs;
use crate::flex::geometry::Geometry;
use crate::flex::to_indices;
use crate::linear_conv2d::LinearConv2d;

/// With fewer channels than this, the values of all taps of a pixel are copied side by side: a loop
/// over the channels of one tap would be too short.
const FEW_CHANNELS: usize = 16;

/// A convolution with one group and packed weights. Its tensors are channels-last.
#[derive(Clone, Debug)]
pub(super) struct PackedLayer {
    /// `[filters, channels, kernel_height, kernel_width]`
    filters: [usize; 4],
    mix: Option<Mix>,
    combination: Combination,
    /// Transformed filters, made at the first input for which they pay.
    transformed: OnceLock<Box<Winograd>>,
}

/// The combination of input channels.
#[derive(Clone, Debug)]
struct Mix {
    /// The coefficients of the channels from `kept` on, and a bias of zeros.
    combination: Combination,
    /// Number of channels that stay as they are: the primary ones, in `x_primary + B · x_rest`. If
    /// 0, the matrix combines all channels.
    kept: usize,
    /// Channel `i` of the primary and then the secondary channels is input channel `order[i]`.
    order: Option<Vec<usize>>,
}

impl PackedLayer {
    /// A dense convolution.
    ///
    /// # Shapes
    /// - weight: `[filters, channels, height, width]`
    pub(super) fn dense(weight: Tensor<4>, bias: Option<Tensor<1>>) -> Self {
        Self::new(weight, None, None, bias)
    }

    pub(super) fn linear(layer: &LinearConv2d) -> Self {
        let bias = layer.bias.as_ref().map(|bias| bias.val());
        let factors = Some(layer.coefficients.factors());
        let order = layer.order.as_ref().map(|order| order.val());
        let packed = Self::new(layer.primary.val(), factors, order, bias);
        let mix = Mix::of(layer);
        Self { mix, ..packed }
    }

    fn new(
        weight: Tensor<4>,
        factors: Option<Factors>,
        order: Option<Tensor<1, Int>>,
        bias: Option<Tensor<1>>,
    ) -> Self {
        let filters = weight.dims();
        let count = filters[0] + factors.as_ref().map_or(0, Factors::secondary);
        check_outputs(count, order.as_ref(), bias.as_ref());
        let bias = values::bias(bias, count);
        let order = order.map(|order| to_indices(order, count, "filter"));
        // The channels of a tap lie side by side, as the channels of a pixel do.
        let weight = values::values(weight.permute([0, 2, 3, 1]));
        Self {
            filters,
            mix: None,
            transformed: OnceLock::new(),
            combination: Combination {
                filters: Panels::new(&weight, filters[0]),
                coefficients: factors.map(|Factors { row, column }| Coefficients {
                    row: row.map(matrix),
                    column: matrix(column),
                }),
                order,
                bias,
            },
        }
    }

    pub(super) fn channels(&self) -> usize {
        match &self.mix {
            Some(mix) => mix.kept + mix.combination.filters.columns(),
            None => self.filters[1],
        }
    }

    /// Applies the layer.
    ///
    /// # Shapes
    /// - images: `[count, height_in, width_in, channels_in]`
    /// - shortcut, output: `[count, height_out, width_out, channels_out]`
    pub(super) fn forward(
        &self,
        images: &Images,
        options: &ConvOptions<2>,
        shortcut: Option<&Images>,
        relu: bool,
    ) -> Images {
        let [count, height, width, _] = images.size;
        let mixed = self.mix.as_ref().map(|mix| mix.forward(images));
        let images: &[f32] = mixed.as_deref().unwrap_or(images.values());
        let channels = self.filters[1];
        let geometry = Geometry::new([count, channels, height, width], self.filters, options);
        let zeros = vec![0.0; channels];
        let outputs = self.combination.outputs();
        let size = geometry.output_size(count, outputs);
        check_shortcut(shortcut, size);
        let mut values = vec![0.0; size.iter().product()];
        let transformed = winograd::pays(&geometry, count * geometry.output_plane()).then(|| {
            let of = || Box::new(Winograd::new(&self.combination.filters));
            self.transformed.get_or_init(of)
        });
        let division = self.combination.pixels();
        let division = match transformed {
            Some(_) => Pixels {
                unit: winograd::unit(&geometry),
                ..division
            },
            None => division,
        };
        division.for_each(&mut values, |pixels, values, threads| {
            let shortcut = shortcut.map(|shortcut| Shortcut {
                values: &shortcut.values()[pixels.start * outputs..],
                stride: outputs,
            });
            let output = Output {
                shortcut,
                relu,
                values,
            };
            if let Some(transformed) = transformed {
                let scratch = winograd::scratch(&geometry, pixels.len(), threads);
                let filters = |scratch: [&mut [f32]; 2]| {
                    transformed.multiply(&geometry, images, pixels, &zeros, scratch, threads);
                };
                return self.combination.apply_to(filters, scratch, output, threads);
            }
            let rows = Rows::of_taps(&geometry, images, pixels, &zeros);
            if channels >= FEW_CHANNELS || geometry.taps() == 1 {
                return self.combination.apply(&rows, output, threads);
            }
            let patches = rows.patches();
            let patches = patches.chunks_exact(geometry.filter_size());
            self.combination
                .apply(&Rows::new(patches.collect()), output, threads);
        });
        Images::new(values, size)
    }
}

impl Mix {
    fn of(layer: &LinearConv2d) -> Option<Self> {
        let coefficients = layer.channel_coefficients.as_ref()?;
        let [primary, others] = coefficients.dims();
        let channels = primary + others;
        let inverse = layer.channel_order.as_ref().map(|order| {
            let order = to_indices(order.val(), channels, "channel");
            assert_eq!(
                order.len(),
                channels,
                "the order of channels has {}, there are {channels}",
                order.len()
            );
            inverse(&order, channels)
        });
        let (coefficients, kept, order) = match inverse {
            None => (coefficients.val(), primary, None),
            Some(Some(order)) => (coefficients.val(), primary, Some(order)),
            // The order names a channel twice, so not every channel stays as it is: the whole
            // matrix is applied.
            Some(None) => (layer.channel_matrix()?, 0, None),
        };
        let combination = Combination {
            filters: matrix(coefficients),
            coefficients: None,
            order: None,
            bias: vec![0.0; primary],
        };
        Some(Self {
            combination,
            kept,
            order,
        })
    }

    /// # Shapes
    /// - images: `[count, height, width, channels]`
    /// - output: `[count, height, width, primary]`
    fn forward(&self, images: &Images) -> Vec<f32> {
        let [count, height, width, channels] = images.size;
        let images = images.values();
        let primary = self.combination.outputs();
        let mut mixed = vec![0.0; count * height * width * primary];
        self.combination
            .pixels()
            .for_each(&mut mixed, |pixels, values, threads| {
                let images = &images[pixels.start * channels..pixels.end * channels];
                let ordered: Option<Vec<f32>> = self.order.as_ref().map(|order| {
                    let images = images.chunks_exact(channels);
                    images
                        .flat_map(|image| order.iter().map(|channel| image[*channel]))
                        .collect()
                });
                let images = ordered.as_deref().unwrap_or(images);
                let rest = images
                    .chunks_exact(channels)
                    .map(|image| &image[self.kept..]);
                let shortcut = Shortcut {
                    values: images,
                    stride: channels,
                };
                let output = Output {
                    shortcut: (self.kept > 0).then_some(shortcut),
                    relu: false,
                    values,
                };
                self.combination
                    .apply(&Rows::new(rest.collect()), output, threads);
            });
        mixed
    }
}

/// The inverse of an order of `count` numbers; `None` where a number is missing.
fn inverse(order: &[usize], count: usize) -> Option<Vec<usize>> {
    let mut inverse = vec![None; count];
    for (place, index) in order.iter().enumerate() {
        inverse[*index] = Some(place);
    }
    inverse.into_iter().collect()
}
