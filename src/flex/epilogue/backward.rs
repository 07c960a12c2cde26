//! The backward pass: one pass over the maps for the sums of each channel, and one for the gradient
//! of the maps.

use std::mem::MaybeUninit;

use super::super::real::Real;
use super::super::scratch::with_scratch;
use super::super::uninitialized::vec_written_by;
use super::channel::{Channel, InputGradient, Sums};
use super::lanes::{RUN, sums};
use super::planes::{Planes, split};
use super::pool::Windows;

/// The gradient of the output, and what decides which maps and pixels get it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a, T> {
    pub(super) planes: Planes,
    pub(super) gradient: &'a [T],
    /// The output, if there is a ReLU: where it is zero, no gradient passes.
    pub(super) output: Option<&'a [T]>,
    /// The pooling windows, and the tap of each that gets its gradient.
    pub(super) pool: Option<(&'a Windows, &'a [u8])>,
}

impl<'a, T: Real> Outgoing<'a, T> {
    /// A gradient that has already passed ReLU and pooling.
    pub(super) fn passed(planes: Planes, gradient: &'a [T]) -> Self {
        Self {
            planes,
            gradient,
            output: None,
            pool: None,
        }
    }

    /// The gradient behind ReLU and pooling: the gradient of the shortcut and of the normalized
    /// maps.
    pub(super) fn pass(self) -> Vec<T> {
        self.for_each_map(|_, gradient, output| {
            for (output, gradient) in output.iter_mut().zip(gradient) {
                output.write(*gradient);
            }
        })
    }

    /// The sums of every channel. Each thread takes some maps. Their sums are added in the order of
    /// the maps, so that the result does not depend on which thread was faster.
    pub(super) fn sums(self, maps: &[T], channels: &[Channel]) -> Vec<Sums> {
        let (parts, threads) = self.planes.parts();
        let plane = self.planes.plane();
        let of_parts = threads.map(parts, |part| {
            let mut all = vec![Sums::default(); channels.len()];
            with_scratch(self.buffers(), |[pooled, gradient]| {
                for index in part {
                    let channel = index % channels.len();
                    let center: T = channels[channel].center();
                    let gradient = self.load(index, pooled, gradient);
                    let map = &maps[index * plane..][..plane];
                    for (gradient, map) in gradient.chunks(RUN).zip(map.chunks(RUN)) {
                        let [gradients, products] = sums([gradient, map], |[gradient, value]| {
                            [gradient, gradient * (value - center)]
                        });
                        all[channel].add(Sums {
                            gradients,
                            products,
                        });
                    }
                }
            });
            all
        });
        let none = vec![Sums::default(); channels.len()];
        of_parts.into_iter().fold(none, |mut all, part| {
            for (all, part) in all.iter_mut().zip(part) {
                all.add(part);
            }
            all
        })
    }

    /// The gradient of the maps.
    pub(super) fn input_gradient(self, maps: &[T], channels: &[InputGradient<T>]) -> Vec<T> {
        let plane = self.planes.plane();
        self.for_each_map(|index, gradient, output| {
            let channel = channels[index % channels.len()];
            let values = gradient.iter().zip(&maps[index * plane..][..plane]);
            for (output, (gradient, value)) in output.iter_mut().zip(values) {
                output.write(channel.of(*gradient, *value));
            }
        })
    }

    /// Computes all maps. `write` gets the index of a map and the gradient that passes to it, and
    /// has to write every value of the map.
    fn for_each_map(self, write: impl Fn(usize, &[T], &mut [MaybeUninit<T>]) + Sync) -> Vec<T> {
        let (parts, threads) = self.planes.parts();
        let plane = self.planes.plane();
        let write = |values: &mut [MaybeUninit<T>]| {
            let outputs = split(&parts, values, plane);
            threads.map(parts.iter().zip(outputs).collect(), |(part, values)| {
                let maps = values.chunks_exact_mut(plane.max(1));
                with_scratch(self.buffers(), |[pooled, gradient]| {
                    for (index, map) in part.clone().zip(maps) {
                        write(index, self.load(index, pooled, gradient), map);
                    }
                });
            });
        };
        // SAFETY: the parts cover all maps, and both callers write every value of a map.
        unsafe { vec_written_by(self.planes.count() * plane, write) }
    }

    /// The lengths of the buffers of [`load`](Self::load).
    fn buffers(self) -> [usize; 2] {
        let plane = self.planes.plane();
        match self.pool {
            Some((windows, _)) => [windows.pooled().iter().product(), plane],
            None if self.output.is_some() => [0, plane],
            None => [0, 0],
        }
    }

    /// The gradient that passes to one map.
    fn load<'b>(self, index: usize, pooled: &mut [T], map: &'b mut [T]) -> &'b [T]
    where
        'a: 'b,
    {
        let Some((windows, taps)) = self.pool else {
            let place = index * self.planes.plane()..(index + 1) * self.planes.plane();
            let Some(output) = self.output else {
                return &self.gradient[place];
            };
            mask(&self.gradient[place.clone()], &output[place], map);
            return map;
        };
        let place = index * pooled.len()..(index + 1) * pooled.len();
        match self.output {
            Some(output) => mask(
                &self.gradient[place.clone()],
                &output[place.clone()],
                pooled,
            ),
            None => pooled.copy_from_slice(&self.gradient[place.clone()]),
        }
        windows.spread(pooled, &taps[place], map);
        map
    }
}

/// The gradient where the output is above zero or NaN, as in Burn; zero elsewhere.
fn mask<T: Real>(gradient: &[T], output: &[T], masked: &mut [T]) {
    let values = gradient.iter().copied().zip(output.iter().copied());
    for (masked, (gradient, output)) in masked.iter_mut().zip(values) {
        *masked = match output <= T::zero() {
            true => T::zero(),
            false => gradient,
        };
    }
}
