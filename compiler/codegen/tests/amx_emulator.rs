//! The emulator of tiles against a scalar model: every instruction, as the system's assembler
//! encodes it. Where there is AMX, the same tests ask the hardware.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "common/amx.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod amx;

use amx::Tiles;
use std::arch::asm;

/// Xorshift: the same bytes every time.
struct Rng(u64);

impl Rng {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.byte()).collect()
    }
}

/// A configuration of tiles 0 (m×n words), 1 (m×k) and 2 (k×n), k in groups of four bytes.
fn config([m, n, k]: [usize; 3]) -> [u8; 64] {
    let mut out = [0; 64];
    out[0] = 1;
    for (t, (rows, words)) in [(m, n), (m, k), (k, n)].into_iter().enumerate() {
        out[16 + 2 * t] = 4 * words as u8;
        out[48 + t] = rows as u8;
    }
    out
}

/// Σ over all taps in i64, by element: the sum's low 32 bits.
fn model(c: &[u8], a: &[u8], b: &[u8], [m, n, k]: [usize; 3], signed: [bool; 2]) -> Vec<u8> {
    let read = |v: u8, signed: bool| if signed { i64::from(v as i8) } else { i64::from(v) };
    let mut out = vec![];
    for (row, column) in (0..m).flat_map(|r| (0..n).map(move |c| (r, c))) {
        let start: [u8; 4] = c[4 * (row * n + column)..][..4].try_into().expect("four bytes");
        let products = (0..4 * k).map(|tap| {
            let x = read(a[row * 4 * k + tap], signed[0]);
            x * read(b[tap / 4 * 4 * n + 4 * column + tap % 4], signed[1])
        });
        let sum = i64::from(i32::from_le_bytes(start)) + products.sum::<i64>();
        out.extend((sum as i32).to_le_bytes());
    }
    out
}

macro_rules! dot {
    ($mnemonic:literal, $config:expr, [$c:expr, $a:expr, $b:expr], [$cs:expr, $as:expr]) => {
        // SAFETY: the buffers have the rows that the configuration says; the tiles are released.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "tileloadd tmm0, [{c} + {cs}*1]",
                "tileloadd tmm1, [{a} + {as_}*1]",
                "tileloadd tmm2, [{b} + {cs}*1]",
                concat!($mnemonic, " tmm0, tmm1, tmm2"),
                "tilestored [{c} + {cs}*1], tmm0",
                "tilerelease",
                config = in(reg) $config.as_ptr(), c = in(reg) $c.as_mut_ptr(),
                a = in(reg) $a.as_ptr(), b = in(reg) $b.as_ptr(),
                cs = in(reg) $cs, as_ = in(reg) $as,
            )
        }
    };
}

#[test]
fn dot_products_of_all_signs_and_extents() {
    if !amx::available() {
        return;
    }
    let mut rng = Rng(0x1234_5678_9ABC_DEF1);
    let extents = [[16, 16, 16], [1, 1, 1], [13, 16, 9], [16, 3, 16], [5, 7, 2], [2, 16, 1]];
    for e in extents {
        let [m, n, k] = e;
        let config = config(e);
        let (a, b) = (rng.bytes(4 * m * k), rng.bytes(4 * k * n));
        let start = rng.bytes(4 * m * n);
        for signed in [[true, true], [true, false], [false, true], [false, false]] {
            let mut c = start.clone();
            match signed {
                [true, true] => dot!("tdpbssd", config, [c, a, b], [4 * n, 4 * k]),
                [true, false] => dot!("tdpbsud", config, [c, a, b], [4 * n, 4 * k]),
                [false, true] => dot!("tdpbusd", config, [c, a, b], [4 * n, 4 * k]),
                [false, false] => dot!("tdpbuud", config, [c, a, b], [4 * n, 4 * k]),
            }
            assert!(c == model(&start, &a, &b, e, signed), "{e:?} {signed:?}");
        }
    }
}

#[test]
fn strides_zeros_and_configurations() {
    if !amx::available() {
        return;
    }
    let x = Rng(77).bytes(4096);
    let (config, mut found) = (config([4, 4, 4]), [0xAAu8; 64]);
    // Rows 100 bytes apart, backward, and one row repeated: 16 bytes each, written 32 apart.
    let mut y = vec![0u8; 4 * 128];
    // SAFETY: rows are within `x` and `y`, 16 bytes each; the tiles are released.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "sttilecfg [{found}]",
            "tileloadd tmm0, [{x} + {forward}*1 + 7]",
            "tileloadd tmm1, [{x} + {backward}*2 + 1000]",
            "xor eax, eax",
            "tileloadd tmm2, [{x} + rax*1 + 5]",
            "tilestored [{y} + {to}*1], tmm0",
            "tilestored [{y} + {to}*1 + 128], tmm1",
            "tilestored [{y} + {to}*1 + 256], tmm2",
            "tilezero tmm2",
            "tilestored [{y} + {to}*1 + 384], tmm2",
            "tilerelease",
            config = in(reg) config.as_ptr(), found = in(reg) found.as_mut_ptr(),
            x = in(reg) x.as_ptr(), y = in(reg) y.as_mut_ptr(),
            forward = in(reg) 100u64, backward = in(reg) -30i64, to = in(reg) 32u64,
            out("rax") _,
        );
    }
    assert_eq!(found, config);
    for r in 0..4 {
        let row = |tile: usize| &y[128 * tile + 32 * r..][..16];
        assert_eq!(row(0), &x[7 + 100 * r..][..16], "row {r}");
        assert_eq!(row(1), &x[1000 - 60 * r..][..16], "row {r}");
        assert_eq!(row(2), &x[5..21], "row {r}");
        assert_eq!(row(3), [0; 16], "row {r}");
        assert!(y[32 * r + 16..32 * r + 32].iter().all(|&b| b == 0), "no more than a row");
    }
    // SAFETY: released tiles have no configuration to store but zeros.
    unsafe { asm!("sttilecfg [{found}]", found = in(reg) found.as_mut_ptr()) };
    assert_eq!(found, [0; 64]);
}

#[test]
fn threads_have_tiles_of_their_own() {
    if !amx::available() {
        return;
    }
    let one = config([1, 1, 1]);
    let mut found = [0u8; 64];
    // SAFETY: a valid configuration.
    unsafe { asm!("ldtilecfg [{config}]", config = in(reg) one.as_ptr()) };
    let other = std::thread::spawn(|| {
        let mut found = [1u8; 64];
        // SAFETY: 64 writable bytes.
        unsafe { asm!("sttilecfg [{found}]", found = in(reg) found.as_mut_ptr()) };
        found
    });
    assert_eq!(other.join().expect("no panic"), [0; 64]);
    // SAFETY: 64 writable bytes; nothing is left configured.
    unsafe { asm!("sttilecfg [{found}]", "tilerelease", found = in(reg) found.as_mut_ptr()) };
    assert_eq!(found, one);
}

#[test]
fn bad_configurations_are_faults() {
    let good = config([16, 16, 16]);
    let with = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        let mut tiles = Tiles::INIT;
        let ok = tiles.load_config(&bytes).is_ok();
        assert!(!ok || tiles.store_config() == bytes);
        ok
    };
    assert!(with(0, 1));
    for (at, value) in [(0, 2), (1, 1), (2, 1), (16, 65), (16, 0), (48, 17), (48, 0), (63, 1)] {
        assert!(!with(at, value), "byte {at} = {value}");
    }
}
