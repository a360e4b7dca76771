//! Zeroed byte buffers aligned for vector code.
//!
//! Invariants: the first byte is 64-byte aligned, every byte is initialised, and the length never
//! changes. Used for arenas, packed constants and tensor storage; anyone may call.

/// Alignment of every [`AlignedBuf`], in bytes: one cache line, one zmm register.
pub const ALIGN: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

/// A fixed-size, 64-byte-aligned, zero-initialised byte buffer. Cloning copies the bytes.
#[derive(Clone)]
pub struct AlignedBuf {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> AlignedBuf {
        let lines = vec![Line([0; ALIGN]); len.div_ceil(ALIGN)];
        AlignedBuf { lines, len }
    }

    /// A copy of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> AlignedBuf {
        AlignedBuf::from_parts([bytes], bytes.len(), 0)
    }

    /// The parts one after another, each at a multiple of [`ALIGN`], `n_bytes` in all, and `slack`
    /// zero bytes behind the last. A part is dropped before the next one is taken, and the buffer grows page by
    /// page: parts and buffer together need little more memory than the parts.
    pub fn from_parts<P: AsRef<[u8]>>(
        parts: impl IntoIterator<Item = P>,
        n_bytes: usize,
        slack: usize,
    ) -> AlignedBuf {
        let n_lines = (n_bytes.next_multiple_of(ALIGN) + slack).div_ceil(ALIGN);
        let mut lines = Vec::with_capacity(n_lines);
        let mut len = 0;
        for part in parts {
            len = lines.len() * ALIGN + part.as_ref().len();
            let (whole, rest) = part.as_ref().as_chunks::<ALIGN>();
            lines.extend(whole.iter().map(|&chunk| Line(chunk)));
            if !rest.is_empty() {
                let mut line = Line([0; ALIGN]);
                line.0[..rest.len()].copy_from_slice(rest);
                lines.push(line);
            }
        }
        len += slack;
        lines.resize(len.div_ceil(ALIGN), Line([0; ALIGN]));
        AlignedBuf { lines, len }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `lines` owns `lines.len() * 64 >= len` initialised bytes, and `u8` has no
        // alignment or validity requirement. Caught by `aligned_and_zero`.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.len) }
    }

    /// Address of the first byte: a multiple of 64, also when empty.
    pub fn as_ptr(&self) -> *const u8 {
        self.lines.as_ptr().cast()
    }

    /// Address of the first byte, to be written through.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.lines.as_mut_ptr().cast()
    }

    /// Sets every byte to zero.
    pub fn clear(&mut self) {
        self.bytes_mut().fill(0);
    }
}

impl PartialEq for AlignedBuf {
    fn eq(&self, other: &AlignedBuf) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for AlignedBuf {}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_and_zero() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let buf = AlignedBuf::zeroed(len);
            assert_eq!(buf.as_ptr() as usize % ALIGN, 0);
            assert_eq!(buf.bytes(), vec![0; len]);
        }
    }

    #[test]
    fn copies_and_clears() {
        let mut buf = AlignedBuf::from_bytes(&[1, 2, 3]);
        let copy = buf.clone();
        buf.clear();
        assert_eq!((buf.bytes(), copy.bytes()), (&[0, 0, 0][..], &[1, 2, 3][..]));
    }

    #[test]
    fn parts_stand_at_multiples_of_the_alignment() {
        let parts = [vec![1u8; 3], vec![], vec![2; 65], vec![3; 64]];
        let buf = AlignedBuf::from_parts(parts, 64 + 128 + 64, 5);
        let mut want = vec![0; 64 + 128 + 64 + 5];
        want[..3].fill(1);
        want[64..129].fill(2);
        want[192..256].fill(3);
        assert_eq!(buf.bytes(), want);
        assert_eq!(AlignedBuf::from_parts([[]; 0], 0, 64).bytes(), [0; 64]);
    }

    #[test]
    fn is_send() {
        fn send<T: Send>(_: T) {}
        send(AlignedBuf::zeroed(1));
    }
}
