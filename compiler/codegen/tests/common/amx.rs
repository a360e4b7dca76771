//! AMX where there is none: a handler of SIGILL that executes tile instructions.
//!
//! Without AMX every tile instruction raises #UD. The handler decodes the instruction, executes it
//! on tiles in memory (one set per thread, as the hardware has), and continues behind it. So code
//! that uses tiles runs bit for bit on any CPU that has the rest of it. What raises an exception on
//! hardware aborts the process with a message. For tests only. (Intel SDM volume 2, LDTILECFG …)

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Register};
use qcc_runtime::cpu::CpuLevel;
use std::cell::{Cell, UnsafeCell};
use std::sync::Once;

/// Makes tile instructions work in this process; false where this CPU cannot run the rest of the
/// level's code.
pub fn available() -> bool {
    static INSTALLED: Once = Once::new();
    if CpuLevel::X86Amx.runs_here() {
        return true;
    }
    if !CpuLevel::X86Avx512Vnni.runs_here() {
        eprintln!("SKIPPED: this machine has no AVX-512, so tiles cannot be emulated");
        return false;
    }
    INSTALLED.call_once(|| {
        // The decoder's tables are built here rather than in the handler.
        decode(&[0xC4, 0xE2, 0x78, 0x49, 0xC0]);
        // SAFETY: `handler` is written for SA_SIGINFO; the mask is initialized by `sigemptyset`.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigemptyset(&mut action.sa_mask);
            assert_eq!(libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()), 0);
        }
    });
    true
}

/// Tile registers and their configuration.
pub struct Tiles {
    configured: bool,
    rows: [u8; 8],
    row_bytes: [u16; 8],
    data: [[[u8; 64]; 16]; 8],
}

/// Why hardware would raise an exception.
type Fault = &'static str;

impl Tiles {
    /// The state after `tilerelease`.
    pub const INIT: Tiles =
        Tiles { configured: false, rows: [0; 8], row_bytes: [0; 8], data: [[[0; 64]; 16]; 8] };

    /// `ldtilecfg`.
    pub fn load_config(&mut self, bytes: &[u8; 64]) -> Result<(), Fault> {
        *self = Tiles::INIT;
        if bytes[0] == 0 {
            return Ok(());
        }
        let reserved = bytes[2..16].iter().chain(&bytes[32..48]).chain(&bytes[56..]);
        if bytes[0] != 1 || bytes[1] != 0 || reserved.clone().any(|&b| b != 0) {
            return Err("ldtilecfg: palette, start row or reserved bytes");
        }
        for t in 0..8 {
            let row_bytes = u16::from_le_bytes([bytes[16 + 2 * t], bytes[17 + 2 * t]]);
            let rows = bytes[48 + t];
            if rows > 16 || row_bytes > 64 || (rows == 0) != (row_bytes == 0) {
                return Err("ldtilecfg: rows or bytes per row");
            }
            (self.rows[t], self.row_bytes[t]) = (rows, row_bytes);
        }
        self.configured = true;
        Ok(())
    }

    /// `sttilecfg`.
    pub fn store_config(&self) -> [u8; 64] {
        let mut out = [0; 64];
        out[0] = u8::from(self.configured);
        for t in 0..8 {
            out[16 + 2 * t..18 + 2 * t].copy_from_slice(&self.row_bytes[t].to_le_bytes());
            out[48 + t] = self.rows[t];
        }
        out
    }

    /// Rows and bytes per row of a tile that is configured.
    fn extent(&self, t: usize) -> Result<(usize, usize), Fault> {
        match self.rows[t] {
            0 => Err("a tile that is not configured"),
            n => Ok((usize::from(n), usize::from(self.row_bytes[t]))),
        }
    }

    /// `tilezero`.
    fn zero(&mut self, t: usize) -> Result<(), Fault> {
        self.extent(t)?;
        self.data[t] = [[0; 64]; 16];
        Ok(())
    }

    /// `tileloadd`.
    ///
    /// # Safety
    /// The rows are readable.
    unsafe fn load(&mut self, t: usize, at: u64, stride: u64) -> Result<(), Fault> {
        let (rows, bytes) = self.extent(t)?;
        self.data[t] = [[0; 64]; 16];
        for (r, row) in self.data[t].iter_mut().enumerate().take(rows) {
            let from = at.wrapping_add(stride.wrapping_mul(r as u64)) as *const u8;
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(from, row.as_mut_ptr(), bytes) };
        }
        Ok(())
    }

    /// `tilestored`.
    ///
    /// # Safety
    /// The rows are writable.
    unsafe fn store(&self, t: usize, at: u64, stride: u64) -> Result<(), Fault> {
        let (rows, bytes) = self.extent(t)?;
        for (r, row) in self.data[t].iter().enumerate().take(rows) {
            let to = at.wrapping_add(stride.wrapping_mul(r as u64)) as *mut u8;
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), to, bytes) };
        }
        Ok(())
    }

    /// `tdpb**d`: tile c += a · b, bytes of a and of b with or without sign.
    fn dot(&mut self, [c, a, b]: [usize; 3], signed: [bool; 2]) -> Result<(), Fault> {
        let [ce, ae, be] = [self.extent(c)?, self.extent(a)?, self.extent(b)?];
        if c == a || c == b || a == b {
            return Err("a dot product of a tile with itself");
        }
        let quads = [ce, ae, be].iter().all(|e| e.1 % 4 == 0);
        if !quads || ce != (ae.0, be.1) || ae.1 != 4 * be.0 {
            return Err("a dot product of tiles that do not fit");
        }
        let value = |v: u8, signed: bool| if signed { v as i8 as i32 } else { i32::from(v) };
        let mut out = [[0u8; 64]; 16];
        for (m, row) in out.iter_mut().enumerate().take(ce.0) {
            for n in 0..ce.1 / 4 {
                let four = |row: &[u8; 64], i: usize| [0, 1, 2, 3].map(|j| row[4 * i + j]);
                let mut sum = i32::from_le_bytes(four(&self.data[c][m], n));
                for k in 0..be.0 {
                    let (x, w) = (four(&self.data[a][m], k), four(&self.data[b][k], n));
                    for j in 0..4 {
                        let product = value(x[j], signed[0]) * value(w[j], signed[1]);
                        sum = sum.wrapping_add(product);
                    }
                }
                row[4 * n..4 * n + 4].copy_from_slice(&sum.to_le_bytes());
            }
        }
        self.data[c] = out;
        DOTS.set(DOTS.get() + 1);
        Ok(())
    }

    /// Executes a tile instruction; `register` gives general registers. False: it is none.
    ///
    /// # Safety
    /// What the instruction reads or writes is there.
    unsafe fn execute(
        &mut self,
        i: &Instruction,
        register: &dyn Fn(Register) -> u64,
    ) -> Result<bool, Fault> {
        let tile = |n: u32| i.op_register(n) as usize - Register::TMM0 as usize;
        let value = |r: Register| if r == Register::None { 0 } else { register(r) };
        let base = match i.is_ip_rel_memory_operand() {
            true => i.ip_rel_memory_address(),
            false => value(i.memory_base()).wrapping_add(i.memory_displacement64()),
        };
        let stride = value(i.memory_index()).wrapping_mul(i.memory_index_scale().into());
        use Code::*;
        // SAFETY: the caller's promise.
        unsafe {
            match i.code() {
                VEX_Ldtilecfg_m512 => self.load_config(&*(base as *const [u8; 64]))?,
                VEX_Sttilecfg_m512 => *(base as *mut [u8; 64]) = self.store_config(),
                VEX_Tilerelease => *self = Tiles::INIT,
                VEX_Tilezero_tmm => self.zero(tile(0))?,
                VEX_Tileloadd_tmm_sibmem | VEX_Tileloaddt1_tmm_sibmem => {
                    self.load(tile(0), base, stride)?
                }
                VEX_Tilestored_sibmem_tmm => self.store(tile(1), base, stride)?,
                VEX_Tdpbssd_tmm_tmm_tmm => self.dot([0, 1, 2].map(tile), [true, true])?,
                VEX_Tdpbsud_tmm_tmm_tmm => self.dot([0, 1, 2].map(tile), [true, false])?,
                VEX_Tdpbusd_tmm_tmm_tmm => self.dot([0, 1, 2].map(tile), [false, true])?,
                VEX_Tdpbuud_tmm_tmm_tmm => self.dot([0, 1, 2].map(tile), [false, false])?,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn decode(bytes: &[u8]) -> Instruction {
    Decoder::new(64, bytes, DecoderOptions::NONE).decode()
}

/// Dot products that this thread has executed here; hardware does not count.
pub fn dots() -> u64 {
    DOTS.get()
}

thread_local! {
    static DOTS: Cell<u64> = const { Cell::new(0) };
    static TILES: UnsafeCell<Tiles> = const { UnsafeCell::new(Tiles::INIT) };
}

/// Executes the tile instruction at the interrupted place; anything else is as without a handler.
extern "C" fn handler(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext to a handler with SA_SIGINFO; nothing else refers to it.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    let ip = registers[libc::REG_RIP as usize] as u64;
    // SAFETY: code is followed by its literals, by other code, or by a linker's sections; an
    // instruction has up to 15 bytes.
    let bytes = unsafe { std::slice::from_raw_parts(ip as *const u8, 15) };
    let mut decoder = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let register = |r: Register| registers[general(r) as usize] as u64;
    // SAFETY: this thread's tiles, and a handler does not interrupt itself: it has no tile
    // instruction. What the instruction touches is as valid as it would be for hardware.
    let done = unsafe { TILES.with(|t| (*t.get()).execute(&instruction, &register)) };
    match done {
        Ok(true) => registers[libc::REG_RIP as usize] = instruction.next_ip() as i64,
        Ok(false) => {
            // SAFETY: back to the default, which ends the process when the instruction repeats.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Err(why) => {
            let parts = ["tile instruction would fault: ", why, "\n"];
            for text in parts {
                // SAFETY: the bytes of a string.
                unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
            }
            std::process::abort();
        }
    }
}

/// The index of a general register in a saved context.
fn general(r: Register) -> i32 {
    match r {
        Register::RAX => libc::REG_RAX,
        Register::RBX => libc::REG_RBX,
        Register::RCX => libc::REG_RCX,
        Register::RDX => libc::REG_RDX,
        Register::RSI => libc::REG_RSI,
        Register::RDI => libc::REG_RDI,
        Register::RBP => libc::REG_RBP,
        Register::RSP => libc::REG_RSP,
        Register::R8 => libc::REG_R8,
        Register::R9 => libc::REG_R9,
        Register::R10 => libc::REG_R10,
        Register::R11 => libc::REG_R11,
        Register::R12 => libc::REG_R12,
        Register::R13 => libc::REG_R13,
        Register::R14 => libc::REG_R14,
        _ => libc::REG_R15,
    }
}
