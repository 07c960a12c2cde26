//! How the work on some images is divided into tiles, whose matrices fit the caches.

use std::ops::Range;

use super::geometry::Geometry;
use super::real::Real;
use super::threads::Threads;

/// Output pixels of a tile: enough to be worth packing the filters for, few enough for their
/// columns to stay in the caches.
const PIXELS: usize = 256;
/// The same where all threads work on one tile, and have to wait for each other at its end.
const SHARED_PIXELS: usize = 1024;

/// Some rows of one image, or all rows of several.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
    /// Output pixels of the tile.
    pub(super) pixels: usize,
}

/// Tiles of about equal size.
pub(super) fn tiles(geometry: &Geometry, images: usize, threads: Threads) -> Vec<Tile> {
    let [height, width] = geometry.output;
    let tile_pixels = match threads.within_image() {
        true => SHARED_PIXELS,
        false => PIXELS,
    };
    let each = |total: usize, pixels: usize| {
        let most = (tile_pixels / pixels).max(1);
        // Of an empty batch there are no tiles, of any size.
        total.div_ceil(total.div_ceil(most).max(1)).max(1)
    };
    let (images_each, rows_each) = if height * width < tile_pixels {
        (each(images, height * width), height)
    } else {
        (1, each(height, width))
    };
    let mut tiles = Vec::new();
    for image in (0..images).step_by(images_each) {
        let images = image..(image + images_each).min(images);
        for row in (0..height).step_by(rows_each) {
            let rows = row..(row + rows_each).min(height);
            tiles.push(Tile {
                pixels: images.len() * rows.len() * width,
                images: images.clone(),
                rows,
            });
        }
    }
    tiles
}

/// The size of the largest tile.
pub(super) fn most_pixels(tiles: &[Tile]) -> usize {
    tiles.iter().map(|tile| tile.pixels).max().unwrap_or(0)
}

impl Tile {
    /// Whether the tile is one image: its maps then lie one after the other in those of the batch.
    pub(super) fn is_image(&self, geometry: &Geometry) -> bool {
        self.pixels == geometry.output_plane() && self.images.len() == 1
    }

    /// The values of the tile's images among those of all images.
    pub(super) fn values(&self, image: usize) -> Range<usize> {
        self.images.start * image..self.images.end * image
    }

    /// Copies the tile's part of the first maps of all images, as many as fit.
    ///
    /// # Shapes
    /// - maps: `[images, filters, output]`
    /// - tile_maps: `[at most filters, pixels]`
    pub(super) fn load<T: Real>(
        &self,
        geometry: &Geometry,
        filters: usize,
        maps: &[T],
        tile_maps: &mut [T],
    ) {
        for (filter, map) in tile_maps.chunks_exact_mut(self.pixels).enumerate() {
            let runs = map.chunks_exact_mut(self.pixels / self.images.len());
            for (run, place) in runs.zip(self.places(geometry, filters, filter)) {
                run.copy_from_slice(&maps[place]);
            }
        }
    }

    /// Copies a tile's maps to their place among those of all images.
    ///
    /// # Shapes
    /// - tile_maps: `[filters, pixels]`
    /// - maps: `[images, filters, output]`
    pub(super) fn store<T: Real>(
        &self,
        geometry: &Geometry,
        filters: usize,
        tile_maps: &[T],
        maps: &mut [T],
    ) {
        for (filter, map) in tile_maps.chunks_exact(self.pixels).enumerate() {
            let runs = map.chunks_exact(self.pixels / self.images.len());
            for (run, place) in runs.zip(self.places(geometry, filters, filter)) {
                maps[place].copy_from_slice(run);
            }
        }
    }

    /// Where the tile's part of one map is among all maps, image by image.
    fn places(
        &self,
        geometry: &Geometry,
        filters: usize,
        filter: usize,
    ) -> impl Iterator<Item = Range<usize>> {
        let [start, end] = [self.rows.start, self.rows.end].map(|row| row * geometry.output[1]);
        let plane = geometry.output_plane();
        self.images.clone().map(move |image| {
            let map = (image * filters + filter) * plane;
            map + start..map + end
        })
    }
}
