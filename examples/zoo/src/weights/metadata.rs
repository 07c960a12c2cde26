//! What a file says of its network beside the weights.

use std::collections::BTreeMap;

use crate::data::DatasetName;
use crate::models::NetworkName;

/// What a file says of its network, by name.
#[derive(Clone, Debug, Default)]
pub struct Metadata(pub(super) BTreeMap<String, String>);

impl Metadata {
    /// That of a network which a file of this metadata was loaded for.
    pub(super) fn new(
        mut known: BTreeMap<String, String>,
        network: NetworkName,
        classes: usize,
        variant: &str,
    ) -> Self {
        known.insert("network".into(), network.to_string());
        known.insert("classes".into(), classes.to_string());
        known.insert("variant".into(), variant.into());
        known.insert("linearconv".into(), env!("CARGO_PKG_VERSION").into());
        Self(known)
    }

    /// Notes a test: the data set, how its images become numbers, and the accuracy in percent.
    pub fn tested(&mut self, dataset: DatasetName, accuracy: f64) {
        let normalization = dataset.normalization();
        let mut note = |name: &str, value: String| self.0.insert(name.into(), value);
        note("dataset", dataset.to_string());
        note("mean", format!("{:?}", normalization.mean));
        note("deviation", format!("{:?}", normalization.deviation));
        note("test_accuracy", format!("{accuracy:.2}"));
    }
}
