//! The store as its users see it: real disks, real sockets, real time-outs.

#[path = "store/lab.rs"]
mod lab;
#[path = "store/single.rs"]
mod single;
