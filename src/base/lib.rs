//! What every part of waata stands on: the error type, random numbers, parallel loops, files and what the
//! operating system says of this process. Knows neither tensors nor courses.

mod error;
pub mod files;
mod mapped;
pub mod parallel;
pub mod random;
pub mod simd;
pub mod system;

pub use error::{Error, Result};
pub use mapped::Mapped;
pub use random::Philox;
