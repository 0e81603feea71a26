//! The node as a whole: the machine ([`machine`]), its Node object ([`status`], pure, and
//! [`registration`]), its sign of life ([`lease`]), what earlier lives left ([`leftovers`]),
//! what is looked at for all pods at once ([`housekeeping`]), whom the kernel killed for memory
//! ([`out_of_memory`]), and what pods' workers share ([`context`]).

pub mod context;
pub mod housekeeping;
pub mod lease;
pub mod leftovers;
pub mod machine;
pub mod out_of_memory;
pub mod registration;
pub mod status;
