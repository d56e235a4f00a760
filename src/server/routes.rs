//! What is served where.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::source::Source;
use super::{detail, guard, metrics, page};
use crate::board::Board;
use crate::vitals::Report;

/// Every path; nothing can be changed by any.
pub(super) fn router(source: Arc<Source>, is_local: bool) -> Router {
    Router::new()
        .route("/", get(async || Html(page::page())))
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/views", get(views))
        .route("/api/views/{id}", get(view))
        .route("/api/views/{id}/explanation", get(explanation))
        .layer(middleware::from_fn_with_state(is_local, guard::guard))
        .with_state(source)
}

type Shared = State<Arc<Source>>;

async fn metrics_page(State(source): Shared) -> Response {
    let shown = source.board().await;
    let board = shown.board.filter(|_| shown.problem.is_none());
    let text = metrics::render(
        source.database(),
        source.vitals(),
        board.as_deref(),
        source.top_views(),
    );
    let text_format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text_format)], text).into_response()
}

/// Whether the scheduler's loop comes round; the database is of no concern to it.
async fn healthz(State(source): Shared) -> Response {
    let vitals = source.vitals();
    let silence = vitals.pulse.silence().as_secs_f64();
    if vitals.pulse.is_alive() {
        let report = vitals.report();
        (StatusCode::OK, format!("alive: {report}\n")).into_response()
    } else {
        let reason = format!("the scheduler has not come round for {silence:.0} s\n");
        (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
    }
}

/// Whether the daemon can do its work.
async fn readyz(State(source): Shared) -> Response {
    match source.is_ready().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()).into_response(),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        )
            .into_response(),
    }
}

#[derive(Serialize)]
struct Views<'a> {
    version: &'static str,
    database: &'a str,
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

async fn views(State(source): Shared) -> Response {
    let shown = source.board().await;
    let daemon = source.vitals().report();
    Json(Views {
        version: env!("CARGO_PKG_VERSION"),
        database: source.database(),
        started_at: source.vitals().started_at(),
        now: Utc::now(),
        status: daemon.to_string(),
        daemon,
        problem: shown.problem,
        board: shown.board.as_deref(),
    })
    .into_response()
}

async fn view(State(source): Shared, Path(id): Path<i32>) -> Response {
    let detail = source
        .read(async |connection, schema| detail::detail(connection, schema, id).await)
        .await;
    answer(detail)
}

async fn explanation(State(source): Shared, Path(id): Path<i32>) -> Response {
    let explanation = source
        .read(async |connection, schema| detail::explanation(connection, schema, id).await)
        .await;
    answer(explanation)
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
