//! Random programs in text form. They end, follow no wild pointer and observe
//! neither addresses nor what is undefined.
//!
//! R0 to R5 are data and R6 a frame pointer's copy; R7 counts loops; R8 points
//! to memory or, in the function that is called, to the caller's stack, and R9
//! to memory. Below R10 lie a window of data, slots that loops count in and one
//! that pointers are spilled to.

/// Kinds of loads and their bytes.
pub const LOADS: [(&str, i32); 7] =
    [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8), ("s8", 1), ("s16", 2), ("s32", 4)];
const STORES: [(&str, i32); 4] = [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)];
const BINARY: [&str; 13] =
    ["+=", "-=", "*=", "/=", "s/=", "%=", "s%=", "|=", "&=", "^=", "<<=", ">>=", "s>>="];
const CONDITIONS: [&str; 11] = ["==", "!=", "<", "<=", ">", ">=", "s<", "s<=", "s>", "s>=", "&"];
const IMMEDIATES: [i32; 12] = [0, 1, -1, 2, 7, 31, 32, 63, 64, 255, i32::MIN, i32::MAX];

/// Bytes of the window of data below R10.
const WINDOW: i32 = 48;
/// Where pointers are spilled to.
const SPILL: &str = "r10 - 96";
const MEMORY: i32 = 32;

/// What a program gets in R1.
pub fn memory() -> Vec<u8> {
    (0..MEMORY as u8).map(|i| i.wrapping_mul(0x9d) ^ 0x5a).collect()
}

/// `r6 + 4`.
pub fn address(base: &str, off: i32) -> String {
    let sign = if off < 0 { '-' } else { '+' };
    format!("{base} {sign} {}", off.unsigned_abs())
}

struct Generator {
    state: u64,
    text: String,
    labels: u32,
    /// Whether functions may be called.
    calls: bool,
}

/// The program of a seed.
pub fn program(seed: u64) -> String {
    let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut g = Generator { state, text: String::new(), labels: 0, calls: true };
    g.line("program f0 \"main\" raw\nr8 = r1\nr9 = r1");
    g.function();
    g.calls = false;
    g.line("function f1 \"callee\"\nr8 = r1\nr9 = r2");
    g.function();
    g.text
}

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn immediate(&mut self) -> i32 {
        match self.below(3) {
            0 => self.below(0x1_0000_0000) as i32,
            _ => self.one(&IMMEDIATES),
        }
    }

    /// A data register's number.
    fn data(&mut self) -> usize {
        self.below(6)
    }

    /// Registers and the window get values, statements work on them, and all
    /// of them are mixed into R0.
    fn function(&mut self) {
        self.initialise(0..6);
        let mut off = -WINDOW;
        while off < 0 {
            // Pieces of one size, so that objects differ from program to program.
            let fits = |&(_, bytes): &(&str, i32)| off % bytes == 0 && off + bytes <= 0;
            let fitting: Vec<_> = STORES.into_iter().filter(fits).collect();
            let (size, bytes) = self.one(&fitting);
            let register = self.data();
            self.line(format!("*({size} *)({}) = r{register}", address("r10", off)));
            off += bytes;
        }
        for _ in 0..4 + self.below(16) {
            self.statement(0);
        }
        self.line("r6 = 0\nr7 = 0");
        for register in 1..6 {
            self.line(format!("r0 *= 31\nr0 += r{register}"));
        }
        for off in -WINDOW..0 {
            self.line(format!("r1 = *(u8 *)({})\nr0 *= 31\nr0 += r1", address("r10", off)));
        }
        self.line("exit\n");
    }

    fn statement(&mut self, depth: i32) {
        match self.below(20) {
            0..6 => self.arithmetic(),
            6 => self.unary(),
            7 => self.access("r8", 0, MEMORY),
            8 => self.access("r9", 0, MEMORY),
            9..13 => self.access("r10", -WINDOW, WINDOW),
            13 => self.pointer(),
            14 => self.index(),
            15 => self.atomic(),
            16 | 17 => self.conditional(depth),
            18 if depth < 2 => self.repeated(depth),
            19 if self.calls => self.call(),
            _ => self.arithmetic(),
        }
    }

    fn arithmetic(&mut self) {
        let (op, dst, src) = (self.one(&BINARY), self.data(), self.data());
        let w = self.one(&['r', 'w']);
        let op = if self.below(8) == 0 { "=" } else { op };
        let line = match self.below(2) {
            0 => format!("{w}{dst} {op} {w}{src}"),
            _ => format!("{w}{dst} {op} {}", self.immediate()),
        };
        self.line(line);
    }

    fn unary(&mut self) {
        let (dst, src) = (self.data(), self.data());
        let forms = [
            format!("r{dst} = (s8)r{src}"),
            format!("w{dst} = (s16)w{src}"),
            format!("r{dst} = (s32)r{src}"),
            format!("w{dst} = -w{dst}"),
            format!("r{dst} = le16 r{dst}"),
            format!("r{dst} = be32 r{dst}"),
            format!("r{dst} = bswap64 r{dst}"),
        ];
        let index = self.below(forms.len());
        self.line(&forms[index]);
    }

    /// A load or a store within `length` bytes from an address.
    fn access(&mut self, base: &str, start: i32, length: i32) {
        let (is_load, register) = (self.below(2) == 0, self.data());
        let (size, bytes) = if is_load { self.one(&LOADS) } else { self.one(&STORES) };
        let off = self.below((length - bytes + 1) as usize) as i32;
        let at = format!("*({size} *)({})", address(base, start + off));
        let line = match (is_load, self.below(3)) {
            (true, _) => format!("r{register} = {at}"),
            (false, 0) => format!("{at} = {}", self.immediate()),
            (false, _) => format!("{at} = r{register}"),
        };
        self.line(line);
    }

    /// An access through a copy of R10: moved in steps, spilled, or different
    /// on two paths.
    fn pointer(&mut self) {
        let length = 8 + 8 * self.below(3) as i32;
        let start = -WINDOW + self.below((WINDOW - length) as usize) as i32;
        match self.below(4) {
            0 => self.line(format!("r6 = r10\nr6 += {start}")),
            1 => self.line(format!("r6 = r10\nr6 += 32\nr6 -= {}", 32 - start)),
            2 => {
                self.line(format!("r6 = r10\nr6 += {start}\n*(u64 *)({SPILL}) = r6\nr6 = 0"));
                self.arithmetic();
                self.line(format!("r6 = *(u64 *)({SPILL})"));
            }
            _ => {
                let other = -WINDOW + self.below((WINDOW - length) as usize) as i32;
                let (label, register) = (self.label(), self.data());
                self.line(format!("r6 = r10\nr6 += {start}\nif r{register} s> 0 goto {label}"));
                self.line(format!("r6 = r10\nr6 += {other}\n{label}:"));
            }
        }
        self.access("r6", 0, length);
        self.access("r6", 0, length);
    }

    /// An access at an index that only the run knows.
    fn index(&mut self) {
        let (start, register) = (-WINDOW + self.below(16) as i32, self.data());
        self.line(format!("r6 = r10\nr7 = r{register}\nr7 &= 15"));
        match self.below(2) {
            0 => self.line(format!("r6 += {start}\nr6 += r7")),
            _ => self.line(format!("r6 += r7\nr6 += {start}")),
        }
        self.access("r6", 0, 8);
    }

    fn atomic(&mut self) {
        let register = self.data();
        let at = match self.below(2) {
            0 => address("r9", 8 * self.below(3) as i32),
            _ => address("r10", -8 - 8 * self.below(3) as i32),
        };
        let forms = [
            format!("lock *(u64 *)({at}) += r{register}"),
            format!("lock *(u32 *)({at}) ^= w{register}"),
            format!("w{register} = atomic_fetch_or((u32 *)({at}), w{register})"),
            format!("r{register} = atomic_fetch_and((u64 *)({at}), r{register})"),
            format!("w{register} = xchg32_32({at}, w{register})"),
            format!("r0 = cmpxchg_64({at}, r0, r{register})"),
            format!("w0 = cmpxchg32_32({at}, w0, w{register})"),
        ];
        let index = self.below(forms.len());
        self.line(&forms[index]);
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("l{}", self.labels)
    }

    fn conditional(&mut self, depth: i32) {
        let (condition, w) = (self.one(&CONDITIONS), self.one(&['r', 'w']));
        let (dst, src) = (self.data(), self.data());
        let rhs = match self.below(2) {
            0 => format!("{w}{src}"),
            _ => self.immediate().to_string(),
        };
        let (then, out) = (self.label(), self.label());
        self.line(format!("if {w}{dst} {condition} {rhs} goto {then}"));
        (0..self.below(3)).for_each(|_| self.statement(depth));
        self.line(format!("goto {out}\n{then}:"));
        (0..self.below(3)).for_each(|_| self.statement(depth));
        self.line(format!("{out}:"));
    }

    /// A loop that counts in a slot of its own.
    fn repeated(&mut self, depth: i32) {
        let counter = address("r10", -72 - 8 * depth);
        let (top, count) = (self.label(), 1 + self.below(4));
        self.line(format!("*(u64 *)({counter}) = {count}\n{top}:"));
        (0..1 + self.below(4)).for_each(|_| self.statement(depth + 1));
        self.line(format!("r7 = *(u64 *)({counter})\nr7 += -1\n*(u64 *)({counter}) = r7"));
        self.line(format!("if r7 != 0 goto {top}"));
    }

    /// Calls the other function with the address of a part of the window.
    fn call(&mut self) {
        let start = -WINDOW + self.below((WINDOW - MEMORY + 1) as usize) as i32;
        self.line(format!("r1 = r10\nr1 += {start}\nr2 = r9\ncall f1"));
        self.initialise(1..6);
    }

    /// Gives registers new values.
    fn initialise(&mut self, registers: std::ops::Range<u8>) {
        for register in registers {
            let value = self.below(usize::MAX) >> self.below(48);
            self.line(format!("r{register} = {value:#x} ll"));
        }
    }
}
