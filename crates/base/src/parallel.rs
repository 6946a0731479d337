//! Our own threads for libtorch work.
//!
//! libtorch's OpenMP threads meet after every small operation, and a thread that waits there for a core that is
//! busy with something else makes an operation of half a millisecond take hundreds. Here every thread does a
//! large piece of work alone, with libtorch single-threaded inside of it.

use crate::device::threads;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::sync::OnceLock;

/// A value that threads may read at the same time.
///
/// Tensors are not `Sync` because tch can change them through a shared reference. Reading them from several
/// threads is safe in libtorch, whose reference counts are atomic: the closure given to [`map`] must not change
/// in place a tensor that another call of it reads.
struct Shared<T>(T);

// SAFETY: `map` and `for_each_mut` are the only users; their contract is the one above.
#[allow(unsafe_code)]
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> &T {
        &self.0
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
/// Gradients are off in `f`. `f` reads shared tensors freely, and writes only into tensors (or parts of them)
/// that no other call reads or writes.
///
/// # Errors
/// The error of the first call, by number, that fails.
pub fn map<R: Send>(n: usize, f: impl Fn(usize) -> Result<R>) -> Result<Vec<R>> {
    if n <= 1 || threads() == 1 {
        let _no_grad = tch::no_grad_guard();
        return (0..n).map(f).collect();
    }
    let f = Shared(f);
    pool()?.install(|| {
        let results: Vec<Result<R>> = (0..n)
            .into_par_iter()
            .map(|i| {
                let _no_grad = tch::no_grad_guard();
                (f.get())(i)
            })
            .collect();
        results.into_iter().collect()
    })
}

/// `f` of every item, by several threads. What [`map`] says about gradients and shared tensors holds here, too.
///
/// # Errors
/// The error of the first item, in order, that fails.
pub fn for_each_mut<T: Send>(items: &mut [T], f: impl Fn(&mut T) -> Result<()>) -> Result<()> {
    let guarded = |item: &mut T| {
        let _no_grad = tch::no_grad_guard();
        f(item)
    };
    if items.len() <= 1 || threads() == 1 {
        return items.iter_mut().try_for_each(guarded);
    }
    let f = Shared(guarded);
    let results: Vec<Result<()>> =
        pool()?.install(|| items.par_iter_mut().map(|item| (f.get())(item)).collect());
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{in_operations, install, map, workers};
    use crate::Error;
    use tch::Tensor;

    #[test]
    fn results_come_in_order_and_the_first_error_wins() {
        let x = Tensor::arange(100, tch::kind::FLOAT_CPU);
        let sums = map(10, |i| Ok(x.narrow(0, 10 * i as i64, 10).sum(tch::Kind::Float).double_value(&[])));
        let sums = sums.unwrap();
        assert_eq!((sums[0], sums[9], sums.len()), (45.0, 945.0, 10));
        let failing = |i: usize| if i >= 3 { Err(Error::value("i", "below 3", i)) } else { Ok(i) };
        assert!(map(8, failing).unwrap_err().to_string().contains("got 3"));
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
