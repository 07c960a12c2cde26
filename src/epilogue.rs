//! The steps after a convolution: batch normalization, a shortcut, ReLU and max pooling.

#[cfg(feature = "flex")]
use burn::module::RunningState;
use burn::nn::BatchNorm;
#[cfg(feature = "flex")]
use burn::nn::PaddingConfig2d;
use burn::nn::pool::MaxPool2d;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

#[cfg(feature = "flex")]
use crate::flex::epilogue;

/// The steps that [`Conv::forward_with`](crate::Conv::forward_with) applies to the output of a
/// convolution, in this order:
/// 1. a batch normalization,
/// 2. a shortcut, which is added,
/// 3. ReLU,
/// 4. max pooling.
///
/// Each step is optional. The layers, one after the other, give the same result up to rounding. On
/// Burn's flex backend with the feature `flex`, in f32 and f64, the steps are one operation. The
/// operation reads the memory fewer times than the layers, and keeps less memory for the backward
/// pass. A pool with padding, dilation, ceil mode or overlapping windows is a second operation.
/// CUTLASS and cuDNN use the name "epilogue" for such steps.
///
/// # Example
/// ```
/// use burn::nn::conv::Conv2dConfig;
/// use burn::nn::{BatchNormConfig, PaddingConfig2d};
/// use burn::tensor::{Device, Tensor, activation::relu};
/// use linearconv::{CoefficientsConfig, ConvConfig, Epilogue};
///
/// let device = Device::default();
/// let layer = Conv2dConfig::new([8, 8], [3, 3]).with_padding(PaddingConfig2d::Same);
/// let conv = ConvConfig::linear(CoefficientsConfig::Full).with_layer(layer).init(&device);
/// let norm = BatchNormConfig::new(8).init(&device);
/// let input = Tensor::<4>::ones([1, 8, 7, 7], &device);
///
/// let epilogue = Epilogue::new().with_norm(&norm).with_shortcut(input.clone()).with_relu();
/// let output = conv.forward_with(input.clone(), epilogue);
/// let expected = relu(norm.forward(conv.forward(input.clone())) + input);
/// output.into_data().assert_approx_eq::<f32>(&expected.into_data(), Default::default());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Epilogue<'a> {
    pub(crate) norm: Option<&'a BatchNorm>,
    pub(crate) shortcut: Option<Tensor<4>>,
    pub(crate) relu: bool,
    pub(crate) pool: Option<&'a MaxPool2d>,
}

impl<'a> Epilogue<'a> {
    /// An epilogue without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Normalizes the output of the convolution, as [`BatchNorm::forward`]: by the statistics of the
    /// batch in training, which also updates the running statistics, and by the running statistics
    /// otherwise.
    pub fn with_norm(self, norm: &'a BatchNorm) -> Self {
        Self {
            norm: Some(norm),
            ..self
        }
    }

    /// Adds a tensor after the normalization.
    ///
    /// # Shapes
    /// - shortcut: `[batch_size, channels_out, height_out, width_out]`, as the output of the
    ///   convolution
    pub fn with_shortcut(self, shortcut: Tensor<4>) -> Self {
        Self {
            shortcut: Some(shortcut),
            ..self
        }
    }

    /// Applies ReLU after the shortcut: `max(x, 0)`.
    pub fn with_relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// Applies max pooling at the end, as [`MaxPool2d::forward`].
    pub fn with_max_pool(self, pool: &'a MaxPool2d) -> Self {
        Self {
            pool: Some(pool),
            ..self
        }
    }

    /// Applies the steps to feature maps.
    ///
    /// # Shapes
    /// - maps: `[batch_size, channels_out, height_out, width_out]`
    /// - output: as the maps; a pool makes the last two smaller
    pub(crate) fn apply(self, maps: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        let (maps, epilogue) = self.apply_by_kernel(maps);
        #[cfg(not(feature = "flex"))]
        let epilogue = self;
        epilogue.apply_by_burn(maps)
    }

    fn apply_by_burn(self, maps: Tensor<4>) -> Tensor<4> {
        let maps = match self.norm {
            Some(norm) => norm.forward(maps),
            None => maps,
        };
        let maps = match self.shortcut {
            Some(shortcut) => maps + shortcut,
            None => maps,
        };
        let maps = match self.relu {
            true => relu(maps),
            false => maps,
        };
        match self.pool {
            Some(pool) => pool.forward(maps),
            None => maps,
        }
    }

    /// Applies the steps that this crate's CPU code supports. Returns the result and the other steps.
    #[cfg(feature = "flex")]
    fn apply_by_kernel(self, maps: Tensor<4>) -> (Tensor<4>, Self) {
        let [_, _, height, width] = maps.dims();
        let window = self.pool.and_then(side_by_side);
        let window = window.filter(|window| epilogue::supports_pool([height, width], *window));
        let weights = self.norm.map(|norm| weights(norm, &maps));
        let some = self.norm.is_some() || self.relu || window.is_some();
        if !some || !epilogue::supports(&maps, weights.as_ref(), self.shortcut.as_ref()) {
            return (maps, self);
        }
        let steps = epilogue::Steps {
            epsilon: self.norm.map_or(0.0, |norm| norm.epsilon),
            relu: self.relu,
            pool: window,
        };
        let (output, statistics) = epilogue::epilogue(maps, weights, self.shortcut, steps);
        if let (Some(norm), Some([mean, variance])) = (self.norm, statistics) {
            update(&norm.running_mean, mean, norm.momentum);
            update(&norm.running_var, variance, norm.momentum);
        }
        let pool = self.pool.filter(|_| window.is_none());
        (
            output,
            Self {
                pool,
                ..Self::new()
            },
        )
    }
}

/// The weights of a normalization. The running statistics are included, unless the normalization uses
/// the statistics of the batch.
#[cfg(feature = "flex")]
fn weights(norm: &BatchNorm, maps: &Tensor<4>) -> epilogue::Weights {
    let device = maps.device();
    // The rule of `BatchNorm::forward`.
    let batch = device.is_autodiff() && norm.training.is_enabled();
    let running = |state: &RunningState<Tensor<1>>| state.value().to_device(&device);
    epilogue::Weights {
        gamma: norm.gamma.val(),
        beta: norm.beta.val(),
        running: (!batch).then(|| [running(&norm.running_mean), running(&norm.running_var)]),
    }
}

/// Updates a running statistic by the statistic of a batch, as `BatchNorm::forward` does.
#[cfg(feature = "flex")]
fn update(running: &RunningState<Tensor<1>>, batch: Tensor<1>, momentum: f64) {
    let value = running.value_sync().to_device(&batch.device());
    let value = value.mul_scalar(1.0 - momentum) + batch.detach().mul_scalar(momentum);
    running.update(value.detach());
}

/// Whether a pool has no padding, no ceil mode and no dilation. All of its windows then lie inside the
/// maps.
#[cfg(feature = "flex")]
pub(crate) fn is_plain(pool: &MaxPool2d) -> bool {
    let padding = match pool.padding {
        PaddingConfig2d::Valid => false,
        PaddingConfig2d::Explicit(top, left, bottom, right) => [top, left, bottom, right] != [0; 4],
        PaddingConfig2d::Same => true,
    };
    !padding && !pool.ceil_mode && pool.dilation == [1, 1]
}

/// The size of the windows, if the pool is plain and its windows lie side by side.
#[cfg(feature = "flex")]
fn side_by_side(pool: &MaxPool2d) -> Option<[usize; 2]> {
    (is_plain(pool) && pool.kernel_size == pool.stride).then_some(pool.kernel_size)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use burn::module::Module;
    use burn::nn::BatchNormConfig;
    use burn::nn::pool::MaxPool2dConfig;
    use burn::tensor::{DType, Device, TensorData};

    use super::*;
    use crate::without_kernel;

    /// Values around `mean` in f64. The seed decides them.
    fn values<const D: usize>(shape: [usize; D], seed: usize, mean: f64) -> TensorData {
        let count: usize = shape.iter().product();
        let value = |index: usize| ((index * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0;
        TensorData::new(
            (0..count)
                .map(|index| value(index) + mean)
                .collect::<Vec<_>>(),
            shape,
        )
    }

    fn leaf<const D: usize>(shape: [usize; D], seed: usize) -> Tensor<D> {
        let device = Device::flex().autodiff();
        Tensor::from_data(values(shape, seed, 0.0), (&device, DType::F64)).require_grad()
    }

    fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.try_to_vec_as().expect("values")
    }

    /// A normalization in f64, with other weights than its initial weights.
    fn norm(channels: usize) -> BatchNorm {
        let norm = BatchNormConfig::new(channels).init(&Device::flex().autodiff());
        let double = |value| Tensor::from_data(value, (&Device::flex().autodiff(), DType::F64));
        BatchNorm {
            gamma: norm.gamma.map(|_| leaf([channels], 3)),
            beta: norm.beta.map(|_| leaf([channels], 4)),
            running_mean: RunningState::new(double(values([channels], 5, 0.0))),
            running_var: RunningState::new(double(values([channels], 6, 2.0))),
            ..norm
        }
    }

    /// The size of the maps, and the steps of the epilogue.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        size: [usize; 4],
        norm: bool,
        frozen: bool,
        shortcut: bool,
        relu: bool,
        pool: Option<[usize; 2]>,
    }

    /// The outputs and gradients of two passes, and the running statistics after them.
    fn outcome(case: Case) -> Vec<Vec<f64>> {
        let Case { size, .. } = case;
        let [_, channels, ..] = size;
        let norm = case.norm.then(|| norm(channels));
        let norm = norm.map(|norm| match case.frozen {
            true => norm.freeze(),
            false => norm,
        });
        let pool = case.pool.map(|window| MaxPool2dConfig::new(window).init());
        let mut outcome = Vec::new();
        for pass in [0, 10] {
            let maps = leaf(size, 1 + pass);
            let shortcut = case.shortcut.then(|| leaf(size, 2 + pass));
            let epilogue = Epilogue {
                norm: norm.as_ref(),
                shortcut: shortcut.clone(),
                relu: case.relu,
                pool: pool.as_ref(),
            };
            let output = epilogue.apply(maps.clone());
            let weights = leaf(output.dims(), 7).detach();
            let gradients = (output.clone() * weights).sum().backward();
            outcome.push(to_vec(output));
            outcome.push(to_vec(maps.grad(&gradients).expect("gradient")));
            outcome.extend(shortcut.map(|x| to_vec(x.grad(&gradients).expect("gradient"))));
            if let Some(norm) = norm.as_ref().filter(|_| !case.frozen) {
                for weight in [&norm.gamma, &norm.beta] {
                    outcome.push(to_vec(weight.val().grad(&gradients).expect("gradient")));
                }
            }
        }
        outcome.extend(norm.iter().flat_map(|norm| {
            [&norm.running_mean, &norm.running_var].map(|state| to_vec(state.value_sync()))
        }));
        outcome
    }

    fn cases() -> impl Iterator<Item = Case> {
        let sizes = [
            [3, 5, 7, 6],
            [1, 3, 4, 4],
            [4, 2, 1, 1],
            [1, 2, 1, 1],
            [2, 3, 40, 35],
            // Enough work for several threads.
            [5, 7, 50, 40],
        ];
        let windows = [None, Some([2, 2]), Some([3, 2]), Some([1, 1])];
        let sizes = sizes
            .into_iter()
            .flat_map(move |size| windows.map(|pool| (size, pool)));
        let fits = |([_, _, height, width], pool): &([usize; 4], Option<[usize; 2]>)| {
            pool.is_none_or(|[y, x]| y <= *height && x <= *width)
        };
        let sizes = sizes.filter(fits);
        sizes.flat_map(|(size, pool)| {
            (0..16).map(move |case| {
                let [norm, frozen, shortcut, relu] = [1, 2, 4, 8].map(|bit| case & bit != 0);
                Case {
                    size,
                    norm,
                    frozen,
                    shortcut,
                    relu,
                    pool,
                }
            })
        })
    }

    /// Compares this crate's CPU code with Burn's operations.
    #[test]
    fn one_operation_equals_the_steps() {
        for case in cases() {
            let kernel = outcome(case);
            let steps = without_kernel(|| outcome(case));
            assert_eq!(kernel.len(), steps.len(), "{case:?}");
            for (index, (kernel, steps)) in kernel.iter().zip(&steps).enumerate() {
                assert_eq!(kernel.len(), steps.len(), "{case:?}");
                for (a, b) in kernel.iter().zip(steps) {
                    assert!((a - b).abs() < 1e-9, "{index}: {a} and {b}, {case:?}");
                }
            }
        }
    }

    #[test]
    fn inference_equals_the_steps() {
        for case in cases() {
            let norm = case.norm.then(|| norm(case.size[1]).valid());
            let pool = case.pool.map(|window| MaxPool2dConfig::new(window).init());
            let apply = || {
                let epilogue = Epilogue {
                    norm: norm.as_ref(),
                    shortcut: case.shortcut.then(|| leaf(case.size, 2).inner()),
                    relu: case.relu,
                    pool: pool.as_ref(),
                };
                to_vec(epilogue.apply(leaf(case.size, 1).inner()))
            };
            for (a, b) in apply().iter().zip(without_kernel(apply)) {
                assert!((a - b).abs() < 1e-9, "{a} and {b}, {case:?}");
            }
        }
    }

    /// The mean is about a thousand times the standard deviation. In f32, the output, the gradient and
    /// the variance still equal those in f64, within the tolerance.
    #[test]
    fn a_large_mean_costs_no_digits() {
        const MEAN: f64 = 1024.0;
        let size = [3, 2, 40, 30];
        let outcome = |dtype| {
            let device = Device::flex().autodiff();
            let norm = BatchNormConfig::new(2).init(&device);
            // The values are rounded to f32, so that both types normalize the same values.
            let maps = Tensor::<4>::from_data(values(size, 1, MEAN), (&device, DType::F32));
            let maps = maps.cast(dtype).require_grad();
            let norm = BatchNorm {
                gamma: norm.gamma.map(|weight| weight.cast(dtype)),
                beta: norm.beta.map(|weight| weight.cast(dtype)),
                ..norm
            };
            let (output, statistics) = epilogue::epilogue(
                maps.clone(),
                Some(weights(&norm, &maps)),
                None,
                epilogue::Steps {
                    epsilon: norm.epsilon,
                    relu: false,
                    pool: None,
                },
            );
            let factors = Tensor::<4>::from_data(values(size, 7, 0.0), (&device, dtype));
            let gradients = (output.clone() * factors).sum().backward();
            let [_, variance] = statistics.expect("those of the batch");
            let gradient = maps.grad(&gradients).expect("gradient");
            [to_vec(output), to_vec(gradient), to_vec(variance)]
        };
        let single = outcome(DType::F32).into_iter().flatten();
        for (a, b) in single.zip(outcome(DType::F64).into_iter().flatten()) {
            assert!((a - b).abs() < 2e-6 * (1.0 + b.abs()), "{a} and {b}");
        }
    }

    /// The variance of a constant channel is 0, so only the epsilon is left in the divisor.
    #[test]
    fn a_constant_channel_is_beta() {
        let device = Device::flex().autodiff();
        let norm = BatchNormConfig::new(2).init(&device);
        let maps = Tensor::<4>::full([3, 2, 5, 5], 1e6 + 0.1, &device).require_grad();
        let output = Epilogue::new().with_norm(&norm).apply(maps.clone());
        assert_eq!(to_vec(output.clone()), vec![0.0; 150]);
        let gradients = output.sum().backward();
        let gradient = to_vec(maps.grad(&gradients).expect("gradient"));
        // The sum is always zero, so its gradient is zero too. Rounding errors are multiplied by the
        // inverse root of epsilon, 316.
        assert!(
            gradient.iter().all(|value| value.abs() < 1e-4),
            "{gradient:?}"
        );
    }

    /// NaN stays NaN, so that one can see that a training has diverged.
    #[test]
    fn nan_passes() {
        let device = Device::flex().autodiff();
        let maps = Tensor::<4>::full([1, 1, 4, 4], f32::NAN, &device);
        let pool = MaxPool2dConfig::new([2, 2]).init();
        let output = Epilogue::new().with_relu().with_max_pool(&pool).apply(maps);
        assert!(to_vec(output).iter().all(|value| value.is_nan()));
    }
}
