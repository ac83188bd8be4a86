//! Every op, held three ways: its CPU backward against finite differences in f64; its kernels, run by the host
//! executor, against the CPU code; and, where this machine has a card, the card against the CPU code.
//!
//! A new op is one file here with a `cases()`: each case gives all three.

mod aggregate;
mod bce;
mod bi_interaction;
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
mod grouped_mlp;
mod half;
mod harness;
mod linear;
mod normalize;
mod orthogonality;
mod pair_features;
mod planted;
mod query;
mod reduce;
mod relation_attention;
mod relation_mix;
mod row_dot;
mod scale_rows;
mod softmax_loss;
mod softmax_mixture;
mod topk;
mod transd;
