//! What the papers say about the tests: every test that docs/security.md names is there.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// What stands between backticks and looks like a test's name: words of which most have underscores.
    fn names(text: &str) -> BTreeSet<&str> {
        let quoted = text.split('`').skip(1).step_by(2);
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        quoted.filter(|name| is_name(name) && (name.contains('_') || *name == "floods")).collect()
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && name != ".git" {
                    sources(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn the_threat_model_names_tests_that_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let paper = fs::read_to_string(root.join("docs/security.md")).unwrap();
        let mut files = Vec::new();
        sources(root, &mut files);
        let code: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        let named = names(&paper);
        assert!(named.len() > 40, "only {} names were found in the paper", named.len());
        let missing: Vec<_> = named.into_iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "docs/security.md names tests that are not there: {missing:?}");
    }
}
