//! `launch!`: a kernel launch as CUDA C++ writes it, with the arguments in the order of the kernel's parameters.

use engine::device::{GpuBuffer, Launch};
use engine::{Index, Tensor};

/// What stands for a parameter: a tensor that is read (`&Tensor`) or written (`&mut Tensor`), either of which may be absent
/// (a null pointer), indices, a plain value, and `usize` for a 32-bit count, which is checked.
pub(crate) trait Argument {
    fn add_to(self, launch: Launch) -> Launch;
}

macro_rules! arguments {
    ($($type:ty: |$launch:ident, $x:ident| $push:expr;)*) => {$(
        impl Argument for $type {
            fn add_to(self, $launch: Launch) -> Launch {
                let $x = self;
                $push
            }
        }
    )*};
}

arguments! {
    &Tensor: |launch, x| launch.tensor(x);
    &mut Tensor: |launch, x| launch.tensor_mut(x);
    Option<&Tensor>: |launch, x| launch.optional(x);
    Option<&mut Tensor>: |launch, x| launch.optional_mut(x);
    &mut Option<Tensor>: |launch, x| launch.optional_mut(x.as_mut());
    &Index<u32>: |launch, x| launch.index(x);
    &Index<u64>: |launch, x| launch.index(x);
    &Index<i32>: |launch, x| launch.index(x);
    Option<&Index<u32>>: |launch, x| launch.optional_index(x);
    Option<&Index<u64>>: |launch, x| launch.optional_index(x);
    &mut GpuBuffer: |launch, x| launch.buffer(x);
    usize: |launch, x| launch.count(x);
    u64: |launch, x| launch.value(x);
    i32: |launch, x| launch.value(x);
    f32: |launch, x| launch.value(x);
    [u64; POINTERS]: |launch, x| launch.value(x);
}

/// Tensors of one `Pointers` parameter (`Pointers` of common.cuh).
pub(crate) const POINTERS: usize = 8;

/// `launch!(gpu, kernel, grid; argument, ...)`
macro_rules! launch {
    ($gpu:expr, $kernel:expr, $grid:expr; $($argument:expr),* $(,)?) => {{
        let launch = $gpu.launch($kernel, $grid);
        $(let launch = $crate::launch::Argument::add_to($argument, launch);)*
        launch.run()
    }};
}
pub(crate) use launch;

/// Up to eight addresses as one parameter, 0 where there is none.
pub(crate) fn pointers(addresses: impl IntoIterator<Item = u64>) -> [u64; POINTERS] {
    let mut all = [0; POINTERS];
    all.iter_mut().zip(addresses).for_each(|(to, address)| *to = address);
    all
}
