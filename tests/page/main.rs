//! The status page in a real browser, before a real daemon: what it shows, by mouse and by keyboard, in light and dark.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod browser;

use browser::Browser;
use common::{Daemon, TestServer, change_until_fast, execute, install, url_of};
use serde_json::json;

const ENVIRONMENT: [(&str, &str); 2] = [
    ("MVREFRESHD_HTTP__LISTEN", "127.0.0.1:0"),
    ("MVREFRESHD_HTTP__CACHE", "0.2s"),
];

/// Views one upon the other, and one that will be suspended; a name that would like to be markup.
async fn shop() -> TestServer {
    let server = TestServer::start().await;
    install(&server).await;
    server
        .execute(
            r#"CREATE TABLE orders (id integer PRIMARY KEY, region text NOT NULL, amount integer NOT NULL);
             INSERT INTO orders SELECT i, 'r' || i % 5, i FROM generate_series(1, 100) i;
             CREATE TABLE doomed (id integer, amount integer);
             SELECT mvrefresh.create_materialized_view('by_region', 'SELECT region, sum(amount) AS total FROM orders GROUP BY region', 1, refresh_method => 'fast');
             SELECT mvrefresh.create_materialized_view('best', 'SELECT region, total FROM by_region ORDER BY total DESC LIMIT 3', 1);
             SELECT mvrefresh.create_materialized_view('"<img src=x onerror=alert(1)>"', 'SELECT max(amount) AS m FROM orders', 1);
             CREATE FUNCTION must_exist() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM public.doomed); END';
             SELECT mvrefresh.create_materialized_view('lost', 'SELECT must_exist() AS n FROM orders WHERE id = 1', 1, refresh_method => 'complete')"#,
        )
        .await;
    server
}

async fn start(server: &TestServer) -> (Daemon, String) {
    let url = server.url();
    let mut daemon = Daemon::spawn(&["run", "--database-url", &url], &ENVIRONMENT);
    let address = url_of(&mut daemon).await;
    (daemon, format!("http://{address}/"))
}

fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#views tbody tr')].find((row) => row.querySelector('a').textContent === '{name}')"
    )
}

#[tokio::test]
async fn it_shows_every_view_as_it_is_now_and_asks_nobody_else_for_anything() {
    let server = shop().await;
    let (_daemon, url) = start(&server).await;
    let Some(mut browser) = Browser::start(1300, 900).await else {
        return;
    };
    browser.open(&url).await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 4")
        .await;
    let by_region = row("public.by_region");
    let mut sql = server.connect().await;
    let change = "UPDATE orders SET amount = amount + 1 WHERE id = 7";
    change_until_fast(&mut sql, "by_region", change).await;
    browser
        .until(&format!("{by_region}.querySelector('.method .fast')"))
        .await;
    browser
        .until(&format!("{by_region}.querySelector('.spark path')"))
        .await;
    browser
        .until(&format!(
            "{by_region}.querySelector('.stale').textContent.includes('/ 1')"
        ))
        .await;
    browser
        .until("document.querySelector('#state').textContent.includes('4 views')")
        .await;
    // markup in a name is text
    let sly = row("public.\\\"<img src=x onerror=alert(1)>\\\"");
    browser.until(&sly).await;
    assert_eq!(
        browser
            .value("document.querySelectorAll('main img').length")
            .await,
        json!(0)
    );

    // live: a failure and a new view appear by themselves
    execute(&mut sql, "DROP TABLE doomed; SELECT mvrefresh.create_materialized_view('late_comer', 'SELECT 1 AS one', 1)").await;
    browser.until(&row("public.late_comer")).await;
    let lost = row("public.lost");
    browser
        .until(&format!("{lost}.querySelector('.status.suspended')"))
        .await;
    browser
        .until(&format!(
            "{lost}.querySelector('.error').textContent.includes('doomed')"
        ))
        .await;
    browser.until("document.title.startsWith('(1)')").await;

    let elsewhere: Vec<&String> = browser
        .requests
        .iter()
        .filter(|asked| !asked.starts_with(&url) && !asked.starts_with("data:"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert_eq!(browser.complaints, [""; 0]);
}

#[tokio::test]
async fn filter_sort_and_a_views_page_work_by_keyboard_alone() {
    let server = shop().await;
    let (_daemon, url) = start(&server).await;
    let mut sql = server.connect().await;
    let change = "UPDATE orders SET amount = amount + 1 WHERE id = 7";
    change_until_fast(&mut sql, "by_region", change).await;
    let Some(mut browser) = Browser::start(1300, 900).await else {
        return;
    };
    browser.open(&url).await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 4")
        .await;
    browser.press("/").await;
    browser.type_text("region").await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 1")
        .await;
    browser
        .until("document.activeElement.id === 'search'")
        .await;
    browser.press("Escape").await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 4")
        .await;

    browser
        .value("document.querySelector('[data-sort=name]').focus()")
        .await;
    browser.press("Enter").await;
    browser
        .until("document.querySelector('th[aria-sort=ascending] [data-sort=name]')")
        .await;
    browser.until("document.querySelector('#views tbody a').textContent === 'public.\\\"<img src=x onerror=alert(1)>\\\"'").await;
    browser.press("Enter").await;
    browser
        .until("document.querySelector('th[aria-sort=descending] [data-sort=name]')")
        .await;
    browser
        .until("document.querySelector('#views tbody a').textContent === 'public.lost'")
        .await;

    // down to by_region, and into it
    browser.value("document.activeElement.blur()").await;
    browser.press("j").await;
    browser.press("j").await;
    browser
        .until("document.activeElement.textContent === 'public.by_region'")
        .await;
    browser.press("Enter").await;
    browser
        .until("document.querySelector('h2')?.textContent === 'public.by_region'")
        .await;
    browser
        .until("document.querySelectorAll('.chart').length === 2")
        .await;
    browser
        .until("document.querySelectorAll('.chart .fill-c, .chart .fill-f').length >= 2")
        .await;
    browser.until("document.querySelector('#explanation').textContent.includes('It can be refreshed fast.')").await;
    browser
        .until("document.querySelector('pre').textContent.includes('GROUP BY')")
        .await;
    browser
        .until("document.querySelector('.graph').textContent.includes('public.best')")
        .await;
    assert_eq!(browser.complaints, [""; 0]);
}

#[tokio::test]
async fn dependencies_are_drawn_and_logs_are_listed() {
    let server = shop().await;
    let (_daemon, url) = start(&server).await;
    let Some(mut browser) = Browser::start(1300, 900).await else {
        return;
    };
    browser.open(&format!("{url}#/graph")).await;
    browser
        .until("document.querySelectorAll('.graph a').length === 4")
        .await;
    let place = |name: &str| {
        format!(
            "[...document.querySelectorAll('.graph a, .graph .table')].find((node) => node.querySelector('text').textContent === '{name}').querySelector('rect').getBoundingClientRect().left"
        )
    };
    let order = format!(
        "{} < {} && {} < {}",
        place("public.orders"),
        place("public.by_region"),
        place("public.by_region"),
        place("public.best")
    );
    browser.until(&order).await;
    browser
        .until("document.querySelectorAll('.graph .edge').length >= 4")
        .await;
    browser.open(&format!("{url}#/logs")).await;
    browser
        .until("document.querySelector('#logs tbody')?.textContent.includes('public.orders')")
        .await;
    assert_eq!(browser.complaints, [""; 0]);
}

#[tokio::test]
async fn light_and_dark_are_both_readable_and_a_narrow_window_does_not_scroll_sideways() {
    let server = shop().await;
    let (_daemon, url) = start(&server).await;
    let Some(mut browser) = Browser::start(420, 800).await else {
        return;
    };
    let contrast = "(() => {
        const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const ground = light(getComputedStyle(document.querySelector('.card')).backgroundColor);
        return Math.min(...[...document.querySelectorAll('.card a, .card .small, .card .status, .card .method span')].map((e) => {
            const ink = light(getComputedStyle(e).color);
            return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05); })); })()";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        browser.open(&url).await;
        browser
            .until("document.querySelectorAll('#views tbody tr').length === 4")
            .await;
        let least = browser.value(contrast).await.as_f64().unwrap();
        assert!(least >= 4.5, "{scheme}: a contrast of {least}");
        grounds.push(
            browser
                .value("getComputedStyle(document.body).backgroundColor")
                .await,
        );
        browser
            .until("document.documentElement.scrollWidth <= innerWidth")
            .await;
    }
    assert_ne!(grounds[0], grounds[1]);
}

#[tokio::test]
async fn when_the_database_or_the_daemon_goes_away_it_says_so_and_keeps_what_it_knows() {
    let mut server = shop().await;
    let (daemon, url) = start(&server).await;
    let Some(mut browser) = Browser::start(1300, 900).await else {
        return;
    };
    browser.open(&url).await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 4")
        .await;
    server.halt().unwrap();
    let banner = "!document.querySelector('#problem').hidden && document.querySelector('#problem').textContent.includes('database')";
    browser.until(banner).await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 4")
        .await;
    server.start_again().unwrap();
    browser
        .until("document.querySelector('#problem').hidden")
        .await;
    drop(daemon);
    browser
        .until("document.querySelector('#state').textContent.includes('does not answer')")
        .await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 4")
        .await;
}

#[tokio::test]
async fn of_several_databases_the_chosen_one_is_shown() {
    let server = shop().await;
    let other = TestServer::start().await;
    install(&other).await;
    other
        .execute("SELECT mvrefresh.create_materialized_view('elsewhere', 'SELECT 1 AS one', 1)")
        .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.toml");
    let table = |name, url| format!("[[database]]\nname = '{name}'\nurl = '{url}'\n");
    let text = table("shop", server.url())
        + &table("the other", other.url())
        + &table("gone", "host=/nowhere".to_owned());
    std::fs::write(&file, text).unwrap();
    let mut daemon = Daemon::spawn(&["run", "--config", file.to_str().unwrap()], &ENVIRONMENT);
    let address = url_of(&mut daemon).await;
    let Some(mut browser) = Browser::start(1300, 900).await else {
        return;
    };
    browser.open(&format!("http://{address}/")).await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 4")
        .await;
    let options = "[...document.querySelectorAll('#databases option')].map((option) => option.textContent).join()";
    browser
        .until(&format!("{options} === 'shop,the other,gone – not up'"))
        .await;
    let choose = |name| {
        format!(
            "(() => {{ const list = document.getElementById('databases'); list.value = '{name}'; list.dispatchEvent(new Event('change')); return true; }})()"
        )
    };
    browser.until(&choose("the other")).await;
    browser.until(&row("public.elsewhere")).await;
    browser
        .until("document.querySelectorAll('#views tbody tr').length === 1 && document.getElementById('databases').value === 'the other'")
        .await;
    browser.until(&choose("gone")).await;
    browser
        .until("document.getElementById('problem').textContent.includes('no socket')")
        .await;
}
