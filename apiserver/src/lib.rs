//! The API server: the request pipeline, the registry of resources, the watch cache; the only room
//! that knows both Kubernetes and Raft.

pub mod registry;
pub mod schema;
pub mod strategy;
