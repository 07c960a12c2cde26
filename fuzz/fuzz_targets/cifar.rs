//! The files of CIFAR.
#![no_main]

linearconv_fuzz::target!(cifar, 1 << 27);
