//! `sqlx::migrate!` embeds the migrations; cargo has to be told that they are part of the source.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
