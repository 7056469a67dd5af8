//! The real programs over real sockets, ports and disks. They prove the wiring; rules are tested where they live.

mod attacks;
mod connections;
mod crash;
mod dev_loop;
mod faults;
mod flow;
mod newcomer;
mod service;
mod tls;
