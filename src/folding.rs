//! Folds a batch normalization into the convolution before it.

use alloc::{vec, vec::Vec};

use burn::module::{Module, Param};
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Int, Tensor, TensorData};
// Without std, floats have no square root. The import is unused if a dependency links std.
#[cfg(not(feature = "std"))]
#[allow(unused_imports)]
use num_traits::Float as _;

use crate::coefficients::scaled;
use crate::conv::Conv;
use crate::linear_conv2d::LinearConv2d;

/// Coefficients are divided by the scales of primary filters. A scale is too small for this if it is at
/// most this fraction of the largest scale.
const LEAST_SHARE: f64 = 1e-4;

impl Conv {
    /// Folds a batch normalization into this convolution. The new convolution computes what this
    /// convolution and then the normalization compute in evaluation, up to rounding. It is for models
    /// that are evaluated or exported.
    ///
    /// ```text
    /// g = γ / √(σ² + ε)                       σ², μ: running statistics
    /// W' = diag(g) · W                        dense
    /// P' = diag(h_p) · P                      LinearConv: h is g in the order of the filters,
    /// A' = diag(h_s) · A · diag(h_p)⁻¹        h_p: h of primary filters, h_s: h of secondary filters
    /// C' = diag(h_s) · C,  R' = R · diag(h_p)⁻¹                     where A = C·R
    /// bias' = (bias - μ) · g + β
    /// ```
    ///
    /// The formulas for `W'` and `bias'` are from Jacob et al. 2018
    /// ([arXiv 1712.05877](https://arxiv.org/abs/1712.05877), section 3.2). The other formulas follow
    /// from `diag(h) · cat(P, A·P) = cat(P', A'·P')`. The formulas use the running statistics of
    /// `norm.valid()`.
    ///
    /// The kind of the layer, the shapes of its parameters and its evaluation do not change. There are
    /// two exceptions: the layer gets a bias if it has none, and a dense convolution that
    /// [`LinearConv`](crate::LinearConv) reparameterized becomes a [`LinearConv2d`]. Masks, orders and
    /// coefficients of channels do not change. All other weights become new trainable parameters, in
    /// floats if they were quantized.
    ///
    /// The threshold of [sparse](crate::SparseCoefficients) coefficients does not change, but the scale
    /// of the coefficients does. So prune before you fold, not after.
    ///
    /// Returns `None` if the normalization cannot be folded:
    /// - A value of `μ`, `g` or `β` is not finite.
    /// - The absolute value of `h` of a primary filter is at most 10⁻⁴ of the largest absolute value of
    ///   `h` of the primary filters, or all of them are zero. `A'` is divided by `h` of the primary
    ///   filters. Secondary filters may have any `h`. Dense convolutions may have any `g`.
    /// - The [`order`](LinearConv2d::order) shows a filter twice, with different `g`. A filter that the
    ///   order does not show has `h = 1`, and is not compared with other filters.
    ///
    /// In the last two cases, convert the layer by [`to_conv2d`](Self::to_conv2d). The dense
    /// convolution can be folded.
    ///
    /// # Panics
    /// Panics if the normalization has another number of features than the convolution has outputs, if
    /// the order names a filter that does not exist, or if the convolution is made for
    /// [`Inference`](crate::Inference).
    ///
    /// # Example
    /// ```
    /// use burn::nn::{BatchNormConfig, conv::Conv2dConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use linearconv::{CoefficientsConfig, Conv, ConvConfig};
    ///
    /// let device = Device::default();
    /// let low_rank = ConvConfig::linear(CoefficientsConfig::LowRank { rank: 2 });
    /// let conv = low_rank.with_layer(Conv2dConfig::new([3, 8], [3, 3])).init(&device);
    /// let norm = BatchNormConfig::new(8).init(&device);
    ///
    /// let folded = conv.folded(&norm).unwrap_or_else(|| {
    ///     let dense = Conv::from(conv.to_conv2d());
    ///     dense.folded(&norm).expect("finite statistics")
    /// });
    /// let images = Tensor::ones([1, 3, 5, 5], &device);
    /// let expected = norm.forward(conv.forward(images.clone()));
    /// assert!(folded.forward(images).all_close(expected, Some(1e-4), Some(1e-4)));
    /// assert_eq!(folded.cost().parameters(), conv.cost().parameters());
    /// ```
    pub fn folded(&self, norm: &BatchNorm) -> Option<Self> {
        Some(match self.as_it_runs() {
            Self::Dense(conv) => {
                let affine = Affine::of(norm, conv.weight.val().dims()[0])?;
                let weight = scaled(&conv.weight, 0, &affine.scale);
                let bias = Some(affine.bias(conv.bias.as_ref(), &weight));
                Self::Dense(Conv2d {
                    weight,
                    bias,
                    ..conv
                })
            }
            Self::Linear(layer) => {
                let cost = layer.cost();
                let affine = Affine::of(norm, cost.dense().primary)?;
                let scale = filter_scale(&affine.scale, layer.order.as_ref(), cost.primary)?;
                let (of_primary, of_secondary) = scale.split_at(cost.primary);
                let inverse: Vec<f64> = of_primary.iter().map(|scale| scale.recip()).collect();
                let primary = scaled(&layer.primary, 0, of_primary);
                Self::Linear(LinearConv2d {
                    coefficients: layer.coefficients.scaled(of_secondary, &inverse),
                    bias: Some(affine.bias(layer.bias.as_ref(), &primary)),
                    primary,
                    ..layer
                })
            }
            #[cfg(feature = "std")]
            Self::Packed(_) => unreachable!("`as_it_runs` has panicked"),
        })
    }
}

/// A batch normalization in evaluation. It computes `(x - mean) · scale + shift` for each output
/// channel.
struct Affine {
    mean: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    /// Returns `None` if a number is not finite.
    ///
    /// # Panics
    /// Panics if the number of features is not the number of outputs.
    fn of(norm: &BatchNorm, outputs: usize) -> Option<Self> {
        let norm = norm.valid();
        let [features] = norm.gamma.dims();
        assert_eq!(
            features, outputs,
            "the normalization has {features} features, the convolution {outputs} outputs"
        );
        let (gamma, variance) = (values(norm.gamma.val()), values(norm.running_var.value()));
        let scale = gamma.iter().zip(&variance);
        let scale = scale.map(|(gamma, variance)| gamma / (variance + norm.epsilon).sqrt());
        let affine = Self {
            mean: values(norm.running_mean.value()),
            scale: scale.collect(),
            shift: values(norm.beta.val()),
        };
        let all = [&affine.mean, &affine.scale, &affine.shift];
        let finite = all.into_iter().flatten().all(|value| value.is_finite());
        finite.then_some(affine)
    }

    /// The folded bias, on the device and in the type of the weight. No bias counts as a bias of zeros.
    fn bias(&self, bias: Option<&Param<Tensor<1>>>, weight: &Param<Tensor<4>>) -> Param<Tensor<1>> {
        let bias = bias.map_or_else(|| vec![0.0; self.mean.len()], |bias| values(bias.val()));
        let constants = self.mean.iter().zip(&self.scale).zip(&self.shift);
        let moved = bias.iter().zip(constants);
        let moved = moved.map(|(bias, ((mean, scale), shift))| (bias - mean) * scale + shift);
        let (moved, weight) = (moved.collect::<Vec<f64>>(), weight.val());
        let data = TensorData::new(moved, [bias.len()]);
        Param::from_tensor(Tensor::from_data(data, (&weight.device(), weight.dtype())))
    }
}

/// The scale of each filter from the scale of each output. The primary filters come first. Returns
/// `None` if two outputs of one filter have different scales, or if the scale of a primary filter is too
/// small beside the largest scale ([`LEAST_SHARE`]).
fn filter_scale(
    of_outputs: &[f64],
    order: Option<&Param<Tensor<1, Int>>>,
    primary: usize,
) -> Option<Vec<f64>> {
    let order: Vec<usize> = match order {
        Some(order) => {
            let order = order.val().into_data();
            order.iter::<i64>().map(|filter| filter as usize).collect()
        }
        None => (0..of_outputs.len()).collect(),
    };
    let mut shown: Vec<Option<f64>> = vec![None; of_outputs.len()];
    for (filter, scale) in order.into_iter().zip(of_outputs) {
        let other = shown[filter].replace(*scale);
        if other.is_some_and(|other| other != *scale) {
            return None;
        }
    }
    let sizes = shown[..primary].iter().flatten().map(|scale| scale.abs());
    let largest = sizes.clone().fold(0.0, f64::max);
    let mut small = sizes.filter(|size| *size <= LEAST_SHARE * largest);
    let scale = shown.iter().map(|scale| scale.unwrap_or(1.0));
    small.next().is_none().then(|| scale.collect())
}

fn values(tensor: Tensor<1>) -> Vec<f64> {
    tensor.dequantize().into_data().iter::<f64>().collect()
}
