//! The Cranelift emitter: 128-bit vectors, every target and CPU level.
//!
//! One walk over the kernel, in order; Cranelift runs without its own optimisations (they re-sink
//! pure ops and spill), so what the walk emits is what runs. A `loop.for` becomes one block that
//! jumps back to itself; its addresses become pointers that advance by a constant each iteration
//! (see [`addr`]).

mod addr;
mod lanes;

use crate::{CodegenError, Emitter};
use addr::Addresses;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    self as clif, AbiParam, InstBuilder, MemFlagsData, Signature, condcodes::IntCC, types,
};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Module, ModuleReloc};
use qcc_ir::dialect::{core, loops};
use qcc_ir::{Func, OpId, OpKind, RegionId, Type, Value};
use qcc_runtime::cpu::Arch;

/// Emits kernels through Cranelift.
pub struct ClifEmitter {
    arch: Arch,
    features: Features,
    isa: OwnedTargetIsa,
    context: Context,
    builder_context: FunctionBuilderContext,
    /// Called with each kernel's CLIF and, where wanted, its machine code as text.
    listing: Option<Listing>,
}

/// What the CPU level has beyond what every emitted sequence may use.
#[derive(Clone, Copy, Debug)]
struct Features {
    /// A fused multiply-add.
    fma: bool,
    /// One instruction for any shuffle of bytes; else Cranelift would call a function.
    any_shuffle: bool,
    /// One instruction for `loop.dot2_sat`.
    pair_sums: bool,
}

impl Features {
    fn of(isa: &OwnedTargetIsa, arch: Arch) -> Features {
        let flags = isa.isa_flags();
        let has = |name| flags.iter().any(|f| f.name == name && f.as_bool() == Some(true));
        match arch {
            Arch::Aarch64 => Features { fma: true, any_shuffle: true, pair_sums: false },
            Arch::X86_64 => Features {
                fma: has("has_fma"),
                any_shuffle: has("has_ssse3"),
                pair_sums: has("has_ssse3"),
            },
        }
    }
}

/// Texts of what was emitted.
#[derive(Default, Clone, Debug)]
pub struct Listing {
    /// Cranelift IR, one function after another.
    pub clif: String,
    /// Machine code as Cranelift's own disassembly.
    pub asm: String,
}

impl ClifEmitter {
    /// An emitter for `isa`; with `listing`, texts are kept for [`ClifEmitter::into_listing`].
    pub fn new(isa: &OwnedTargetIsa, listing: bool) -> Self {
        let arch = match isa.triple().architecture {
            target_lexicon::Architecture::Aarch64(_) => Arch::Aarch64,
            _ => Arch::X86_64,
        };
        ClifEmitter {
            arch,
            features: Features::of(isa, arch),
            isa: isa.clone(),
            context: Context::new(),
            builder_context: FunctionBuilderContext::new(),
            listing: listing.then(Listing::default),
        }
    }
    /// The texts of everything emitted so far.
    pub fn into_listing(self) -> Listing {
        self.listing.unwrap_or_default()
    }
}

impl ClifEmitter {
    /// Compiles the function in the context for this emitter's own CPU level, whatever the
    /// module's is, and defines `id` as it; its size in bytes.
    fn compile_into(
        &mut self,
        out: &mut dyn Module,
        id: FuncId,
        name: &str,
    ) -> Result<usize, CodegenError> {
        let fail = |e: String| CodegenError::backend(name, e);
        self.context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| fail(format!("{:?}", e.inner)))?;
        let code = self.context.compiled_code().expect("compiled just now");
        let alignment = u64::from(code.buffer.alignment.max(self.isa.function_alignment().minimum));
        let (bytes, relocs) = (code.code_buffer(), code.buffer.relocs());
        let relocs: Vec<ModuleReloc> = relocs
            .iter()
            .map(|r| ModuleReloc::from_mach_reloc(r, &self.context.func, id))
            .collect();
        out.define_function_bytes(id, alignment, bytes, &relocs)
            .map_err(|e| CodegenError::backend(name, e))?;
        Ok(bytes.len())
    }
}

impl Emitter for ClifEmitter {
    fn define(
        &mut self,
        out: &mut dyn Module,
        id: FuncId,
        kernel: &Func,
    ) -> Result<usize, CodegenError> {
        out.clear_context(&mut self.context);
        self.context.func.signature = kernel_signature(out, kernel.params().len());
        let builder = FunctionBuilder::new(&mut self.context.func, &mut self.builder_context);
        let walk = Walk::new(self.arch, self.features, builder, kernel);
        walk.run(self.isa.frontend_config())?;
        self.context.set_disasm(self.listing.is_some());
        let size = self.compile_into(out, id, &kernel.name)?;
        let code = self.context.compiled_code().expect("compiled just now");
        if let Some(listing) = &mut self.listing {
            let text = self.context.func.display();
            listing.clif.push_str(&format!("; {}\n{text}\n", kernel.name));
            let asm = code.vcode.as_deref().unwrap_or("");
            listing.asm.push_str(&format!("{}:\n{asm}\n", kernel.name));
        }
        Ok(size)
    }
}

/// `n` pointers in, nothing out.
pub fn kernel_signature(module: &dyn Module, n: usize) -> Signature {
    let mut sig = module.make_signature();
    let pointer = module.target_config().pointer_type();
    sig.params.extend(std::iter::repeat_n(AbiParam::new(pointer), n));
    sig
}

/// The state of one kernel's emission.
struct Walk<'a> {
    arch: Arch,
    features: Features,
    b: FunctionBuilder<'a>,
    kernel: &'a Func,
    /// The Cranelift value of each scalar, vector and loop variable.
    values: Vec<Option<clif::Value>>,
    addresses: Addresses,
}

impl<'a> Walk<'a> {
    fn new(arch: Arch, features: Features, b: FunctionBuilder<'a>, kernel: &'a Func) -> Self {
        let values = vec![None; kernel.num_values()];
        Walk { arch, features, b, kernel, values, addresses: Addresses::collect(kernel) }
    }

    fn run(mut self, config: TargetFrontendConfig) -> Result<(), CodegenError> {
        self.check_widths()?;
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        self.b.seal_block(entry);
        let params = self.b.block_params(entry).to_vec();
        for (&mem, pointer) in self.kernel.params().iter().zip(params) {
            self.addresses.set_base(mem, pointer);
        }
        self.region(self.kernel.body)?;
        self.b.finalize(config);
        Ok(())
    }

    /// Fails if some vector is not of this emitter's width.
    fn check_widths(&self) -> Result<(), CodegenError> {
        for ty in self.kernel.walk().iter().flat_map(|&op| self.kernel.results(op)) {
            if let Type::Vector { elem, lanes } = self.kernel.ty(*ty) {
                let bits = 8 * elem.size() * usize::from(*lanes);
                if bits != 128 {
                    return Err(self.fail(format!("a vector of {bits} bits; this emitter has 128")));
                }
            }
            if self.kernel.ty(*ty).as_tile().is_some() {
                return Err(self.fail("a tile; this emitter has vectors".into()));
            }
        }
        Ok(())
    }

    /// Emits a region's ops; the results of its `yield`.
    fn region(&mut self, region: RegionId) -> Result<Vec<clif::Value>, CodegenError> {
        let kernel = self.kernel;
        for &op in &kernel.region(region).ops {
            match kernel.kind(op) {
                OpKind::Loop(loops::Op::Yield(_)) => {
                    return Ok(kernel.operands(op).iter().map(|&v| self.get(v)).collect());
                }
                OpKind::Loop(loops::Op::For(spec)) => self.for_loop(op, spec)?,
                OpKind::Loop(kind) => self.lane_op(op, kind)?,
                OpKind::Core(core::Op::Return(_)) => {
                    self.b.ins().return_(&[]);
                }
                other => return Err(self.fail(format!("'{}' inside a kernel", other.name()))),
            }
        }
        Ok(vec![])
    }

    fn for_loop(&mut self, op: OpId, spec: &loops::For) -> Result<(), CodegenError> {
        let kernel = self.kernel;
        let inits: Vec<_> = kernel.operands(op).iter().map(|&v| self.get(v)).collect();
        let region = kernel.op(op).regions()[0];
        if spec.lo >= spec.hi {
            self.set_all(kernel.results(op), &inits);
            return Ok(());
        }
        let args = &kernel.region(region).args;
        let (var, carried) = (args[0], &args[1..]);
        let body = self.b.create_block();
        let exit = self.b.create_block();

        let mut enter = vec![self.b.ins().iconst(types::I64, spec.lo)];
        let pointers = self.addresses.enter(&mut self.b, var, spec.lo);
        enter.extend(pointers.iter().map(|p| p.init));
        enter.extend(&inits);
        for &v in &enter {
            let ty = self.b.func.dfg.value_type(v);
            self.b.append_block_param(body, ty);
        }
        self.jump(body, &enter);
        self.b.switch_to_block(body);

        let params = self.b.block_params(body).to_vec();
        let (counter, rest) = params.split_first().expect("the counter is a parameter");
        let (now, state) = rest.split_at(pointers.len());
        self.set(var, *counter);
        self.addresses.bind(&pointers, now);
        self.set_all(carried, state);
        let yielded = self.region(region)?;

        let mut next = vec![self.b.ins().iadd_imm_s(*counter, spec.step)];
        for (p, &at) in pointers.iter().zip(now) {
            next.push(self.b.ins().iadd_imm_s(at, p.stride * spec.step));
        }
        next.extend(&yielded);
        let more = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, next[0], spec.hi);
        let next: Vec<clif::BlockArg> = next.into_iter().map(Into::into).collect();
        let results: Vec<clif::BlockArg> = yielded.iter().map(|&v| v.into()).collect();
        for &v in &yielded {
            let ty = self.b.func.dfg.value_type(v);
            self.b.append_block_param(exit, ty);
        }
        self.b.ins().brif(more, body, next.iter(), exit, results.iter());
        self.b.seal_block(body);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
        let out = self.b.block_params(exit).to_vec();
        self.set_all(kernel.results(op), &out);
        Ok(())
    }

    fn jump(&mut self, block: clif::Block, args: &[clif::Value]) {
        let args: Vec<clif::BlockArg> = args.iter().map(|&v| v.into()).collect();
        self.b.ins().jump(block, args.iter());
    }

    /// Pointer and displacement of an access.
    fn address(
        &mut self,
        mem: Value,
        vars: &[Value],
        strides: &[i64],
        offset: i64,
    ) -> Result<(clif::Value, i32), CodegenError> {
        let pointer = self.addresses.pointer(mem, vars, strides);
        let pointer = pointer.ok_or_else(|| self.fail("an address outside its loops".into()))?;
        match i32::try_from(offset) {
            Ok(displacement) => Ok((pointer, displacement)),
            Err(_) => Ok((self.b.ins().iadd_imm_s(pointer, offset), 0)),
        }
    }

    fn get(&self, v: Value) -> clif::Value {
        self.values[cranelift_codegen::entity::EntityRef::index(v)]
            .expect("verified: a value is defined before its use")
    }
    fn set(&mut self, v: Value, to: clif::Value) {
        self.values[cranelift_codegen::entity::EntityRef::index(v)] = Some(to);
    }
    fn set_all(&mut self, vs: &[Value], to: &[clif::Value]) {
        for (&v, &c) in vs.iter().zip(to) {
            self.set(v, c);
        }
    }
    fn fail(&self, why: String) -> CodegenError {
        CodegenError::Kernel { kernel: self.kernel.name.clone(), why }
    }
    fn result_type(&self, op: OpId) -> clif::Type {
        clif_type(self.kernel.ty(self.kernel.result(op)))
    }
}

/// Buffers of a kernel never alias in a way that ordering within one lane op could show, and
/// alignment is not promised.
fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_endianness(clif::Endianness::Little)
}

/// The Cranelift type of a scalar, vector or loop variable.
fn clif_type(ty: &Type) -> clif::Type {
    use qcc_ir::DType::*;
    let scalar = |d| match d {
        I8 | U8 | Bool => types::I8,
        I16 | U16 => types::I16,
        I32 => types::I32,
        I64 => types::I64,
        F32 => types::F32,
        F64 => types::F64,
    };
    match ty {
        Type::Scalar(d) => scalar(*d),
        Type::Vector { elem, lanes } => scalar(*elem).by(u32::from(*lanes)).unwrap_or(types::I8X16),
        Type::Index | Type::Mem(_) | Type::Tensor(_) | Type::Tile { .. } => types::I64,
    }
}
