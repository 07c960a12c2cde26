//! Work on several layers at the same time.

use std::sync::Mutex;
use std::thread;
use std::vec::Vec;

/// The results of `work` for every item, in the order of the items, computed by as many threads as
/// the machine has.
pub(crate) fn map<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let items: Vec<T> = items.into_iter().collect();
    let count = items.len();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let waiting = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no panic while locked").next();
                    let Some((index, item)) = next else { break };
                    let result = work(item);
                    done.lock()
                        .expect("no panic while locked")
                        .push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic while locked");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
