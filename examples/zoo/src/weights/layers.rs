//! Makes layers of tensors, which have the names of Burn's records or of PyTorch's checkpoints.

use std::collections::BTreeMap;

use burn::module::{Param, ParamId, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use linearconv::{
    Coefficients, Conv, FullCoefficients, LinearConv2dConfig, LowRankCoefficients,
    SparseCoefficients,
};

use super::Error;
use super::file::Tensors;
use crate::models::{AnyNetwork, Layer, LayerName, NetworkName, Norm};

/// Makes the layers of a network from the tensors of a file.
pub struct Reader<'a> {
    network: NetworkName,
    device: &'a Device,
    tensors: Tensors,
    /// From names without the variants of enums to the names in the file. Records of Burn have the variants
    /// in their names; the paths of layers do not.
    names: BTreeMap<String, String>,
}

/// The variants of enums in the paths of Burn's records, beside those of [`AnyNetwork`].
const VARIANTS: [&str; 5] = ["Dense", "Linear", "Full", "LowRank", "Sparse"];

/// The fields of a layer.
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
    /// The name in the reference implementation. For a field that it lacks: the name in files that this
    /// program exports.
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

    /// The names in records of Burn: of a LinearConv layer, and of a dense layer that was compressed.
    fn in_burn(self) -> &'static [&'static str] {
        match self {
            Self::Weight => &["weight"],
            Self::Bias => &["bias"],
            // `weight` holds the primary filters if the layer also has coefficients. Otherwise it is the
            // weight of a dense layer.
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
    /// The name in the file.
    name: String,
    /// Whether the name and the layout are PyTorch's.
    is_pytorch: bool,
}

impl<'a> Reader<'a> {
    /// A reader for a network on a device.
    pub fn new(tensors: Tensors, network: NetworkName, device: &'a Device) -> Self {
        let is_variant =
            |part: &&str| VARIANTS.contains(part) || AnyNetwork::MODULES.contains(part);
        let short = |name: &str| {
            let parts = name.split('.').filter(|part| !is_variant(part));
            parts.collect::<Vec<_>>().join(".")
        };
        let names = tensors.names().map(|name| (short(name), name.into()));
        Self {
            network,
            device,
            names: names.collect(),
            tensors,
        }
    }

    /// The metadata of the file. All of its tensors must have been used.
    ///
    /// # Errors
    /// [`Error::Unused`] if some tensors were not used.
    pub fn finish(self) -> Result<BTreeMap<String, String>, Error> {
        let unused = self.tensors.unused();
        if unused.is_empty() {
            return Ok(self.tensors.metadata);
        }
        Err(Error::Unused {
            count: unused.len(),
            names: some(unused.into_iter()),
            network: self.network.to_string(),
        })
    }

    /// The names that a field of a layer can have, without variants, and whether a name is PyTorch's.
    fn places(layer: &LayerName, field: Field) -> impl Iterator<Item = (String, bool)> {
        let in_pytorch = format!("{}.{}", layer.pytorch, field.in_pytorch());
        let in_burn = field.in_burn().iter();
        let in_burn = in_burn.map(|field| (format!("{}.{field}", layer.burn), false));
        std::iter::once((in_pytorch, true)).chain(in_burn)
    }

    fn find(&self, layer: &LayerName, field: Field) -> Option<Found> {
        Self::places(layer, field).find_map(|(name, is_pytorch)| {
            let name = self.names.get(&name)?.clone();
            Some(Found { name, is_pytorch })
        })
    }

    fn need(&self, layer: &LayerName, field: Field) -> Result<Found, Error> {
        self.find(layer, field).ok_or_else(|| Error::Missing {
            layer: layer.pytorch.clone(),
            expected: Self::places(layer, field).map(|(name, _)| name).collect(),
            found: some(self.tensors.names()),
            network: self.network.to_string(),
        })
    }

    /// A tensor of floats. In `shape`, 0 stands for any size.
    fn floats<const D: usize>(
        &mut self,
        found: &Found,
        shape: [usize; D],
    ) -> Result<Tensor<D>, Error> {
        let data = self.tensors.floats(&found.name, &shape)?;
        Ok(Tensor::from_data(data, self.device))
    }

    /// The tensor of a field that must be in the file.
    fn needed<const D: usize>(
        &mut self,
        layer: &LayerName,
        field: Field,
        shape: [usize; D],
    ) -> Result<Tensor<D>, Error> {
        let found = self.need(layer, field)?;
        self.floats(&found, shape)
    }

    /// The tensor of a field that may be missing in the file.
    fn optional<const D: usize>(
        &mut self,
        layer: &LayerName,
        field: Field,
        shape: [usize; D],
    ) -> Result<Option<Tensor<D>>, Error> {
        let found = self.find(layer, field);
        found.map(|found| self.floats(&found, shape)).transpose()
    }

    /// The number of channels of images and the number of classes, from the first and the last layer.
    pub fn sizes(&self, layers: &[Layer<'_>]) -> Result<(usize, usize), Error> {
        let (Some(first), Some(last)) = (layers.first(), layers.last()) else {
            return Ok((3, 10));
        };
        let (Layer::Conv { name: first, .. } | Layer::Linear { name: first, .. }) = first;
        let filters = match self.find(first, Field::Primary) {
            Some(primary) => primary,
            None => self.need(first, Field::Weight)?,
        };
        let (Layer::Conv { name: last, .. } | Layer::Linear { name: last, .. }) = last;
        let bias = self.need(last, Field::Bias)?;
        let size = |found: &Found, axis: usize, axes: usize| {
            let shape = self.tensors.shape(&found.name).unwrap_or_default();
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

    /// Makes a convolution of the kind that the file has. It replaces `place`, a dense convolution.
    pub fn conv(&mut self, layer: &LayerName, place: &Conv) -> Result<Conv, Error> {
        // `place` is dense, so this is the layer itself.
        let place = place.to_conv2d();
        let [filters, channels, height, width] = place.weight.lazy_shape().dims::<4>();
        let bias = match place.bias {
            Some(_) => Some(self.needed(layer, Field::Bias, [filters])?),
            // The file has a bias if a normalization was folded into the convolution.
            None => self.optional(layer, Field::Bias, [filters])?,
        };
        let bias = bias.map(Param::from_tensor);
        let Some(kind) = self.kind(layer) else {
            let shape = [filters, channels, height, width];
            return Ok(Conv::Dense(Conv2d {
                weight: Param::from_tensor(self.needed(layer, Field::Weight, shape)?),
                bias,
                ..place
            }));
        };
        let primary = self.need(layer, Field::Primary)?;
        let found = self.tensors.shape(&primary.name).unwrap_or_default();
        let mixes = self.find(layer, Field::ChannelCoefficients).is_some();
        let expected = [0, if mixes { 0 } else { channels }, height, width];
        let fits = found.len() == 4 && (1..filters).contains(&found[0]) && found[1] <= channels;
        if !fits {
            return Err(Error::Shape {
                name: primary.name,
                expected: expected.to_vec(),
                found,
            });
        }
        let primary = self.floats(&primary, expected)?;
        let (m, s) = (found[0], found[1]);
        let mut conv = LinearConv2dConfig::new([channels * place.groups, filters], [height, width])
            .with_stride(place.stride)
            .with_dilation(place.dilation)
            .with_groups(place.groups)
            .with_padding(place.padding)
            .with_bias(false)
            .try_init(self.device)?;
        conv.primary = Param::from_tensor(primary);
        conv.coefficients = self.coefficients(layer, kind, [filters - m, m])?;
        conv.order = self.order(layer, Field::Order, filters)?;
        conv.channel_order = self.order(layer, Field::ChannelOrder, channels)?;
        conv.channel_coefficients = self
            .optional(layer, Field::ChannelCoefficients, [s, channels - s])?
            .map(Param::from_tensor);
        conv.bias = bias;
        Ok(Conv::Linear(conv))
    }

    fn kind(&self, layer: &LayerName) -> Option<Kind> {
        let has = |field| self.find(layer, field).is_some();
        if has(Field::Column) || has(Field::Row) {
            Some(Kind::LowRank)
        } else {
            has(Field::Coefficients).then_some(Kind::Full)
        }
    }

    fn coefficients(
        &mut self,
        layer: &LayerName,
        kind: Kind,
        [n, m]: [usize; 2],
    ) -> Result<Coefficients, Error> {
        match kind {
            Kind::LowRank => self.low_rank(layer, [n, m]),
            Kind::Full => self.full(layer, [n, m]),
        }
    }

    fn low_rank(&mut self, layer: &LayerName, [n, m]: [usize; 2]) -> Result<Coefficients, Error> {
        let column = self.need(layer, Field::Column)?;
        let row = self.need(layer, Field::Row)?;
        let column = self.tensors.floats(&column.name, &[n, 0])?;
        let rank = column.shape()[1];
        let row = self.tensors.floats(&row.name, &[rank, m])?;
        // In the reference implementation the narrowest layers can have rank 0, because it rounds ranks down.
        let zeros = |shape| TensorData::zeros::<f32, _>(shape);
        let (column, row) = match rank {
            0 => (zeros([n, 1]), zeros([1, m])),
            _ => (column, row),
        };
        let param = |data| Param::from_tensor(Tensor::from_data(data, self.device));
        Ok(Coefficients::LowRank(LowRankCoefficients {
            column: param(column),
            row: param(row),
        }))
    }

    /// One matrix of coefficients, with or without a mask.
    fn full(&mut self, layer: &LayerName, [n, m]: [usize; 2]) -> Result<Coefficients, Error> {
        let weight = Param::from_tensor(self.needed(layer, Field::Coefficients, [n, m])?);
        let threshold = self.optional(layer, Field::Threshold, [1])?;
        let Some(mask) = self.find(layer, Field::Mask) else {
            return Ok(Coefficients::Full(FullCoefficients { weight }));
        };
        let data = self.tensors.take(&mask.name, &[n, m])?;
        let values: Vec<f32> = data.iter::<f32>().collect();
        if values.iter().any(|value| *value != 0.0 && *value != 1.0) {
            return Err(Error::Type {
                name: mask.name,
                expected: "a mask of zeros and ones",
                found: format!("{:?}", data.dtype()),
            });
        }
        // In the reference implementation, a full layer has a mask too.
        if threshold.is_none() && values.iter().all(|value| *value == 1.0) {
            return Ok(Coefficients::Full(FullCoefficients { weight }));
        }
        let mask: Vec<bool> = values.iter().map(|value| *value != 0.0).collect();
        let mask = Tensor::from_data(TensorData::new(mask, [n, m]), self.device);
        let threshold = threshold.unwrap_or_else(|| Tensor::zeros([1], self.device));
        Ok(Coefficients::Sparse(SparseCoefficients {
            weight,
            threshold: Param::initialized(ParamId::new(), threshold),
            mask: Param::initialized(ParamId::new(), mask),
        }))
    }

    /// The order of `count` filters or channels, if the file has one.
    fn order(
        &mut self,
        layer: &LayerName,
        field: Field,
        count: usize,
    ) -> Result<Option<Param<Tensor<1, Int>>>, Error> {
        let Some(Found { name, .. }) = self.find(layer, field) else {
            return Ok(None);
        };
        let data = self.tensors.take(&name, &[count])?;
        if !matches!(data.dtype(), DType::I64 | DType::I32) {
            return Err(Error::Type {
                name,
                expected: "integers",
                found: format!("{:?}", data.dtype()),
            });
        }
        let indices: Vec<i64> = data.iter::<i64>().collect();
        let other = |index: &&i64| !(0..count as i64).contains(*index);
        if let Some(&index) = indices.iter().find(other) {
            return Err(Error::Order { name, index, count });
        }
        let order = Tensor::from_data(TensorData::new(indices, [count]), self.device);
        Ok(Some(Param::initialized(ParamId::new(), order)))
    }

    /// The normalization after a convolution; none if it was folded into the convolution.
    pub fn norm(&mut self, conv: &Conv, norm: &Norm<'_>) -> Result<Option<BatchNorm>, Error> {
        let fields = [Field::Gamma, Field::Beta, Field::Mean, Field::Variance];
        let mut fields = fields.iter();
        let is_folded = fields.all(|field| self.find(&norm.name, *field).is_none());
        let (Some(place), false) = (&*norm.layer, is_folded && conv.cost().bias) else {
            return Ok(None);
        };
        let features = place.gamma.lazy_shape()[0];
        let mut floats = |field| self.needed(&norm.name, field, [features]);
        Ok(Some(BatchNorm {
            gamma: Param::from_tensor(floats(Field::Gamma)?),
            beta: Param::from_tensor(floats(Field::Beta)?),
            running_mean: RunningState::new(floats(Field::Mean)?),
            running_var: RunningState::new(floats(Field::Variance)?),
            ..place.clone()
        }))
    }

    /// Makes a linear layer, with the sizes of `place`.
    pub fn linear(&mut self, layer: &LayerName, place: &Linear) -> Result<Linear, Error> {
        let [inputs, outputs] = place.weight.lazy_shape().dims::<2>();
        let weight = self.need(layer, Field::Weight)?;
        let bias = self.needed(layer, Field::Bias, [outputs])?;
        let weight = match weight.is_pytorch {
            true => self.floats(&weight, [outputs, inputs])?.transpose(),
            false => self.floats(&weight, [inputs, outputs])?,
        };
        Ok(Linear {
            weight: Param::from_tensor(weight),
            bias: Some(Param::from_tensor(bias)),
        })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Full,
    LowRank,
}

/// The first names of a list, and how many more there are.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 5;
    let names: Vec<&str> = names.collect();
    let more = match names.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = &names[..names.len().min(MOST)];
    format!("{}{more}", shown.join(", "))
}
