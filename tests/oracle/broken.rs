//! The oracle itself is tested with statements that are broken on purpose: it must find them, and make the case small.

use crate::case::Session;
use crate::common::TestServer;
use crate::scenario::{Case, Form, Step, Way};
use crate::shrink;
use crate::subject::{Kind, Subject};

/// Without the terms that take away what two changes have in common.
fn without_common_changes(statement: &str) -> String {
    let is_subtracted = |term: &&str| !term.contains(", -(");
    statement
        .split("\n    UNION ALL\n")
        .filter(is_subtracted)
        .collect::<Vec<_>>()
        .join("\n    UNION ALL\n")
}

#[tokio::test]
async fn a_broken_statement_is_found_and_its_case_shrinks_to_a_handful_of_lines() {
    let server = TestServer::start().await;
    let mut session = Session::open(&server).await;
    session.distortion = without_common_changes;
    session.form = Some(Form::Statement);
    let mut found = 0;
    for seed in 1..200 {
        let case = Case::random(seed, Way::Statements);
        let Err(failure) = session.run(&case).await else {
            continue;
        };
        if !matches!(failure.kind, Kind::Different | Kind::Missing) {
            continue;
        }
        let (small, tried) = shrink::shrunk(&mut session, &case, &failure.kind).await;
        let failure = session.run(&small).await.unwrap_err();
        eprintln!(
            "seed {seed}, {tried} runs, {:?}: {small:#?}\n{}",
            failure.kind,
            session.script()
        );
        let statements = small
            .steps
            .iter()
            .filter(|step| matches!(step, Step::Main(_) | Step::Late(_)))
            .count();
        assert!(statements <= 6, "{small:#?}");
        assert!(
            small.queries.len() == 1 && small.queries[0].len() < 200,
            "{small:#?}"
        );
        found += 1;
        if found == 2 {
            return;
        }
    }
    panic!("nothing was found");
}
