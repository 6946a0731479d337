//! Child processes that do not outlive us.

use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All children of a run. Clones share them, so that a handler of Ctrl-C can end them all.
#[derive(Debug, Clone, Default)]
pub struct Children(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    next: u64,
    alive: Vec<(u64, Child)>,
}

/// A child; it is ended when this is dropped.
#[derive(Debug)]
pub struct Running {
    children: Children,
    number: u64,
}

impl Children {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the list as valid as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a child, to be written to and read from by the two pipes. It is put into a process group of its
    /// own: Ctrl-C reaches us alone, and we end it.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::Interrupted`] after [`Children::stop`].
    pub fn start(&self, mut command: Command) -> io::Result<(Running, ChildStdin, ChildStdout)> {
        let mut state = self.state();
        if state.stopped {
            return Err(io::ErrorKind::Interrupted.into());
        }
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let number = state.next;
        state.next += 1;
        state.alive.push((number, child));
        drop(state);
        let running = Running { children: self.clone(), number };
        match (stdin, stdout) {
            (Some(stdin), Some(stdout)) => Ok((running, stdin, stdout)),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends all children, and lets no other one start.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.alive.drain(..).for_each(|(_, child)| end(child));
    }

    /// Whether [`Children::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.state().stopped
    }

    /// Number of children that have not been ended.
    pub fn alive(&self) -> usize {
        self.state().alive.len()
    }

    /// Makes the first Ctrl-C a [`Children::stop`]; a second one ends this process at once (exit code 130).
    ///
    /// # Errors
    /// Where the process has another handler already.
    pub fn stop_on_ctrl_c(&self) -> Result<(), ctrlc::Error> {
        let children = self.clone();
        ctrlc::set_handler(move || {
            if children.stopped() {
                std::process::exit(130);
            }
            children.stop();
        })
    }
}

/// A child that has ended by itself is no fault here; either way none is left, not even as a zombie.
fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.children.state();
        if let Some(at) = state.alive.iter().position(|(number, _)| *number == self.number) {
            end(state.alive.swap_remove(at).1);
        }
    }
}
