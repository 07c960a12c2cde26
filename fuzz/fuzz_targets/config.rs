//! The configuration of a layer, and what a run has written.
#![no_main]

linearconv_fuzz::target!(config, 1 << 27);
