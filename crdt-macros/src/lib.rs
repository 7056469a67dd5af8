//! The derive macro of `bft-json-crdt`.
//!
//! `#[derive(CrdtNode)]` makes a plain struct or enum a typed part of a signed document. Use it through `bft_json_crdt`, which re-exports it
//! and documents what the types mean:
//!
//! ```text
//! #[derive(CrdtNode)]
//! struct Shop { name: LwwRegisterCrdt<String>, stock: MapCrdt<CounterCrdt>, orders: ListCrdt<Order> }
//! ```
//!
//! The derive adds no fields and reserves no names. Attributes:
//! - `#[crdt(rename = "key")]` on a field or variant: the key that stands in the document;
//! - `#[crdt(crate = "path")]` on the type: where `bft_json_crdt` is found when it was renamed;
//! - `#[crdt(bound = "T: …")]` on the type: the where-clause of the generated impls, in place of the inferred one.

mod advice;
mod attributes;
mod node;

use proc_macro::TokenStream;

/// Makes a struct with named fields, or an enum, a typed node of a document. See `bft_json_crdt::typed`.
#[proc_macro_derive(CrdtNode, attributes(crdt))]
pub fn derive_crdt_node(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    node::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
