//! The product as its users meet it: processes, files, verbs, and the real kubectl.

#[path = "product/backups.rs"]
mod backups;
#[path = "product/bad_input.rs"]
mod bad_input;
#[path = "product/controllers.rs"]
mod controllers;
#[path = "product/demonstration.rs"]
mod demonstration;
#[path = "product/informers.rs"]
mod informers;
#[path = "product/manifests.rs"]
mod manifests;
#[path = "product/one_server.rs"]
mod one_server;
#[path = "product/python.rs"]
mod python;
#[path = "product/scheduling.rs"]
mod scheduling;
#[path = "product/store_bench.rs"]
mod store_bench;
#[path = "product/three_servers.rs"]
mod three_servers;
#[path = "product/verbs.rs"]
mod verbs;
