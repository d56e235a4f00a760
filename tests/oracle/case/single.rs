//! For tests of single statements, in schemas `shop` and `mvrefresh`.

use mvrefreshd::definition;
use mvrefreshd::incremental::{self, FastRefresh, Target};
use mvrefreshd::sql::ModuleSchema;

use super::{Session, raw};
use crate::catalog;

impl Session {
    /// Empty schemas, and these tables.
    pub(crate) async fn begin(&mut self, tables: &str) -> Result<(), String> {
        raw(
            &mut self.main,
            "SET search_path = pg_catalog; DROP SCHEMA IF EXISTS shop CASCADE; DROP SCHEMA IF EXISTS mvrefresh CASCADE;
            CREATE SCHEMA shop; CREATE SCHEMA mvrefresh; SET search_path = shop",
        )
        .await?;
        raw(&mut self.main, tables).await
    }

    /// A collation in which different strings are equal.
    pub(crate) async fn begin_more(&mut self, sql: &str) {
        raw(&mut self.main, sql).await.unwrap();
        let names = "SELECT '\"' || collnamespace::regnamespace || '\".\"' || collname || '\"' FROM pg_collation WHERE NOT collisdeterministic";
        let names: Vec<String> = sqlx::query_scalar(names)
            .fetch_all(&mut self.main)
            .await
            .unwrap();
        self.known.nondeterministic_collations.extend(names);
    }

    /// The fast refresh of a query over tables with the logs 1, 2, …
    pub(crate) async fn compiled(
        &mut self,
        query: &str,
        tables: &[&str],
    ) -> Result<FastRefresh, String> {
        raw(
            &mut self.main,
            &format!("CREATE OR REPLACE VIEW the_query AS {query}; SET search_path = pg_catalog"),
        )
        .await?;
        self.known.relations = catalog::relations(&mut self.main, "shop", &self.facts).await;
        let definition =
            sqlx::query_scalar::<_, String>("SELECT pg_get_viewdef('shop.the_query'::regclass)")
                .fetch_one(&mut self.main)
                .await;
        raw(
            &mut self.main,
            "SET search_path = shop; DROP VIEW the_query",
        )
        .await?;
        let definition = definition.map_err(|error| error.to_string())?;
        let query =
            definition::read(&definition, &self.known).map_err(|refusal| refusal.to_string())?;
        let logs = tables
            .iter()
            .zip(1..)
            .map(|(table, log)| (self.known.relation("shop", table).unwrap().oid, log));
        let target = Target {
            module: ModuleSchema::new("mvrefresh"),
            mv_id: 1,
            schema: "shop".to_owned(),
            name: "mv".to_owned(),
            logs: logs.collect(),
        };
        incremental::compile(&query, &target).map_err(|refusal| refusal.to_string())
    }
}
