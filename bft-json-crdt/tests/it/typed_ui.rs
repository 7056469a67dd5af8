//! What the derive accepts, and what it says to what it does not.

#[test]
fn the_derive_explains_itself() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/passes.rs");
    for case in ["vec_field", "plain_fields", "shapes", "keys", "enum_field", "foreign_field", "read_only"] {
        cases.compile_fail(format!("tests/ui/{case}.rs"));
    }
}
