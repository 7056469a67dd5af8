//! Holds values to the schemas of docs/api/openapi.json, strictly: what a schema does not name is refused, so that no field appears undocumented. A keyword that
//! is not understood here fails the test rather than being passed over.

use serde_json::Value;
use side_node::api::routes::OPENAPI;

pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn read() -> Self {
        Self(serde_json::from_str(OPENAPI).unwrap())
    }

    /// The schema of what a request is answered with, or of the lines of such an answer.
    pub(crate) fn answer(&self, method: &str, path: &str) -> &Value {
        let content = self.0["paths"][path][method]["responses"]["200"]["content"].as_object().unwrap();
        let (_, content) = content.iter().next().unwrap();
        content.get("x-line-schema").unwrap_or(&content["schema"])
    }

    pub(crate) fn schema(&self, name: &str) -> &Value {
        let schema = &self.0["components"]["schemas"][name];
        assert!(schema.is_object(), "{name} is not described");
        schema
    }

    /// What is wrong with a value, if something is.
    pub(crate) fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let is = |kind: &str| match kind {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("an unknown type: {other}"),
        };
        let wrong = |what: &str| Err(format!("{at}: {what}: {value}"));
        for (keyword, rule) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "description" | "title" => {}
                "$ref" => {
                    let to = rule.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check(self.0.pointer(to).unwrap(), value, at)?;
                }
                "type" => {
                    let good = match rule {
                        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
                        kind => is(kind.as_str().unwrap()),
                    };
                    if !good {
                        return wrong(&format!("not {rule}"));
                    }
                }
                "const" if rule != value => return wrong(&format!("not {rule}")),
                "const" => {}
                "enum" if !rule.as_array().unwrap().contains(value) => return wrong(&format!("none of {rule}")),
                "enum" => {}
                "minimum" if value.as_i64().is_some_and(|number| number < rule.as_i64().unwrap()) => {
                    return wrong("too small");
                }
                "minimum" => {}
                "items" => {
                    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}[{place}]"))?;
                    }
                }
                "properties" => {
                    for (name, inner) in value.as_object().into_iter().flatten() {
                        let Some(rule) = rule.get(name) else { return wrong(&format!("{name:?} is not described")) };
                        self.check(rule, inner, &format!("{at}.{name}"))?;
                    }
                }
                "required" => {
                    for name in rule.as_array().unwrap() {
                        if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                            return wrong(&format!("{name} is missing"));
                        }
                    }
                }
                "oneOf" => {
                    let all: Vec<_> = rule.as_array().unwrap().iter().map(|rule| self.check(rule, value, at)).collect();
                    match all.iter().filter(|one| one.is_ok()).count() {
                        1 => {}
                        0 => return Err(format!("{at}: none fits: {all:?}")),
                        _ => return wrong("more than one fits"),
                    }
                }
                other => panic!("{at}: the keyword {other} is not understood"),
            }
        }
        Ok(())
    }

    pub(crate) fn assert(&self, schema: &Value, value: &Value) {
        if let Err(problem) = self.check(schema, value, "") {
            panic!("{problem}");
        }
    }
}

#[test]
fn the_check_itself_refuses() {
    use serde_json::json;
    let document = Document(json!({ "components": { "schemas": { "Who": {
        "type": "object", "properties": { "key": { "type": "string" }, "n": { "type": ["integer", "null"], "minimum": 0 } },
        "required": ["key"]
    } } } }));
    let schema = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Who" } });
    let good = |value| document.check(&schema, &value, "").is_ok();
    assert!(good(json!([{ "key": "ab" }, { "key": "cd", "n": null }, { "key": "", "n": 3 }])));
    for bad in [
        json!({}),
        json!([{}]),
        json!([{ "key": 1 }]),
        json!([{ "key": "", "n": -1 }]),
        json!([{ "key": "", "more": 1 }]),
    ] {
        assert!(!good(bad.clone()), "{bad}");
    }
}

/// What no answer comes by is looked at as well: the schemas of parameters and of what is sent.
#[test]
fn every_schema_is_written_in_keywords_that_are_understood() {
    const KEYWORDS: [&str; 11] = [
        "$ref",
        "const",
        "description",
        "enum",
        "items",
        "minimum",
        "oneOf",
        "properties",
        "required",
        "title",
        "type",
    ];
    /// How many schemas there are, with those inside of others.
    fn read(document: &Value, schema: &Value) -> usize {
        let mut count = 1;
        for (keyword, rule) in schema.as_object().unwrap() {
            assert!(KEYWORDS.contains(&keyword.as_str()), "the keyword {keyword} is not understood: {schema}");
            count += match keyword.as_str() {
                "$ref" => {
                    assert!(document.pointer(&rule.as_str().unwrap()[1..]).is_some(), "{rule} is nowhere");
                    0
                }
                "items" => read(document, rule),
                "oneOf" => rule.as_array().unwrap().iter().map(|inner| read(document, inner)).sum(),
                "properties" => rule.as_object().unwrap().values().map(|inner| read(document, inner)).sum(),
                _ => 0,
            };
        }
        count
    }
    /// The same of all that stand in a part of the document.
    fn find(document: &Value, part: &Value) -> usize {
        match part {
            Value::Object(members) => members
                .iter()
                .map(|(name, inner)| match name.as_str() {
                    "schema" | "x-line-schema" => read(document, inner),
                    "schemas" => inner.as_object().unwrap().values().map(|schema| read(document, schema)).sum(),
                    _ => find(document, inner),
                })
                .sum(),
            Value::Array(parts) => parts.iter().map(|part| find(document, part)).sum(),
            _ => 0,
        }
    }
    let Document(document) = Document::read();
    assert!(find(&document, &document) > 400);
}
