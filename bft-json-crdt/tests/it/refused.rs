//! Every encoding but the one is refused, each for its own reason: well-formed operations written column by column, with one fault at a
//! time.

use bft_json_crdt::change::{Change, ChangeError, DocumentId, Header, MAX_OPS_BYTES, MAX_SAFE, VERSION};
use bft_json_crdt::encoding::{DecodeError, Write as _};
use bft_json_crdt::identity::{IdentityError, Keypair};
use bft_json_crdt::ops::{MAX_KEY_BYTES, MAX_UNITS, Ops, OpsError, Unsupported};

use crate::support::id;

/// The columns of section 4.5, free of any rule.
#[derive(Debug, Clone, Default)]
struct Columns {
    ops: Vec<u64>,
    containers: Vec<u64>,
    elements: Vec<u64>,
    foreign: Vec<u8>,
    keys: Vec<&'static str>,
    forms: Vec<u64>,
    element_sources: Vec<u64>,
    element_offsets: Vec<u64>,
    parent_steps: Vec<u64>,
    entry_keys: Vec<u64>,
    lengths: Vec<u64>,
    directions: Vec<u64>,
    run_containers: Vec<u64>,
    anchors: Vec<u64>,
    sources: Vec<u64>,
    offsets: Vec<u64>,
    values: Vec<u8>,
    steps: Vec<u64>,
    text: Vec<u8>,
}

impl Columns {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let all = |out: &mut Vec<u8>, column: &[u64]| column.iter().for_each(|n| out.put_varint(*n));
        out.put_varint(self.ops.len() as u64);
        all(&mut out, &self.ops);
        out.put_varint(self.containers.len() as u64);
        all(&mut out, &self.containers);
        all(&mut out, &self.elements);
        out.put_varint(self.foreign.len() as u64);
        self.foreign.iter().for_each(|n| out.put(&[*n; 32]));
        out.put_varint(self.keys.len() as u64);
        self.keys.iter().for_each(|key| out.put_blob(key.as_bytes()));
        for column in [
            &self.forms,
            &self.element_sources,
            &self.element_offsets,
            &self.parent_steps,
            &self.entry_keys,
            &self.lengths,
            &self.directions,
            &self.run_containers,
            &self.anchors,
            &self.sources,
            &self.offsets,
        ] {
            all(&mut out, column);
        }
        out.put(&self.values);
        all(&mut out, &self.steps);
        out.put(&self.text);
        out
    }

    fn verdict(&self) -> Result<(), OpsError> {
        let bytes = self.bytes();
        let ops = Ops::decode(VERSION, &bytes)?;
        assert_eq!(ops.encode().unwrap(), bytes, "accepted, so it must be the one encoding");
        Ok(())
    }

    /// Operations with something in every column:
    /// 0, 1 insert two values in list 1; 2 add to counter 3 in map 2; 3..=5 text in 4; 6..=8 delete backward; 9 move.
    fn good() -> Self {
        Self {
            ops: vec![4, 3, 7, 5, 6],
            containers: vec![5, 4, 3, 6],
            elements: vec![0],
            foreign: vec![0xf1, 0xf0],
            keys: vec!["notes", "shop", "apple"],
            forms: vec![0, 0, 2, 1],
            element_sources: vec![1],
            element_offsets: vec![5],
            parent_steps: vec![1],
            entry_keys: vec![0, 1, 2],
            lengths: vec![2, 3, 3],
            directions: vec![1],
            run_containers: vec![1, 3, 4],
            anchors: vec![0, 1, 2],
            sources: vec![2, 3, 0, 0],
            offsets: vec![7, 9, 0, 1],
            values: vec![0, 3, 1],
            steps: vec![9],
            text: "añb".as_bytes().to_vec(),
        }
    }

    /// Only deletes, all of the author's change before.
    fn deletes(runs: &[(u64, u64, Option<u64>)]) -> Self {
        Self {
            ops: vec![5; runs.len()],
            lengths: runs.iter().map(|run| run.1).collect(),
            directions: runs.iter().filter_map(|run| run.2).collect(),
            sources: vec![2; runs.len()],
            offsets: runs.iter().map(|run| run.0).collect(),
            ..Self::default()
        }
    }

    /// Nine registers (or more than a tiny table) under the root, set to null.
    fn many(keys: Vec<&'static str>) -> Self {
        let n = keys.len();
        Self {
            ops: vec![2; n],
            containers: vec![1; n],
            forms: vec![0; n],
            entry_keys: (0..n as u64).collect(),
            run_containers: (1..=n as u64).collect(),
            values: vec![0; n],
            keys,
            ..Self::default()
        }
    }
}

fn malformed(text: &'static str) -> Result<(), OpsError> {
    Err(OpsError::Malformed(DecodeError::Rule(text)))
}

const ORDER: &str = "containers are not in first-use order";
const CONTINUES: &str = "a run could have continued the run before it";

/// Applies a fault to good columns and expects the reason.
#[track_caller]
fn refuse(name: &str, expected: Result<(), OpsError>, fault: impl FnOnce(&mut Columns)) {
    let mut columns = Columns::good();
    fault(&mut columns);
    assert_eq!(columns.verdict(), expected, "{name}");
}

#[test]
fn the_columns_without_a_fault_are_accepted() {
    assert_eq!(Columns::good().verdict(), Ok(()));
    assert_eq!(Columns::default().verdict(), Ok(()));
    assert_eq!(Columns::deletes(&[(5, 3, Some(0)), (5, 3, Some(1))]).verdict(), Ok(()));
    assert_eq!(Columns::many(vec!["a", "b", "c", "d", "e", "f", "g", "h", "i"]).verdict(), Ok(()));
}

#[test]
fn container_tables_have_one_order() {
    let unused = malformed("the container table has an unused entry");
    refuse("unused container", unused, |c| {
        c.containers.push(1);
        c.forms.push(0);
        c.entry_keys.push(0);
    });
    refuse("unused leaf of a used map", unused, |c| {
        c.containers.push(1);
        c.forms.push(2);
        c.parent_steps.push(3);
        c.entry_keys.push(0);
    });
    let duplicate = malformed("the container table has a duplicate");
    refuse("duplicate key container", duplicate, |c| {
        c.containers.insert(1, 5);
        c.forms.insert(1, 0);
        c.entry_keys.insert(1, 0);
    });
    refuse("duplicate element container", duplicate, |c| {
        c.containers.push(6);
        c.forms.push(1);
        c.element_sources.push(1);
        c.element_offsets.push(5);
    });
    refuse("containers used in another order than listed", malformed(ORDER), |c| {
        // The map and counter before the list.
        c.containers = vec![4, 3, 5, 6];
        c.forms = vec![0, 2, 0, 1];
        c.run_containers = vec![3, 2, 4];
    });
    refuse("a stranger between an ancestor and its child", malformed(ORDER), |c| {
        c.containers = vec![5, 4, 6, 3];
        c.forms = vec![0, 0, 1, 2];
        c.parent_steps = vec![2];
        c.run_containers = vec![1, 4, 3];
    });
    refuse("parent not a map", malformed("a key's container is not a map"), |c| c.parent_steps = vec![2]);
    refuse("parent is itself", malformed("a container's parent is not an earlier entry"), |c| c.parent_steps = vec![0]);
    refuse("parent before the table", malformed("a container's parent is not an earlier entry"), |c| {
        c.parent_steps = vec![3];
    });
    refuse("unknown parent form", malformed("a parent form, direction or anchor is unknown"), |c| c.forms[3] = 3);
    refuse("kind 0 in the table", malformed("a container table entry has no container kind"), |c| c.containers[0] = 0);
    refuse("container beyond the table", malformed("a run's container is not in the table"), |c| {
        c.run_containers[2] = 5;
    });
    let mut large = Columns::many(vec!["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    large.entry_keys[8] = 3;
    large.keys.pop();
    assert_eq!(large.verdict(), duplicate, "duplicate in a large table");
}

#[test]
fn key_tables_have_one_order() {
    refuse("unused key", malformed("the key table has an unused entry"), |c| c.keys.push("x"));
    refuse("duplicate key", malformed("the key table has a duplicate"), |c| c.keys[2] = "notes");
    let order = malformed("keys are not in first-use order");
    refuse("keys out of order", order, |c| c.entry_keys = vec![1, 0, 2]);
    refuse("key beyond the table", order, |c| c.entry_keys[2] = 3);
    refuse("key too long", malformed("a key is too long"), |c| {
        c.keys[2] = "x".repeat(MAX_KEY_BYTES + 1).leak();
    });
    refuse("longest key", Ok(()), |c| c.keys[2] = "x".repeat(MAX_KEY_BYTES).leak());
    let large = Columns::many(vec!["a", "b", "c", "d", "e", "f", "g", "h", "a"]);
    assert_eq!(large.verdict(), malformed("the key table has a duplicate"), "duplicate in a large table");
    // A key that is not UTF-8.
    let mut bytes = Columns::good().bytes();
    let at = bytes.windows(5).position(|window| window == b"notes").unwrap();
    bytes[at] = 0xff;
    assert_eq!(Ops::decode(VERSION, &bytes), Err(DecodeError::Utf8.into()));
}

#[test]
fn foreign_tables_have_one_order() {
    let order = malformed("foreign changes are not in first-use order");
    refuse("unused foreign change", malformed("the foreign table has an unused entry"), |c| c.foreign.push(0xf2));
    refuse("duplicate foreign change", malformed("the foreign table has a duplicate"), |c| c.foreign[1] = 0xf1);
    refuse("foreign changes out of order", order, |c| {
        c.element_sources[0] = 3;
        c.sources[1] = 1;
    });
    refuse("foreign change beyond the table", order, |c| c.sources[1] = 5);
    let mut large = Columns::deletes(&[(0, 1, None); 9]);
    large.sources = (0..9).map(|n| 2 * n + 1).collect();
    large.foreign = (1..=9).collect();
    assert_eq!(large.verdict(), Ok(()));
    large.foreign[8] = 3;
    assert_eq!(large.verdict(), malformed("the foreign table has a duplicate"), "duplicate in a large table");
}

#[test]
fn runs_are_greedy() {
    refuse("split value run", malformed(CONTINUES), |c| {
        c.ops.insert(1, 4);
        c.elements.push(0);
        c.lengths.splice(0..1, [1, 1]);
        c.run_containers.insert(1, 1);
        c.anchors.insert(1, 1);
        c.sources.insert(0, 0);
        c.offsets.insert(0, 0);
    });
    refuse("split text run", malformed(CONTINUES), |c| {
        c.ops.insert(3, 7);
        c.lengths.splice(1..2, [1, 2]);
        c.run_containers.push(4);
        c.anchors.insert(2, 1);
        c.sources.insert(1, 0);
        c.offsets.insert(1, 3);
    });
    for (name, runs) in [
        ("split forward delete", &[(5, 2, Some(0)), (7, 1, None)][..]),
        ("split backward delete", &[(5, 2, Some(1)), (3, 2, Some(1))]),
        ("single delete before a run that goes on forward", &[(5, 1, None), (6, 2, Some(1))]),
        ("single delete before a run that goes on backward", &[(5, 1, None), (4, 2, Some(0))]),
        ("two single deletes", &[(5, 1, None), (6, 1, None)]),
    ] {
        assert_eq!(Columns::deletes(runs).verdict(), malformed(CONTINUES), "{name}");
    }
    for (name, runs) in [
        ("a backward run does not turn", &[(5, 2, Some(1)), (5, 1, None)][..]),
        ("the same target twice", &[(5, 1, None), (5, 1, None)]),
        ("a gap", &[(5, 1, None), (7, 1, None)]),
    ] {
        assert_eq!(Columns::deletes(runs).verdict(), Ok(()), "{name}");
    }
    refuse("empty run", malformed("a run has no units"), |c| c.lengths[0] = 0);
    refuse("unknown direction", malformed("a parent form, direction or anchor is unknown"), |c| c.directions[0] = 2);
}

/// Written with the wrong direction, a run names other targets; where those do not exist the bytes alone tell.
#[test]
fn delete_runs_stay_within_offsets() {
    let leaves = malformed("a delete run leaves the offsets that a change may have");
    let last = u64::from(MAX_UNITS) - 1;
    assert_eq!(Columns::deletes(&[(2, 3, Some(1))]).verdict(), Ok(()));
    assert_eq!(Columns::deletes(&[(1, 3, Some(1))]).verdict(), leaves);
    assert_eq!(Columns::deletes(&[(last - 1, 2, Some(0))]).verdict(), Ok(()));
    assert_eq!(Columns::deletes(&[(last, 2, Some(0))]).verdict(), leaves);
    assert_eq!(Columns::deletes(&[(last, 1 << 18, Some(1))]).verdict(), Ok(()));
    let beyond = malformed("an offset is beyond what a change may have");
    assert_eq!(Columns::deletes(&[(last + 1, 1, None)]).verdict(), beyond);
    refuse("element offset", beyond, |c| c.element_offsets[0] = last + 1);
    refuse("offset beyond 32 bits", beyond, |c| c.offsets[0] = 1 << 40);
}

#[test]
fn references_to_this_change_go_backward() {
    let forward = malformed("a reference to this change does not name an earlier unit");
    refuse("move of itself", forward, |c| c.offsets[2] = 9);
    refuse("anchor at itself", forward, |c| c.offsets[3] = 9);
    refuse("anchor at the unit before", Ok(()), |c| c.offsets[3] = 8);
    refuse("delete of itself", forward, |c| {
        c.foreign.pop();
        (c.sources[1], c.offsets[1]) = (0, 6);
    });
    refuse("delete of what stands before", Ok(()), |c| {
        c.foreign.pop();
        (c.sources[1], c.offsets[1]) = (0, 5);
    });
    let later = malformed("a container's element is not inserted before its first use");
    refuse("element of a later unit", later, |c| {
        c.foreign.remove(0);
        (c.element_sources[0], c.element_offsets[0]) = (0, 3);
        c.sources[1] = 1;
    });
    refuse("element of an earlier unit", Ok(()), |c| {
        c.foreign.remove(0);
        (c.element_sources[0], c.element_offsets[0]) = (0, 2);
        c.sources[1] = 1;
    });
}

#[test]
fn containers_fit_their_operations() {
    let fits = malformed("a run's container does not fit its operation");
    for (op, container) in [(0, 0), (2, 0), (3, 0), (4, 0), (7, 0), (2, 3), (3, 4), (4, 4), (7, 1)] {
        // The four containers are made known first; then comes the run that does not fit.
        refuse(&format!("op {op} on container {container}"), fits, |c| {
            c.ops.push(op);
            c.run_containers.push(container);
            match op {
                2 => c.values.push(0),
                3 => c.steps.push(0),
                4 => {
                    c.elements.push(0);
                    c.lengths.push(1);
                    c.anchors.push(0);
                    c.values.push(0);
                }
                7 => {
                    c.lengths.push(1);
                    c.anchors.push(0);
                    c.text.push(b'x');
                }
                _ => {}
            }
        });
    }
    refuse("clear of the root", Ok(()), |c| {
        c.ops.push(1);
        c.run_containers.push(0);
    });
}

#[test]
fn what_another_version_might_know_is_unsupported() {
    refuse("operation 8", Err(Unsupported::Operation(8).into()), |c| c.ops[4] = 8);
    refuse("operation of many bytes", Err(Unsupported::Operation(u64::MAX).into()), |c| c.ops[4] = u64::MAX);
    refuse("container kind 7", Err(Unsupported::ContainerKind(7).into()), |c| c.containers[3] = 7);
    refuse("element kind 7", Err(Unsupported::ElementKind(7).into()), |c| c.elements[0] = 7);
    // Whatever follows is not looked at; what stands before is.
    assert_eq!(Ops::decode(VERSION, &[2, 8]), Err(Unsupported::Operation(8).into()));
    assert_eq!(Ops::decode(VERSION, &[2, 0, 0x88, 0x00]), Err(DecodeError::Varint.into()));
    assert_eq!(Ops::decode(VERSION, &[2, 0]), Err(DecodeError::Truncated.into()));
    assert_eq!(Ops::decode(VERSION, &[0, 2, 7]), Err(Unsupported::ContainerKind(7).into()));
    assert_eq!(
        Ops::decode(VERSION, &[0, 2, 0, 7]).map(drop),
        malformed("a container table entry has no container kind")
    );
    for version in [0, 2, u64::MAX] {
        assert_eq!(Ops::decode(version, &[0xff]), Err(Unsupported::Version(version).into()));
    }
}

#[test]
fn lengths_are_exact() {
    let good = Columns::good().bytes();
    for end in 0..good.len() {
        assert!(matches!(Ops::decode(VERSION, &good[..end]), Err(OpsError::Malformed(_))), "cut at {end}");
    }
    refuse("text too long", Err(DecodeError::Trailing.into()), |c| c.text.push(b'x'));
    refuse("text too short", Err(DecodeError::Truncated.into()), |c| c.text.truncate(3));
    refuse("text not UTF-8", Err(DecodeError::Utf8.into()), |c| c.text[0] = 0xff);
    refuse("surrogate in the text", Err(DecodeError::Utf8.into()), |c| c.text = vec![0xed, 0xa0, 0x80]);
    let mut trailing = Columns::deletes(&[(0, 1, None)]);
    trailing.text.push(0);
    assert_eq!(trailing.verdict(), Err(DecodeError::Trailing.into()));
}

/// Each varint of the good bytes, spelled with a byte more.
#[test]
fn varints_are_minimal() {
    // What is one byte, below 0x80 and followed by a zero continuation, in every column of numbers.
    let mut refused = 0;
    let good = Columns::good().bytes();
    for at in 0..good.len() {
        let mut longer = good.clone();
        longer[at] |= 0x80;
        longer.insert(at + 1, 0);
        assert!(Ops::decode(VERSION, &longer).is_err(), "at {at}");
        refused += usize::from(Ops::decode(VERSION, &longer) == Err(DecodeError::Varint.into()));
    }
    assert!(refused > 20, "{refused} of them for the varint itself");
}

#[test]
fn bombs_are_refused_before_they_cost() {
    let too_many = malformed("more units than a change may have");
    let all = u64::from(MAX_UNITS);
    assert_eq!(Columns::deletes(&[(all - 1, all, Some(1))]).verdict(), Ok(()));
    assert_eq!(Columns::deletes(&[(all - 1, all, Some(1)), (0, 1, None)]).verdict(), too_many);
    assert_eq!(Columns::deletes(&[(0, u64::MAX, Some(0))]).verdict(), too_many);
    let mut runs = Vec::new();
    runs.put_varint(all + 1);
    assert_eq!(Ops::decode(VERSION, &runs).map(drop), too_many);
    // Counts that no input could hold.
    for prefix in [&[0][..], &[0, 0], &[0, 0, 0]] {
        let mut bytes = prefix.to_vec();
        bytes.put_varint(u64::MAX);
        bytes.extend([1; 100]);
        assert!(Ops::decode(VERSION, &bytes).is_err());
    }
    assert_eq!(Ops::decode(VERSION, &vec![0; MAX_OPS_BYTES + 1]).map(drop), malformed("ops are too long"));
}

#[test]
fn values_have_one_form() {
    let set = |value: &[u8]| {
        let mut columns = Columns::many(vec!["a"]);
        columns.values = value.to_vec();
        columns.verdict()
    };
    assert_eq!(set(&[8, 2, 0, 0, 1, b'a', 0]), Ok(()));
    let float = |f: f64| [&[5][..], &f.to_be_bytes()].concat();
    assert_eq!(set(&float(-0.0)), Ok(()));
    let finite = malformed("a floating-point number is not finite");
    for (name, value, expected) in [
        ("unknown tag", vec![9], malformed("a value's tag is unknown")),
        ("NaN", float(f64::NAN), finite),
        ("another NaN", float(f64::from_bits(0xfff0_0000_0000_0001)), finite),
        ("infinity", float(f64::INFINITY), finite),
        ("minus infinity", float(f64::NEG_INFINITY), finite),
        ("unsorted keys", vec![8, 2, 1, b'b', 0, 1, b'a', 0], malformed("object keys are not strictly ascending")),
        ("duplicate keys", vec![8, 2, 1, b'a', 0, 1, b'a', 0], malformed("object keys are not strictly ascending")),
        ("zero spelled longer", vec![3, 0x80, 0], Err(DecodeError::Varint.into())),
        ("beyond 64 bits", [vec![3], vec![0xff; 9], vec![2]].concat(), Err(DecodeError::Varint.into())),
        (
            "below −2⁶³",
            vec![4, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
            malformed("a negative integer is below −2⁶³"),
        ),
        ("too deep", [[7, 1].repeat(49), vec![0]].concat(), malformed("a value nests too deep")),
        ("array longer than the input", vec![7, 0xff, 0xff, 3, 0], Err(DecodeError::Truncated.into())),
        ("two values", vec![0, 0], Err(DecodeError::Trailing.into())),
    ] {
        assert_eq!(set(&value), expected, "{name}");
    }
    assert_eq!(set(&[[7, 1].repeat(48), vec![0]].concat()), Ok(()), "deepest");
}

/// A header's parts, free of any rule.
fn change_bytes(fault: impl FnOnce(&mut HeaderParts)) -> Vec<u8> {
    let keypair = Keypair::from_seed(&[5; 32]);
    let mut parts = HeaderParts {
        author: *keypair.author().as_bytes(),
        seq: vec![2],
        previous: Some(7),
        deps: vec![1, 9],
        time: 5,
        ops: vec![0; 4],
        ops_hash: bft_json_crdt::hash::hash(bft_json_crdt::hash::OPS_DOMAIN, &[0; 4]),
        tail: vec![0; 64],
    };
    fault(&mut parts);
    let mut out = vec![1];
    out.put(&[0xd0; 32]);
    out.put(&parts.author);
    out.put(&parts.seq);
    parts.previous.iter().for_each(|n| out.put(&[*n; 32]));
    out.put_varint(parts.deps.len() as u64);
    parts.deps.iter().for_each(|n| out.put(&[*n; 32]));
    out.put_varint(parts.time);
    out.put(&parts.ops_hash);
    out.put_blob(&parts.ops);
    out.put(&parts.tail);
    out
}

struct HeaderParts {
    author: [u8; 32],
    seq: Vec<u8>,
    previous: Option<u8>,
    deps: Vec<u8>,
    time: u64,
    ops: Vec<u8>,
    ops_hash: [u8; 32],
    tail: Vec<u8>,
}

#[test]
fn changes_have_one_form() {
    let judge = |fault: fn(&mut HeaderParts)| Change::decode(change_bytes(fault).into()).map(drop);
    let rule = |text| Err(ChangeError::Encoding(DecodeError::Rule(text)));
    let varint = |n: u64| {
        let mut out = Vec::new();
        out.put_varint(n);
        out
    };
    assert_eq!(judge(|_| ()), Ok(()));
    assert_eq!(judge(|p| p.deps = vec![9, 1]), rule("deps are not strictly ascending"));
    assert_eq!(judge(|p| p.deps = vec![9, 9]), rule("deps are not strictly ascending"));
    assert_eq!(judge(|p| p.deps = vec![1, 7]), rule("deps repeat previous"));
    assert_eq!(judge(|p| p.deps = (8..40).collect()), Ok(()));
    assert_eq!(judge(|p| p.deps = (8..41).collect()), rule("too many deps"));
    assert_eq!(judge(|p| p.seq = vec![0]), rule("seq is out of range"));
    assert_eq!(judge(|p| p.seq = vec![0x82, 0]), Err(DecodeError::Varint.into()));
    assert_eq!(judge(|p| p.time = MAX_SAFE), Ok(()));
    assert_eq!(judge(|p| p.time = MAX_SAFE + 1), rule("time_ms is out of range"));
    assert_eq!(judge(|p| p.ops_hash[0] ^= 1), rule("ops_hash does not match the operations"));
    assert_eq!(judge(|p| p.ops.push(0)), rule("ops_hash does not match the operations"));
    assert_eq!(judge(|p| p.ops = vec![0; MAX_OPS_BYTES + 1]), rule("ops are too long"));
    assert_eq!(judge(|p| p.tail.push(0)), Err(DecodeError::Trailing.into()));
    assert_eq!(judge(|p| p.tail.truncate(63)), Err(DecodeError::Truncated.into()));
    assert_eq!(judge(|p| p.author = [0; 32]), Err(IdentityError::SmallOrder.into()));
    assert_eq!(judge(|p| p.author = [0xff; 32]), Err(IdentityError::NotCanonical.into()));
    let seq = |n| Change::decode(change_bytes(|p| p.seq = varint(n)).into()).map(drop);
    assert_eq!(seq(MAX_SAFE), Ok(()));
    assert_eq!(seq(MAX_SAFE + 1), rule("seq is out of range"));
    // `previous` stands there exactly when seq > 1: otherwise the bytes shift.
    assert!(judge(|p| (p.previous, p.deps) = (None, vec![])).is_err());
    assert!(judge(|p| p.seq = vec![1]).is_err());
    let good = change_bytes(|_| ());
    for end in 0..good.len() {
        assert!(Change::decode(good[..end].to_vec().into()).is_err(), "cut at {end}");
    }
}

/// Redundant deps are allowed; what a header says comes back as it was.
#[test]
fn headers_encode_to_the_bytes_they_were_read_from() {
    let change = Change::decode(change_bytes(|_| ()).into()).unwrap();
    let header: &Header = change.header();
    assert_eq!(
        (header.document, header.previous, &header.deps),
        (DocumentId([0xd0; 32]), Some(id(7)), &vec![id(1), id(9)])
    );
    assert_eq!(&change.bytes()[..header.encode().len()], header.encode());
}
