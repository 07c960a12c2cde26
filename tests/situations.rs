//! The layer where programs put it: on views of other tensors, under gradient checkpointing, on
//! several threads, in a pool of rayon, in f32.

mod common;

use std::thread;

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use linearconv::{CoefficientsConfig, LinearConv2d, LinearConv2dConfig};
use rayon::prelude::*;

use common::{
    assert_close, cast, device, float, layer, relative_error, tensor, to_vec, tolerances,
    variants_of_both_sides, weighted_sum,
};

fn config(variant: CoefficientsConfig, channel_ratio: f64) -> LinearConv2dConfig {
    LinearConv2dConfig::new([6, 10], [3, 3])
        .with_padding(PaddingConfig2d::Same)
        .with_channel_ratio(channel_ratio)
        .with_coefficients(variant)
}

/// The output; the gradients of a tensor that the input is made from, and of the parameters.
fn outcome(
    layer: &LinearConv2d,
    base: Tensor<4>,
    view: fn(Tensor<4>) -> Tensor<4>,
) -> Vec<Vec<f64>> {
    let base = base.require_grad();
    let output = layer.forward(view(base.clone()));
    let gradients = weighted_sum(output.clone()).backward();
    let mut outcome = vec![
        to_vec(output),
        to_vec(base.grad(&gradients).expect("a gradient of the input")),
    ];
    let gradients = GradientsParams::from_grads(gradients, layer);
    let bias = layer.bias.as_ref().expect("a bias");
    outcome.push(to_vec(gradients.get::<4>(layer.primary.id).expect("one")));
    outcome.push(to_vec(gradients.get::<1>(bias.id).expect("one")));
    let channels = layer.channel_coefficients.iter();
    outcome.extend(channels.map(|b| to_vec(gradients.get::<2>(b.id).expect("one"))));
    outcome.extend(
        match &layer.coefficients {
            linearconv::Coefficients::Full(full) => vec![&full.weight],
            linearconv::Coefficients::LowRank(low_rank) => vec![&low_rank.row, &low_rank.column],
            linearconv::Coefficients::Sparse(sparse) => vec![&sparse.weight],
        }
        .into_iter()
        .map(|matrix: &Param<Tensor<2>>| to_vec(gradients.get::<2>(matrix.id).expect("one"))),
    );
    outcome
}

fn assert_same(actual: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (actual, expected) in actual.iter().zip(expected) {
        assert_close(actual, expected, tolerance, what);
    }
}

/// The same values in memory of their own.
fn copied(tensor: Tensor<4>) -> Tensor<4> {
    let device = tensor.device();
    Tensor::from_data(tensor.into_data(), (&device, float()))
}

#[test]
fn views_are_what_they_show() {
    type View = fn(Tensor<4>) -> Tensor<4>;
    let views: [(&str, [usize; 4], View); 5] = [
        ("swapped", [2, 6, 7, 9], |base| base.swap_dims(2, 3)),
        ("permuted", [7, 2, 9, 6], |base| base.permute([1, 3, 0, 2])),
        ("sliced", [3, 8, 11, 9], |base| {
            base.slice([1..3, 1..7, 2..9, 0..9])
        }),
        ("expanded", [1, 6, 7, 9], |base| base.expand([3, 6, 7, 9])),
        ("expanded over channels", [2, 1, 7, 9], |base| {
            base.expand([2, 6, 7, 9])
        }),
    ];
    let device = device().autodiff();
    for (variant, channel_ratio) in variants_of_both_sides() {
        let layer = layer(&config(variant, channel_ratio), &device);
        for (name, shape, view) in views {
            let base = tensor(shape, 3, &device);
            let output = layer.forward(view(base.clone()));
            let expected = layer.forward(copied(view(base.clone()).detach()));
            let what = format!("{name}, {variant:?}, {channel_ratio}");
            assert_close(&to_vec(output), &to_vec(expected), tolerances().sums, &what);

            // The gradient goes back through the view, and those of the parameters are the same.
            let ours = outcome(&layer, base.clone(), view);
            let theirs = outcome(&layer, copied(view(base).detach()), |input| input);
            assert_same(&ours[2..], &theirs[2..], tolerances().sums, &what);
            let total = |values: &[f64]| [values.iter().sum::<f64>()];
            let [ours, theirs] = [total(&ours[1]), total(&theirs[1])];
            assert_close(&ours, &theirs, tolerances().long_sums, &what);
        }
    }
}

#[test]
fn parameters_may_be_views_too() {
    let device = device();
    let layer = layer(&config(CoefficientsConfig::Full, 1.0), &device);
    let images = tensor([2, 6, 7, 9], 3, &device);
    let expected = to_vec(layer.forward(images.clone()));
    let mut viewed = layer.clone();
    let turned = layer.primary.val().permute([2, 0, 3, 1]);
    viewed.primary = Param::from_tensor(copied(turned).permute([1, 3, 0, 2]));
    let [filters] = layer.bias.as_ref().expect("a bias").val().dims();
    let wide = Tensor::cat(vec![layer.bias.as_ref().expect("a bias").val(); 2], 0);
    viewed.bias = Some(Param::from_tensor(wide.narrow(0, filters, filters)));
    let output = to_vec(viewed.forward(images));
    assert_close(&output, &expected, tolerances().sums, "views");
}

#[test]
fn gradient_checkpointing_changes_no_gradient() {
    for (variant, channel_ratio) in variants_of_both_sides() {
        let config = config(variant, channel_ratio);
        let gradients = |device: &Device| {
            let layer = layer(&config, device);
            let images = tensor([2, 6, 7, 9], 3, device);
            // Operations around the layer that checkpointing computes twice.
            outcome(&layer, images, |images| {
                burn::tensor::activation::relu(images * 2.0)
            })
        };
        let expected = gradients(&device().autodiff());
        let balanced = gradients(&device().autodiff().gradient_checkpointing());
        let what = format!("{variant:?}, {channel_ratio}");
        assert_same(&balanced, &expected, tolerances().rounding, &what);
    }
}

/// Enough work for several threads of the kernel.
fn large() -> (LinearConv2d, impl Fn(u64) -> Tensor<4> + Sync) {
    let device = device().autodiff();
    let config = LinearConv2dConfig::new([16, 32], [3, 3]).with_padding(PaddingConfig2d::Same);
    let layer = layer(&config, &device);
    (layer, move |seed| tensor([4, 16, 24, 24], seed, &device))
}

#[test]
fn threads_share_a_layer() {
    let (layer, images) = large();
    let of = |seed| outcome(&layer, images(seed), |input| input);
    let expected: Vec<_> = (0..6).map(of).collect();
    let found: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|seed| scope.spawn(move || of(seed))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|found| found.expect("no panic")).collect()
    });
    for (found, expected) in found.iter().zip(&expected) {
        assert_same(found, expected, tolerances().long_sums, "threads");
    }
}

#[test]
fn pools_of_rayon_run_the_layer() {
    let (layer, images) = large();
    let of = |seed: u64| outcome(&layer, images(seed), |input| input);
    let expected: Vec<_> = (0..6).map(of).collect();
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let found: Vec<_> = pool
            .expect("a pool")
            .install(|| (0..6u64).into_par_iter().map(of).collect());
        for (found, expected) in found.iter().zip(&expected) {
            assert_same(found, expected, tolerances().long_sums, "a pool");
        }
    }
}

/// What f32 rounds: sums of some thousand products of either sign, relative to the largest.
#[test]
fn f32_has_the_gradients_of_f64() {
    if float() != DType::F64 {
        println!("no f64 here");
        return;
    }
    let device = device().autodiff();
    for (variant, channel_ratio) in variants_of_both_sides() {
        let wide = layer(&config(variant, channel_ratio), &device);
        let single = cast(wide.clone(), DType::F32);
        let images = tensor([3, 6, 25, 31], 3, &device);
        let exact = outcome(&wide, images.clone(), |input| input);
        let rounded = outcome(&single, images.cast(DType::F32), |input| input);
        for (index, (rounded, exact)) in rounded.iter().zip(&exact).enumerate() {
            let error = relative_error(rounded, exact);
            assert!(
                error < 2e-6,
                "{variant:?}, {channel_ratio}, {index}: {error}"
            );
        }
    }
}
