//! `qcc check`: exit status, and what it says.

mod common;
use common::*;
use qcc::npz::{npz_bytes, read_npz};

#[test]
fn check_says_0_for_equal_and_3_for_different() {
    let (s, model, golden) = (Scratch::new(), digits(), example("digits.golden.npz"));
    for how in [&["--jit"][..], &["--interpret"], &["--all-levels"]] {
        let args = [&["check", &model, "--golden", &golden], how].concat();
        assert!(s.succeed(&args).ends_with(" passed, 0 failed\n"), "{how:?}");
    }
    // The text form is the same model.
    s.succeed(&["compile", &model, "-o", "digits.qir"]);
    s.succeed(&["check", "digits.qir", "--golden", &golden]);
    // Case 0 with the answer of case 1.
    let arrays = read_npz(golden.as_ref()).unwrap();
    let wrong = [("case0_in0", &arrays["case0_in0"]), ("case0_out0", &arrays["case1_out0"])];
    s.file("digits.golden.npz", npz_bytes(wrong).unwrap());
    let out = s.output(&["check", "digits.qir", "--golden", "digits.golden.npz"]);
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stdout).ends_with("0 passed, 1 failed\n"));
    s.succeed(&["check", "digits.qir", "--golden", "digits.golden.npz", "--tolerance", "255"]);
    assert_eq!(s.output(&["check", "."]).status.code(), Some(3));
}
