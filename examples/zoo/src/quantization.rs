//! Weights in 8 bits.

use burn::module::{Module, ModuleMapper, Param, Quantizer};
use burn::tensor::quantization::{Calibration, QuantScheme, QuantStore, QuantValue};
use burn::tensor::{Device, Tensor};

use crate::Error;

/// How a device stores 8 bits.
///
/// # Errors
/// [`Error::Flags`] where Burn packs four values into a word along the last dimension: it refuses
/// kernels of three columns then.
pub(crate) fn scheme(device: &Device) -> Result<QuantScheme, Error> {
    let scheme = device.settings().quantization.scheme;
    if scheme.store == QuantStore::Native {
        return Ok(scheme.with_value(QuantValue::Q8S));
    }
    let reason = "--int8: this backend packs four values into a word, which kernels of three \
                  columns do not allow; use the backend of the CPU";
    Err(Error::Flags(reason.into()))
}

/// Rounds filters, coefficients and the matrices of linear layers to 8 bits.
///
/// Vectors stay floats. They are biases, thresholds and normalizations: few numbers, of which the
/// variances span many magnitudes.
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
