//! What a file says of its network beside the weights.

use std::collections::BTreeMap;

use linearconv::Plan;

use crate::data::DatasetName;
use crate::models::NetworkName;

/// What a file says of its network, by name.
#[derive(Clone, Debug, Default)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// That of a network by this version.
    pub fn new(network: NetworkName, classes: usize, variant: &str) -> Self {
        Self::default()
            .with("network", network.to_string())
            .with("classes", classes.to_string())
            .with("variant", variant.into())
            .with("linearconv", env!("CARGO_PKG_VERSION").into())
    }

    /// The same, and what a file that the network was loaded from has said beside.
    pub(super) fn or(mut self, known: &BTreeMap<String, String>) -> Self {
        for name in ["dataset", "mean", "deviation", "test_accuracy", "plan"] {
            if let Some(value) = known.get(name) {
                self.0.insert(name.into(), value.clone());
            }
        }
        self
    }

    /// Notes a test: the data set, how its images become numbers, and the accuracy in percent.
    pub fn with_test(self, dataset: DatasetName, accuracy: f64) -> Self {
        let normalization = dataset.normalization();
        self.with("dataset", dataset.to_string())
            .with("mean", format!("{:?}", normalization.mean))
            .with("deviation", format!("{:?}", normalization.deviation))
            .with("test_accuracy", format!("{accuracy:.2}"))
    }

    /// Notes how the network was compressed.
    ///
    /// # Errors
    /// Those of serde.
    pub fn with_plan(self, plan: &Plan) -> serde_json::Result<Self> {
        Ok(self.with("plan", serde_json::to_string(plan)?))
    }

    /// That of the same network with dense convolutions alone.
    pub(super) fn made_dense(mut self) -> Self {
        self.0.remove("plan");
        self.with("variant", "dense".into())
    }

    fn with(mut self, name: &str, value: String) -> Self {
        self.0.insert(name.into(), value);
        self
    }

    /// All that is noted, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.0.iter();
        entries.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
