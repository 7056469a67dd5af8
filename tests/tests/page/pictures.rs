//! Screenshots of a lively group, for the documentation.

use std::fs;

use side_tests::browser::{Browser, Look};
use side_tests::process::workspace;

use crate::support::Village;

/// Most bytes of a picture in the repository.
const MAX_PICTURE: usize = 300_000;

#[test]
#[ignore = "slow: writes docs/screenshots; cargo nextest run -p side-tests --run-ignored all -E 'test(write_the_screenshots)'"]
fn write_the_screenshots() {
    let names = ["bakery", "dairy", "market", "mill"];
    let mut village = Village::of(&names);
    let said = [
        ("bakery", "good morning from the bakery"),
        ("mill", "forty sacks are ready for Tuesday"),
        ("dairy", "the dairy is closed on Monday"),
        ("market", "the market opens at seven"),
        ("bakery", "/send mill 25"),
        ("mill", "/send dairy 10"),
        ("bakery", "then we bake on Wednesday"),
        ("dairy", "and the butter is with you on Tuesday evening"),
        ("market", "/send bakery 5000000"),
        ("mill", "the wheel is mended"),
        ("dairy", "/send market 40"),
        ("bakery", "rye or wheat?"),
        ("market", "both sold out last week: bring more rye"),
    ];
    for (at, (name, line)) in said.into_iter().enumerate() {
        village.type_line(name, line);
        if at % 3 == 2 {
            village.until_sealed();
        }
    }
    village.until_sealed();
    village.home.ok(&["group", "create", "bakery", "guild"]);
    for (name, line) in [("bakery", "rye it is"), ("mill", "grinding"), ("dairy", "curdling"), ("market", "waiting")] {
        village.type_line(name, line);
    }
    let folder = workspace().join("docs/screenshots");
    fs::create_dir_all(&folder).expect("a folder");
    let mut browser = Browser::start();
    let desk = Look { width: 1280, height: 1000, ..Look::DESK };
    let phone = Look { width: 390, height: 844, ..Look::PHONE };
    for (name, look) in
        [("desktop-light", desk), ("desktop-dark", desk.dark()), ("phone", phone), ("phone-dark", phone.dark())]
    {
        browser.look(look);
        browser.open(&village.page("bakery"));
        browser.wait("document.getElementById('live').dataset.state === 'live'");
        let picture = browser.picture(false);
        assert!(picture.len() < MAX_PICTURE, "{name} has {} bytes", picture.len());
        fs::write(folder.join(format!("page-{name}.png")), picture).expect("written");
    }
}
