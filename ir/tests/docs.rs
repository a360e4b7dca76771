//! `docs/ops.md` says what the op tables say.

use std::path::Path;

#[test]
fn ops_md_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ops.md");
    let new = qcc_ir::docs::ops_markdown();
    if std::env::var("QCC_BLESS").is_ok_and(|v| v == "1") {
        std::fs::write(&path, &new).unwrap();
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let same = old == new;
    assert!(same, "docs/ops.md is out of date: QCC_BLESS=1 cargo test -p qcc-ir --test docs");
}
