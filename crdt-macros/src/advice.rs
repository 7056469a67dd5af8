//! What to write instead of a plain type: std types do not merge, so each is refused with the CRDT that takes its place.

use quote::ToTokens as _;
use syn::{GenericArgument, PathArguments, PathSegment, Type};

/// If `ty` is a well-known plain type, why it cannot be a field and what can.
pub(crate) fn advice(ty: &Type) -> Option<String> {
    match ty {
        Type::Group(group) => advice(&group.elem),
        Type::Paren(paren) => advice(&paren.elem),
        Type::Reference(_) | Type::Ptr(_) => {
            Some("a CrdtNode field owns its handle: use the CRDT type itself instead of a reference".into())
        }
        Type::Array(array) => Some(format!("an array does not merge: use ListCrdt<{}>", text(&array.elem))),
        Type::Slice(slice) => Some(format!("a slice does not merge: use ListCrdt<{}>", text(&slice.elem))),
        Type::Tuple(_) => Some(format!(
            "a tuple does not merge: use LwwRegisterCrdt<{}> to replace it as a whole, or a struct that derives CrdtNode",
            text(ty)
        )),
        Type::Path(path) if path.qself.is_none() => of_segment(path.path.segments.last()?, ty),
        _ => None,
    }
}

fn of_segment(segment: &PathSegment, ty: &Type) -> Option<String> {
    let name = segment.ident.to_string();
    let first = argument(segment, 0);
    let second = argument(segment, 1);
    Some(match name.as_str() {
        "Vec" | "VecDeque" | "LinkedList" => {
            format!("a plain {name} does not merge: use ListCrdt<{}>", first.map_or("T".into(), text))
        }
        "HashMap" | "BTreeMap" | "IndexMap" => {
            let value = second.map_or("T".into(), container_text);
            format!("a plain {name} does not merge: use MapCrdt<{value}> (keys are strings, entries are CRDTs)")
        }
        "HashSet" | "BTreeSet" | "IndexSet" => {
            format!("a plain {name} does not merge: use MapCrdt<LwwRegisterCrdt<bool>> with the members as keys")
        }
        "String" | "str" => {
            "a plain String does not merge: use LwwRegisterCrdt<String> to replace it as a whole, or TextCrdt to \
                             edit it together"
                .into()
        }
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => {
            format!(
                "a plain {name} does not merge: use LwwRegisterCrdt<{name}> to replace it, or CounterCrdt to add to it"
            )
        }
        "bool" | "f32" | "f64" | "char" => format!("a plain {name} does not merge: use LwwRegisterCrdt<{name}>"),
        "Option" | "Box" => return first.and_then(advice),
        "MapCrdt" => {
            let inner = first?;
            advice(inner)?;
            format!("the entries of a MapCrdt are CRDTs: use MapCrdt<{}>", container_text(inner))
        }
        "Rc" | "Arc" | "Cell" | "RefCell" | "Mutex" => {
            format!(
                "{} is not a CRDT: a field is a CRDT type, a struct that derives CrdtNode, or an Option of those",
                text(ty)
            )
        }
        _ => return None,
    })
}

fn argument(segment: &PathSegment, index: usize) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().filter_map(|a| if let GenericArgument::Type(ty) = a { Some(ty) } else { None }).nth(index)
}

/// The CRDT that would hold `ty` as a map's entry.
fn container_text(ty: &Type) -> String {
    if let Type::Path(path) = ty
        && let Some(segment) = path.path.segments.last()
        && segment.ident == "Vec"
        && let Some(inner) = argument(segment, 0)
    {
        return format!("ListCrdt<{}>", text(inner));
    }
    if advice(ty).is_some() { format!("LwwRegisterCrdt<{}>", text(ty)) } else { text(ty) }
}

/// A type as somebody would write it.
fn text(ty: &Type) -> String {
    ty.to_token_stream().to_string().replace(" < ", "<").replace(" >", ">").replace(" ,", ",").replace(" :: ", "::")
}
