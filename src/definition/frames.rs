//! Frames of windows.

use pg_query::protobuf::Node;

use super::read_select::Reader;
use super::scope::Scope;
use super::{Expression, FrameWord, Refusal, TypeName};

// parsenodes.h of PostgreSQL
const NONDEFAULT: i32 = 0x1;
const RANGE: i32 = 0x2;
const ROWS: i32 = 0x4;
const GROUPS: i32 = 0x8;
const START_UNBOUNDED_PRECEDING: i32 = 0x20;
const END_UNBOUNDED_FOLLOWING: i32 = 0x100;
const START_CURRENT_ROW: i32 = 0x200;
const END_CURRENT_ROW: i32 = 0x400;
const START_OFFSET_PRECEDING: i32 = 0x800;
const END_OFFSET_PRECEDING: i32 = 0x1000;
const START_OFFSET_FOLLOWING: i32 = 0x2000;
const END_OFFSET_FOLLOWING: i32 = 0x4000;
const EXCLUDE_CURRENT_ROW: i32 = 0x8000;
const EXCLUDE_GROUP: i32 = 0x1_0000;
const EXCLUDE_TIES: i32 = 0x2_0000;

/// A frame as it is parsed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) options: i32,
    pub(super) start: Option<&'a Node>,
    pub(super) end: Option<&'a Node>,
}

impl Frame<'_> {
    fn has(self, option: i32) -> bool {
        self.options & option != 0
    }

    /// Whether it may have some of the rows that ORDER BY takes for equal and not the others.
    pub(super) fn is_by_rows(self) -> bool {
        self.has(ROWS)
            && !(self.has(START_UNBOUNDED_PRECEDING) && self.has(END_UNBOUNDED_FOLLOWING))
    }

    /// Its text.
    pub(super) fn words(
        self,
        reader: &Reader<'_>,
        order: &[(Expression, String)],
    ) -> Result<Vec<FrameWord>, Refusal> {
        if !self.has(NONDEFAULT) {
            return Ok(Vec::new());
        }
        let mode = match () {
            () if self.has(RANGE) => "RANGE BETWEEN ",
            () if self.has(ROWS) => "ROWS BETWEEN ",
            () if self.has(GROUPS) => "GROUPS BETWEEN ",
            () => return Err(Refusal::unknown("this frame of a window")),
        };
        let mut words = vec![FrameWord::Text(mode)];
        let bounds = [
            (START_UNBOUNDED_PRECEDING, "UNBOUNDED PRECEDING", None),
            (START_CURRENT_ROW, "CURRENT ROW", None),
            (START_OFFSET_PRECEDING, " PRECEDING", self.start),
            (START_OFFSET_FOLLOWING, " FOLLOWING", self.start),
        ];
        self.bound(&bounds, reader, order, &mut words)?;
        words.push(FrameWord::Text(" AND "));
        let bounds = [
            (END_UNBOUNDED_FOLLOWING, "UNBOUNDED FOLLOWING", None),
            (END_CURRENT_ROW, "CURRENT ROW", None),
            (END_OFFSET_PRECEDING, " PRECEDING", self.end),
            (END_OFFSET_FOLLOWING, " FOLLOWING", self.end),
        ];
        self.bound(&bounds, reader, order, &mut words)?;
        for (option, text) in [
            (EXCLUDE_CURRENT_ROW, " EXCLUDE CURRENT ROW"),
            (EXCLUDE_GROUP, " EXCLUDE GROUP"),
            (EXCLUDE_TIES, " EXCLUDE TIES"),
        ] {
            if self.has(option) {
                words.push(FrameWord::Text(text));
            }
        }
        Ok(words)
    }

    fn bound(
        self,
        bounds: &[(i32, &'static str, Option<&Node>)],
        reader: &Reader<'_>,
        order: &[(Expression, String)],
        words: &mut Vec<FrameWord>,
    ) -> Result<(), Refusal> {
        let found = bounds.iter().find(|(option, ..)| self.has(*option));
        let Some((_, text, offset)) = found else {
            return Err(Refusal::unknown("this frame of a window"));
        };
        if let Some(offset) = offset {
            let offset = reader.expression(offset, &Scope::default())?;
            if !offset.columns().is_empty() || offset.names_outside() {
                return Err(Refusal::unknown("a frame whose reach is no constant"));
            }
            if self.has(RANGE) {
                require_fixed_distance(order, &offset.data_type)?;
            }
            words.push(FrameWord::Offset(offset));
        }
        words.push(FrameWord::Text(text));
        Ok(())
    }
}

/// How far RANGE reaches depends on the time zone for some types.
fn require_fixed_distance(
    order: &[(Expression, String)],
    offset: &TypeName,
) -> Result<(), Refusal> {
    const NUMBERS: &[&str] = &["int2", "int4", "int8", "numeric"];
    const TIMES: &[&str] = &["date", "timestamp"];
    let is_one_of = |data_type: &TypeName, names: &[&str]| {
        let name = data_type.built_in_name();
        name.is_some_and(|name| names.contains(&name))
    };
    let is_known = match order {
        [(value, _)] if is_one_of(&value.data_type, NUMBERS) => is_one_of(offset, NUMBERS),
        [(value, _)] if is_one_of(&value.data_type, TIMES) => offset.is("interval"),
        _ => false,
    };
    if is_known {
        return Ok(());
    }
    Err(Refusal::new(
        "RANGE",
        "how far it reaches may depend on settings for values of this type",
    ))
}
