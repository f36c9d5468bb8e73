//! The command `irods-omero`.

fn main() {}
