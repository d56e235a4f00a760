//! Statements with values, as they are safe behind a transaction pooler too.
//!
//! The driver sends such a statement in two parts, each with an answer of its own: it is parsed, then carried out. A
//! pooler that hands out server sessions by the transaction may send the second part to another session. So each
//! statement is carried out in a transaction, its own if there is none, and its prepared form has no name: names
//! outlive the transaction, and belong to whoever used the server session before.

use sqlx::postgres::{PgArguments, PgConnection, PgQueryResult, PgRow, Postgres};
use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::{Connection, Encode, FromRow, SqlSafeStr, Type};

/// With a limit for the case that we fall silent in the middle of it.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout TO '10s'";

/// A statement without a result.
pub fn query<'q>(sql: impl SqlSafeStr) -> Statement<Query<'q, Postgres, PgArguments>> {
    Statement(sqlx::query(sql).persistent(false))
}

/// A statement whose rows are read as `O`.
pub fn query_as<'q, O>(sql: impl SqlSafeStr) -> Statement<QueryAs<'q, Postgres, O, PgArguments>>
where
    O: for<'r> FromRow<'r, PgRow>,
{
    Statement(sqlx::query_as(sql).persistent(false))
}

/// A statement of whose rows the first column is read.
pub fn query_scalar<'q, O>(
    sql: impl SqlSafeStr,
) -> Statement<QueryScalar<'q, Postgres, O, PgArguments>>
where
    (O,): for<'r> FromRow<'r, PgRow>,
{
    Statement(sqlx::query_scalar(sql).persistent(false))
}

/// A statement to which values can be bound.
#[must_use = "it is carried out by `execute` or `fetch_…`"]
pub struct Statement<Q>(Q);

/// Carries out an expression on a connection that is in a transaction.
macro_rules! pinned {
    ($connection:expr, $pinned:ident => $work:expr) => {{
        let $pinned = $connection;
        if $pinned.is_in_transaction() {
            return $work.await;
        }
        let mut transaction = $pinned.begin_with(BEGIN).await?;
        let $pinned: &mut PgConnection = &mut transaction;
        match $work.await {
            Ok(result) => {
                transaction.commit().await?;
                Ok(result)
            }
            Err(error) => {
                // what it failed with is the news; a connection that is broken fails at the next statement
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }};
}

impl<'q> Statement<Query<'q, Postgres, PgArguments>> {
    /// Binds the next value.
    pub fn bind<T: 'q + Encode<'q, Postgres> + Type<Postgres>>(self, value: T) -> Self {
        Self(self.0.bind(value))
    }

    /// Carries it out.
    pub async fn execute(self, connection: &mut PgConnection) -> sqlx::Result<PgQueryResult> {
        pinned!(connection, c => self.0.execute(c))
    }

    /// All rows.
    pub async fn fetch_all(self, connection: &mut PgConnection) -> sqlx::Result<Vec<PgRow>> {
        pinned!(connection, c => self.0.fetch_all(c))
    }
}

macro_rules! fetching {
    ($query:ident, $bound:ty) => {
        impl<'q, O> Statement<$query<'q, Postgres, O, PgArguments>>
        where
            O: Send + Unpin,
            $bound: for<'r> FromRow<'r, PgRow> + Send + Unpin,
        {
            /// Binds the next value.
            pub fn bind<T: 'q + Encode<'q, Postgres> + Type<Postgres>>(self, value: T) -> Self {
                Self(self.0.bind(value))
            }

            /// The only row; an error if there is none.
            pub async fn fetch_one(self, connection: &mut PgConnection) -> sqlx::Result<O> {
                pinned!(connection, c => self.0.fetch_one(c))
            }

            /// The first row, if there is one.
            pub async fn fetch_optional(
                self,
                connection: &mut PgConnection,
            ) -> sqlx::Result<Option<O>> {
                pinned!(connection, c => self.0.fetch_optional(c))
            }

            /// All rows.
            pub async fn fetch_all(self, connection: &mut PgConnection) -> sqlx::Result<Vec<O>> {
                pinned!(connection, c => self.0.fetch_all(c))
            }
        }
    };
}

fetching!(QueryAs, O);
fetching!(QueryScalar, (O,));
