//! The normalization of one channel, forward and backward.

use super::super::real::Real;

/// The statistics and weights of the normalization of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) mean: f64,
    pub(super) inverse_deviation: f64,
    pub(super) gamma: f64,
    pub(super) beta: f64,
}

/// `(value - center) · scale + shift`
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine<T> {
    center: T,
    scale: T,
    shift: T,
}

/// `gradient · scale - (value - center) · slope - shift`
#[derive(Clone, Copy, Debug)]
pub(super) struct InputGradient<T> {
    center: T,
    scale: T,
    slope: T,
    shift: T,
}

/// Sums of a channel over the batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// The sum of the gradients of the normalized maps.
    pub(super) gradients: f64,
    /// The sum of these gradients times the value's distance from the center.
    pub(super) products: f64,
}

impl Channel {
    /// The mean, rounded to the type of the maps.
    pub(super) fn center<T: Real>(&self) -> T {
        T::from_f64(self.mean)
    }

    /// The center minus the mean. Where the mean is large beside the deviation, this corrects the
    /// rounding of the center.
    fn beside<T: Real>(&self) -> f64 {
        self.center::<T>().into() - self.mean
    }

    /// The normalization.
    pub(super) fn affine<T: Real>(&self) -> Affine<T> {
        let scale = self.gamma * self.inverse_deviation;
        Affine {
            center: self.center(),
            scale: T::from_f64(scale),
            shift: T::from_f64(self.beta + self.beside::<T>() * scale),
        }
    }

    /// The gradients of gamma and beta.
    pub(super) fn weight_gradients<T: Real>(&self, sums: Sums) -> [T; 2] {
        let gamma = self.products::<T>(sums) * self.inverse_deviation;
        [gamma, sums.gradients].map(T::from_f64)
    }

    /// The gradient of the maps. `batch` is the number of values of a channel, if the statistics
    /// are those of the batch: these depend on the maps. Running statistics do not.
    pub(super) fn input_gradient<T: Real>(
        &self,
        sums: Sums,
        batch: Option<usize>,
    ) -> InputGradient<T> {
        let scale = self.gamma * self.inverse_deviation;
        let [mean, slope] = match batch {
            Some(count) => {
                let squared = self.inverse_deviation * self.inverse_deviation;
                [sums.gradients, self.products::<T>(sums) * squared].map(|sum| sum / count as f64)
            }
            None => [0.0; 2],
        };
        InputGradient {
            center: self.center(),
            scale: T::from_f64(scale),
            slope: T::from_f64(scale * slope),
            shift: T::from_f64(scale * (mean + slope * self.beside::<T>())),
        }
    }

    /// The sum of gradients times the distance from the mean.
    fn products<T: Real>(&self, sums: Sums) -> f64 {
        sums.products + self.beside::<T>() * sums.gradients
    }
}

impl<T: Real> Affine<T> {
    /// The transform that changes nothing.
    pub(super) fn identity() -> Self {
        Self {
            center: T::zero(),
            scale: T::one(),
            shift: T::zero(),
        }
    }

    pub(super) fn of(self, value: T) -> T {
        (value - self.center) * self.scale + self.shift
    }
}

impl<T: Real> InputGradient<T> {
    pub(super) fn of(self, gradient: T, value: T) -> T {
        gradient * self.scale - (value - self.center) * self.slope - self.shift
    }
}

impl Sums {
    pub(super) fn add(&mut self, other: Self) {
        self.gradients += other.gradients;
        self.products += other.products;
    }
}
