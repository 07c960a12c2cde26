//! Layers from tensors, under the names of Burn's records or of PyTorch's checkpoints.

use std::collections::BTreeMap;

use burn::module::RunningState;
use burn::module::{Param, ParamId};
use burn::nn::{BatchNorm, Linear};
use burn::tensor::{DType, Device, Tensor, TensorData};
use linearconv::{
    Coefficients, Conv, FullCoefficients, LinearConv2dConfig, LowRankCoefficients,
    SparseCoefficients,
};

use super::Error;
use super::file::Tensors;
use crate::models::{Layer, LayerName, NetworkName, Norm};

/// Under which name a file has what a network asks for.
pub struct Reader {
    network: NetworkName,
    /// The names of the file by those without the variants of enums, which records of Burn have and
    /// the paths of layers have not.
    names: BTreeMap<String, String>,
}

/// The variants of enums in the paths of Burn's records.
const VARIANTS: [&str; 10] = [
    "Vgg",
    "AllConv",
    "ResNet",
    "MobileNetV2",
    "SqueezeNet",
    "Dense",
    "Linear",
    "Full",
    "LowRank",
    "Sparse",
];

/// Fields of a layer, as this program knows them.
#[derive(Clone, Copy)]
pub enum Field {
    Weight,
    Bias,
    Primary,
    Coefficients,
    Mask,
    Threshold,
    Column,
    Row,
    Order,
    ChannelCoefficients,
    ChannelOrder,
    Gamma,
    Beta,
    Mean,
    Variance,
}

impl Field {
    /// In the reference implementation; what it lacks, as this program exports it.
    pub fn in_pytorch(self) -> &'static str {
        match self {
            Self::Weight | Self::Gamma => "weight",
            Self::Bias | Self::Beta => "bias",
            Self::Primary => "conv_weights",
            Self::Coefficients => "linear_weights",
            Self::Mask => "mask",
            Self::Threshold => "threshold",
            Self::Column => "column_weights",
            Self::Row => "row_weights",
            Self::Order => "order",
            Self::ChannelCoefficients => "channel_weights",
            Self::ChannelOrder => "channel_order",
            Self::Mean => "running_mean",
            Self::Variance => "running_var",
        }
    }

    /// In records of Burn: of a layer, and of a dense layer that was compressed.
    fn in_burn(self) -> &'static [&'static str] {
        match self {
            Self::Weight => &["weight"],
            Self::Bias => &["bias"],
            // Without coefficients beside it, it is the weight of a dense layer.
            Self::Primary => &["primary", "weight"],
            Self::Coefficients => &[
                "coefficients.weight",
                "weight.linear_conv.coefficients.weight",
            ],
            Self::Mask => &["coefficients.mask", "weight.linear_conv.coefficients.mask"],
            Self::Threshold => &[
                "coefficients.threshold",
                "weight.linear_conv.coefficients.threshold",
            ],
            Self::Column => &[
                "coefficients.column",
                "weight.linear_conv.coefficients.column",
            ],
            Self::Row => &["coefficients.row", "weight.linear_conv.coefficients.row"],
            Self::Order => &["order", "weight.linear_conv.order"],
            Self::ChannelCoefficients => &[
                "channel_coefficients",
                "weight.linear_conv.channel_coefficients",
            ],
            Self::ChannelOrder => &["channel_order", "weight.linear_conv.channel_order"],
            Self::Gamma => &["gamma"],
            Self::Beta => &["beta"],
            Self::Mean => &["running_mean"],
            Self::Variance => &["running_var"],
        }
    }
}

/// A tensor that a file has.
struct Found {
    /// Its name there.
    name: String,
    /// Whether it is named, and so laid out, as in PyTorch.
    is_pytorch: bool,
}

impl Reader {
    /// One for the names of a file.
    pub fn new(tensors: &Tensors, network: NetworkName) -> Self {
        let short = |name: &str| {
            let parts = name.split('.').filter(|part| !VARIANTS.contains(part));
            parts.collect::<Vec<_>>().join(".")
        };
        let names = tensors.names().map(|name| (short(name), name.into()));
        Self {
            network,
            names: names.collect(),
        }
    }

    fn find(&self, layer: &LayerName, field: Field) -> Option<Found> {
        let in_burn = field.in_burn().iter();
        let in_burn = in_burn.map(|field| (format!("{}.{field}", layer.burn), false));
        let in_pytorch = format!("{}.{}", layer.pytorch, field.in_pytorch());
        let mut names = std::iter::once((in_pytorch, true)).chain(in_burn);
        names.find_map(|(name, is_pytorch)| {
            let name = self.names.get(&name)?.clone();
            Some(Found { name, is_pytorch })
        })
    }

    fn need(&self, tensors: &Tensors, layer: &LayerName, field: Field) -> Result<Found, Error> {
        self.find(layer, field).ok_or_else(|| {
            let in_burn = field.in_burn().iter();
            let in_burn = in_burn.map(|field| format!("{}.{field}", layer.burn));
            let in_pytorch = format!("{}.{}", layer.pytorch, field.in_pytorch());
            Error::Missing {
                layer: layer.pytorch.clone(),
                expected: std::iter::once(in_pytorch).chain(in_burn).collect(),
                found: some(tensors.names()),
                network: self.network.to_string(),
            }
        })
    }

    /// The channels of images and the classes, by the first and the last layer.
    pub fn sizes(&self, tensors: &Tensors, layers: &[Layer<'_>]) -> Result<(usize, usize), Error> {
        let (Some(first), Some(last)) = (layers.first(), layers.last()) else {
            return Ok((3, 10));
        };
        let (Layer::Conv { name: first, .. } | Layer::Linear { name: first, .. }) = first;
        let filters = match self.find(first, Field::Primary) {
            Some(primary) => primary,
            None => self.need(tensors, first, Field::Weight)?,
        };
        let (Layer::Conv { name: last, .. } | Layer::Linear { name: last, .. }) = last;
        let bias = self.need(tensors, last, Field::Bias)?;
        let size = |found: &Found, axis: usize, axes: usize| {
            let shape = tensors.shape(&found.name).unwrap_or_default();
            match shape.get(axis) {
                Some(size @ 1..) if shape.len() == axes => Ok(*size),
                _ => Err(Error::Shape {
                    name: found.name.clone(),
                    expected: vec![0; axes],
                    found: shape,
                }),
            }
        };
        Ok((size(&filters, 1, 4)?, size(&bias, 0, 1)?))
    }

    /// A convolution of the kind that the file has, in the place of a dense one.
    pub fn conv(
        &self,
        tensors: &mut Tensors,
        layer: &LayerName,
        place: &Conv,
        device: &Device,
    ) -> Result<Conv, Error> {
        let Conv::Dense(place) = place else {
            unreachable!("networks to load into are dense");
        };
        let [filters, channels, height, width] = place.weight.lazy_shape().dims::<4>();
        let param = |data: TensorData| Param::from_tensor(Tensor::from_data(data, device));
        let bias = match self.find(layer, Field::Bias) {
            Some(found) => Some(tensors.floats(&found.name, &[filters])?),
            None if place.bias.is_none() => None,
            None => {
                return Err(self
                    .need(tensors, layer, Field::Bias)
                    .err()
                    .expect("absent"));
            }
        };
        let bias = bias.map(|data| Param::from_tensor(Tensor::from_data(data, device)));
        let Some(kind) = self.kind(layer) else {
            let weight = self.need(tensors, layer, Field::Weight)?;
            let data = tensors.floats(&weight.name, &[filters, channels, height, width])?;
            return Ok(Conv::Dense(burn::nn::conv::Conv2d {
                weight: param(data),
                bias,
                ..place.clone()
            }));
        };
        let primary = self.need(tensors, layer, Field::Primary)?;
        let found = tensors.shape(&primary.name).unwrap_or_default();
        let mix = self.find(layer, Field::ChannelCoefficients);
        let primary_channels = if mix.is_some() { 0 } else { channels };
        let fits = found.len() == 4 && (1..filters).contains(&found[0]) && found[1] <= channels;
        let expected = [0, primary_channels, height, width];
        if !fits {
            return Err(Error::Shape {
                name: primary.name,
                expected: expected.to_vec(),
                found,
            });
        }
        let data = tensors.floats(&primary.name, &expected)?;
        let (m, s) = (found[0], found[1]);
        let n = filters - m;
        let coefficients = self.coefficients(tensors, layer, kind, [n, m], device)?;
        let mut order = |field, count: usize| -> Result<_, Error> {
            let Some(found) = self.find(layer, field) else {
                return Ok(None);
            };
            let data = tensors.take(&found.name, &[count])?;
            order_of(&found.name, data, count, device).map(Some)
        };
        let (filters_order, channel_order) = (
            order(Field::Order, filters)?,
            order(Field::ChannelOrder, channels)?,
        );
        let channel_coefficients = match mix {
            Some(mix) => {
                let data = tensors.floats(&mix.name, &[s, channels - s])?;
                Some(Param::from_tensor(Tensor::from_data(data, device)))
            }
            None => None,
        };
        let geometry = LinearConv2dConfig::new([channels * place.groups, filters], [height, width])
            .with_stride(place.stride)
            .with_dilation(place.dilation)
            .with_groups(place.groups)
            .with_padding(place.padding.clone())
            .with_bias(false);
        let mut conv = geometry.try_init(device)?;
        conv.primary = param(data);
        conv.coefficients = coefficients;
        conv.channel_coefficients = channel_coefficients;
        conv.channel_order = channel_order;
        conv.bias = bias;
        conv.order = filters_order;
        Ok(Conv::Linear(conv))
    }

    fn kind(&self, layer: &LayerName) -> Option<Kind> {
        let has = |field| self.find(layer, field).is_some();
        match (
            has(Field::Column) || has(Field::Row),
            has(Field::Coefficients),
        ) {
            (true, _) => Some(Kind::LowRank),
            (false, true) => Some(Kind::Full),
            (false, false) => None,
        }
    }

    fn coefficients(
        &self,
        tensors: &mut Tensors,
        layer: &LayerName,
        kind: Kind,
        [n, m]: [usize; 2],
        device: &Device,
    ) -> Result<Coefficients, Error> {
        let param = |data: TensorData| Param::from_tensor(Tensor::from_data(data, device));
        if let Kind::LowRank = kind {
            let [column, row] = [Field::Column, Field::Row];
            let (column, row) = (
                self.need(tensors, layer, column)?,
                self.need(tensors, layer, row)?,
            );
            let (column, name) = (tensors.floats(&column.name, &[n, 0])?, row.name);
            let rank = column.shape()[1];
            let row = tensors.floats(&name, &[rank, m])?;
            // The reference implementation rounds the ranks of its narrowest layers to 0.
            let zeros = |shape| TensorData::zeros::<f32, _>(shape);
            let (column, row) = match rank {
                0 => (zeros([n, 1]), zeros([1, m])),
                _ => (column, row),
            };
            return Ok(Coefficients::LowRank(LowRankCoefficients {
                column: param(column),
                row: param(row),
            }));
        }
        let weight = self.need(tensors, layer, Field::Coefficients)?;
        let weight = param(tensors.floats(&weight.name, &[n, m])?);
        let threshold = match self.find(layer, Field::Threshold) {
            Some(threshold) => Some(tensors.floats(&threshold.name, &[1])?),
            None => None,
        };
        let Some(mask) = self.find(layer, Field::Mask) else {
            return Ok(Coefficients::Full(FullCoefficients { weight }));
        };
        let data = tensors.take(&mask.name, &[n, m])?;
        let found = data.dtype();
        let other = || Error::Type {
            name: mask.name.clone(),
            expected: "a mask of zeros and ones",
            found: format!("{found:?}"),
        };
        let values: Vec<f32> = data.iter::<f32>().collect();
        if values.iter().any(|value| *value != 0.0 && *value != 1.0) {
            return Err(other());
        }
        // A full layer of the reference implementation has a mask too.
        if threshold.is_none() && values.iter().all(|value| *value == 1.0) {
            return Ok(Coefficients::Full(FullCoefficients { weight }));
        }
        let mask: Vec<bool> = values.iter().map(|value| *value != 0.0).collect();
        let mask = Tensor::from_data(TensorData::new(mask, [n, m]), device);
        let threshold = threshold.unwrap_or_else(|| TensorData::zeros::<f32, _>([1]));
        let threshold = Tensor::from_data(threshold, device);
        Ok(Coefficients::Sparse(SparseCoefficients {
            weight,
            threshold: Param::initialized(ParamId::new(), threshold),
            mask: Param::initialized(ParamId::new(), mask),
        }))
    }

    /// The normalization that follows a convolution; none where it was folded.
    pub fn norm(
        &self,
        tensors: &mut Tensors,
        conv: &Conv,
        norm: &Norm<'_>,
        device: &Device,
    ) -> Result<Option<BatchNorm>, Error> {
        let fields = [Field::Gamma, Field::Beta, Field::Mean, Field::Variance];
        let is_folded = fields
            .iter()
            .all(|field| self.find(&norm.name, *field).is_none());
        let (Some(place), false) = (&*norm.layer, is_folded && conv.cost().bias) else {
            return Ok(None);
        };
        let features = place.gamma.lazy_shape()[0];
        let mut floats = |field| -> Result<Tensor<1>, Error> {
            let found = self.need(tensors, &norm.name, field)?;
            let data = tensors.floats(&found.name, &[features])?;
            Ok(Tensor::from_data(data, device))
        };
        Ok(Some(BatchNorm {
            gamma: Param::from_tensor(floats(Field::Gamma)?),
            beta: Param::from_tensor(floats(Field::Beta)?),
            running_mean: RunningState::new(floats(Field::Mean)?),
            running_var: RunningState::new(floats(Field::Variance)?),
            ..place.clone()
        }))
    }

    /// A linear layer.
    pub fn linear(
        &self,
        tensors: &mut Tensors,
        layer: &LayerName,
        place: &Linear,
        device: &Device,
    ) -> Result<Linear, Error> {
        let [inputs, outputs] = place.weight.lazy_shape().dims::<2>();
        let weight = self.need(tensors, layer, Field::Weight)?;
        let bias = self.need(tensors, layer, Field::Bias)?;
        let weight = match weight.is_pytorch {
            true => {
                let data = tensors.floats(&weight.name, &[outputs, inputs])?;
                Tensor::from_data(data, device).transpose()
            }
            false => {
                let data = tensors.floats(&weight.name, &[inputs, outputs])?;
                Tensor::from_data(data, device)
            }
        };
        let bias = tensors.floats(&bias.name, &[outputs])?;
        Ok(Linear {
            weight: Param::from_tensor(weight),
            bias: Some(Param::from_tensor(Tensor::from_data(bias, device))),
        })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Full,
    LowRank,
}

/// An order of so many filters or channels.
fn order_of(
    name: &str,
    data: TensorData,
    count: usize,
    device: &Device,
) -> Result<Param<Tensor<1, burn::tensor::Int>>, Error> {
    if !matches!(data.dtype(), DType::I64 | DType::I32) {
        return Err(Error::Type {
            name: name.into(),
            expected: "integers",
            found: format!("{:?}", data.dtype()),
        });
    }
    let indices: Vec<i64> = data.iter::<i64>().collect();
    let other = |index: &&i64| !(0..count as i64).contains(*index);
    if let Some(index) = indices.iter().find(other) {
        return Err(Error::Order {
            name: name.into(),
            index: *index,
            count,
        });
    }
    let order = Tensor::from_data(TensorData::new(indices, [count]), device);
    Ok(Param::initialized(ParamId::new(), order))
}

/// The first of some names.
pub fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 5;
    let names: Vec<&str> = names.collect();
    let more = match names.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = &names[..names.len().min(MOST)];
    format!("{}{more}", shown.join(", "))
}
