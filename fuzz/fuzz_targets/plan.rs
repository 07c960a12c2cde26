//! Plans and choices.
#![no_main]

linearconv_fuzz::target!(plan, 1 << 27);
