//! Watches the files that inputs are read from.

use crate::credential::keeper::Keeper;

/// Watches for as long as the keeper lives; spawn it beside the keeper's own task.
pub async fn run(keeper: Keeper) {
    let mut files = keeper.files();
    while files.changed().await.is_ok() {}
}
