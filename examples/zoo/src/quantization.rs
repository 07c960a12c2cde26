//! Weights in 8 bits.

use burn::module::{Module, ModuleMapper, Param, Quantizer};
use burn::tensor::quantization::{Calibration, QuantScheme, QuantStore, QuantValue};
use burn::tensor::{Device, Tensor};

use crate::Error;

/// How a device stores 8-bit weights.
///
/// # Errors
/// [`Error::Flags`] if the device packs four values into a word along the last dimension. Burn then does not
/// accept kernels of three columns.
pub(crate) fn scheme(device: &Device) -> Result<QuantScheme, Error> {
    let scheme = device.settings().quantization.scheme;
    if scheme.store == QuantStore::Native {
        return Ok(scheme.with_value(QuantValue::Q8S));
    }
    let reason = "--int8: this backend packs four values into a word, which is not possible \
                  for kernels of three columns; use --backend flex";
    Err(Error::Flags(reason.into()))
}

/// Rounds filters, coefficients and the matrices of linear layers to 8 bits.
///
/// Vectors stay floats: biases, thresholds and normalizations. They are few numbers, and variances differ by
/// many orders of magnitude.
pub(crate) fn quantize<M: Module>(module: M, scheme: QuantScheme) -> M {
    module.map(&mut Weights(Quantizer::new(Calibration::MinMax, scheme)))
}

struct Weights(Quantizer);

impl ModuleMapper for Weights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match D {
            0 | 1 => param,
            _ => self.0.map_float(param),
        }
    }
}
