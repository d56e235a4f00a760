//! The status page: one document that asks nobody else for anything.

/// Its parts put together.
pub(super) fn page() -> &'static str {
    concat!(
        include_str!("page/head.html"),
        "<style>\n",
        include_str!("page/style.css"),
        "</style>\n",
        include_str!("page/body.html"),
        "<script>\n'use strict';\n",
        include_str!("page/words.js"),
        include_str!("page/charts.js"),
        include_str!("page/graph.js"),
        include_str!("page/table.js"),
        include_str!("page/view.js"),
        include_str!("page/main.js"),
        "</script>\n</html>\n",
    )
}
