//! Functions and operators whose declared types stand for others: `anyelement`, `anyarray` and their like.

use super::TypeName;

/// Ranges, and what they are of.
const RANGES: &[(&str, &str)] = &[
    ("int4range", "int4"),
    ("int8range", "int8"),
    ("numrange", "numeric"),
    ("daterange", "date"),
    ("tsrange", "timestamp"),
    ("tstzrange", "timestamptz"),
];

/// What the declared types stand for.
#[derive(Debug, Default)]
struct Binding {
    element: Option<TypeName>,
    range: Option<TypeName>,
}

/// The type that a function or operator gives for these arguments, if they fit what it declares.
///
/// Where arguments of different types would need a common one, casts are written out; so equal ones are asked for.
pub(super) fn result(
    declared: &[TypeName],
    arguments: &[TypeName],
    result: &TypeName,
) -> Option<TypeName> {
    let mut binding = Binding::default();
    let fits = declared.len() == arguments.len()
        && declared
            .iter()
            .zip(arguments)
            .all(|(declared, own)| binding.takes(declared, own));
    // exact ones are found otherwise
    let element = binding.element.filter(|_| fits)?;
    match result.built_in_name() {
        Some("anyelement" | "anycompatible") => Some(element),
        Some("anyarray" | "anycompatiblearray") => Some(element.array()),
        Some("anyrange" | "anycompatiblerange") => binding.range,
        Some(name) if name.starts_with("any") => None,
        _ => Some(result.clone()),
    }
}

impl Binding {
    fn takes(&mut self, declared: &TypeName, own: &TypeName) -> bool {
        if own.is("unknown") {
            return false;
        }
        let element = match declared.built_in_name() {
            Some("anyelement" | "anycompatible") => Some(own.clone()),
            Some("anynonarray" | "anycompatiblenonarray") if own.element().is_none() => {
                Some(own.clone())
            }
            Some("anyarray" | "anycompatiblearray") => own.element(),
            Some("anyrange" | "anycompatiblerange") => {
                let of = RANGES.iter().find(|(range, _)| own.is(range));
                self.range = Some(own.clone());
                of.map(|(_, element)| TypeName::built_in(element))
            }
            _ => return declared == own,
        };
        match (&self.element, element) {
            (_, None) => false,
            (None, element) => {
                self.element = element;
                true
            }
            (Some(known), Some(element)) => *known == element,
        }
    }
}
