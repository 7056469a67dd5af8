//! The `#[crdt(…)]` attributes.

use syn::punctuated::Punctuated;
use syn::{Attribute, LitStr, Token, WherePredicate};

/// Longest key that the protocol allows, in bytes.
const MAX_KEY_BYTES: usize = 1024;

/// Attributes of the type.
pub(crate) struct OfType {
    /// Where the library is found.
    pub(crate) library: syn::Path,
    /// The where-clause that replaces the inferred one.
    pub(crate) bound: Option<Vec<WherePredicate>>,
}

/// Reads the attributes of a struct or enum.
pub(crate) fn of_type(attributes: &[Attribute]) -> syn::Result<OfType> {
    let mut library: syn::Path = syn::parse_quote!(::bft_json_crdt);
    let mut bound = None;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("crdt")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("crate") {
                library = meta.value()?.parse::<LitStr>()?.parse()?;
            } else if meta.path.is_ident("bound") {
                let text: LitStr = meta.value()?.parse()?;
                let predicates = text.parse_with(Punctuated::<WherePredicate, Token![,]>::parse_terminated)?;
                bound = Some(predicates.into_iter().collect());
            } else {
                return Err(meta.error("unknown attribute: a type takes `crate = \"…\"` and `bound = \"…\"`"));
            }
            Ok(())
        })?;
    }
    Ok(OfType { library, bound })
}

/// The document key of a field or variant: its name, unless renamed.
pub(crate) fn key(attributes: &[Attribute], name: &syn::Ident) -> syn::Result<LitStr> {
    let mut key = LitStr::new(&syn::ext::IdentExt::unraw(name).to_string(), name.span());
    for attribute in attributes.iter().filter(|a| a.path().is_ident("crdt")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("rename") {
                return Err(meta.error("unknown attribute: a field or variant takes `rename = \"…\"`"));
            }
            key = meta.value()?.parse()?;
            if key.value().len() > MAX_KEY_BYTES {
                return Err(syn::Error::new(key.span(), format!("a key has at most {MAX_KEY_BYTES} bytes")));
            }
            Ok(())
        })?;
    }
    Ok(key)
}
