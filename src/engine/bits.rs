//! 64-bit values in f32 tensors, for checkpoints: sixteen bits a float, so that nothing is rounded.

use super::device::Device;
use super::tensor::Tensor;
use base::Result;

const PIECES: usize = 4;

/// One row of four floats per value.
pub fn store(values: impl Iterator<Item = u64>) -> Result<Tensor> {
    let pieces: Vec<f32> = values.flat_map(|v| (0..PIECES).map(move |i| (v >> (16 * i)) as u16 as f32)).collect();
    Tensor::new(&Device::Cpu, pieces.len() / PIECES, PIECES, &pieces)
}

/// The values that `store` was given.
pub fn load(tensor: &Tensor) -> Result<Vec<u64>> {
    let join = |four: &[f32]| four.iter().enumerate().fold(0, |v, (i, &p)| v | (p as u64) << (16 * i));
    Ok(tensor.to_vec()?.chunks_exact(PIECES).map(join).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let values = [0, 1, u64::MAX, 0.1f64.to_bits(), 1 << 40];
        assert_eq!(load(&store(values.into_iter()).unwrap()).unwrap(), values);
    }
}
