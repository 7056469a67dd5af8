//! The impls that the derive writes.
//!
//! A struct is a map with an entry for each field. An enum is a map with the entry [`VARIANT_KEY`] (a register with the current variant's key)
//! and an entry under the variant's key that holds its content.

use std::collections::HashSet;

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::visit::Visit;
use syn::{Data, DeriveInput, Fields, FieldsNamed, LitStr, Type, WherePredicate};

use crate::{advice, attributes};

/// The key of an enum's register that names its variant. The library has the same constant.
const VARIANT_KEY: &str = "variant";

/// A field of a struct or struct variant.
struct Field<'a> {
    ident: &'a Ident,
    key: LitStr,
    ty: &'a Type,
}

/// What a variant holds.
enum Content<'a> {
    Unit,
    One(&'a Type),
    Fields(Vec<Field<'a>>),
}

/// Everything behind `#[derive(CrdtNode)]`.
pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let of_type = attributes::of_type(&input.attrs)?;
    let library = &of_type.library;
    let path = quote!(#library::typed::derive);
    match &input.data {
        Data::Struct(data) => {
            let Fields::Named(named) = &data.fields else {
                return Err(syn::Error::new_spanned(
                    &input.ident,
                    "CrdtNode needs named fields: each field is found in the document by its name",
                ));
            };
            let fields = fields(named)?;
            Ok(of_struct(input, &of_type, &path, &fields))
        }
        Data::Enum(data) => of_enum(input, data, &of_type, &path),
        Data::Union(_) => {
            Err(syn::Error::new_spanned(&input.ident, "a union cannot be a CrdtNode: use a struct or an enum"))
        }
    }
}

/// Reads and checks named fields; all faults are told at once.
fn fields(named: &FieldsNamed) -> syn::Result<Vec<Field<'_>>> {
    let mut faults = Faults::default();
    let mut keys = HashSet::new();
    let mut fields = Vec::new();
    for field in &named.named {
        let ident = field.ident.as_ref().expect("a named field has a name");
        if let Some(advice) = advice::advice(&field.ty) {
            faults.add(syn::Error::new_spanned(&field.ty, advice));
        }
        match attributes::key(&field.attrs, ident) {
            Ok(key) => {
                if !keys.insert(key.value()) {
                    faults.add(syn::Error::new(key.span(), format!("two fields have the key {:?}", key.value())));
                }
                fields.push(Field { ident, key, ty: &field.ty });
            }
            Err(fault) => faults.add(fault),
        }
    }
    faults.finish()?;
    Ok(fields)
}

fn of_struct(
    input: &DeriveInput,
    of_type: &attributes::OfType,
    path: &TokenStream,
    fields: &[Field<'_>],
) -> TokenStream {
    let name = &input.ident;
    let where_clause = where_clause(input, of_type, path, &fields.iter().map(|f| f.ty).collect::<Vec<_>>());
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    let idents: Vec<_> = fields.iter().map(|f| f.ident).collect();
    let keys: Vec<_> = fields.iter().map(|f| &f.key).collect();
    let types: Vec<_> = fields.iter().map(|f| f.ty).collect();
    quote! {
        #[automatically_derived]
        impl #impl_generics #path::CrdtNode for #name #type_generics #where_clause {
            const KIND: #path::Kind = #path::Kind::Map;
            fn load(place: &#path::Place) -> ::core::result::Result<Self, #path::SchemaError> {
                ::core::result::Result::Ok(<Self as #path::CrdtContainer>::attach(place))
            }
            fn settle(&mut self, place: &#path::Place) {
                #( <#types as #path::CrdtField>::settle_at(&mut self.#idents, place, #path::Key::Static(#keys)); )*
                let _ = place;
            }
        }
        #[automatically_derived]
        impl #impl_generics #path::CrdtContainer for #name #type_generics #where_clause {
            fn attach(place: &#path::Place) -> Self {
                let _ = place;
                Self { #( #idents: <#types as #path::CrdtField>::attach_at(place, #path::Key::Static(#keys)), )* }
            }
            fn draft() -> Self {
                Self { #( #idents: <#types as #path::CrdtField>::draft_field(), )* }
            }
        }
    }
}

fn of_enum(
    input: &DeriveInput,
    data: &syn::DataEnum,
    of_type: &attributes::OfType,
    path: &TokenStream,
) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let mut faults = Faults::default();
    let mut keys = HashSet::new();
    let mut variants = Vec::new();
    let mut types = Vec::new();
    if data.variants.is_empty() {
        faults.add(syn::Error::new_spanned(name, "an enum without variants can never be in a document"));
    }
    for variant in &data.variants {
        let key = match attributes::key(&variant.attrs, &variant.ident) {
            Ok(key) => key,
            Err(fault) => {
                faults.add(fault);
                continue;
            }
        };
        if key.value() == VARIANT_KEY {
            faults.add(syn::Error::new(
                key.span(),
                format!("the key {VARIANT_KEY:?} says which variant is current: give this variant another one"),
            ));
        }
        if !keys.insert(key.value()) {
            faults.add(syn::Error::new(key.span(), format!("two variants have the key {:?}", key.value())));
        }
        let content = match &variant.fields {
            Fields::Unit => Content::Unit,
            Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => {
                let ty = &unnamed.unnamed[0].ty;
                if let Some(advice) = advice::advice(ty) {
                    faults.add(syn::Error::new_spanned(ty, advice));
                }
                types.push(ty);
                Content::One(ty)
            }
            Fields::Unnamed(_) => {
                faults.add(syn::Error::new_spanned(
                    &variant.fields,
                    "name the fields of this variant: each is found in the document by its name",
                ));
                continue;
            }
            Fields::Named(named) => match fields(named) {
                Ok(fields) => {
                    types.extend(fields.iter().map(|f| f.ty));
                    Content::Fields(fields)
                }
                Err(fault) => {
                    faults.add(fault);
                    continue;
                }
            },
        };
        variants.push((&variant.ident, key, content));
    }
    faults.finish()?;

    let where_clause = where_clause(input, of_type, path, &types);
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    let all_keys: Vec<_> = variants.iter().map(|(_, key, _)| key).collect();
    let loads = variants.iter().map(|(ident, key, content)| match content {
        Content::Unit => quote!(#key => ::core::result::Result::Ok(Self::#ident),),
        Content::One(ty) => quote! {
            #key => ::core::result::Result::Ok(Self::#ident(
                <#ty as #path::CrdtField>::attach_at(place, #path::Key::Static(#key))
            )),
        },
        Content::Fields(fields) => {
            let idents = fields.iter().map(|f| f.ident);
            let keys = fields.iter().map(|f| &f.key);
            let types = fields.iter().map(|f| f.ty);
            quote! {
                #key => {
                    let content = place.entry(#path::Key::Static(#key), #path::Kind::Map);
                    let _ = &content;
                    ::core::result::Result::Ok(Self::#ident {
                        #( #idents: <#types as #path::CrdtField>::attach_at(&content, #path::Key::Static(#keys)), )*
                    })
                }
            }
        }
    });
    let settles = variants.iter().map(|(ident, key, content)| match content {
        Content::Unit => quote!(Self::#ident => place.become_variant(#key, #path::Content::Map),),
        Content::One(ty) => quote! {
            Self::#ident(content) => {
                place.become_variant(#key, #path::Content::Field);
                <#ty as #path::CrdtField>::settle_at(content, place, #path::Key::Static(#key));
            }
        },
        Content::Fields(fields) => {
            let idents: Vec<_> = fields.iter().map(|f| f.ident).collect();
            // Own names, so that a field called `place` or `content` cannot shadow ours.
            let bindings: Vec<_> = (0..fields.len()).map(|i| format_ident!("field_{i}")).collect();
            let keys = fields.iter().map(|f| &f.key);
            let types = fields.iter().map(|f| f.ty);
            quote! {
                Self::#ident { #( #idents: #bindings, )* } => {
                    place.become_variant(#key, #path::Content::Map);
                    let content = place.entry(#path::Key::Static(#key), #path::Kind::Map);
                    let _ = &content;
                    #( <#types as #path::CrdtField>::settle_at(#bindings, &content, #path::Key::Static(#keys)); )*
                }
            }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #path::CrdtNode for #name #type_generics #where_clause {
            const KIND: #path::Kind = #path::Kind::Map;
            fn load(place: &#path::Place) -> ::core::result::Result<Self, #path::SchemaError> {
                match ::core::convert::AsRef::<str>::as_ref(&place.variant()?) {
                    #( #loads )*
                    unknown => ::core::result::Result::Err(place.unknown_variant(unknown, &[#( #all_keys ),*])),
                }
            }
            fn settle(&mut self, place: &#path::Place) {
                match self { #( #settles )* }
            }
        }
        #[automatically_derived]
        impl #impl_generics #path::CrdtEnum for #name #type_generics #where_clause {
            const VARIANTS: &'static [&'static str] = &[#( #all_keys ),*];
        }
    })
}

/// The where-clause of the impls: what the type says, and `F: CrdtField` for each field type that mentions a type parameter. A type that
/// contains itself is left out (the bound would be circular); `#[crdt(bound = "…")]` replaces what is inferred.
fn where_clause(
    input: &DeriveInput,
    of_type: &attributes::OfType,
    path: &TokenStream,
    types: &[&Type],
) -> Option<syn::WhereClause> {
    let mut generics = input.generics.clone();
    let parameters: HashSet<_> = input.generics.type_params().map(|p| p.ident.clone()).collect();
    let mut predicates: Vec<WherePredicate> = Vec::new();
    match &of_type.bound {
        Some(bound) => predicates.extend(bound.iter().cloned()),
        None => {
            for ty in types {
                if Mentions::any(ty, &parameters) && !Mentions::one(ty, &input.ident) {
                    predicates.push(syn::parse_quote!(#ty: #path::CrdtField));
                }
            }
        }
    }
    if !predicates.is_empty() {
        generics.make_where_clause().predicates.extend(predicates);
    }
    generics.where_clause
}

/// Looks for identifiers in a type.
struct Mentions<'a> {
    wanted: &'a dyn Fn(&Ident) -> bool,
    found: bool,
}

impl Mentions<'_> {
    fn any(ty: &Type, names: &HashSet<Ident>) -> bool {
        Self::matches(ty, &|ident| names.contains(ident))
    }

    fn one(ty: &Type, name: &Ident) -> bool {
        Self::matches(ty, &|ident| ident == name || ident == "Self")
    }

    fn matches(ty: &Type, wanted: &dyn Fn(&Ident) -> bool) -> bool {
        let mut visitor = Mentions { wanted, found: false };
        visitor.visit_type(ty);
        visitor.found
    }
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.found |= (self.wanted)(ident);
    }
}

/// Collects faults so that one compilation tells them all.
#[derive(Default)]
struct Faults(Option<syn::Error>);

impl Faults {
    fn add(&mut self, fault: syn::Error) {
        match &mut self.0 {
            Some(first) => first.combine(fault),
            None => self.0 = Some(fault),
        }
    }

    fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
