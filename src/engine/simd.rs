//! Kernels of the CPU: bodies that are compiled for AVX-512, for AVX2 and for any machine, and picked at run time.
//!
//! A result may differ in its last bits between the three, which add in another order and fuse or do not fuse; it
//! never differs between runs or numbers of threads on one machine.

use super::parallel;
use super::real::Element;
use super::real::{DType, Real};

/// A body to be compiled for each instruction set. `run` and all that it calls are `#[inline(always)]`, without
/// closures: what is left out of line is compiled for any machine.
pub trait SimdWork {
    /// ISA: the instruction set, as the functions here want to know.
    fn run<const ISA: u8>(self);
}

/// No more than what every machine of its kind has.
pub const ANY: u8 = 0;
/// AVX2 and FMA.
const AVX2: u8 = 1;
const AVX512: u8 = 2;

/// The best instruction set that is known here and that the processor has.
#[inline(never)]
fn isa() -> u8 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2")
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        return if wide { AVX512 } else { AVX2 };
    }
    ANY
}

/// Runs `work` compiled for the best instruction set that is known here and that the processor has.
#[inline(always)]
pub fn simd(work: impl SimdWork) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
        fn avx512(work: impl SimdWork) {
            work.run::<AVX512>()
        }
        #[target_feature(enable = "avx2,fma,bmi2")]
        fn avx2(work: impl SimdWork) {
            work.run::<AVX2>()
        }
        match isa() {
            // SAFETY: `isa` has found these features on this processor.
            AVX512 => return unsafe { avx512(work) },
            // SAFETY: likewise.
            AVX2 => return unsafe { avx2(work) },
            _ => {}
        }
    }
    work.run::<ANY>()
}

/// Elements that are worked on side by side: one AVX-512 register, two of AVX2.
pub const LANES: usize = 16;

/// a b + c, rounded once where the instruction set does so.
#[inline(always)]
pub fn fma<const ISA: u8, T: Real>(a: T, b: T, c: T) -> T {
    if ISA == ANY { a * b + c } else { a.mul_add(b, c) }
}

/// Inner product of rows that may be stored in 16 bits.
#[inline(always)]
pub fn dot<const ISA: u8, A: Element, B: Element<Acc = A::Acc>>(a: &[A], b: &[B]) -> A::Acc {
    #[cfg(target_arch = "x86_64")]
    if A::DTYPE == DType::F32 && B::DTYPE == DType::F32 && ISA != ANY {
        // Left to the compiler, the reduction makes it cut the whole product into pairs of elements.
        let (a, b): (&[f32], &[f32]) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b));
        // SAFETY: `simd` runs bodies for an instruction set where the processor has it.
        let dot = unsafe { if ISA == AVX512 { x86::dot_avx512(a, b) } else { x86::dot_avx2(a, b) } };
        return bytemuck::cast::<[f32; 1], [A::Acc; 1]>([dot])[0];
    }
    parallel::dot(a, b)
}

/// y += alpha x
#[inline(always)]
pub fn axpy<const ISA: u8, S: Element>(alpha: S::Acc, x: &[S], y: &mut [S::Acc]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = fma::<ISA, S::Acc>(alpha, x.load(), *y);
    }
}

/// out = values. A row of whole registers goes past the cache, for rows that are not read soon: memory is then not read
/// to be written. Who has written so calls `fence` before others may read.
#[inline(always)]
pub fn stream<const ISA: u8, T: Real>(values: &[T], out: &mut [T]) {
    #[cfg(target_arch = "x86_64")]
    if T::DTYPE == DType::F32 && ISA == AVX512 {
        let (values, out): (&[f32], &mut [f32]) =
            (bytemuck::cast_slice(values), bytemuck::cast_slice_mut(out));
        // SAFETY: `simd` runs bodies for an instruction set where the processor has it.
        return unsafe { x86::stream_avx512(values, out) };
    }
    out.copy_from_slice(values);
}

/// Makes what `stream` wrote visible to who synchronizes with this thread later.
#[inline(always)]
pub fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence()
    };
}

/// e^v for every value; the length is a multiple of `LANES`.
#[inline(always)]
pub fn exponentials<T: Real>(values: &mut [T]) {
    for lanes in values.chunks_exact_mut(LANES) {
        for v in lanes {
            *v = v.fast_exp();
        }
    }
}

/// Independent chains of fused multiply-adds: enough to fill two units of four cycles' latency.
pub type Chains = [[f32; LANES]; 12];

/// Takes every element through `rounds` fused multiply-adds x = by x + plus that never leave the registers: the most
/// arithmetic that a thread can do.
pub fn multiply_adds(chains: &mut Chains, by: f32, plus: f32, rounds: usize) {
    simd(MultiplyAdds { chains, by, plus, rounds });
}

struct MultiplyAdds<'a> {
    chains: &'a mut Chains,
    by: f32,
    plus: f32,
    rounds: usize,
}

impl SimdWork for MultiplyAdds<'_> {
    #[inline(always)]
    fn run<const ISA: u8>(self) {
        let MultiplyAdds { chains, by, plus, rounds } = self;
        #[cfg(target_arch = "x86_64")]
        if ISA == AVX512 {
            // SAFETY: `simd` runs bodies for an instruction set where the processor has it.
            return unsafe { x86::multiply_adds_avx512(chains, by, plus, rounds) };
        }
        // Half of the chains' elements at a time: what registers of 256 bits hold.
        for half in [0, LANES / 2] {
            let mut sums = [[0.0; LANES / 2]; 12];
            for (sum, chain) in sums.iter_mut().zip(&*chains) {
                sum.copy_from_slice(&chain[half..][..LANES / 2]);
            }
            for _ in 0..rounds {
                for sum in &mut sums {
                    for x in sum {
                        *x = fma::<ISA, f32>(*x, by, plus);
                    }
                }
            }
            for (sum, chain) in sums.iter().zip(&mut *chains) {
                chain[half..][..LANES / 2].copy_from_slice(sum);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// The products of what is left behind the last whole register.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn dot_rest(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).fold(0.0, |sum, (&a, &b)| a.mul_add(b, sum))
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn sum(v: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
        let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
        let (mut low, mut high) = (_mm256_setzero_ps(), _mm256_setzero_ps());
        for (a, b) in a.iter().zip(b) {
            let (a, b): ([__m256; 2], [__m256; 2]) = (bytemuck::cast(*a), bytemuck::cast(*b));
            low = _mm256_fmadd_ps(a[0], b[0], low);
            high = _mm256_fmadd_ps(a[1], b[1], high);
        }
        sum(_mm256_add_ps(low, high)) + dot_rest(rest_a, rest_b)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    #[inline]
    pub fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
        let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
        let mut lanes = _mm512_setzero_ps();
        for (a, b) in a.iter().zip(b) {
            lanes = _mm512_fmadd_ps(bytemuck::cast(*a), bytemuck::cast(*b), lanes);
        }
        let eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps::<1>(lanes));
        sum(eight) + dot_rest(rest_a, rest_b)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    #[inline]
    pub fn multiply_adds_avx512(chains: &mut super::Chains, by: f32, plus: f32, rounds: usize) {
        let (by, plus) = (_mm512_set1_ps(by), _mm512_set1_ps(plus));
        let mut sums: [__m512; 12] = bytemuck::cast(*chains);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, by, plus);
            }
        }
        *chains = bytemuck::cast(sums);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    #[inline]
    pub fn stream_avx512(values: &[f32], out: &mut [f32]) {
        let ((values, rest), (blocks, tail)) = (values.as_chunks::<16>(), out.as_chunks_mut::<16>());
        if !rest.is_empty() || !blocks.as_ptr().cast::<f32>().cast::<__m512>().is_aligned() {
            blocks.copy_from_slice(values);
            return tail.copy_from_slice(rest);
        }
        for (values, block) in values.iter().zip(blocks) {
            // SAFETY: `block` is 64 bytes that are exclusively borrowed, aligned as just seen.
            unsafe { _mm512_stream_ps(block.as_mut_ptr(), bytemuck::cast(*values)) };
        }
    }
}
