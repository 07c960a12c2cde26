//! The metadata of a file of weights.

use std::collections::BTreeMap;

use linearconv::Plan;

use crate::data::DatasetName;
use crate::models::NetworkName;

/// Facts about a network, by name.
#[derive(Clone, Debug, Default)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// The metadata of a network, with the version of this program.
    pub fn new(network: NetworkName, classes: usize, variant: &str) -> Self {
        Self::default()
            .with("network", network.to_string())
            .with("classes", classes.to_string())
            .with("variant", variant.into())
            .with("linearconv", env!("CARGO_PKG_VERSION").into())
    }

    /// Adds the facts about data set, test and plan from the file that the network was loaded from.
    pub(super) fn or(mut self, known: &BTreeMap<String, String>) -> Self {
        for name in ["dataset", "mean", "deviation", "test_accuracy", "plan"] {
            if let Some(value) = known.get(name) {
                self.0.insert(name.into(), value.clone());
            }
        }
        self
    }

    /// Adds a test: the data set, its mean and deviation, and the accuracy in percent.
    pub fn with_test(self, dataset: DatasetName, accuracy: f64) -> Self {
        let normalization = dataset.normalization();
        self.with("dataset", dataset.to_string())
            .with("mean", format!("{:?}", normalization.mean))
            .with("deviation", format!("{:?}", normalization.deviation))
            .with("test_accuracy", format!("{accuracy:.2}"))
    }

    /// Adds the plan by which the network was compressed.
    ///
    /// # Errors
    /// The errors of serde.
    pub fn with_plan(self, plan: &Plan) -> serde_json::Result<Self> {
        Ok(self.with("plan", serde_json::to_string(plan)?))
    }

    /// The metadata of the same network after all its convolutions were made dense.
    pub(super) fn made_dense(mut self) -> Self {
        self.0.remove("plan");
        self.with("variant", "dense".into())
    }

    fn with(mut self, name: &str, value: String) -> Self {
        self.0.insert(name.into(), value);
        self
    }

    /// All facts, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.0.iter();
        entries.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
