//! Endpoints that do something of their own, below objects and instead of them: one row each.
//!
//! `status` is not among them, nor is `approval` and the like: they are parts of the object, which
//! every verb knows to write by themselves.

mod binding;
mod component_statuses;
mod container;
mod eviction;
mod finalize;
mod log;
mod proxy;
mod scale;
mod stream;
mod token;

use std::{future::Future, pin::Pin, sync::Arc};

use http::Response;
use kontiki_api::Status;

use crate::{answer::Body, core::Core, exchange::Exchange, request_info::RequestInfo};

type ServeFuture<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send + 'a>>;

/// One row of the table.
pub struct Subresource {
    /// API group; `*` is any.
    group: &'static str,
    /// Plural resource name; `*` is any.
    resource: &'static str,
    /// Name; empty if the whole resource is meant.
    name: &'static str,
    /// Verbs.
    verbs: &'static [&'static str],
    /// What it does.
    pub serve: for<'a> fn(&'a Arc<Core>, &'a mut Exchange) -> ServeFuture<'a>,
}

static TABLE: &[Subresource] = &[
    Subresource {
        group: "",
        resource: "bindings",
        name: "",
        verbs: &["create"],
        serve: binding::serve,
    },
    Subresource {
        group: "",
        resource: "componentstatuses",
        name: "",
        verbs: &["get", "list"],
        serve: component_statuses::serve,
    },
    Subresource {
        group: "",
        resource: "namespaces",
        name: "finalize",
        verbs: &["update"],
        serve: finalize::serve,
    },
    Subresource {
        group: "",
        resource: "pods",
        name: "attach",
        verbs: &["create", "get"],
        serve: stream::serve,
    },
    Subresource {
        group: "",
        resource: "pods",
        name: "binding",
        verbs: &["create"],
        serve: binding::serve,
    },
    Subresource {
        group: "",
        resource: "pods",
        name: "eviction",
        verbs: &["create"],
        serve: eviction::serve,
    },
    Subresource {
        group: "",
        resource: "pods",
        name: "exec",
        verbs: &["create", "get"],
        serve: stream::serve,
    },
    Subresource { group: "", resource: "pods", name: "log", verbs: &["get"], serve: log::serve },
    Subresource {
        group: "",
        resource: "pods",
        name: "portforward",
        verbs: &["create", "get"],
        serve: stream::serve,
    },
    Subresource {
        group: "",
        resource: "serviceaccounts",
        name: "token",
        verbs: &["create"],
        serve: token::serve,
    },
    Subresource {
        group: "",
        resource: "*",
        name: "proxy",
        verbs: &["", "create", "delete", "get", "patch", "update"],
        serve: proxy::serve,
    },
    Subresource {
        group: "*",
        resource: "*",
        name: "scale",
        verbs: &["get", "patch", "update"],
        serve: scale::serve,
    },
];

/// The row of a request, if it has one.
pub fn find(info: &RequestInfo) -> Option<&'static Subresource> {
    let is = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    TABLE.iter().find(|row| {
        row.name == info.subresource
            && is(row.group, &info.group)
            && is(row.resource, &info.resource)
            && row.verbs.contains(&info.verb)
    })
}

/// Whether the request is answered by some verb or subresource at all.
pub fn is_served(info: &RequestInfo) -> bool {
    matches!(info.subresource.as_str(), "" | "status")
        || crate::verbs::update::PARTS.contains(&info.subresource.as_str())
        || find(info).is_some()
}
