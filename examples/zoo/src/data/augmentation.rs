use super::Sample;

/// How training images are varied at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augmentation {
    /// Black pixels added on each side before an image is cropped back to its size.
    pub crop: usize,
    /// Whether half of the images are mirrored.
    pub flip: bool,
}

/// The part of a padded image that is used, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// Whether the order of the columns is reversed.
    pub flip: bool,
}

impl Augmentation {
    /// The view of an image. It depends on the sample alone.
    pub fn view(self, sample: Sample) -> View {
        // The seed is mixed first. Otherwise the sequences of neighbouring seeds would overlap.
        let random = split_mix(split_mix(sample.seed, 0), sample.index as u64);
        let offsets = 2 * self.crop as u64 + 1;
        View {
            top: (random % offsets) as usize,
            left: (random / offsets % offsets) as usize,
            flip: self.flip && random >> 63 == 1,
        }
    }
}

/// The number at place `index` of the sequence that SplitMix64 draws from a seed (G. L. Steele, D. Lea,
/// C. H. Flood, <https://doi.org/10.1145/2660193.2660195>).
pub fn split_mix(seed: u64, index: u64) -> u64 {
    let step = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = seed.wrapping_add(step);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CROP_AND_FLIP: Augmentation = Augmentation {
        crop: 4,
        flip: true,
    };

    #[test]
    fn split_mix_draws_the_published_numbers() {
        // The first outputs of the authors' generator for the seed 1234567.
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(
            [0, 1, 2].map(|index| split_mix(1_234_567, index)),
            published
        );
    }

    #[test]
    fn every_offset_occurs_as_often_as_any_other_and_half_the_images_are_mirrored() {
        let mut tops = [0; 9];
        let mut lefts = [0; 9];
        let mut views = BTreeSet::new();
        let mut flipped = 0;
        for index in 0..9000 {
            let view = CROP_AND_FLIP.view(Sample { index, seed: 7 });
            tops[view.top] += 1;
            lefts[view.left] += 1;
            views.insert((view.top, view.left, view.flip));
            flipped += usize::from(view.flip);
        }
        // Five standard deviations of a binomial distribution: 149 for a ninth, 237 for a half.
        for count in tops.iter().chain(&lefts) {
            assert!((851..=1149).contains(count), "{tops:?} {lefts:?}");
        }
        assert!((4263..=4737).contains(&flipped), "{flipped}");
        assert_eq!(views.len(), 9 * 9 * 2);
    }

    #[test]
    fn views_depend_on_the_sample_alone() {
        let views = |seed| -> Vec<View> {
            let view = |index| CROP_AND_FLIP.view(Sample { index, seed });
            (0..100).map(view).collect()
        };
        assert_eq!(views(1), views(1));
        assert_ne!(views(1), views(2));
        assert_ne!(views(1)[1..], views(2)[..99]);
    }

    #[test]
    fn without_augmentation_nothing_moves() {
        let origin = View {
            top: 0,
            left: 0,
            flip: false,
        };
        for index in 0..100 {
            assert_eq!(
                Augmentation::default().view(Sample { index, seed: 3 }),
                origin
            );
        }
    }
}
