//! Every op, held three ways: its CPU backward against finite differences in f64; its kernels, run by the host
//! executor, against the CPU code; and, where this machine has a card, the card against the CPU code.
//!
//! A new op is one file here with a `cases()`: each case gives all three.

#[path = "../common/mod.rs"]
mod common;
mod harness;

mod linear;
mod transd;
mod topk;
mod softmax_loss;
mod gather;
mod bpr;
