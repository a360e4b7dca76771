//! Tokens of the text form, made on demand: the parser asks for one token at a time and may read
//! shapes (`1x8x8x3x`) straight from the source.
//!
//! The lexer never fails: what it cannot read becomes a [`Tok::Bad`] token, which no rule of the
//! grammar accepts.

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tok {
    /// `quant.conv2d`, `i8`, `level`
    Ident,
    /// `%x`
    Value,
    /// `@w0`; `@"any name"` has quotes in its text
    Symbol,
    /// `!q0`, `!quant.uniform`
    TypeName,
    /// Digits, with an optional fraction and exponent; never a sign
    Number,
    /// `"text"`, with its quotes
    Str,
    /// `hex"00ff"`, with `hex` and quotes
    Hex,
    /// `->`
    Arrow,
    /// One of `( ) { } [ ] < > : , = * + - #`
    Punct(u8),
    /// Something else
    Bad,
    /// End of the text
    End,
}

/// A token and the place of its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub tok: Tok,
    pub start: usize,
    pub end: usize,
}

/// The rest of a text.
pub(super) struct Lexer<'a> {
    pub src: &'a str,
    pub pos: usize,
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$')
}

/// True for a name that needs no quotes after `@`, and that a value may have after `%`.
pub(super) fn is_plain_name(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$');
    starts && name.bytes().all(is_word)
}

impl<'a> Lexer<'a> {
    pub fn new(src: &'a str) -> Self {
        Lexer { src, pos: 0 }
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.src.as_bytes().get(self.pos + ahead).copied().unwrap_or(0)
    }

    fn skip_blank(&mut self) {
        let bytes = self.src.as_bytes();
        loop {
            while self.pos < bytes.len() && bytes[self.pos].is_ascii_whitespace() {
                self.pos += 1;
            }
            if self.byte(0) != b'/' || self.byte(1) != b'/' {
                return;
            }
            let rest = &bytes[self.pos..];
            self.pos += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        }
    }

    /// The next token.
    pub fn next(&mut self) -> Token {
        self.skip_blank();
        let start = self.pos;
        let tok = if start >= self.src.len() { Tok::End } else { self.scan(self.byte(0)) };
        Token { tok, start, end: self.pos }
    }

    fn scan(&mut self, first: u8) -> Tok {
        match first {
            b'%' => self.sigil(Tok::Value),
            b'!' => self.sigil(Tok::TypeName),
            b'@' if self.byte(1) == b'"' => {
                self.pos += 1;
                if self.string() { Tok::Symbol } else { Tok::Bad }
            }
            b'@' => self.sigil(Tok::Symbol),
            b'"' => {
                if self.string() {
                    Tok::Str
                } else {
                    Tok::Bad
                }
            }
            b'-' if self.byte(1) == b'>' => {
                self.pos += 2;
                Tok::Arrow
            }
            b'0'..=b'9' => self.number(),
            b if b.is_ascii_alphabetic() || b == b'_' || b == b'$' => self.word(),
            b if b"(){}[]<>:,=*+-#".contains(&b) => {
                self.pos += 1;
                Tok::Punct(b)
            }
            _ => {
                let c = self.src[self.pos..].chars().next();
                self.pos += c.map_or(1, char::len_utf8);
                Tok::Bad
            }
        }
    }

    fn sigil(&mut self, tok: Tok) -> Tok {
        self.pos += 1;
        let start = self.pos;
        self.skip_while(is_word);
        if self.pos == start { Tok::Bad } else { tok }
    }

    fn skip_while(&mut self, keep: impl Fn(u8) -> bool) {
        let bytes = self.src.as_bytes();
        while self.pos < bytes.len() && keep(bytes[self.pos]) {
            self.pos += 1;
        }
    }

    fn word(&mut self) -> Tok {
        let start = self.pos;
        self.skip_while(is_word);
        if &self.src[start..self.pos] != "hex" || self.byte(0) != b'"' {
            return Tok::Ident;
        }
        self.pos += 1;
        let rest = &self.src.as_bytes()[self.pos..];
        let len = rest.iter().position(|&b| b == b'"');
        self.pos += len.map_or(rest.len(), |n| n + 1);
        if len.is_some() { Tok::Hex } else { Tok::Bad }
    }

    fn number(&mut self) -> Tok {
        self.skip_while(|b| b.is_ascii_digit());
        if self.byte(0) == b'.' && self.byte(1).is_ascii_digit() {
            self.pos += 1;
            self.skip_while(|b| b.is_ascii_digit());
        }
        if matches!(self.byte(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            if self.byte(1 + sign).is_ascii_digit() {
                self.pos += 1 + sign;
                self.skip_while(|b| b.is_ascii_digit());
            }
        }
        Tok::Number
    }

    /// Skips a string that ends on its line; false if it does not.
    fn string(&mut self) -> bool {
        self.pos += 1;
        loop {
            self.skip_while(|b| !matches!(b, b'"' | b'\\' | b'\n'));
            match self.byte(0) {
                b'"' => {
                    self.pos += 1;
                    return true;
                }
                b'\\' if !matches!(self.byte(1), b'\n' | 0) => {
                    self.pos += 1;
                    let c = self.src[self.pos..].chars().next();
                    self.pos += c.map_or(0, char::len_utf8);
                }
                _ => return false,
            }
        }
    }
}

/// `text` in quotes, with escapes for what a string on one line cannot hold.
pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The text that `quoted` (with its quotes) stands for; `None` for an unknown escape.
pub(super) fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            '"' => out.push('"'),
            '\\' => out.push('\\'),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'u' => {
                let rest = chars.as_str().strip_prefix('{')?;
                let (code, after) = rest.split_once('}')?;
                out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                chars = after.chars();
            }
            _ => return None,
        }
    }
    Some(out)
}

const BAD_DIGIT: u8 = 0xff;

const fn digit_values() -> [u8; 256] {
    let mut table = [BAD_DIGIT; 256];
    let mut i = 0;
    while i < 10 {
        table[b'0' as usize + i] = i as u8;
        i += 1;
    }
    i = 0;
    while i < 6 {
        table[b'a' as usize + i] = 10 + i as u8;
        table[b'A' as usize + i] = 10 + i as u8;
        i += 1;
    }
    table
}

/// The bytes of a [`Tok::Hex`] token's text; blanks between bytes are skipped.
///
/// # Errors
/// The offset of the first character that is no pair of digits.
pub(super) fn unhex(token: &str) -> Result<Vec<u8>, usize> {
    static VALUES: [u8; 256] = digit_values();
    const OPEN: usize = "hex\"".len();
    let text = &token.as_bytes()[OPEN..token.len() - 1];
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut i = 0;
    while i < text.len() {
        if text[i].is_ascii_whitespace() {
            i += 1;
            continue;
        }
        let low = text.get(i + 1).map_or(BAD_DIGIT, |&b| VALUES[b as usize]);
        let high = VALUES[text[i] as usize];
        if high == BAD_DIGIT || low == BAD_DIGIT {
            return Err(OPEN + i);
        }
        out.push(high << 4 | low);
        i += 2;
    }
    Ok(out)
}

/// Appends two digits per byte.
pub(super) fn hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &b in bytes {
        out.push(DIGITS[(b >> 4) as usize] as char);
        out.push(DIGITS[(b & 15) as usize] as char);
    }
}
