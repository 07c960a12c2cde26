//! Command lines.
#![no_main]

linearconv_fuzz::target!(command_line, 1 << 27);
