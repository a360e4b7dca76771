//! `//! run: interp`: runs `main` in the reference interpreter and shows what each op gives.
//!
//! A line `// input: 1 -2 3` gives the next input's elements in order. Constants can be inputs too,
//! so that every number of a test stands there in decimal. Modules at level loop work on bytes: a
//! line says the type that they are written in, `// input: i32 1 -2 3`, and a line `// output: i32`
//! how to read the next output.

use crate::runners::parse_case;
use crate::text_test::{Case, Note};
use qcc_ir::interp::{run_loop_main, run_main_traced};
use qcc_ir::{DType, Level, Module};
use qcc_runtime::Tensor;

/// Runs a case.
///
/// # Errors
/// An input or output line that cannot be read, or that is missing.
pub fn run_interp(case: &Case) -> Result<Vec<Note>, String> {
    let parsed = match parse_case(case) {
        Ok(parsed) => parsed,
        Err(mistakes) => return Ok(mistakes),
    };
    let m = &parsed.module;
    if m.level == Level::Loop {
        return run_bytes(m, case);
    }
    let main = m.main().ok_or("there is no function 'main'")?;
    let inputs = inputs(m, case)?;
    let mut notes = Vec::new();
    let done = run_main_traced(m, &inputs, &mut |op, _, t| {
        notes.push(Note { line: parsed.map.op_line(main, op), text: elements(t) });
    });
    if let Err(e) = done {
        notes.push(Note::whole(format!("error {e}")));
    }
    Ok(notes)
}

fn run_bytes(m: &Module, case: &Case) -> Result<Vec<Note>, String> {
    let of_line = |line| {
        let (dtype, rest) = typed(line)?;
        let n = rest.split_whitespace().count();
        Ok(tensor(dtype, vec![n], rest)?.bytes().to_vec())
    };
    let inputs = lines(case, "input").map(of_line).collect::<Result<Vec<_>, String>>()?;
    let outputs = match run_loop_main(m, &inputs) {
        Ok(outputs) => outputs,
        Err(e) => return Ok(vec![Note::whole(format!("error {e}"))]),
    };
    let types = lines(case, "output").map(|line| Ok(typed(line)?.0));
    let types = types.collect::<Result<Vec<DType>, String>>()?;
    let note = |(bytes, dtype): (Vec<u8>, DType)| {
        let t = Tensor::from_bytes(dtype, [bytes.len() / dtype.size()], bytes);
        t.map(|t| Note::whole(elements(&t))).map_err(|e| e.to_string())
    };
    outputs.into_iter().zip(types).map(note).collect()
}

/// What stands behind `// word:`, line by line.
fn lines<'a>(case: &'a Case, word: &'static str) -> impl Iterator<Item = &'a str> {
    let comments = case.text.lines().filter_map(|line| line.trim_start().strip_prefix("// "));
    comments.filter_map(move |line| line.strip_prefix(word)?.strip_prefix(':'))
}

fn typed(line: &str) -> Result<(DType, &str), String> {
    let line = line.trim_start();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Ok((word.parse().map_err(|e| format!("{line}: {e}"))?, rest))
}

fn inputs(m: &Module, case: &Case) -> Result<Vec<Tensor>, String> {
    let f = &m.funcs[m.main().ok_or("there is no function 'main'")?];
    let types = f.params().iter().map(|&p| f.ty(p).as_tensor());
    let one = |(line, ty): (&str, Option<&qcc_ir::TensorType>)| {
        let ty = ty.ok_or("a parameter is no tensor")?;
        tensor(ty.storage(), ty.shape.iter().map(|&d| d as usize).collect(), line)
    };
    lines(case, "input").zip(types).map(one).collect()
}

fn tensor(dtype: DType, shape: Vec<usize>, line: &str) -> Result<Tensor, String> {
    let mut t = Tensor::zeros(dtype, shape);
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.len() != t.len() {
        return Err(format!("{} numbers for {:?}: {line}", words.len(), t.shape()));
    }
    for (i, word) in words.into_iter().enumerate() {
        let unreadable = || format!("'{word}' is no {dtype}");
        match dtype.is_float() {
            true => t.set_f64(i, word.parse().map_err(|_| unreadable())?),
            false => {
                t.set_i64(i, word.parse().map_err(|_| unreadable())?);
                if t.get_i64(i).to_string() != word {
                    return Err(unreadable());
                }
            }
        }
    }
    Ok(t)
}

/// The elements, in order.
fn elements(t: &Tensor) -> String {
    let words: Vec<String> = match t.dtype() {
        DType::F32 => t.to_f64_vec().iter().map(|&v| format!("{}", v as f32)).collect(),
        DType::F64 => t.to_f64_vec().iter().map(|v| format!("{v}")).collect(),
        _ => t.to_i64_vec().iter().map(|v| format!("{v}")).collect(),
    };
    words.join(" ")
}
