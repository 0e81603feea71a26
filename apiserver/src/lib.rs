//! The API server: the only room that knows both Kubernetes and Raft.
//!
//! ```text
//! server      sockets and callers in this process
//!   pipeline  every request, one ordered table of stages: who asks, whether they may, who answers
//!     verbs   create, get, list, watch, update, patch, delete: none of them knows a kind
//!       registry, strategy, schema   what is special about each kind
//!       admission                    steps that change or refuse objects
//!       cache                        every object as bytes, and a window of recent changes
//!       storage                      envelopes, keys and transactions on the replicated store
//! ```

pub mod admission;
pub mod answer;
pub mod audit;
pub mod authn;
pub mod authz;
mod bootstrap;
pub mod cache;
mod compaction;
pub mod core;
pub mod dial;
pub mod discovery;
mod endpoints;
pub mod exchange;
pub mod extension;
pub mod flowcontrol;
mod health;
pub mod kubelets;
pub mod metrics;
pub mod notes;
pub mod openapi;
pub mod options;
pub mod pipeline;
pub mod printers;
pub mod protobuf;
pub mod query;
mod quota;
pub mod registry;
pub mod request_info;
pub mod reviews;
pub mod schema;
pub mod server;
pub mod storage;
pub mod strategy;
pub mod streams;
pub mod subresources;
pub mod upgrade;
pub mod user;
pub mod verbs;

pub use answer::{Body, REVISION_HEADER};
pub use extension::Extension;
pub use options::{Options, Secrets};
pub use server::{ApiServer, Error, InProcess};
pub use user::UserInfo;
