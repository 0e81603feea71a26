//! The chaos suite: real clusters on one machine, broken on purpose.
//!
//! [`lab`] makes hosts out of namespaces and takes them away again; [`balancer`] and [`prober`]
//! stand in for the outside world: the one keeps clients connected while servers die, the other
//! asks at a steady rate and remembers every answer.

pub mod balancer;
pub mod lab;
pub mod prober;
