//! The chaos suite: real clusters on one machine, broken on purpose.
//!
//! [`lab`] makes hosts out of namespaces and takes them away again; [`cluster`] runs the product on
//! them. [`balancer`] and [`prober`] stand in for the outside world: the one keeps clients connected
//! while servers die, the other asks at a steady rate and remembers every answer. [`scenario`] is
//! the demonstration that puts it all together, with [`view`] to see what the cluster says and
//! [`account`] to tell what happens.

pub mod account;
pub mod balancer;
pub mod cluster;
pub mod lab;
pub mod prober;
pub mod scenario;
pub mod view;
