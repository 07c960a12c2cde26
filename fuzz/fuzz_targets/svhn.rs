//! The files of SVHN.
#![no_main]

linearconv_fuzz::target!(svhn, 1 << 27);
