//! The relay as clients meet it: in-process servers on ports of the system's choice, real sockets, real replicas, a real store.

mod blocks;
mod convergence;
mod follower;
mod fuzz_replay;
mod hello;
mod hostile;
mod limits;
mod pages;
mod support;
mod tls;
