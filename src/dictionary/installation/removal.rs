//! Removing the module schema.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::{InstallError, lock_out_other_installers, situation};
use crate::sql::{self, ModuleSchema, composed, quote_identifier};

/// Removes every trace of the module: schema, triggers, and the roles unless something else uses them. Materialized
/// views stay as plain tables unless dropped before. Returns the roles that had to stay.
pub async fn uninstall(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> Result<Vec<String>, InstallError> {
    let mut transaction = connection.begin().await?;
    lock_out_other_installers(&mut transaction, schema).await?;
    let kept = uninstall_alone(&mut transaction, schema).await?;
    transaction.commit().await?;
    Ok(kept)
}

async fn uninstall_alone(
    connection: &mut PgConnection,
    schema: &ModuleSchema,
) -> Result<Vec<String>, InstallError> {
    let before = situation(connection, schema).await?;
    if !(before.has_migrations && before.is_module) {
        return Err(InstallError::Foreign {
            schema: schema.to_string(),
        });
    }
    if let (Some(owner), Some(false)) = (&before.owner, before.is_owner) {
        return Err(InstallError::OtherOwner {
            schema: schema.to_string(),
            owner: owner.clone(),
        });
    }
    let roles: Vec<String> = sql::query_scalar(schema.sql(
        "SELECT r.rolname::text FROM unnest('{usage,view,execute}'::text[]) AS suffix
         JOIN pg_roles r ON r.rolname = @.module_role(suffix)",
    ))
    .fetch_all(&mut *connection)
    .await?;
    connection
        .execute(composed(format!("DROP SCHEMA {schema} CASCADE")))
        .await?;
    let mut kept = Vec::new();
    for role in roles {
        let sql = format!("DROP ROLE {}", quote_identifier(&role));
        // used in another database of the cluster, or not ours to drop
        let mut attempt = connection.begin().await?;
        if attempt.execute(composed(sql)).await.is_ok() {
            attempt.commit().await?;
        } else {
            attempt.rollback().await?;
            kept.push(role);
        }
    }
    Ok(kept)
}
