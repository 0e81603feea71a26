//! Openraft's own suite of storage tests, on our log and state.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};

use super::StateMachine;
use crate::{
    log::{Durable, LogStore},
    raft_types::TypeConfig,
};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let log = LogStore::open(&folder.path().join("log")).unwrap();
        let (shared, machine, entry) = super::open(folder.path()).unwrap();
        // The suite applies entries that it never appends.
        let machine = StateMachine::new(shared, machine, entry, Durable::unlimited());
        Ok((folder, log, machine))
    }
}

#[tokio::test]
async fn openraft_storage_suite() {
    Suite::<TypeConfig, LogStore, StateMachine, Builder, tempfile::TempDir>::test_all(Builder)
        .await
        .unwrap();
}
