//! The vector unit of this machine.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

/// The vector instructions of this machine, detected once.
pub(super) static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Rows of a matrix that a product computes at a time: two vectors.
pub(super) static PANEL: LazyLock<usize> = LazyLock::new(|| 2 * ARCH.dispatch(Lanes));

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}
