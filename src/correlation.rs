use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, DType, Device, Tensor};

use crate::coefficients::{REPARAMETERIZATION, is_coefficient_matrix, rows};

/// Pearson correlation of the rows of a matrix, as NumPy's `corrcoef`.
///
/// It is one Gram product of the centred, normalised rows. A row without variance (constant, or
/// constant up to rounding) has no correlation in the textbook's sense; here it is 0 with every
/// other row. Values and gradients are finite for any finite input. Half precision is computed in
/// f32 and rounded at the end.
///
/// # Shapes
/// - rows: `[m, length]`
/// - output: `[m, m]`, entries in `[-1, 1]`, 1 on the diagonal
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use linearconv::correlation_matrix;
///
/// let device = Device::default();
/// let rows = Tensor::<2>::from_floats([[1., 2., 3.], [6., 4., 2.], [5., 5., 5.]], &device);
/// let correlation = correlation_matrix(rows);
/// let expected = Tensor::<2>::from_floats([[1., -1., 0.], [-1., 1., 0.], [0., 0., 1.]], &device);
/// assert!(correlation.all_close(expected, Some(1e-6), Some(1e-6)));
/// ```
pub fn correlation_matrix(rows: Tensor<2>) -> Tensor<2> {
    let (dtype, [m, _], device) = (rows.dtype(), rows.dims(), rows.device());
    off_diagonal_correlation(rows, gram)
        .mask_fill(diagonal(m, &device), 1.0)
        .cast(dtype)
}

/// The correlation loss of the paper, summed over every [`LinearConv2d`](crate::LinearConv2d)
/// and every weight that [`LinearConv`](crate::LinearConv) reparameterized inside a module.
///
/// ```text
/// Σ_layers Σ_ij |ρ_ij - δ_ij|        ρ: correlation_matrix of the flattened primary filters
/// ```
///
/// It drives the primary filters of a layer to be linearly independent. The reference adds 0.01
/// times this loss to the task's, on every tenth batch. The result is part of the autodiff graph.
/// It is in the type of the first layer, and in f32 where that is of half precision, whose range a
/// sum over many filters leaves. It is zero for a module without such layers, in the type that its
/// first parameter stands for alike.
///
/// # Shapes
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use linearconv::{LinearConv2dConfig, correlation_loss};
///
/// let conv = LinearConv2dConfig::new([3, 8], [3, 3]).init(&Device::default().autodiff());
/// let gradients = correlation_loss(&conv).backward();
/// assert!(conv.primary.val().grad(&gradients).is_some());
/// ```
pub fn correlation_loss<M: Module>(module: &M) -> Tensor<1> {
    sum_over(module, Select::Primary, |filters| {
        off_diagonal_correlation(filters, gram_of_symmetric_loss)
            .abs()
            .sum()
    })
}

/// The L1 norm of the coefficients, summed over every [`LinearConv2d`](crate::LinearConv2d) and
/// every reparameterized weight inside a module: of the stored matrices, so of both factors of
/// low-rank coefficients, and of sparse ones before masking, as the reference does.
///
/// The reference adds 0.01 times this norm for the sparse variant. The result is part of the
/// autodiff graph, in the type of [`correlation_loss`]. It is zero for a module without such layers.
///
/// # Shapes
/// - output: `[1]`
pub fn coefficient_l1<M: Module>(module: &M) -> Tensor<1> {
    sum_over(module, Select::Coefficients, |matrix| {
        to_summed(matrix).abs().sum()
    })
}

/// Correlation of the rows with zeros on the diagonal, which the loss subtracts anyway, from the
/// Gram matrix of the centred rows: all but that works on `[m, m]`, a fraction of the rows' size.
fn off_diagonal_correlation(rows: Tensor<2>, gram: fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
    let rows = to_summed(rows);
    let ([m, length], device) = (rows.dims(), rows.device());
    let mean = rows.clone().mean_dim(1);
    let centred = rows - mean.clone();
    // Correlation does not depend on scale; this one keeps squares from over- and underflowing.
    let scale = centred.clone().detach().max_abs_dim(1);
    let scale = scale.clone().mask_fill(scale.equal_scalar(0.0), 1.0);
    let gram = gram(centred / scale.clone());
    let diagonal = diagonal(m, &device);
    let variance = gram
        .clone()
        .mask_fill(diagonal.clone().bool_not(), 0.0)
        .sum_dim(1);

    // What rounding leaves of a constant row: no variance. Dividing by it would give correlations
    // of noise and gradients without bound.
    let (epsilon, smallest) = match variance.dtype() {
        DType::F64 => (f64::EPSILON, f64::MIN_POSITIVE),
        _ => (f32::EPSILON as f64, f32::MIN_POSITIVE as f64),
    };
    let rounding = (epsilon * length as f64) * (epsilon * length as f64);
    let energy = (mean / scale).square() * length as f64 + variance.clone();
    let constant = variance.clone().lower_equal(energy * rounding + smallest);

    let norm = variance.mask_fill(constant.clone(), 1.0).sqrt();
    let inverse = norm.recip().mask_fill(constant, 0.0);
    // An outer product, and not two divisions by a column and by its transpose: Burn 0.22's fusion
    // reads the second of two broadcast layouts of one buffer wrongly (docs/backends.md).
    let inverses = inverse.clone().matmul(inverse.transpose());
    (gram.mask_fill(diagonal, 0.0) * inverses).clamp(-1.0, 1.0)
}

/// The type in which values of a type are summed, and thresholds moved: f32 for half precision.
pub(crate) fn summed(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        dtype => dtype,
    }
}

/// In the type in which they are summed.
fn to_summed(rows: Tensor<2>) -> Tensor<2> {
    let dtype = summed(rows.dtype());
    rows.cast(dtype)
}

/// `rows · rowsᵀ`.
fn gram(rows: Tensor<2>) -> Tensor<2> {
    rows.clone().matmul(rows.transpose())
}

/// [`gram`] for a loss that does not tell `ij` from `ji`. The gradient `(G + Gᵀ) · rows` then is
/// `2 G · rows`, one product in place of two.
fn gram_of_symmetric_loss(rows: Tensor<2>) -> Tensor<2> {
    let half = rows.clone().matmul(rows.detach().transpose());
    half.clone() * 2.0 - half.detach()
}

fn diagonal(size: usize, device: &Device) -> Tensor<2, Bool> {
    Tensor::<2, Bool>::diag_mask([size, size], 0, device).bool_not()
}

/// Which parameters of a module are summed over. What visitors are told of them,
/// [`ModuleVisitor::enter_module`] explains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Select {
    /// Primary filters: of layers, and under [`LinearConv`](crate::LinearConv)'s
    /// reparameterization.
    Primary,
    /// Matrices of coefficients.
    Coefficients,
}

/// Sums `term` over the selected parameters of a module. A parameter of more than two dimensions
/// comes as a matrix, its trailing dimensions flattened.
fn sum_over<M: Module>(module: &M, select: Select, term: fn(Tensor<2>) -> Tensor<1>) -> Tensor<1> {
    let mut visitor = Sum {
        select,
        term,
        selected: false,
        base: None,
        sum: None,
        dtype: None,
    };
    module.visit(&mut visitor);
    visitor.sum.unwrap_or_else(|| {
        let device = module.devices().into_iter().next().unwrap_or_default();
        let zero = Tensor::<1>::zeros([1], &device);
        match visitor.dtype.filter(DType::is_float) {
            Some(dtype) => zero.cast(summed(dtype)),
            None => zero,
        }
    })
}

struct Sum {
    select: Select,
    term: fn(Tensor<2>) -> Tensor<1>,
    /// Whether the parameter that is visited next is one to sum over.
    selected: bool,
    /// The parameter visited last, which a reparameterization that follows makes primary filters.
    base: Option<Tensor<2>>,
    sum: Option<Tensor<1>>,
    /// The type of the first parameter, and so of a sum of nothing.
    dtype: Option<DType>,
}

impl Sum {
    fn add(&mut self, rows: Tensor<2>) {
        let term = (self.term)(rows);
        // Layers of one model may live on several devices, in several types.
        self.sum = Some(match self.sum.take() {
            Some(sum) => term.to_device(&sum.device()).cast(sum.dtype()) + sum,
            None => term,
        });
    }
}

impl ModuleVisitor for Sum {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if self.select == Select::Primary
            && container_type == "Reparameterization"
            && name == REPARAMETERIZATION
            && let Some(base) = self.base.take()
        {
            self.add(base);
        }
        self.selected = match self.select {
            Select::Primary => container_type == "Struct:LinearConv2d" && name == "primary",
            Select::Coefficients => is_coefficient_matrix(container_type, name),
        };
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.base = None;
        if self.dtype.is_none() {
            self.dtype = Some(param.val().dtype());
        }
        if self.selected {
            self.add(rows(param.val().dequantize()));
        } else if D == 4 && self.select == Select::Primary {
            self.base = Some(rows(param.val().dequantize()));
        }
    }
}
