//! What `--predict` reads.
#![no_main]

linearconv_fuzz::target!(image, 1 << 30);
