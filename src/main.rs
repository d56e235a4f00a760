//! The `mvrefreshd` command.

fn main() {}
