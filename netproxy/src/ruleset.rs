//! The node's nftables table: what is in it, and the text that changes it.
//!
//! One table, `inet kontiki`, whose size in chains does not depend on the number of services.
//! A packet takes one look-up by (address, protocol, port), which leads to a chain made for a number
//! of endpoints and shared by every service that has so many; that chain picks a slot at random, and
//! a look-up in the slot's own map by the same key gives the endpoint:
//!
//! ```text
//!   svc4        10.43.0.1 . tcp . 80 : goto svc4_o_3      svc4_o_3   mark for masquerade?; random of 3
//!   svc4_ep0    10.43.0.1 . tcp . 80 : 10.42.1.2 . 8080   svc4_slot0 dnat to @svc4_ep0
//!   svc4_ep1    10.43.0.1 . tcp . 80 : 10.42.2.2 . 8080   ...
//! ```
//!
//! So a change of a service is a change of a few map elements, in one transaction. Names: a group
//! (`svc`, `node`, and their `c…` twins for clients inside the cluster) and the address family.
//! The packet mark belongs to others; one bit of it asks for masquerade.

mod names;
mod structure;
mod table;

pub use self::{
    names::{Chain, Group, Key, Map, Value},
    structure::{MASQUERADE_BIT, Networks, TABLE},
    table::{Changes, Flow, Table},
};
