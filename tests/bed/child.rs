//! How does a program that a test starts end? With its handle, or with the test process, however that goes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::tail;

/// A running program whose output goes to a file.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    child: Child,
    /// Waits on a pipe from this process and ends the program when the pipe breaks: a handle is not
    /// dropped when a test process is killed or holds it in a static.
    guard: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program; stdout and stderr are appended to `log`.
    pub(super) fn start(command: &mut Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let open = || {
            let file = File::options().create(true).append(true).open(log);
            file.unwrap_or_else(|error| panic!("could not open {}: {error}", log.display()))
        };
        let child = command.stdin(Stdio::null()).stdout(open()).stderr(open()).spawn();
        let child = child.unwrap_or_else(|error| panic!("could not start {name}: {error}"));
        let guard = Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -KILL \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("could not start the guard of {name}: {error}"));
        Self { name, child, guard, log: log.to_owned() }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Panics when it has ended, with what it logged last.
    pub(super) fn assert_running(&mut self) {
        if let Some(status) = self.exited() {
            panic!("{} ended with {status}:\n{}", self.name, tail(&self.log, 20));
        }
    }

    /// How it ended, if it has.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end, waits, and gives how it ended; panics when it does not.
    pub(super) async fn terminate(&mut self, timeout: Duration) -> ExitStatus {
        let pid = self.pid().to_string();
        super::run(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]));
        let what = format!("{} ends", self.name);
        let status = super::eventually(timeout, &what, async || self.exited()).await;
        self.kill(); // its guard
        status
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        // The guard first: it must not outlive the program, whose id may be given to another.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the last lines of {}:\n{}", self.name, tail(&self.log, 30));
        }
    }
}
