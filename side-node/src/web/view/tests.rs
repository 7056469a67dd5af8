//! What the pages say, and what strangers cannot make them say.

use super::*;
use crate::daemon::glance::{MAX_BLOCK_TRANSACTIONS, MAX_GLANCE_BLOCKS, MAX_GRAPH_CHANGES};

/// Most bytes of a page, whatever members do: what a phone loads at once.
const MAX_PAGE_BYTES: usize = 4 << 20;

fn whole(glance: &Glance) -> String {
    page("village", &glance.status.group, &parts(glance, &glance.status.groups)).into_string()
}

#[test]
fn a_lively_group_is_shown_with_everything_that_matters() {
    let glance = samples::lively();
    let page = whole(&glance);
    for expected in [
        "<h1>village</h1>",
        "good morning from the bakery",
        "has forked its own chain",
        "held 4 of 4",
        "held 2 of 4",
        "3 hold a block for it to stay",
        "your turn",
        "connection refused",
        "the account has less than that",
        "role=\"img\"",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    // Each change is drawn once and told once, each block has its cut.
    assert_eq!(page.matches("<g class=\"change ").count(), glance.graph.changes.len());
    assert_eq!(page.matches(" id=\"change-").count(), glance.graph.changes.len());
    assert_eq!(page.matches("<line class=\"cut\"").count(), glance.blocks.len() + 1, "and one in the legend");
    assert_eq!(page.matches("class=\"dot fork\"").count(), 3, "two, and one in the legend");
}

/// The numbers of an attribute of all elements of a class, in their order.
fn numbers(page: &str, class: &str, attribute: &str) -> Vec<u32> {
    page.split(&format!("<{class} "))
        .skip(1)
        .map(|element| {
            let element = element.split_once('>').unwrap().0;
            let value = element.split_once(&format!("{attribute}=\"")).unwrap().1;
            value.split_once('"').unwrap().0.parse().unwrap()
        })
        .collect()
}

#[test]
fn each_block_is_cut_behind_what_it_seals_and_tied_to_the_heads_it_names() {
    let glance = samples::lively();
    let graph = graph::graph(&glance.graph, "bakery").into_string();
    let layout = super::layout::Layout::of(&glance.graph);
    let sealed: Vec<_> = layout.bands.iter().filter(|band| band.height.is_some()).collect();
    let cuts: Vec<u32> = numbers(&graph, "line class=\"cut\"", "x1").split_off(1);
    assert_eq!(cuts.len(), sealed.len(), "the first one is the legend's");
    for (band, cut) in sealed.iter().zip(&cuts) {
        // Behind everything that the block seals, before everything that comes later.
        assert!(
            band.to < *cut && layout.bands.iter().filter(|next| next.from > band.from).all(|next| *cut < next.from)
        );
    }
    // A knot on the block's line, at the height of each head that the block names.
    let mut wanted = Vec::new();
    for (band, cut) in sealed.iter().zip(&cuts) {
        let named = glance.graph.cuts.iter().find(|named| Some(named.height) == band.height).unwrap();
        wanted.extend(named.heads.iter().map(|head| (*cut, layout.points[*head].y)));
    }
    let drawn = graph.split("<circle class=\"knot ").skip(1).map(|knot| {
        let number = |name: &str| {
            let value = knot.split_once(&format!("{name}=\"")).unwrap().1;
            value.split_once('"').unwrap().0.parse::<u32>().unwrap()
        };
        (number("cx"), number("cy"))
    });
    assert_eq!(drawn.collect::<Vec<_>>(), wanted);

    // A block that names very many heads is tied to some of them.
    let mut crowded = glance.graph;
    crowded.cuts[0].heads = [0].repeat(1_000);
    let graph = graph::graph(&crowded, "bakery").into_string();
    assert_eq!(graph.matches("<circle class=\"knot ").count(), wanted.len() - 1 + graph::MAX_KNOTS);
}

#[test]
fn a_new_node_is_told_what_to_do() {
    let page = whole(&samples::fresh());
    for expected in ["side-node note bakery", "side-node invite bakery", "No block yet", "No swap yet", "make demo-btc"]
    {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn every_part_is_one_element_with_its_id() {
    for part in parts(&samples::lively(), &[]) {
        assert!(part.html.contains(&format!("id=\"{}\"", part.id)), "{}", part.id);
        let first = part.html.split_once('>').unwrap().0;
        assert!(first.contains(&format!("id=\"{}\"", part.id)), "the id is on the outermost element of {}", part.id);
    }
}

/// Puts a stranger's text wherever one can be.
fn poisoned(poison: &str) -> Glance {
    let mut glance = samples::lively();
    let mut who: Vec<&mut crate::daemon::view::Who> = Vec::new();
    who.extend(glance.graph.lanes.iter_mut().map(|lane| &mut lane.who));
    who.extend(glance.status.sealers.iter_mut());
    who.extend(glance.status.voters.iter_mut().map(|voter| &mut voter.who));
    who.extend(glance.balances.accounts.iter_mut().map(|account| &mut account.who));
    who.extend(glance.swaps.iter_mut().map(|swap| &mut swap.with));
    who.extend(glance.blocks.iter_mut().filter_map(|block| block.block.sealer.as_mut()));
    for who in who {
        who.name = Some(poison.to_owned());
    }
    for change in &mut glance.graph.changes {
        change.summary = poison.to_owned();
        change.kinds = vec![poison.to_owned(); 5];
    }
    for member in &mut glance.peers.members {
        member.name = Some(poison.to_owned());
    }
    for equivocator in &mut glance.status.equivocators {
        equivocator.name = Some(poison.to_owned());
    }
    for link in &mut glance.status.peers {
        link.name = Some(poison.to_owned());
        link.address = poison.to_owned();
        link.transport = poison.to_owned();
        link.problem = Some(poison.to_owned());
    }
    for block in &mut glance.blocks {
        for line in &mut block.transactions {
            line.entry.name = Some(poison.to_owned());
            line.entry.body = serde_json::json!({ poison: poison });
            line.entry.kind = poison.to_owned();
            line.entry.problem = Some(poison.to_owned());
            line.standing.reason_text = Some(poison.to_owned());
        }
    }
    for swap in &mut glance.swaps {
        (swap.summary, swap.next_step, swap.stage) = (poison.to_owned(), poison.to_owned(), poison.to_owned());
    }
    if let Some(relay) = &mut glance.status.relay {
        (relay.url, relay.problem) = (poison.to_owned(), Some(poison.to_owned()));
    }
    glance.status.read_only = Some(poison.to_owned());
    glance.status.group_name = poison.to_owned();
    glance
}

#[test]
fn nothing_that_members_write_becomes_markup() {
    for poison in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'><svg/onload=alert(1)>",
        "</title></style></textarea><iframe srcdoc=x>",
        "<!--",
        "]]>",
        "&lt;b&gt;",
        "javascript:alert(1)",
    ] {
        let clean = whole(&samples::lively());
        let page = whole(&poisoned(poison));
        for dangerous in ["<script>", "<img", "<svg/", "<iframe", "<!--", "</textarea>", "onerror=alert(1)>"] {
            assert!(!page.contains(dangerous), "{poison}: {dangerous}");
        }
        assert!(!page.contains("href=\"javascript:"), "{poison}");
        // As many tags as without the poison, so it opened and closed none.
        let tags = |page: &str, tag: &str| page.matches(tag).count();
        for tag in ["<script", "</script", "<section", "</section", "<table", "</table", "</svg", "<a ", "</a>"] {
            let (before, after) = (tags(&clean, tag), tags(&page, tag));
            assert_eq!(before, after, "{poison}: {tag}");
        }
        // Told in full all the same.
        assert!(page.contains("&lt;") || !poison.contains('<'));
    }
}

#[test]
fn control_characters_and_direction_marks_are_made_visible() {
    let page = whole(&poisoned("a\u{202e}b\u{1b}[31m\u{0}"));
    assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}') && !page.contains('\u{0}'));
    assert!(page.contains("a\\u{202e}b"));
}

#[test]
fn the_longest_texts_make_no_long_page() {
    let mut glance = samples::wide(MAX_GRAPH_CHANGES, MAX_GRAPH_CHANGES);
    let long = "\"".repeat(16_384);
    for change in &mut glance.graph.changes {
        change.summary = long.clone();
        change.kinds = vec![long.clone(); 100];
        change.parents = (0..MAX_GRAPH_CHANGES).collect();
    }
    for lane in &mut glance.graph.lanes {
        lane.who.name = Some(long.clone());
    }
    let mut block = samples::lively().blocks.pop().unwrap();
    let mut line = block.transactions[0].clone();
    line.entry.name = Some(long.clone());
    line.entry.body = long.clone().into();
    block.transactions = vec![line; MAX_BLOCK_TRANSACTIONS];
    glance.blocks = vec![block; MAX_GLANCE_BLOCKS];
    let page = whole(&glance);
    assert!(page.len() < MAX_PAGE_BYTES, "{}", page.len());
}

/// Writes the samples as files, to look at them without a node: `SIDE_PAGES=FOLDER cargo nextest run --run-ignored all -E 'test(write_the_pages)'`.
#[test]
#[ignore = "writes files: for whoever works on the style"]
fn write_the_pages() {
    let Some(folder) = std::env::var_os("SIDE_PAGES") else { panic!("SIDE_PAGES names a folder") };
    let folder = std::path::Path::new(&folder);
    for (name, glance) in [("lively", samples::lively()), ("wide", samples::wide(24, 200)), ("fresh", samples::fresh())]
    {
        std::fs::write(folder.join(format!("{name}.html")), whole(&glance)).unwrap();
    }
}
