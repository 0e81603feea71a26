//! The API server on a real store: over real sockets, and in this process.

mod access;
mod deletes;
mod lists;
mod sockets;
mod support;
mod watches;
mod writes;
