//! Models that are made for inference once.

use core::cell::Cell;
use core::fmt;
use core::ops::Deref;

use burn::module::{Module, ModuleMapper};

std::thread_local! {
    static PACKING: Cell<bool> = const { Cell::new(false) };
}

/// A model whose [`Conv`](crate::Conv)s are made for inference.
///
/// It consumes the model, and it computes what `model.valid()` computes. Each `Conv` is made when it runs for
/// the first time, on the device of its weights:
/// - A normalization in its [`Epilogue`](crate::Epilogue) is folded into it
///   ([`Conv::folded`](crate::Conv::folded)).
/// - With the feature `flex`, on Burn's flex backend, in f32, with one group or depthwise, the weights are packed in
///   the order in which the kernel reads them, and the original weights are dropped. Its outputs are
///   channels-last in memory, which the next `Conv` reads as they are. Bias, shortcut, ReLU and pooling
///   follow while the output is in the cache.
/// - Elsewhere it is the folded convolution.
///
/// All other layers of the model stay as they are.
///
/// It is no Burn module, so that it cannot be trained or saved by mistake: train and save the
/// model that it is made from, which `clone()` keeps.
///
/// # Panics
/// The model in it still has Burn's methods. What would visit its weights panics with a message that says
/// so, `num_params` too. A `Conv` panics where it runs with another normalization than the first time, on a
/// device with automatic differentiation, and in another float type than that of its weights. The
/// normalization is known by the identity of its scale; what is changed in it later has no effect.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::Conv2dConfig;
/// use burn::nn::{BatchNorm, BatchNormConfig};
/// use burn::tensor::{Device, Tensor};
/// use linearconv::{CoefficientsConfig, Conv, ConvConfig, Epilogue, Inference};
///
/// #[derive(Module, Debug)]
/// struct Model {
///     conv: Conv,
///     norm: BatchNorm,
/// }
///
/// impl Model {
///     fn forward(&self, images: Tensor<4>) -> Tensor<4> {
///         let epilogue = Epilogue::new().with_norm(&self.norm).with_relu();
///         self.conv.forward_with(images, epilogue)
///     }
/// }
///
/// let device = Device::default();
/// let full = ConvConfig::linear(CoefficientsConfig::Full);
/// let model = Model {
///     conv: full.with_layer(Conv2dConfig::new([3, 8], [3, 3])).init(&device),
///     norm: BatchNormConfig::new(8).init(&device),
/// };
/// let images = Tensor::ones([1, 3, 6, 6], &device);
/// let expected = model.forward(images.clone());
///
/// let model = Inference::new(model);
/// let output = model.forward(images);
/// output.into_data().assert_approx_eq::<f32>(&expected.into_data(), Default::default());
/// ```
#[derive(Clone)]
pub struct Inference<M> {
    model: M,
}

impl<M: Module> Inference<M> {
    /// Makes a model for inference.
    pub fn new(model: M) -> Self {
        /// Puts back what was there also where a module panics.
        struct Before(bool);
        impl Drop for Before {
            fn drop(&mut self) {
                PACKING.set(self.0);
            }
        }
        struct Unchanged;
        impl ModuleMapper for Unchanged {}

        let model = model.valid();
        let _before = Before(PACKING.replace(true));
        Self {
            model: model.map(&mut Unchanged),
        }
    }
}

/// Whether a convolution that is mapped now is to be made for inference: a mapper of Burn's sees
/// parameters, not the layers that they belong to.
pub(crate) fn is_packing() -> bool {
    PACKING.get()
}

impl<M> Deref for Inference<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model
    }
}

impl<M: fmt::Debug> fmt::Debug for Inference<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter
            .debug_tuple("Inference")
            .field(&self.model)
            .finish()
    }
}
