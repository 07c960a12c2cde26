//! What `--load` and `--resume` read.
#![no_main]

linearconv_fuzz::target!(checkpoint, 1 << 27);
