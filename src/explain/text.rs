//! An explanation as text, in lines of at most [`WIDTH`] columns where it can be.

use std::fmt::{self, Display, Formatter};

use tailor_emit::frame::Weighted;

use super::{At, Explanation, Held, Object, Register, Save, Slot, Tightest, Value};

const WIDTH: usize = 100;
/// Of longer lists, so many are shown.
const SHOWN: usize = 8;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or("");
        let mut page = Page { text: String::new(), file, explanation: self };
        page.whole();
        self.registers.iter().for_each(|register| page.register(register));
        self.slots.iter().for_each(|slot| page.slot(slot));
        self.objects.iter().for_each(|object| page.object(object));
        f.write_str(&page.text)
    }
}

/// The text so far.
struct Page<'a> {
    text: String,
    /// The file that lines are of, unless another is named.
    file: &'a str,
    explanation: &'a Explanation,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Text after a label, in as many lines as it needs, each under the first.
    /// Breaks only between items.
    fn items(&mut self, label: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        let mut line = label.to_string();
        for (index, item) in items.iter().enumerate() {
            let comma = if index + 1 < items.len() { "," } else { "" };
            let fits = line.chars().count() + item.chars().count() + 2 <= WIDTH;
            if !fits && index > 0 {
                self.line(&line);
                line = " ".repeat(label.chars().count());
            }
            line.push(' ');
            line.push_str(item);
            line.push_str(comma);
        }
        self.line(&line);
    }

    /// `+12 line 7 x0.5`.
    fn at(&self, at: &At) -> String {
        self.at_times(at, at.frequency)
    }

    fn at_times(&self, at: &At, times: f64) -> String {
        let line = match &at.line {
            Some((file, line)) if file == self.file => format!(" line {line}"),
            Some((file, line)) => format!(" {}:{line}", base(file)),
            None => String::new(),
        };
        format!("+{}{line} x{}", at.insn, number(times))
    }

    /// What is done where and how often, shortened. What is done several times
    /// on end is named once.
    fn list<'b>(&mut self, label: &str, list: impl Iterator<Item = (&'b str, &'b At)>) {
        let mut items: Vec<(f64, String)> = Vec::new();
        let mut last = ("", String::new());
        for (what, at) in list {
            let place = self.at(at);
            if last == (what, place.clone()) {
                continue;
            }
            let text = if what == last.0 { place.clone() } else { format!("{what} {place}") };
            items.push((at.frequency, text.trim_start().into()));
            last = (what, place);
        }
        let shown = if items.len() > SHOWN + 1 { SHOWN } else { items.len() };
        let rest: f64 = items[shown..].iter().map(|(frequency, _)| frequency).sum();
        let mut texts: Vec<String> = items[..shown].iter().map(|(_, text)| text.clone()).collect();
        if items.len() > shown {
            texts.push(format!("and {} more, x{} together", items.len() - shown, number(rest)));
        }
        self.items(label, &texts);
    }

    /// The function as a whole.
    fn whole(&mut self) {
        let this = self.explanation;
        let kind = if this.is_program { "program" } else { "subprogram" };
        let frequencies = if this.measured { "measured" } else { "estimated" };
        self.line(&format!("{} in {} ({})", this.function, this.object, this.engine));
        self.line(&format!(
            "a {kind} of {} instructions; frequencies are {frequencies}",
            this.insns
        ));
        if !self.file.is_empty() {
            self.line(&format!("lines are those of {}", base(self.file)));
        }
        self.line("");
        let saved: Vec<&str> = this.registers.iter().map(|register| register.name).collect();
        let saved = if saved.is_empty() { "nothing".into() } else { saved.join(" ") };
        self.line(&format!("saves  {saved}"));
        let slots: f64 = this.slots.iter().map(|slot| slot.cost).sum();
        let Weighted { cost, saves, frame_pointer, .. } = this.weighted;
        let rest = cost - saves - frame_pointer - slots;
        let counts = this.frame.counter > 0;
        let parts_of_cost = parts(&[
            (saves, "saves and restores"),
            (slots, "loads and stores of spill slots"),
            (frame_pointer, "frame pointer"),
            (rest, if counts { OF_COUNTER } else { OF_PROGRAM }),
        ]);
        let whole = format!("{} memory operations in a run", number(cost));
        self.sum("cost  ", &whole, parts_of_cost);
        let frame = &this.frame;
        let bytes = parts(&[
            (frame.saved.into(), "saved registers"),
            (frame.frame_pointer.into(), "frame pointer"),
            (frame.counter.into(), "tail-call counter"),
            (frame.slots.into(), "spill slots"),
            (frame.objects.into(), "stack objects"),
            (-f64::from(frame.shared), "shared by these"),
            (frame.gaps.into(), "gaps between them"),
            (frame.padding.into(), "padding"),
        ]);
        self.sum("frame ", &format!("{} bytes", frame.frame_bytes), bytes);
        self.bound();
    }

    /// A figure and its parts.
    fn sum(&mut self, label: &str, whole: &str, mut parts: Vec<String>) {
        match parts.first_mut() {
            Some(first) => *first = format!("{whole}: {first}"),
            None => parts.push(whole.into()),
        }
        self.items(label, &parts);
    }

    fn bound(&mut self) {
        let this = self.explanation;
        let Some(bound) = this.bounds.optimised else {
            return self.line("bound  not known: the function is too large");
        };
        if bound == 0 && this.tightest.is_none() {
            return self.line("bound  0 bytes: nothing need be in memory anywhere");
        }
        let content = this.frame.frame_bytes - this.frame.padding;
        let over = match content.saturating_sub(bound) {
            0 => "reached but for padding".into(),
            over => format!("{over} less than the frame without padding"),
        };
        let lifted = match this.bounds.lifted {
            Some(lifted) if lifted != bound => format!("; {lifted} before optimisation"),
            _ => String::new(),
        };
        self.line(&format!("bound  {bound} bytes, {over}{lifted}"));
        if let Some(tightest) = &this.tightest {
            self.tightest(tightest);
        }
    }

    fn tightest(&mut self, point: &Tightest) {
        let kind = if point.is_call { "across" } else { "at" };
        let place = self.at(&point.at);
        self.line(&format!("       as these must be kept {kind} {} {place}", point.what));
        point.values.iter().for_each(|value| self.value("        ", value));
        for (name, bytes) in &point.objects {
            self.line(&format!("         {name}, an object of {bytes} bytes"));
        }
        if point.fixed > 0 {
            self.line(&format!("         {} bytes of the kernel's convention", point.fixed));
        }
        if point.free > 0 && !point.values.is_empty() {
            let free = point.free;
            self.line(&format!("         (of the values, {free} can be in registers for nothing)"));
        }
    }

    /// A value after a label, and what it may be besides in lines of their own.
    fn value(&mut self, label: &str, value: &Value) {
        let width = if value.bytes < 8 { " (4 bytes)" } else { "" };
        let mut start = format!("{label} {}{width}", value.name);
        for (what, defined) in value.what.iter().zip(&value.defined) {
            let mut items = vec![format!("= {what}")];
            if let Some(at) = defined {
                items[0].push_str(&format!(", {}", self.at(at)));
                if !at.text.is_empty() {
                    items.push(format!("\"{}\"", shorten(&at.text)));
                }
            }
            // No comma before the source: it says the same.
            let (first, rest) = (items.remove(0), items.pop());
            let line = format!("{start} {first}");
            match rest {
                Some(source) if line.chars().count() + source.chars().count() < WIDTH => {
                    self.line(&format!("{line} {source}"));
                }
                Some(source) => {
                    self.line(&line);
                    let indent = " ".repeat(label.chars().count() + 2);
                    self.line(&format!("{indent} {source}"));
                }
                None => self.line(&line),
            }
            start = format!("{}  or", " ".repeat(label.chars().count()));
        }
        if value.what.is_empty() {
            self.line(&start);
        }
    }

    /// Of many values those that are accessed most.
    fn all_held(&mut self, all: &[Held]) {
        let mut accesses: Vec<f64> = all.iter().map(|held| held.accesses).collect();
        accesses.sort_by(|a, b| b.total_cmp(a));
        let least = accesses.get(SHOWN - 1).copied().unwrap_or(0.0);
        let shown = all.iter().filter(|held| held.accesses >= least).take(SHOWN);
        shown.for_each(|held| self.held(held));
        let hidden = all.len().saturating_sub(SHOWN);
        if hidden > 0 {
            self.line(&format!("  holds {hidden} more that are accessed less"));
        }
    }

    fn held(&mut self, held: &Held) {
        self.value("  holds", &held.value);
        let crossed = held.crosses.iter().map(|(callee, at)| (&**callee, at));
        self.list("    across", crossed);
        self.list("    used  ", held.uses.iter().map(|at| ("", at)));
        if held.crosses.is_empty() && held.uses.is_empty() {
            self.line("    and nobody reads it there");
        }
    }

    fn register(&mut self, register: &Register) {
        self.line("");
        self.line(&format!("{} costs {}", register.name, number(register.cost)));
        for (restores, label) in [(false, "  saved   "), (true, "  restored")] {
            let those = register.saves.iter().filter(|save| save.restores == restores);
            let texts: Vec<String> = those.map(|save| self.save(save)).collect();
            self.items(label, &texts);
        }
        self.all_held(&register.holds);
        let Some(without) = register.without else {
            return self.line("  without it there are too few registers");
        };
        let this = self.explanation;
        let bytes = without.frame_bytes;
        self.line(&format!(
            "  without {} the function costs {} ({}), in a frame of {bytes} bytes ({})",
            register.name,
            number(without.cost),
            difference(without.cost - this.weighted.cost),
            difference(f64::from(bytes) - f64::from(this.frame.frame_bytes)),
        ));
    }

    fn save(&self, save: &Save) -> String {
        match &save.at {
            None => format!("{} x{}", save.what, number(save.cost)),
            Some(at) => format!("{} {}", save.what, self.at_times(at, save.cost)),
        }
    }

    fn slot(&mut self, slot: &Slot) {
        self.line("");
        let cost = number(slot.cost);
        self.line(&format!("{} ({} bytes) costs {cost}", slot.name, slot.bytes));
        self.all_held(&slot.holds);
        self.shares(&slot.shares);
        match slot.register {
            _ if slot.all_saved => self.line("  all callee-saved registers are saved already"),
            None => {}
            Some(cost) => {
                let cost = number(cost);
                self.line(&format!("  to save a further register for it instead costs {cost}"));
            }
        }
    }

    fn object(&mut self, object: &Object) {
        self.line("");
        self.line(&format!("{}, a stack object of {} bytes", object.name, object.bytes));
        let calls = object.calls.iter().map(|(callee, at)| (&**callee, at));
        self.list("  given to", calls);
        self.list("  accessed", object.accesses.iter().map(|at| ("", at)));
        self.shares(&object.shares);
        if object.lost {
            self.line("  its address is kept by somebody: it may be accessed at any time");
        }
    }

    fn shares(&mut self, others: &[String]) {
        self.items("  shares memory with", others);
    }
}

const OF_COUNTER: &str = "counter, recomputation, and slots of the program";
const OF_PROGRAM: &str = "recomputation, and slots of the program";

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `16 saved registers`, `8 padding`, without what is 0.
fn parts(parts: &[(f64, &str)]) -> Vec<String> {
    let present = parts.iter().filter(|(figure, _)| figure.abs() > 1e-9);
    present.map(|(figure, what)| format!("{} {what}", number(*figure))).collect()
}

/// `2 more`.
fn difference(more: f64) -> String {
    match (&*number(more.abs()), more > 0.0) {
        ("0" | "<0.00001", _) => "the same".into(),
        (by, true) => format!("{by} more"),
        (by, false) => format!("{by} less"),
    }
}

/// To three decimals, or what is small to five.
fn number(figure: f64) -> String {
    let digits = if figure.abs() < 0.01 { 5 } else { 3 };
    let text = format!("{figure:.digits$}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "0" | "-0" if figure.abs() > 1e-9 => "<0.00001".into(),
        "-0" => "0".into(),
        text => text.into(),
    }
}

/// A line of source code, shortened.
fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}
