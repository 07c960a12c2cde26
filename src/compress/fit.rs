//! The fit of one dense convolution by primary filters and combinations of them, with a small
//! error.

use std::cell::OnceCell;
use std::iter;
use std::vec::Vec;

use burn::module::Param;
use burn::tensor::{Int, Tensor, TensorData};
use faer::{Mat, MatMut, MatRef};

use super::choice::Choice;
use super::combination::{Combination, Product};
use super::decomposition::{
    Basis, Triangle, both_bases, orthonormal, singular_values, to_matrix, to_tensor, to_values,
};
use super::regression::ridge_regression;
use super::taps::Taps;
use super::weights::Norm;
use crate::coefficients::{Coefficients, CoefficientsConfig, Factors};
use crate::cost::LayerCost;
use crate::error::Error;

/// The fit of a dense convolution, `P ×₁ [I; A] ×₂ [I, B]ᵀ`, as tensors of the float type of its
/// weight. `×₁` acts on the filters, `×₂` on the channels.
#[derive(Debug)]
pub(crate) struct Fit {
    /// `P`, `[m, s, height, width]`
    pub(crate) primary: Tensor<4>,
    /// How `A` is stored, and its values. Each model gets new parameters with these values.
    config: CoefficientsConfig,
    factors: Factors,
    /// Filter `i` is filter `order[i]` of the primary and then the secondary filters, `[f]`.
    pub(crate) order: Tensor<1, Int>,
    /// `B`, and the order of the channels. `None`: all channels are primary.
    pub(crate) channels: Option<(Tensor<2>, Tensor<1, Int>)>,
    /// What is added to the bias, to make up for the mean of the lost outputs, `[f]`.
    bias_shift: Option<Tensor<1>>,
    /// The norm of the difference over the norm of the original: of the filters or, given patches,
    /// of the outputs without bias. It is measured on the values as they are stored.
    pub(crate) error: f64,
}

impl Fit {
    /// Zeros in the shapes of a choice, for a weight of this shape; values are loaded in their
    /// place later. The cost of the choice was [checked](Choice::cost).
    pub(crate) fn of_zeros(choice: &Choice, cost: &LayerCost, weight: &Tensor<4>) -> Self {
        let [filters, channels, height, width] = weight.dims();
        let (device, dtype) = (weight.device(), weight.dtype());
        let zeros = |shape: [usize; 2]| Tensor::<2>::zeros(shape, (&device, dtype));
        let order = |length: usize| Tensor::arange(0..length as i64, &device);
        let [m, s] = [cost.primary, cost.primary_channels];
        let factors = Factors {
            row: cost.rank.map(|rank| zeros([rank, m])),
            column: zeros([filters - m, cost.rank.unwrap_or(m)]),
        };
        let channel_coefficients = (s < channels).then(|| zeros([s, channels - s]));
        Self {
            primary: Tensor::zeros([m, s, height, width], (&device, dtype)),
            config: choice.coefficients,
            factors,
            order: order(filters),
            channels: channel_coefficients.map(|values| (values, order(channels))),
            bias_shift: None,
            error: 1.0,
        }
    }

    /// `A`, as new parameters.
    pub(crate) fn coefficients(&self) -> Coefficients {
        self.config.with_values(self.factors.clone())
    }

    /// The bias of the layer, plus what makes up for the mean of the lost outputs.
    pub(crate) fn move_bias<const D: usize>(&self, bias: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(shift) = self.bias_shift.clone() else {
            return bias;
        };
        let trained = bias.is_require_grad();
        bias.map(|bias| {
            // Computed from values: a sum of tensors would be no leaf of the graph, and could not
            // be trained.
            let bias = bias.dequantize();
            let (device, dtype, shape) = (bias.device(), bias.dtype(), bias.shape());
            let [old, shift] = [to_values(bias), to_values(shift)];
            let moved: Vec<f64> = old
                .iter()
                .zip(&shift)
                .map(|(old, shift)| old + shift)
                .collect();
            let moved = Tensor::from_data(TensorData::new(moved, shape), (&device, dtype));
            moved.set_require_grad(trained)
        })
    }
}

/// A dense layer, and what its fit can use.
pub(crate) struct Layer<'a> {
    pub(crate) path: &'a str,
    /// `[f, c, height, width]`
    pub(crate) weight: &'a Tensor<4>,
    /// Patches of the input. Given patches, the fit approximates the outputs, not the filters.
    pub(crate) patches: Option<&'a Taps>,
    /// The same patches in a network whose layers in front are compressed. The fit then reads these
    /// patches, and still approximates the outputs for the others. `None`: they are equal.
    pub(crate) seen: Option<&'a Taps>,
    /// The bias, which can make up for the mean of the lost outputs.
    pub(crate) bias: Option<&'a Tensor<1>>,
    /// The batch normalization that may follow.
    pub(crate) norm: Option<&'a Norm>,
}

/// The responses of the filters: their outputs on patches of input, without bias.
struct Responses<'a> {
    patches: &'a Taps,
    seen: Option<&'a Taps>,
    /// Whether there is a bias, which can make up for a mean. The means are then subtracted.
    centred: bool,
    /// The weight of each filter's error, where the normalization behind the layer is known.
    weights: Option<Vec<f64>>,
    /// The sum of the squares of all responses, before the means are subtracted.
    energy: f64,
    /// Left singular vectors of the responses, one row for each filter, weighted and centred.
    basis: Basis,
}

/// The decomposition of one layer, from which every choice is fitted.
pub(crate) struct Decomposition<'a> {
    layer: Layer<'a>,
    kernel: Taps,
    /// The kernel with weighted filters. This kernel is decomposed.
    weighted: Taps,
    responses: Option<Responses<'a>>,
    /// Left singular vectors of the filters, and of the channels, computed when first needed.
    filters: OnceCell<Basis>,
    channels: OnceCell<Basis>,
}

impl<'a> Decomposition<'a> {
    /// # Errors
    /// [`Error::NotFinite`]: a filter or a response is infinite or NaN.
    pub(crate) fn new(layer: Layer<'a>) -> Result<Self, Error> {
        let kernel = Taps::of_weight(layer.weight.clone());
        if let Some(filter) = kernel.first_not_finite() {
            return Err(layer.not_finite(filter));
        }
        let responses = match layer.patches {
            Some(patches) => Some(Responses::new(&layer, &kernel, patches)?),
            None => None,
        };
        let weights = responses.as_ref().and_then(|of| of.weights.as_ref());
        let weighted = match weights {
            Some(weights) => kernel.weighted(weights.clone()),
            None => kernel.clone(),
        };
        Ok(Self {
            layer,
            kernel,
            weighted,
            responses,
            filters: OnceCell::new(),
            channels: OnceCell::new(),
        })
    }

    fn filters(&self) -> &Basis {
        self.filters.get_or_init(|| filters_basis(&self.weighted))
    }

    fn channels(&self) -> &Basis {
        self.channels.get_or_init(|| channels_basis(&self.weighted))
    }

    /// The `s`-dimensional subspace of channels that, together with the best `m` filters, keeps the
    /// most energy.
    fn best_channels(&self, m: usize, s: usize) -> Mat<f64> {
        let owned = |basis: &Basis, count| basis.leading(count).to_owned();
        if self.kernel.taps == 1 && self.responses.is_none() {
            // The two bases of one matrix are the best pair, and one decomposition gives both.
            let (_, channels) = both_bases(self.kernel.tap(0).as_ref());
            return owned(&channels, s);
        }
        let of_responses = self.responses.as_ref().map(|responses| &responses.basis);
        let mut filters = owned(of_responses.unwrap_or_else(|| self.filters()), m);
        let mut channels = owned(self.channels(), s);
        let fixed = of_responses.is_some();
        refine(&self.weighted, &mut filters, &mut channels, fixed);
        channels
    }

    /// The fit of a choice, whose cost was [checked](Choice::cost).
    pub(crate) fn fit(&self, choice: &Choice, cost: &LayerCost) -> Fit {
        let [m, s] = [cost.primary, cost.primary_channels];
        let of_responses = self.responses.as_ref().map(|responses| &responses.basis);
        let weights = self.responses.as_ref().and_then(|of| of.weights.as_deref());
        let combine = |filters: &Basis| match cost.rank {
            None => Combination::of_projection(filters.independent(m), weights, m),
            Some(rank) => Combination::of_rank(filters, weights, m, rank),
        };
        let (filters, channels) = if cost.secondary_channels == 0 {
            let filters = of_responses.unwrap_or_else(|| self.filters());
            (combine(filters), None)
        } else {
            let channels = self.best_channels(m, s);
            let filters = match of_responses {
                Some(responses) => combine(responses),
                None => combine(&projected_basis(&self.weighted, &channels)),
            };
            (
                filters,
                Some(Combination::of_projection(channels.as_ref(), None, s)),
            )
        };
        self.store(choice, &filters, channels.as_ref())
    }

    /// Builds the tensors of a fit, and measures its error.
    fn store(&self, choice: &Choice, filters: &Combination, channels: Option<&Combination>) -> Fit {
        let (kernel, weight) = (&self.kernel, self.layer.weight.clone().dequantize());
        let (device, dtype) = (weight.device(), weight.dtype());

        let primary = self.primary(filters, channels);
        let primary = Tensor::<4>::from_data(primary, (&device, dtype));
        let tensor = |matrix: &Mat<f64>| to_tensor(matrix.as_ref(), &device, dtype);
        let Product { row, column } = &filters.coefficients;
        let factors = Factors {
            row: row.as_ref().map(tensor),
            column: tensor(column),
        };
        let order = |order: &[usize]| {
            let mut places = std::vec![0i64; order.len()];
            for (place, index) in order.iter().enumerate() {
                places[*index] = place as i64;
            }
            let length = [places.len()];
            Tensor::<1, Int>::from_data(TensorData::new(places, length), &device)
        };
        // The values as they are stored, after rounding.
        let stored_filters = Product {
            row: factors.row.clone().map(to_matrix),
            column: to_matrix(factors.column.clone()),
        };
        let stored_channels = channels.map(|channels| {
            let coefficients = tensor(&channels.coefficients.column.transpose().to_owned());
            (coefficients, channels)
        });
        let stored = Stored {
            primary: Taps::of_weight(primary.clone()),
            filters: (&stored_filters, &filters.order),
            channels: stored_channels.as_ref().map(|(coefficients, channels)| {
                (to_matrix(coefficients.clone()), channels.order.as_slice())
            }),
        };
        let (error, bias_shift) = match &self.responses {
            None => (relative(stored.lost(kernel), kernel.energy()), None),
            Some(responses) => responses.lost(kernel, &stored),
        };
        Fit {
            primary,
            config: choice.coefficients,
            factors,
            order: order(&filters.order),
            channels: stored_channels
                .map(|(coefficients, channels)| (coefficients, order(&channels.order))),
            bias_shift: bias_shift.map(|shift| tensor(&shift).reshape([-1])),
            error,
        }
    }

    /// `P`: the filters in their basis, for the channels in theirs. Where responses are fitted, a
    /// ridge regression adds what the primary channels tell of the lost part of the responses, and
    /// what corrects for the compressed layers in front (asymmetric reconstruction, Zhang et al. 2016,
    /// [arXiv 1505.06798](https://arxiv.org/abs/1505.06798), section 3.2).
    ///
    /// # Shapes
    /// - output: `[m, s, height, width]`
    fn primary(&self, filters: &Combination, channels: Option<&Combination>) -> TensorData {
        let kernel = &self.weighted;
        let of_all_channels = |tap| &filters.primary * kernel.tap(tap);
        let of_tap = |tap| match channels {
            Some(channels) => of_all_channels(tap) * channels.primary.transpose(),
            None => of_all_channels(tap),
        };
        let m = filters.primary.nrows();
        let s = channels.map_or(kernel.channels, |channels| channels.primary.nrows());
        let [_, _, height, width] = self.layer.weight.dims();
        let columns = s * kernel.taps;
        let mut values = std::vec![0.0; m * columns];
        let mut primary = MatMut::from_row_major_slice_mut(&mut values, m, columns);
        interleave(primary.as_mut(), kernel.taps, of_tap);
        if let Some(responses) = &self.responses
            && (channels.is_some() || responses.seen.is_some())
        {
            let mixing = match channels {
                Some(channels) => channels.all_rows(),
                None => Mat::identity(kernel.channels, kernel.channels),
            };
            let found = |tap| &mixing * of_tap(tap).transpose();
            let mut missing = multiply(responses.patches, |tap| {
                of_all_channels(tap).transpose() - found(tap)
            });
            responses.add_moved(&mut missing, found);
            let (mixed, missing) = (responses.mixed(&mixing), responses.centred(missing));
            if let Some(more) = ridge_regression(&mixed, &missing) {
                primary += more.transpose();
            }
        }
        TensorData::new(values, [m, s, height, width])
    }

    /// The energy that each number of filters and of channels keeps.
    pub(crate) fn energies(&self) -> Energies {
        match self.kernel.taps {
            1 => Energies::of_matrix(&self.kernel),
            _ => Energies::new(&self.kernel, self.filters(), self.channels()),
        }
    }
}

impl Layer<'_> {
    fn not_finite(&self, filter: usize) -> Error {
        Error::NotFinite {
            path: self.path.into(),
            filter,
        }
    }
}

fn relative(lost: f64, energy: f64) -> f64 {
    if energy > 0.0 {
        (lost / energy).sqrt()
    } else {
        0.0
    }
}

/// A fit as it is stored.
struct Stored<'a> {
    primary: Taps,
    filters: (&'a Product, &'a [usize]),
    /// `B` and the order of the channels.
    channels: Option<(Mat<f64>, &'a [usize])>,
}

impl Stored<'_> {
    /// All filters of all channels at one tap, `[f, c]`.
    fn tap(&self, tap: usize) -> Mat<f64> {
        let primary = self.primary.tap(tap);
        let (product, order) = self.filters;
        let others = product.apply(primary.as_ref());
        let filters = in_order(primary.as_ref(), others.as_ref(), order);
        match &self.channels {
            None => filters,
            Some((coefficients, order)) => {
                let others = coefficients.transpose() * filters.transpose();
                in_order(filters.transpose(), others.as_ref(), order)
                    .transpose()
                    .to_owned()
            }
        }
    }

    /// The squared difference to the dense filters.
    fn lost(&self, kernel: &Taps) -> f64 {
        let lost = |tap| (kernel.tap(tap) - self.tap(tap)).squared_norm_l2();
        (0..kernel.taps).map(lost).sum()
    }
}

/// Stacks `front` on `others`, and moves row `i` of the stack to row `order[i]`.
fn in_order(front: MatRef<f64>, others: MatRef<f64>, order: &[usize]) -> Mat<f64> {
    let mut rows = Mat::zeros(order.len(), front.ncols());
    for (place, row) in order.iter().enumerate() {
        let values = match place.checked_sub(front.nrows()) {
            None => front.row(place),
            Some(place) => others.row(place),
        };
        rows.row_mut(*row).copy_from(values);
    }
    rows
}

impl<'a> Responses<'a> {
    /// # Errors
    /// [`Error::NotFinite`]: a response is infinite or NaN.
    fn new(layer: &Layer<'a>, kernel: &Taps, patches: &'a Taps) -> Result<Self, Error> {
        let answers = |patches: &Taps| {
            let all = multiply(patches, |tap| kernel.tap(tap).transpose().to_owned());
            let finite = |column: &usize| all.col(*column).iter().all(|value| value.is_finite());
            match (0..kernel.rows).find(|column| !finite(column)) {
                Some(filter) => Err(layer.not_finite(filter)),
                None => Ok(all),
            }
        };
        layer.seen.map(answers).transpose()?;
        let mut all = answers(patches)?;
        let energy = all.squared_norm_l2();
        let count = all.nrows();
        let mean = means_of(&all);
        let norm = layer.norm.and_then(Norm::read).filter(|norm| {
            let bias = layer.bias.map(|bias| to_values(bias.clone()));
            let outputs = (0..kernel.rows).map(|filter| {
                let bias = bias.as_ref().map_or(0.0, |bias| bias[filter]);
                let variance = all.col(filter).squared_norm_l2() / count as f64;
                let mean = mean[(0, filter)];
                (mean + bias, variance - mean * mean)
            });
            norm.is_of(outputs)
        });
        let centred = layer.bias.is_some();
        if centred {
            subtract(&mut all, &mean);
        }
        let weights = norm.map(|norm| norm.weights());
        if let Some(weights) = &weights {
            for (column, weight) in weights.iter().enumerate() {
                let scale = |value: &mut f64| *value *= weight;
                all.col_mut(column).iter_mut().for_each(scale);
            }
        }
        Ok(Self {
            patches,
            seen: layer.seen,
            centred,
            weights,
            energy,
            basis: Triangle::of(all).basis(),
        })
    }

    /// Adds how much less a product of the patches with a matrix `[channels, columns]` for each tap
    /// is once the layers in front are compressed.
    fn add_moved(&self, sum: &mut Mat<f64>, matrix: impl Fn(usize) -> Mat<f64>) {
        if let Some(seen) = self.seen {
            *sum += multiply(self.patches, &matrix);
            *sum -= multiply(seen, matrix);
        }
    }

    /// All patches, as the layer will see them, with their channels mixed by a matrix
    /// `[channels, mixed]`; centred where the responses are centred.
    ///
    /// # Shapes
    /// - output: `[patches, mixed · taps]`
    fn mixed(&self, mixing: &Mat<f64>) -> Mat<f64> {
        let patches = self.seen.unwrap_or(self.patches);
        let mut all = Mat::zeros(patches.rows, mixing.ncols() * patches.taps);
        interleave(all.as_mut(), patches.taps, |tap| patches.tap(tap) * mixing);
        self.centred(all)
    }

    /// Subtracts the mean of each column, if the responses are centred too.
    fn centred(&self, mut columns: Mat<f64>) -> Mat<f64> {
        if self.centred {
            let means = means_of(&columns);
            subtract(&mut columns, &means);
        }
        columns
    }

    /// The relative error of the responses, and the mean of the lost responses of each filter,
    /// `[f, 1]`.
    fn lost(&self, kernel: &Taps, stored: &Stored) -> (f64, Option<Mat<f64>>) {
        let mut lost = multiply(self.patches, |tap| {
            (kernel.tap(tap) - stored.tap(tap)).transpose().to_owned()
        });
        self.add_moved(&mut lost, |tap| stored.tap(tap).transpose().to_owned());
        let shift = self.centred.then(|| {
            let means = means_of(&lost);
            subtract(&mut lost, &means);
            means.transpose().to_owned()
        });
        (relative(lost.squared_norm_l2(), self.energy), shift)
    }
}

/// The mean of each column, `[1, columns]`.
fn means_of(matrix: &Mat<f64>) -> Mat<f64> {
    let count = matrix.nrows().max(1) as f64;
    Mat::from_fn(1, matrix.ncols(), |_, column| {
        matrix.col(column).iter().sum::<f64>() / count
    })
}

/// Subtracts one value from each column.
fn subtract(matrix: &mut Mat<f64>, values: &Mat<f64>) {
    for column in 0..matrix.ncols() {
        let centre = |value: &mut f64| *value -= values[(0, column)];
        matrix.col_mut(column).iter_mut().for_each(centre);
    }
}

/// Sums, over all taps, the products of the patches and a matrix `[channels, columns]`.
fn multiply(patches: &Taps, matrix: impl Fn(usize) -> Mat<f64>) -> Mat<f64> {
    let mut sum = patches.tap(0) * matrix(0);
    for tap in 1..patches.taps {
        sum += patches.tap(tap) * matrix(tap);
    }
    sum
}

/// Writes the matrices of all taps, `[rows, columns]`, into one, `[rows, columns · taps]`. Only one of
/// them is in memory at a time.
fn interleave(mut all: MatMut<f64>, taps: usize, matrix: impl Fn(usize) -> Mat<f64>) {
    for tap in 0..taps {
        let matrix = matrix(tap);
        for column in 0..matrix.ncols() {
            let place = column * taps + tap;
            all.as_mut().col_mut(place).copy_from(matrix.col(column));
        }
    }
}

/// Left singular vectors of the matrix of filters.
fn filters_basis(kernel: &Taps) -> Basis {
    let block = |tap| kernel.tap(tap).transpose().to_owned();
    Triangle::of_blocks([kernel.channels, kernel.rows], kernel.taps, block).basis()
}

/// Left singular vectors of the matrix of channels.
fn channels_basis(kernel: &Taps) -> Basis {
    let block = |tap| kernel.tap(tap);
    Triangle::of_blocks([kernel.rows, kernel.channels], kernel.taps, block).basis()
}

/// Left singular vectors of the matrix of filters, after the channels are projected onto a
/// subspace.
fn projected_basis(kernel: &Taps, channels: &Mat<f64>) -> Basis {
    let block = |tap| (kernel.tap(tap) * channels).transpose().to_owned();
    Triangle::of_blocks([channels.ncols(), kernel.rows], kernel.taps, block).basis()
}

/// The most rounds of a refinement, and the gain of a round, as a fraction of the energy, below
/// which it ends.
const ROUNDS: usize = 10;
const GAIN: f64 = 1e-4;

/// Improves the subspaces of filters and channels in turn, so that they keep more energy together.
/// The steps are steps of orthogonal iteration, none of which loses energy (De Lathauwer, De Moor
/// and Vandewalle 2000, "On the best rank-1 and rank-(R1, ..., RN) approximation of higher-order
/// tensors").
fn refine(kernel: &Taps, filters: &mut Mat<f64>, channels: &mut Mat<f64>, fixed_filters: bool) {
    let energy = kernel.energy();
    let mut before = f64::NEG_INFINITY;
    for _ in 0..ROUNDS {
        let mut kept = 0.0;
        let mut sum = Mat::zeros(kernel.channels, channels.ncols());
        for tap in 0..kernel.taps {
            let of_filters = filters.transpose() * kernel.tap(tap);
            let core = &of_filters * &*channels;
            kept += core.squared_norm_l2();
            sum += of_filters.transpose() * core;
        }
        if kept - before <= GAIN * energy {
            return;
        }
        before = kept;
        *channels = orthonormal(sum.as_ref());
        if fixed_filters {
            continue;
        }
        let mut sum = Mat::zeros(kernel.rows, filters.ncols());
        for tap in 0..kernel.taps {
            let of_channels = kernel.tap(tap) * &*channels;
            let core = filters.transpose() * &of_channels;
            sum += of_channels * core.transpose();
        }
        *filters = orthonormal(sum.as_ref());
    }
}

/// The energy that each number of filters and of channels keeps: the sum of squares of all filters.
pub(crate) struct Energies {
    kept: Kept,
    energy: f64,
}

enum Kept {
    /// `[filters + 1, channels + 1]`: the sum of squares over a corner of the kernel, in the bases
    /// of both sides.
    Corners(Mat<f64>),
    /// The sum of the first squares, for a pointwise kernel, which is diagonal in its bases.
    Diagonal(Vec<f64>),
}

impl Energies {
    /// For a kernel with one tap.
    fn of_matrix(kernel: &Taps) -> Self {
        let sums = singular_values(kernel.tap(0).as_ref())
            .into_iter()
            .scan(0.0, |sum, value| {
                *sum += value * value;
                Some(*sum)
            });
        Self {
            kept: Kept::Diagonal(iter::once(0.0).chain(sums).collect()),
            energy: kernel.energy(),
        }
    }

    fn new(kernel: &Taps, filters: &Basis, channels: &Basis) -> Self {
        let size = [filters.vectors.ncols(), channels.vectors.ncols()];
        let mut sums = Mat::zeros(size[0] + 1, size[1] + 1);
        for tap in 0..kernel.taps {
            let core = filters.vectors.transpose() * kernel.tap(tap) * &channels.vectors;
            for row in 0..size[0] {
                for column in 0..size[1] {
                    sums[(row + 1, column + 1)] += core[(row, column)].powi(2);
                }
            }
        }
        for row in 1..=size[0] {
            for column in 1..=size[1] {
                sums[(row, column)] +=
                    sums[(row - 1, column)] + sums[(row, column - 1)] - sums[(row - 1, column - 1)];
            }
        }
        Self {
            kept: Kept::Corners(sums),
            energy: kernel.energy(),
        }
    }

    /// The fraction of the energy that is lost, from 0 to 1.
    pub(crate) fn lost(&self, filters: usize, channels: usize) -> f64 {
        let kept = match &self.kept {
            Kept::Corners(sums) => {
                let row = filters.min(sums.nrows() - 1);
                let column = channels.min(sums.ncols() - 1);
                sums[(row, column)]
            }
            Kept::Diagonal(sums) => sums[filters.min(channels).min(sums.len() - 1)],
        };
        if self.energy > 0.0 {
            (1.0 - kept / self.energy).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}
