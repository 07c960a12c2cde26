//! Networks as files for other programs.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::BatchNorm;
use burn::tensor::{DType, Int, Tensor, TensorData};
use linearconv::{Coefficients, Conv, LinearConv2d};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::layers::Field;
use super::{Loaded, Metadata};
use crate::Error;
use crate::files;
use crate::models::{AnyNetwork, Layer, Layered};

/// Checks that a network can be written to a path.
///
/// # Errors
/// A message that says what is wrong with the path.
pub fn check(path: &Path, force: bool) -> Result<(), String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => {}
        Some("onnx") if cfg!(feature = "onnx") => {}
        Some("onnx") => {
            return Err(format!(
                "--export {}: run with `--features onnx`",
                path.display()
            ));
        }
        _ => {
            return Err(format!(
                "--export {}: the name of the file must end in .safetensors or .onnx",
                path.display()
            ));
        }
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        return Err(format!(
            "--export {}: there is no folder {}",
            path.display(),
            parent.display()
        ));
    }
    if path.exists() && !force {
        return Err(format!("--export {}: {EXISTS}", path.display()));
    }
    Ok(())
}

const EXISTS: &str = "the file exists; give another name, or --force to replace it";

/// Writes a network to a file, and replaces a file only with `force`. On an error no incomplete file is left.
/// LinearConv layers stay LinearConv layers, or become dense with `dense`. In ONNX they are factored, and
/// normalizations are folded.
///
/// # Errors
/// [`Error::Export`], which names the file.
pub fn write(
    loaded: Loaded,
    path: &Path,
    dense: bool,
    force: bool,
    metadata: &Metadata,
) -> Result<(), Error> {
    let failed = |reason: String| Error::Export {
        path: path.into(),
        reason,
    };
    let mut network = loaded.network.valid();
    let mut metadata = metadata.clone();
    if dense {
        make_dense(&mut network);
        metadata = metadata.made_dense();
    }
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        #[cfg(feature = "onnx")]
        Some("onnx") => super::onnx::to_bytes(network, loaded.channels, &metadata),
        _ => to_safetensors(network, &metadata),
    };
    let bytes = bytes.map_err(failed)?;
    let written = match force {
        true => files::write(path, &bytes),
        false => files::write_new(path, &bytes),
    };
    written.map_err(|error| {
        failed(match error.kind() {
            ErrorKind::AlreadyExists => EXISTS.into(),
            _ => error.to_string(),
        })
    })
}

/// Replaces LinearConv layers by the dense layers with the same outputs.
pub fn make_dense(network: &mut AnyNetwork) {
    for layer in network.layers() {
        if let Layer::Conv { conv, .. } = layer {
            *conv = Conv::Dense(conv.to_conv2d());
        }
    }
}

/// The bytes of a SafeTensors file. Tensors have PyTorch's names; the fields of LinearConv layers have the
/// names of the reference implementation.
fn to_safetensors(mut network: AnyNetwork, metadata: &Metadata) -> Result<Vec<u8>, String> {
    let mut tensors = Named::default();
    for layer in network.layers() {
        match layer {
            Layer::Conv {
                name, conv, norm, ..
            } => {
                tensors.conv(&name.pytorch, conv);
                if let Some(norm) = norm
                    && let Some(layer) = norm.layer
                {
                    tensors.norm(&norm.name.pytorch, layer);
                }
            }
            Layer::Linear { name, linear } => {
                let weight = linear.weight.val().transpose().into_data();
                tensors.put(&name.pytorch, Field::Weight, weight);
                tensors.bias(&name.pytorch, linear.bias.as_ref());
            }
        }
    }
    let views: Result<Vec<(&String, TensorView<'_>)>, _> = tensors
        .0
        .iter()
        .map(|(name, data)| {
            let dtype = match data.dtype() {
                DType::I64 => Dtype::I64,
                _ => Dtype::F32,
            };
            let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
            view.map(|view| (name, view))
        })
        .collect();
    let views = views.map_err(|error| error.to_string())?;
    let metadata = metadata
        .entries()
        .map(|(name, value)| (name.into(), value.into()));
    let metadata = metadata.collect();
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// Tensors by their names in PyTorch.
#[derive(Default)]
struct Named(BTreeMap<String, TensorData>);

impl Named {
    fn put(&mut self, layer: &str, field: Field, data: TensorData) {
        let data = match data.dtype() {
            DType::I64 | DType::I32 => data.convert_dtype(DType::I64),
            _ => data.convert_dtype(DType::F32),
        };
        self.0
            .insert(format!("{layer}.{}", field.in_pytorch()), data);
    }

    fn float<const D: usize>(&mut self, layer: &str, field: Field, param: &Param<Tensor<D>>) {
        self.put(layer, field, param.val().into_data());
    }

    fn order(&mut self, layer: &str, field: Field, order: Option<&Param<Tensor<1, Int>>>) {
        if let Some(order) = order {
            self.put(layer, field, order.val().into_data());
        }
    }

    fn bias(&mut self, layer: &str, bias: Option<&Param<Tensor<1>>>) {
        if let Some(bias) = bias {
            self.float(layer, Field::Bias, bias);
        }
    }

    fn conv(&mut self, layer: &str, conv: &Conv) {
        match conv {
            Conv::Dense(conv) => {
                self.float(layer, Field::Weight, &conv.weight);
                self.bias(layer, conv.bias.as_ref());
            }
            Conv::Linear(conv) => self.linear_conv(layer, conv),
            _ => unreachable!("a network that was made for inference cannot be exported"),
        }
    }

    fn linear_conv(&mut self, layer: &str, conv: &LinearConv2d) {
        self.float(layer, Field::Primary, &conv.primary);
        match &conv.coefficients {
            Coefficients::Full(full) => {
                self.float(layer, Field::Coefficients, &full.weight);
                // In the reference implementation, a full layer has a mask too.
                let mask = TensorData::ones::<f32, _>(full.weight.dims());
                self.put(layer, Field::Mask, mask);
            }
            Coefficients::LowRank(low_rank) => {
                self.float(layer, Field::Column, &low_rank.column);
                self.float(layer, Field::Row, &low_rank.row);
            }
            Coefficients::Sparse(sparse) => {
                self.float(layer, Field::Coefficients, &sparse.weight);
                self.put(layer, Field::Mask, sparse.mask.val().float().into_data());
            }
        }
        if let Some(mix) = &conv.channel_coefficients {
            self.float(layer, Field::ChannelCoefficients, mix);
        }
        self.order(layer, Field::Order, conv.order.as_ref());
        self.order(layer, Field::ChannelOrder, conv.channel_order.as_ref());
        self.bias(layer, conv.bias.as_ref());
    }

    fn norm(&mut self, layer: &str, norm: &BatchNorm) {
        self.float(layer, Field::Gamma, &norm.gamma);
        self.float(layer, Field::Beta, &norm.beta);
        self.put(layer, Field::Mean, norm.running_mean.value().into_data());
        self.put(layer, Field::Variance, norm.running_var.value().into_data());
    }
}
