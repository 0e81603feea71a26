//! Process 1 of a lab host: furnishes the namespaces it was started in, then reaps orphans.
//!
//! `kontiki-lab-init LAB.HOST HOSTNAME [SOURCE TARGET]...`: the pairs are bind mounts. It says
//! `ready` on stdout when the host is furnished. Its stdin is a pipe from whoever started the lab:
//! when that ends, the host powers itself off, so that a killed test leaves no processes behind.

use std::{
    ffi::{CString, c_char, c_int, c_short, c_ulong, c_void},
    io::{Error, Write},
    process::exit,
    ptr::null,
};

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
}

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

const MS_NOSUID: c_ulong = 2;
const MS_NODEV: c_ulong = 4;
const MS_BIND: c_ulong = 4096;
const MS_REC: c_ulong = 16384;
const MS_PRIVATE: c_ulong = 1 << 18;
const MS_SHARED: c_ulong = 1 << 20;
const SIGCHLD: c_int = 17;
const WNOHANG: c_int = 1;

extern "C" fn wake(_: c_int) {}

fn main() {
    let mut args = std::env::args().skip(2);
    let hostname = args.next().unwrap_or_else(|| fail("usage: LAB.HOST HOSTNAME [FROM TO]..."));
    check("name the host", unsafe { sethostname(text(&hostname).as_ptr(), hostname.len()) });
    // Nothing mounted here reaches the machine; what is mounted later propagates to containers.
    attach("none", "/", "none", MS_REC | MS_PRIVATE);
    attach("none", "/", "none", MS_REC | MS_SHARED);
    attach("proc", "/proc", "proc", 0);
    attach("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV);
    while let (Some(source), Some(target)) = (args.next(), args.next()) {
        attach(&source, &target, "none", MS_BIND | MS_REC);
    }
    unsafe { signal(SIGCHLD, wake) };
    println!("ready");
    let _ = std::io::stdout().flush();
    loop {
        // A child that ends between the two calls is reaped a second later.
        while unsafe { waitpid(-1, std::ptr::null_mut(), WNOHANG) } > 0 {}
        let mut owner = PollFd { fd: 0, events: 1, revents: 0 };
        if unsafe { poll(&raw mut owner, 1, 1000) } > 0 {
            exit(0);
        }
    }
}

fn attach(source: &str, target: &str, kind: &str, flags: c_ulong) {
    let (from, to, kind) = (text(source), text(target), text(kind));
    let result = unsafe { mount(from.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, null()) };
    check(&format!("mount {source} at {target}"), result);
}

fn text(value: &str) -> CString {
    CString::new(value).unwrap_or_else(|_| fail("an argument holds a zero byte"))
}

fn check(what: &str, result: c_int) {
    if result != 0 {
        fail(&format!("cannot {what}: {}", Error::last_os_error()));
    }
}

fn fail(message: &str) -> ! {
    println!("{message}");
    exit(1)
}
