//! Plans for whole models: budgets are kept, sizes follow what was measured, and what is written
//! is read again.

#![cfg(feature = "fit")]

mod common;

use std::collections::BTreeMap;

use burn::module::{Module, Param, ParamGroup};
use burn::nn::PaddingConfig2d::Same;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use linearconv::{
    Calibration, Choice, CoefficientsConfig, CombinedFilters, Compression, Conv, Dense, Error,
    LinearConv, LinearConv2d, LinearConv2dConfig, Measurement, Plan, Search, Sensitivity, Verdict,
    conv2d_weights,
};
use serde_json::{Value, json};

use common::{assert_close, device, norm, relative_error, tensor, to_vec, tolerances, with_values};

const FULL: CoefficientsConfig = CoefficientsConfig::Full;

/// Two layers that can be made small, and all kinds of those that cannot.
#[derive(Module, Debug)]
struct Network {
    stem: Conv,
    body: Conv,
    grouped: Conv,
    depthwise: Conv,
    up: ConvTranspose2d,
    combined: LinearConv2d,
    head: Linear,
}

impl Network {
    /// The filters of the stem combine three of all.
    fn new(device: &Device) -> Self {
        let conv = |config: Conv2dConfig| Conv::from(config.with_padding(Same).init(device));
        let pointwise = LinearConv2dConfig::new([12, 12], [1, 1]);
        let network = Self {
            stem: conv(Conv2dConfig::new([6, 16], [3, 3])),
            body: conv(Conv2dConfig::new([16, 24], [3, 3]).with_stride([2, 2])),
            grouped: conv(Conv2dConfig::new([24, 12], [3, 3]).with_groups(12)),
            depthwise: conv(Conv2dConfig::new([12, 12], [3, 3]).with_groups(12)),
            up: ConvTranspose2dConfig::new([12, 12], [2, 2]).init(device),
            combined: pointwise.init(device),
            head: LinearConfig::new(12, 5).init(device),
        };
        let mut network = with_values(network, 1);
        let Conv::Dense(stem) = &mut network.stem else {
            unreachable!()
        };
        let basis: Tensor<2> = tensor([3, 54], 2, device);
        let combined = tensor::<2>([16, 3], 3, device).matmul(basis) * 0.5;
        stem.weight = Param::from_tensor(combined.reshape([16, 6, 3, 3]).detach());
        network
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(images));
        let x = relu(self.body.forward(x));
        let x = relu(self.grouped.forward(x));
        let x = self.combined.forward(self.depthwise.forward(x));
        let x = self.up.forward(x).flatten::<3>(2, 3).mean_dim(2);
        self.head.forward(x.flatten(1, 2))
    }

    /// The weights of the layers that can be made small, as they act.
    fn weights(&self) -> [Vec<f64>; 2] {
        [&self.stem, &self.body].map(|conv| match conv {
            Conv::Dense(conv) => to_vec(conv.weight.val()),
            _ => unreachable!(),
        })
    }
}

const STEM: usize = 16 * 6 * 9;
const BODY: usize = 24 * 16 * 9;
/// Of the grouped and the depthwise layer.
const OTHERS: usize = 12 * 2 * 9 + 12 * 9;

fn images(device: &Device) -> Tensor<4> {
    tensor([4, 6, 8, 8], 9, device)
}

fn network() -> Network {
    Network::new(&device())
}

fn plan(compression: Compression, network: &Network) -> Plan {
    let plan = compression.plan(network);
    plan.unwrap_or_else(|error| panic!("{compression:?}: {error}"))
}

fn observed(network: &Network, mut calibration: Calibration) -> Calibration {
    calibration.observe(|| network.forward(images(&device())));
    calibration
}

fn path(plan: &Plan, index: usize) -> String {
    plan.layers()[index].path().into()
}

/// The share of its weights that each of the first two layers keeps.
fn shares(plan: &Plan) -> [f64; 2] {
    [0, 1].map(|index| {
        let layer = &plan.layers()[index];
        layer.parameters() as f64 / layer.dense_parameters() as f64
    })
}

#[test]
fn layers_that_are_not_made_small_say_why_and_others_are_named() {
    let plan = plan(Compression::to_parameters(0.5), &network());
    let layers = plan.layers().iter();
    let found: Vec<_> = layers
        .map(|layer| (layer.shape(), layer.groups(), layer.reason()))
        .collect();
    assert_eq!(
        found,
        [
            ([16, 6, 3, 3], Some(1), None),
            ([24, 16, 3, 3], Some(1), None),
            ([12, 2, 3, 3], Some(12), Some(Dense::Grouped)),
            ([12, 1, 3, 3], Some(12), Some(Dense::OneChannel)),
        ]
    );
    for layer in &plan.layers()[2..] {
        assert!(layer.choice().is_none());
        assert_eq!(layer.parameters(), layer.dense_parameters());
        assert_eq!(layer.error(), Some(0.0));
    }
    let text = plan.to_string();
    for expected in [
        "dense: grouped",
        "dense: one channel",
        "left alone: up.weight, of a ConvTranspose2d",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn other_layers_are_named_once_each() {
    let plan = plan(Compression::to_parameters(0.5), &network());
    let others = plan.other_layers().iter();
    let others: Vec<_> = others.map(|other| (&*other.path, &*other.layer)).collect();
    let expected = [
        ("up.weight", "ConvTranspose2d"),
        ("combined.primary", "LinearConv2d"),
        ("head.weight", "Linear"),
    ];
    assert_eq!(others, expected);
}

#[test]
fn plans_keep_their_budget_and_beat_one_ratio_for_all() {
    let network = network();
    for share in [0.2, 0.3, 0.5, 0.8, 1.0] {
        for compression in [
            Compression::to_parameters(share),
            Compression::to_parameters(share).with_all_channels(),
        ] {
            let plan = plan(compression, &network);
            assert_eq!(plan.dense_parameters(), STEM + BODY + OTHERS);
            let limit = (share * plan.dense_parameters() as f64) as usize;
            assert!(plan.parameters() <= limit, "{share}: {plan}");
            assert!(
                plan.parameters() > limit * 9 / 10 || plan.error() < 1e-6,
                "{share}: {plan}"
            );
            // What is kept is what the model then has.
            let compressed = plan.apply(network.clone()).expect("valid");
            let gone = network.num_params() - compressed.num_params();
            assert_eq!(gone, plan.dense_parameters() - plan.parameters());
        }
    }
    for ratio in [0.3, 0.5, 0.7] {
        let uniform = plan(Compression::uniform(ratio, FULL), &network);
        // As small an error takes fewer weights, by far: the stem is three filters.
        let as_good = plan(Compression::to_error(uniform.error()), &network);
        assert!(as_good.error() <= uniform.error(), "{as_good}\n{uniform}");
        assert!(
            as_good.parameters() + 100 < uniform.parameters(),
            "{as_good}\n{uniform}"
        );
    }
    for error in [0.05, 0.2, 0.5] {
        let plan = plan(Compression::to_error(error), &network);
        assert!(plan.error() <= error, "{plan}");
        assert!(plan.parameters() < plan.dense_parameters(), "{plan}");
    }
}

#[test]
fn larger_budgets_lose_less() {
    let network = network();
    let mut before = 1.0;
    for share in [0.25, 0.4, 0.6, 0.9] {
        let error = plan(Compression::to_parameters(share), &network).error();
        assert!(error < before, "{share}: {error}");
        before = error;
    }
}

#[test]
fn errors_of_a_plan_are_those_of_the_compressed_model() {
    let network = network();
    let plan = plan(Compression::to_parameters(0.4), &network);
    let compressed = plan.apply(network.clone()).expect("valid");
    let weights = compressed.weights().into_iter().zip(network.weights());
    let mut kept = 1.0;
    for (layer, (ours, theirs)) in plan.layers().iter().zip(weights) {
        let (error, measured) = (layer.error(), relative_error(&ours, &theirs));
        assert_close(
            &[error.expect("fitted")],
            &[measured],
            tolerances().sums,
            layer.path(),
        );
        kept *= 1.0 - measured * measured;
    }
    // The geometric mean of what each of the four layers keeps.
    let expected = (1.0 - kept.powf(0.25)).sqrt();
    assert_close(&[plan.error()], &[expected], tolerances().sums, "together");
}

#[test]
fn a_budget_of_multiply_adds_is_kept_and_needs_a_calibration() {
    let network = network();
    let refused = Compression::to_multiply_adds(0.5).plan(&network);
    let nothing = Compression::per_layer([].into()).plan(&network);
    let first = path(&nothing.expect("valid"), 0);
    assert_eq!(
        refused.expect_err("no sizes"),
        Error::NotObserved { path: first }
    );

    for calibration in [Calibration::new(), Calibration::sizes()] {
        let calibration = observed(&network, calibration);
        for share in [0.3, 0.5, 0.8] {
            let compression = Compression::to_multiply_adds(share);
            let plan = plan(compression.with_calibration(calibration.clone()), &network);
            // The body computes a quarter of the pixels that it reads.
            let dense = (64 * STEM + 16 * (BODY + OTHERS)) as u64;
            assert_eq!(plan.dense_multiply_adds(), dense);
            let limit = (share * dense as f64) as u64;
            assert!(plan.multiply_adds() <= limit, "{share}: {plan}");
            assert!(
                plan.multiply_adds() > limit * 85 / 100 || plan.error() < 1e-6,
                "{share}: {plan}"
            );
            for layer in plan.layers() {
                assert!(
                    layer.multiply_adds() <= layer.dense_multiply_adds(),
                    "{plan}"
                );
            }
        }
    }
}

#[test]
fn a_layer_that_did_not_run_has_no_multiply_adds() {
    let network = network();
    let mut calibration = Calibration::sizes();
    calibration.observe(|| network.stem.forward(images(&device())));
    let compression = Compression::to_multiply_adds(0.5).with_calibration(calibration);
    let refused = compression
        .plan(&network)
        .expect_err("the body did not run");
    let Error::NotObserved { path } = refused else {
        panic!("{refused}");
    };
    assert!(path.starts_with("body"), "{path}");
    // It is not asked for outside of the group.
    let stem = compression.within(ParamGroup::from_predicate("stem"));
    assert_eq!(plan(stem, &network).layers().len(), 1);
}

#[test]
fn fewer_multiply_adds_and_fewer_parameters_are_different_plans() {
    let network = network();
    let calibration = observed(&network, Calibration::sizes());
    let [parameters, multiply_adds] = [
        Compression::to_parameters(0.5),
        Compression::to_multiply_adds(0.5),
    ]
    .map(|compression| plan(compression.with_calibration(calibration.clone()), &network));
    assert_ne!(parameters.choices(), multiply_adds.choices());
    assert!(multiply_adds.multiply_adds() <= parameters.dense_multiply_adds() / 2);
}

#[test]
fn plans_can_be_edited_and_are_checked() {
    let network = network();
    let mut plan = plan(Compression::to_parameters(0.5), &network);
    let [stem, body] = [0, 1].map(|index| path(&plan, index));
    plan.choose(&stem, None).expect("dense");
    let twenty = Choice::new(20, FULL).with_primary_channels(10);
    plan.choose(&body, Some(twenty)).expect("possible");
    assert_eq!(plan.choices(), BTreeMap::from([(body.clone(), twenty)]));
    assert_eq!(plan.layers()[0].error(), Some(0.0));
    let kept = 20 * 10 * 9 + 4 * 20 + 10 * 6;
    assert_eq!(plan.layers()[1].parameters(), kept);
    assert_eq!(plan.parameters(), STEM + kept + OTHERS);
    let text = plan.to_string();
    for expected in ["20 of 10 + full", &kept.to_string(), &stem] {
        assert!(text.contains(expected), "{text}");
    }

    let applied = plan.apply(network.clone()).expect("valid");
    assert_eq!(applied.stem.cost(), network.stem.cost());
    assert_eq!(applied.body.cost().parameters(), kept + 24);
    let error = plan.layers()[1].error().expect("fitted");
    let measured = relative_error(&applied.weights()[1], &network.weights()[1]);
    assert_close(&[error], &[measured], tolerances().sums, "edited");

    // What is impossible leaves the plan as it was.
    let low_rank = |rank| CoefficientsConfig::LowRank { rank };
    for (impossible, values) in [
        (Choice::new(0, FULL), "got 0 of 24"),
        (Choice::new(24, FULL), "got 24 of 24"),
        (
            Choice::new(20, FULL).with_primary_channels(0),
            "got 0 of 16",
        ),
        (
            Choice::new(20, FULL).with_primary_channels(17),
            "got 17 of 16",
        ),
        (Choice::new(12, low_rank(13)), "got rank=13"),
    ] {
        let refused = plan.choose(&body, Some(impossible));
        let message = refused.expect_err("impossible").to_string();
        assert!(message.contains(values), "{message}");
        assert_eq!(plan.layers()[1].choice(), Some(twenty));
        assert_eq!(plan.layers()[1].error(), Some(error));
    }
    let nowhere = plan.choose("nowhere", None).expect_err("no such layer");
    assert_eq!(
        nowhere,
        Error::OtherModel {
            path: "nowhere".into()
        }
    );
    // Groups keep all channels.
    let grouped = path(&plan, 2);
    let half = Choice::new(6, FULL).with_primary_channels(1);
    let refused = plan.choose(&grouped, Some(half)).expect_err("groups");
    assert!(
        refused.to_string().ends_with("got 1 of 2 with groups=12"),
        "{refused}"
    );
    plan.choose(&grouped, Some(Choice::new(1, FULL)))
        .expect("all channels");
    let applied = plan.apply(network).expect("valid");
    assert_eq!(applied.grouped.cost().primary, 1);
}

#[test]
fn a_plan_like_a_policy_chooses_as_the_policy_does() {
    let network = network();
    let group = conv2d_weights(&network).expect("dense");
    for policy in [
        LinearConv::new(FULL).with_min_size(0),
        LinearConv::new(CoefficientsConfig::LowRank { rank: 2 }).with_primary_ratio(0.75),
        LinearConv::new(FULL)
            .with_channel_ratio(0.4)
            .with_min_size(STEM + 1),
    ] {
        let plan = plan(Compression::like(policy.clone()), &network);
        let planned = plan.apply(network.clone()).expect("valid");
        // The policy alone does not see groups.
        let [stem, body] = [&network.stem, &network.body].map(|conv| {
            let conv = conv
                .clone()
                .apply_reparameterization(policy.clone().within(group.clone()));
            conv.cost()
        });
        assert_eq!([planned.stem.cost(), planned.body.cost()], [stem, body]);
        assert!(plan.layers()[2].choice().is_none());
    }
    let [uniform, like] = [
        Compression::uniform(0.25, FULL),
        Compression::like(LinearConv::new(FULL).with_primary_ratio(0.25)),
    ];
    assert_eq!(
        plan(uniform, &network).choices(),
        plan(like, &network).choices()
    );
}

#[test]
fn all_channels_stay_where_that_is_asked_for() {
    let mut network = network();
    // Channels that are nearly one.
    if let Conv::Dense(body) = &mut network.body {
        body.weight = body
            .weight
            .clone()
            .map(|weight| weight.clone() * 0.1 + weight.narrow(1, 0, 1).repeat(&[1, 16, 1, 1]));
    }
    let channels = |compression| {
        let choices = plan(compression, &network).choices();
        let channels = choices.into_values().map(|choice| choice.primary_channels);
        channels.collect::<Vec<_>>()
    };
    let both = channels(Compression::to_parameters(0.5));
    assert!(both.iter().any(Option::is_some), "{both:?}");
    let one = channels(Compression::to_parameters(0.5).with_all_channels());
    assert!(
        !one.is_empty() && one.iter().all(Option::is_none),
        "{one:?}"
    );
    let one = channels(Compression::to_error(0.3).with_all_channels());
    assert!(
        !one.is_empty() && one.iter().all(Option::is_none),
        "{one:?}"
    );
}

fn read(plan: &Value) -> Result<Plan, String> {
    serde_json::from_str(&plan.to_string()).map_err(|error| error.to_string())
}

/// A plan with a choice of every kind, and as JSON.
fn written() -> (Plan, Value) {
    let network = network();
    let calibration = observed(&network, Calibration::sizes());
    let compression = Compression::to_parameters(0.5).with_calibration(calibration);
    let mut plan = plan(compression, &network);
    let low_rank = CoefficientsConfig::LowRank { rank: 3 };
    let choice = Choice::new(12, low_rank).with_primary_channels(8);
    plan.choose(&path(&plan, 1), Some(choice))
        .expect("possible");
    let json = serde_json::to_value(&plan).expect("JSON");
    (plan, json)
}

#[test]
fn a_plan_that_is_read_compresses_an_equal_model_alike() {
    let (plan, json) = written();
    let read = read(&json).expect("a plan");
    assert_eq!(read.choices(), plan.choices());
    assert_eq!(read.parameters(), plan.parameters());
    assert_eq!(read.dense_parameters(), plan.dense_parameters());
    assert_eq!(read.multiply_adds(), plan.multiply_adds());
    assert_eq!(read.dense_multiply_adds(), plan.dense_multiply_adds());
    assert_eq!(read.other_layers(), plan.other_layers());
    for (ours, theirs) in read.layers().iter().zip(plan.layers()) {
        assert_eq!(ours.path(), theirs.path());
        assert_eq!(ours.shape(), theirs.shape());
        assert_eq!(ours.groups(), theirs.groups());
        assert_eq!(ours.pixels(), theirs.pixels());
        assert_eq!(ours.reason(), theirs.reason());
        // Known is only that dense layers have none.
        assert_eq!(ours.error(), theirs.choice().is_none().then_some(0.0));
    }
    assert_eq!(
        serde_json::to_value(&read).expect("JSON")["layers"][0]["parameters"],
        json["layers"][0]["parameters"]
    );

    // A new model has other parameters, of other identities.
    let other = with_values(network(), 31);
    let compressed = read.apply(other.clone()).expect("the same layers");
    let expected = plan
        .apply(network())
        .expect_err("planned for one model alone");
    assert!(matches!(expected, Error::OtherModel { .. }));
    assert_eq!(
        other.num_params() - compressed.num_params(),
        plan.dense_parameters() - plan.parameters()
    );
    // It is fitted to the filters of that model.
    let fitted = Compression::per_layer(plan.choices())
        .plan(&other)
        .expect("valid");
    let fitted = fitted.apply(other.clone()).expect("valid");
    assert_eq!(compressed.weights(), fitted.weights());
    assert_eq!(compressed.stem.cost(), fitted.stem.cost());
    let record = compressed.clone().into_record();
    let output = |network: &Network| to_vec(network.forward(images(&device())));
    for empty in [read.apply(network()), read.prepare(network())] {
        let loaded = empty.expect("valid").load_record(record.clone());
        assert_eq!(output(&loaded), output(&compressed));
    }
}

#[test]
fn a_prepared_model_has_the_shapes_of_a_fitted_one() {
    let choices = [
        Choice::new(5, CoefficientsConfig::Full),
        Choice::new(5, CoefficientsConfig::LowRank { rank: 2 }),
        Choice::new(5, CoefficientsConfig::Full).with_primary_channels(3),
        Choice::new(5, CoefficientsConfig::LowRank { rank: 2 }).with_primary_channels(3),
    ];
    for choice in choices {
        let config = Conv2dConfig::new([6, 12], [3, 3]);
        let model = common::dense(&config, &device());
        let choices = [("weight".to_string(), choice)].into();
        let plan = Compression::per_layer(choices).plan(&model).expect("valid");
        let [fitted, prepared] = [plan.apply(model.clone()), plan.prepare(model.clone())];
        let (fitted, prepared) = (fitted.expect("valid"), prepared.expect("valid"));
        assert_eq!(prepared.num_params(), fitted.num_params());
        let zeros = vec![0.0; model.weight.shape().num_elements()];
        assert_eq!(to_vec(prepared.weight.val()), zeros, "{choice:?}");
        let loaded = prepared.load_record(fitted.clone().into_record());
        assert_eq!(to_vec(loaded.weight.val()), to_vec(fitted.weight.val()));
    }
    let plan = Compression::to_parameters(0.5);
    let plan = plan.plan(&common::dense(
        &Conv2dConfig::new([6, 12], [3, 3]),
        &device(),
    ));
    let other = common::dense(&Conv2dConfig::new([6, 10], [3, 3]), &device());
    let error = plan
        .expect("valid")
        .prepare(other)
        .expect_err("other shapes");
    assert!(matches!(error, Error::OtherModel { .. }), "{error}");
}

#[test]
fn a_plan_that_is_read_knows_no_error() {
    let (_, json) = written();
    let read = read(&json).expect("a plan");
    assert!(read.error().is_nan(), "{read}");
}

#[test]
fn a_plan_that_is_read_can_be_edited() {
    let (plan, json) = written();
    let mut read = read(&json).expect("a plan");
    let [stem, body] = [0, 1].map(|index| path(&plan, index));
    read.choose(&stem, None).expect("dense");
    read.choose(&body, Some(Choice::new(3, FULL)))
        .expect("possible");
    assert!(read.choose(&body, Some(Choice::new(24, FULL))).is_err());
    let compressed = read.apply(network()).expect("valid");
    assert_eq!(compressed.stem.cost(), network().stem.cost());
    assert_eq!(compressed.body.cost().primary, 3);
}

#[test]
fn edited_data_that_is_no_plan_is_an_error_with_the_values() {
    let (_, json) = written();
    let error = |edit: &dyn Fn(&mut Value)| {
        let mut edited = json.clone();
        edit(&mut edited);
        read(&edited).expect_err("no plan")
    };
    for (primary, values) in [(json!(0), "got 0 of 24"), (json!(99), "got 99 of 24")] {
        let message = error(&|plan| plan["layers"][1]["choice"]["primary"] = primary.clone());
        assert!(message.contains(values), "{message}");
    }
    let message = error(&|plan| plan["layers"][1]["choice"]["primary_channels"] = json!(17));
    assert!(message.contains("got 17 of 16 with groups=1"), "{message}");
    let rank = json!({"LowRank": {"rank": 13}});
    let message = error(&|plan| plan["layers"][1]["choice"]["coefficients"] = rank.clone());
    assert!(message.contains("got rank=13"), "{message}");
    let message = error(&|plan| plan["layers"][1]["choice"]["primary"] = json!(-1));
    assert!(message.contains("-1"), "{message}");
    for shape in [[0, 16, 3, 3], [1_usize << 40, 1 << 40, 3, 3]] {
        let message = error(&|plan| plan["layers"][0]["shape"] = json!(shape));
        assert!(message.contains(&format!("{shape:?}")), "{message}");
    }
    let message = error(&|plan| plan["layers"][0]["pixels"]["output"] = json!(u64::MAX));
    assert!(message.contains(&u64::MAX.to_string()), "{message}");
    for version in [1, 3] {
        let message = error(&|plan| plan["version"] = json!(version));
        let expected = Error::PlanVersion { version, known: 2 };
        assert!(message.contains(&expected.to_string()), "{message}");
    }
    let message = error(&|plan| *plan = json!({}));
    assert!(message.contains("version"), "{message}");
}

#[test]
fn a_plan_that_is_read_refuses_other_layers() {
    let (plan, json) = written();
    let [stem, body] = [0, 1].map(|index| path(&plan, index));
    let refused = |edit: &dyn Fn(&mut Value), expected: &str| {
        let mut edited = json.clone();
        edit(&mut edited);
        let read = read(&edited).expect("a plan");
        let refused = read.apply(network()).expect_err("another model");
        assert_eq!(
            refused,
            Error::OtherModel {
                path: expected.into()
            }
        );
    };
    refused(
        &|plan| plan["layers"][1]["path"] = json!("tail.weight"),
        "tail.weight",
    );
    refused(&|plan| plan["layers"][1]["shape"][2] = json!(5), &body);
    refused(&|plan| plan["layers"][0]["shape"][1] = json!(7), &stem);
    // Also where it says that they are dense.
    refused(
        &|plan| plan["layers"][2]["shape"][1] = json!(7),
        &path(&plan, 2),
    );

    // Layers that a plan does not have stay dense.
    let mut fewer = json.clone();
    fewer["layers"].as_array_mut().expect("layers").remove(0);
    let compressed = read(&fewer)
        .expect("a plan")
        .apply(network())
        .expect("fewer");
    assert_eq!(compressed.stem.cost(), network().stem.cost());
    assert_eq!(compressed.body.cost().primary, 12);

    let applied = plan_of(&json).apply(network()).expect("valid");
    let twice = plan_of(&json).apply(applied).expect_err("twice");
    assert!(matches!(twice, Error::Reparameterized { .. }), "{twice}");
}

fn plan_of(json: &Value) -> Plan {
    read(json).expect("a plan")
}

/// As version 0.1 wrote it.
#[test]
fn choices_that_were_saved_before_plans_were_still_load() {
    let saved = r#"{
        "stem.Dense.weight": {"primary": 8, "coefficients": "Full"},
        "body.Dense.weight": {"primary": 12, "coefficients": {"LowRank": {"rank": 3}}}
    }"#;
    let choices: BTreeMap<String, Choice> = serde_json::from_str(saved).expect("choices");
    let network = network();
    let plan = plan(Compression::per_layer(choices.clone()), &network);
    assert_eq!(plan.choices(), choices);
    let compressed = plan.apply(network).expect("valid");
    let [stem, body] = [compressed.stem.cost(), compressed.body.cost()];
    assert_eq!([stem.primary, stem.secondary_channels], [8, 0]);
    assert_eq!([stem.rank, body.rank], [None, Some(3)]);
    // And are written as before.
    let expected: Value = serde_json::from_str(saved).expect("JSON");
    assert_eq!(serde_json::to_value(&choices).expect("JSON"), expected);
}

/// The sensitivity of a network, and how often it asked for outputs.
fn measured(
    compression: &Compression,
    network: &Network,
    sensitivity: &mut Sensitivity,
) -> (usize, Vec<Sensitivity>) {
    let (mut calls, mut steps) = (0, Vec::new());
    let outputs = |network: &Network| {
        calls += 1;
        network.forward(images(&device()))
    };
    let progress = |sensitivity: &Sensitivity| steps.push(sensitivity.clone());
    compression
        .measure(network, sensitivity, outputs, progress)
        .expect("measured");
    (calls, steps)
}

/// But for the last digit of a number, which JSON may lose.
#[track_caller]
fn assert_same(actual: &Sensitivity, expected: &Sensitivity) {
    let all = |sensitivity: &Sensitivity| {
        let layers = sensitivity.layers().values().flatten();
        layers.copied().collect::<Vec<Measurement>>()
    };
    let choices = |sensitivity| all(sensitivity).into_iter().map(|measured| measured.choice);
    assert!(choices(actual).eq(choices(expected)));
    assert!(actual.layers().keys().eq(expected.layers().keys()));
    let numbers = |sensitivity| {
        let measured = all(sensitivity).into_iter();
        let numbers = measured.flat_map(|measured| [measured.share, measured.divergence]);
        numbers.collect::<Vec<f64>>()
    };
    assert_close(
        &numbers(actual),
        &numbers(expected),
        1e-15,
        "shares and divergences",
    );
}

fn count(sensitivity: &Sensitivity) -> usize {
    sensitivity.layers().values().map(Vec::len).sum()
}

#[test]
fn every_layer_is_measured_alone_at_several_shares() {
    let network = network();
    let compression = Compression::to_parameters(0.5);
    let mut sensitivity = Sensitivity::default();
    let (calls, steps) = measured(&compression, &network, &mut sensitivity);
    assert_eq!(calls, 1 + count(&sensitivity));
    assert_eq!(steps.len(), count(&sensitivity));
    assert_eq!(steps.last(), Some(&sensitivity));

    let plan = plan(compression, &network);
    let [stem, body] = [0, 1].map(|index| path(&plan, index));
    let paths: Vec<&String> = sensitivity.layers().keys().collect();
    assert_eq!(paths, [&body, &stem], "the others stay dense");
    for (path, measurements) in sensitivity.layers() {
        let layer = plan.layers().iter().find(|layer| layer.path() == path);
        let mut alone = Compression::per_layer([].into())
            .plan(&network)
            .expect("valid");
        let dense = layer.expect("planned").dense_parameters() as f64;
        assert!((2..=6).contains(&measurements.len()), "{path}");
        let shares: Vec<f64> = measurements.iter().map(|measured| measured.share).collect();
        assert!(shares.is_sorted_by(|a, b| a > b), "{shares:?}");
        let largest = if *path == body { 0.6..=0.7 } else { 0.2..=0.7 };
        assert!(largest.contains(&shares[0]), "{shares:?}");
        for measured in measurements {
            alone.choose(path, Some(measured.choice)).expect("possible");
            let layer = alone.layers().iter().find(|layer| layer.path() == path);
            let kept = layer.expect("planned").parameters() as f64;
            assert_eq!(measured.share, kept / dense);
            let compressed = alone.apply(network.clone()).expect("valid");
            let expected = divergence(&network, &compressed);
            // Where nothing is lost, rounding is all there is.
            assert!(
                (measured.divergence - expected).abs() < tolerances().sums,
                "{measured:?}, {expected}"
            );
        }
    }
    // Three filters are the whole stem.
    assert!(sensitivity.layers()[&stem][0].divergence < tolerances().sums);
    let of_body = &sensitivity.layers()[&body];
    assert!(of_body.last().expect("measured").divergence > 1e-3);
}

/// The mean of `Σ p ln(p / q)` over images, of the probabilities of classes.
fn divergence(network: &Network, compressed: &Network) -> f64 {
    let probabilities = |network: &Network| -> Vec<Vec<f64>> {
        let logits = to_vec(network.forward(images(&device())));
        let of_image = |logits: &[f64]| {
            let exponentials: Vec<f64> = logits.iter().map(|logit| logit.exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            exponentials.iter().map(|value| value / sum).collect()
        };
        logits.chunks(5).map(of_image).collect()
    };
    let [p, q] = [network, compressed].map(probabilities);
    let of_image = |(p, q): (&Vec<f64>, &Vec<f64>)| -> f64 {
        p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum()
    };
    let images = p.len() as f64;
    p.iter().zip(&q).map(of_image).sum::<f64>() / images
}

#[test]
fn measuring_goes_on_where_it_was_interrupted_and_keeps_what_it_has() {
    let network = network();
    let compression = Compression::to_parameters(0.5);
    let mut whole = Sensitivity::default();
    let (_, steps) = measured(&compression, &network, &mut whole);
    for (done, step) in steps
        .iter()
        .enumerate()
        .map(|(index, step)| (index + 1, step))
    {
        let json = serde_json::to_string(step).expect("JSON");
        let mut part: Sensitivity = serde_json::from_str(&json).expect("a sensitivity");
        assert_same(&part, step);
        let (calls, _) = measured(&compression, &network, &mut part);
        let missing = count(&whole) - done;
        assert_eq!(calls, if missing > 0 { missing + 1 } else { 0 });
        assert_same(&part, &whole);
    }

    // What is there is not measured again, whatever it says.
    let mut json = serde_json::to_value(&whole).expect("JSON");
    let first = whole.layers().keys().next().expect("measured");
    json["layers"][first][0]["divergence"] = json!(123.0);
    let mut edited: Sensitivity = serde_json::from_value(json).expect("a sensitivity");
    assert_eq!(measured(&compression, &network, &mut edited).0, 0);
    assert_eq!(edited.layers()[first][0].divergence, 123.0);
    assert!(edited.to_string().contains("123"), "{edited}");
}

#[test]
fn only_a_group_is_measured_and_an_error_keeps_what_there_is() {
    let network = network();
    let body = || ParamGroup::from_predicate("body");
    let mut sensitivity = Sensitivity::default();
    let compression = Compression::to_parameters(0.5).within(body());
    measured(&compression, &network, &mut sensitivity);
    assert_eq!(sensitivity.layers().len(), 1);

    // One image has 16 output pixels of the body, for 24 filters, and 64 of the stem.
    let mut calibration = Calibration::new();
    calibration.observe(|| network.forward(images(&device()).narrow(0, 0, 1)));
    let compression = Compression::to_parameters(0.5).with_calibration(calibration);
    let mut sensitivity = Sensitivity::default();
    let outputs = |network: &Network| network.forward(images(&device()));
    let error = compression.measure(&network, &mut sensitivity, outputs, |_| ());
    assert!(matches!(
        error,
        Err(Error::TooFewResponses { columns: 16, .. })
    ));
    assert_eq!(sensitivity.layers().len(), 1);
}

/// A sensitivity by a power of the share, times a factor for each of the first two layers.
fn synthetic(plan: &Plan, factors: [f64; 2]) -> Sensitivity {
    let layers = [0, 1].map(|index| {
        let measurement = |share: f64| {
            json!({
                "choice": Choice::new(1, FULL),
                "share": share,
                "divergence": factors[index] * share.powi(-2),
            })
        };
        let measurements: Vec<Value> = [0.7, 0.4, 0.2, 0.1].map(measurement).into();
        (path(plan, index), Value::from(measurements))
    });
    let layers: serde_json::Map<String, Value> = layers.into_iter().collect();
    serde_json::from_value(json!({ "layers": layers })).expect("a sensitivity")
}

#[test]
fn sizes_follow_what_was_measured() {
    let network = network();
    let compression = Compression::to_parameters(0.5);
    let dense = plan(Compression::per_layer([].into()), &network);
    let limit = (STEM + BODY + OTHERS) / 2;
    let mut before = [1.0, 0.0];
    for factor in [1e-4, 1e-2, 1.0, 1e2, 1e4] {
        // The body from the least sensitive layer to the most.
        let sensitivity = synthetic(&dense, [1.0, factor]);
        let plan = plan(compression.clone().with_sensitivity(sensitivity), &network);
        assert!(plan.parameters() <= limit, "{plan}");
        assert!(plan.parameters() > limit * 9 / 10, "{plan}");
        let kept = shares(&plan);
        assert!(
            kept[0] <= before[0] && kept[1] >= before[1],
            "{factor}: {kept:?}, {before:?}"
        );
        before = kept;
    }
    let first = synthetic(&dense, [1.0, 1e-4]);
    let first = shares(&plan(compression.clone().with_sensitivity(first), &network));
    assert!(
        first[0] > before[0] && first[1] < before[1],
        "nothing follows"
    );

    // A layer that was not measured, or that is not there, changes nothing that is wrong.
    let mut one = serde_json::to_value(synthetic(&dense, [1.0, 1.0])).expect("JSON");
    let layers = one["layers"].as_object_mut().expect("layers");
    let measurements = layers.remove(&path(&dense, 0)).expect("the stem");
    layers.insert("nowhere".into(), measurements);
    let one: Sensitivity = serde_json::from_value(one).expect("a sensitivity");
    let plan = plan(compression.with_sensitivity(one), &network);
    assert!(plan.parameters() <= limit, "{plan}");
}

#[test]
fn sizes_by_measurement_move_the_outputs_less_than_one_share_for_all() {
    let network = network();
    let compression = Compression::to_parameters(0.5);
    let mut sensitivity = Sensitivity::default();
    measured(&compression, &network, &mut sensitivity);
    let [uniform, sized] = [
        compression.clone(),
        compression.with_sensitivity(sensitivity),
    ]
    .map(|compression| plan(compression, &network));
    let moved = |plan: &Plan| {
        let compressed = plan.apply(network.clone()).expect("valid");
        let output = |network: &Network| network.forward(images(&device()));
        norm(&to_vec(output(&compressed) - output(&network)))
    };
    assert!(moved(&sized) < moved(&uniform), "{sized}\n{uniform}");
    assert!(shares(&sized)[0] < shares(&sized)[1], "{sized}");
}

#[test]
fn the_smallest_plan_that_is_accepted_is_found_and_the_search_goes_on() {
    let network = network();
    let compression = Compression::to_parameters(1.0);
    let find = |search: &mut Search, limit: f64| {
        let mut judged = 0;
        let judge = |compressed: &Network, plan: &Plan| {
            judged += 1;
            let gone = network.num_params() - compressed.num_params();
            assert_eq!(gone, plan.dense_parameters() - plan.parameters());
            Verdict::at_most(plan.error(), limit)
        };
        let plan = compression.smallest(&network, search, judge, |_| ());
        (plan, judged)
    };
    let mut search = Search::default();
    let (plan, judged) = find(&mut search, 0.3);
    let plan = plan.expect("one is accepted");
    assert!(plan.error() <= 0.3, "{plan}");
    assert!(judged > 3);
    let trials = search.trials();
    let refused = trials.iter().filter(|trial| !trial.accepted);
    let largest = refused.filter_map(|trial| trial.parameters).max();
    assert!(largest.expect("some are refused") < plan.parameters());
    assert!(trials.iter().any(|trial| trial.parameters.is_none()) || judged == trials.len());

    // All is known already, also after it was written.
    let json = serde_json::to_string(&search).expect("JSON");
    let mut read: Search = serde_json::from_str(&json).expect("a search");
    let (again, judged) = find(&mut read, 0.3);
    assert_eq!(judged, 0);
    assert_eq!(again.expect("known").choices(), plan.choices());

    let mut search = Search::default();
    let refused = find(&mut search, -1.0).0.expect_err("no error is negative");
    assert!(matches!(refused, Error::NoneAccepted { .. }), "{refused}");
    assert!(!search.trials().is_empty() && search.best().is_none());
    let no_share = Compression::to_error(0.5).smallest(
        &network,
        &mut Search::default(),
        |_, plan| Verdict::at_most(plan.error(), 0.5),
        |_| (),
    );
    assert_eq!(no_share.expect_err("no share"), Error::NoBudget);
}

#[test]
fn biases_move_where_outputs_are_fitted_and_stay_elsewhere() {
    let network = network();
    let bias = |network: &Network| {
        [&network.stem, &network.body].map(|conv| match conv {
            Conv::Dense(Conv2d { bias, .. }) => to_vec(bias.as_ref().expect("a bias").val()),
            _ => unreachable!(),
        })
    };
    let compressed = |calibration| {
        let compression = Compression::uniform(0.25, FULL).with_calibration(calibration);
        let plan = plan(compression, &network);
        let ids = plan.apply(network.clone()).expect("valid");
        let combined = match &ids.body {
            Conv::Dense(conv) => conv.weight.reparameterization::<CombinedFilters>(),
            _ => None,
        };
        assert!(combined.is_some());
        bias(&ids)
    };
    let stays = compressed(observed(&network, Calibration::sizes()));
    assert_eq!(stays, bias(&network));
    let moved = compressed(observed(&network, Calibration::new()));
    assert_ne!(moved[1], stays[1]);
}
