//! What a person does on the page, with a mouse and with a keyboard.

use serde_json::{Value, json};
use side_tests::browser::{Browser, Look};

use crate::support::Village;

/// The text of the element with this id.
fn text(id: &str) -> String {
    format!("document.getElementById('{id}').innerText")
}

fn live(browser: &mut Browser) {
    browser.wait("document.getElementById('live').dataset.state === 'live'");
}

#[test]
fn a_note_from_elsewhere_appears_and_nothing_that_was_touched_is_lost() {
    let mut village = Village::of(&["bakery", "mill"]);
    village.type_line("bakery", "good morning");
    village.until_sealed();
    let mut browser = Browser::start();
    browser.look(Look::DESK);
    browser.open(&village.page("bakery"));
    assert_eq!(browser.text("document.querySelector('h1').innerText"), "side");
    live(&mut browser);
    browser.wait(&format!("{}.includes('good morning')", text("changes")));

    // The first block is unfolded by a click, and has the focus.
    browser.click("#block-1 summary");
    browser.wait("document.querySelector('#block-1 details').open");
    let inside = browser.text("document.querySelector('#block-1 .inside').innerText");
    assert!(inside.contains("Block") && inside.contains("State") && inside.contains("is called"), "{inside}");
    browser.eval("document.querySelector('#block-1 summary').focus(); window.same = document.activeElement; 0");
    let before = browser.eval("document.querySelectorAll('#blocks > ol > li').length");

    village.type_line("mill", "forty sacks <b>on Tuesday</b> & not before");
    browser.wait(&format!("{}.includes('forty sacks <b>on Tuesday</b> & not before')", text("changes")));
    browser.wait(&format!("document.querySelectorAll('#blocks > ol > li').length > {before}"));
    assert_eq!(browser.eval("document.querySelectorAll('#changes b, #graph b, #blocks b').length"), json!(0));
    assert_eq!(browser.eval("document.querySelector('#block-1 details').open"), json!(true));
    let kept = "document.activeElement === window.same && document.activeElement.matches('#block-1 summary')";
    assert_eq!(browser.eval(kept), json!(true), "the page was not loaded anew, and the focus stayed");
    // The graph has it too, and its row shines while the pointer is on it.
    let drawn = "document.querySelectorAll('svg.graph g.change').length === document.querySelectorAll('#changes tbody tr').length";
    browser.wait(drawn);
    // What is read out says so.
    browser.wait(&format!(
        "{}.includes('forty sacks') || {}.startsWith('Block')",
        "document.getElementById('news').textContent", "document.getElementById('news').textContent"
    ));
    assert_eq!(browser.take_complaints(), Vec::<String>::new());
}

#[test]
fn groups_are_switched_and_their_pages_are_live_by_themselves() {
    let mut village = Village::of(&["bakery", "mill"]);
    village.home.ok(&["group", "create", "bakery", "team"]);
    let mut browser = Browser::start();
    browser.look(Look::DESK);
    browser.open(&village.page("bakery"));
    assert_eq!(browser.text("document.querySelector('#groups a[aria-current=page] .name').innerText"), "side");
    browser.eval("window.leaving = true");
    browser.click("#groups a[href='/g/team']");
    browser.wait(
        "document.readyState === 'complete' && !window.leaving && document.querySelector('h1').innerText === 'team'",
    );
    assert_eq!(browser.text("document.querySelector('#groups a[aria-current=page] .name').innerText"), "team");
    live(&mut browser);
    village.home.ok(&["note", "bakery", "--group", "team", "only for the team"]);
    browser.wait(&format!("{}.includes('only for the team')", text("changes")));
    village.type_line("mill", "for everybody");
    browser.open(&village.page("bakery"));
    browser.wait(&format!("{}.includes('for everybody')", text("changes")));
    assert_eq!(browser.eval(&format!("{}.includes('only for the team')", text("changes"))), json!(false));
    // A page that is open for a group that is created later lists it.
    village.home.ok(&["group", "create", "bakery", "choir"]);
    browser.wait("!!document.querySelector('#groups a[href=\"/g/choir\"]')");
}

#[test]
fn a_keyboard_reaches_everything_in_order_and_sees_where_it_is() {
    let mut village = Village::of(&["bakery", "mill"]);
    village.type_line("bakery", "good morning");
    village.until_sealed();
    let mut browser = Browser::start();
    browser.look(Look::DESK);
    browser.open(&village.page("bakery"));
    live(&mut browser);
    let mut order = Vec::new();
    let mut tops: Vec<(f64, f64)> = Vec::new();
    for _ in 0..40 {
        browser.press("Tab", false);
        let here = browser.eval(
            "(() => { const it = document.activeElement; if (!it || it === document.body) return null; const box = it.getBoundingClientRect(); \
             const style = getComputedStyle(it); return { \
             name: it.id || it.className || it.localName, outline: style.outlineStyle, width: parseFloat(style.outlineWidth), \
             left: box.left + scrollX, top: box.top + scrollY, part: (it.closest('[id]') || it).id }; })()",
        );
        if here == Value::Null {
            break;
        }
        assert!(here["outline"] != "none" && here["width"].as_f64() >= Some(2.0), "the focus is not seen: {here}");
        order.push(here["name"].as_str().unwrap_or_default().to_owned());
        tops.push((here["left"].as_f64().unwrap_or_default(), here["top"].as_f64().unwrap_or_default()));
    }
    assert_eq!(order[0], "skip", "{order:?}");
    let place =
        |name: &str| order.iter().position(|known| known == name).unwrap_or_else(|| panic!("no {name}: {order:?}"));
    assert!(place("brand") < place("graph-scroll") && place("graph-scroll") < place("changes-scroll"), "{order:?}");
    assert!(order.iter().any(|name| name == "summary"), "{order:?}");
    // Top to bottom within a column.
    let left: Vec<f64> = tops.iter().skip(1).filter(|(left, _)| *left < 600.0).map(|(_, top)| *top).collect();
    assert!(left.windows(2).all(|pair| pair[0] <= pair[1] + 60.0), "{order:?}: {left:?}");

    // The first stop leads over the head to the group; a block is unfolded by a key.
    browser.open(&village.page("bakery"));
    browser.press("Tab", false);
    browser.press("Enter", false);
    browser.wait("document.activeElement.id === 'main'");
    browser.eval("document.querySelector('#block-1 summary').focus(); 0");
    browser.press("Enter", false);
    browser.wait("document.querySelector('#block-1 details').open");
    // The height beside a change leads to its block.
    browser.eval("document.querySelector('#changes a[href=\"#block-1\"]').focus(); 0");
    browser.press("Enter", false);
    browser.wait("location.hash === '#block-1' && document.activeElement.matches('#block-1 summary')");
}

#[test]
fn without_a_script_the_page_is_complete_and_with_one_it_outlives_its_node() {
    let mut village = Village::of(&["bakery"]);
    village.type_line("bakery", "good morning");
    village.until_sealed();
    let url = village.page("bakery");
    let mut browser = Browser::start();
    browser.look(Look::PHONE);
    browser.open(&url);
    live(&mut browser);

    // The node stops: the page says so. It comes back at the same address, and the page is live again without being loaded.
    let (_, mut node) = village.nodes.pop().expect("a node");
    assert!(node.stop().success());
    browser.wait("document.getElementById('live').dataset.state === 'lost'");
    browser.eval("window.same = true");
    let mut again = village.home.run("bakery");
    assert_eq!(village.page("bakery"), url, "the port is remembered");
    live(&mut browser);
    assert!(again.type_line("here again"));
    browser.wait(&format!("window.same && {}.includes('here again')", text("changes")));
    browser.take_complaints();

    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.call("Page.navigate", json!({ "url": url }));
    browser.wait("document.readyState === 'complete' && !!document.getElementById('live')");
    assert_eq!(browser.text("document.getElementById('live').dataset.state"), "still");
    for part in ["tiles", "graph", "changes", "blocks", "seal", "people", "balances", "swaps"] {
        assert!(browser.text(&text(part)).len() > 10, "{part}");
    }
    assert!(browser.text(&text("changes")).contains("here again"));
    // The graph begins at its right end all the same.
    let end = "(() => { const it = document.getElementById('graph-scroll'); return it.scrollLeft === 0; })()";
    assert_eq!(browser.eval(end), json!(true));
}
