//! The commands on every major version that is here.

use crate::common::covered_majors;
use crate::shop::{Shop, TOTALS, assert_contains};

#[tokio::test]
async fn every_command_works_on_every_version() {
    for major in covered_majors() {
        let Some(shop) = Shop::open_on(major).await else {
            continue;
        };
        let create = ["create", "totals", "--query", TOTALS, "--every", "30s"];
        shop.does(&create).await;
        shop.execute("CREATE MATERIALIZED VIEW native AS SELECT now() AS at")
            .await;
        shop.does(&["adopt", "--all", "--every", "1h"]).await;
        shop.does(&["alter", "totals", "--group", "g"]).await;
        shop.does(&["refresh", "--all", "--force"]).await;
        let explained = shop.does(&["explain", "native"]).await;
        assert_contains(&explained, &["depends on the time: now()"]);
        let explained = shop
            .does(&["explain", "--query", "SELECT CURRENT_TIMESTAMP, random()"])
            .await;
        assert_contains(&explained, &["CURRENT_TIMESTAMP", "random()"]);
        for arguments in [
            &["verify", "totals"][..],
            &["status"],
            &["history", "totals"],
            &["upgrade", "drop"],
            &["upgrade", "recreate"],
            &["self-check"],
            &["uninstall", "--drop-views", "--yes"],
        ] {
            shop.does(arguments).await;
        }
    }
}
