//! What the importer makes of this repository's models verifies, prints and parses.

use qcc_ir::text::{parse, print};
use qcc_ir::verify::verify;
use std::path::Path;

#[test]
fn imported_models_verify_and_round_trip() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut models: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("model.tflite"))
        .filter(|path| path.exists())
        .collect();
    models.sort();
    assert!(!models.is_empty());
    for path in models {
        let name = path.display();
        let bytes = std::fs::read(&path).unwrap();
        let m = qcc_import::tflite::import(&bytes, "model", &Default::default());
        let m = m.unwrap_or_else(|e| panic!("{name}: {e}"));
        verify(&m).unwrap_or_else(|e| panic!("{name}: {e:#?}"));
        let text = print(&m);
        let again = parse(&text, "printed").unwrap_or_else(|e| panic!("{name}: {e:#?}"));
        assert_eq!(print(&again), text, "{name}");
        assert_eq!(again.data, m.data, "{name}");
    }
}
