//! The directives of a run case: what to set up, what to expect.

use tailor::Lever;
use tailor::runtime::{Clock, Environment};

/// What a case asks for. Bytes are in memory order.
#[derive(Default)]
pub struct Case {
    pub object: Option<String>,
    pub program: Option<String>,
    pub maps: Vec<(String, Vec<u8>, Vec<u8>)>,
    pub slots: Vec<(String, u32, Option<String>)>,
    pub packet: Option<Vec<u8>>,
    pub memory: Option<Vec<u8>>,
    pub retval: Option<u64>,
    /// `None`: as it was.
    pub packet_out: Option<Vec<u8>>,
    /// `None` for the value: absent.
    pub maps_out: Vec<(String, Vec<u8>, Option<Vec<u8>>)>,
    pub clock: Option<u64>,
    pub random: Option<u32>,
    pub cpu: Option<u32>,
    pub error: Option<String>,
    /// The engines in which it holds; all if empty.
    pub engines: Vec<String>,
    /// Levers of the allocator that are off.
    pub off: Vec<Lever>,
}

impl Case {
    /// Reads directives `key: value`, one a line.
    pub fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Case, String> {
        let mut case = Case::default();
        for line in lines {
            let line = line.split('#').next().unwrap_or("").trim();
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            case.directive(key.trim(), value.trim()).map_err(|what| format!("{line:?}: {what}"))?;
        }
        Ok(case)
    }

    fn directive(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "object" => self.object = Some(value.into()),
            "program" => self.program = Some(value.into()),
            "map" => {
                let [name, key, value] = parts(value)?;
                self.maps.push((name.into(), hex(key)?, hex(value)?));
            }
            "map-out" => {
                let [name, key, value] = parts(value)?;
                let value = if value == "absent" { None } else { Some(hex(value)?) };
                self.maps_out.push((name.into(), hex(key)?, value));
            }
            "prog-array" => {
                let (name, rest) = value.split_once(':').ok_or("expected NAME:INDEX=PROGRAM")?;
                let (index, program) = rest.split_once('=').ok_or("expected INDEX=PROGRAM")?;
                let program = (program != "-").then(|| program.to_string());
                self.slots.push((name.into(), number(index)? as u32, program));
            }
            "packet" => self.packet.get_or_insert_default().extend(hex(value)?),
            "mem" => self.memory.get_or_insert_default().extend(hex(value)?),
            "packet-out" if value == "same" => {}
            "packet-out" => self.packet_out.get_or_insert_default().extend(hex(value)?),
            "retval" => self.retval = Some(number(value)?),
            "clock" => self.clock = Some(number(value)?),
            "prandom" => self.random = Some(number(value)? as u32),
            "cpu" => self.cpu = Some(number(value)? as u32),
            "engines" => self.engines = value.split(',').map(|e| e.trim().to_string()).collect(),
            "no" => {
                let names = value.split(',').map(|name| name.trim().parse());
                self.off = names.collect::<Result<_, String>>()?;
            }
            "error" => self.error = Some(value.into()),
            _ => return Err("unknown directive".into()),
        }
        Ok(())
    }

    /// The environment that the case describes.
    pub fn environment(&self) -> Environment {
        let environment = Environment::default()
            .with_clock(Clock::Fixed(self.clock.unwrap_or(0)))
            .with_cpu(self.cpu.unwrap_or(0));
        environment.with_random(self.random.unwrap_or(0))
    }
}

fn parts(value: &str) -> Result<[&str; 3], String> {
    let parts: Vec<&str> = value.split(':').map(str::trim).collect();
    parts.try_into().map_err(|_| "expected NAME:KEY:VALUE".to_string())
}

/// A number, hexadecimal with `0x`, signed with `-`.
pub fn number(text: &str) -> Result<u64, String> {
    let parsed = match (text.strip_prefix("0x"), text.strip_prefix('-')) {
        (Some(hex), _) => u64::from_str_radix(hex, 16).ok(),
        (None, Some(_)) => text.parse::<i64>().ok().map(|n| n as u64),
        (None, None) => text.parse().ok(),
    };
    parsed.ok_or_else(|| format!("{text:?} is no number"))
}

/// Hex digits, blanks allowed.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !digits.len().is_multiple_of(2) {
        return Err("odd number of hex digits".into());
    }
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
        u8::from_str_radix(text, 16).map_err(|_| format!("{text:?} is no hex"))
    };
    digits.chunks(2).map(byte).collect()
}
