//! The oracle itself is tested with statements that are broken on purpose: it must find them, and make the case small.

use crate::case::Session;
use crate::common::TestServer;
use crate::installed::Installed;
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

/// Loses what the logs say about rows that are gone.
const FORGETFUL: &str = "DO $$ DECLARE id integer; BEGIN
    FOR id IN SELECT log_id FROM mvrefresh.materialized_view_logs LOOP
        EXECUTE format('DELETE FROM mvrefresh.log$%s WHERE weight = -1', id);
    END LOOP; END $$";

#[tokio::test]
async fn a_broken_statement_is_found_and_its_case_shrinks_to_a_handful_of_lines() {
    let server = TestServer::start().await;
    let mut session = Session::open(&server).await;
    session.distortion = without_common_changes;
    session.form = Some(Form::Statement);
    let (case, kind) = found(&mut session, Way::Statements).await;
    let (small, tried) = shrink::shrunk(&mut session, &case, &kind).await;
    let failure = session.run(&small).await.unwrap_err();
    eprintln!("{tried} runs: {:?} {}", failure.kind, session.script());
    let is_statement = |step: &&Step| matches!(step, Step::Main(_) | Step::Late(_));
    let statements = small.steps.iter().filter(is_statement).count();
    assert!(statements <= 6 && small.queries.len() == 1, "{small:#?}");
}

#[tokio::test]
async fn a_forgetful_log_is_found() {
    let (mut installed, _database) = Installed::open(TestServer::start().await).await;
    installed.sabotage = FORGETFUL;
    let (_, kind) = found(&mut installed, Way::Installed).await;
    assert_eq!(kind, Kind::Different);
}

/// The first case that fails in the way that a broken refresh does.
async fn found<S: Subject>(subject: &mut S, way: Way) -> (Case, Kind) {
    for seed in 1..200 {
        let case = Case::random(seed, way);
        if let Err(failure) = subject.run(&case).await
            && matches!(failure.kind, Kind::Different | Kind::Missing)
        {
            return (case, failure.kind);
        }
    }
    panic!("nothing was found");
}
