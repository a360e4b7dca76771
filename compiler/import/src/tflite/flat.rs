//! A bounds-checked reader of FlatBuffers: tables, vectors and strings by field number.
//!
//! Every access is checked against the file; a wrong offset gives [`Malformed`], never a panic.
//! Nothing is copied until it is asked for, and a claimed length is compared with the bytes that
//! are there before anything is allocated.

/// An offset or length that does not fit the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

type Read<T> = Result<T, Malformed>;

/// A table at a position of the file.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    buf: &'a [u8],
    pos: usize,
    vtable: usize,
    fields: usize,
}

/// A number of fixed size, little endian.
pub trait Number: Sized {
    /// Bytes.
    const SIZE: usize;
    /// From exactly [`Number::SIZE`] bytes.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl Number for $t {
            const SIZE: usize = size_of::<$t>();
            fn read(bytes: &[u8]) -> Self {
                <$t>::from_le_bytes(bytes.try_into().expect("the caller cut SIZE bytes"))
            }
        }
    )*};
}
number!(u8, i8, u16, i32, u32, i64, u64, f32);

fn number_at<T: Number>(buf: &[u8], pos: usize) -> Read<T> {
    let end = pos.checked_add(T::SIZE).ok_or(Malformed)?;
    buf.get(pos..end).map(T::read).ok_or(Malformed)
}

/// Follows the relative offset stored at `pos`.
fn follow(buf: &[u8], pos: usize) -> Read<usize> {
    let offset = number_at::<u32>(buf, pos)? as usize;
    let to = pos.checked_add(offset).ok_or(Malformed)?;
    if offset == 0 || to >= buf.len() { Err(Malformed) } else { Ok(to) }
}

impl<'a> Table<'a> {
    /// The root table of a file.
    pub fn root(buf: &'a [u8]) -> Read<Table<'a>> {
        Table::at(buf, follow(buf, 0)?)
    }

    fn at(buf: &'a [u8], pos: usize) -> Read<Table<'a>> {
        let back = i64::from(number_at::<i32>(buf, pos)?);
        let vtable = usize::try_from(pos as i64 - back).map_err(|_| Malformed)?;
        let bytes = usize::from(number_at::<u16>(buf, vtable)?);
        if bytes < 4 || vtable.checked_add(bytes).is_none_or(|end| end > buf.len()) {
            return Err(Malformed);
        }
        Ok(Table { buf, pos, vtable, fields: (bytes - 4) / 2 })
    }

    /// Position of a field's value; `None` when the file leaves it out.
    fn field(&self, id: usize) -> Read<Option<usize>> {
        if id >= self.fields {
            return Ok(None);
        }
        match number_at::<u16>(self.buf, self.vtable + 4 + 2 * id)? {
            0 => Ok(None),
            offset => Ok(Some(self.pos + usize::from(offset))),
        }
    }

    /// A number, or its default.
    pub fn number<T: Number>(&self, id: usize, default: T) -> Read<T> {
        match self.field(id)? {
            Some(pos) => number_at(self.buf, pos),
            None => Ok(default),
        }
    }

    /// A truth value, or its default.
    pub fn bool(&self, id: usize, default: bool) -> Read<bool> {
        Ok(self.number(id, u8::from(default))? != 0)
    }

    /// A table.
    pub fn table(&self, id: usize) -> Read<Option<Table<'a>>> {
        match self.field(id)? {
            Some(pos) => Table::at(self.buf, follow(self.buf, pos)?).map(Some),
            None => Ok(None),
        }
    }

    /// Start and number of a vector's elements of `size` bytes.
    fn vector(&self, id: usize, size: usize) -> Read<Option<(usize, usize)>> {
        let Some(pos) = self.field(id)? else { return Ok(None) };
        let at = follow(self.buf, pos)?;
        let n = number_at::<u32>(self.buf, at)? as usize;
        let end = n.checked_mul(size).and_then(|b| b.checked_add(at + 4)).ok_or(Malformed)?;
        if end > self.buf.len() { Err(Malformed) } else { Ok(Some((at + 4, n))) }
    }

    /// The bytes of a vector of bytes.
    pub fn bytes(&self, id: usize) -> Read<Option<&'a [u8]>> {
        Ok(self.vector(id, 1)?.map(|(at, n)| &self.buf[at..at + n]))
    }

    /// A vector of numbers; empty when left out.
    pub fn numbers<T: Number>(&self, id: usize) -> Read<Vec<T>> {
        let Some((at, n)) = self.vector(id, T::SIZE)? else { return Ok(vec![]) };
        Ok(self.buf[at..at + n * T::SIZE].chunks_exact(T::SIZE).map(T::read).collect())
    }

    /// A vector of tables; empty when left out.
    pub fn tables(&self, id: usize) -> Read<Vec<Table<'a>>> {
        let Some((at, n)) = self.vector(id, 4)? else { return Ok(vec![]) };
        (0..n).map(|i| Table::at(self.buf, follow(self.buf, at + 4 * i)?)).collect()
    }

    /// A string; bytes that are not UTF-8 are replaced.
    pub fn string(&self, id: usize) -> Read<Option<String>> {
        Ok(self.bytes(id)?.map(|b| String::from_utf8_lossy(b).into_owned()))
    }
}
