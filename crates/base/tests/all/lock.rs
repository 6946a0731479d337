//! Locks name their holder, end with it, and are never on a file that is gone.
#![allow(clippy::unwrap_used)]

use smalti_base::lock::Lock;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn a_file_that_a_killed_process_left_is_no_lock() {
    let root = tempfile::tempdir().unwrap();
    let (path, place) = (root.path().join(".lock"), root.path().join("results"));
    std::fs::write(&path, "process 1 of long ago, whose name was longer than ours is\n").unwrap();
    let lock = Lock::acquire(&path, &place).unwrap();
    let line = Lock::acquire(&path, &place).unwrap_err().to_string();
    let us = format!("{}: is in use by process {}", place.display(), std::process::id());
    assert!(line.starts_with(&us) && !line.contains("long ago") && line.lines().count() == 1, "{line}");
    assert!(line.ends_with("; wait until that has ended, or choose another folder"), "{line}");
    drop(lock);
    assert!(!path.exists());
    let line = Lock::acquire(&root.path().join("nowhere/.lock"), &place).unwrap_err().to_string();
    assert!(line.starts_with(&place.display().to_string()) && line.contains("writing failed"), "{line}");
}

/// A file that is removed as it is locked by another must not let two in.
#[test]
fn at_any_time_one_holds_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(".lock");
    let (inside, times) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..2000 {
                    let Ok(lock) = Lock::acquire(&path, root.path()) else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    times.fetch_add(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert!(times.into_inner() > 3);
}
