//! The page held against the rules for everybody: axe in light and dark, on a desk and on a telephone, and nothing that runs over the edge.

use serde_json::Value;
use side_tests::browser::{Browser, Look};

use crate::support::Village;

/// axe-core, see tests/vendor/axe-core/README.md.
const AXE: &str = include_str!("../../vendor/axe-core/axe.min.js");

/// What axe finds wrong and calls serious or critical, in a line each.
fn serious(browser: &mut Browser) -> Vec<String> {
    browser.eval(&format!("{AXE}\n;0"));
    let found = browser.eval(
        "axe.run(document, { resultTypes: ['violations'] }).then((all) => all.violations.map((one) => \
         ({ id: one.id, impact: one.impact, help: one.help, nodes: one.nodes.map((node) => node.html.slice(0, 160) + ' ' + node.any.map((any) => any.message).join()) })))",
    );
    let found = found.as_array().cloned().unwrap_or_else(|| panic!("axe says nothing"));
    let line = |one: &Value| format!("{} {}: {} {:?}", one["impact"], one["id"], one["help"], one["nodes"]);
    for minor in found.iter().filter(|one| !is_serious(one)) {
        println!("{}", line(minor));
    }
    found.iter().filter(|one| is_serious(one)).map(line).collect()
}

fn is_serious(finding: &Value) -> bool {
    finding["impact"] == "serious" || finding["impact"] == "critical"
}

#[test]
fn axe_finds_nothing_serious_in_any_light_on_any_screen() {
    let mut village = Village::of(&["bakery", "dairy", "mill"]);
    village.type_line("bakery", "good morning from the bakery");
    village.type_line("mill", &"a long line that has to be broken somewhere ".repeat(6));
    village.type_line("dairy", "unbroken".repeat(40).as_str());
    village.type_line("mill", "/send dairy 25");
    // More than it has: refused by the block.
    village.type_line("dairy", "/send mill 999999999");
    village.until_sealed();
    village.home.ok(&["group", "create", "bakery", "team"]);
    let page = village.page("bakery");
    let mut browser = Browser::start();
    for look in [Look::DESK, Look::DESK.dark(), Look::PHONE, Look::PHONE.dark()] {
        browser.look(look);
        // A group with everything, one in which nothing has happened, and a page that is not there.
        for path in ["", "g/team", "g/nothing-of-that-name"] {
            browser.open(&format!("{page}{path}"));
            browser.eval("document.querySelectorAll('details').forEach((it) => { it.open = true; }); 0");
            let wide = browser.eval("document.documentElement.scrollWidth");
            assert!(wide.as_u64() <= Some(look.width.into()), "{path:?} is {wide} wide at {look:?}");
            assert_eq!(serious(&mut browser), Vec::<String>::new(), "{path:?} at {look:?}");
        }
    }
    // The audit sees what is wrong: a test that cannot fail says nothing.
    browser.eval("document.querySelector('main').insertAdjacentHTML('beforeend', '<button></button>'); 0");
    assert!(!serious(&mut browser).is_empty());
}
