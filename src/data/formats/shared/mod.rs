//! What the readers share.

pub mod completed;
pub mod csv_table;
pub mod graph;
pub mod ids;
pub mod lines;
pub mod mooc;
pub mod progress;
pub mod source;
pub mod time;
pub mod values;
