//! Reading objects.

use std::path::Path;

use super::Failed;
use crate::Object;

/// The examples that are compiled into the binary: name and bytes.
pub const EXAMPLES: &[(&str, &[u8])] = &[
    ("firewall", include_bytes!("../../examples/objects/firewall.o")),
    ("lb", include_bytes!("../../examples/objects/lb.o")),
    ("dissector", include_bytes!("../../examples/objects/dissector.o")),
    ("subparser", include_bytes!("../../examples/objects/subparser.o")),
    ("earlydrop", include_bytes!("../../examples/objects/earlydrop.o")),
    ("ratelimit", include_bytes!("../../examples/objects/ratelimit.o")),
    ("dns", include_bytes!("../../examples/objects/dns.o")),
    ("syncookie", include_bytes!("../../examples/objects/syncookie.o")),
    ("chain", include_bytes!("../../examples/objects/chain.o")),
    ("matcher", include_bytes!("../../examples/objects/matcher.o")),
];

/// Reads and links an object file.
pub fn object(path: &Path) -> Result<Object, Failed> {
    Object::open(path).map_err(Failed::from)
}

/// Reads a packet or context.
pub fn data(path: &Path) -> Result<Vec<u8>, Failed> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
