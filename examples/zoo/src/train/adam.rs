//! Adam in one pass over the memory of a parameter.

use burn::optim::{
    Adam, AdamConfig, AdamState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer,
};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

/// The values that a thread updates at a time.
const PART: usize = 1 << 14;

/// Burn's [`Adam`] with its default betas, bit by bit.
///
/// Burn takes thirteen tensor operations for a step, each on the thread that calls it. This optimizer takes one
/// pass by all threads, in the memory of the parameter and its moments, on the CPU backend flex in f32. On any other
/// device, and in any other type, Burn's `Adam` runs. The state of the optimizer is that of Burn's `Adam`, so each
/// reads the records of the other.
#[derive(Clone)]
pub struct OnePassAdam {
    epsilon: f32,
    adam: Adam,
}

impl OnePassAdam {
    const BETA_1: f32 = 0.9;
    const BETA_2: f32 = 0.999;

    /// The optimizer of a module. `epsilon` is added to the root of the second moment.
    pub fn init(epsilon: f32) -> ModuleOptimizer {
        let config = AdamConfig::new()
            .with_beta_1(Self::BETA_1)
            .with_beta_2(Self::BETA_2)
            .with_epsilon(epsilon);
        ModuleOptimizer::from(Self {
            epsilon,
            adam: config.build(),
        })
    }

    /// A step in place. `time` counts the steps, this one included.
    fn update(
        &self,
        lr: f32,
        time: i32,
        [parameter, moment_1, moment_2]: [&mut [f32]; 3],
        gradient: &[f32],
    ) {
        let (beta_1, beta_2) = (Self::BETA_1, Self::BETA_2);
        let correction_2 = (1.0 - beta_2.powi(time)).sqrt();
        let correction = correction_2 / (1.0 - beta_1.powi(time));
        let epsilon = self.epsilon * correction_2;
        let parts = (
            parameter.par_chunks_mut(PART),
            moment_1.par_chunks_mut(PART),
            moment_2.par_chunks_mut(PART),
            gradient.par_chunks(PART),
        );
        parts
            .into_par_iter()
            .for_each(|(parameter, moment_1, moment_2, gradient)| {
                let moments = moment_1.iter_mut().zip(moment_2);
                for ((parameter, (first, second)), gradient) in
                    parameter.iter_mut().zip(moments).zip(gradient)
                {
                    *first = *first * beta_1 + gradient * (1.0 - beta_1);
                    *second = *second * beta_2 + gradient * gradient * (1.0 - beta_2);
                    *parameter -= *first * correction / (second.sqrt() + epsilon) * lr;
                }
            });
    }
}

impl Optimizer for OnePassAdam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let in_memory = tensor.device() == Device::flex()
            && [tensor.dtype(), gradient.dtype()] == [DType::F32; 2];
        let momentum = match state {
            Some(AdamState { momentum }) if in_memory => momentum,
            // The first step makes the moments.
            state => return self.adam.step(lr, tensor, gradient, state),
        };
        let AdaptiveMomentumState {
            time,
            moment_1,
            moment_2,
            ..
        } = momentum;
        let time = time + 1;
        let device = tensor.device();
        // Without a copy where nobody else has the tensor.
        let mut values = [tensor, moment_1, moment_2].map(Tensor::into_data);
        let gradient = gradient.into_data();
        let slices = values
            .each_mut()
            .map(|data| data.as_mut_slice().expect("f32"));
        self.update(
            lr as f32,
            time as i32,
            slices,
            gradient.as_slice().expect("f32"),
        );
        let [tensor, moment_1, moment_2] =
            values.map(|data: TensorData| Tensor::from_data(data, &device));
        let momentum = AdaptiveMomentumState::new(time, moment_1, moment_2);
        (tensor, Some(AdamState::new(momentum)))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Adam::to_device(state, device)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::GradientsParams;

    use super::*;

    const EPSILON: f32 = 1e-8;

    fn burns() -> ModuleOptimizer {
        AdamConfig::new().with_epsilon(EPSILON).init()
    }

    /// A layer of several parts, the last one shorter. Its weights are the same at every call.
    fn layer() -> Linear {
        let [rows, columns] = [61, 700];
        let device = Device::flex().autodiff();
        let mut layer = LinearConfig::new(rows, columns).init(&device);
        let value = |index: usize| (index as f32 * 0.37).sin();
        let values = |count: usize| (0..count).map(value).collect::<Vec<_>>();
        layer.weight = layer.weight.map(|_| {
            let data = TensorData::new(values(rows * columns), [rows, columns]);
            Tensor::from_data(data, &device).require_grad()
        });
        layer.bias = layer.bias.map(|bias| {
            bias.map(|_| {
                let data = TensorData::new(values(columns), [columns]);
                Tensor::from_data(data, &device).require_grad()
            })
        });
        layer
    }

    fn step(layer: Linear, optimizer: &mut ModuleOptimizer, number: usize) -> Linear {
        let device = Device::flex().autodiff();
        let images = Tensor::<2>::full([3, 61], 0.1 * number as f32, &device);
        let loss = layer.forward(images).square().sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &layer);
        optimizer.step(0.01 / number as f64, layer, gradients)
    }

    fn bits(layer: &Linear) -> Vec<u32> {
        let layer = layer.valid();
        let weight: Vec<f32> = layer.weight.val().try_to_vec_as().expect("values");
        let bias = layer.bias.expect("a bias").val();
        let bias: Vec<f32> = bias.try_to_vec_as().expect("values");
        weight.into_iter().chain(bias).map(f32::to_bits).collect()
    }

    #[test]
    fn a_step_is_that_of_burns_adam_bit_by_bit() {
        let (mut ours, mut theirs) = (OnePassAdam::init(EPSILON), burns());
        let (mut by_ours, mut by_theirs) = (layer(), layer());
        for number in 1..=5 {
            by_ours = step(by_ours, &mut ours, number);
            by_theirs = step(by_theirs, &mut theirs, number);
            assert!(bits(&by_ours) == bits(&by_theirs), "step {number}");
        }
    }

    /// A tensor that somebody else has too keeps its values.
    #[test]
    fn a_step_changes_no_shared_tensor() {
        let mut optimizer = OnePassAdam::init(EPSILON);
        let first = step(layer(), &mut optimizer, 1);
        let (shared, before) = (first.clone(), bits(&first));
        let second = step(first, &mut optimizer, 2);
        assert!(bits(&shared) == before);
        assert!(bits(&second) != before);
    }

    #[test]
    fn each_reads_the_record_of_the_other() {
        let train = |first: &mut ModuleOptimizer, second: ModuleOptimizer| {
            let layer = step(layer(), first, 1);
            let layer = step(layer, first, 2);
            let mut second = second.load_record(first.to_record());
            bits(&step(layer, &mut second, 3))
        };
        let expected = train(&mut burns(), burns());
        assert!(train(&mut OnePassAdam::init(EPSILON), burns()) == expected);
        assert!(train(&mut burns(), OnePassAdam::init(EPSILON)) == expected);
    }
}
