//! Training by burn-train, after a recipe.

mod adam;
mod answers;
mod divergence;
mod epoch;
mod interruption;
mod logs;
mod progress;
mod recipe;
mod saving;
mod session;
mod training;

pub use adam::OnePassAdam;
pub use divergence::Diverged;
pub use epoch::Epoch;
pub use recipe::{PruningSchedule, Recipe, RecipeName, Schedule};
pub use saving::load_weights;
pub use training::accuracy;

pub(crate) use logs::{TRAIN, VALID};
pub(crate) use saving::{CHECKPOINTS, save_weights};
pub(crate) use session::{LostLogs, Session, last_checkpoint};
pub(crate) use training::Teacher;
