//! Server-side printing: `kubectl get` asks for a Table, and this is what stands in it.
//!
//! One file per kind, each a list of columns and a function from object to cells; the time is an
//! argument. Columns and cells are upstream's, because people and scripts read them.

mod binding;
mod certificate_signing_request;
mod config_map;
mod controller_revision;
mod cron_job;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod duration;
mod endpoint_slice;
mod endpoints;
mod event;
mod flow_control;
mod horizontal_pod_autoscaler;
mod ingress;
mod job;
mod lease;
mod namespace;
mod network;
mod node;
mod pod;
mod pod_disruption_budget;
mod pod_template;
mod policy;
mod replica_set;
mod replication_controller;
mod role;
mod scale;
mod secret;
mod service;
mod service_account;
mod stateful_set;
mod storage;
mod volume;
mod workload;

use jiff::Timestamp;
use kontiki_api::meta;
use serde_json::{Value, json};

pub use duration::age;

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// `string`, `integer` or `boolean`.
    pub kind: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

/// How objects of one kind are printed.
pub struct Printer {
    /// The columns.
    pub columns: &'static [Column],
    /// The cells of one object, as many as there are columns.
    pub cells: fn(&Value, Timestamp) -> Vec<Value>,
}

const fn column(name: &'static str) -> Column {
    Column { name, kind: "string", priority: 0 }
}

const fn number(name: &'static str) -> Column {
    Column { name, kind: "integer", priority: 0 }
}

const fn wide(name: &'static str) -> Column {
    Column { name, kind: "string", priority: 1 }
}

/// The table of printers, alphabetical by group and resource.
static PRINTERS: &[(&str, &str, Printer)] = &[
    ("", "bindings", PLAIN),
    ("", "componentstatuses", policy::COMPONENT),
    ("", "configmaps", config_map::PRINTER),
    ("", "endpoints", endpoints::PRINTER),
    ("", "events", event::PRINTER),
    ("", "limitranges", PLAIN),
    ("", "namespaces", namespace::PRINTER),
    ("", "nodes", node::PRINTER),
    ("", "persistentvolumeclaims", volume::CLAIM),
    ("", "persistentvolumes", volume::VOLUME),
    ("", "pods", pod::PRINTER),
    ("", "podtemplates", pod_template::PRINTER),
    ("", "replicationcontrollers", replication_controller::PRINTER),
    ("", "resourcequotas", policy::QUOTA),
    ("", "secrets", secret::PRINTER),
    ("", "serviceaccounts", service_account::PRINTER),
    ("", "services", service::PRINTER),
    ("apiextensions.k8s.io", "customresourcedefinitions", custom_resource_definition::PRINTER),
    ("apps", "controllerrevisions", controller_revision::PRINTER),
    ("apps", "daemonsets", daemon_set::PRINTER),
    ("apps", "deployments", deployment::PRINTER),
    ("apps", "replicasets", replica_set::PRINTER),
    ("apps", "statefulsets", stateful_set::PRINTER),
    ("autoscaling", "horizontalpodautoscalers", horizontal_pod_autoscaler::PRINTER),
    ("batch", "cronjobs", cron_job::PRINTER),
    ("batch", "jobs", job::PRINTER),
    ("certificates.k8s.io", "certificatesigningrequests", certificate_signing_request::PRINTER),
    ("coordination.k8s.io", "leases", lease::PRINTER),
    ("discovery.k8s.io", "endpointslices", endpoint_slice::PRINTER),
    ("events.k8s.io", "events", event::LATER),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", flow_control::SCHEMA),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", flow_control::LEVEL),
    ("networking.k8s.io", "ingressclasses", ingress::CLASS),
    ("networking.k8s.io", "ingresses", ingress::PRINTER),
    ("networking.k8s.io", "ipaddresses", network::ADDRESS),
    ("networking.k8s.io", "networkpolicies", network::POLICY),
    ("networking.k8s.io", "servicecidrs", network::RANGE),
    ("node.k8s.io", "runtimeclasses", policy::RUNTIME),
    ("policy", "poddisruptionbudgets", pod_disruption_budget::PRINTER),
    ("rbac.authorization.k8s.io", "clusterrolebindings", binding::PRINTER),
    ("rbac.authorization.k8s.io", "clusterroles", role::PRINTER),
    ("rbac.authorization.k8s.io", "rolebindings", binding::PRINTER),
    ("rbac.authorization.k8s.io", "roles", role::PRINTER),
    ("scheduling.k8s.io", "priorityclasses", policy::PRIORITY),
    ("storage.k8s.io", "csidrivers", storage::DRIVER),
    ("storage.k8s.io", "csinodes", storage::NODE),
    ("storage.k8s.io", "csistoragecapacities", storage::CAPACITY),
    ("storage.k8s.io", "storageclasses", storage::CLASS),
    ("storage.k8s.io", "volumeattachments", storage::ATTACHMENT),
    ("storage.k8s.io", "volumeattributesclasses", storage::ATTRIBUTES),
];

/// Prints any object that nothing better is known about.
const PLAIN: Printer =
    Printer { columns: &[column("Name"), column("Created At")], cells: plain_cells };

fn plain_cells(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![meta::name(object).into(), meta::text(object, "creationTimestamp").into()]
}

/// The printer of a resource, if it has one of its own.
pub fn find(group: &str, resource: &str) -> Option<&'static Printer> {
    let found = PRINTERS.iter().find(|(g, r, _)| (*g, *r) == (group, resource));
    found.map(|(_, _, printer)| printer)
}

/// The printer of the Scales of any resource.
pub static SCALE: Printer = scale::PRINTER;

/// The printer of a resource.
pub fn of(group: &str, resource: &str) -> &'static Printer {
    find(group, resource).unwrap_or(&PLAIN)
}

/// How much of each object a table's rows carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kubernetes'")]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

impl Printer {
    /// The table of some objects, in a version of `meta.k8s.io`.
    pub fn table(
        &self,
        objects: &[Value],
        include: IncludeObject,
        now: Timestamp,
        meta: &str,
    ) -> Value {
        let rows: Vec<Value> =
            objects.iter().map(|object| self.row(object, now, include, meta)).collect();
        json!({
            "kind": "Table",
            "apiVersion": meta,
            "metadata": {},
            "columnDefinitions": self.definitions(),
            "rows": rows,
        })
    }

    /// The definitions of the columns.
    pub fn definitions(&self) -> Value {
        let definition = |column: &Column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": if column.name == "Name" { "name" } else { "" },
                "description": "",
                "priority": column.priority,
            })
        };
        self.columns.iter().map(definition).collect()
    }

    /// One row.
    pub fn row(&self, object: &Value, now: Timestamp, include: IncludeObject, meta: &str) -> Value {
        let cells = (self.cells)(object, now);
        assert_eq!(cells.len(), self.columns.len(), "a cell for every column");
        let mut row = json!({ "cells": cells });
        match include {
            IncludeObject::None => {}
            IncludeObject::Metadata => {
                row["object"] = json!({
                    "kind": "PartialObjectMetadata",
                    "apiVersion": meta,
                    "metadata": object["metadata"],
                });
            }
            IncludeObject::Object => row["object"] = object.clone(),
        }
        row
    }
}

/// How long ago an object was created.
fn age_of(object: &Value, now: Timestamp) -> Value {
    age(meta::text(object, "creationTimestamp"), now).into()
}

#[cfg(test)]
mod tests;
