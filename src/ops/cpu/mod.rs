//! What the CPU code of several ops is made of.

pub(crate) mod rows;
pub(crate) mod scatter;
pub(crate) mod segment;
pub(crate) mod stream;
