//! What the layers of a model read from calibration images.

use std::cell::RefCell;
use std::collections::HashMap;
use std::string::ToString;
use std::sync::Arc;
use std::vec::Vec;

use burn::module::ParamId;
use burn::nn::conv::Conv2d;
use burn::tensor::{DType, Tensor, TensorData};

use super::taps::Taps;
use crate::conv::Conv;
use crate::convolution::padding;
use crate::cost::{LayerCost, Pixels};
use crate::error::Error;

/// An observer of the inputs of every [`Conv`](crate::Conv) of a model, while the caller runs the
/// model. [`Compression::with_calibration`](crate::Compression::with_calibration) then fits the
/// outputs of the layers, in place of their filters.
///
/// For each dense convolution with one group it keeps a sample of input patches. A patch holds the
/// values that a filter reads for one output pixel. The pixels are drawn evenly from all images, at
/// most eight for each filter, so a sample holds at most eight times as many values as the weight.
/// For every convolution, dense or not, it keeps the cost and the pixels of an image:
/// [`layers`](Self::layers).
///
/// It observes the convolutions that run on the calling thread. It cannot observe a [`Conv2d`]
/// outside of a `Conv`: such a layer is fitted by its filters.
///
/// # Example
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Device, Distribution, Tensor, activation::relu};
/// use linearconv::{Calibration, Compression, Conv};
///
/// let device = Device::default();
/// let conv = |channels| Conv::from(Conv2dConfig::new(channels, [3, 3]).init(&device));
/// let model = vec![conv([8, 16]), conv([16, 32])];
///
/// let mut calibration = Calibration::new();
/// for _ in 0..2 {
///     let images = Tensor::random([4, 8, 12, 12], Distribution::Default, &device);
///     calibration.observe(|| model.iter().fold(images, |x, conv| relu(conv.forward(x))));
/// }
/// let plan = Compression::to_parameters(0.5).with_calibration(calibration).plan(&model).unwrap();
/// assert!(plan.error() < 1.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    /// Images of the forward passes that have ended.
    images: usize,
    /// Images of the forward pass that is running.
    batch: Option<usize>,
    /// Whether no patches are kept.
    sizes_only: bool,
    /// The only convolution that is observed, with more patches than otherwise.
    only: Option<ParamId>,
    layers: HashMap<ParamId, Observed>,
}

/// What was observed of one convolution.
#[derive(Clone, Debug)]
struct Observed {
    cost: LayerCost,
    /// Summed over all images.
    pixels: Pixels,
    sample: Option<Sample>,
}

/// Input patches of some output pixels, `[kept, channels, kernel_height, kernel_width]`.
#[derive(Clone, Debug)]
struct Sample {
    /// Clones of a sample use the same bytes until one of them adds patches.
    bytes: Arc<Vec<u8>>,
    dtype: DType,
    /// Channels and taps of a patch. A tap is one position in the kernel.
    patch: [usize; 2],
    /// Number of patches, and number of output pixels from which they were drawn.
    kept: usize,
    seen: usize,
    random: Random,
}

/// Patches that are kept for each filter of a layer: enough to fit the coefficients.
const PIXELS_PER_FILTER: usize = 8;
/// Patches that are kept for each value of a filter where one layer alone is observed: enough to fit
/// the filters. The most patches bound the memory.
const PIXELS_PER_VALUE: usize = 8;
const MOST_PIXELS: usize = 8192;

thread_local! {
    static OBSERVER: RefCell<Option<Calibration>> = const { RefCell::new(None) };
}

impl Calibration {
    /// An observer that has observed nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// An observer of groups and pixels alone, which keeps no patches. Layers are then fitted by
    /// their filters, and multiply-adds are counted for an image.
    pub fn sizes() -> Self {
        Self {
            sizes_only: true,
            ..Self::default()
        }
    }

    /// An observer of the convolution with this weight alone. It keeps eight patches for each value
    /// of a filter, up to 8192 patches, and at least as many as other observers keep.
    pub(super) fn of_one(weight: ParamId) -> Self {
        Self {
            only: Some(weight),
            ..Self::default()
        }
    }

    /// Runs `forward`, a forward pass of one batch of images through the model, observes the inputs
    /// of its convolutions, and returns the result of `forward`.
    ///
    /// The first convolution that runs tells the number of images of the batch.
    pub fn observe<T>(&mut self, forward: impl FnOnce() -> T) -> T {
        /// Takes the observer back, also where the forward pass panics.
        struct Watch<'a> {
            observer: &'a mut Calibration,
            outer: Option<Calibration>,
        }
        impl Drop for Watch<'_> {
            fn drop(&mut self) {
                let seen = OBSERVER.replace(self.outer.take());
                *self.observer = seen.unwrap_or_default();
                self.observer.images += self.observer.batch.take().unwrap_or(0);
            }
        }
        let outer = OBSERVER.replace(Some(core::mem::take(self)));
        let _watch = Watch {
            observer: self,
            outer,
        };
        forward()
    }

    /// Number of images observed so far.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The convolutions that have run, in no order: the cost of each, and the pixels that it reads
    /// and computes for one image, on average. A convolution that runs twice in a forward pass is
    /// listed once, with the pixels of both runs.
    pub fn layers(&self) -> impl Iterator<Item = (LayerCost, Pixels)> {
        let layers = self.layers.values();
        layers.map(|layer| (layer.cost, layer.pixels_of_image(self.images)))
    }

    /// The input patches that are kept of the convolution with this weight, if there are any.
    ///
    /// # Shapes
    /// - output: `[patches, channels, kernel_height · kernel_width]`
    pub fn patches(&self, weight: ParamId) -> Option<TensorData> {
        let sample = self.layers.get(&weight)?.sample.as_ref()?;
        let shape = std::vec![sample.kept, sample.patch[0], sample.patch[1]];
        let bytes = sample.bytes.as_ref().clone();
        Some(TensorData::from_bytes_vec(bytes, shape, sample.dtype))
    }

    /// The groups of the convolution with this weight, if it has run.
    pub(crate) fn groups(&self, id: ParamId) -> Option<usize> {
        self.layers.get(&id).map(|layer| layer.cost.groups)
    }

    /// The pixels that the convolution with this weight takes for one image, if it has run.
    pub(crate) fn pixels(&self, id: ParamId) -> Option<Pixels> {
        let layer = self.layers.get(&id)?;
        Some(layer.pixels_of_image(self.images))
    }

    /// The patches of the convolution with this weight, if there are any.
    ///
    /// # Errors
    /// [`Error::TooFewResponses`]: there are fewer patches than filters, so that a few filters would
    /// seem to combine to all others.
    pub(crate) fn enough_patches(
        &self,
        path: &str,
        id: ParamId,
        filters: usize,
    ) -> Result<Option<Taps>, Error> {
        let Some(patches) = self.patches(id) else {
            return Ok(None);
        };
        let shape = patches.shape().dims::<3>();
        check_enough(path, filters, shape[0])?;
        Ok(Some(Taps::new(patches, shape)))
    }
}

/// Whether a forward pass runs in [`Calibration::observe`].
pub(crate) fn is_watched() -> bool {
    OBSERVER.with_borrow(Option::is_some)
}

/// Records a convolution that has run on an input, and the shape of its output.
pub(crate) fn record(conv: &Conv, input: Tensor<4>, output: [usize; 4]) {
    OBSERVER.with_borrow_mut(|observer| {
        if let Some(observer) = observer {
            observer.record(conv, input, output);
        }
    });
}

impl Observed {
    fn pixels_of_image(&self, images: usize) -> Pixels {
        let images = images.max(1);
        Pixels {
            input: self.pixels.input / images,
            output: self.pixels.output / images,
        }
    }
}

impl Calibration {
    fn record(&mut self, conv: &Conv, input: Tensor<4>, [_, _, rows, columns]: [usize; 4]) {
        let [images, _, height, width] = input.dims();
        // The first convolution of a forward pass tells the number of images of the batch.
        self.batch.get_or_insert(images);
        let (cost, id) = (conv.cost(), conv.id());
        if self.only.is_some_and(|only| only != id) {
            return;
        }
        let layer = self.layers.entry(id).or_insert(Observed {
            cost,
            pixels: Pixels::default(),
            sample: None,
        });
        // The layer may have changed since its last run.
        layer.cost = cost;
        layer.pixels.input += images * height * width;
        layer.pixels.output += images * rows * columns;
        let Conv::Dense(conv) = conv else {
            return;
        };
        if cost.secondary > 0 || cost.groups > 1 || self.sizes_only {
            return;
        }
        let view = View::new(conv, [height, width]);
        let data = input.detach().into_data();
        let [filters, channels, ..] = conv.weight.lazy_shape().dims::<4>();
        let (dtype, patch) = (data.dtype(), [channels, view.taps()]);
        let like = |sample: &Sample| (sample.dtype, sample.patch) == (dtype, patch);
        // Patches of another shape or type than before start a new sample.
        let sample = layer.sample.take().filter(like);
        let sample = layer.sample.insert(sample.unwrap_or_else(|| Sample {
            bytes: Arc::default(),
            dtype,
            patch,
            kept: 0,
            seen: 0,
            random: Random(0),
        }));
        let mut most = PIXELS_PER_FILTER * filters;
        if self.only.is_some() {
            most = most.max((PIXELS_PER_VALUE * channels * view.taps()).min(MOST_PIXELS));
        }
        sample.add(&view, &data, images, most);
    }
}

impl Sample {
    /// Draws from the kept patches and from the pixels of a batch, evenly from all pixels so far.
    fn add(&mut self, view: &View, data: &TensorData, images: usize, most: usize) {
        let pixels = images * view.output_pixels();
        let total = self.seen + pixels;
        // A layer that got more filters may want more patches than are left of those that it has seen.
        let kept = most.min(self.kept + pixels);
        let new = ((kept as f64 * pixels as f64 / total.max(1) as f64).round() as usize)
            .max(kept.saturating_sub(self.kept));
        let row = self.patch[0] * self.patch[1] * self.dtype.size();
        let bytes = Arc::make_mut(&mut self.bytes);
        // The patches that stay move to the front. `old` rises, so no patch is overwritten before
        // it moves.
        let old = self.random.choose(self.kept, kept - new);
        for (place, index) in old.iter().enumerate() {
            bytes.copy_within(index * row..(index + 1) * row, place * row);
        }
        bytes.resize(kept * row, 0);
        let places = bytes[(kept - new) * row..].chunks_exact_mut(row.max(1));
        for (place, pixel) in places.zip(self.random.choose(pixels, new)) {
            view.write_patch(data, pixel, place);
        }
        (self.kept, self.seen) = (kept, total);
    }
}

/// All patches of a batch, for a convolution with one group.
///
/// # Errors
/// - [`Error::GroupedResponses`]: the convolution has several groups.
/// - [`Error::TooFewResponses`]: there are fewer output pixels than filters.
///
/// # Panics
/// Panics on a batch with another number of channels, or smaller than the kernel.
pub(crate) fn all_patches(conv: &Conv2d, input: Tensor<4>) -> Result<Taps, Error> {
    let groups = conv.groups;
    if groups != 1 {
        return Err(Error::GroupedResponses { groups });
    }
    let [images, channels, height, width] = input.dims();
    let [filters, filter_channels, ..] = conv.weight.lazy_shape().dims::<4>();
    assert_eq!(
        channels, filter_channels,
        "the calibration batch has {channels} channels, the filters have {filter_channels}"
    );
    let view = View::new(conv, [height, width]);
    let pixels = images * view.output_pixels();
    check_enough("weight", filters, pixels)?;
    let data = input.detach().into_data();
    let row = channels * view.taps() * data.dtype().size();
    let mut bytes = std::vec![0; pixels * row];
    for (pixel, place) in bytes.chunks_exact_mut(row).enumerate() {
        view.write_patch(&data, pixel, place);
    }
    let shape = [pixels, channels, view.taps()];
    let data = TensorData::from_bytes_vec(bytes, shape.to_vec(), data.dtype());
    Ok(Taps::new(data, shape))
}

/// # Errors
/// [`Error::TooFewResponses`]: `columns` is less than `filters`.
fn check_enough(path: &str, filters: usize, columns: usize) -> Result<(), Error> {
    if columns < filters {
        return Err(Error::TooFewResponses {
            path: path.to_string(),
            filters,
            columns,
        });
    }
    Ok(())
}

/// The geometry of a convolution on one size of input.
struct View {
    channels: usize,
    input: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Rows of padding above the input, and columns of padding to its left.
    padding: [usize; 2],
}

impl View {
    /// # Panics
    /// Panics on an input smaller than the kernel, as the convolution does.
    fn new(conv: &Conv2d, input: [usize; 2]) -> Self {
        let padding = padding(&conv.padding, input, conv.kernel_size, conv.stride);
        let output = [0, 1].map(|axis| {
            let (begin, end) = padding[axis];
            let reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1;
            let free = (input[axis] + begin + end).checked_sub(reach);
            let free = free.expect("an input that is not smaller than the kernel");
            free / conv.stride[axis] + 1
        });
        Self {
            channels: conv.weight.lazy_shape()[1] * conv.groups,
            input,
            output,
            kernel: conv.kernel_size,
            stride: conv.stride,
            dilation: conv.dilation,
            padding: padding.map(|(begin, _)| begin),
        }
    }

    fn output_pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Writes the values that a filter reads for one output pixel of a batch. Padding is zero.
    ///
    /// # Shapes
    /// - images: `[batch_size, channels, height_in, width_in]`
    /// - patch: the bytes of `[channels, kernel_height, kernel_width]`
    fn write_patch(&self, images: &TensorData, pixel: usize, patch: &mut [u8]) {
        let size = images.dtype().size();
        let images = images.as_bytes();
        let (image, pixel) = (pixel / self.output_pixels(), pixel % self.output_pixels());
        let corner = [pixel / self.output[1], pixel % self.output[1]];
        let places = patch.chunks_exact_mut(size).enumerate();
        for (index, place) in places {
            let (channel, tap) = (index / self.taps(), index % self.taps());
            let position = [tap / self.kernel[1], tap % self.kernel[1]];
            let at = [0, 1].map(|axis| {
                let at = corner[axis] * self.stride[axis] + position[axis] * self.dilation[axis];
                let at = at.checked_sub(self.padding[axis]);
                at.filter(|at| *at < self.input[axis])
            });
            match at {
                [Some(y), Some(x)] => {
                    let row = (image * self.channels + channel) * self.input[0] + y;
                    let start = (row * self.input[1] + x) * size;
                    place.copy_from_slice(&images[start..start + size]);
                }
                _ => place.fill(0),
            }
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014). The same images give the same sample every time.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Draws `count` of the numbers below `total`, in rising order. Each set is equally likely.
    fn choose(&mut self, total: usize, count: usize) -> Vec<usize> {
        let mut missing = count;
        let chosen = (0..total).filter(|index| {
            let left = (total - index) as u64;
            let taken = self.next() % left < missing as u64;
            missing -= usize::from(taken);
            taken
        });
        chosen.collect()
    }
}
