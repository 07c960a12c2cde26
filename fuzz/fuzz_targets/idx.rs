//! The files of MNIST.
#![no_main]

linearconv_fuzz::target!(idx, 1 << 27);
