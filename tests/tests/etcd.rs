//! etcd's API as clients of others meet it: the real etcdctl, a client library, and the requests
//! that kube-apiserver makes.

#[path = "etcd/apiserver.rs"]
mod apiserver;
#[path = "etcd/etcdctl.rs"]
mod etcdctl;
#[path = "etcd/library.rs"]
mod library;
#[path = "etcd/shared.rs"]
mod shared;
