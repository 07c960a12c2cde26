//! How the work on some images is divided into tiles, whose matrices fit the caches.

use std::ops::Range;

use super::geometry::Geometry;
use super::real::Real;
use super::scratch::SCRATCH_BYTES;
use super::threads::Threads;

/// Output pixels of a tile: enough to be worth packing the filters, few enough for their columns to
/// stay in the caches.
const PIXELS: usize = 256;
/// The same where all threads work on one tile, and wait for each other at its end.
const SHARED_PIXELS: usize = 1024;
/// The fewest output pixels of a tile, however much scratch memory a pixel takes.
const LEAST_PIXELS: usize = 16;

/// All rows of several images, some rows of one image, or a part of one row.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// Output pixels of the tile.
    pub(super) pixels: usize,
}

/// Tiles of about equal size. For each pixel of a tile a thread needs `scratch` values of scratch
/// memory.
pub(super) fn tiles<T: Real>(
    geometry: &Geometry,
    images: usize,
    threads: Threads,
    scratch: usize,
) -> Vec<Tile> {
    let [height, width] = geometry.output;
    let pixels = match threads.within_image() {
        true => SHARED_PIXELS,
        false => PIXELS,
    };
    let affordable = SCRATCH_BYTES / (size_of::<T>() * scratch.max(1));
    let tile_pixels = pixels.min(affordable.max(LEAST_PIXELS));
    let each = |total: usize, pixels: usize| {
        let most = (tile_pixels / pixels.max(1)).max(1);
        // An empty batch has no tiles; the divisors must not be zero.
        total.div_ceil(total.div_ceil(most).max(1)).max(1)
    };
    let images_each = match height * width < tile_pixels {
        true => each(images, height * width),
        false => 1,
    };
    let rows_each = match images_each {
        1 => each(height, width),
        _ => height.max(1),
    };
    let columns_each = match width > tile_pixels {
        true => each(width, 1),
        false => width.max(1),
    };
    let ranges = |total: usize, each: usize| {
        let starts = (0..total).step_by(each);
        starts.map(move |start| start..(start + each).min(total))
    };
    let mut tiles = Vec::new();
    for images in ranges(images, images_each) {
        for rows in ranges(height, rows_each) {
            for columns in ranges(width, columns_each) {
                tiles.push(Tile {
                    pixels: images.len() * rows.len() * columns.len(),
                    images: images.clone(),
                    rows: rows.clone(),
                    columns,
                });
            }
        }
    }
    tiles
}

/// The pixels of the largest tile.
pub(super) fn most_pixels(tiles: &[Tile]) -> usize {
    tiles.iter().map(|tile| tile.pixels).max().unwrap_or(0)
}

impl Tile {
    /// Whether the tile is one whole image, whose maps lie one after the other in the output.
    pub(super) fn is_image(&self, geometry: &Geometry) -> bool {
        self.pixels == geometry.output_plane() && self.images.len() == 1
    }

    /// The values of the tile's images, in a batch with `image` values for each image.
    pub(super) fn values(&self, image: usize) -> Range<usize> {
        self.images.start * image..self.images.end * image
    }

    /// Output pixels of the tile in each image.
    pub(super) fn image_pixels(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Copies the first maps of all images, at the pixels of the tile, to `tile_maps`, as many as
    /// fit.
    ///
    /// # Shapes
    /// - maps: `[images, filters, height_out, width_out]`
    /// - tile_maps: `[at most filters, pixels]`
    pub(super) fn load<T: Real>(
        &self,
        geometry: &Geometry,
        filters: usize,
        maps: &[T],
        tile_maps: &mut [T],
    ) {
        for (filter, map) in tile_maps.chunks_exact_mut(self.pixels).enumerate() {
            let runs = map.chunks_exact_mut(self.image_pixels());
            for (run, place) in runs.zip(self.places(geometry, filters, filter)) {
                run.copy_from_slice(&maps[place]);
            }
        }
    }

    /// Copies the maps of the tile to their places in the maps of all images.
    ///
    /// # Shapes
    /// - tile_maps: `[filters, pixels]`
    /// - maps: `[images, filters, height_out, width_out]`
    pub(super) fn store<T: Real>(
        &self,
        geometry: &Geometry,
        filters: usize,
        tile_maps: &[T],
        maps: &mut [T],
    ) {
        for (filter, map) in tile_maps.chunks_exact(self.pixels).enumerate() {
            let runs = map.chunks_exact(self.image_pixels());
            for (run, place) in runs.zip(self.places(geometry, filters, filter)) {
                maps[place].copy_from_slice(run);
            }
        }
    }

    /// The places of the tile's pixels of one map among all maps, image by image.
    pub(super) fn places(
        &self,
        geometry: &Geometry,
        filters: usize,
        filter: usize,
    ) -> impl Iterator<Item = Range<usize>> {
        // A tile with several rows has whole rows, so its pixels lie one after the other.
        let start = self.rows.start * geometry.output[1] + self.columns.start;
        let end = start + self.image_pixels();
        let plane = geometry.output_plane();
        self.images.clone().map(move |image| {
            let map = (image * filters + filter) * plane;
            map + start..map + end
        })
    }
}
