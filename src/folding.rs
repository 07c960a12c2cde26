//! Batch normalization folded into the convolution in front of it.

use alloc::{vec, vec::Vec};

use burn::module::{Module, Param};
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Int, Tensor, TensorData};
// Square roots of floats are part of std alone. The import is unused where a dependency links std.
#[cfg(not(feature = "std"))]
#[allow(unused_imports)]
use num_traits::Float as _;

use crate::coefficients::scaled;
use crate::conv::Conv;
use crate::linear_conv2d::LinearConv2d;

/// Up to this share of the largest one, the scale of a primary filter is too small to be divided by.
/// Coefficients grow by up to its inverse.
const LEAST_SHARE: f64 = 1e-4;

impl Conv {
    /// The convolution that alone computes what this one followed by a batch normalization computes in
    /// evaluation, up to rounding. It is for models that are evaluated or exported.
    ///
    /// ```text
    /// g = γ / √(σ² + ε)                       σ², μ: running statistics
    /// W' = diag(g) · W                        dense
    /// P' = diag(h_p) · P                      LinearConv; h is g in the order of the filters,
    /// A' = diag(h_s) · A · diag(h_p)⁻¹        h_p of the primary and h_s of the secondary ones
    /// C' = diag(h_s) · C,  R' = R · diag(h_p)⁻¹                     where A = C·R
    /// bias' = (bias - μ) · g + β
    /// ```
    ///
    /// The formulas for `W` and the bias are those of Jacob et al. 2018
    /// ([arXiv 1712.05877](https://arxiv.org/abs/1712.05877), section 3.2). The others follow from
    /// `diag(h) · cat(P, A·P) = cat(P', A'·P')`.
    ///
    /// The layer keeps its kind, the shapes of its parameters and its evaluation. It gets a bias if it
    /// has none. A dense convolution that [`LinearConv`](crate::LinearConv) reparameterized becomes the
    /// [`LinearConv2d`] that it runs as. Masks, orders and coefficients of channels stay as they are.
    /// The threshold of [sparse](crate::SparseCoefficients) coefficients stays too, but they have
    /// another scale now: prune before, not after. What is new is a trainable parameter of its own, of
    /// floats where the old one was quantized.
    ///
    /// None where that is not possible:
    /// - A mean, a `g` or a `β` of the normalization is not finite.
    /// - The size of `h` of a primary filter is at most 10⁻⁴ of the largest one of a primary filter, as
    ///   where all of them are zero. Secondary filters cannot be combined from what is left. A secondary
    ///   filter may have any `h`, and a dense convolution any `g`.
    /// - The [`order`](LinearConv2d::order) shows a filter twice, with different `g`. A filter that it
    ///   does not show has `h = 1` and is not compared.
    ///
    /// In the last two cases the dense convolution of the same outputs can be folded, by
    /// [`to_conv2d`](Self::to_conv2d).
    ///
    /// The running statistics are those of `norm.valid()`, with all that a training has updated.
    ///
    /// # Panics
    /// Panics if the normalization has another number of features than the convolution has outputs,
    /// and if the order names a filter that is not there.
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
            Self::Packed(_) => unreachable!("it has no layer that it runs as"),
        })
    }
}

/// What a batch normalization computes in evaluation, for each output: `(x - mean) · scale + shift`.
struct Affine {
    mean: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    /// None where a number is not finite.
    ///
    /// # Panics
    /// Panics unless there are as many features as outputs.
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

    /// The bias that comes of one, of none as of zeros: on the device and in the type of the weight.
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

/// What each filter is multiplied by, from what each output is, the primary ones in front. None where
/// two outputs of a filter differ, and where a primary filter would vanish beside another.
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
