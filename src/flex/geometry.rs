//! The sizes of a convolution, and the input pixels that each tap reads. A tap is one position in
//! the kernel.

use std::ops::Range;

use burn::backend::ops::conv::calculate_conv_output_size_asymmetric;
use burn::tensor::ops::ConvOptions;

/// The sizes of a convolution with one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) channels: usize,
    pub(super) input: [usize; 2],
    pub(super) output: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Rows of padding above the input, and columns of padding to its left.
    pub(super) padding: [usize; 2],
}

impl Geometry {
    /// # Shapes
    /// - input: `[batch_size, channels, height, width]`
    /// - filters: `[count, channels, height, width]`
    pub(super) fn new(input: [usize; 4], filters: [usize; 4], options: &ConvOptions<2>) -> Self {
        let [_, channels, height, width] = input;
        let [_, _, kernel_height, kernel_width] = filters;
        let (input, kernel) = ([height, width], [kernel_height, kernel_width]);
        let output = |axis: usize| {
            calculate_conv_output_size_asymmetric(
                kernel[axis],
                options.stride[axis],
                options.padding[axis],
                options.dilation[axis],
                input[axis],
            )
        };
        Self {
            channels,
            input,
            output: [output(0), output(1)],
            kernel,
            stride: options.stride,
            dilation: options.dilation,
            padding: options.padding_begin(),
        }
    }

    /// Weights of one filter.
    pub(super) fn filter_size(&self) -> usize {
        self.channels * self.taps()
    }

    /// Values of one channel of the input.
    pub(super) fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Pixels of one channel of the output.
    pub(super) fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// The size of `count` channels-last outputs.
    pub(super) fn output_size(&self, count: usize, channels: usize) -> [usize; 4] {
        [count, self.output[0], self.output[1], channels]
    }

    /// Weights of one channel of a filter.
    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The offset from an output pixel to the input pixel that a tap reads, at a stride of 1.
    pub(super) fn offset(&self, tap: usize) -> [isize; 2] {
        let position = [tap / self.kernel[1], tap % self.kernel[1]];
        [0, 1].map(|axis| {
            (position[axis] * self.dilation[axis]) as isize - self.padding[axis] as isize
        })
    }

    /// The output coordinates along an axis at which the tap reads inside the input.
    pub(super) fn inside(&self, axis: usize, offset: isize) -> Range<usize> {
        let (size, stride) = (self.input[axis] as isize, self.stride[axis] as isize);
        let first = (-offset).max(0).unsigned_abs().div_ceil(self.stride[axis]);
        let end = (size - offset)
            .max(0)
            .unsigned_abs()
            .div_ceil(stride.unsigned_abs());
        let end = end.min(self.output[axis]);
        first.min(end)..end
    }

    /// Whether output and input rows have the same length and the stride is 1: a tap then reads
    /// whole rows.
    pub(super) fn in_step(&self) -> bool {
        self.stride == [1, 1] && self.input[1] == self.output[1]
    }

    /// Whether the im2col columns of an image are the image itself.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.input == self.output
    }
}
