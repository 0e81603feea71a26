//! The thin shell round the planners: queues, workers, execution, back-off, metrics.

pub(crate) mod execute;
pub(crate) mod feed;
pub(crate) mod metrics;
pub(crate) mod queue;
pub(crate) mod worker;
