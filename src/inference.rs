//! Converts a trained model for fast inference.

use core::cell::Cell;
use core::fmt;
use core::ops::Deref;

use burn::module::{Module, ModuleMapper};

std::thread_local! {
    static PACKING: Cell<bool> = const { Cell::new(false) };
}

/// A model that is made for inference. It computes what `model.valid()` computes, up to rounding. An
/// infinite input value may give NaN in place of infinity.
///
/// Each [`Conv`](crate::Conv) of the model is converted when it runs for the first time, on the device
/// of its weights:
/// - A normalization in its [`Epilogue`](crate::Epilogue) is folded into the weights
///   ([`Conv::folded`](crate::Conv::folded)).
/// - Where this crate has CPU code for inference, the weights are packed in the order in which that code
///   reads them, and the original weights are dropped. The outputs are channels-last in memory, and
///   the next `Conv` reads them without a copy. Bias, shortcut, ReLU and pooling are computed while the
///   output is in the cache. This needs the feature `flex`, Burn's flex backend, f32, and one group or
///   a depthwise convolution.
/// - In all other cases the folded convolution runs.
///
/// All other layers of the model do not change.
///
/// An `Inference` is not a Burn module, so it cannot be trained or saved by mistake. Train and save the
/// original model. `Inference::new` takes the model, so keep a clone.
///
/// # Panics
/// The inner model still has the methods of a Burn module. Methods that visit, train, save or move its
/// weights panic, and so does `num_params`. The message explains this.
///
/// A `Conv` panics if it runs
/// - with another normalization than the first time. The normalization is identified by the parameter id
///   of its scale. Changes to its values after the first time have no effect.
/// - on a device with automatic differentiation.
/// - in another float type than its weights.
///
/// # Example
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
    /// Makes the model for inference.
    pub fn new(model: M) -> Self {
        /// Restores the flag, even if a module panics.
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

/// Whether [`Inference::new`] is mapping a model on this thread. A [`Conv`](crate::Conv) that is mapped
/// then becomes a convolution for inference. The mapper itself cannot do this: a mapper of Burn sees
/// parameters, and not the layers that contain them.
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
