//! Asking the CPU, from inside an object that calls nothing: which CPU levels does it run?
//!
//! The instructions that Cranelift lacks are functions of a few bytes; what their answers mean is
//! code like any other. x86: `cpuid` and `xgetbv`; where the CPU has AMX, a system call of Linux
//! that asks for the permission to use it. aarch64: the identification registers, which Linux
//! lets programs read.

use super::define_function;
use crate::CodegenError;
use cranelift_codegen::ir::{AbiParam, condcodes::IntCC};
use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{FuncId, Linkage, Module};
use cranelift_object::ObjectModule;
use qcc_runtime::cpu::{Arch, CpuLevel, Feature, amx};
use std::collections::BTreeMap;
use target_lexicon::OperatingSystem;

/// Defines `int32_t <symbol>_cpu(void)`: one more than the index of the first of `levels` that
/// this CPU runs, or 0.
pub(super) fn define(
    out: &mut ObjectModule,
    symbol: &str,
    levels: &[CpuLevel],
) -> Result<FuncId, CodegenError> {
    let name = format!("{symbol}_cpu");
    let arch = levels.first().map_or(Arch::X86_64, |l| l.arch());
    let mut stubs = Stubs::define(out, symbol, arch)?;
    if levels.contains(&CpuLevel::X86Amx) {
        stubs.define_permit(out, symbol)?;
    }
    define_function(out, &name, (Linkage::Local, 0), Some(types::I32), |out, b, _| {
        let facts = match &stubs {
            Stubs::X86 { cpuid, xgetbv, permit } => {
                let mut facts = x86_facts(out, b, *cpuid, *xgetbv);
                facts.extend(permit.map(|permit| permission(out, b, &facts, permit)));
                facts
            }
            Stubs::Aarch64 { isar0, isar1 } => [*isar0, *isar1].map(|f| call(out, b, f)).to_vec(),
        };
        let mut choice = b.ins().iconst(types::I32, 0);
        for (i, &level) in levels.iter().enumerate().rev() {
            let runs = has_all(b, &facts, &needs_of_level(level));
            let this = b.ins().iconst(types::I32, i as i64 + 1);
            choice = b.ins().select(runs, this, choice);
        }
        b.ins().return_(&[choice]);
    })
}

/// Functions of raw bytes.
enum Stubs {
    /// `void cpuid(u32 leaf, u32 subleaf, u32 *eax_ebx_ecx_edx)`, `u32 xgetbv(void)`, and for AMX
    /// `u32 permit(void)`: whether the system lets this process use tiles.
    X86 { cpuid: FuncId, xgetbv: FuncId, permit: Option<FuncId> },
    /// `u64 f(void)`: a register's value.
    Aarch64 { isar0: FuncId, isar1: FuncId },
}

const CPUID: [u8; 27] = [
    0x53, // push rbx
    0x49, 0x89, 0xD0, // mov r8, rdx
    0x89, 0xF8, // mov eax, edi
    0x89, 0xF1, // mov ecx, esi
    0x0F, 0xA2, // cpuid
    0x41, 0x89, 0x00, // mov [r8], eax
    0x41, 0x89, 0x58, 0x04, // mov [r8+4], ebx
    0x41, 0x89, 0x48, 0x08, // mov [r8+8], ecx
    0x41, 0x89, 0x50, 0x0C, // mov [r8+12], edx
    0x5B, 0xC3, // pop rbx; ret
];
const XGETBV: [u8; 6] = [0x31, 0xC9, 0x0F, 0x01, 0xD0, 0xC3]; // xor ecx, ecx; xgetbv; ret
/// arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0.
const PERMIT: [u8; 26] = {
    let [n, request, feature] =
        [amx::ARCH_PRCTL, amx::ARCH_REQ_XCOMP_PERM, amx::XFEATURE_XTILEDATA];
    let (n, request, feature) = (n.to_le_bytes(), request.to_le_bytes(), feature.to_le_bytes());
    [
        0xB8, n[0], n[1], n[2], n[3], // mov eax, n
        0xBF, request[0], request[1], request[2], request[3], // mov edi, request
        0xBE, feature[0], feature[1], feature[2], feature[3], // mov esi, feature
        0x0F, 0x05, // syscall
        0x85, 0xC0, // test eax, eax
        0x0F, 0x94, 0xC0, // sete al
        0x0F, 0xB6, 0xC0, // movzx eax, al
        0xC3, // ret
    ]
};
/// No system call that we know.
const REFUSE: [u8; 3] = [0x31, 0xC0, 0xC3]; // xor eax, eax; ret
const MRS_X0_ISAR0: u32 = 0xD538_0600; // mrs x0, ID_AA64ISAR0_EL1
const MRS_X0_ISAR1: u32 = 0xD538_0620; // mrs x0, ID_AA64ISAR1_EL1
const RET: u32 = 0xD65F_03C0;

impl Stubs {
    fn define(out: &mut ObjectModule, symbol: &str, arch: Arch) -> Result<Stubs, CodegenError> {
        let mut stub = |what: &str, params: &[types::Type], result: Option<types::Type>, code| {
            let code: Vec<u8> = code;
            define_stub(out, &format!("{symbol}_{what}"), (params, result), &code)
        };
        let words = |words: [u32; 2]| words.iter().flat_map(|w| w.to_le_bytes()).collect();
        Ok(match arch {
            Arch::X86_64 => Stubs::X86 {
                cpuid: stub("cpuid", &[types::I32, types::I32, types::I64], None, CPUID.to_vec())?,
                xgetbv: stub("xgetbv", &[], Some(types::I32), XGETBV.to_vec())?,
                permit: None,
            },
            Arch::Aarch64 => Stubs::Aarch64 {
                isar0: stub("isar0", &[], Some(types::I64), words([MRS_X0_ISAR0, RET]))?,
                isar1: stub("isar1", &[], Some(types::I64), words([MRS_X0_ISAR1, RET]))?,
            },
        })
    }
}

impl Stubs {
    fn define_permit(&mut self, out: &mut ObjectModule, symbol: &str) -> Result<(), CodegenError> {
        if let Stubs::X86 { permit, .. } = self {
            let linux = out.isa().triple().operating_system == OperatingSystem::Linux;
            let code: &[u8] = if linux { &PERMIT } else { &REFUSE };
            let types = (&[][..], Some(types::I32));
            *permit = Some(define_stub(out, &format!("{symbol}_permit"), types, code)?);
        }
        Ok(())
    }
}

/// Defines `name` from bytes that were written for System V, whatever the target's convention.
fn define_stub(
    out: &mut ObjectModule,
    name: &str,
    (params, result): (&[types::Type], Option<types::Type>),
    code: &[u8],
) -> Result<FuncId, CodegenError> {
    let mut sig = Signature::new(CallConv::SystemV);
    sig.params.extend(params.iter().map(|&t| AbiParam::new(t)));
    sig.returns.extend(result.map(AbiParam::new));
    let fail = |e| CodegenError::backend(name, e);
    let id = out.declare_function(name, Linkage::Local, &sig).map_err(fail)?;
    out.define_function_bytes(id, 16, code, &[]).map_err(fail)?;
    Ok(id)
}

fn call(out: &mut dyn Module, b: &mut FunctionBuilder, f: FuncId) -> Value {
    let callee = out.declare_func_in_func(f, b.func);
    let call = b.ins().call(callee, &[]);
    b.inst_results(call)[0]
}

// Indices into what `x86_facts` returns.
const LEAF1_ECX: usize = 0;
const LEAF7_EBX: usize = 1;
const LEAF7_ECX: usize = 2;
const LEAF7_1_EAX: usize = 3;
const EXTENDED1_ECX: usize = 4;
const XCR0: usize = 5;
const LEAF7_EDX: usize = 6;
/// 1: the system permits tiles. Only there if AMX is one of the levels.
const PERMISSION: usize = 7;
// Indices of the identification registers.
const ISAR0: usize = 0;
const ISAR1: usize = 1;

/// The words that levels depend on; a leaf that this CPU does not have counts as 0.
fn x86_facts(
    out: &mut dyn Module,
    b: &mut FunctionBuilder,
    cpuid: FuncId,
    xgetbv: FuncId,
) -> Vec<Value> {
    let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4));
    let mut word = |b: &mut FunctionBuilder, leaf: u32, sub: i64, register: i32| {
        let callee = out.declare_func_in_func(cpuid, b.func);
        let at = b.ins().stack_addr(types::I64, slot, 0);
        let leaf = b.ins().iconst(types::I32, i64::from(leaf));
        let sub = b.ins().iconst(types::I32, sub);
        b.ins().call(callee, &[leaf, sub, at]);
        b.ins().load(types::I32, MemFlagsData::trusted(), at, 4 * register)
    };
    let (eax, ebx, ecx, edx) = (0, 1, 2, 3);
    let last = word(b, 0, 0, eax);
    let last_extended = word(b, 0x8000_0000, 0, eax);
    let mut checked = |b: &mut FunctionBuilder, last, leaf: u32, sub, register| {
        let found = word(b, leaf, sub, register);
        let exists = b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, last, i64::from(leaf));
        let none = b.ins().iconst(types::I32, 0);
        b.ins().select(exists, found, none)
    };
    let leaf1_ecx = checked(b, last, 1, 0, ecx);
    let leaf7_ebx = checked(b, last, 7, 0, ebx);
    let leaf7_ecx = checked(b, last, 7, 0, ecx);
    let leaf7_edx = checked(b, last, 7, 0, edx);
    let leaf7_1_eax = checked(b, last, 7, 1, eax);
    let extended1_ecx = checked(b, last_extended, 0x8000_0001, 0, ecx);
    // xgetbv exists where the operating system uses it.
    let used = b.ins().band_imm_u(leaf1_ecx, 1 << 27);
    let xcr0 = call_if(out, b, used, xgetbv);
    vec![leaf1_ecx, leaf7_ebx, leaf7_ecx, leaf7_1_eax, extended1_ecx, xcr0, leaf7_edx]
}

/// Asks the system, where the CPU has AMX and the system saves its state.
fn permission(
    out: &mut dyn Module,
    b: &mut FunctionBuilder,
    facts: &[Value],
    permit: FuncId,
) -> Value {
    let amx = has_all(b, facts, &AMX);
    call_if(out, b, amx, permit)
}

/// What `f` says where `condition` is not 0; else 0.
fn call_if(out: &mut dyn Module, b: &mut FunctionBuilder, condition: Value, f: FuncId) -> Value {
    let (ask, go) = (b.create_block(), b.create_block());
    b.append_block_param(go, types::I32);
    let none = b.ins().iconst(types::I32, 0);
    b.ins().brif(condition, ask, [].iter(), go, [none.into()].iter());
    b.switch_to_block(ask);
    b.seal_block(ask);
    let answer = call(out, b, f);
    b.ins().jump(go, [answer.into()].iter());
    b.switch_to_block(go);
    b.seal_block(go);
    b.block_params(go)[0]
}

/// Facts that tiles need besides permission.
const AMX: [(usize, u64); 2] = [(LEAF7_EDX, amx::CPUID_7_EDX as u64), (XCR0, amx::XCR0 as u64)];

/// Which bits of which facts a level needs: one mask for each fact, as one comparison will do.
fn needs_of_level(level: CpuLevel) -> Vec<(usize, u64)> {
    let mut masks = BTreeMap::new();
    for (fact, mask) in level.features().flat_map(needs) {
        *masks.entry(fact).or_insert(0) |= mask;
    }
    masks.into_iter().collect()
}

/// Which bits of which facts say that the CPU has a feature, and that the system saves the
/// registers which come with it (Intel SDM volume 2, CPUID; Arm ARM, ID_AA64ISAR*).
fn needs(feature: Feature) -> Vec<(usize, u64)> {
    let bit = |fact: usize, bit: u32| vec![(fact, 1 << bit)];
    let saved = |bits: &[u32]| (XCR0, bits.iter().fold(0, |mask, b| mask | 1 << b));
    match feature {
        Feature::Sse3 => bit(LEAF1_ECX, 0),
        Feature::Ssse3 => bit(LEAF1_ECX, 9),
        Feature::Sse41 => bit(LEAF1_ECX, 19),
        Feature::Sse42 => bit(LEAF1_ECX, 20),
        Feature::Popcnt => bit(LEAF1_ECX, 23),
        // OSXSAVE and AVX; xmm and ymm.
        Feature::Avx => vec![(LEAF1_ECX, 1 << 27 | 1 << 28), saved(&[1, 2])],
        Feature::Avx2 => bit(LEAF7_EBX, 5),
        Feature::Fma => bit(LEAF1_ECX, 12),
        Feature::F16c => bit(LEAF1_ECX, 29),
        Feature::Bmi1 => bit(LEAF7_EBX, 3),
        Feature::Bmi2 => bit(LEAF7_EBX, 8),
        Feature::Lzcnt => bit(EXTENDED1_ECX, 5),
        Feature::Movbe => bit(LEAF1_ECX, 22),
        Feature::AvxVnni => bit(LEAF7_1_EAX, 4),
        // Masks, and both parts of zmm.
        Feature::Avx512F => vec![(LEAF7_EBX, 1 << 16), saved(&[1, 2, 5, 6, 7])],
        Feature::Avx512Dq => bit(LEAF7_EBX, 17),
        Feature::Avx512Bw => bit(LEAF7_EBX, 30),
        Feature::Avx512Vl => bit(LEAF7_EBX, 31),
        Feature::Avx512Vnni => bit(LEAF7_ECX, 11),
        Feature::AmxInt8 => [&AMX[..], &[(PERMISSION, 1)]].concat(),
        // Fields of four bits that count versions; version 1 is all that is needed.
        Feature::Dotprod => bit(ISAR0, 44),
        Feature::I8mm => bit(ISAR1, 52),
    }
}

/// 1 where every needed bit is set.
fn has_all(b: &mut FunctionBuilder, facts: &[Value], needs: &[(usize, u64)]) -> Value {
    let mut all = b.ins().iconst(types::I8, 1);
    for &(fact, mask) in needs {
        let ty = b.func.dfg.value_type(facts[fact]);
        let mask = b.ins().iconst(ty, mask as i64);
        let masked = b.ins().band(facts[fact], mask);
        let has = b.ins().icmp(IntCC::Equal, masked, mask);
        all = b.ins().band(all, has);
    }
    all
}
