//! One change of one object, as controllers are woken by it.
//!
//! A change decides only which keys to look at again; plans never see it.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Node, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kontiki_api::{Object, slim::Pod};

use super::{
    Cached, CertificateSigningRequest, ClusterRole, Endpoints, IPAddress, Job, Kind,
    PersistentVolume, PersistentVolumeClaim, PodDisruptionBudget, ReplicationController, Secret,
    ServiceCIDR, StatefulSet, Table, VolumeAttributesClass, World,
};

/// An object before and after.
#[derive(Debug)]
pub struct Delta<'a, T> {
    /// Before; `None` if it is new.
    pub old: Option<&'a T>,
    /// After; `None` if it is gone.
    pub new: Option<&'a T>,
}

impl<T> Clone for Delta<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Delta<'_, T> {}

impl<'a, T> Delta<'a, T> {
    /// Both sides that exist, the new one first.
    pub fn sides(&self) -> impl Iterator<Item = &'a T> + use<'a, T> {
        [self.new, self.old].into_iter().flatten()
    }

    /// The newest side there is.
    pub fn latest(&self) -> Option<&'a T> {
        self.new.or(self.old)
    }
}

macro_rules! changes {
    ($($kind:ident $table:ident;)*) => {
        /// A change of one object.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "the variants are the Kubernetes kinds themselves")]
        pub enum Change<'a> {
            $($kind(Delta<'a, $kind>),)*
            /// Of a kind of which only metadata is kept.
            Other(Kind, Delta<'a, ObjectMeta>),
        }

        impl<'a> Change<'a> {
            /// The changed object's kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Change::$kind(_) => Kind::$kind,)*
                    Change::Other(kind, _) => *kind,
                }
            }

            /// Its metadata before and after.
            pub fn metadata(&self) -> Delta<'a, ObjectMeta> {
                match self {
                    $(Change::$kind(delta) => Delta {
                        old: delta.old.map(Object::metadata),
                        new: delta.new.map(Object::metadata),
                    },)*
                    Change::Other(_, delta) => *delta,
                }
            }
        }

        $(impl Cached for $kind {
            const CACHED_KIND: Kind = Kind::$kind;
            fn table(world: &World) -> &Table<Self> {
                &world.$table
            }
            fn table_mut(world: &mut World) -> &mut Table<Self> {
                &mut world.$table
            }
            fn change(delta: Delta<'_, Self>) -> Change<'_> {
                Change::$kind(delta)
            }
        })*
    };
}

changes! {
    CertificateSigningRequest signing_requests;
    ClusterRole cluster_roles;
    ConfigMap config_maps;
    Deployment deployments;
    Endpoints endpoints;
    EndpointSlice endpoint_slices;
    IPAddress addresses;
    Job jobs;
    Lease leases;
    Namespace namespaces;
    Node nodes;
    PersistentVolume volumes;
    PersistentVolumeClaim claims;
    Pod pods;
    PodDisruptionBudget budgets;
    ReplicaSet replica_sets;
    ReplicationController replication_controllers;
    Secret secrets;
    Service services;
    ServiceCIDR service_ranges;
    StatefulSet stateful_sets;
    VolumeAttributesClass attribute_classes;
}
