//! The kernel's randomness, replaced: on the thread of a simulation, `getrandom` is determined by
//! the seed.
//!
//! Everything random that is not the simulation's own comes from there: `rand`'s generators
//! (identities, time-outs of elections), the keys of `HashMap`s and so their order, tokio's choice
//! of whom to wake first. The standard library calls the function by a weak symbol in order that
//! programs can stand in for it. Other threads get the kernel's.

use std::{
    cell::Cell,
    ffi::{c_uint, c_void},
    fs::File,
    io::Read,
};

thread_local! {
    static STREAM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Determines this thread's randomness. To be called before anything has drawn from it.
pub(super) fn determine(seed: u64) {
    STREAM.set(Some(seed));
}

fn fill(bytes: &mut [u8]) -> bool {
    let Some(mut state) = STREAM.get() else {
        return File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes)).is_ok();
    };
    for byte in bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = state.to_be_bytes()[0];
    }
    STREAM.set(Some(state));
    true
}

#[expect(unsafe_code, reason = "stands in for a function of the C library, in tests only")]
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: by getrandom's contract the buffer has `length` writable bytes, which may be
    // uninitialised: zeroed first.
    let bytes = unsafe {
        std::ptr::write_bytes(buffer.cast::<u8>(), 0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    if fill(bytes) { isize::try_from(length).unwrap_or(isize::MAX) } else { -1 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn draw(seed: u64) -> (Vec<u32>, u64) {
        let drawn = std::thread::spawn(move || {
            determine(seed);
            let order = (0..100).collect::<HashSet<u32>>().into_iter().collect();
            (order, rand::random())
        });
        drawn.join().unwrap()
    }

    #[test]
    fn a_seed_determines_identities_and_the_order_of_hash_tables() {
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).0, draw(2).0);
        assert_ne!(draw(1).1, draw(2).1);
    }
}
