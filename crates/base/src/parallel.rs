//! Our own threads for libtorch work.
//!
//! libtorch's OpenMP threads meet after every small operation, and a thread that waits there for a core that is
//! busy with something else makes an operation of half a millisecond take hundreds. Here every thread does a
//! large piece of work alone, with libtorch single-threaded inside of it.

use crate::device::threads;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use tch::Tensor;

/// Tensors that several threads read at the same time.
///
/// `tch::Tensor` is `Send` but not `Sync`, so that [`map`] refuses a closure that refers to one. In `Shared` it may: as a
/// local value for the arguments of a function (`let y = Shared::new(y)`), and as the type of fields for the weights of a
/// network, which then is `Sync` by itself. Nothing but tensors goes in ([`Tensors`]); whatever else a closure refers to
/// has to be `Sync` by the rules of the language.
///
/// # Convention
/// Shared tensors are read. What threads write goes into tensors of their own, such as the pieces that [`cut`] makes for
/// [`for_each_mut`]. Rust does not enforce this, since every tensor hands out copies that share its memory
/// (`shallow_clone`, `narrow`) and that change in place; see `docs/decisions/013-sharing-tensors.md`.
///
/// ```
/// use smalti_base::parallel::{Shared, map};
/// let x = tch::Tensor::arange(6, tch::kind::FLOAT_CPU);
/// let shared = Shared::new(&x);
/// let doubled = map(6, |i| Ok(2.0 * shared.double_value(&[i as i64])))?;
/// assert_eq!(doubled, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
/// # Ok::<(), smalti_base::Error>(())
/// ```
///
/// A bare tensor, and anything else that is not `Sync`, is refused:
///
/// ```compile_fail,E0277
/// use smalti_base::parallel::map;
/// let x = tch::Tensor::arange(6, tch::kind::FLOAT_CPU);
/// let doubled = map(6, |i| Ok(2.0 * x.double_value(&[i as i64])))?;
/// # Ok::<(), smalti_base::Error>(())
/// ```
///
/// ```compile_fail,E0277
/// use smalti_base::parallel::Shared;
/// let counter = Shared::new(std::cell::Cell::new(0));
/// ```
pub struct Shared<T>(T);

/// Values that consist of tensors and nothing else: what can be [`Shared`].
pub trait Tensors: sealed::Holds {}

impl<T: sealed::Holds + ?Sized> Tensors for T {}

mod sealed {
    use tch::Tensor;

    pub trait Holds {}
    impl Holds for Tensor {}
    impl<T: Holds + ?Sized> Holds for &T {}
    impl<T: Holds> Holds for [T] {}
    impl<T: Holds, const N: usize> Holds for [T; N] {}
    impl<T: Holds> Holds for Vec<T> {}
    impl<T: Holds> Holds for Option<T> {}
    impl<A: Holds, B: Holds> Holds for (A, B) {}
}

// SAFETY: by `Tensors`, threads get at `&Tensor` and at nothing else that is not `Sync`. A tensor of tch is a pointer to
// libtorch's counted object, the count is atomic, and no method changes the pointer through `&Tensor`. So whatever a thread
// does with the `&Tensor` it could do just as well with a `shallow_clone` of its own, made before and sent to it, which tch
// allows (`Tensor: Send`): sharing adds nothing to what threads can do. Operations of libtorch that only read
// tensors, or record them in a graph, may run at the same time.
#[allow(unsafe_code)]
unsafe impl<T: Tensors> Sync for Shared<T> {}

impl<T: Tensors> Shared<T> {
    /// `tensors`, to be read by several threads.
    pub const fn new(tensors: T) -> Self {
        Self(tensors)
    }

    /// The tensors.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn pool() -> Result<&'static rayon::ThreadPool> {
    static POOL: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    let build = || {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads());
        builder.start_handler(|_| tch::set_num_threads(1)).build().ok()
    };
    POOL.get_or_init(build).as_ref().ok_or_else(|| {
        Error::value("worker threads", "some that the system can start", "none; close other programs")
    })
}

/// `f`, with all of its work on rayon's current pool (such as that of the kernels without libtorch) done by the threads
/// that [`map`] uses, as many as the user asked for.
///
/// # Errors
/// [`Error::Value`] where the system starts no threads.
pub fn install<R: Send>(f: impl FnOnce() -> R + Send) -> Result<R> {
    Ok(pool()?.install(f))
}

/// `f`, with libtorch's own threads inside of its operations, as many as the user asked for: for few large operations
/// that depend on one another, such as those of a network on one large image. From within [`map`], whose threads are
/// all there are, operations stay on one.
pub fn in_operations<R>(f: impl FnOnce() -> R) -> R {
    struct Back(i32);
    impl Drop for Back {
        fn drop(&mut self) {
            tch::set_num_threads(self.0);
        }
    }
    if rayon::current_thread_index().is_some() {
        return f();
    }
    let _back = Back(tch::get_num_threads());
    tch::set_num_threads(workers() as i32);
    f()
}

/// Number of threads that [`map`] spreads its work over.
pub fn workers() -> usize {
    threads()
}

/// `f(0), ..., f(n - 1)`, computed by several threads, in order.
///
/// Gradients are off in `f`. It reads tensors that are [`Shared`]; where it is to write into parts of a tensor, use
/// [`for_each_mut`] of what [`cut`] gives.
///
/// # Errors
/// The error of the first call, by number, that fails.
///
/// A counter in a `Cell`, which would lose counts, is refused; an atomic one is not:
///
/// ```compile_fail,E0277
/// let calls = std::cell::Cell::new(0);
/// smalti_base::parallel::map(8, |_| Ok(calls.set(calls.get() + 1)))?;
/// # Ok::<(), smalti_base::Error>(())
/// ```
///
/// ```
/// let calls = std::sync::atomic::AtomicUsize::new(0);
/// smalti_base::parallel::map(8, |_| Ok(calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))?;
/// assert_eq!(calls.into_inner(), 8);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub fn map<R: Send>(n: usize, f: impl Fn(usize) -> Result<R> + Sync) -> Result<Vec<R>> {
    if n <= 1 || threads() == 1 {
        let _no_grad = tch::no_grad_guard();
        return (0..n).map(f).collect();
    }
    let guarded = |i: usize| {
        let _no_grad = tch::no_grad_guard();
        f(i)
    };
    let results: Vec<Result<R>> = pool()?.install(|| (0..n).into_par_iter().map(guarded).collect());
    results.into_iter().collect()
}

/// `f` of every item, by several threads: the results, in order. What [`map`] says about gradients and shared tensors
/// holds here, too.
///
/// # Errors
/// The error of the first item, in order, that fails.
///
/// Items go to other threads, so they must be `Send`: tensors are, references to tensors are not.
///
/// ```compile_fail,E0277
/// let x = tch::Tensor::zeros([3], tch::kind::FLOAT_CPU);
/// smalti_base::parallel::map_mut(&mut [&x, &x], |x| Ok(x.numel()))?;
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub fn map_mut<T: Send, R: Send>(items: &mut [T], f: impl Fn(&mut T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let guarded = |item: &mut T| {
        let _no_grad = tch::no_grad_guard();
        f(item)
    };
    if items.len() <= 1 || threads() == 1 {
        return items.iter_mut().map(guarded).collect();
    }
    let results: Vec<Result<R>> = pool()?.install(|| items.par_iter_mut().map(guarded).collect());
    results.into_iter().collect()
}

/// [`map_mut`] where there are no results.
///
/// # Errors
/// Those of [`map_mut`].
pub fn for_each_mut<T: Send>(items: &mut [T], f: impl Fn(&mut T) -> Result<()> + Sync) -> Result<()> {
    map_mut(items, f).map(drop)
}

/// For every piece `(start, length)` of the first axis, that part of every tensor, without a graph: items for
/// [`for_each_mut`], each a view that no other one overlaps, to be read or written in place. Of a tensor whose elements
/// may share memory, as those of an expanded one, parts are copies: they are to be read.
///
/// # Errors
/// [`Error::Value`] where pieces overlap, are not in order, or begin before the first row; those of libtorch where a
/// tensor has no such rows.
pub fn cut<const N: usize>(tensors: [&Tensor; N], pieces: &[(i64, i64)]) -> Result<Vec<[Tensor; N]>> {
    if let Some(piece) = pieces.iter().find(|(start, length)| *start < 0 || *length < 0) {
        return Err(Error::value(
            "piece of a tensor",
            "a start and a length of at least 0",
            format!("{piece:?}"),
        ));
    }
    if let Some(two) = pieces.windows(2).find(|two| two[1].0 - two[0].0 < two[0].1) {
        return Err(Error::value("pieces of a tensor", "one after the other", format!("{two:?}")));
    }
    let _no_grad = tch::no_grad_guard();
    let piece = |&(start, length): &(i64, i64)| {
        let part = |t: &&Tensor| -> Result<Tensor> {
            let view = t.f_narrow(0, start, length)?;
            if !overlaps_itself(t) {
                return Ok(view);
            }
            let mut copy = Tensor::f_empty(view.size(), (view.kind(), view.device()))?;
            copy.f_copy_(&view)?;
            Ok(copy)
        };
        let views = tensors.iter().map(part).collect::<Result<Vec<_>>>()?;
        <[Tensor; N]>::try_from(views).map_err(|views| Error::shape("views", N, views.len()))
    };
    pieces.iter().map(piece).collect()
}

/// Whether elements of a tensor may share memory: along some axis, the next element lies within what the axes of
/// smaller strides reach over.
fn overlaps_itself(t: &Tensor) -> bool {
    let mut axes: Vec<(i64, i64)> = t.stride().into_iter().zip(t.size()).filter(|axis| axis.1 > 1).collect();
    axes.sort_unstable();
    let mut reach = 0;
    axes.iter().any(|(stride, size)| {
        let within = *stride <= reach;
        reach += stride * (size - 1);
        within
    })
}

#[cfg(test)]
mod tests {
    use super::{Shared, cut, for_each_mut, in_operations, install, map, workers};
    use crate::Error;
    use tch::Tensor;

    #[test]
    fn results_come_in_order_and_the_first_error_wins() {
        let x = Shared::new(Tensor::arange(100, tch::kind::FLOAT_CPU));
        let sums = map(10, |i| Ok(x.narrow(0, 10 * i as i64, 10).sum(tch::Kind::Float).double_value(&[])));
        let sums = sums.unwrap();
        assert_eq!((sums[0], sums[9], sums.len()), (45.0, 945.0, 10));
        let failing = |i: usize| if i >= 3 { Err(Error::value("i", "below 3", i)) } else { Ok(i) };
        assert!(map(8, failing).unwrap_err().to_string().contains("got 3"));
    }

    #[test]
    fn pieces_of_tensors_are_written_in_place_and_do_not_overlap() {
        let (x, y) = (Tensor::arange(10, tch::kind::FLOAT_CPU), Tensor::zeros([10], tch::kind::FLOAT_CPU));
        let mut pieces = cut([&x, &y], &[(0, 3), (3, 3), (7, 3)]).unwrap();
        for_each_mut(&mut pieces, |[x, y]| Ok(y.f_copy_(x)?)).unwrap();
        assert_eq!(Vec::<f32>::try_from(&y).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 7.0, 8.0, 9.0]);
        for wrong in [&[(-3, 3), (0, 10)][..], &[(0, 3), (2, 3)][..], &[(3, 3), (0, 3)], &[(8, 3)]] {
            assert!(cut([&x, &y], wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn pieces_of_expanded_tensors_share_no_memory() {
        let row = Tensor::arange(3, tch::kind::FLOAT_CPU);
        let windows = Tensor::arange(6, tch::kind::FLOAT_CPU).as_strided([4, 3], [1, 1], None);
        for x in [row.expand([4, 3], false), windows] {
            let values = x.contiguous();
            let mut pieces = cut([&x], &[(0, 1), (1, 1), (2, 2)]).unwrap();
            let read = Tensor::cat(&pieces.iter().map(|[x]| x).collect::<Vec<_>>(), 0);
            assert_eq!(read, values);
            for_each_mut(&mut pieces[..1], |[x]| Ok(x.f_fill_(7.0).map(drop)?)).unwrap();
            assert_eq!(pieces[1][0], values.narrow(0, 1, 1));
            assert_eq!(x, values);
        }
        // Transposed and strided ones are written in place.
        let x = Tensor::zeros([3, 8], tch::kind::FLOAT_CPU);
        let mut pieces = cut([&x.transpose(0, 1).slice(0, 0, None, 2)], &[(0, 2), (2, 2)]).unwrap();
        for_each_mut(&mut pieces, |[x]| Ok(x.f_fill_(1.0).map(drop)?)).unwrap();
        assert_eq!(x.sum(tch::Kind::Float).double_value(&[]), 12.0);
    }

    #[test]
    fn installed_work_sees_the_threads_that_were_asked_for() {
        assert_eq!(install(rayon::current_num_threads).unwrap(), workers());
        // Also from within the pool.
        let nested = map(3, |_| install(rayon::current_num_threads)).unwrap();
        assert_eq!(nested, [workers(); 3]);
    }

    #[test]
    fn operations_have_threads_of_their_own_for_a_while() {
        // The number of threads belongs to the thread that sets it.
        tch::set_num_threads(1);
        assert_eq!(in_operations(tch::get_num_threads), workers() as i32);
        assert_eq!(tch::get_num_threads(), 1);
        let inside = map(3, |_| Ok(in_operations(tch::get_num_threads))).unwrap();
        assert!(workers() == 1 || inside == [1; 3], "{inside:?}");
    }
}
