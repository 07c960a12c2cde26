//! What an observer sees of the layers of a model, and what it leaves alone.

#![cfg(feature = "fit")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d::{Explicit, Same, Valid};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::{DType, Tensor};
use linearconv::{
    Calibration, Choice, CoefficientsConfig, Compression, Conv, Dense, Error, LinearConv, Pixels,
    Plan,
};

use common::{
    cast, dense, device, float, norm, relative_error, tensor, to_vec, tolerances, with_values,
};

const FULL: CoefficientsConfig = CoefficientsConfig::Full;

fn conv(config: &Conv2dConfig) -> Conv {
    dense(config, &device()).into()
}

fn images(count: usize, channels: usize, side: usize) -> Tensor<4> {
    tensor([count, channels, side, side], 9, &device())
}

/// Runs the layers one after the other.
fn run(model: &[Conv], images: Tensor<4>) -> Tensor<4> {
    model.iter().fold(images, |maps, conv| conv.forward(maps))
}

/// The dense plan of what was observed.
fn plan<M: Module>(model: &M, calibration: &Calibration) -> Plan {
    let nothing = Compression::per_layer([].into()).with_calibration(calibration.clone());
    nothing.plan(model).expect("a plan")
}

fn pixels<M: Module>(model: &M, calibration: &Calibration) -> Vec<[usize; 2]> {
    let plan = plan(model, calibration);
    let layers = plan.layers().iter().map(|layer| layer.pixels());
    layers.map(|pixels| [pixels.input, pixels.output]).collect()
}

/// The plan with one choice for every layer.
fn chosen<M: Module>(
    model: &M,
    calibration: impl Into<Arc<Calibration>>,
    choice: Choice,
) -> Result<Plan, Error> {
    let nothing = Compression::per_layer([].into()).with_calibration(calibration);
    let mut plan = nothing.plan(model)?;
    let layers = plan.layers().iter();
    let paths: Vec<String> = layers.map(|layer| layer.path().into()).collect();
    for path in paths {
        plan.choose(&path, Some(choice))?;
    }
    Ok(plan)
}

#[test]
fn what_is_observed_is_returned_as_it_is_without() {
    let model = vec![conv(&Conv2dConfig::new([4, 8], [3, 3]))];
    let mut calibration = Calibration::new();
    let output = calibration.observe(|| run(&model, images(2, 4, 6)));
    assert_eq!(to_vec(output), to_vec(run(&model, images(2, 4, 6))));
    assert_eq!(calibration.images(), 2);
    calibration.observe(|| run(&model, images(3, 4, 6)));
    assert_eq!(calibration.images(), 5);
    calibration.observe(|| ());
    assert_eq!(calibration.images(), 5);
}

/// As many pixels as are kept, so that all are.
#[test]
fn a_plan_from_responses_has_the_error_of_the_outputs() {
    let config = Conv2dConfig::new([6, 16], [3, 3]).with_padding(Same);
    for config in [config.clone(), config.with_bias(false)] {
        let model = vec![conv(&config)];
        let batches = [images(1, 6, 8) + 0.3, images(1, 6, 8).flip([1])];
        let mut calibration = Calibration::new();
        for batch in &batches {
            calibration.observe(|| run(&model, batch.clone()));
        }
        let calibration = Arc::new(calibration);
        for choice in [
            Choice::new(5, FULL),
            Choice::new(8, CoefficientsConfig::LowRank { rank: 3 }),
            Choice::new(8, FULL).with_primary_channels(3),
        ] {
            let plan = chosen(&model, calibration.clone(), choice).expect("valid");
            let compressed = plan.apply(model.clone()).expect("valid");
            let input = Tensor::cat(batches.to_vec(), 0);
            let expected = run(&model, input.clone());
            let lost = run(&compressed, input) - expected.clone();
            let without_bias = match &model[0] {
                Conv::Dense(Conv2d {
                    bias: Some(bias), ..
                }) => expected - bias.val().reshape([1, 16, 1, 1]),
                _ => expected,
            };
            let measured = norm(&to_vec(lost.clone())) / norm(&to_vec(without_bias));
            let error = plan.layers()[0].error().expect("fitted");
            assert!(
                (error - measured).abs() < tolerances().sums,
                "{choice:?}: {error}, {measured}"
            );
            assert!(error > 1e-3, "{error}");
            if config.bias {
                let means = lost.swap_dims(0, 1).reshape([16, 128]).mean_dim(1);
                assert!(norm(&to_vec(means)) < tolerances().sums);
            }
        }
    }
}

/// Every filter answers to a channel of its own, and every image shows one channel alone. So the
/// squares of singular values are the numbers of pixels that were drawn from the images, and the
/// errors of plans tell them, the largest first.
fn drawn_from(batches: &[Vec<usize>], filters: usize) -> Vec<f64> {
    let config = Conv2dConfig::new([filters, filters], [1, 1]).with_bias(false);
    let mut identity = dense(&config, &device());
    let weight = Tensor::<2>::eye(filters, &device()).cast(float());
    identity.weight = Param::from_tensor(weight.reshape([filters, filters, 1, 1]));
    let model = vec![Conv::from(identity)];
    let mut calibration = Calibration::new();
    for batch in batches {
        let images = batch.iter().map(|channel| {
            let image = Tensor::<4>::zeros([1, filters, 16, 16], (&device(), float()));
            image.slice_fill([0..1, *channel..channel + 1, 0..16, 0..16], 1.0)
        });
        let images = Tensor::cat(images.collect(), 0);
        calibration.observe(|| run(&model, images));
    }
    let calibration = Arc::new(calibration);
    let mut before = 1.0;
    let channels = batches.iter().flatten().max().expect("an image") + 1;
    let shares = (1..=channels).map(|primary| {
        let plan = chosen(&model, calibration.clone(), Choice::new(primary, FULL));
        let error = plan.expect("valid").layers()[0].error().expect("fitted");
        let share = before - error * error;
        before = error * error;
        share
    });
    shares.collect()
}

#[test]
fn pixels_are_drawn_evenly_from_all_batches() {
    // 512 pixels are kept; the share of a quarter has a standard deviation of 0.019.
    let even = drawn_from(&[vec![0], vec![1], vec![2], vec![3]], 64);
    assert_eq!(even.len(), 4);
    for share in even {
        assert!((share - 0.25).abs() < 0.05, "{share}");
    }
    // Batches of 1, 2, 3 and 4 images.
    let batches = [vec![0], vec![1; 2], vec![2; 3], vec![3; 4]];
    for batches in [batches.to_vec(), batches.into_iter().rev().collect()] {
        let shares = drawn_from(&batches, 64);
        for (share, expected) in shares.iter().zip([0.4, 0.3, 0.2, 0.1]) {
            assert!((share - expected).abs() < 0.05, "{shares:?}");
        }
    }
}

#[test]
fn pixels_are_drawn_evenly_from_the_images_of_a_batch() {
    let even = drawn_from(&[vec![0, 1, 2, 3]], 64);
    let two = drawn_from(&[vec![0, 1], vec![2, 3]], 64);
    for share in even.into_iter().chain(two) {
        assert!((share - 0.25).abs() < 0.05, "{share}");
    }
}

#[test]
fn the_same_images_give_the_same_sample() {
    let batches = [vec![0, 1], vec![2], vec![3]];
    assert_eq!(drawn_from(&batches, 16), drawn_from(&batches, 16));
}

#[test]
fn pixels_are_those_of_an_image_in_every_geometry() {
    let config = |kernel| Conv2dConfig::new([4, 4], kernel);
    let model = vec![
        conv(&config([3, 3]).with_padding(Same)),
        conv(
            &config([3, 3])
                .with_stride([2, 2])
                .with_padding(Explicit(1, 1, 1, 1)),
        ),
        conv(&config([1, 1]).with_stride([1, 2]).with_padding(Valid)),
        conv(
            &config([3, 2])
                .with_dilation([2, 1])
                .with_padding(Explicit(2, 0, 1, 1)),
        ),
        conv(&config([3, 3]).with_groups(4).with_padding(Same)),
    ];
    let mut sizes = Vec::new();
    model.iter().fold(images(1, 4, 12), |maps, conv| {
        let output = conv.forward(maps.clone());
        let area = |maps: &Tensor<4>| maps.dims()[2] * maps.dims()[3];
        sizes.push([area(&maps), area(&output)]);
        output
    });
    assert_eq!(sizes[..2], [[144, 144], [144, 36]]);
    for mut calibration in [Calibration::new(), Calibration::sizes()] {
        for count in [1, 3, 2] {
            calibration.observe(|| run(&model, images(count, 4, 12)));
        }
        assert_eq!(calibration.images(), 6);
        assert_eq!(pixels(&model, &calibration), sizes);
    }
    assert_eq!(pixels(&model, &Calibration::new()), vec![[1, 1]; 5]);
}

#[test]
fn a_layer_that_runs_twice_counts_twice() {
    let model = vec![conv(&Conv2dConfig::new([4, 4], [3, 3]).with_padding(Same))];
    let mut calibration = Calibration::sizes();
    calibration.observe(|| {
        let small = model[0].forward(images(2, 4, 4));
        (small, model[0].forward(images(2, 4, 8)))
    });
    assert_eq!(pixels(&model, &calibration), [[16 + 64, 16 + 64]]);
    let planned = plan(&model, &calibration);
    let layer = &planned.layers()[0];
    assert_eq!(layer.pixels(), Pixels::from(80));
    assert_eq!(layer.dense_multiply_adds(), 80 * 4 * 4 * 9);
}

#[test]
fn images_of_several_sizes_take_their_mean() {
    let model = vec![conv(&Conv2dConfig::new([4, 4], [3, 3]).with_padding(Same))];
    let mut calibration = Calibration::sizes();
    calibration.observe(|| run(&model, images(3, 4, 4)));
    calibration.observe(|| run(&model, images(1, 4, 8)));
    assert_eq!(pixels(&model, &calibration), [[28, 28]]);
}

#[test]
fn a_panic_leaves_nothing_recording() {
    let model = vec![conv(&Conv2dConfig::new([4, 8], [3, 3]))];
    let mut calibration = Calibration::new();
    calibration.observe(|| run(&model, images(2, 4, 6)));
    let before = pixels(&model, &calibration);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        calibration.observe(|| -> () { panic!("of the caller") });
    }));
    assert!(panicked.is_err());
    // Neither what was seen is lost, nor is more seen.
    run(&model, images(5, 4, 9));
    assert_eq!(calibration.images(), 2);
    assert_eq!(pixels(&model, &calibration), before);
    // And what comes next is.
    calibration.observe(|| run(&model, images(2, 4, 6)));
    assert_eq!(calibration.images(), 4);
    assert_eq!(pixels(&model, &calibration), before);
}

#[test]
fn an_observer_within_another_sees_alone() {
    let model = vec![conv(&Conv2dConfig::new([4, 8], [3, 3]))];
    let [mut outer, mut inner] = [Calibration::new(), Calibration::new()];
    outer.observe(|| {
        run(&model, images(2, 4, 6));
        inner.observe(|| run(&model, images(3, 4, 8)));
    });
    assert_eq!([outer.images(), inner.images()], [2, 3]);
    assert_eq!(pixels(&model, &outer), [[36, 16]]);
    assert_eq!(pixels(&model, &inner), [[64, 36]]);

    // Also where the inner one panics, and the outer one goes on.
    outer.observe(|| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            inner.observe(|| -> () { panic!("of the caller") });
        }));
        assert!(panicked.is_err());
        run(&model, images(2, 4, 6))
    });
    assert_eq!([outer.images(), inner.images()], [4, 3]);
    assert_eq!(pixels(&model, &outer), [[36, 16]]);
}

#[test]
fn a_copy_goes_on_by_itself() {
    let model = vec![conv(&Conv2dConfig::new([4, 8], [3, 3]))];
    let choice = Choice::new(4, FULL);
    let mut calibration = Calibration::new();
    calibration.observe(|| run(&model, images(2, 4, 6)));
    let error = |calibration: &Calibration| {
        let plan = chosen(&model, calibration.clone(), choice).expect("valid");
        plan.layers()[0].error()
    };
    let before = error(&calibration);
    let mut copy = calibration.clone();
    copy.observe(|| run(&model, images(8, 4, 9) * 3.0));
    assert_eq!([calibration.images(), copy.images()], [2, 10]);
    assert_eq!(error(&calibration), before);
    assert_ne!(error(&copy), before);
}

#[test]
fn other_threads_are_not_seen() {
    let model = vec![conv(&Conv2dConfig::new([4, 8], [3, 3]))];
    let mut calibration = Calibration::new();
    calibration.observe(|| {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| run(&model, images(1, 4, 6)));
            thread.join().expect("a forward pass");
        });
    });
    assert_eq!(calibration.images(), 0);
    assert_eq!(pixels(&model, &calibration), [[1, 1]]);
}

#[test]
fn activations_that_are_not_finite_are_errors() {
    for value in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let model = vec![conv(&Conv2dConfig::new([4, 8], [3, 3]))];
        let spoilt = images(2, 4, 6).slice_fill([0..1, 0..1, 2..3, 2..3], value);
        let mut calibration = Calibration::new();
        calibration.observe(|| run(&model, spoilt.clone()));
        let choice = Choice::new(4, FULL);
        let error = chosen(&model, calibration, choice).expect_err("not finite");
        let path = plan(&model, &Calibration::new()).layers()[0].path().into();
        let expected = Error::NotFinite { path, filter: 0 };
        assert_eq!(error, expected);
        let plan = chosen(&model, Calibration::new(), choice).expect("a plan");
        let run = |model: &Vec<Conv>| drop(run(model, spoilt.clone()));
        let error = plan.apply_in_turn(model.clone(), run).err();
        assert_eq!(error, Some(expected));
    }
}

#[test]
fn fewer_pixels_than_filters_are_an_error() {
    let model = vec![conv(&Conv2dConfig::new([4, 20], [3, 3]))];
    let mut calibration = Calibration::new();
    calibration.observe(|| run(&model, images(1, 4, 6)));
    let error = chosen(&model, calibration.clone(), Choice::new(4, FULL)).expect_err("16 pixels");
    let expected = Error::TooFewResponses {
        path: plan(&model, &Calibration::new()).layers()[0].path().into(),
        filters: 20,
        columns: 16,
    };
    assert_eq!(error, expected);
    // More of them make up for it, and sizes need none.
    calibration.observe(|| run(&model, images(1, 4, 6)));
    chosen(&model, calibration, Choice::new(4, FULL)).expect("32 pixels");
    let mut sizes = Calibration::sizes();
    sizes.observe(|| run(&model, images(1, 4, 6)));
    chosen(&model, sizes, Choice::new(4, FULL)).expect("no pixels");
}

#[test]
fn sizes_alone_leave_the_fit_to_the_filters() {
    let model = vec![conv(&Conv2dConfig::new([4, 8], [3, 3]))];
    let observed = |mut calibration: Calibration| {
        calibration.observe(|| run(&model, images(2, 4, 8)));
        let plan = chosen(&model, calibration, Choice::new(4, FULL)).expect("valid");
        (plan.layers()[0].pixels(), plan.layers()[0].error())
    };
    let by_filters = chosen(&model, Calibration::new(), Choice::new(4, FULL)).expect("valid");
    let by_filters = by_filters.layers()[0].error();
    let (sizes, error) = observed(Calibration::sizes());
    assert_eq!(error, by_filters);
    assert_eq!([sizes.input, sizes.output], [64, 36]);
    let (pixels, error) = observed(Calibration::new());
    assert_ne!(error, by_filters);
    assert_eq!(pixels, sizes);
}

#[test]
fn only_dense_convolutions_of_the_policy_are_seen() {
    #[derive(Module, Debug)]
    struct Mixed {
        seen: Conv,
        plain: Conv2d,
    }
    let config = Conv2dConfig::new([8, 8], [3, 3]);
    let model = Mixed {
        seen: conv(&config),
        plain: dense(&config, &device()),
    };
    let mut calibration = Calibration::new();
    calibration.observe(|| model.plain.forward(model.seen.forward(images(4, 8, 9))));
    assert_eq!(pixels(&model, &calibration), [[81, 49], [1, 1]]);

    // A compressed layer is seen too, but has nothing more to be fitted by.
    let reparameterized = LinearConv::new(FULL).with_all_layers();
    let compressed = model.clone().apply_reparameterization(reparameterized);
    let mut calibration = Calibration::new();
    calibration.observe(|| compressed.seen.forward(images(4, 8, 9)));
    assert_eq!(calibration.images(), 4);
    let Conv::Dense(seen) = &compressed.seen else {
        panic!("a reparameterized dense layer");
    };
    assert!(calibration.patches(seen.weight.id).is_none());
    let layers: Vec<_> = calibration.layers().collect();
    let pixels = Pixels {
        input: 81,
        output: 49,
    };
    assert_eq!(layers, [(compressed.seen.cost(), pixels)]);
    assert_eq!(layers[0].0.secondary, 4);
}

#[test]
fn groups_that_a_model_hides_are_known_once_it_runs() {
    #[derive(Module)]
    struct Hidden {
        grouped: Conv,
        single: Conv,
    }
    impl std::fmt::Debug for Hidden {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Hidden")
        }
    }
    let config = Conv2dConfig::new([8, 8], [3, 3]).with_padding(Same);
    let model = Hidden {
        grouped: conv(&config.clone().with_groups(2)),
        single: conv(&config),
    };
    let seen = |calibration: &Calibration| {
        let plan = plan(&model, calibration);
        let layers = plan.layers().iter();
        let seen = layers.map(|layer| (layer.groups(), layer.reason()));
        seen.collect::<Vec<_>>()
    };
    let mut calibration = Calibration::sizes();
    assert_eq!(seen(&calibration), [(None, Some(Dense::UnknownGroups)); 2]);
    calibration.observe(|| model.single.forward(model.grouped.forward(images(1, 8, 5))));
    let expected = [(Some(2), Some(Dense::Grouped)), (Some(1), None)];
    assert_eq!(seen(&calibration), expected);
}

#[test]
fn half_precision_is_observed_and_fitted() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        if !device().supports_dtype(dtype) {
            continue;
        }
        let model = vec![cast(conv(&Conv2dConfig::new([4, 8], [3, 3])), dtype)];
        let mut calibration = Calibration::new();
        calibration.observe(|| run(&model, images(4, 4, 9).cast(dtype)));
        let plan = chosen(&model, calibration, Choice::new(4, FULL)).expect("valid");
        let compressed = plan.apply(model).expect("valid");
        let output = run(&compressed, images(4, 4, 9).cast(dtype));
        assert_eq!(output.dtype(), dtype);
        assert!(to_vec(output).iter().all(|value| value.is_finite()));
    }
}

#[test]
fn biases_that_a_fit_has_moved_are_trained_as_before() {
    let config = Conv2dConfig::new([4, 8], [3, 3]);
    let model = vec![Conv::from(dense(&config, &device().autodiff()))];
    let mut calibration = Calibration::new();
    let plain = model.valid();
    calibration.observe(|| run(&plain, images(4, 4, 6)));
    let bias = |model: &[Conv]| {
        let Conv::Dense(conv) = &model[0] else {
            panic!("reparameterized layers are Dense")
        };
        conv.bias.clone().expect("a bias")
    };
    for frozen in [false, true] {
        let model = if frozen {
            model.clone().no_grad()
        } else {
            model.clone()
        };
        let before = bias(&model);
        let choice = Choice::new(3, FULL);
        let plan = chosen(&model, calibration.clone(), choice).expect("valid");
        let small = plan.apply(model).expect("the same model");
        let after = bias(&small);
        assert_eq!(after.id, before.id);
        assert_ne!(to_vec(after.val()), to_vec(before.val()));
        assert_eq!(after.is_require_grad(), !frozen);
        let output = run(&small, images(2, 4, 6).autodiff());
        if !frozen {
            let gradients = output.sum().backward();
            assert!(after.val().grad(&gradients).is_some());
        }
    }
}

/// A model of five convolutions with activations between them, which a plan without observation compresses
/// to a choice of filters and channels.
fn deep() -> (Vec<Conv>, Plan) {
    let config = Conv2dConfig::new([8, 8], [3, 3]).with_padding(Same);
    let model: Vec<Conv> = (0..5)
        .map(|seed| with_values(dense(&config, &device()), seed).into())
        .collect();
    let choice = Choice::new(5, FULL).with_primary_channels(6);
    let plan = chosen(&model, Calibration::new(), choice).expect("a plan");
    (model, plan)
}

fn run_with_activations(model: &[Conv], images: Tensor<4>) -> Tensor<4> {
    model
        .iter()
        .fold(images, |maps, conv| relu(conv.forward(maps)))
}

#[test]
fn layers_that_are_compressed_in_turn_make_up_for_those_in_front() {
    let (model, plan) = deep();
    let images = images(8, 8, 10);
    let outputs = |model: &[Conv]| to_vec(run_with_activations(model, images.clone()));
    let mut calibration = Calibration::new();
    calibration.observe(|| outputs(&model));
    let expected = outputs(&model);
    let error = |model: &[Conv]| relative_error(&outputs(model), &expected);

    let choice = plan.layers()[0].choice().expect("a choice");
    let observed = chosen(&model, calibration, choice).expect("a plan");
    let apart = error(&observed.apply(model.clone()).expect("a small model"));
    let run = |model: &Vec<Conv>| drop(outputs(model));
    let in_turn = error(&plan.apply_in_turn(model, run).expect("a small model"));
    assert!(in_turn < 0.8 * apart, "{in_turn} in turn, {apart} apart");
}

/// All pixels are kept, by either observer.
#[test]
fn the_first_layer_is_fitted_in_turn_as_it_is_alone() {
    let model = vec![conv(&Conv2dConfig::new([6, 16], [3, 3]).with_padding(Same))];
    let images = images(2, 6, 8);
    let observe = |model: &Vec<Conv>| drop(run(model, images.clone()));
    let mut calibration = Calibration::new();
    calibration.observe(|| observe(&model));
    for choice in [
        Choice::new(5, FULL),
        Choice::new(8, CoefficientsConfig::LowRank { rank: 3 }),
        Choice::new(8, FULL).with_primary_channels(3),
    ] {
        let plan = chosen(&model, calibration.clone(), choice).expect("a plan");
        let alone = plan.apply(model.clone()).expect("a small model");
        let in_turn = plan.apply_in_turn(model.clone(), observe);
        let [alone, in_turn] = [alone, in_turn.expect("a small model")]
            .map(|model| to_vec(run(&model, images.clone())));
        assert_eq!(in_turn, alone, "{choice:?}");
    }
}

#[test]
fn passes_of_other_images_are_an_error() {
    let (model, plan) = deep();
    let mut passes = 0;
    let error = plan.apply_in_turn(model.clone(), |model: &Vec<Conv>| {
        passes += 1;
        run_with_activations(model, images(8, 8, 10) * passes as f64);
    });
    assert!(matches!(error, Err(Error::OtherImages { .. })), "{error:?}");
    let error = plan.apply_in_turn(model, |model: &Vec<Conv>| {
        passes += 1;
        run_with_activations(model, images(8, 8, 10 + passes / 4));
    });
    assert!(matches!(error, Err(Error::OtherImages { .. })), "{error:?}");
}

/// Without a `Conv` there is nothing to observe.
#[test]
fn layers_that_are_not_observed_are_compressed_in_turn_as_by_apply() {
    let model = dense(&Conv2dConfig::new([16, 32], [3, 3]), &device());
    let plan = Compression::to_parameters(0.5)
        .plan(&model)
        .expect("a plan");
    let [apart, in_turn] = [
        plan.apply(model.clone()),
        plan.apply_in_turn(model, |model: &Conv2d| {
            model.forward(images(2, 16, 8));
        }),
    ]
    .map(|model| to_vec(model.expect("a small model").weight.val()));
    assert_eq!(in_turn, apart);
}
