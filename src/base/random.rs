//! Counter-based random numbers: Philox4x32-10 (Salmon et al., SC'11).
//!
//! A number depends on (seed, stream, counter) alone, never on the order in which numbers are drawn, so any
//! thread, device or resumed run draws the same ones. `kernels/common.cuh` holds the same function.

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// Ten rounds over one 128-bit counter.
#[inline]
pub fn philox4x32(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut k0, mut k1] = key;
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    for round in 0..10 {
        if round > 0 {
            k0 = k0.wrapping_add(W0);
            k1 = k1.wrapping_add(W1);
        }
        let p0 = M0 as u64 * c0 as u64;
        let p1 = M1 as u64 * c2 as u64;
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
    }
    [c0, c1, c2, c3]
}

/// A family of numbers: `seed` is the run's, `stream` says what the numbers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    pub seed: u64,
    pub stream: u64,
}

impl Philox {
    pub fn new(seed: u64, stream: u64) -> Self {
        Philox { seed, stream }
    }

    /// Four 32-bit numbers for one counter.
    #[inline]
    pub fn block(&self, counter: u64) -> [u32; 4] {
        philox4x32(
            [self.seed as u32, (self.seed >> 32) as u32],
            [counter as u32, (counter >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32],
        )
    }

    /// Number `index` of the family: four consecutive indices share one block.
    #[inline]
    pub fn u32_at(&self, index: u64) -> u32 {
        self.block(index / 4)[(index % 4) as usize]
    }

    /// Uniform in [0, 1) with 24 bits, exact in f32.
    #[inline]
    pub fn uniform_at(&self, index: u64) -> f32 {
        to_unit(self.u32_at(index))
    }

    /// Uniform in 0..n (n > 0), by multiply-shift; the bias is below n / 2^64.
    #[inline]
    pub fn below_at(&self, index: u64, n: u32) -> u32 {
        let [a, b, ..] = self.block(index);
        let wide = (a as u64) << 32 | b as u64;
        ((wide as u128 * n as u128) >> 64) as u32
    }

    /// A standard normal number (Box-Muller on block `index`).
    pub fn normal_at(&self, index: u64) -> f64 {
        let [a, b, ..] = self.block(index);
        let u = (a as f64 + 1.0) / 4_294_967_296.0;
        let v = b as f64 / 4_294_967_296.0;
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Fisher-Yates with numbers of this family.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let wide = self.block(i as u64);
            let wide = (wide[0] as u64) << 32 | wide[1] as u64;
            let j = ((wide as u128 * (i as u128 + 1)) >> 64) as usize;
            items.swap(i, j);
        }
    }
}

#[inline]
pub fn to_unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known-answer vectors of the Random123 distribution.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox4x32([0; 2], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox4x32([!0; 2], [!0; 4]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox4x32([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut v: Vec<u32> = (0..1000).collect();
        Philox::new(1, 2).shuffle(&mut v);
        assert_ne!(v, (0..1000).collect::<Vec<_>>());
        v.sort();
        assert_eq!(v, (0..1000).collect::<Vec<_>>());
    }
}
