//! Every op, held three ways: its CPU backward against finite differences in f64; its kernels, run by the host
//! executor, against the CPU code; and, where this machine has a card, the card against the CPU code.
//!
//! A new op is one file here with a `cases()`: each case gives all three.

mod aggregate;

mod bce;
mod bi_interaction;
mod bottom;
mod bpr;
mod cast;
#[path = "../common/mod.rs"]
mod common;
mod concat;
mod dropout;
mod far;
mod far_graphs;
mod funnel;
mod gate;
mod gather;
mod graphs;
mod half;
mod harness;
mod linear;
mod mix;
mod mlp_bank;
mod normalize;
mod orthogonality;
mod planted;
mod query;
mod rank;
mod reduce;
mod relation_attention;
mod relation_mix;
mod row_dot;
mod scale_rows;
mod softmax_loss;
mod transd;
