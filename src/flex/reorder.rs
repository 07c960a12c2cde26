//! The channels of images in another order. Burn's `select` does it forward; its backward pass adds
//! every value to a zero, where another copy will do.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, TensorData};
use rayon::prelude::*;

use super::real::Real;

/// Puts channel `order[i]` in the place of channel `i`.
///
/// # Shapes
/// - images: `[batch_size, channels, height, width]`, as the output
pub(super) fn reorder(images: &FlexTensor, order: &[usize]) -> FlexTensor {
    match images.dtype() {
        DType::F64 => reorder_in::<f64>(images, order),
        _ => reorder_in::<f32>(images, order),
    }
}

/// The order that undoes an order.
///
/// # Panics
/// Panics unless it holds every channel once.
pub(super) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![usize::MAX; order.len()];
    for (place, channel) in order.iter().enumerate() {
        let found = inverse
            .get_mut(*channel)
            .filter(|found| **found == usize::MAX);
        let found = found.unwrap_or_else(|| panic!("{order:?} is not an order of the channels"));
        *found = place;
    }
    inverse
}

fn reorder_in<T: Real>(images: &FlexTensor, order: &[usize]) -> FlexTensor {
    let images = images.to_contiguous();
    let shape: [usize; 4] = images.layout().shape().dims();
    let plane = shape[2] * shape[3];
    let values = T::values(&images);
    let mut output = vec![T::zero(); values.len()];
    if plane > 0 {
        output
            .par_chunks_mut(plane)
            .enumerate()
            .with_min_len(32)
            .for_each(|(index, output)| {
                let (image, channel) = (index / order.len(), index % order.len());
                let from = (image * order.len() + order[channel]) * plane;
                output.copy_from_slice(&values[from..from + plane]);
            });
    }
    FlexTensor::from_data(TensorData::new(output, shape))
}
