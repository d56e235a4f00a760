//! How far a query is followed before it is refused: where its parts lie in one another, steps and text can grow with the power of
//! its depth.

use crate::definition::Refusal;

/// Counts steps and what is written, so that a query does not keep the compiler busy for hours where these grow with the power of
/// its depth.
#[derive(Debug, Default)]
pub(in crate::incremental) struct Effort {
    steps: usize,
    bytes: usize,
}

impl Effort {
    /// Far more than the largest of ordinary queries needs; takes some seconds.
    const MOST_STEPS: usize = 20_000;

    /// Text is counted again with each text that it becomes a part of.
    const MOST_BYTES: usize = 20_000_000;

    /// One step more.
    pub(in crate::incremental) fn step(&mut self) -> Result<(), Refusal> {
        self.steps += 1;
        self.bounded()
    }

    /// So much text more.
    pub(in crate::incremental) fn wrote(&mut self, text: &str) -> Result<(), Refusal> {
        self.bytes += text.len();
        self.bounded()
    }

    fn bounded(&self) -> Result<(), Refusal> {
        if self.steps > Self::MOST_STEPS || self.bytes > Self::MOST_BYTES {
            return Err(too_entangled());
        }
        Ok(())
    }
}

/// Bytes: ten times the longest statement of ordinary queries. A longer one takes the server more time and memory to plan than the refresh
/// could save.
const LONGEST: usize = 500_000;

/// Refuses a statement that is too long.
pub(super) fn require_short(statement: &str) -> Result<(), Refusal> {
    if statement.len() > LONGEST {
        return Err(too_entangled());
    }
    Ok(())
}

fn too_entangled() -> Refusal {
    Refusal::new(
        "the query",
        "its subqueries, joins and groupings lie in one another in too many ways",
    )
}
