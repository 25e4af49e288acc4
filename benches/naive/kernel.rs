//! A case in the running kernel. Each load puts the code at another address,
//! which branchy loops feel, so it is loaded anew for each time.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tailor::Object;
use tailor::runtime::kernel::{KernelObject, unavailable};

use crate::case::Case;

const BPF_PROG_TYPE_XDP: u32 = 6;
/// Loads of a case; the verifier takes longer over some examples than all runs.
pub const LOADS: usize = 8;
const REPEAT: u32 = 10_000;

/// A program whose load takes longer is measured in its first case only.
const SLOW: Duration = Duration::from_millis(200);
static MEASURED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

pub struct Kernel {
    object: Option<Object>,
    /// Nanoseconds per run of each load.
    pub times: Vec<f64>,
}

impl Kernel {
    /// With nothing to measure where the kernel cannot be asked, or not so.
    pub fn new(object: Object, case: &Case) -> Kernel {
        let here = case.engines.is_empty() || case.engines.iter().any(|own| own == "naive-6.12");
        let chosen = case.clock.is_some() || case.random.is_some() || case.cpu.is_some();
        let measured = MEASURED.lock().expect("no other thread");
        let again = case.program.as_ref().is_some_and(|program| measured.contains(program));
        let possible = here && !chosen && !again && unavailable().is_none();
        Kernel { object: possible.then_some(object), times: Vec::new() }
    }

    /// Loads the case's programs and times one batch, whose first result is checked.
    pub fn load_and_run(&mut self, case: &Case) -> Result<(), String> {
        let Some(object) = &self.object else {
            return Ok(());
        };
        let text = |error: std::io::Error| format!("the kernel: {error}");
        let start = Instant::now();
        let kernel = KernelObject::new(object).map_err(text)?;
        for (map, key, value) in &case.maps {
            kernel.map(map).and_then(|map| kernel.update(map, key, value)).map_err(text)?;
        }
        let fixed = object.maps.values().flat_map(|map| {
            let program = |program| Some(object.programs[program].name.as_str());
            map.slots.iter().map(move |&(slot, of)| (map.name.as_str(), slot, program(of)))
        });
        let chosen = case.slots.iter().map(|(map, slot, of)| (map.as_str(), *slot, of.as_deref()));
        let mut targets = std::collections::BTreeMap::new();
        for (map, slot, program) in fixed.chain(chosen) {
            targets.insert((map, slot), program);
        }
        for ((map, slot), program) in targets {
            if let Some(name) = program {
                let program = kernel.program(BPF_PROG_TYPE_XDP, name).map_err(text)?;
                kernel.set_slot(map, slot, &program).map_err(text)?;
            }
        }
        let name = case.program.as_deref().unwrap_or_default();
        let program = kernel.program(BPF_PROG_TYPE_XDP, name).map_err(text)?;
        if start.elapsed() > SLOW {
            MEASURED.lock().expect("no other thread").insert(name.to_string());
        }
        let packet = case.packet.as_deref().unwrap_or_default();
        let (result, _) = program.test_run(packet, 1).map_err(text)?;
        if case.retval.is_some_and(|expected| expected != u64::from(result)) {
            return Err(format!("the kernel returns {result}, not {:?}", case.retval));
        }
        let (_, time) = program.test_run(packet, REPEAT).map_err(text)?;
        self.times.push(f64::from(time));
        Ok(())
    }
}
