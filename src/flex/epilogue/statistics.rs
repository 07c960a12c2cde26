//! The statistics of a batch.

use super::super::real::Real;
use super::moments::Moments;
use super::planes::Planes;

/// The moments of every channel.
///
/// Each thread takes some maps. Their moments are joined in the order of the maps, so that the
/// result does not depend on which thread was faster.
pub(super) fn statistics<T: Real>(planes: Planes, maps: &[T]) -> Vec<Moments> {
    let (parts, threads) = planes.parts();
    let of_parts = threads.map(parts, |part| {
        let mut channels = vec![Moments::default(); planes.channels];
        for plane in part {
            let map = &maps[plane * planes.plane()..][..planes.plane()];
            let channel = &mut channels[plane % planes.channels];
            *channel = channel.join(Moments::of(map));
        }
        channels
    });
    let none = vec![Moments::default(); planes.channels];
    of_parts.into_iter().fold(none, |all, part| {
        let pairs = all.into_iter().zip(part);
        pairs.map(|(all, part)| all.join(part)).collect()
    })
}
