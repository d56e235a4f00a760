//! What is served where.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use chrono::{DateTime, Utc};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::metrics::Subject;
use super::source::Source;
use super::{detail, guard, metrics, page};
use crate::board::Board;
use crate::vitals::{DatabaseState, Phase, Report};

/// Every path; nothing can be changed by any.
pub(super) fn router(databases: Arc<Vec<Source>>, is_local: bool) -> Router {
    Router::new()
        .route("/", get(async || Html(page::page())))
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/views", get(views))
        .route("/api/views/{id}", get(view))
        .route("/api/views/{id}/explanation", get(explanation))
        .layer(middleware::from_fn_with_state(is_local, guard::guard))
        .with_state(databases)
}

type Shared = State<Arc<Vec<Source>>>;

/// Which database is asked about: by its name, else the first.
#[derive(Deserialize)]
struct Which {
    database: Option<String>,
}

impl Which {
    fn of<'a>(&self, databases: &'a [Source]) -> Option<&'a Source> {
        match &self.database {
            None => databases.first(),
            Some(name) => databases.iter().find(|source| source.database() == name),
        }
    }
}

async fn metrics_page(State(databases): Shared) -> Response {
    // side by side: one that does not answer costs the others no more than its own patience
    let subjects = databases.iter().map(async |source| {
        let shown = source.board().await;
        Subject {
            database: source.database(),
            vitals: source.vitals(),
            board: shown.board.filter(|_| shown.problem.is_none()),
        }
    });
    let top_views = databases.first().map_or(0, Source::top_views);
    let text = metrics::render(&join_all(subjects).await, top_views);
    let text_format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text_format)], text).into_response()
}

/// Whether the loop of every database comes round; the databases themselves are of no concern to it.
async fn healthz(State(databases): Shared) -> Response {
    let stalled: Vec<_> = databases
        .iter()
        .filter(|s| !s.vitals().pulse.is_alive())
        .collect();
    let is_well = stalled.is_empty();
    let mut text = String::new();
    for source in databases.iter() {
        let vitals = source.vitals();
        let silence = vitals.pulse.silence().as_secs_f64();
        let how = if vitals.pulse.is_alive() {
            format!("alive: {}", vitals.report())
        } else {
            format!("the scheduler has not come round for {silence:.0} s")
        };
        line(&mut text, &databases, source, &how);
    }
    answered(is_well, text)
}

/// Whether the daemon can do its work, in every database or in the one that is asked about.
async fn readyz(State(databases): Shared, Query(which): Query<Which>) -> Response {
    let asked: Vec<&Source> = match (&which.database, which.of(&databases)) {
        (None, _) => databases.iter().collect(),
        (Some(_), Some(source)) => vec![source],
        (Some(_), None) => return no_such_database(),
    };
    let answers = join_all(asked.iter().map(|source| source.is_ready())).await;
    let is_ready = answers.iter().all(Result::is_ok);
    let mut text = String::new();
    for (source, answer) in asked.into_iter().zip(answers) {
        let how = match answer {
            Ok(()) => "ready".to_owned(),
            Err(reason) => format!("not ready: {reason}"),
        };
        line(&mut text, &databases, source, &how);
    }
    answered(is_ready, text)
}

/// A line about a database, with its name where there are several.
fn line(text: &mut String, databases: &[Source], source: &Source, how: &str) {
    // writing to a text does not fail
    let _ = match databases {
        [_] => writeln!(text, "{how}"),
        _ => writeln!(text, "{}: {how}", source.database()),
    };
}

fn answered(is_well: bool, text: String) -> Response {
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text).into_response()
}

/// One of the daemon's databases, in short.
#[derive(Serialize)]
struct Neighbour<'a> {
    database: &'a str,
    /// How it is, in a line.
    status: String,
    /// Whether it is being kept: its scheduler runs, and it answers.
    is_up: bool,
}

#[derive(Serialize)]
struct Views<'a> {
    version: &'static str,
    database: &'a str,
    /// All databases of this daemon, this one among them.
    databases: Vec<Neighbour<'a>>,
    started_at: DateTime<Utc>,
    now: DateTime<Utc>,
    daemon: Report,
    /// How the daemon is, in a line.
    status: String,
    /// Why what follows is old.
    problem: Option<String>,
    #[serde(flatten)]
    board: Option<&'a Board>,
}

async fn views(State(databases): Shared, Query(which): Query<Which>) -> Response {
    let Some(source) = which.of(&databases) else {
        return no_such_database();
    };
    let shown = source.board().await;
    let daemon = source.vitals().report();
    let neighbour = |source| {
        let report = Source::vitals(source).report();
        Neighbour {
            database: Source::database(source),
            status: report.to_string(),
            is_up: report.phase == Phase::Running && report.database == DatabaseState::Up,
        }
    };
    Json(Views {
        version: env!("CARGO_PKG_VERSION"),
        database: source.database(),
        databases: databases.iter().map(neighbour).collect(),
        started_at: source.vitals().started_at(),
        now: Utc::now(),
        status: daemon.to_string(),
        daemon,
        problem: shown.problem,
        board: shown.board.as_deref(),
    })
    .into_response()
}

async fn view(
    State(databases): Shared,
    Path(id): Path<i32>,
    Query(which): Query<Which>,
) -> Response {
    let Some(source) = which.of(&databases) else {
        return no_such_database();
    };
    let detail = source
        .read(async |connection, schema| detail::detail(connection, schema, id).await)
        .await;
    answer(detail)
}

async fn explanation(
    State(databases): Shared,
    Path(id): Path<i32>,
    Query(which): Query<Which>,
) -> Response {
    let Some(source) = which.of(&databases) else {
        return no_such_database();
    };
    let explanation = source
        .read(async |connection, schema| detail::explanation(connection, schema, id).await)
        .await;
    answer(explanation)
}

fn no_such_database() -> Response {
    problem(StatusCode::NOT_FOUND, "no such database")
}

fn answer<T: Serialize>(read: Result<Option<T>, String>) -> Response {
    match read {
        Ok(Some(answer)) => Json(answer).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "no such materialized view"),
        Err(reason) => problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

fn problem(status: StatusCode, reason: &str) -> Response {
    (status, Json(serde_json::json!({ "problem": reason }))).into_response()
}
