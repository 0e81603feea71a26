//! File systems and folders below volumes.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

/// Mounts a file system in memory at `path`, unless one is there.
#[expect(unsafe_code, reason = "mount has no safe wrapper in the standard library")]
pub fn mount_tmpfs(path: &Path, size: Option<i64>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if mounts_below(path)?.iter().any(|mount| mount == path) {
        return Ok(());
    }
    let options = size.map_or_else(String::new, |size| format!("size={size}"));
    let (target, options) = (c_string(path)?, CString::new(options).map_err(io::Error::other)?);
    // SAFETY: all pointers are to strings that live until the call returns.
    let result = unsafe {
        libc::mount(
            c"tmpfs".as_ptr(),
            target.as_ptr(),
            c"tmpfs".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV,
            options.as_ptr().cast(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets everybody (or, with a group, that group) write into a folder.
pub fn open_to_all(path: &Path, group: Option<i64>) -> io::Result<()> {
    let mut mode = 0o777;
    if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
        std::os::unix::fs::chown(path, None, Some(group))?;
        mode |= 0o2000;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Removes a folder with everything that is mounted in it.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    for mount in mounts_below(folder)?.iter().rev() {
        unmount(mount)?;
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "umount2 has no safe wrapper in the standard library")]
fn unmount(path: &Path) -> io::Result<()> {
    let target = c_string(path)?;
    // SAFETY: the pointer is to a string that lives until the call returns.
    match unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Mount points at or below a path, outer ones first.
fn mounts_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(&path)).collect();
    below.sort();
    Ok(below)
}

/// `\040` is a space in the kernel's tables.
fn unescape(text: &str) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        let octal = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                out.push(byte);
                bytes = &rest[3..];
            }
            _ => {
                out.push(first);
                bytes = rest;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&out))
}
