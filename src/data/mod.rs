//! Course data: formats, the prepared store, splits, negatives, synthetic data.
