//! Screenshots for the documentation: of a lively group, of one in trouble, of a swap.

use std::fs;
use std::process::Command;

use side_tests::browser::{Browser, Look};
use side_tests::coins::Coins;
use side_tests::process::{eventually, workspace};
use side_tests::world::Home;

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
    let mut browser = Browser::start();
    let desk = Look { width: 1280, height: 1000, ..Look::DESK };
    let phone = Look { width: 390, height: 844, ..Look::PHONE };
    let page = village.page("bakery");
    for (name, look) in
        [("desktop-light", desk), ("desktop-dark", desk.dark()), ("phone", phone), ("phone-dark", phone.dark())]
    {
        keep(&mut browser, look, &page, name);
    }
}

/// The page as the browser shows it, in the folder of the documentation.
fn keep(browser: &mut Browser, look: Look, page: &str, name: &str) {
    browser.look(look);
    browser.open(page);
    browser.wait("document.getElementById('live').dataset.state === 'live'");
    let picture = browser.picture(false);
    assert!(picture.len() < MAX_PICTURE, "{name} has {} bytes", picture.len());
    let folder = workspace().join("docs/screenshots");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("page-{name}.png")), picture).expect("written");
}

/// Makes a member lie: what it writes after a copy was made of it, and what the copy writes in its place, have one number.
fn equivocates(village: &mut Village, liar: &str, witness: &str) {
    let stop = |village: &mut Village| {
        let at = village.nodes.iter().position(|(name, _)| name == liar).expect("a node of that name");
        let (_, mut node) = village.nodes.remove(at);
        assert!(node.stop().success());
    };
    stop(village);
    let (folder, copy) = (village.home.node(liar), village.home.path().join("copy"));
    let copied = Command::new("cp").arg("-a").arg(&folder).arg(&copy).status().expect("cp starts");
    assert!(copied.success());
    let node = village.home.run(liar);
    village.nodes.push((liar.to_owned(), node));
    village.type_line(liar, "three apples for the mill");
    village.home.converge(&[witness, liar], &["three apples for the mill"]);
    stop(village);
    fs::remove_dir_all(&folder).expect("our own folder");
    fs::rename(&copy, &folder).expect("our own folder");
    // Before it hears of what it wrote, since nobody can be reached meanwhile.
    let mut command = village.home.command();
    command.args(["run", liar, "--trust-this-copy"]);
    let mut node = side_tests::process::Process::start(liar, command);
    node.type_line("three apples for the dairy");
    village.nodes.push((liar.to_owned(), node));
    eventually("the lie is proven", || {
        let status = village.home.status(witness);
        (status["equivocators"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
}

#[test]
#[ignore = "slow: writes docs/screenshots; cargo nextest run -p side-tests --run-ignored all -E 'test(write_the_screenshot)'"]
fn write_the_screenshot_of_trouble() {
    let mut village = Village::of(&["bakery", "dairy", "market", "mill", "pedlar"]);
    village.type_line("bakery", "/send mill 25");
    village.type_line("pedlar", "apples, the last of the year");
    village.until_sealed();
    equivocates(&mut village, "pedlar", "mill");
    // Whoever seals is gone, and what is paid from now on waits.
    village.nodes.retain(|(name, _)| name != "bakery");
    for (name, line) in [("mill", "/send dairy 10"), ("dairy", "is the bakery closed?"), ("market", "it seals nothing")]
    {
        village.type_line(name, line);
    }
    eventually("the payment waits everywhere", || {
        let waits = |name: &str| village.home.status(name)["pending"].as_u64() >= Some(3);
        (waits("mill") && waits("market")).then_some(())
    });
    let desk = Look { width: 1280, height: 1000, ..Look::DESK };
    keep(&mut Browser::start(), desk, &village.page("mill"), "trouble");
}

#[test]
#[ignore = "slow: writes docs/screenshots; cargo nextest run -p side-tests --run-ignored all -E 'test(write_the_screenshot)'"]
fn write_the_screenshot_of_a_swap() {
    let coins = Coins::funded(200_000);
    let page = |home: &Home, name: &str| home.status(name)["page"].as_str().expect("a page is served").to_owned();
    let (_dave, _sammy) = (coins.home.run("dave"), coins.home.run("sammy"));
    let offered = coins.json(&["htlc", "offer", "dave", "--to", "sammy", "--amount", "50000"]);
    let id = offered["id"].as_str().expect("an id").to_owned();
    eventually("sammy has the offer", || coins.home.ok(&["htlc", "list", "sammy"]).contains(&id[..8]).then_some(()));
    coins.ok(&["htlc", "accept", "sammy", &id]);
    eventually("dave can lock coins", || coins.run(&["htlc", "fund", "dave", &id]).status.success().then_some(()));
    let desk = Look { width: 1280, height: 1000, ..Look::DESK };
    keep(&mut Browser::start(), desk, &page(&coins.home, "dave"), "swap");
}
