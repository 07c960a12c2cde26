use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, DType, Device, Tensor};

use crate::coefficients::{REPARAMETERIZATION, is_coefficient_matrix, rows};

/// The Pearson correlation of the rows of a matrix, as NumPy's `corrcoef`.
///
/// ```text
/// ρ_ij = Σ_k (x_ik - μ_i) · (x_jk - μ_j) / √(Σ_k (x_ik - μ_i)² · Σ_k (x_jk - μ_j)²)
/// ```
///
/// The correlation of a constant row is not defined. This function returns 0 for a constant row and
/// any other row. A row that is constant up to rounding counts as constant. Values and gradients are
/// finite if each value of the input is 0 or has a magnitude from 10⁻²⁵ to 10³⁰. The output has the
/// type of the input. Half precision is computed in f32, and rounded at the end.
///
/// # Shapes
/// - rows: `[m, length]`
/// - output: `[m, m]`, values in `[-1, 1]`, 1 on the diagonal
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

/// The correlation loss of the paper ([arXiv 1907.11432](https://arxiv.org/abs/1907.11432),
/// section 3).
///
/// ```text
/// Σ_layers Σ_ij |ρ_ij - δ_ij|        ρ: correlation_matrix of the flattened primary filters
/// ```
///
/// The sum is over every [`LinearConv2d`](crate::LinearConv2d) in the module, and over every weight
/// that [`LinearConv`](crate::LinearConv) reparameterized.
///
/// The loss drives the primary filters of a layer to be linearly independent. The reference
/// implementation adds 0.01 times this loss to the loss of the task, on every tenth batch. The loss
/// is part of the autodiff graph.
///
/// The loss has the float type of the first such layer. In half precision it is in f32, because a
/// sum over many filters can exceed the range of half precision. For a module without such layers
/// the loss is 0, in the type of the first float parameter by the same rule.
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

/// The L1 norm of the coefficients, the sum of their absolute values.
///
/// The sum is over every [`LinearConv2d`](crate::LinearConv2d) in the module, and over every weight
/// that [`LinearConv`](crate::LinearConv) reparameterized. It counts the matrices as they are
/// stored, as the reference implementation does: both factors of low-rank coefficients, and sparse
/// coefficients before masking. It does not count the coefficients of channels.
///
/// The reference implementation adds 0.01 times this norm to the loss of the sparse variant, on
/// every tenth batch. The norm is part of the autodiff graph. Its type follows the rule of
/// [`correlation_loss`]. It is 0 for a module without such layers.
///
/// # Shapes
/// - output: `[1]`
pub fn coefficient_l1<M: Module>(module: &M) -> Tensor<1> {
    sum_over(module, Select::Coefficients, |matrix| {
        to_summed(matrix).abs().sum()
    })
}

/// The correlation of the rows, with zeros on the diagonal. The loss subtracts the diagonal anyway.
///
/// After the Gram matrix of the centred rows, all steps work on `[m, m]`, which is usually smaller
/// than the rows.
///
/// # Shapes
/// - rows: `[m, length]`
/// - output: `[m, m]`
fn off_diagonal_correlation(rows: Tensor<2>, gram: fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
    let rows = to_summed(rows);
    let ([m, length], device) = (rows.dims(), rows.device());
    let mean = rows.clone().mean_dim(1);
    let centred = rows - mean.clone();
    // Correlation does not depend on the scale of a row. This scale avoids overflow and underflow of
    // the squares.
    let scale = centred.clone().detach().max_abs_dim(1);
    let scale = scale.clone().mask_fill(scale.equal_scalar(0.0), 1.0);
    let gram = gram(centred / scale.clone());
    let diagonal = diagonal(m, &device);
    let variance = gram
        .clone()
        .mask_fill(diagonal.clone().bool_not(), 0.0)
        .sum_dim(1);

    // Rounding leaves a small variance in a constant row. To divide by it would give the correlation
    // of noise, and gradients without bound. So the row counts as constant.
    let (epsilon, smallest) = match variance.dtype() {
        DType::F64 => (f64::EPSILON, f64::MIN_POSITIVE),
        _ => (f32::EPSILON as f64, f32::MIN_POSITIVE as f64),
    };
    let rounding = (epsilon * length as f64) * (epsilon * length as f64);
    let energy = (mean / scale).square() * length as f64 + variance.clone();
    let constant = variance.clone().lower_equal(energy * rounding + smallest);

    let norm = variance.mask_fill(constant.clone(), 1.0).sqrt();
    let inverse = norm.recip().mask_fill(constant, 0.0);
    // One outer product in place of two divisions, by a column and by its transpose: the fusion of
    // Burn 0.22 reads one buffer wrongly in two broadcast layouts (docs/backends.md).
    let inverses = inverse.clone().matmul(inverse.transpose());
    (gram.mask_fill(diagonal, 0.0) * inverses).clamp(-1.0, 1.0)
}

/// The type in which values of this type are summed and thresholds are stored: f32 for half
/// precision, the same type otherwise.
pub(crate) fn summed(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        dtype => dtype,
    }
}

/// The rows in the type in which they are summed.
fn to_summed(rows: Tensor<2>) -> Tensor<2> {
    let dtype = summed(rows.dtype());
    rows.cast(dtype)
}

/// `rows · rowsᵀ`.
fn gram(rows: Tensor<2>) -> Tensor<2> {
    rows.clone().matmul(rows.transpose())
}

/// [`gram`] for a loss that is symmetric in `i` and `j`. The gradient `G` of the Gram matrix is then
/// symmetric, so the gradient of the rows, `(G + Gᵀ) · rows`, is `2 G · rows`: one product in place
/// of two.
fn gram_of_symmetric_loss(rows: Tensor<2>) -> Tensor<2> {
    let half = rows.clone().matmul(rows.detach().transpose());
    half.clone() * 2.0 - half.detach()
}

/// A mask of shape `[size, size]` that is true on the diagonal.
fn diagonal(size: usize, device: &Device) -> Tensor<2, Bool> {
    Tensor::<2, Bool>::diag_mask([size, size], 0, device).bool_not()
}

/// The parameters of a module to sum over. A visitor knows a parameter by the name of its field and
/// of the type that contains it, see [`ModuleVisitor::enter_module`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Select {
    /// The primary filters of layers, and of weights that [`LinearConv`](crate::LinearConv)
    /// reparameterized.
    Primary,
    /// The matrices of coefficients.
    Coefficients,
}

/// Sums `term` over the selected parameters of a module. `term` gets each parameter as a matrix: the
/// dimensions after the first are flattened.
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
    /// Whether the next parameter is selected.
    selected: bool,
    /// The last visited parameter, if it has four dimensions. If LinearConv's reparameterization is
    /// visited next, this parameter holds primary filters.
    base: Option<Tensor<2>>,
    sum: Option<Tensor<1>>,
    /// The type of the first parameter. A sum without terms has this type.
    dtype: Option<DType>,
}

impl Sum {
    fn add(&mut self, rows: Tensor<2>) {
        let term = (self.term)(rows);
        // The layers of one model may be on several devices, and may have several types.
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
