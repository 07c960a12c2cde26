//! Channels-last images, and their conversion from and to Burn's tensors.

use burn::backend::flex::FlexTensor;
use burn::backend::{BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind};
use burn::tensor::{DType, Tensor, TensorData};

use crate::flex::is_flex;

/// Images of shape `[count, height, width, channels]`.
#[derive(Clone, Debug)]
pub(super) struct Images {
    tensor: FlexTensor,
    pub(super) size: [usize; 4],
}

impl Images {
    pub(super) fn new(values: Vec<f32>, size: [usize; 4]) -> Self {
        Self {
            tensor: FlexTensor::from_data(TensorData::new(values, size)),
            size,
        }
    }

    /// Converts maps of shape `[count, channels, height, width]`. Maps that are channels-last in
    /// memory are not copied.
    ///
    /// # Panics
    /// Panics on maps of another backend or type than the packed weights, or with automatic
    /// differentiation.
    pub(super) fn from_maps(maps: Tensor<4>) -> Self {
        let [count, channels, height, width] = maps.dims();
        let size = [count, height, width, channels];
        let (device, dtype) = (maps.device(), maps.dtype());
        assert!(
            is_flex(&maps) && !device.is_autodiff() && dtype == DType::F32,
            "a convolution that is made for inference takes maps in F32 on the flex backend without \
             automatic differentiation, as its weights are; these are {dtype:?} on {device:?}"
        );
        let maps = match maps.into_dispatch().kind {
            DispatchTensorKind::Flex(maps) => maps.float(),
            _ => unreachable!("a tensor of the flex backend"),
        };
        let tensor = maps.permute(&[0, 2, 3, 1]);
        if tensor.is_contiguous() {
            return Self { tensor, size };
        }
        let maps = maps.to_contiguous();
        let maps: &[f32] = maps.as_slice().expect("contiguous values");
        Self::new(channels_last(maps, channels, height * width), size)
    }

    /// Converts to maps of shape `[count, channels, height, width]`, which stay channels-last in
    /// memory.
    pub(super) fn into_maps(self) -> Tensor<4> {
        let maps = self.tensor.permute(&[0, 3, 1, 2]);
        Tensor::from_dispatch(DispatchTensor {
            kind: DispatchTensorKind::Flex(BackendTensor::Float(maps)),
            autodiff: DispatchAutodiffContext::Disabled,
        })
    }

    pub(super) fn values(&self) -> &[f32] {
        self.tensor.as_slice().expect("contiguous values")
    }
}

/// # Panics
/// Panics on a shortcut of another size than the output.
pub(super) fn check_shortcut(shortcut: Option<&Images>, output: [usize; 4]) {
    let maps = |[count, height, width, channels]: [usize; 4]| [count, channels, height, width];
    if let Some(shortcut) = shortcut {
        let (found, expected) = (maps(shortcut.size), maps(output));
        assert_eq!(
            found, expected,
            "the shortcut has the shape {found:?}, the output of the convolution has {expected:?}"
        );
    }
}

/// # Shapes
/// - maps: `[count, channels, pixels]`
/// - output: `[count, pixels, channels]`
fn channels_last(maps: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut output = Vec::with_capacity(maps.len());
    for maps in maps.chunks_exact((channels * pixels).max(1)) {
        for pixel in 0..pixels {
            let channels = maps[pixel..].iter().step_by(pixels);
            output.extend(channels.copied());
        }
    }
    output
}
