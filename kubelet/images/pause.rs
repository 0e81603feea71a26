//! Holds a pod's namespaces: waits, reaps orphans of a shared process namespace, ends on a signal.
//!
//! A program of its own, built statically by `build.rs` with nothing but the standard library.

use std::os::raw::c_int;

unsafe extern "C" {
    fn signal(number: c_int, handler: usize) -> usize;
    fn pause() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;
const SIGCHLD: c_int = 17;
const WNOHANG: c_int = 1;

extern "C" fn end(_: c_int) {
    // SAFETY: `_exit` may be called from a signal handler.
    unsafe { _exit(0) }
}

extern "C" fn reap(_: c_int) {
    // SAFETY: `waitpid` may be called from a signal handler; a null status is allowed.
    while unsafe { waitpid(-1, std::ptr::null_mut(), WNOHANG) } > 0 {}
}

fn main() {
    // SAFETY: the handlers above only make calls that are allowed in signal handlers.
    unsafe {
        signal(SIGTERM, end as *const () as usize);
        signal(SIGINT, end as *const () as usize);
        signal(SIGCHLD, reap as *const () as usize);
        loop {
            pause();
        }
    }
}
