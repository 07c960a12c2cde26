//! A convolution that is made for inference.

use std::boxed::Box;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::module::ParamId;
use burn::nn::BatchNorm;
use burn::tensor::{Device, Tensor};

use crate::conv::Conv;
use crate::cost::LayerCost;
use crate::epilogue::Epilogue;
#[cfg(feature = "flex")]
use crate::flex::packed::Packed;

/// The panic message where a packed convolution is asked for its weights.
pub(crate) const NO_WEIGHTS: &str = "this convolution is made for inference, see \
    `linearconv::Inference`: it has no parameters to be trained, saved, counted, compressed or moved. \
    Use the model that it was made from";

/// A convolution of a model that is made for inference. [`Inference`](crate::Inference) makes it.
#[derive(Clone, Debug)]
pub struct PackedConv {
    cost: LayerCost,
    id: ParamId,
    device: Device,
    form: Arc<Form>,
}

/// The original convolution, until the first call. The converted convolution, after the first call.
#[derive(Debug)]
struct Form {
    original: Mutex<Option<Conv>>,
    made: OnceLock<Made>,
}

#[derive(Debug)]
struct Made {
    /// The id of the scale of the normalization in the first call.
    norm: Option<ParamId>,
    kernel: Kernel,
}

#[derive(Debug)]
enum Kernel {
    #[cfg(feature = "flex")]
    Packed(Box<Packed>),
    /// The convolution where it cannot be packed. It has the normalization if that could not be folded.
    Folded(Box<Conv>, Option<Box<BatchNorm>>),
}

impl PackedConv {
    pub(crate) fn new(conv: Conv) -> Self {
        Self {
            cost: conv.cost(),
            id: conv.id(),
            device: conv.device(),
            form: Arc::new(Form {
                original: Mutex::new(Some(conv)),
                made: OnceLock::new(),
            }),
        }
    }

    pub(crate) fn cost(&self) -> LayerCost {
        self.cost
    }

    pub(crate) fn id(&self) -> ParamId {
        self.id
    }

    /// The device of the weights.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Applies the convolution and the steps of the epilogue.
    ///
    /// # Shapes
    /// As [`Conv::forward_with`].
    ///
    /// # Panics
    /// Panics if the normalization is not that of the first call, or if the input is on a device with
    /// automatic differentiation.
    pub(crate) fn forward_with(&self, input: Tensor<4>, epilogue: Epilogue) -> Tensor<4> {
        assert!(!input.device().is_autodiff(), "{NO_WEIGHTS}");
        let norm = epilogue.norm.map(|norm| norm.gamma.id);
        let made = self.form.made.get();
        let made = made.unwrap_or_else(|| self.make(epilogue.norm));
        assert_eq!(
            made.norm, norm,
            "a convolution that is made for inference runs with the normalization of its first call"
        );
        let epilogue = Epilogue {
            norm: None,
            ..epilogue
        };
        match &made.kernel {
            #[cfg(feature = "flex")]
            Kernel::Packed(packed) => packed.forward(input, epilogue),
            Kernel::Folded(conv, norm) => {
                let norm = norm.as_deref();
                conv.forward_with(input, Epilogue { norm, ..epilogue })
            }
        }
    }

    /// Converts the convolution, with the normalization of the first call.
    ///
    /// No lock is held during the conversion. A thread of rayon that waits for other threads may start
    /// another call of the same convolution, which would wait for the lock for ever. If several calls
    /// convert the convolution at once, one result is kept.
    fn make(&self, norm: Option<&BatchNorm>) -> &Made {
        let original = || {
            let original = self.form.original.lock();
            original.unwrap_or_else(PoisonError::into_inner)
        };
        let conv = original().clone();
        if let Some(conv) = conv {
            let made = Made {
                norm: norm.map(|norm| norm.gamma.id),
                kernel: Kernel::new(conv, norm),
            };
            let _ = self.form.made.set(made);
            *original() = None;
        }
        let made = self.form.made.get();
        made.expect("the original is dropped once it is made")
    }
}

impl Kernel {
    fn new(conv: Conv, norm: Option<&BatchNorm>) -> Self {
        let conv = conv.as_it_runs();
        let folded = norm.map(|norm| {
            let dense = || Conv::Dense(conv.to_conv2d()).folded(norm);
            conv.folded(norm).or_else(dense)
        });
        match folded {
            // Statistics are not finite: the normalization remains a separate layer.
            Some(None) => Self::Folded(Box::new(conv), norm.map(|norm| Box::new(norm.clone()))),
            Some(Some(folded)) => Self::without_norm(folded),
            None => Self::without_norm(conv),
        }
    }

    fn without_norm(conv: Conv) -> Self {
        #[cfg(feature = "flex")]
        if let Some(packed) = Packed::new(&conv) {
            return Self::Packed(Box::new(packed));
        }
        Self::Folded(Box::new(conv), None)
    }
}
