//! Depthwise convolutions.

use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;
use pulp::{Simd, WithSimd};

use super::finish::follow;
use super::images::{Images, check_shortcut};
use super::pixels::Pixels;
use super::rows::Rows;
use super::simd::ARCH;
use super::values::{bias as bias_of, values};
use crate::convolution::check_outputs;
use crate::flex::geometry::Geometry;

/// A convolution with as many groups as input channels and as output channels.
#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    /// `[channels, 1, kernel_height, kernel_width]`
    filters: [usize; 4],
    /// `[taps, channels]`
    weight: Vec<f32>,
    /// `[channels]`
    bias: Vec<f32>,
}

impl Depthwise {
    /// # Shapes
    /// - weight: `[channels, 1, height, width]`
    pub(super) fn new(weight: Tensor<4>, bias: Option<Tensor<1>>) -> Self {
        let filters = weight.dims();
        check_outputs(filters[0], None, bias.as_ref());
        Self {
            filters,
            weight: values(weight.permute([2, 3, 1, 0])),
            bias: bias_of(bias, filters[0]),
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.bias.len()
    }

    /// Applies the layer, as [`PackedLayer::forward`](super::layer::PackedLayer::forward).
    pub(super) fn forward(
        &self,
        images: &Images,
        options: &ConvOptions<2>,
        shortcut: Option<&Images>,
        relu: bool,
    ) -> Images {
        let [count, height, width, channels] = images.size;
        let geometry = Geometry::new([count, channels, height, width], self.filters, options);
        let size = geometry.output_size(count, channels);
        check_shortcut(shortcut, size);
        let zeros = vec![0.0; channels];
        let mut values = vec![0.0; size.iter().product()];
        let pixels = Pixels {
            outputs: channels,
            multiply_adds: self.weight.len(),
            divides_filters: false,
            unit: 1,
        };
        pixels.for_each(&mut values, |pixels, output, _| {
            let shortcut = shortcut.map(|shortcut| {
                let shortcut = &shortcut.values()[pixels.start * channels..];
                &shortcut[..output.len()]
            });
            ARCH.dispatch(Apply {
                weight: &self.weight,
                bias: &self.bias,
                rows: &Rows::of_taps(&geometry, images.values(), pixels, &zeros),
                shortcut,
                relu,
                output,
            });
        });
        Images::new(values, size)
    }
}

/// The layer, for some pixels.
struct Apply<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    rows: &'a Rows<'a>,
    shortcut: Option<&'a [f32]>,
    relu: bool,
    output: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.bias.len();
        for (pixel, output) in self.output.chunks_exact_mut(channels).enumerate() {
            let (vectors, scalars) = S::as_mut_simd_f32s(output);
            let (bias, scalar_bias) = S::as_simd_f32s(self.bias);
            let whole = channels - scalars.len();
            for (index, output) in vectors.iter_mut().enumerate() {
                let mut sum = bias[index];
                for (segment, weight) in self.rows.segments().zip(self.weight.chunks(channels)) {
                    let (values, _) = S::as_simd_f32s(segment[pixel]);
                    let (weight, _) = S::as_simd_f32s(weight);
                    sum = simd.mul_add_e_f32s(values[index], weight[index], sum);
                }
                *output = sum;
            }
            for (index, output) in scalars.iter_mut().enumerate() {
                let channel = whole + index;
                let taps = self.rows.segments().zip(self.weight.chunks(channels));
                let products =
                    taps.map(|(segment, weight)| segment[pixel][channel] * weight[channel]);
                *output = products.fold(scalar_bias[index], |sum, product| sum + product);
            }
            let shortcut = self.shortcut.map(|shortcut| &shortcut[pixel * channels..]);
            follow(output, shortcut, self.relu);
        }
    }
}
