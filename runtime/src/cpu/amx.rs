//! AMX on this machine: what the CPU has, what the system saves, and its permission.
//!
//! Tile registers are 8 KiB of state per thread, so Linux has a process ask before its first tile
//! instruction (`arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)`, Linux 5.16 on). The answer holds
//! for all threads of the process, and is asked for once. Other systems: no AMX.

/// `cpuid` leaf 7, EDX: AMX-TILE and AMX-INT8 (Intel SDM volume 1, 18.1).
pub const CPUID_7_EDX: u32 = 1 << 24 | 1 << 25;
/// XCR0: XTILECFG and XTILEDATA.
pub const XCR0: u32 = 1 << 17 | 1 << 18;
/// The number of the system call `arch_prctl`.
pub const ARCH_PRCTL: u32 = 158;
/// Its request for a feature that is off by default.
pub const ARCH_REQ_XCOMP_PERM: u32 = 0x1023;
/// The feature: the data of tiles.
pub const XFEATURE_XTILEDATA: u32 = 18;

/// Whether this process may use AMX from now on.
#[cfg(target_arch = "x86_64")]
pub(super) fn available() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| cpu_has() && permitted())
}

#[cfg(target_arch = "x86_64")]
fn cpu_has() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const OSXSAVE: u32 = 1 << 27;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let tiles = __cpuid_count(7, 0).edx & CPUID_7_EDX == CPUID_7_EDX;
    tiles && xcr0() & XCR0 == XCR0
}

/// The state components that the system saves, low half. Only where `cpuid` says OSXSAVE.
#[cfg(target_arch = "x86_64")]
fn xcr0() -> u32 {
    let low: u32;
    // SAFETY: the caller has seen OSXSAVE, so `xgetbv` exists; it changes eax and edx only.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _,
            options(nomem, nostack, preserves_flags));
    }
    low
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn permitted() -> bool {
    let answer: i64;
    // SAFETY: the system call takes two numbers and touches no memory of ours; the kernel changes
    // rax, rcx and r11.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") i64::from(ARCH_PRCTL) => answer,
            in("rdi") u64::from(ARCH_REQ_XCOMP_PERM), in("rsi") u64::from(XFEATURE_XTILEDATA),
            out("rcx") _, out("r11") _, options(nostack));
    }
    answer == 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn permitted() -> bool {
    false
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_that_of_the_system() {
        // `/proc/cpuinfo` lists what the CPU has and the system saves.
        let Ok(info) = std::fs::read_to_string("/proc/cpuinfo") else { return };
        let flags = info.lines().find(|l| l.starts_with("flags")).unwrap_or("");
        let has = |flag: &str| flags.split_whitespace().any(|f| f == flag);
        assert_eq!(cpu_has(), has("amx_tile") && has("amx_int8"));
        assert!(cpu_has() || !available());
        assert_eq!(available(), available());
    }
}
