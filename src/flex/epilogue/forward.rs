//! The forward pass: normalization, shortcut, ReLU and pooling, map by map.

use std::mem::MaybeUninit;

use super::super::real::Real;
use super::super::scratch::with_scratch;
use super::super::uninitialized::{Slot, vec_written_by};
use super::channel::Affine;
use super::planes::{Planes, split};
use super::pool::Windows;

/// What the pass reads, and whether it applies ReLU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a, T> {
    pub(super) planes: Planes,
    pub(super) maps: &'a [T],
    /// The normalization of each channel.
    pub(super) channels: Option<&'a [Affine<T>]>,
    pub(super) shortcut: Option<&'a [T]>,
    pub(super) relu: bool,
}

impl<T: Real> Pass<'_, T> {
    /// The output without pooling.
    pub(super) fn run(self) -> Vec<T> {
        let (parts, threads) = self.planes.parts();
        let plane = self.planes.plane();
        let write = |output: &mut [MaybeUninit<T>]| {
            let outputs = split(&parts, output, plane);
            threads.map(parts.iter().zip(outputs).collect(), |(part, output)| {
                let maps = output.chunks_exact_mut(plane.max(1));
                for (index, map) in part.clone().zip(maps) {
                    self.write(index, map);
                }
            });
        };
        // SAFETY: the parts cover all maps, and every value of a map is written.
        unsafe { vec_written_by(self.planes.count() * plane, write) }
    }

    /// The pooled output, and the tap of each window that was the largest.
    pub(super) fn run_pooled(self, windows: &Windows) -> (Vec<T>, Vec<u8>) {
        let (parts, threads) = self.planes.parts();
        let pooled = windows.pooled().iter().product::<usize>();
        let length = self.planes.count() * pooled;
        let mut taps = vec![0; length];
        let write = |output: &mut [MaybeUninit<T>]| {
            let outputs = split(&parts, output, pooled);
            let outputs = outputs.into_iter().zip(split(&parts, &mut taps, pooled));
            threads.map(parts.iter().zip(outputs).collect(), |(part, outputs)| {
                let (output, taps) = outputs;
                let outputs = output.chunks_exact_mut(pooled.max(1));
                let outputs = outputs.zip(taps.chunks_exact_mut(pooled.max(1)));
                with_scratch([self.planes.plane()], |[map]| {
                    for (index, (output, taps)) in part.clone().zip(outputs) {
                        self.write(index, map);
                        windows.pool(map, output, taps);
                    }
                });
            });
        };
        // SAFETY: the parts cover all maps, and every value of a pooled map is written.
        let output = unsafe { vec_written_by(length, write) };
        (output, taps)
    }

    /// Writes one map, before pooling.
    fn write(self, index: usize, output: &mut [impl Slot<T>]) {
        let place = index * self.planes.plane()..(index + 1) * self.planes.plane();
        let affine = match self.channels {
            Some(channels) => channels[index % self.planes.channels],
            None => Affine::identity(),
        };
        let map = self.maps[place.clone()].iter();
        let map = map.map(|value| affine.of(*value));
        let shortcut = self.shortcut.map(|shortcut| shortcut[place].iter());
        let sum = |(value, shortcut): (T, &T)| value + *shortcut;
        // One loop for each case, so that the compiler vectorizes each.
        match (shortcut, self.relu) {
            (None, false) => put(output, map),
            (None, true) => put(output, map.map(relu)),
            (Some(shortcut), false) => put(output, map.zip(shortcut).map(sum)),
            (Some(shortcut), true) => put(output, map.zip(shortcut).map(sum).map(relu)),
        }
    }
}

fn put<T>(output: &mut [impl Slot<T>], values: impl Iterator<Item = T>) {
    for (output, value) in output.iter_mut().zip(values) {
        output.put(value);
    }
}

/// Keeps NaN, as Burn does.
fn relu<T: Real>(value: T) -> T {
    match value <= T::zero() {
        true => T::zero(),
        false => value,
    }
}
