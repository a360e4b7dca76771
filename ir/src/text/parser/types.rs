//! Types and their aliases.

use super::{Parse, Parser, Tok};
use crate::{
    Affine, DType, Elem, Layout, MemType, QuantParams, QuantType, Space, TensorType, Type,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Most dimensions of a tensor.
const MAX_RANK: usize = 32;
/// Most bytes of a tensor.
const MAX_TENSOR_BYTES: u64 = 1 << 47;

/// What `!name` stands for.
#[derive(Clone)]
pub(super) enum Alias {
    Quant(Arc<QuantType>),
    Type(Type),
}

impl<'a> Parser<'a> {
    /// `!name = type`; after a mistake, goes on with the next line.
    pub(super) fn alias(&mut self) {
        let (name, at) = (&self.text()[1..], self.advance().start);
        let alias = self.alias_target();
        if alias.is_err() {
            self.skip_to_line(|p| p.tok.tok == Tok::TypeName || p.at_word("module"));
        }
        if self.aliases.insert(name, alias.ok()).is_some() {
            self.mistake(at, format!("'!{name}' is defined twice"), None);
        }
    }

    fn alias_target(&mut self) -> Parse<Alias> {
        self.expect(b'=')?;
        if self.tok.tok == Tok::TypeName {
            return self.type_name();
        }
        self.ty().map(Alias::Type)
    }

    /// `!quant.uniform<…>` or the name of an alias.
    fn type_name(&mut self) -> Parse<Alias> {
        let (name, at) = (&self.text()[1..], self.advance().start);
        if name == "quant.uniform" {
            return self.quant_type().map(|q| Alias::Quant(Arc::new(q)));
        }
        match self.aliases.get(name) {
            Some(alias) => alias.clone().ok_or(super::Failed),
            None => Err(self.mistake(at, format!("type '!{name}' is not defined"), None)),
        }
    }

    pub(super) fn ty(&mut self) -> Parse<Type> {
        let at = self.tok.start;
        if self.tok.tok == Tok::TypeName {
            return match self.type_name()? {
                Alias::Type(ty) => Ok(ty),
                Alias::Quant(_) => {
                    let hint = "an element type stands in a tensor: tensor<1x4x!q0>";
                    Err(self.mistake(at, "expected the type of a value", Some(hint.to_string())))
                }
            };
        }
        match self.ident("a type")? {
            "tensor" => self.tensor_type(),
            "mem" => self.mem_type(),
            "vec" => self.vector_type(),
            "tile" => self.tile_type(),
            "index" => Ok(Type::Index),
            word => self.dtype_called(word, at).map(Type::Scalar),
        }
    }

    fn dtype_called(&mut self, word: &str, at: usize) -> Parse<DType> {
        let unknown = |_| {
            let hint = "tensor<…>, mem<…>, vec<…>, tile<…>, index, f32, f64, i8, u8, i16, u16, i32, i64, bool";
            self.mistake(at, format!("unknown type '{word}'"), Some(hint.to_string()))
        };
        word.parse().map_err(unknown)
    }

    fn dtype(&mut self) -> Parse<DType> {
        let at = self.tok.start;
        let word = self.ident("a number type")?;
        self.dtype_called(word, at)
    }

    fn tensor_type(&mut self) -> Parse<Type> {
        let at = self.tok.start;
        let shape = self.shape()?;
        let elem = match self.tok.tok {
            Tok::TypeName => match self.type_name()? {
                Alias::Quant(q) => Elem::Quant(q),
                Alias::Type(Type::Scalar(d)) => Elem::Plain(d),
                Alias::Type(_) => return Err(self.mistake(at, "not an element type", None)),
            },
            _ => Elem::Plain(self.dtype()?),
        };
        let layout = if self.eat(b',') { Some(self.layout()?) } else { None };
        self.expect(b'>')?;
        let size = elem.storage().size() as u64;
        let bytes = shape.iter().try_fold(size, |n, &d| n.checked_mul(d.max(1)));
        if bytes.is_none_or(|n| n > MAX_TENSOR_BYTES) {
            return Err(self.mistake(at, "the tensor is too large", None));
        }
        Ok(TensorType { shape, elem, layout }.into())
    }

    /// `<1x8x8x3x`, up to the element type, straight from the source.
    fn shape(&mut self) -> Parse<SmallVec<[u64; 4]>> {
        if !self.at(b'<') {
            return self.expected("'<'");
        }
        let mut shape = SmallVec::new();
        let blank = |rest: &str| rest.len() - rest.trim_start().len();
        let mut pos = self.tok.end + blank(&self.src[self.tok.end..]);
        loop {
            let rest = &self.src[pos..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || rest.as_bytes().get(digits) != Some(&b'x') {
                break;
            }
            match rest[..digits].parse() {
                Ok(extent) if shape.len() < MAX_RANK => shape.push(extent),
                _ => return Err(self.mistake(pos, "the tensor is too large", None)),
            }
            pos += digits + 1;
        }
        self.lex.pos = pos;
        self.advance();
        Ok(shape)
    }

    /// `arena+4096:[16, 1]`.
    fn layout(&mut self) -> Parse<Layout> {
        let at = self.tok.start;
        let word = self.ident("'arena', 'in0' or 'out0'")?;
        let space = match word {
            "arena" => Some(Space::Arena),
            _ => match (word.strip_prefix("in"), word.strip_prefix("out")) {
                (Some(k), _) => k.parse().ok().map(Space::Input),
                (_, Some(k)) => k.parse().ok().map(Space::Output),
                _ => None,
            },
        };
        let Some(space) = space else {
            return Err(self.mistake(at, format!("unknown memory space '{word}'"), None));
        };
        let offset = if self.eat(b'+') { self.uint()? } else { 0 };
        self.expect(b':')?;
        self.expect(b'[')?;
        let strides = self.list(b']', Self::uint)?;
        Ok(Layout { space, offset, strides: strides.into() })
    }

    /// `<25088, slack=64, const>`.
    fn mem_type(&mut self) -> Parse<Type> {
        self.expect(b'<')?;
        let mut mem = MemType { bytes: self.uint()?, slack: 0, constant: false };
        while self.eat(b',') {
            if self.eat_word("const") {
                mem.constant = true;
            } else {
                self.expect_word("slack")?;
                self.expect(b'=')?;
                mem.slack = self.number("a number of bytes")?;
            }
        }
        self.expect(b'>')?;
        Ok(Type::Mem(mem))
    }

    /// `<i8x16>`.
    fn vector_type(&mut self) -> Parse<Type> {
        self.expect(b'<')?;
        let at = self.tok.start;
        let word = self.ident("an element type and a number of lanes, as in i8x16")?;
        self.expect(b'>')?;
        let parts = word.rsplit_once('x').and_then(|(elem, lanes)| {
            Some(Type::Vector { elem: elem.parse().ok()?, lanes: lanes.parse().ok()? })
        });
        parts.ok_or_else(|| self.mistake(at, format!("unknown vector type '{word}'"), None))
    }

    /// `<16x64>`.
    fn tile_type(&mut self) -> Parse<Type> {
        let at = self.tok.start;
        if !self.at(b'<') {
            return self.expected("'<'");
        }
        let text = self.src[self.tok.end..].split('>').next().unwrap_or("");
        let extents = text.trim().split_once('x').and_then(|(rows, bytes)| {
            Some(Type::Tile { rows: rows.parse().ok()?, bytes: bytes.parse().ok()? })
        });
        let Some(ty) = extents else {
            return Err(self.mistake(
                at,
                "expected rows and bytes per row, as in tile<16x64>",
                None,
            ));
        };
        self.lex.pos = self.tok.end + text.len();
        self.advance();
        self.expect(b'>')?;
        Ok(ty)
    }

    /// `<i8<-127:127>:f32:0, {0.02:0, …}>`.
    fn quant_type(&mut self) -> Parse<QuantType> {
        self.expect(b'<')?;
        let storage = self.dtype()?;
        let mut q = QuantType::per_tensor(storage, 1.0, 0);
        if self.eat(b'<') {
            let lo = self.number("a 32-bit integer")?;
            self.expect(b':')?;
            q.range = [lo, self.number("a 32-bit integer")?];
            self.expect(b'>')?;
        }
        self.expect(b':')?;
        q.expressed = self.dtype()?;
        let axis: Option<usize> = if self.eat(b':') { Some(self.number("an axis")?) } else { None };
        self.expect(b',')?;
        q.params = match axis {
            None => QuantParams::PerTensor(self.affine()?),
            Some(axis) => {
                self.expect(b'{')?;
                QuantParams::PerAxis { axis, params: self.list(b'}', Self::affine)? }
            }
        };
        self.expect(b'>')?;
        Ok(q)
    }

    /// `scale` or `scale:zero_point`.
    fn affine(&mut self) -> Parse<Affine> {
        let scale = self.number("a scale")?;
        let zero_point = if self.eat(b':') { self.number("a zero point")? } else { 0 };
        Ok(Affine::new(scale, zero_point))
    }
}
