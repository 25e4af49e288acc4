//! Reading memory that may not be there.

/// Reads from an address, up to the first byte that cannot be read, and returns
/// how many bytes that were.
pub(crate) fn read(address: u64, into: &mut [u8]) -> usize {
    const PAGE: u64 = 4096;
    let mut done = 0;
    while done < into.len() {
        let Some(from) = address.checked_add(done as u64) else {
            break;
        };
        // A read of several pages fails as a whole on some kernels.
        let page = (PAGE - from % PAGE) as usize;
        let len = page.min(into.len() - done);
        if !read_page(from, &mut into[done..done + len]) {
            break;
        }
        done += len;
    }
    done
}

/// Reads bytes that lie in one page.
fn read_page(address: u64, into: &mut [u8]) -> bool {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: the kernel writes to `into` only, and reads the process's own
    // memory at the other address if it can; an error is all that comes of it
    // otherwise.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    read == into.len() as isize
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_what_is_there() {
        let bytes: Vec<u8> = (0..10_000).map(|byte| byte as u8).collect();
        let mut copy = vec![0; bytes.len()];
        assert_eq!(super::read(bytes.as_ptr() as u64, &mut copy), bytes.len());
        assert_eq!(copy, bytes);
        assert_eq!(super::read(16, &mut copy), 0);
        assert_eq!(super::read(u64::MAX - 2, &mut copy), 0);
    }
}
