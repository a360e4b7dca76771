//! The thread pool of compiled models: a fixed number of workers and a static split of the work.
//!
//! Task `i` always runs on thread `i mod n_threads`, thread 0 being the caller's, so that a thread
//! finds in its caches what it wrote in the group of tasks before. Workers spin for a while between
//! groups, because groups of one run follow each other within microseconds, and park after it.
//!
//! Invariant: [`Pool::run`] returns after all tasks have; a job's pointers are not used behind it.

use crate::abi::{QccParallel, QccTask};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Rounds of spinning before a worker parks: some tens of microseconds.
const SPINS: u32 = 20_000;

/// Worker threads, waiting for groups of tasks.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One group at a time: sessions on several threads may share a pool.
    turn: Mutex<()>,
}

/// A group of tasks: `task(arg, i)` for `i` in `0..n`.
#[derive(Clone, Copy)]
struct Job {
    task: QccTask,
    arg: *mut c_void,
    n: usize,
}

struct Shared {
    /// Counts groups; a worker that sees a new number has a new job.
    generation: AtomicU64,
    /// The current job; written before `generation` changes, read after.
    job: Mutex<Option<Job>>,
    /// Workers that have not finished the current group.
    busy: AtomicUsize,
    stop: AtomicBool,
    n_threads: usize,
}

// SAFETY: `Job::arg` is only given to the task that came with it, whose contract (`QccTask`) is to
// be called from any thread.
unsafe impl Send for Job {}

impl Pool {
    /// A pool of `n_threads` threads in all, the caller's among them.
    ///
    /// # Errors
    /// The operating system gives no more threads.
    pub fn new(n_threads: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            job: Mutex::new(None),
            busy: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            n_threads: n_threads.max(1),
        });
        let mut pool = Pool { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for me in 1..n_threads.max(1) {
            let shared = pool.shared.clone();
            let builder = std::thread::Builder::new().name(format!("qcc-{me}"));
            pool.workers.push(builder.spawn(move || shared.work(me))?);
        }
        Ok(pool)
    }
    /// Threads that run tasks, the caller's among them.
    pub fn n_threads(&self) -> usize {
        self.shared.n_threads
    }
    /// The pool as compiled code sees it; valid as long as the pool is.
    pub fn as_parallel(&self) -> QccParallel {
        QccParallel {
            ctx: std::ptr::from_ref(self).cast_mut().cast(),
            n_threads: self.n_threads() as i32,
            parallel_for: Some(parallel_for),
        }
    }

    /// Runs `task(arg, i)` for `i` in `0..n`, each once, and returns when all have run.
    ///
    /// # Safety
    /// `task` may be called with `arg` and any of these numbers from any thread, at the same time.
    pub unsafe fn run(&self, n: usize, task: QccTask, arg: *mut c_void) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let job = Job { task, arg, n };
        let shared = &*self.shared;
        *shared.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        shared.busy.store(self.workers.len(), Ordering::Relaxed);
        shared.generation.fetch_add(1, Ordering::Release);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        // SAFETY: the caller's promise.
        unsafe { job.run_share(0, shared.n_threads) };
        let mut spins = 0u32;
        while shared.busy.load(Ordering::Acquire) > 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.generation.fetch_add(1, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker that panicked has already said so; there is nothing to add.
            let _ = worker.join();
        }
    }
}

impl Job {
    /// Tasks `me`, `me + step`, ….
    ///
    /// # Safety
    /// As [`Pool::run`].
    unsafe fn run_share(&self, me: usize, step: usize) {
        for i in (me..self.n).step_by(step) {
            // SAFETY: the caller's promise.
            unsafe { (self.task)(self.arg, i as i32) };
        }
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self, me: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait(seen);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let job = *self.job.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(job) = job {
                // SAFETY: `Pool::run` promised, and waits until `busy` is 0.
                unsafe { job.run_share(me, self.n_threads) };
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }
    /// Waits for a generation other than `seen`.
    fn wait(&self, seen: u64) -> u64 {
        let mut spins = 0u32;
        loop {
            let now = self.generation.load(Ordering::Acquire);
            if now != seen {
                return now;
            }
            spins += 1;
            match spins {
                0..SPINS => std::hint::spin_loop(),
                // `unpark` leaves a token: a group that starts now ends the wait.
                _ => std::thread::park(),
            }
        }
    }
}

/// `parallel_for` of [`Pool::as_parallel`].
unsafe extern "C" fn parallel_for(
    ctx: *mut c_void,
    n: i32,
    task: Option<QccTask>,
    arg: *mut c_void,
) {
    // SAFETY: `as_parallel` made `ctx` from a pool that is still alive.
    let pool = unsafe { &*ctx.cast::<Pool>() };
    if let Some(task) = task {
        // SAFETY: the caller of `parallel_for` makes this promise (contract of `QccParallelFor`).
        unsafe { pool.run(usize::try_from(n).unwrap_or(0), task, arg) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn add_one(arg: *mut c_void, i: i32) {
        // SAFETY: the tests pass a slice of counters that has an element `i`.
        let counter = unsafe { &*arg.cast::<AtomicUsize>().add(i as usize) };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(pool: &Pool, n: usize, rounds: usize) -> Vec<usize> {
        let counters: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
        for _ in 0..rounds {
            // SAFETY: `add_one` touches atomics only, one per task.
            unsafe { pool.run(n, add_one, counters.as_ptr().cast_mut().cast()) };
        }
        counters.iter().map(|c| c.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn every_task_runs_once_per_group() {
        for n_threads in 1..=4 {
            let pool = Pool::new(n_threads).unwrap();
            assert_eq!(pool.n_threads(), n_threads);
            for n in [0, 1, 2, 3, 7] {
                assert_eq!(counts(&pool, n, 100), vec![100; n], "{n_threads} threads");
            }
        }
    }

    #[test]
    fn parked_workers_wake_up() {
        let pool = Pool::new(2).unwrap();
        assert_eq!(counts(&pool, 2, 1), [1, 1]);
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(counts(&pool, 2, 1), [1, 1]);
    }

    #[test]
    fn two_callers_share_a_pool() {
        let pool = Pool::new(2).unwrap();
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| assert_eq!(counts(&pool, 3, 500), [500, 500, 500]));
            }
        });
    }

    #[test]
    fn compiled_code_calls_through_the_c_structure() {
        let pool = Pool::new(2).unwrap();
        let c = pool.as_parallel();
        assert_eq!(c.n_threads, 2);
        let counters: Vec<AtomicUsize> = (0..5).map(|_| AtomicUsize::new(0)).collect();
        let arg = counters.as_ptr().cast_mut().cast();
        // SAFETY: as in `counts`; the pool outlives the call.
        unsafe { c.parallel_for.unwrap()(c.ctx, 5, Some(add_one), arg) };
        assert!(counters.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}
