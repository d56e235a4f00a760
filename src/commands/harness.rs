//! `harness`: six base tables with rows in one schema, and a materialized view of their outer joins in another, owned by two
//! ordinary roles. The pipeline works on the same tables.

mod place;
mod removal;

use serde::Serialize;
use sqlx::Connection;

pub(super) use self::place::{MARK, Place, TABLES, create_schemas, create_tables, use_names};
pub(super) use self::removal::{drop_all, leftovers, marks};
use super::create;
use super::fast::{self, Prospect};
use super::output::Output;
use super::phrases;
use super::session::Session;
use crate::cli::{Harness, HarnessCreate};
use crate::dictionary::changes::NewView;
use crate::dictionary::views::{self, ViewRow};
use crate::error::{CommandError, Exit};

/// The materialized view of the harness.
pub(super) const VIEW: &str = "outer_joins";

/// Its query.
pub(super) const QUERY: &str = include_str!("harness/outer_joins.sql");

#[derive(Debug, Serialize)]
struct Created {
    #[serde(flatten)]
    view: ViewRow,
    #[serde(flatten)]
    prospect: Option<Prospect>,
    source_schema: String,
    base_tables: &'static [&'static str],
}

pub(super) async fn run(
    session: &mut Session,
    step: &Harness,
    output: Output,
) -> Result<Exit, CommandError> {
    match step {
        Harness::Create(arguments) => create(session, arguments, output).await,
        Harness::Drop(place) => {
            let place = Place::new(&place.source_schema, &place.view_schema)?;
            drop(session, &place, output).await
        }
    }
}

async fn create(
    session: &mut Session,
    arguments: &HarnessCreate,
    output: Output,
) -> Result<Exit, CommandError> {
    let names = &arguments.place;
    let place = Place::new(&names.source_schema, &names.view_schema)?;
    let mut transaction = session.connection.begin().await?;
    create_schemas(&mut transaction, &session.schema, &place).await?;
    create_tables(&mut transaction, &session.schema, &place, arguments.rows).await?;
    transaction.commit().await?;
    let created = match create_view(session, &place).await {
        Ok(created) => created,
        Err(error) => {
            // all or nothing; should this fail as well, the first error is the one that matters
            let _ = drop_all(&mut session.connection, &session.schema, &place).await;
            return Err(error);
        }
    };
    output.data(&created, in_words)?;
    Ok(Exit::Ok)
}

async fn create_view(session: &mut Session, place: &Place) -> Result<Created, CommandError> {
    use_names(&mut session.connection, place).await?;
    let view = NewView {
        name: VIEW,
        query: Some(QUERY),
        owner: Some(&place.views),
        ..NewView::default()
    };
    let (mv_id, prospect) = create::make(session, &view, None).await?;
    Ok(Created {
        view: views::by_id(&mut session.connection, &session.schema, mv_id).await?,
        prospect,
        source_schema: place.source.clone(),
        base_tables: TABLES,
    })
}

fn in_words(created: &Created) -> String {
    let text = format!(
        "created {} base tables in schema {}, and {}: {}",
        created.base_tables.len(),
        created.source_schema,
        created.view.full_name,
        phrases::rows(created.view.last_rows_changed.unwrap_or_default())
    );
    fast::with_prospect(text, created.prospect.as_ref())
}

async fn drop(session: &mut Session, place: &Place, output: Output) -> Result<Exit, CommandError> {
    let (connection, schema) = (&mut session.connection, &session.schema);
    let found = marks(connection, place).await?;
    if !found.any() {
        output.data(&found, |_| "there is no harness here".to_owned())?;
        return Ok(Exit::Ok);
    }
    let kept = drop_all(connection, schema, place).await?;
    let mut left = leftovers(connection, schema, place).await?;
    left.extend(kept);
    output.data(&left, |left| {
        if left.is_empty() {
            "dropped; nothing is left".to_owned()
        } else {
            format!("dropped, but for: {}", left.join("; "))
        }
    })?;
    Ok(if left.is_empty() {
        Exit::Ok
    } else {
        Exit::Negative
    })
}
