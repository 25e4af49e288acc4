//! An object in user space: a map is filled, packets are judged, counters are read.
//!
//! `cargo run --example firewall`

use tailor::{Compiler, Object, Xdp};

/// The verdicts of XDP.
const VERDICTS: [&str; 5] = ["aborted", "drop", "pass", "tx", "redirect"];

/// An Ethernet frame with a TCP segment from 10.0.0.`host` to 192.0.2.1, port 80.
fn packet(host: u8) -> Vec<u8> {
    let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let ip = [0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, host, 192, 0, 2, 1];
    let tcp = [0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0];
    [&ethernet[..], &ip, &tcp].concat()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/objects/firewall.o");
    let module = Compiler::new().compile(&Object::open(file)?)?;

    // Whatever comes from 10.0.0.1 is dropped: source, protocol and port of the
    // rule, the last two of which may be anything.
    let rule = [10, 0, 0, 1, 0, 0, 0, 0];
    module.map("acl")?.update(&rule, &1u32.to_le_bytes(), 0);

    let program = module.program("xdp_firewall")?;
    for host in [1, 2, 1, 1, 1] {
        let mut packet = packet(host);
        // SAFETY: the kernel's verifier accepts this program.
        let verdict = unsafe { program.run(&mut Xdp::new(&mut packet)) }?;
        let verdict = VERDICTS.get(verdict as usize).unwrap_or(&"?");
        println!("from 10.0.0.{host}: {verdict}");
    }

    let names = ["passed by a rule", "dropped by a rule", "by default", "banned"];
    let counters = module.map("counters")?;
    for (index, name) in (0u32..).zip(names) {
        let count = counters.get(&index.to_le_bytes()).ok_or("no counter")?;
        println!("{name}: {}", u64::from_le_bytes(count.as_slice().try_into()?));
    }
    Ok(())
}
