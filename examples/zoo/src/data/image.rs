//! Images of the user, in the form that a network takes.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Tensor};
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, Rgba};

use super::{DatasetName, ImageBatcher, Images, Sample};
use crate::models::IMAGE_SIDE;

/// Reads a PNG or JPEG image of any size, and makes it like the images of a data set. It turns the image
/// upright, takes the square in its middle, puts it on white if it is transparent, scales it, makes it grey if the
/// data set is grey, and normalizes it. Returns a batch of one image, `[1, channels, 32, 32]`.
///
/// # Errors
/// [`Error::Image`](crate::Error::Image) if the file cannot be read or decoded.
pub fn read_image(
    path: &Path,
    dataset: DatasetName,
    device: &Device,
) -> Result<Tensor<4>, crate::Error> {
    let image = decode(path).map_err(|source| crate::Error::Image {
        path: path.into(),
        source,
    })?;
    let normalization = dataset.normalization();
    let side = (IMAGE_SIDE - 2 * normalization.padding) as u32;
    let image = opaque(square(&image)).resize_exact(side, side, FilterType::Triangle);
    let pixels = match dataset.channels() {
        1 => image.into_luma8().into_raw(),
        _ => planes(&image.into_rgb8().into_raw()),
    };
    let shape = [dataset.channels(), side as usize, side as usize];
    let images = Images {
        pixels,
        labels: vec![0],
        shape,
    };
    let batcher = ImageBatcher::new(Arc::new(images), normalization);
    let sample = Sample { index: 0, seed: 0 };
    Ok(batcher.batch(vec![sample], device).images)
}

fn decode(path: &Path) -> image::ImageResult<DynamicImage> {
    let reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut decoder = reader.into_decoder()?;
    // `from_decoder` allocates what the header claims.
    Limits::default().reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// The square in the middle of an image. It is cut out before it is scaled: a narrow image of which the shorter
/// side is scaled may need more memory than there is.
pub fn square(image: &DynamicImage) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    let side = width.min(height);
    image.crop_imm((width - side) / 2, (height - side) / 2, side, side)
}

/// The image on a white ground, as programs that show images have it. The colours of transparent pixels are
/// arbitrary, often black.
fn opaque(image: DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image;
    }
    let mut image = image.into_rgba8();
    for Rgba([red, green, blue, alpha]) in image.pixels_mut() {
        let share = u32::from(*alpha);
        for value in [red, green, blue] {
            *value = ((u32::from(*value) * share + 255 * (255 - share) + 127) / 255) as u8;
        }
        *alpha = 255;
    }
    image.into()
}

/// Reorders pixels from `[height, width, channels]` to `[channels, height, width]`.
fn planes(pixels: &[u8]) -> Vec<u8> {
    let channel = |channel| pixels.iter().skip(channel).step_by(3).copied();
    (0..3).flat_map(channel).collect()
}

#[cfg(test)]
mod tests {
    use image::RgbaImage;

    use super::*;

    #[test]
    fn transparent_pixels_are_white_and_opaque_ones_stay() {
        let pixels = [[0, 0, 0, 0], [10, 20, 30, 255], [0, 100, 255, 51]];
        let image = RgbaImage::from_fn(3, 1, |x, _| Rgba(pixels[x as usize]));
        let found = opaque(image.into()).into_rgb8().into_raw();
        // 51 is a fifth of 255.
        assert_eq!(found, [255, 255, 255, 10, 20, 30, 204, 224, 255]);
    }
}
