//! What the examples do that are no network.

mod compare;
mod compress;
mod figures;
mod paper;
#[cfg(feature = "remote")]
mod serve;
mod summary;
mod table;

pub use compare::{CompareArgs, compare};
pub use compress::{CompressArgs, CompressReport, Stage, Targets, compress};
pub use figures::{FiguresArgs, Written, figures};
pub use paper::{PaperCost, paper_cost, paper_costs};
#[cfg(feature = "remote")]
pub use serve::{ServeArgs, serve};
pub use summary::{SummaryArgs, summary};
pub use table::{Format, Table};
