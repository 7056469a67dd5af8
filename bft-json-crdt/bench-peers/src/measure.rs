//! What a piece of work costs: process CPU time over all threads, wall time, and the peak of the heap above where it began.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// The system's allocator, which counts when told to. Times are taken in runs that do not count, so that counting costs nobody time.
pub struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static HELD: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn add(size: usize) {
    let held = HELD.fetch_add(size as isize, Relaxed) + size as isize;
    PEAK.fetch_max(held, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ON.load(Relaxed) {
            add(layout.size());
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if ON.load(Relaxed) {
            add(layout.size());
        }
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if ON.load(Relaxed) {
            HELD.fetch_sub(layout.size() as isize, Relaxed);
        }
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if ON.load(Relaxed) {
            // As if it could not grow in place: mostly it cannot, and both blocks live for a moment then.
            add(size);
            HELD.fetch_sub(layout.size() as isize, Relaxed);
        }
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The CPU time of this process over all its threads, in nanoseconds.
pub fn cpu() -> u64 {
    // Linux brings the process's clock up to date only at a tick of the scheduler, every few milliseconds, or when a thread gives way.
    std::thread::yield_now();
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What one run of a piece of work cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// CPU time over all threads, nanoseconds.
    pub cpu: u64,
    /// Time on the wall, nanoseconds.
    pub wall: u64,
    /// Most bytes on the heap at once, above what was there at the beginning. 0 unless the run counts.
    pub heap: u64,
}

/// Takes one [`Reading`]: engines call `begin` when what they were given lies ready, and `end` when the result is there.
pub struct Meter {
    count: bool,
    started: Option<(u64, Instant)>,
    reading: Option<Reading>,
}

impl Meter {
    /// A meter; `count` for one that counts the heap, whose times are not to be used.
    pub fn new(count: bool) -> Self {
        Self { count, started: None, reading: None }
    }

    /// The work begins.
    pub fn begin(&mut self) {
        if self.count {
            HELD.store(0, Relaxed);
            PEAK.store(0, Relaxed);
            ON.store(true, Relaxed);
        }
        self.started = Some((cpu(), Instant::now()));
    }

    /// The work is done.
    ///
    /// # Panics
    /// If it did not begin.
    pub fn end(&mut self) {
        let (cpu_then, then) = self.started.take().expect("it began");
        let (cpu, wall) = (cpu() - cpu_then, then.elapsed().as_nanos() as u64);
        ON.store(false, Relaxed);
        self.reading = Some(Reading { cpu, wall, heap: PEAK.load(Relaxed).max(0) as u64 });
    }

    /// What was read, if the work was done.
    pub fn reading(&self) -> Option<Reading> {
        self.reading
    }
}
