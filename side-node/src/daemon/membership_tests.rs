use bft_json_crdt::identity::Keypair;
use side_ledger::invitation::JoinSecret;
use side_ledger::{Admission, Genesis, GroupSpec, Limits, Sealing};

use super::*;
use crate::home::Root;

fn invitation(name: &str, nonce: u8) -> Invitation {
    let genesis = Genesis::new(GroupSpec {
        name: Name::new(name).unwrap(),
        created_ms: 0,
        nonce: [nonce; 32],
        founders: vec![Keypair::from_seed(&[1; 32]).author()],
        admission: Admission::Open,
        allocation: Default::default(),
        sealing: Sealing::Leader { interval_ms: 1000 },
        limits: Limits::default(),
    });
    Invitation::new(genesis.unwrap(), vec!["ws://127.0.0.1:1".into()]).unwrap()
}

fn home() -> (tempfile::TempDir, NodeHome) {
    let folder = tempfile::tempdir().unwrap();
    let home = Root::find(Some(folder.path().to_owned())).unwrap().node("node1");
    fs::create_dir(home.path()).unwrap();
    (folder, home)
}

fn aliases(memberships: &Memberships) -> Vec<&str> {
    memberships.iter().map(|membership| membership.alias.as_str()).collect()
}

#[test]
fn memberships_read_back() {
    let (_folder, home) = home();
    let mut memberships = Memberships::first(invitation("side", 1));
    memberships.add(invitation("team", 2).with_secret(JoinSecret([3; 32])), None).unwrap();
    memberships.make_default("team").unwrap();
    memberships.save(&home).unwrap();
    let read = Memberships::load(&home).unwrap();
    assert_eq!(read, memberships);
    assert_eq!(read.default().alias.as_str(), "team");
    assert_eq!(read.default().invitation.secret(), Some(JoinSecret([3; 32])));
}

#[test]
fn a_folder_from_before_there_were_several_groups_is_read_and_rewritten() {
    let (_folder, home) = home();
    fs::write(single_file(&home), format!("{}\n", invitation("side", 1))).unwrap();
    let read = Memberships::load(&home).unwrap();
    assert_eq!(read, Memberships::first(invitation("side", 1)));
    read.save(&home).unwrap();
    assert!(!single_file(&home).exists());
    assert_eq!(Memberships::load(&home).unwrap(), read);
}

#[test]
fn what_a_person_means_is_an_alias_an_id_or_the_beginning_of_one() {
    let mut memberships = Memberships::first(invitation("side", 1));
    memberships.add(invitation("team", 2), None).unwrap();
    let team = invitation("team", 2).group();
    let id = team.to_string();
    for word in ["team", &id, &id[..4], &id[..12].to_ascii_uppercase()] {
        assert_eq!(memberships.choose(Some(word)).unwrap().group(), team, "{word}");
    }
    assert_eq!(memberships.choose(None).unwrap().alias.as_str(), "side");
    for word in ["", "other", &id[..3], "\u{1b}[2J"] {
        let error = memberships.choose(Some(word)).unwrap_err();
        assert!(error.next_step().unwrap().contains("side (") && error.next_step().unwrap().contains("team ("));
        assert!(!error.to_string().contains('\u{1b}'));
    }
}

#[test]
fn groups_of_one_name_get_aliases_that_differ() {
    let mut memberships = Memberships::first(invitation("team", 1));
    memberships.add(invitation("team", 2), None).unwrap();
    memberships.add(invitation("team", 3), None).unwrap();
    let long = "n".repeat(MAX_NAME_BYTES);
    memberships.add(invitation(&long, 4), None).unwrap();
    memberships.add(invitation(&long, 5), None).unwrap();
    let cut = format!("{}-2", "n".repeat(MAX_NAME_BYTES - 2));
    assert_eq!(aliases(&memberships), ["team", "team-2", "team-3", &long, &cut]);
    let error = memberships.add(invitation("x", 6), Some(Name::new("team-2").unwrap())).unwrap_err();
    assert!(error.message().contains("has a group team-2 already"), "{error}");
}

#[test]
fn a_second_invitation_to_a_group_brings_its_addresses_and_secret() {
    let mut memberships = Memberships::first(invitation("side", 1));
    let again = invitation("side", 1).with_secret(JoinSecret([3; 32]));
    let joined = memberships.add(again.clone(), None).unwrap();
    assert!(!joined.new && joined.alias.as_str() == "side");
    assert_eq!(memberships.iter().len(), 1);
    assert_eq!(memberships.default().invitation, again);
}

#[test]
fn the_default_and_the_last_group_are_not_left() {
    let mut memberships = Memberships::first(invitation("side", 1));
    assert!(memberships.remove("side").unwrap_err().next_step().unwrap().contains("the only one"));
    memberships.add(invitation("team", 2), None).unwrap();
    assert!(memberships.remove("side").unwrap_err().next_step().unwrap().contains("group use NODE team"));
    memberships.make_default("team").unwrap();
    assert_eq!(memberships.remove("side").unwrap().group(), invitation("side", 1).group());
    assert_eq!(aliases(&memberships), ["team"]);
}

#[test]
fn a_node_has_a_bounded_number_of_groups() {
    let mut memberships = Memberships::first(invitation("side", 0));
    for nonce in 1..MAX_GROUPS as u8 {
        memberships.add(invitation("side", nonce), None).unwrap();
    }
    let error = memberships.add(invitation("side", 200), None).unwrap_err();
    assert!(error.message().contains("at most 64 groups"), "{error}");
    let (_folder, home) = home();
    memberships.save(&home).unwrap();
    assert_eq!(Memberships::load(&home).unwrap(), memberships);
}

#[test]
fn a_damaged_file_is_refused_with_the_reason() {
    let (_folder, home) = home();
    let mut memberships = Memberships::first(invitation("side", 1));
    memberships.add(invitation("team", 2), None).unwrap();
    let good = memberships.to_json().unwrap();
    let (one, other) = (invitation("side", 1).to_string(), invitation("team", 2).to_string());
    for (bad, part) in [
        (good.replace("\"version\": 1", "\"version\": 2"), "version 2"),
        (good.replace(&other, &one), "stands twice"),
        (good.replace("\"team\"", "\"side\""), "stands twice"),
        (good.replace("\"team\"", "\"te am\""), "an alias"),
        (good.replace(&other, &other[..40]), "the group team"),
        (good.replace(&invitation("side", 1).group().to_string(), "00"), "default is none"),
        (good[..30].to_owned(), "is damaged"),
    ] {
        assert_ne!(bad, good);
        fs::write(home.groups_file(), bad).unwrap();
        let error = Memberships::load(&home).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("restore it from a backup"), "{error}");
    }
}
