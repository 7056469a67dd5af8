//! The graph against a slow one that walks.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::change::{DocumentId, Header, MAX_DEPS};
use crate::identity::Signature;

/// What a change of the model is made from: an author, which of that author's changes (or none) it follows, and which others it names.
type Recipe = (usize, usize, Vec<usize>);

struct Model {
    dag: Dag,
    changes: Vec<Change>,
    previous: Vec<Option<usize>>,
    /// The causal past of each change.
    pasts: Vec<BTreeSet<usize>>,
}

fn author(number: usize) -> AuthorId {
    crate::identity::Keypair::from_seed(&[number as u8 + 1; 32]).author()
}

fn build(recipes: &[Recipe]) -> Model {
    let authors: Vec<AuthorId> = (0..4).map(author).collect();
    let mut model = Model { dag: Dag::new(), changes: Vec::new(), previous: Vec::new(), pasts: Vec::new() };
    for (number, (who, after, deps)) in recipes.iter().enumerate() {
        let author = authors[who % 4];
        let own: Vec<usize> = (0..number).filter(|n| model.changes[*n].author() == author).collect();
        // Mostly the last one, sometimes an older one or none: a fork.
        let previous = match after {
            0 => None,
            1..=3 if !own.is_empty() => Some(own[after * 7 % own.len()]),
            _ => own.last().copied(),
        };
        let deps: BTreeSet<usize> = deps.iter().filter(|_| number > 0).map(|n| n % number).collect();
        let deps: BTreeSet<usize> = deps.into_iter().filter(|n| Some(*n) != previous).take(MAX_DEPS).collect();
        // As the header has them: ascending by id.
        let mut named: Vec<(ChangeId, ChangeIdx)> =
            deps.iter().map(|n| (model.changes[*n].id(), ChangeIdx(*n as u32))).collect();
        named.sort();
        let ids = named.iter().map(|(id, _)| *id).collect();
        let header = Header {
            version: 1,
            document: DocumentId([0; 32]),
            author,
            seq: previous.map_or(1, |n| model.changes[n].header().seq + 1),
            previous: previous.map(|n| model.changes[n].id()),
            deps: ids,
            time_ms: number as u64,
            ops_hash: [0; 32],
        };
        let change = Change::from_parts(header, &[0; 4], Signature([0; 64]));
        let parents = named.iter().map(|(_, index)| *index);
        let previous_index = previous.map(|n| ChangeIdx(n as u32));
        // A change that is judged and refused leaves no trace.
        model.dag.stage(author, change.id(), previous_index, parents.clone());
        model.dag.discard();
        let index = model.dag.stage(author, change.id(), previous_index, parents);
        assert_eq!(model.dag.lookup(&change.id()), None);
        model.dag.commit(&change);
        assert_eq!(index, ChangeIdx(number as u32));
        let mut past = BTreeSet::new();
        for parent in deps.into_iter().chain(previous) {
            past.insert(parent);
            past.extend(&model.pasts[parent]);
        }
        model.pasts.push(past);
        model.previous.push(previous);
        model.changes.push(change);
    }
    model
}

fn recipes() -> impl Strategy<Value = Vec<Recipe>> {
    proptest::collection::vec((0..4usize, 0..20usize, proptest::collection::vec(any::<usize>(), 0..4)), 1..60)
}

proptest! {
    #[test]
    fn answers_equal_those_of_a_walk(recipes in recipes()) {
        let Model { dag, changes, previous, pasts } = build(&recipes);
        dag.debug_check();
        let all = 0..changes.len();
        let lamports: Vec<u64> = all.clone().map(|n| dag.lamport(ChangeIdx(n as u32))).collect();
        for n in all.clone() {
            let index = ChangeIdx(n as u32);
            prop_assert_eq!(dag.lookup(&changes[n].id()), Some(index));
            prop_assert_eq!(dag.change(index), changes[n].clone());
            prop_assert_eq!(&dag.bytes(index), changes[n].bytes());
            prop_assert_eq!(lamports[n], 1 + pasts[n].iter().map(|p| lamports[*p]).max().unwrap_or(0));
            for other in all.clone() {
                prop_assert_eq!(dag.precedes(ChangeIdx(other as u32), index), pasts[n].contains(&other), "{} before {}", other, n);
            }
            // Each step of `previous`, and what lies beyond the beginning.
            let mut step = n;
            for steps in 1.. {
                let expected = previous[step];
                prop_assert_eq!(dag.back(index, steps), expected.map(|p| ChangeIdx(p as u32)));
                match expected {
                    Some(p) => step = p,
                    None => break,
                }
            }
            prop_assert_eq!(dag.back(index, u64::MAX), None);
        }
        let named: BTreeSet<ChangeId> = changes.iter().flat_map(|change| change.header().parents().copied()).collect();
        let heads: BTreeSet<ChangeId> = changes.iter().map(Change::id).filter(|id| !named.contains(id)).collect();
        prop_assert_eq!(dag.heads().map(|(id, _)| id).collect::<Vec<_>>(), heads.into_iter().collect::<Vec<_>>());
        for author in dag.authors() {
            let of_author = |n: &usize| changes[*n].author() == author;
            let leaves: BTreeSet<usize> = all.clone().filter(of_author).filter(|n| !previous.contains(&Some(*n))).collect();
            prop_assert_eq!(dag.leaves(&author).map(|leaf| leaf.index.0 as usize).collect::<BTreeSet<_>>(), leaves);
        }
    }
}

#[test]
fn authors_who_merge_the_same_heads_share_what_they_know() {
    const AUTHORS: u64 = 200;
    let mut dag = Dag::new();
    let mut tips: Vec<(AuthorId, ChangeId, ChangeIdx)> = Vec::new();
    let write =
        |dag: &mut Dag, author, previous: Option<(ChangeId, ChangeIdx, u64)>, deps: &[(ChangeId, ChangeIdx)]| {
            let header = Header {
                version: 1,
                document: DocumentId([0; 32]),
                author,
                seq: previous.map_or(1, |(_, _, seq)| seq + 1),
                previous: previous.map(|(id, ..)| id),
                deps: deps.iter().map(|(id, _)| *id).collect(),
                time_ms: 0,
                ops_hash: [0; 32],
            };
            let change = Change::from_parts(header, &[0; 4], Signature([0; 64]));
            let deps = deps.iter().map(|(_, index)| *index);
            let index = dag.stage(author, change.id(), previous.map(|(_, index, _)| index), deps);
            dag.commit(&change);
            (author, change.id(), index)
        };
    for number in 0..AUTHORS {
        let author = author(number as usize);
        tips.push(write(&mut dag, author, None, &[]));
    }
    let mut heads: Vec<(ChangeId, ChangeIdx)> = tips.iter().map(|(_, id, index)| (*id, *index)).collect();
    heads.sort();
    for (author, id, index) in tips {
        let mut previous = (id, index, 1);
        for named in heads.chunks(MAX_DEPS) {
            let named: Vec<_> = named.iter().copied().filter(|(other, _)| *other != id).collect();
            let (_, id, index) = write(&mut dag, author, Some(previous), &named);
            previous = (id, index, previous.2 + 1);
        }
    }
    dag.debug_check();
    let each = dag.heap_bytes() / dag.len();
    // Without sharing it is more than 1,600.
    assert!(each < 800, "{each} bytes a change");
}

#[test]
fn deeply_nested_forks_are_climbed_in_few_steps() {
    // Each branch has one change, and forks off the one before.
    let mut dag = Dag::new();
    let mut spine = None;
    for n in 0..2_000 {
        // Two children of the spine: the second begins a branch and becomes the spine.
        for fork in 0..2 {
            let header = Header {
                version: 1,
                document: DocumentId([0; 32]),
                author: author(0),
                seq: n + 1,
                previous: spine.map(|(id, _)| id),
                deps: Vec::new(),
                time_ms: fork,
                ops_hash: [0; 32],
            };
            let change = Change::from_parts(header, &[0; 4], Signature([0; 64]));
            let index = dag.stage(author(0), change.id(), spine.map(|(_, index)| index), []);
            dag.commit(&change);
            if fork == 1 {
                spine = Some((change.id(), index));
            }
        }
    }
    dag.debug_check();
    let (_, tip) = spine.unwrap();
    assert!(dag.branches.len() > 2_000);
    assert_eq!(dag.seq(tip), 2_000);
    for seq in 1..=2_000 {
        let found = dag.ancestor_at(tip, seq).unwrap();
        assert_eq!(dag.seq(found), seq);
        assert!(dag.chain_contains(tip, found));
    }
    // The jumps from the deepest branch to the outermost: at most 2 log₂ n and some.
    let (mut number, mut steps) = (dag.nodes[tip.0 as usize].branch.0, 0);
    while dag.branches[number as usize].depth > 0 {
        let branch = &dag.branches[number as usize];
        number = if dag.branches[branch.jump as usize].start > 1 {
            branch.jump
        } else {
            dag.nodes[branch.fork as usize].branch.0
        };
        steps += 1;
    }
    assert!(steps <= 40, "{steps} steps");
}
