//! Ops, attributes, regions and locations.

use super::{Failed, MAX_DEPTH, Parse, Parser, Tok};
use crate::dialect::OpSpec;
use crate::{Attr, Func, Loc, LocId, OpId, OpKind, RegionId, Type, Value};
use std::collections::HashMap;
use std::sync::OnceLock;

type Attrs = Vec<(String, Attr)>;

/// An op as read so far.
#[derive(Default)]
struct OpText<'a> {
    operands: Vec<Value>,
    attrs: Attrs,
    regions: Vec<RegionId>,
    types: Vec<Type>,
    /// A `loop.for`'s variable and carried values.
    loop_args: Vec<(&'a str, usize)>,
    /// A `loop.for`'s block is still to come.
    block_after_types: bool,
}

impl OpText<'_> {
    fn attr(&mut self, name: &str, value: i64) {
        self.attrs.push((name.to_string(), Attr::Int(value)));
    }
}

fn spec_of(name: &str) -> Option<&'static OpSpec> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static OpSpec>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| OpKind::all_specs().map(|s| (s.name, s)).collect());
    by_name.get(name).copied()
}

impl<'a> Parser<'a> {
    /// `{ ops }`. Names defined inside go out of sight.
    pub(super) fn block(&mut self, func: &mut Func, region: RegionId) -> Parse<()> {
        if self.depth == MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} blocks inside each other");
            return Err(self.mistake(self.tok.start, message, None));
        }
        self.expect(b'{')?;
        self.depth += 1;
        while !self.at(b'}') && self.tok.tok != Tok::End {
            let (start, braces) = (self.tok.start, self.braces);
            if self.op(func, region).is_err() {
                self.skip_op(start, braces);
            }
        }
        self.depth -= 1;
        self.expect(b'}')
    }

    /// Skips what is left of a faulty op: its line, and the blocks that begin on it.
    fn skip_op(&mut self, start: usize, braces: usize) {
        if self.tok.start == start {
            self.advance();
        }
        while self.tok.tok != Tok::End && (self.same_line() || self.braces > braces) {
            if self.at(b'}') && self.braces == braces {
                return;
            }
            self.advance();
        }
    }

    fn op(&mut self, func: &mut Func, region: RegionId) -> Parse<()> {
        let start = self.tok.start;
        let mut results = Vec::new();
        if self.tok.tok == Tok::Value {
            results.push(self.value_name()?);
            while self.eat(b',') {
                results.push(self.value_name()?);
            }
        }
        match self.op_after_results(func, region, &results) {
            Ok(op) => self.op_starts.push((self.func_id, op, start)),
            Err(Failed) => {
                for (name, _) in results {
                    self.bind(name, None);
                }
                return Err(Failed);
            }
        }
        Ok(())
    }

    fn op_after_results(
        &mut self,
        func: &mut Func,
        region: RegionId,
        results: &[(&'a str, usize)],
    ) -> Parse<OpId> {
        if !results.is_empty() {
            self.expect(b'=')?;
        }
        let at = self.tok.start;
        let word = self.ident("an op")?;
        let (name, mut op) = self.op_text(func, word, at)?;
        if self.eat(b':') {
            op.types.push(self.ty()?);
            while self.eat(b',') {
                op.types.push(self.ty()?);
            }
        }
        if op.block_after_types {
            op.regions.push(self.loop_block(func, &op)?);
        }
        let loc = if self.at_word("loc") { self.loc_clause()? } else { LocId(0) };
        if op.types.len() != results.len() {
            let (n, k) = (results.len(), op.types.len());
            return Err(self.mistake(at, format!("{n} values are defined, {k} types given"), None));
        }
        let kind = OpKind::from_attrs(name, op.attrs)
            .map_err(|message| self.mistake(at, message, None))?;
        let id = func.create_op(kind, &op.operands, &op.types, &op.regions, loc);
        func.append(region, id);
        for (&(name, at), value) in results.iter().zip(func.results(id).to_vec()) {
            self.define(func, name, at, value);
        }
        Ok(id)
    }

    /// What stands between an op's word and its types.
    fn op_text(
        &mut self,
        func: &mut Func,
        word: &'a str,
        at: usize,
    ) -> Parse<(&'a str, OpText<'a>)> {
        let generic = self.at(b'(');
        let mut op = OpText::default();
        let name = match word {
            "const" => {
                let (at, name) = (self.tok.start, self.symbol()?);
                op.attrs.push(("data".to_string(), Attr::Data(self.data_ref(name, at))));
                "core.const"
            }
            "return" => self.values_on_line(&mut op, "core.return")?,
            "loop.yield" if !generic => self.values_on_line(&mut op, word)?,
            "loop.for" if !generic => self.loop_header(&mut op)?,
            "loop.load" | "loop.load_splat32" | "loop.load_low64" | "loop.tile_load"
                if !generic =>
            {
                self.access(&mut op, word, false)?
            }
            "loop.store" | "loop.store_low" | "loop.tile_store" if !generic => {
                self.access(&mut op, word, true)?
            }
            _ => {
                let spec = spec_of(word).ok_or_else(|| self.unknown_op(word, at))?;
                self.generic_op(func, &mut op, spec)?;
                word
            }
        };
        Ok((name, op))
    }

    fn unknown_op(&mut self, word: &str, at: usize) -> Failed {
        let names = OpKind::all_specs().map(|s| s.name).filter(|_| word.len() < 64);
        let distance = |name: &str| {
            let mnemonic = name.split('.').nth(1).unwrap_or("");
            edit_distance(word, name).min(edit_distance(word, mnemonic))
        };
        let nearest = names.map(|n| (distance(n), n)).min().filter(|(d, _)| *d <= 2);
        let hint = nearest.map(|(_, name)| format!("did you mean '{name}'?"));
        self.mistake(at, format!("unknown op '{word}'"), hint)
    }

    fn values_on_line(&mut self, op: &mut OpText<'a>, name: &'a str) -> Parse<&'a str> {
        if self.tok.tok == Tok::Value && self.same_line() {
            op.operands.push(self.value()?);
            while self.eat(b',') {
                op.operands.push(self.value()?);
            }
        }
        Ok(name)
    }

    fn generic_op(&mut self, func: &mut Func, op: &mut OpText<'a>, spec: &OpSpec) -> Parse<()> {
        self.expect(b'(')?;
        op.operands = self.list(b')', Self::value)?;
        op.attrs = self.attrs(spec)?;
        while self.eat_word("region") {
            let region = func.add_region();
            let bound = self.shadowed.len();
            let done = self.region_args(func, region).and_then(|()| self.block(func, region));
            self.unbind(bound);
            op.regions.push(done.map(|()| region)?);
        }
        Ok(())
    }

    /// `(%k: index, %p: i32)`.
    pub(super) fn region_args(&mut self, func: &mut Func, region: RegionId) -> Parse<()> {
        self.expect(b'(')?;
        let args = self.list(b')', |p| {
            let name = p.value_name()?;
            p.expect(b':')?;
            Ok((name, p.ty()?))
        })?;
        for ((name, at), ty) in args {
            let value = func.add_arg(region, ty);
            self.define(func, name, at, value);
        }
        Ok(())
    }

    // ---- loops and addresses ----

    /// `%k = 0 to 48 step 4 carry(%p = %init, …)`.
    fn loop_header(&mut self, op: &mut OpText<'a>) -> Parse<&'a str> {
        op.loop_args.push(self.value_name()?);
        self.expect(b'=')?;
        op.attr("lo", self.int()?);
        self.expect_word("to")?;
        op.attr("hi", self.int()?);
        if self.eat_word("step") {
            op.attr("step", self.int()?);
        }
        if self.eat_word("carry") {
            self.expect(b'(')?;
            let carried = self.list(b')', |p| {
                let name = p.value_name()?;
                p.expect(b'=')?;
                Ok((name, p.value()?))
            })?;
            for (name, init) in carried {
                op.loop_args.push(name);
                op.operands.push(init);
            }
        }
        op.block_after_types = true;
        Ok("loop.for")
    }

    fn loop_block(&mut self, func: &mut Func, op: &OpText<'a>) -> Parse<RegionId> {
        if op.types.len() + 1 != op.loop_args.len() {
            let (n, k) = (op.loop_args.len() - 1, op.types.len());
            let message = format!("{n} values are carried, {k} types given");
            return Err(self.mistake(self.tok.start, message, None));
        }
        let region = func.add_region();
        let bound = self.shadowed.len();
        let types = std::iter::once(&Type::Index).chain(&op.types);
        for (&(name, at), ty) in op.loop_args.iter().zip(types) {
            let value = func.add_arg(region, ty.clone());
            self.define(func, name, at, value);
        }
        let done = self.block(func, region);
        self.unbind(bound);
        done.map(|()| region)
    }

    /// `%value, %mem[address] {attrs}`, or without the value.
    fn access(&mut self, op: &mut OpText<'a>, name: &'a str, stores: bool) -> Parse<&'a str> {
        if stores {
            op.operands.push(self.value()?);
            self.expect(b',')?;
        }
        op.operands.push(self.value()?);
        self.expect(b'[')?;
        let (mut offset, mut strides) = (0i64, Vec::new());
        let mut negative = self.eat(b'-');
        loop {
            let at = self.tok.start;
            let (is_var, size) = self.address_term(op)?;
            let signed = if negative { -size } else { size };
            let sum = if is_var { signed } else { signed + i128::from(offset) };
            match i64::try_from(sum) {
                Ok(stride) if is_var => strides.push(stride),
                Ok(sum) => offset = sum,
                Err(_) => return Err(self.mistake(at, "the address is out of range", None)),
            }
            negative = self.at(b'-');
            if !negative && !self.at(b'+') {
                break;
            }
            self.advance();
        }
        self.expect(b']')?;
        let spec = spec_of(name).expect("only called for ops of the table");
        op.attrs = self.attrs(spec)?;
        op.attr("offset", offset);
        op.attrs.push(("strides".to_string(), Attr::Ints(strides)));
        Ok(name)
    }

    /// `%var`, `%var*stride` (true) or a number (false).
    fn address_term(&mut self, op: &mut OpText<'a>) -> Parse<(bool, i128)> {
        if self.tok.tok != Tok::Value {
            return Ok((false, i128::from(self.number::<u64>("an offset")?)));
        }
        op.operands.push(self.value()?);
        let stride = if self.eat(b'*') { self.int()? } else { 1 };
        Ok((true, i128::from(stride)))
    }

    // ---- attributes ----

    /// `{name = value, …}`, or nothing.
    fn attrs(&mut self, spec: &OpSpec) -> Parse<Attrs> {
        let braces = self.braces;
        if !self.eat(b'{') {
            return Ok(Vec::new());
        }
        let mut seen = Vec::new();
        let attrs = self.list(b'}', |p| {
            let at = p.tok.start;
            let (name, value) = p.attr(spec)?;
            if seen.contains(&name) {
                return Err(p.mistake(at, format!("'{name}' is given twice"), None));
            }
            seen.push(name.clone());
            Ok((name, value))
        });
        if attrs.is_err() {
            while self.tok.tok != Tok::End && self.same_line() && !self.at(b'}') {
                self.advance();
            }
            if self.same_line() {
                self.eat(b'}');
            }
            self.braces = braces;
        }
        attrs
    }

    fn attr(&mut self, spec: &OpSpec) -> Parse<(String, Attr)> {
        let at = self.tok.start;
        let name = self.ident("an attribute")?;
        self.expect(b'=')?;
        let ty = spec.attrs.iter().find(|a| a.name == name).map(|a| a.ty);
        let Some(ty) = ty else {
            let known: Vec<_> = spec.attrs.iter().map(|a| a.name).collect();
            let hint = format!("its attributes: {}", known.join(", "));
            let message = format!("'{}' has no attribute '{name}'", spec.name);
            return Err(self.mistake(at, message, Some(hint)));
        };
        let value = match ty {
            "f32" => Attr::Float(f64::from(self.number::<f32>("a number")?)),
            "f64" => Attr::Float(self.number("a number")?),
            _ => self.attr_value()?,
        };
        Ok((name.to_string(), value))
    }

    fn attr_value(&mut self) -> Parse<Attr> {
        let at = self.tok.start;
        Ok(match self.tok.tok {
            Tok::Str => Attr::Str(self.string()?),
            Tok::Symbol => {
                let name = self.symbol()?;
                Attr::Data(self.data_ref(name, at))
            }
            Tok::Number | Tok::Punct(b'-') => Attr::Int(self.int()?),
            Tok::Ident => match self.ident("a word")? {
                "true" => Attr::Bool(true),
                "false" => Attr::Bool(false),
                word => Attr::Word(word.to_string()),
            },
            _ => {
                self.expect(b'[')?;
                Attr::Ints(self.list(b']', Self::int)?)
            }
        })
    }

    // ---- locations ----

    /// `loc(…)`.
    fn loc_clause(&mut self) -> Parse<LocId> {
        self.advance();
        self.expect(b'(')?;
        let loc = self.loc(0)?;
        self.expect(b')')?;
        Ok(loc)
    }

    fn loc(&mut self, depth: usize) -> Parse<LocId> {
        if depth == MAX_DEPTH {
            return Err(self.mistake(self.tok.start, "the location is nested too deeply", None));
        }
        if self.eat_word("unknown") {
            return Ok(LocId(0));
        }
        if !self.eat_word("fused") {
            let name = self.string()?;
            let index =
                if self.eat(b'#') { Some(self.number("an unsigned integer")?) } else { None };
            return Ok(self.module.locs.node(&name, index));
        }
        let pass = self.string()?;
        self.expect(b'[')?;
        let from = self.list(b']', |p| p.loc(depth + 1))?;
        Ok(self.module.locs.add(Loc::Fused { pass, from }))
    }
}

/// Letters to insert, delete or replace to get from `a` to `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let replaced = diagonal + usize::from(ca != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
