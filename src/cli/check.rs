//! `tailor check`.

use std::path::PathBuf;

use super::{Failed, input};
use crate::Unit;

#[derive(clap::Args)]
pub struct Arguments {
    /// eBPF objects.
    #[arg(required = true)]
    objects: Vec<PathBuf>,
}

pub fn main(arguments: Arguments) -> Result<(), Failed> {
    let mut lines = Vec::new();
    for path in &arguments.objects {
        match input::object(path) {
            Ok(object) => {
                let errors = Unit::new(object).errors;
                lines.extend(errors.iter().map(|error| format!("{}: {error}", path.display())));
            }
            Err(Failed(errors)) => lines.extend(errors),
        }
    }
    match lines.is_empty() {
        true => Ok(()),
        false => Err(Failed(lines)),
    }
}
