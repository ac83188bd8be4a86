//! Parallel loops over lists of tasks, on rayon's thread pool.
//!
//! Rayon compiles its splitting and stealing anew for every closure, which was 41 % of the time that LLVM spent on this
//! project. Here the loop over task numbers is compiled once and calls the closure through a reference; tasks are chunks
//! of thousands of elements, so the call costs nothing. The adaptors have rayon's names.

use rayon::prelude::*;

/// Calls `f(i)` for every i in 0..n, each as a task of its own.
#[inline(never)]
pub fn each(n: usize, f: &(dyn Fn(usize) + Sync)) {
    match n {
        0 => {}
        1 => f(0),
        _ => (0..n).into_par_iter().with_max_len(1).for_each(f),
    }
}

/// Elements of a list that are moved out or written one by one, each by one thread.
struct Slots<T>(*mut T);

// SAFETY: threads move values of T in and out, and no two threads use the same slot.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    fn slot(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}

/// Calls `f` with every task by value. Where it panics, tasks that have not begun are leaked.
pub fn for_each<T: Send>(mut tasks: Vec<T>, f: impl Fn(T) + Sync) {
    let (n, slots) = (tasks.len(), Slots(tasks.as_mut_ptr()));
    // SAFETY: no element is in the list any more, so dropping it frees memory and nothing else; the elements are owned by
    // the slots, of which each is read once.
    unsafe { tasks.set_len(0) };
    // SAFETY: i < n, so the slot holds a task, and `each` gives every i to one call.
    each(n, &|i| f(unsafe { slots.slot(i).read() }));
}

/// The results of `f` for every task, in the order of the tasks. Where it panics, results are leaked.
pub fn map<T: Send, R: Send>(mut tasks: Vec<T>, f: impl Fn(T) -> R + Sync) -> Vec<R> {
    let n = tasks.len();
    let mut results: Vec<R> = Vec::with_capacity(n);
    let (slots, written) = (Slots(tasks.as_mut_ptr()), Slots(results.as_mut_ptr()));
    // SAFETY: as in `for_each`.
    unsafe { tasks.set_len(0) };
    // SAFETY: i < n, so the task is there and the place lies in the capacity; every i is given to one call.
    each(n, &|i| unsafe { written.slot(i).write(f(slots.slot(i).read())) });
    // SAFETY: `each` has returned, so all n results are written.
    unsafe { results.set_len(n) };
    results
}

/// What rayon's prelude offers, as far as it is used here, for tasks that are listed before they are run.
pub mod prelude {
    use std::iter::{Enumerate, Zip};
    use std::slice;

    /// An iterator over tasks.
    pub struct Tasks<I>(I);

    impl<I: Iterator> IntoIterator for Tasks<I> {
        type Item = I::Item;
        type IntoIter = I;

        fn into_iter(self) -> I {
            self.0
        }
    }

    impl<I: Iterator<Item: Send>> Tasks<I> {
        pub fn zip<J: IntoIterator>(self, other: J) -> Tasks<Zip<I, J::IntoIter>> {
            Tasks(self.0.zip(other))
        }

        pub fn enumerate(self) -> Tasks<Enumerate<I>> {
            Tasks(self.0.enumerate())
        }

        pub fn for_each(self, f: impl Fn(I::Item) + Sync) {
            super::for_each(self.0.collect(), f)
        }

        pub fn map<R: Send, F: Fn(I::Item) -> R + Sync>(self, f: F) -> Mapped<I, F> {
            Mapped(self.0, f)
        }
    }

    pub struct Mapped<I, F>(I, F);

    impl<I: Iterator<Item: Send>, F> Mapped<I, F> {
        pub fn collect<R: Send>(self) -> Vec<R>
        where
            F: Fn(I::Item) -> R + Sync,
        {
            super::map(self.0.collect(), self.1)
        }
    }

    pub trait IntoTasks: IntoIterator + Sized {
        fn into_par_iter(self) -> Tasks<Self::IntoIter> {
            Tasks(self.into_iter())
        }
    }

    impl<T> IntoTasks for Vec<T> {}
    impl IntoTasks for std::ops::Range<usize> {}

    pub trait SliceTasks<T> {
        fn par_chunks(&self, len: usize) -> Tasks<slice::Chunks<'_, T>>;
        fn par_chunks_mut(&mut self, len: usize) -> Tasks<slice::ChunksMut<'_, T>>;
        fn par_iter(&self) -> Tasks<slice::Iter<'_, T>>;
        fn par_iter_mut(&mut self) -> Tasks<slice::IterMut<'_, T>>;
    }

    impl<T> SliceTasks<T> for [T] {
        fn par_chunks(&self, len: usize) -> Tasks<slice::Chunks<'_, T>> {
            Tasks(self.chunks(len))
        }

        fn par_chunks_mut(&mut self, len: usize) -> Tasks<slice::ChunksMut<'_, T>> {
            Tasks(self.chunks_mut(len))
        }

        fn par_iter(&self) -> Tasks<slice::Iter<'_, T>> {
            Tasks(self.iter())
        }

        fn par_iter_mut(&mut self) -> Tasks<slice::IterMut<'_, T>> {
            Tasks(self.iter_mut())
        }
    }
}
