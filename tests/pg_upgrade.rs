//! After `pg_upgrade` the dictionary works on: relations and transaction ids are the same, yet no watermark is trusted, as
//! the catalog is another one; each view is refreshed completely once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use common::{Shop, count, options, with_pg_upgrade};
use mvrefreshd::scratch::{Installation, Options};

/// Runs it as the user of the servers, which it insists on.
fn pg_upgrade(old: (&Installation, &Path), new: (&Installation, &Path)) {
    let user = std::fs::metadata(new.1).unwrap();
    let output = Command::new(new.0.program("pg_upgrade").unwrap())
        .arg("--old-bindir")
        .arg(old.0.bin())
        .arg("--new-bindir")
        .arg(new.0.bin())
        .arg("--old-datadir")
        .arg(old.1)
        .arg("--new-datadir")
        .arg(new.1)
        .arg("--socketdir")
        .arg(new.1.parent().unwrap())
        .args(["--username", "postgres"])
        .current_dir(new.1.parent().unwrap())
        .uid(user.uid())
        .gid(user.gid())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn after_pg_upgrade_every_view_is_refreshed_completely_once_and_then_fast_again() {
    let Some((old, new)) = with_pg_upgrade() else {
        eprintln!("not tested: there is no pg_upgrade here (scripts/fetch-pg-upgrade.sh)");
        return;
    };
    println!("from {} to {}", old.major(), new.major());
    let with = |installation: &Installation| Options {
        installation: Some(installation.clone()),
        ..options()
    };
    let mut source = Shop::busy(with(&old)).await;
    let mut target = common::TestServer::start_with(with(&new)).await;
    source.halt().unwrap();
    target.halt().unwrap();
    let data = |server: &common::TestServer| server.socket_dir().join("data");
    pg_upgrade((&old, &data(&source)), (&new, &data(&target)));
    target.start_again().unwrap();

    let mut sql = target.connect().await;
    let before = Shop::latest(&mut sql).await;
    let daemon = Shop::daemon(&target.url());
    Shop::until_exact(&mut sql).await;
    Shop::assert_first_complete(&mut sql, before, "restored into another cluster|compiled").await;
    Shop::until_fast_and_exact(&mut sql).await;
    Shop::stop(daemon).await;
    let not_fine = "SELECT count(*) FROM mvrefresh.self_check() WHERE status <> 'fine'";
    assert_eq!(count(&mut sql, not_fine).await, 0);
}
