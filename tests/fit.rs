//! The fit of one dense layer is the best there is: its errors are the tails of singular values,
//! which are computed here by another algorithm.

#![cfg(feature = "fit")]

mod common;

use burn::module::Param;
use burn::nn::PaddingConfig2d::{Explicit, Same, Valid};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor, TensorData};
use linearconv::{Choice, CoefficientsConfig, Error, LinearConv2d};

use common::spectrum::{
    Vectors, centred, product, rows_of_outputs, singular_values, singular_vectors, tail, transposed,
};
use common::{
    assert_close, cast, dense, device, float, norm, relative_error, tensor, to_vec, tolerances,
};

const FULL: CoefficientsConfig = CoefficientsConfig::Full;

/// One vector for each filter.
fn filters(conv: &Conv2d) -> Vectors {
    let weight = conv.weight.val();
    let length = weight.dims()[1..].iter().product();
    let rows = to_vec(weight);
    rows.chunks(length).map(<[f64]>::to_vec).collect()
}

/// One vector for each channel, of the values of all filters.
fn channels(conv: &Conv2d) -> Vectors {
    let weight = conv.weight.val().swap_dims(0, 1);
    let length = weight.dims()[1..].iter().product();
    let rows = to_vec(weight);
    rows.chunks(length).map(<[f64]>::to_vec).collect()
}

/// One vector for each filter, of what it answers, without bias.
fn responses(conv: &Conv2d, input: &Tensor<4>) -> Vectors {
    let mut without_bias = conv.clone();
    without_bias.bias = None;
    rows_of_outputs(without_bias.forward(input.clone()))
}

/// Wide and tall kernels, pointwise ones, groups, and more filters than weights of one.
fn kernels() -> Vec<Conv2d> {
    let config = |channels, kernel| Conv2dConfig::new(channels, kernel);
    [
        config([4, 12], [3, 3]),
        config([20, 6], [3, 3]),
        config([2, 24], [1, 2]),
        config([8, 8], [1, 1]),
        config([5, 16], [1, 1]),
        config([1, 10], [3, 3]),
        config([6, 8], [3, 3]).with_groups(2),
    ]
    .map(|config| dense(&config, &device()))
    .into()
}

/// Ungrouped ones, with inputs of their own.
fn layers_with_inputs() -> Vec<(Conv2d, Tensor<4>)> {
    let config = |channels, kernel| Conv2dConfig::new(channels, kernel);
    [
        (config([4, 12], [3, 3]).with_padding(Same), [3, 4, 9, 9]),
        (config([5, 16], [1, 1]).with_padding(Valid), [2, 5, 6, 7]),
        (
            config([6, 10], [3, 2])
                .with_stride([2, 1])
                .with_dilation([1, 2])
                .with_padding(Explicit(2, 0, 1, 1)),
            [4, 6, 9, 8],
        ),
    ]
    .map(|(config, shape): (Conv2dConfig, [usize; 4])| {
        // Channels of other sizes and means, or their responses would tell nothing new.
        let scale: Tensor<4> = tensor([1, shape[1], 1, 1], 3, &device());
        let input = (tensor(shape, 2, &device()) + 0.5) * (scale * 2.0).exp();
        (dense(&config, &device()), input)
    })
    .into()
}

fn without_bias(conv: &Conv2d) -> Conv2d {
    let mut conv = conv.clone();
    conv.bias = None;
    conv
}

fn fit(conv: &Conv2d, choice: Choice, input: Option<&Tensor<4>>) -> (LinearConv2d, f64) {
    let fitted = LinearConv2d::from_conv2d(conv, choice, input.cloned());
    fitted.unwrap_or_else(|error| panic!("{choice:?}: {error}"))
}

/// Some numbers of primary ones, the fewest and the most among them.
fn some_below(all: usize) -> Vec<usize> {
    let mut some = vec![1, all / 3, all / 2, all - 1];
    some.retain(|number| (1..all).contains(number));
    some.dedup();
    some
}

#[track_caller]
fn assert_equal(actual: f64, expected: f64, what: &str) {
    assert_close(&[actual], &[expected], tolerances().sums, what);
}

/// What the layer answers, beside what the dense one does, over the norm of that without bias.
fn measured_by_running(layer: &LinearConv2d, conv: &Conv2d, input: &Tensor<4>) -> f64 {
    let lost = conv.forward(input.clone()) - layer.forward(input.clone());
    norm(&to_vec(lost)) / norm(&responses(conv, input).concat())
}

#[test]
fn the_error_of_full_coefficients_is_the_tail_of_the_singular_values() {
    for conv in kernels() {
        let rows = filters(&conv);
        for primary in some_below(rows.len()) {
            let (layer, error) = fit(&conv, Choice::new(primary, FULL), None);
            let what = format!("{primary} of {:?}", conv.weight.dims());
            assert_equal(error, tail(&rows, primary, &rows), &what);
            let measured = relative_error(&to_vec(layer.weight()), &rows.concat());
            assert_equal(error, measured, &what);
        }
    }
}

#[test]
fn the_error_of_responses_is_the_tail_of_theirs_and_a_bias_takes_their_mean() {
    for (conv, input) in layers_with_inputs() {
        let rows = responses(&conv, &input);
        for primary in some_below(rows.len()) {
            let choice = Choice::new(primary, FULL);
            let what = format!("{primary} of {:?}", conv.weight.dims());

            let plain = without_bias(&conv);
            let (layer, error) = fit(&plain, choice, Some(&input));
            assert_equal(error, tail(&rows, primary, &rows), &what);
            assert_equal(error, measured_by_running(&layer, &plain, &input), &what);
            assert!(layer.bias.is_none());

            let (layer, error) = fit(&conv, choice, Some(&input));
            assert_equal(error, tail(&centred(&rows), primary, &rows), &what);
            assert_equal(error, measured_by_running(&layer, &conv, &input), &what);
        }
    }
}

#[test]
fn a_fit_of_responses_is_better_for_them_than_a_fit_of_filters() {
    for (conv, input) in layers_with_inputs() {
        for conv in [without_bias(&conv), conv] {
            for primary in some_below(conv.weight.dims()[0]) {
                let choice = Choice::new(primary, FULL);
                let (layer, _) = fit(&conv, choice, None);
                let by_filters = measured_by_running(&layer, &conv, &input);
                let (_, by_responses) = fit(&conv, choice, Some(&input));
                assert!(by_responses < by_filters || by_filters < tolerances().sums);
            }
        }
    }
}

#[test]
fn a_moved_bias_leaves_no_mean_behind() {
    for (conv, input) in layers_with_inputs() {
        for choice in [
            Choice::new(4, FULL),
            Choice::new(4, CoefficientsConfig::LowRank { rank: 2 }),
            Choice::new(4, FULL).with_primary_channels(2),
        ] {
            let means = |layer: &LinearConv2d| -> Vec<f64> {
                let lost = layer.forward(input.clone()) - conv.forward(input.clone());
                let mean = |row: &Vec<f64>| row.iter().sum::<f64>() / row.len() as f64;
                rows_of_outputs(lost).iter().map(mean).collect()
            };
            let (layer, _) = fit(&conv, choice, Some(&input));
            let none = vec![0.0; conv.weight.dims()[0]];
            assert_close(&means(&layer), &none, tolerances().sums, "means");

            // Without a calibration batch the bias is the dense one's.
            let (layer, _) = fit(&conv, choice, None);
            let bias = |bias: &Option<Param<Tensor<1>>>| to_vec(bias.as_ref().expect("one").val());
            assert_eq!(bias(&layer.bias), bias(&conv.bias));
            assert!(norm(&means(&layer)) > 1e-3);
        }
    }
}

/// A weight of filters that combine `independent` ones, of channels that combine a few.
fn dependent([filters, channels]: [usize; 2], independent: [usize; 2]) -> Conv2d {
    let mut conv = dense(&Conv2dConfig::new([channels, filters], [3, 3]), &device());
    let core: Tensor<2> = tensor([independent[0], independent[1] * 9], 5, &device());
    let combined = tensor::<2>([filters, independent[0]], 6, &device()).matmul(core);
    let combined = combined.reshape([filters, independent[1], 9]);
    let channels_first = combined
        .swap_dims(0, 1)
        .reshape([independent[1], filters * 9]);
    let weight = tensor::<2>([channels, independent[1]], 7, &device()).matmul(channels_first);
    let weight = weight.reshape([channels, filters, 3, 3]).swap_dims(0, 1);
    conv.weight = Param::from_tensor(weight);
    conv
}

#[test]
fn dependent_filters_and_channels_stay_exact() {
    let conv = dependent([12, 8], [5, 3]);
    let low_rank = |rank| CoefficientsConfig::LowRank { rank };
    let input = tensor([2, 8, 7, 7], 4, &device());
    for choice in [
        Choice::new(5, FULL),
        Choice::new(9, FULL),
        Choice::new(11, FULL),
        Choice::new(5, low_rank(5)),
        Choice::new(9, low_rank(3)),
        Choice::new(5, FULL).with_primary_channels(3),
        Choice::new(7, FULL).with_primary_channels(6),
        Choice::new(5, low_rank(5)).with_primary_channels(3),
        Choice::new(9, low_rank(3)).with_primary_channels(7),
    ] {
        for calibration in [None, Some(&input)] {
            let (layer, error) = fit(&conv, choice, calibration);
            assert!(error < tolerances().sums, "{choice:?}: {error}");
            assert_close(
                &to_vec(layer.forward(input.clone())),
                &to_vec(conv.forward(input.clone())),
                tolerances().long_sums,
                &format!("{choice:?}"),
            );
        }
    }
    for lossy in [
        Choice::new(4, FULL),
        Choice::new(5, FULL).with_primary_channels(2),
        Choice::new(5, low_rank(4)),
    ] {
        assert!(fit(&conv, lossy, None).1 > 1e-3, "{lossy:?}");
    }
}

#[test]
fn filters_that_are_zero_or_equal_are_no_exception() {
    let config = Conv2dConfig::new([4, 8], [3, 3]);
    let mut zero = dense(&config, &device());
    zero.weight = zero.weight.map(|weight| weight.zeros_like());
    let mut equal = dense(&config, &device());
    equal.weight = equal.weight.map(|weight| {
        let first = weight.narrow(0, 0, 1).narrow(1, 0, 1);
        first.repeat(&[8, 4, 1, 1])
    });
    let input = tensor([3, 4, 6, 6], 4, &device());
    for conv in [zero, equal] {
        let expected = to_vec(conv.weight.val());
        for choice in [
            Choice::new(1, FULL),
            Choice::new(5, FULL),
            Choice::new(5, CoefficientsConfig::LowRank { rank: 2 }),
            Choice::new(5, FULL).with_primary_channels(2),
        ] {
            for calibration in [None, Some(&input)] {
                let (layer, error) = fit(&conv, choice, calibration);
                assert!(error < tolerances().sums, "{choice:?}: {error}");
                let weight = to_vec(layer.weight());
                assert_close(&weight, &expected, tolerances().sums, "weight");
            }
        }
    }
}

/// The triangle for which pivoting finds nothing to exchange, however bad its last row is to
/// combine (Kahan 1966).
fn kahan(size: usize, cosine: f64) -> Vec<f64> {
    let sine = (1.0 - cosine * cosine).sqrt();
    let entry = |row: usize, column: usize| match column.cmp(&row) {
        std::cmp::Ordering::Less => 0.0,
        std::cmp::Ordering::Equal => sine.powi(row as i32),
        std::cmp::Ordering::Greater => -cosine * sine.powi(row as i32),
    };
    let rows = (0..size).flat_map(|row| (0..size).map(move |column| entry(row, column)));
    rows.collect()
}

fn pointwise(rows: Vec<f64>, size: usize) -> Conv2d {
    let mut conv = dense(&Conv2dConfig::new([size, size], [1, 1]), &device());
    let data = TensorData::new(rows, [size, size, 1, 1]);
    conv.weight = Param::from_tensor(Tensor::from_data(data, (&device(), float())));
    conv
}

#[test]
fn no_coefficient_of_filters_or_channels_is_larger_than_two() {
    let largest = |values: Vec<f64>| values.into_iter().map(f64::abs).fold(0.0, f64::max);
    let kahans = [0.1, 0.3, 0.6, 0.9].map(|cosine| pointwise(kahan(24, cosine), 24));
    let transposed = kahans.clone().map(|mut conv| {
        conv.weight = conv.weight.map(|weight| weight.swap_dims(0, 1));
        conv
    });
    let mut above_one = 0;
    for conv in kernels().into_iter().chain(kahans).chain(transposed) {
        let [all_filters, all_channels, ..] = conv.weight.dims();
        for primary in 1..all_filters {
            let choice = Choice::new(primary, FULL);
            let two_sides = choice.with_primary_channels(all_channels.div_ceil(2));
            let choices = [choice, two_sides];
            for choice in &choices[..if conv.groups == 1 { 2 } else { 1 }] {
                let (layer, _) = fit(&conv, *choice, None);
                let mut sizes = vec![largest(to_vec(layer.coefficients.matrix()))];
                if let Some(coefficients) = &layer.channel_coefficients {
                    sizes.push(largest(to_vec(coefficients.val())));
                }
                for size in sizes {
                    assert!(size <= 2.0 + tolerances().sums, "{choice:?}: {size}");
                    above_one += usize::from(size > 1.0);
                }
            }
        }
    }
    assert!(above_one > 20, "no case is hard: {above_one}");
}

/// Lower triangular, of a positive definite matrix.
fn cholesky(matrix: &Vectors) -> Vectors {
    let size = matrix.len();
    let mut lower = vec![vec![0.0; size]; size];
    for row in 0..size {
        for column in 0..=row {
            let rest = matrix[row][column] - product(&lower[row], &lower[column]);
            lower[row][column] = if row == column {
                rest.sqrt()
            } else {
                rest / lower[column][column]
            };
        }
    }
    lower
}

/// Filters whose singular vectors are Kahan's triangle, a filter that is bad to combine from it,
/// and so many small ones that pivoting takes none of them.
#[test]
fn filters_that_pivoting_leaves_with_large_coefficients_are_exchanged() {
    let (size, cosine, small) = (8, 0.5_f64, 640);
    // Without exchanges: the first row of the inverse triangle.
    let left_by_pivoting = cosine * (1.0 + cosine).powi(size as i32 - 2);
    assert!(left_by_pivoting > 5.0);

    let triangle = kahan(size, cosine);
    let rows: Vectors = triangle.chunks(size).map(<[f64]>::to_vec).collect();
    let scale = 0.95 / singular_values(&rows)[0];
    // Each column a little smaller than those before it, or rounding would decide.
    let mut filters: Vectors = transposed(&rows);
    for (index, filter) in filters.iter_mut().enumerate() {
        let scale = scale * 0.999f64.powi(index as i32);
        filter.iter_mut().for_each(|value| *value *= scale);
    }
    let mut bad = vec![0.0; size];
    bad[size - 1] = 0.99 * filters[size - 1][size - 1];
    filters.push(bad);
    // What is missing of orthonormal columns, in equal parts.
    let columns = transposed(&filters);
    let missing = |row: usize, column: usize| {
        f64::from(u8::from(row == column)) - product(&columns[row], &columns[column])
    };
    let missing: Vectors = (0..size)
        .map(|row| (0..size).map(|column| missing(row, column)).collect())
        .collect();
    let lower = cholesky(&missing);
    for index in 0..small {
        let wave = |frequency: usize| {
            let angle = (index as f64 + 0.5) * (frequency + 1) as f64 / small as f64;
            (2.0 / small as f64).sqrt() * (std::f64::consts::PI * angle).cos()
        };
        let waves: Vec<f64> = (0..size).map(wave).collect();
        filters.push(lower.iter().map(|row| product(row, &waves)).collect());
    }
    let mut conv = dense(&Conv2dConfig::new([size, filters.len()], [1, 1]), &device());
    let data = TensorData::new(filters.concat(), [filters.len(), size, 1, 1]);
    conv.weight = Param::from_tensor(Tensor::from_data(data, (&device(), float())));

    let (layer, error) = fit(&conv, Choice::new(size, FULL), None);
    assert!(error < tolerances().sums, "{error}");
    let order = to_vec(layer.order.as_ref().expect("an order").val().float());
    let bad = order[size];
    assert!(bad < size as f64, "the bad filter is primary, not {bad}");
    let coefficients = to_vec(layer.coefficients.matrix());
    let largest = coefficients.iter().map(|value| value.abs());
    let largest = largest.fold(0.0, f64::max);
    assert!(largest <= 2.0 + tolerances().sums, "{largest}");
}

/// What the truncated bases of both sides lose together: a bound, and where the search starts.
fn truncated_both(conv: &Conv2d, [m, s]: [usize; 2]) -> f64 {
    let unit = |vector: Vec<f64>| -> Vec<f64> {
        let length = norm(&vector);
        vector.iter().map(|value| value / length).collect()
    };
    let basis = |rows: Vectors, kept: usize| -> Vectors {
        let vectors = singular_vectors(transposed(&rows)).into_iter();
        let independent = vectors.filter(|vector| norm(vector) > 1e-9);
        independent.take(kept).map(unit).collect()
    };
    let [_, all_channels, height, width] = conv.weight.dims();
    let [of_filters, of_channels] = [basis(filters(conv), m), basis(channels(conv), s)];
    let weight = to_vec(conv.weight.val());
    let taps = height * width;
    let mut kept = 0.0;
    for u in &of_filters {
        for v in &of_channels {
            for tap in 0..taps {
                let mut core = 0.0;
                for (filter, u) in u.iter().enumerate() {
                    let row = &weight[filter * all_channels * taps..];
                    let of_channel = |(channel, v): (usize, &f64)| v * row[channel * taps + tap];
                    core += u * v.iter().enumerate().map(of_channel).sum::<f64>();
                }
                kept += core * core;
            }
        }
    }
    (1.0 - kept / norm(&weight).powi(2)).max(0.0).sqrt()
}

#[test]
fn the_error_of_both_sides_lies_between_their_tails_and_what_both_truncated_lose() {
    let mut gains = 0;
    for conv in kernels().into_iter().filter(|conv| conv.groups == 1) {
        let [of_filters, of_channels] = [filters(&conv), channels(&conv)];
        for m in some_below(of_filters.len()) {
            for s in some_below(of_channels.len()) {
                let choice = Choice::new(m, FULL).with_primary_channels(s);
                let (layer, error) = fit(&conv, choice, None);
                let what = format!("{choice:?} of {:?}: {error}", conv.weight.dims());
                let tails = [
                    tail(&of_filters, m, &of_filters),
                    tail(&of_channels, s, &of_channels),
                ];
                // Errors near zero are roots of rounding.
                let rounding = tolerances().sums;
                assert!(error >= tails[0].max(tails[1]) - rounding, "{what}");
                assert!(error <= norm(&tails) + rounding, "{what}");
                let truncated = truncated_both(&conv, [m, s]);
                // A root of rounding where nothing is lost.
                let rounding = tolerances().sums.max(1e-7);
                assert!(error <= truncated + rounding, "{what}, {truncated}");
                gains += usize::from(error < truncated - 1e-4);

                let measured = relative_error(&to_vec(layer.weight()), &of_filters.concat());
                assert_equal(error, measured, &what);
                assert_eq!(layer.primary.dims()[..2], [m, s]);
            }
        }
    }
    assert!(gains > 5, "the search gains nothing: {gains}");
}

#[test]
fn the_error_of_both_sides_by_responses_is_measured_and_not_below_the_tail() {
    for (conv, input) in layers_with_inputs() {
        let rows = responses(&conv, &input);
        let [all_filters, all_channels, ..] = conv.weight.dims();
        for m in some_below(all_filters) {
            for s in some_below(all_channels) {
                let choice = Choice::new(m, FULL).with_primary_channels(s);
                let (layer, error) = fit(&conv, choice, Some(&input));
                let what = format!("{choice:?} of {:?}: {error}", conv.weight.dims());
                assert_equal(error, measured_by_running(&layer, &conv, &input), &what);
                let least = tail(&centred(&rows), m, &rows);
                assert!(error >= least - tolerances().sums, "{what}, {least}");
            }
        }
    }
}

#[test]
fn more_of_either_side_loses_no_more() {
    let conv = dense(&Conv2dConfig::new([8, 12], [3, 3]), &device());
    let error = |m, s| {
        let choice = Choice::new(m, FULL).with_primary_channels(s);
        fit(&conv, choice, None).1
    };
    // The search for both sides ends near an optimum, not at it.
    let slack = 2e-3;
    for m in 1..11 {
        for s in 1..8 {
            let here = error(m, s);
            assert!(error(m + 1, s) <= here + slack, "{m} {s}");
            assert!(error(m, s + 1) <= here + slack, "{m} {s}");
        }
    }
}

#[test]
fn all_channels_by_number_are_all_channels() {
    for conv in kernels() {
        let [all_filters, all_channels, ..] = conv.weight.dims();
        let choice = Choice::new(all_filters / 2, FULL);
        let [(layer, error), (named, named_error)] =
            [choice, choice.with_primary_channels(all_channels)]
                .map(|choice| fit(&conv, choice, None));
        assert_eq!(error, named_error);
        assert!(named.channel_coefficients.is_none() && named.channel_order.is_none());
        assert_eq!(to_vec(named.weight()), to_vec(layer.weight()));
    }
}

#[test]
fn impossible_channels_are_errors() {
    let error = |conv: &Conv2d, primary_channels| {
        let choice = Choice::new(4, FULL).with_primary_channels(primary_channels);
        let fitted = LinearConv2d::from_conv2d(conv, choice, None);
        fitted.expect_err("impossible").to_string()
    };
    let conv = dense(&Conv2dConfig::new([6, 8], [3, 3]), &device());
    for channels in [0, 7, usize::MAX] {
        let values = format!("got {channels} of 6 with groups=1");
        assert!(error(&conv, channels).ends_with(&values), "{channels}");
    }
    let grouped = Conv2dConfig::new([6, 8], [3, 3]).with_groups(2);
    let message = error(&dense(&grouped, &device()), 2);
    assert!(message.ends_with("got 2 of 3 with groups=2"), "{message}");
}

/// What filters lose of which some stay as they are, chosen by pivoting, and of the others the
/// part of a rank that these reach: how layers were fitted before.
fn given_rows(rows: &Vectors, m: usize, rank: usize) -> f64 {
    let mut rest = rows.clone();
    let mut basis: Vectors = Vec::new();
    let mut others: Vec<usize> = (0..rows.len()).collect();
    for _ in 0..m {
        let pivot = *others
            .iter()
            .max_by(|a, b| norm(&rest[**a]).total_cmp(&norm(&rest[**b])))
            .expect("fewer primary ones than rows");
        others.retain(|row| *row != pivot);
        let length = norm(&rest[pivot]);
        if length < 1e-12 {
            continue;
        }
        let direction: Vec<f64> = rest[pivot].iter().map(|value| value / length).collect();
        for row in &mut rest {
            let reached = product(row, &direction);
            for (value, direction) in row.iter_mut().zip(&direction) {
                *value -= reached * direction;
            }
        }
        basis.push(direction);
    }
    let coordinates = others.iter().map(|row| {
        let along = basis
            .iter()
            .map(|direction| product(&rows[*row], direction));
        along.collect()
    });
    let values = singular_values(&coordinates.collect());
    let lost: f64 = others
        .iter()
        .map(|row| product(&rest[*row], &rest[*row]))
        .sum();
    let cut: f64 = values.iter().skip(rank).map(|value| value * value).sum();
    (lost + cut).sqrt() / norm(&rows.concat())
}

#[test]
fn low_rank_is_never_worse_than_given_filters_and_best_where_the_rank_is_full() {
    let mut gains = 0;
    for conv in kernels() {
        let rows = filters(&conv);
        for m in some_below(rows.len()) {
            let most = m.min(rows.len() - m);
            for rank in [1, most.div_ceil(2), most] {
                let choice = Choice::new(m, CoefficientsConfig::LowRank { rank });
                let (layer, error) = fit(&conv, choice, None);
                let what = format!("{choice:?} of {:?}: {error}", conv.weight.dims());
                let given = given_rows(&rows, m, rank);
                assert!(error <= given + tolerances().sums, "{what}, {given}");
                gains += usize::from(error < given - 1e-4);
                let least = tail(&rows, m, &rows);
                assert!(error >= least - tolerances().sums, "{what}, {least}");
                if rank == most {
                    assert_equal(error, least, &what);
                }
                let measured = relative_error(&to_vec(layer.weight()), &rows.concat());
                assert_equal(error, measured, &what);
                assert_eq!(layer.cost().rank, Some(rank));
            }
        }
    }
    assert!(gains > 20, "the fit gains nothing: {gains}");
}

#[test]
fn low_rank_by_responses_is_never_worse_than_given_filters() {
    for (conv, input) in layers_with_inputs() {
        let conv = without_bias(&conv);
        let rows = responses(&conv, &input);
        for m in some_below(rows.len()) {
            let most = m.min(rows.len() - m);
            for rank in [1, most.div_ceil(2), most] {
                let choice = Choice::new(m, CoefficientsConfig::LowRank { rank });
                let (layer, error) = fit(&conv, choice, Some(&input));
                let what = format!("{choice:?} of {:?}: {error}", conv.weight.dims());
                let given = given_rows(&rows, m, rank);
                assert!(error <= given + tolerances().sums, "{what}, {given}");
                assert_equal(error, measured_by_running(&layer, &conv, &input), &what);
            }
        }
    }
}

#[test]
fn other_coefficients_are_full_or_low_rank_ones() {
    let conv = dense(&Conv2dConfig::new([6, 12], [3, 3]), &device());
    let weight = |coefficients| to_vec(fit(&conv, Choice::new(6, coefficients), None).0.weight());
    let sparse = CoefficientsConfig::Sparse { sparsity: 0.5 };
    assert_eq!(weight(sparse), weight(FULL));
    let ratio = CoefficientsConfig::RankRatio { ratio: 0.5 };
    assert_eq!(
        weight(ratio),
        weight(CoefficientsConfig::LowRank { rank: 3 })
    );
}

/// What a type rounds to when values are stored belongs to the error.
#[test]
fn the_error_is_that_of_the_values_as_they_are_stored() {
    let choices = [
        Choice::new(6, FULL),
        Choice::new(6, CoefficientsConfig::LowRank { rank: 3 }),
        Choice::new(6, FULL).with_primary_channels(4),
        Choice::new(6, CoefficientsConfig::LowRank { rank: 3 }).with_primary_channels(4),
    ];
    let types = [DType::F32, DType::BF16, DType::F16, float()];
    for dtype in types
        .into_iter()
        .filter(|dtype| device().supports_dtype(*dtype))
    {
        let random = dense(&Conv2dConfig::new([8, 12], [3, 3]), &device());
        for conv in [random, dependent([12, 8], [6, 4])] {
            let conv = cast(conv, dtype);
            let expected = to_vec(conv.weight.val());
            for choice in choices {
                let (layer, error) = fit(&conv, choice, None);
                assert_eq!(layer.primary.val().dtype(), dtype);
                let weight = to_vec(cast(layer, float()).weight());
                let what = format!("{dtype:?} {choice:?}");
                assert_equal(error, relative_error(&weight, &expected), &what);
            }
        }
    }
}

#[test]
fn too_few_pixels_and_groups_are_no_calibration_batch() {
    let conv = dense(&Conv2dConfig::new([3, 10], [3, 3]), &device());
    let choice = Choice::new(5, FULL);
    let of_size = |side| tensor([1, 3, side, side], 4, &device());
    let refused = LinearConv2d::from_conv2d(&conv, choice, Some(of_size(5)));
    let expected = Error::TooFewResponses {
        path: "weight".into(),
        filters: 10,
        columns: 9,
    };
    assert_eq!(refused.expect_err("nine pixels"), expected);
    fit(&conv, choice, Some(&of_size(6)));

    let grouped = Conv2dConfig::new([3, 9], [3, 3]).with_groups(3);
    let grouped = dense(&grouped, &device());
    let refused = LinearConv2d::from_conv2d(&grouped, choice, Some(of_size(6)));
    let expected = Error::GroupedResponses { groups: 3 };
    assert_eq!(refused.expect_err("grouped"), expected);
}

#[test]
fn what_is_not_finite_is_refused_on_either_side() {
    let mut conv = dense(&Conv2dConfig::new([3, 10], [3, 3]), &device());
    let choice = Choice::new(5, FULL);
    let input: Tensor<4> = tensor([2, 3, 7, 7], 4, &device());
    for value in [f64::INFINITY, f64::NAN] {
        let spoilt = input.clone().slice_fill([1..2, 0..1, 3..4, 3..4], value);
        let refused = LinearConv2d::from_conv2d(&conv, choice, Some(spoilt));
        let expected = Error::NotFinite {
            path: "weight".into(),
            filter: 0,
        };
        assert_eq!(refused.expect_err("not finite"), expected);
    }
    conv.weight = conv
        .weight
        .map(|weight| weight.slice_fill([7..8, 0..1, 1..2, 1..2], f64::NAN));
    for calibration in [None, Some(input)] {
        let refused = LinearConv2d::from_conv2d(&conv, choice, calibration);
        let expected = Error::NotFinite {
            path: "weight".into(),
            filter: 7,
        };
        assert_eq!(refused.expect_err("not finite"), expected);
    }
}

/// Channels that are combinations of fewer in every pixel cost nothing to leave out, whatever the
/// filters make of them: those that are kept tell them.
#[test]
fn channels_that_others_tell_are_left_out_for_nothing() {
    for bias in [false, true] {
        let config = Conv2dConfig::new([6, 10], [3, 3]).with_bias(bias);
        let conv = dense(&config, &device());
        let independent: Tensor<4> = tensor([4, 3, 14, 14], 7, &device());
        let mixing: Tensor<4> = tensor([6, 3, 1, 1], 8, &device());
        let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
        let input = linearconv::conv2d(independent, mixing, None, options);
        let [m, s] = [6, 3];
        let choice = Choice::new(m, FULL).with_primary_channels(s);
        let (layer, error) =
            LinearConv2d::from_conv2d(&conv, choice, Some(input.clone())).expect("a fit");
        let rows = responses(&conv, &input);
        let decomposed = if bias { centred(&rows) } else { rows.clone() };
        let expected = tail(&decomposed, m, &rows);
        // A ridge of a millionth.
        assert!((error - expected).abs() < 1e-3, "{error}, {expected}");
        let dense = rows_of_outputs(conv.forward(input.clone())).concat();
        let fitted = rows_of_outputs(layer.forward(input)).concat();
        let lost = relative_error(&fitted, &dense);
        assert!(lost < 2.0 * expected + 1e-3, "{lost}, {expected}");
    }
}
