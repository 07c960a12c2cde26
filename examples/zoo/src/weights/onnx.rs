//! Networks as ONNX files, written by Burn's own exporter.

use burn::module::Param;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Device, Tensor};
use burn_onnx::export::{AxisSpec, InputSpec, OnnxExporter};
use linearconv::{Coefficients, Conv, Evaluation, FullCoefficients, LinearConv2d};
use onnx_ir::{Message, ModelProto, ValueInfoProto};

use super::Metadata;
use crate::models::{AnyNetwork, IMAGE_SIDE, Layer, Layered, Network};

/// The bytes of an ONNX file, for batches of any size. Normalizations are folded, and LinearConv layers are
/// factored.
///
/// # Errors
/// A message that says what the exporter cannot export.
pub fn to_bytes(
    mut network: AnyNetwork,
    channels: usize,
    metadata: &Metadata,
) -> Result<Vec<u8>, String> {
    fold(&mut network);
    let side = IMAGE_SIDE;
    let images = |count| Tensor::<4>::zeros([count, channels, side, side], &Device::flex());
    let fixed = AxisSpec::Static;
    let axes = InputSpec::new([
        AxisSpec::dynamic("batch"),
        fixed.clone(),
        fixed.clone(),
        fixed,
    ]);
    let forward = |network: &AnyNetwork, images| network.forward(images);
    let model = OnnxExporter::new()
        .export_dynamic(&network, images(2), images(3), &[axes], forward)
        .map_err(|error| error.to_string())?;
    labelled(model.as_bytes(), metadata)
}

/// Adds metadata to the model, and names its input `images` and its output `logits`.
fn labelled(model: &[u8], metadata: &Metadata) -> Result<Vec<u8>, String> {
    let model = ModelProto::parse_from_bytes(model);
    let mut model = model.map_err(|error| error.to_string())?;
    for (key, value) in metadata.entries() {
        // The crate of the exporter does not export the type of an entry, so a default is added and changed.
        model.metadata_props.push(Default::default());
        if let Some(entry) = model.metadata_props.last_mut() {
            (entry.key, entry.value) = (key.into(), value.into());
        }
    }
    let graph = model.graph.mut_or_insert_default();
    let name = |values: &[ValueInfoProto]| values.first().map(|value| value.name.clone());
    let [input, output] = [name(&graph.input), name(&graph.output)];
    let rename = |name: &mut String| {
        if Some(&*name) == input.as_ref() {
            *name = "images".into();
        } else if Some(&*name) == output.as_ref() {
            *name = "logits".into();
        }
    };
    let values = graph.input.iter_mut().chain(&mut graph.output);
    values.for_each(|value| rename(&mut value.name));
    for node in &mut graph.node {
        node.input
            .iter_mut()
            .chain(&mut node.output)
            .for_each(rename);
    }
    model.write_to_bytes().map_err(|error| error.to_string())
}

/// Folds normalizations and factors layers where that is possible. The result is convolutions, most of them
/// with
/// 1×1 kernels, which ONNX runtimes compute fast.
fn fold(network: &mut AnyNetwork) {
    for layer in network.layers() {
        let Layer::Conv {
            conv, norm, mix, ..
        } = layer
        else {
            continue;
        };
        if let Some(norm) = norm
            && let Some(folded) = norm.layer.as_ref().and_then(|norm| conv.folded(norm))
        {
            *conv = folded;
            *norm.layer = None;
        }
        if let Conv::Linear(layer) = conv {
            mask(layer);
            match mix {
                Some(mix) => *mix = take_mix(layer),
                // The network has no place for a convolution before this layer.
                None if layer.channel_coefficients.is_some() => {
                    *conv = Conv::Dense(layer.to_conv2d());
                    continue;
                }
                None => {}
            }
            if layer.groups == 1 {
                *layer = layer.clone().with_evaluation(Evaluation::Factored);
            }
        }
    }
}

/// Replaces masked coefficients by zeros.
fn mask(layer: &mut LinearConv2d) {
    if let Coefficients::Sparse(_) = layer.coefficients {
        layer.coefficients = Coefficients::Full(FullCoefficients {
            weight: Param::from_tensor(layer.coefficients.matrix()),
        });
    }
}

/// Takes the combination of input channels out of the layer, and returns it as a 1×1 convolution.
fn take_mix(layer: &mut LinearConv2d) -> Option<Conv> {
    let matrix = layer.channel_matrix()?;
    (layer.channel_coefficients, layer.channel_order) = (None, None);
    let ([primary, channels], device) = (matrix.dims(), matrix.device());
    let mut mix = Conv2dConfig::new([channels, primary], [1, 1])
        .with_bias(false)
        .init(&device);
    mix.weight = Param::from_tensor(matrix.reshape([primary, channels, 1, 1]));
    Some(Conv::Dense(mix))
}
