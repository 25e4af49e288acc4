//! What a compilation shows and checks on its way.
//!
//! `TAILOR_DUMP` in the environment prints what every stage and pass made of
//! each function; `TAILOR_BISECT=n` stops optimising after n rewrites, so that
//! a wrong one can be found by bisection; `TAILOR_NO=NAME,...` switches levers
//! of the allocator off; `TAILOR_CHECK` makes a release build check what debug
//! builds do.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;

use clap::ValueEnum;
use tailor_bpf::Error;
use tailor_ir::{Function, passes};
use tailor_lower::{Features, Poking};
use tailor_regalloc::{Lever, Levers};

/// A stage of the optimizing pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Stage {
    /// The IR as lifted.
    Lift,
    /// The IR after all passes.
    Opt,
    /// Machine instructions over virtual registers.
    Lower,
    /// The same, rewritten for the allocator.
    Prepare,
    /// The same with registers.
    Regalloc,
    /// Bytes, disassembled.
    Emit,
}

impl Stage {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Lift => "lift",
            Stage::Opt => "opt",
            Stage::Lower => "lower",
            Stage::Prepare => "prepare",
            Stage::Regalloc => "regalloc",
            Stage::Emit => "emit",
        }
    }
}

/// Takes the stage or pass, the function's name, and a listing.
type Sink = Box<dyn FnMut(&str, &str, &str)>;

/// Options of a compilation, and where listings go.
pub struct Trace {
    sink: Option<Sink>,
    /// The only stage that is shown.
    only: Option<Stage>,
    /// Check each stage's result: verifier after every pass, allocation proved,
    /// frames decoded.
    pub check: bool,
    /// Rewrites left before optimisation stops.
    bisect: Option<u64>,
    /// Rewrites made so far.
    pub(crate) rewrites: u64,
    /// Instructions of the processor that may be used. Figures are of one
    /// processor everywhere (with BMI2, as the baseline assumes); what is to
    /// run gets what this one has.
    pub features: Features,
    /// What the optimizing pipeline makes of tail calls whose slot is known;
    /// `None` for what its engine does.
    pub poking: Option<Poking>,
    /// What the allocator may do.
    pub levers: Levers,
}

/// The listings that a trace collects.
#[derive(Clone, Default)]
pub struct Listings(Rc<RefCell<String>>);

impl Listings {
    /// What was collected so far.
    pub fn take(&self) -> String {
        self.0.take()
    }
}

impl Default for Trace {
    /// Shows nothing; checks in debug builds.
    fn default() -> Trace {
        let check = cfg!(debug_assertions);
        Trace {
            sink: None,
            only: None,
            check,
            bisect: None,
            rewrites: 0,
            features: Features { bmi2: true },
            poking: None,
            levers: Levers::default(),
        }
    }
}

impl Trace {
    /// As the environment says; an error if it names what does not exist.
    pub fn from_environment() -> Result<Trace, Error> {
        let mut trace = Trace::default();
        if std::env::var_os("TAILOR_DUMP").is_some() {
            trace.sink = Some(Box::new(|stage, function, listing| {
                // Whoever reads it may have seen enough.
                let _ = writeln!(std::io::stderr(), "; {function} after {stage}\n{listing}");
            }));
        }
        if let Ok(count) = std::env::var("TAILOR_BISECT") {
            let wrong = |_| Error::new(format!("TAILOR_BISECT: {count:?} is no number"));
            trace.bisect = Some(count.parse().map_err(wrong)?);
        }
        if let Ok(names) = std::env::var("TAILOR_NO") {
            let names = names.split(',').filter(|name| !name.is_empty()).map(str::parse);
            let off: Result<Vec<Lever>, String> = names.collect();
            let off = off.map_err(|what| Error::new(format!("TAILOR_NO: {what}")))?;
            trace.levers = Levers::without(&off);
        }
        trace.check |= std::env::var_os("TAILOR_CHECK").is_some();
        Ok(trace)
    }

    /// As the environment says, and checks everything: for tests, which panic
    /// where the environment names what does not exist.
    pub fn checked() -> Trace {
        let trace = Trace::from_environment().unwrap_or_else(|error| panic!("{error}"));
        Trace { check: true, ..trace }
    }

    /// Checks everything and collects the listings of one stage.
    pub fn collecting(stage: Stage) -> (Trace, Listings) {
        Trace { check: true, ..Trace::default() }.collect(stage)
    }

    /// The same, but the listings of one stage are collected, and nothing else is
    /// shown.
    pub fn collect(self, stage: Stage) -> (Trace, Listings) {
        let listings = Listings::default();
        let into = listings.clone();
        let sink: Sink = Box::new(move |_, _, listing| {
            let mut text = into.0.borrow_mut();
            *text += listing;
            text.push('\n');
        });
        (Trace { sink: Some(sink), only: Some(stage), ..self }, listings)
    }

    /// The same, but optimisation stops after so many rewrites.
    pub fn limited(self, rewrites: u64) -> Trace {
        Trace { bisect: Some(rewrites), ..self }
    }

    /// The same, but every listing goes to `sink`: what made it (a stage or
    /// pass), the function's name, and the listing.
    pub fn showing(self, sink: impl FnMut(&str, &str, &str) + 'static) -> Trace {
        Trace { sink: Some(Box::new(sink)), only: None, ..self }
    }

    /// Shows what a stage made of a function, if anybody looks.
    pub fn show(&mut self, stage: Stage, function: &str, listing: impl FnOnce() -> String) {
        if self.only.is_some_and(|only| only != stage) {
            return;
        }
        if let Some(sink) = &mut self.sink {
            sink(stage.name(), function, &listing());
        }
    }

    /// Runs the passes of the IR.
    pub fn optimise(&mut self, function: &mut Function) -> Result<(), passes::BrokenPass> {
        self.optimise_watched(function, &mut |_, _| {})
    }

    /// The same; after each pass `watch` sees its name and the function.
    pub fn optimise_watched(
        &mut self,
        function: &mut Function,
        watch: &mut dyn FnMut(&str, &Function),
    ) -> Result<(), passes::BrokenPass> {
        let every_pass = self.only.is_none();
        let mut sink = self.sink.as_mut().filter(|_| every_pass);
        let mut dump = |pass: &str, function: &Function| {
            if let Some(sink) = &mut sink {
                sink(pass, &function.name, &function.to_string());
            }
            watch(pass, function);
        };
        let mut context = passes::Context {
            bisect: self.bisect,
            dump: Some(&mut dump),
            verify: self.check,
            ..passes::Context::default()
        };
        let result = passes::run(function, &mut context);
        self.rewrites += context.rewrites;
        self.bisect = context.bisect;
        result
    }
}
