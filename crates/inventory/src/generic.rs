//! The forms of most types of variables: a bounded number, one of a few words, and a value without
//! a default.

use std::marker::PhantomData;
use std::ops::RangeInclusive;

use super::convert::{Context, Convert, Found};
use super::names::nearest;
use crate::yaml::source::quoted;

/// A value without a default.
pub(super) struct Optional<T>(PhantomData<T>);

impl<T: Convert> Convert for Optional<T> {
    type Output = Option<T::Output>;
    const EXPECTED: &'static str = T::EXPECTED;
    const SCHEMA: &'static str = T::SCHEMA;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        T::convert(value, context).map(Some)
    }
}

/// A whole number within two bounds; its description, and the hint for a number outside of them.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident: $type:ty, $least:literal..=$most:literal, $expected:literal, $help:literal) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl $crate::convert::Convert for $name {
            type Output = $type;
            const EXPECTED: &'static str = $expected;
            const SCHEMA: &'static str =
                concat!(r#"{"type": "integer", "minimum": "#, $least, r#", "maximum": "#, $most, "}");

            fn convert(
                value: &$crate::convert::Found,
                context: &mut $crate::convert::Context,
            ) -> Option<$type> {
                let number = value.integer(Self::EXPECTED, context)?;
                $crate::generic::in_range(number, $least..=$most, value, $help, context)
            }
        }
    };
}
pub(super) use bounded;

pub(super) fn in_range<T: TryFrom<i128>>(
    number: i128,
    range: RangeInclusive<i128>,
    value: &Found,
    help: &str,
    context: &mut Context,
) -> Option<T> {
    match T::try_from(number) {
        Ok(fit) if range.contains(&number) => Some(fit),
        _ => value.refuse(
            format!("{} cannot be {number}", quoted(value.name)),
            help,
            context,
        ),
    }
}

/// One of a few words.
macro_rules! one_of {
    ($(#[$doc:meta])* $name:ident: $type:ty, $expected:literal,
     $first:literal => $meaning:expr $(, $word:literal => $other:expr)+) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl $crate::convert::Convert for $name {
            type Output = $type;
            const EXPECTED: &'static str = $expected;
            const SCHEMA: &'static str =
                concat!(r#"{"enum": [""#, $first, $(r#"", ""#, $word,)+ r#""]}"#);

            fn convert(
                value: &$crate::convert::Found,
                context: &mut $crate::convert::Context,
            ) -> Option<$type> {
                let known = [($first, $meaning) $(, ($word, $other))+];
                $crate::generic::word(value, Self::EXPECTED, &known, context)
            }
        }
    };
}
pub(super) use one_of;

pub(super) fn word<T: Copy>(
    value: &Found,
    expected: &str,
    known: &[(&str, T)],
    context: &mut Context,
) -> Option<T> {
    let text = value.line(expected, context)?;
    if let Some((_, found)) = known.iter().find(|(word, _)| *word == text) {
        return Some(*found);
    }
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    let help = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("one of {}", words.join(", ")),
    };
    let message = format!("{} cannot be {}", quoted(value.name), quoted(text));
    value.refuse(message, help, context)
}
