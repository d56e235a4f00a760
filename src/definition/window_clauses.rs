//! The windows of a SELECT: what WINDOW and OVER say.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, WindowDef};

use super::Refusal;
use super::frames::Frame;
use super::nodes::content;
use super::windows::Noted;

/// The windows of a SELECT: what its WINDOW clause defines, and the functions read so far.
#[derive(Debug)]
pub(super) struct Windows {
    defined: Vec<Node>,
    pub(super) calls: Vec<Noted>,
}

/// The clauses of a window, those that it takes over from others included.
pub(super) struct Window<'a> {
    pub(super) keys: &'a [Node],
    pub(super) order: &'a [Node],
    pub(super) frame: Frame<'a>,
}

impl Windows {
    pub(super) fn new(defined: &[Node]) -> Self {
        Self {
            defined: defined.to_vec(),
            calls: Vec::new(),
        }
    }

    fn named(&self, name: &str) -> Result<Window<'_>, Refusal> {
        for defined in &self.defined {
            if let NodeEnum::WindowDef(window) = content(defined)?
                && window.name == name
            {
                return self.clauses(window);
            }
        }
        Err(Refusal::unknown(format!("window {name}")))
    }

    /// What follows OVER.
    pub(super) fn over<'b>(&'b self, window: &'b WindowDef) -> Result<Window<'b>, Refusal> {
        if window.name.is_empty() {
            self.clauses(window)
        } else {
            self.named(&window.name)
        }
    }

    fn clauses<'b>(&'b self, window: &'b WindowDef) -> Result<Window<'b>, Refusal> {
        let WindowDef {
            name: _,
            refname,
            partition_clause,
            order_clause,
            frame_options,
            start_offset,
            end_offset,
            location: _,
        } = window;
        let mut clauses = Window {
            keys: partition_clause,
            order: order_clause,
            frame: Frame {
                options: *frame_options,
                start: start_offset.as_deref(),
                end: end_offset.as_deref(),
            },
        };
        if !refname.is_empty() {
            let other = self.named(refname)?;
            clauses.keys = other.keys;
            if clauses.order.is_empty() {
                clauses.order = other.order;
            }
        }
        Ok(clauses)
    }
}
