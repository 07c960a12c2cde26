//! Checks values of the command line.

pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// The largest number of epochs, of images in a batch, and of devices. Products of these numbers stay far below the
/// largest integer, and memory for so many images or devices can be had.
const MOST: usize = 100_000;

/// A number of epochs, of images in a batch, or of devices.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    positive(text).and_then(check_count)
}

/// A number of epochs, which may be none.
pub(crate) fn count_or_none(text: &str) -> Result<usize, String> {
    match text {
        "0" => Ok(0),
        text => count(text),
    }
}

/// # Errors
/// A message with the limits.
pub(crate) fn check_count(number: usize) -> Result<usize, String> {
    match number {
        1..=MOST => Ok(number),
        _ => Err(format!("{number} is not between 1 and {MOST}")),
    }
}

pub(crate) fn share(text: &str) -> Result<f64, String> {
    number(text, is_share, "above 0 and at most 1")
}

pub(crate) fn is_share(number: f64) -> bool {
    number > 0.0 && number <= 1.0
}

pub(crate) fn share_below_1(text: &str) -> Result<f64, String> {
    number(text, is_share_below_1, "above 0 and below 1")
}

pub(crate) fn is_share_below_1(number: f64) -> bool {
    number > 0.0 && number < 1.0
}

pub(crate) fn points(text: &str) -> Result<f64, String> {
    number(
        text,
        |points| (0.0..=100.0).contains(&points),
        "at least 0 and at most 100",
    )
}

pub(crate) fn weight(text: &str) -> Result<f64, String> {
    number(text, is_weight, "at least 0")
}

pub(crate) fn is_weight(number: f64) -> bool {
    number >= 0.0 && number.is_finite()
}

fn number(text: &str, valid: fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if valid(number) => Ok(number),
        Ok(_) => Err(format!("must be {expected}")),
        Err(error) => Err(format!("{error}")),
    }
}

/// Checks that flags stand beside the flags that they need. clap does not require a flag that excludes another flag of
/// the command line. Each flag has its name, whether it is given, what it needs, and whether that is given.
///
/// # Errors
/// A message that names the flag, and what it needs.
pub(crate) fn check_needed<const N: usize>(
    flags: [(&str, bool, &str, bool); N],
) -> Result<(), String> {
    let mut alone = flags
        .into_iter()
        .filter(|(_, given, _, is_there)| *given && !is_there);
    match alone.next() {
        Some((flag, _, needed, _)) => Err(format!("{flag} needs {needed}")),
        None => Ok(()),
    }
}
