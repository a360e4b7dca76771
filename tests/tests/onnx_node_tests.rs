//! The node tests of the `onnx` package, each operator's examples with their outputs, and its light
//! networks: real topologies with weights that are all alike, run as code only.
//!
//! `tests/onnx/node_tests.py` writes them (`.ci/run` calls it) to `target/onnx-node-tests`, or
//! wherever `QCC_ONNX_NODE_TESTS` says; without them the test is shown as ignored. A test's model
//! comes in three forms (see the script): all inputs at run time, all but the first constant, all
//! constant. Every form that imports must give the right outputs, in the interpreter and in the
//! code for this CPU: integers exactly, floats within the test's own tolerances (1e-3 relative,
//! 1e-7 absolute, mostly; passes may change the order of a float sum; 2^-9 where the output is of
//! float16, which qcc computes with float32). What is not imported must say why.
//!
//! `docs/onnx-node-tests.md` is the expected result; `QCC_BLESS=1` writes it. `QCC_ONNX_OP=Conv`
//! runs one operator's tests and prints them; `QCC_ONNX_OP=test_conv_` those whose name begins so.

use indexmap::IndexMap;
use libtest_mimic::{Arguments, Failed, Trial};
use qcc::{Compiler, Tensor};
use qcc_tests::golden::{root, run_jit};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const FORMS: [&str; 3] = ["run_time", "parameters", "constant"];
/// The operators on quantized tensors, which the table shows first.
const QUANTIZED: [&str; 7] = [
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
];

/// What stands for an operator in whole networks.
const NETWORK: &str = "Network";

/// What came of a test.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// Right in this form, and in all later ones.
    Pass(usize),
    /// Refused, with the reason.
    Refused(String),
    /// Wrong numbers, a panic, or an error where there must be none.
    Fail(String),
}

/// A test of the package.
struct NodeTest {
    name: String,
    op: String,
    folder: PathBuf,
}

type Arrays = IndexMap<String, Tensor>;

// ---- one test ----

fn run(test: &NodeTest) -> Outcome {
    let arrays = match qcc::npz::read_npz(&test.folder.join("case.npz")) {
        Ok(arrays) => arrays.into_iter().collect::<Arrays>(),
        Err(e) => return Outcome::Fail(e.to_string()),
    };
    let mut passed = None;
    let mut refused: [Option<String>; 3] = [None, None, None];
    for (k, form) in FORMS.iter().enumerate() {
        let path = test.folder.join(format!("{form}.onnx"));
        if !path.exists() {
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| run_form(&path, &arrays, test.op != NETWORK))) {
            Ok(Ok(())) => _ = passed.get_or_insert(k),
            Ok(Err(Outcome::Refused(why))) => refused[k] = Some(why),
            Ok(Err(Outcome::Fail(why))) => return Outcome::Fail(format!("{form}: {why}")),
            Ok(Err(other)) => return other,
            Err(_) => return Outcome::Fail(format!("{form}: a panic")),
        }
    }
    // What is said of constant parameters is more than that they must be constant.
    let [run_time, parameters, constant] = refused;
    match (passed, parameters.or(run_time).or(constant)) {
        (Some(k), _) => Outcome::Pass(k),
        (None, Some(why)) => Outcome::Refused(why),
        (None, None) => Outcome::Fail("no model".into()),
    }
}

fn run_form(path: &Path, arrays: &Arrays, interpreted: bool) -> Result<(), Outcome> {
    let compiler = Compiler::new();
    let source = compiler.read(path).map_err(|e| refusal(&e))?;
    let model = compiler.compile(&source).map_err(|e| refusal(&e))?;
    for k in (0..).take_while(|k| arrays.contains_key(&format!("case{k}_out0"))) {
        let find = |key: String| arrays.get(&key).ok_or(Outcome::Fail(format!("no array {key}")));
        let input = |d: &qcc::TensorDesc| Ok(find(format!("case{k}_in:{}", d.name))?.clone());
        let inputs: Vec<Tensor> =
            source.inputs.iter().map(input).collect::<Result<_, Outcome>>()?;
        let check = |what: &str, outputs: &[Tensor]| {
            for (j, output) in outputs.iter().enumerate() {
                let golden = find(format!("case{k}_out{j}"))?;
                close(output, golden, arrays)
                    .map_err(|e| Outcome::Fail(format!("{what}output {j}: {e}")))?;
            }
            Ok::<(), Outcome>(())
        };
        if interpreted {
            check("", &qcc::interpret(&source.module, &inputs).map_err(Outcome::Fail)?)?;
        }
        check("code, ", &run_jit(&model, &inputs).map_err(|e| Outcome::Fail(e.to_string()))?)?;
    }
    Ok(())
}

/// The first thing that qcc says, without the file's name.
fn refusal(e: &qcc::Error) -> Outcome {
    match e {
        qcc::Error::Import { source, .. } => {
            let p = &source.problems[0];
            Outcome::Refused(p.what.clone())
        }
        qcc::Error::Verify { errors, .. } => Outcome::Fail(format!("verifier: {}", errors[0])),
        other => Outcome::Refused(format!("compiling: {}", other.details()[0])),
    }
}

fn close(got: &Tensor, golden: &Tensor, arrays: &Arrays) -> Result<(), String> {
    if (got.dtype(), got.shape()) != (golden.dtype(), golden.shape()) {
        let show = |t: &Tensor| format!("{} {:?}", t.dtype(), t.shape());
        return Err(format!("{}, not {}", show(got), show(golden)));
    }
    let number = |key: &str| arrays.get(key).map_or(0.0, |t| t.get_f64(0));
    let (rtol, atol) = (number("rtol"), number("atol"));
    for i in 0..got.len() {
        let (g, w) = (got.get_f64(i), golden.get_f64(i));
        let is_close = match got.dtype().is_float() {
            true => g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= atol + rtol * w.abs(),
            false => got.get_i64(i) == golden.get_i64(i),
        };
        if !is_close {
            return Err(format!("element {i} is {g}, not {w}"));
        }
    }
    Ok(())
}

// ---- the table ----

/// Results of all tests of one operator.
#[derive(Default)]
struct Row {
    total: usize,
    passed: [usize; 3],
    /// Why tests are refused, and which.
    refused: IndexMap<String, Vec<String>>,
}

fn rows(results: &[(&NodeTest, Outcome)]) -> IndexMap<String, Row> {
    let mut rows: IndexMap<String, Row> = IndexMap::new();
    for (test, outcome) in results {
        let row = rows.entry(test.op.clone()).or_default();
        row.total += 1;
        match outcome {
            Outcome::Pass(k) => row.passed[*k] += 1,
            Outcome::Refused(why) | Outcome::Fail(why) => {
                row.refused.entry(why.clone()).or_default().push(test.name.clone());
            }
        }
    }
    rows.sort_keys();
    rows
}

fn report(version: &str, results: &[(&NodeTest, Outcome)]) -> String {
    let rows = rows(results);
    let imported = |op: &str| op.split('+').all(|op| qcc_import::onnx::supported().contains(&op));
    let is_quantized = |op: &str| QUANTIZED.contains(&op);
    let groups: [(&str, Vec<(&String, &Row)>); 4] = [
        ("Whole networks", pick(&rows, |op| op == NETWORK)),
        ("Operators on quantized tensors", pick(&rows, is_quantized)),
        ("Other operators that qcc imports", pick(&rows, |op| !is_quantized(op) && imported(op))),
        (
            "Operators that qcc does not import",
            pick(&rows, |op| op != NETWORK && !is_quantized(op) && !imported(op)),
        ),
    ];
    let mut out = String::from("# ONNX node tests\n\n");
    out += "What `cargo test -p qcc-tests --test onnx_node_tests` finds; `QCC_BLESS=1` writes this file.\n";
    out += &format!(
        "The tests are those of the pip package {version}: one node each, everything an input, the outputs\n"
    );
    out += "given. Interpreter and compiled code must both give them: integers exactly, floats within the tests' own\n";
    out += "tolerances (1e-3 relative and 1e-7 absolute, mostly; 2^-9 relative for outputs of float16, which qcc\n";
    out += "computes and gives as float32). A test passes **at run time** with all inputs\n";
    out += "given at run time, **with parameters** when all but the first are constants, as in real models, and\n";
    out += "**at import** when the whole node is constant and leaves no op. No test gives a wrong output; a test that\n";
    out += "does not pass is refused, for the reason stated. Whole networks are those of the package's folder `light`\n";
    out += "(AlexNet, DenseNet, Inception v1 and v2, ResNet, ShuffleNet, SqueezeNet, VGG, ZFNet), run as code only.\n\n";
    out += "| | tests | at run time | with parameters | at import | refused |\n|---|---|---|---|---|---|\n";
    for (title, rows) in &groups {
        line(&mut out, title, &sum(rows));
    }
    for (title, rows) in &groups {
        if *title == "Whole networks" {
            continue;
        }
        write!(out, "\n## {title}\n\n").expect("a string takes it");
        if *title == "Operators that qcc does not import" {
            let all: Vec<String> =
                rows.iter().map(|(op, row)| format!("{op} ({})", refused(row))).collect();
            writeln!(out, "{}", wrapped(&all.join(", "))).expect("a string takes it");
            continue;
        }
        out += "| operator | tests | at run time | with parameters | at import | refused |\n|---|---|---|---|---|---|\n";
        for (op, row) in rows {
            line(&mut out, op, row);
        }
        reasons(&mut out, rows);
    }
    out
}

fn pick(rows: &IndexMap<String, Row>, of: impl Fn(&str) -> bool) -> Vec<(&String, &Row)> {
    rows.iter().filter(|(op, _)| of(op)).collect()
}

fn refused(row: &Row) -> usize {
    row.total - row.passed.iter().sum::<usize>()
}

fn sum(rows: &[(&String, &Row)]) -> Row {
    let mut all = Row::default();
    for (_, row) in rows {
        all.total += row.total;
        (0..3).for_each(|k| all.passed[k] += row.passed[k]);
    }
    all
}

fn line(out: &mut String, title: &str, row: &Row) {
    let [a, b, c] = row.passed;
    let (total, refused) = (row.total, refused(row));
    writeln!(out, "| {title} | {total} | {a} | {b} | {c} | {refused} |")
        .expect("a string takes it");
}

fn reasons(out: &mut String, rows: &[(&String, &Row)]) {
    out.push_str("\nRefused:\n\n");
    for (op, row) in rows.iter().filter(|(_, row)| refused(row) > 0) {
        writeln!(out, "- {op}").expect("a string takes it");
        for (why, tests) in &row.refused {
            let tests: Vec<&str> = tests.iter().map(|t| t.trim_start_matches("test_")).collect();
            writeln!(out, "  - {why}: {}", tests.join(", ")).expect("a string takes it");
        }
    }
}

/// Lines of at most 110 characters.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        if width > 0 && width + 1 + word.len() > 110 {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word.len();
    }
    out
}

// ---- all tests ----

fn folder() -> PathBuf {
    match std::env::var_os("QCC_ONNX_NODE_TESTS") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("../target/onnx-node-tests"),
    }
}

fn find(folder: &Path) -> Option<(String, Vec<NodeTest>)> {
    let text = std::fs::read_to_string(folder.join("tests.txt")).ok()?;
    let (version, rest) = text.split_once('\n')?;
    let test = |line: &str| {
        let (name, op) = line.split_once(' ')?;
        Some(NodeTest { name: name.into(), op: op.into(), folder: folder.join(name) })
    };
    Some((version.to_string(), rest.lines().filter_map(test).collect()))
}

fn run_all(tests: &[NodeTest]) -> Vec<(&NodeTest, Outcome)> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(test) = tests.get(i) else { return };
            let outcome = run(test);
            results.lock().expect("no thread panics with the lock").push((i, outcome));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut results = results.into_inner().expect("no thread panicked");
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(i, outcome)| (&tests[i], outcome)).collect()
}

fn check(version: &str, tests: &[NodeTest]) -> Result<(), Failed> {
    let only = std::env::var("QCC_ONNX_OP").ok();
    if let Some(only) = only {
        for test in tests.iter().filter(|t| t.op == only || t.name.starts_with(&only)) {
            println!("{} {}: {:?}", test.op, test.name, run(test));
        }
        return Ok(());
    }
    let results = run_all(tests);
    let failures: Vec<String> = results
        .iter()
        .filter_map(|(test, outcome)| match outcome {
            Outcome::Fail(why) => Some(format!("{} {}: {why}", test.op, test.name)),
            _ => None,
        })
        .collect();
    let text = report(version, &results);
    let path = root().join("../docs/onnx-node-tests.md");
    if std::env::var("QCC_BLESS").is_ok_and(|v| v == "1") {
        std::fs::write(&path, &text)?;
    }
    if !failures.is_empty() {
        return Err(format!("{} wrong:\n{}", failures.len(), failures.join("\n")).into());
    }
    let expected = std::fs::read_to_string(&path)?;
    for (k, (got, expected)) in text.lines().zip(expected.lines()).enumerate() {
        if got != expected {
            let place = format!("docs/onnx-node-tests.md:{}", k + 1);
            return Err(
                format!("{place}: now '{got}', not '{expected}'; QCC_BLESS=1 writes it").into()
            );
        }
    }
    match text.len() == expected.len() {
        true => Ok(()),
        false => Err("docs/onnx-node-tests.md has another length; QCC_BLESS=1 writes it".into()),
    }
}

fn main() -> ExitCode {
    let trial = match find(&folder()) {
        Some((version, tests)) => Trial::test("onnx_node_tests", move || check(&version, &tests)),
        None => {
            let name = "onnx_node_tests (not there: tests/onnx/node_tests.py makes them)";
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}
