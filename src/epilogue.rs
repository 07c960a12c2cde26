//! What follows a convolution: batch normalization, a shortcut, an activation, a pool.

use burn::nn::BatchNorm;
use burn::nn::pool::MaxPool2d;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

/// What [`Conv::forward_with`](crate::Conv::forward_with) applies to the output of a convolution: a
/// batch normalization, then a shortcut that is added, then ReLU, then a max pool. Each of them may be
/// absent.
///
/// It computes what these layers compute one after the other, in fewer passes over memory. "Epilogue"
/// is the name that CUTLASS and cuDNN have for it.
///
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
    pub(crate) max_pool: Option<&'a MaxPool2d>,
}

impl<'a> Epilogue<'a> {
    /// One that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Normalizes the output of the convolution, over a batch in training and by the running
    /// statistics elsewhere, as [`BatchNorm::forward`].
    pub fn with_norm(self, norm: &'a BatchNorm) -> Self {
        Self {
            norm: Some(norm),
            ..self
        }
    }

    /// Adds a tensor of the shape of the output, behind the normalization.
    pub fn with_shortcut(self, shortcut: Tensor<4>) -> Self {
        Self {
            shortcut: Some(shortcut),
            ..self
        }
    }

    /// Sets what is negative to zero, behind the shortcut.
    pub fn with_relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// Takes the maximum of every window, at the end.
    pub fn with_max_pool(self, pool: &'a MaxPool2d) -> Self {
        Self {
            max_pool: Some(pool),
            ..self
        }
    }

    /// # Shapes
    /// - maps: `[batch_size, channels_out, height_out, width_out]`
    /// - output: as the maps, or as the pool's output
    pub(crate) fn apply(self, maps: Tensor<4>) -> Tensor<4> {
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
        match self.max_pool {
            Some(pool) => pool.forward(maps),
            None => maps,
        }
    }
}
