//! Code that is compiled for more than one instruction set, and picked at run time.

/// Runs `f` compiled for AVX2 and FMA where the processor has them.
///
/// Everything that `f` calls must be inlined into it (`#[inline(always)]`) to be compiled with it.
#[inline(always)]
pub fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,bmi2")]
        fn avx2<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the three features were just found on this processor.
            return unsafe { avx2(f) };
        }
    }
    f()
}
