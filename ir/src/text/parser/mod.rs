//! Text to module: a recursive descent over [`super::lexer`] tokens, one function per rule of the
//! grammar in [`super`].
//!
//! Every mistake is reported: after one, the parser goes on with the next op, and values that the
//! faulty op would have defined stay silent. Nothing here panics, whatever the input: nesting,
//! sizes and the number of diagnostics have limits, stated below.

mod ops;
mod types;

use super::Diagnostic;
use super::lexer::{Lexer, Tok, Token, is_plain_name, unhex, unquote};
use crate::dialect::core;
use crate::{
    Data, DataId, Func, FuncId, FuncKind, Level, Module, Numerics, OpId, OpKind, Type, Value,
};
use indexmap::IndexMap;
use std::collections::HashMap;
use types::Alias;

/// Regions inside regions, and locations inside locations.
const MAX_DEPTH: usize = 64;
/// Reports beyond this many say nothing new.
const MAX_DIAGNOSTICS: usize = 100;

/// The module that `text` spells; `file` is the name used in diagnostics.
///
/// # Errors
/// All mistakes found, at least one. Only the text's form is checked: see [`crate::verify`].
pub fn parse(text: &str, file: &str) -> Result<Module, Vec<Diagnostic>> {
    parse_mapped(text, file).map(|parsed| parsed.module)
}

/// A module and where its parts stand in the text.
#[derive(Debug)]
pub struct Parsed {
    /// The module.
    pub module: Module,
    /// Line numbers.
    pub map: SourceMap,
}

/// Line numbers (from 1) of functions and ops.
#[derive(Clone, Default, Debug)]
pub struct SourceMap {
    funcs: HashMap<FuncId, u32>,
    ops: HashMap<(FuncId, OpId), u32>,
}

impl SourceMap {
    /// The line where an op's text begins.
    pub fn op_line(&self, func: FuncId, op: OpId) -> Option<u32> {
        self.ops.get(&(func, op)).copied()
    }
    /// The line where a function's text begins.
    pub fn func_line(&self, func: FuncId) -> Option<u32> {
        self.funcs.get(&func).copied()
    }
}

/// As [`parse`], with line numbers.
///
/// # Errors
/// As [`parse`].
pub fn parse_mapped(text: &str, file: &str) -> Result<Parsed, Vec<Diagnostic>> {
    let mut p = Parser::new(text);
    let parsed = p.file();
    let lines = LineStarts::of(text);
    if p.mistakes.is_empty() && parsed.is_ok() {
        let map = SourceMap {
            funcs: p.func_starts.iter().map(|(&f, &at)| (f, lines.line_col(at).0)).collect(),
            ops: p.op_starts.iter().map(|&(f, op, at)| ((f, op), lines.line_col(at).0)).collect(),
        };
        return Ok(Parsed { module: p.module, map });
    }
    p.mistakes.sort_by_key(|m| m.at);
    let to_diagnostic = |m: Mistake| {
        let (line, col) = lines.line_col(m.at);
        Diagnostic { file: file.to_string(), line, col, message: m.message, hint: m.hint }
    };
    Err(p.mistakes.into_iter().map(to_diagnostic).collect())
}

struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        let after = |(i, b): (usize, u8)| (b == b'\n').then_some(i + 1);
        LineStarts(std::iter::once(0).chain(text.bytes().enumerate().filter_map(after)).collect())
    }
    fn line_col(&self, at: usize) -> (u32, u32) {
        let line = self.0.partition_point(|&start| start <= at);
        (line as u32, (at - self.0[line - 1] + 1) as u32)
    }
}

struct Mistake {
    at: usize,
    message: String,
    hint: Option<String>,
}

/// A rule did not apply; the reason is already among the mistakes.
struct Failed;
type Parse<T> = Result<T, Failed>;

struct Parser<'a> {
    src: &'a str,
    lex: Lexer<'a>,
    tok: Token,
    /// End of the token before `tok`.
    prev_end: usize,
    /// Braces opened and not closed before `tok`.
    braces: usize,
    depth: usize,
    mistakes: Vec<Mistake>,
    aliases: HashMap<&'a str, Option<Alias>>,
    module: Module,
    /// Data names in order of first use, and where that is; the index is the provisional id.
    data_uses: IndexMap<String, usize>,
    func_id: FuncId,
    /// Values in sight; `None` if their definition was faulty.
    names: HashMap<&'a str, Option<Value>>,
    /// What each binding so far replaced, to be undone at the end of its block.
    shadowed: Vec<(&'a str, Option<Option<Value>>)>,
    func_starts: HashMap<FuncId, usize>,
    op_starts: Vec<(FuncId, OpId, usize)>,
}

impl<'a> Parser<'a> {
    fn new(src: &'a str) -> Self {
        let mut lex = Lexer::new(src);
        let tok = lex.next();
        Parser {
            src,
            lex,
            tok,
            prev_end: 0,
            braces: 0,
            depth: 0,
            mistakes: Vec::new(),
            aliases: HashMap::new(),
            module: Module::new("", Level::Nn, Numerics::Real),
            data_uses: IndexMap::new(),
            func_id: FuncId::from_u32(0),
            names: HashMap::new(),
            shadowed: Vec::new(),
            func_starts: HashMap::new(),
            op_starts: Vec::new(),
        }
    }

    // ---- tokens ----

    fn text(&self) -> &'a str {
        &self.src[self.tok.start..self.tok.end]
    }

    fn advance(&mut self) -> Token {
        let token = self.tok;
        match token.tok {
            Tok::Punct(b'{') => self.braces += 1,
            Tok::Punct(b'}') => self.braces = self.braces.saturating_sub(1),
            _ => {}
        }
        self.prev_end = token.end;
        self.tok = self.lex.next();
        token
    }

    /// True when the current token stands on the line where the last one ended.
    fn same_line(&self) -> bool {
        !self.src[self.prev_end..self.tok.start].contains('\n')
    }

    fn at(&self, punct: u8) -> bool {
        self.tok.tok == Tok::Punct(punct)
    }

    fn eat(&mut self, punct: u8) -> bool {
        let found = self.at(punct);
        if found {
            self.advance();
        }
        found
    }

    fn at_word(&self, word: &str) -> bool {
        self.tok.tok == Tok::Ident && self.text() == word
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn mistake(&mut self, at: usize, message: impl Into<String>, hint: Option<String>) -> Failed {
        if self.mistakes.len() < MAX_DIAGNOSTICS {
            self.mistakes.push(Mistake { at, message: message.into(), hint });
        }
        Failed
    }

    fn expected<T>(&mut self, what: &str) -> Parse<T> {
        let found = match self.tok.tok {
            Tok::End => "the end of the text".to_string(),
            Tok::Hex => "hex data".to_string(),
            Tok::Bad if self.text().starts_with(['"', '@']) => "an unterminated string".to_string(),
            Tok::Bad if self.text().starts_with("hex") => "unterminated hex data".to_string(),
            _ => format!("'{}'", self.text()),
        };
        Err(self.mistake(self.tok.start, format!("expected {what}, found {found}"), None))
    }

    fn expect(&mut self, punct: u8) -> Parse<()> {
        if self.eat(punct) { Ok(()) } else { self.expected(&format!("'{}'", punct as char)) }
    }

    fn expect_word(&mut self, word: &str) -> Parse<()> {
        if self.eat_word(word) { Ok(()) } else { self.expected(&format!("'{word}'")) }
    }

    fn ident(&mut self, what: &str) -> Parse<&'a str> {
        let text = self.text();
        if self.tok.tok != Tok::Ident {
            return self.expected(what);
        }
        self.advance();
        Ok(text)
    }

    /// The name of a [`Tok::Symbol`], without `@` and quotes.
    fn symbol(&mut self) -> Parse<String> {
        let text = self.text();
        if self.tok.tok != Tok::Symbol {
            return self.expected("'@name'");
        }
        let at = self.advance().start;
        let name = &text[1..];
        if !name.starts_with('"') {
            return Ok(name.to_string());
        }
        unquote(name).ok_or_else(|| self.mistake(at, "unknown escape in name", None))
    }

    fn string(&mut self) -> Parse<String> {
        let text = self.text();
        if self.tok.tok != Tok::Str {
            return self.expected("a string in quotes");
        }
        let at = self.advance().start;
        unquote(text).ok_or_else(|| self.mistake(at, "unknown escape in string", None))
    }

    /// `first, second, …` up to and including `close`.
    fn list<T>(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Parse<T>) -> Parse<Vec<T>> {
        let mut out = Vec::new();
        if self.eat(close) {
            return Ok(out);
        }
        loop {
            out.push(item(self)?);
            if self.eat(close) {
                return Ok(out);
            }
            if !self.eat(b',') {
                return self.expected(&format!("',' or '{}'", close as char));
            }
        }
    }

    // ---- numbers ----

    /// An optional sign and the text of a number.
    fn number_text(&mut self, what: &str) -> Parse<(usize, String)> {
        let at = self.tok.start;
        let sign = if self.eat(b'-') { "-" } else { "" };
        let is_number = self.tok.tok == Tok::Number || self.at_word("inf") || self.at_word("nan");
        if !is_number {
            return self.expected(what);
        }
        let text = format!("{sign}{}", self.text());
        self.advance();
        Ok((at, text))
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Parse<T> {
        let (at, text) = self.number_text(what)?;
        text.parse().map_err(|_| self.mistake(at, format!("expected {what}, found '{text}'"), None))
    }

    fn int(&mut self) -> Parse<i64> {
        self.number("an integer")
    }

    fn uint(&mut self) -> Parse<u64> {
        self.number("an unsigned integer")
    }

    // ---- the file ----

    fn file(&mut self) -> Parse<()> {
        while self.tok.tok == Tok::TypeName {
            self.alias();
        }
        self.module_header()?;
        while !self.at(b'}') {
            match self.text() {
                "func" | "kernel" => self.func(),
                _ => return self.expected("'func', 'kernel' or '}'"),
            }
        }
        self.advance();
        let mut blocks = IndexMap::new();
        while self.at_word("data") {
            if self.data(&mut blocks).is_err() {
                self.skip_to_line(|p| p.at_word("data"));
            }
        }
        if self.tok.tok != Tok::End {
            return self.expected("'data' or the end of the text");
        }
        self.resolve_data(blocks);
        Ok(())
    }

    fn skip_to_line(&mut self, starts: impl Fn(&Self) -> bool) {
        while self.tok.tok != Tok::End && (self.same_line() || !starts(self)) {
            self.advance();
        }
    }

    fn module_header(&mut self) -> Parse<()> {
        self.expect_word("module")?;
        self.module.name = self.symbol()?;
        self.module.level = self.named("level", Level::from_name)?;
        self.module.numerics = self.named("numerics", Numerics::from_name)?;
        self.expect(b'{')
    }

    /// `what(name)`.
    fn named<T>(&mut self, what: &str, from_name: fn(&str) -> Option<T>) -> Parse<T> {
        self.expect_word(what)?;
        self.expect(b'(')?;
        let at = self.tok.start;
        let name = self.ident(what)?;
        self.expect(b')')?;
        from_name(name).ok_or_else(|| self.mistake(at, format!("unknown {what} '{name}'"), None))
    }

    fn func(&mut self) {
        let (at, braces) = (self.tok.start, self.braces);
        self.names.clear();
        self.shadowed.clear();
        self.func_id = self.module.funcs.next_key();
        if let Ok(func) = self.func_text() {
            self.func_starts.insert(self.func_id, at);
            self.module.funcs.push(func);
            return;
        }
        let is_next = |p: &Self| p.at_word("func") || p.at_word("kernel") || p.at(b'}');
        while self.tok.tok != Tok::End && !(self.braces == braces && is_next(self)) {
            self.advance();
        }
    }

    fn func_text(&mut self) -> Parse<Func> {
        let kind = if self.at_word("kernel") { FuncKind::Kernel } else { FuncKind::Main };
        self.advance();
        let name = self.symbol()?;
        let mut func = Func::new(&name, kind, &[]);
        let body = func.body;
        self.region_args(&mut func, body)?;
        let declared_at = self.tok.start;
        let declared = self.result_types()?;
        if self.eat_word("inputs") {
            func.input_names = self.strings()?;
        }
        if self.eat_word("outputs") {
            func.output_names = self.strings()?;
        }
        let mistakes = self.mistakes.len();
        self.block(&mut func, body)?;
        if self.mistakes.len() == mistakes {
            self.check_result_types(&func, declared_at, &declared);
        }
        Ok(func)
    }

    fn strings(&mut self) -> Parse<Vec<String>> {
        self.expect(b'(')?;
        self.list(b')', Self::string)
    }

    fn result_types(&mut self) -> Parse<Vec<Type>> {
        if self.tok.tok != Tok::Arrow {
            return Ok(Vec::new());
        }
        self.advance();
        if self.eat(b'(') { self.list(b')', Self::ty) } else { Ok(vec![self.ty()?]) }
    }

    fn check_result_types(&mut self, func: &Func, at: usize, declared: &[Type]) {
        let is_return = |&op: &OpId| matches!(func.kind(op), OpKind::Core(core::Op::Return(_)));
        if !func.body_ops().last().is_some_and(is_return) {
            return;
        }
        let returned = func.returned();
        if returned.len() != declared.len() {
            let (n, k) = (declared.len(), returned.len());
            self.mistake(at, format!("{n} result types are declared, {k} values returned"), None);
        } else if returned.iter().zip(declared).any(|(&v, ty)| func.ty(v) != ty) {
            self.mistake(at, "the types of the returned values are not those declared", None);
        }
    }

    // ---- data ----

    /// The id that `name` has until [`Self::resolve_data`].
    fn data_ref(&mut self, name: String, at: usize) -> DataId {
        let entry = self.data_uses.entry(name);
        let id = DataId::from_u32(entry.index() as u32);
        entry.or_insert(at);
        id
    }

    fn data(&mut self, blocks: &mut IndexMap<String, Vec<u8>>) -> Parse<()> {
        self.advance();
        let at = self.tok.start;
        let name = self.symbol()?;
        self.expect(b'=')?;
        let text = self.text();
        if self.tok.tok != Tok::Hex {
            return self.expected("hex\"…\"");
        }
        let start = self.advance().start;
        let bytes = unhex(text).map_err(|offset| {
            self.mistake(start + offset, "expected two hexadecimal digits", None)
        })?;
        match blocks.insert(name.clone(), bytes) {
            None => Ok(()),
            Some(_) => Err(self.mistake(at, format!("'@{name}' is defined twice"), None)),
        }
    }

    /// Gives each data block its id, in order of definition, and each use of it.
    fn resolve_data(&mut self, blocks: IndexMap<String, Vec<u8>>) {
        let mut ids = Vec::with_capacity(self.data_uses.len());
        for (name, at) in std::mem::take(&mut self.data_uses) {
            let index = blocks.get_index_of(&name);
            if index.is_none() {
                let hint = "data blocks stand behind the module: data @name = hex\"…\"";
                self.mistake(at, format!("'@{name}' is not defined"), Some(hint.to_string()));
            }
            ids.push(DataId::from_u32(index.unwrap_or(0) as u32));
        }
        for (name, bytes) in blocks {
            self.module.data.push(Data { name, bytes: bytes.into() });
        }
        for f in self.module.funcs.values_mut() {
            for op in f.walk() {
                if let OpKind::Core(core::Op::Const(c)) = f.kind_mut(op) {
                    c.data = ids[c.data.as_u32() as usize];
                }
            }
        }
    }

    // ---- values ----

    /// Makes `name` mean `value` from here on, and hints at it.
    fn define(&mut self, func: &mut Func, name: &'a str, at: usize, value: Value) {
        if is_plain_name(name) {
            func.set_name(value, name);
        }
        if let Some(Some(_)) = self.bind(name, Some(value)) {
            self.mistake(at, format!("'%{name}' is defined twice"), None);
        }
    }

    fn bind(&mut self, name: &'a str, value: Option<Value>) -> Option<Option<Value>> {
        let before = self.names.insert(name, value);
        self.shadowed.push((name, before));
        before
    }

    /// Puts names out of sight that were bound since `shadowed` had length `len`.
    fn unbind(&mut self, len: usize) {
        for (name, before) in self.shadowed.drain(len..).rev() {
            match before {
                Some(value) => self.names.insert(name, value),
                None => self.names.remove(name),
            };
        }
    }

    /// The name of a [`Tok::Value`], without `%`, and where it stands.
    fn value_name(&mut self) -> Parse<(&'a str, usize)> {
        let text = self.text();
        if self.tok.tok != Tok::Value {
            return self.expected("'%value'");
        }
        Ok((&text[1..], self.advance().start))
    }

    fn value(&mut self) -> Parse<Value> {
        let (name, at) = self.value_name()?;
        match self.names.get(name) {
            Some(&value) => value.ok_or(Failed),
            None => {
                let hint = "values are defined above their use, in the same or an enclosing block";
                let message = format!("'%{name}' is not defined here");
                Err(self.mistake(at, message, Some(hint.to_string())))
            }
        }
    }
}
