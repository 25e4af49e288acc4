//! The order in which an allocated function is executed, and what follows from it
//! for the locations that live.

use regalloc2::{
    Allocation, Block, Edit, Inst, Operand, OperandConstraint, OperandKind, OperandPos, PRegSet,
    ProgPoint, RegClass, SpillSlot, VReg,
};
use tailor_lower::mach::InstInfo;
use tailor_lower::{Convention, FuncRef, Gpr, MInst, MachBlock, MachFunction, Role};
use tailor_regalloc::dataflow::{Direction, solve};
use tailor_regalloc::locations::{self, Access, Locations};
use tailor_regalloc::steps::{Located, Step};

const EARLY: OperandPos = OperandPos::Early;
const LATE: OperandPos = OperandPos::Late;
const USE: OperandKind = OperandKind::Use;
const DEF: OperandKind = OperandKind::Def;
const BEFORE: fn(Inst) -> ProgPoint = ProgPoint::before;
const AFTER: fn(Inst) -> ProgPoint = ProgPoint::after;

fn reg(reg: Gpr) -> Allocation {
    Allocation::reg(reg.preg())
}

fn slot(number: usize) -> Allocation {
    Allocation::stack(SpillSlot::new(number))
}

fn set(all: &[Allocation]) -> Locations {
    all.iter().fold(Locations::default(), |set, &location| set | location.into())
}

/// A function, its locations and its moves.
struct Code {
    function: MachFunction,
    locations: Vec<Allocation>,
    edits: Vec<(ProgPoint, Edit)>,
}

impl Code {
    fn new() -> Code {
        let function = MachFunction {
            id: FuncRef::from_u32(0),
            name: "f".into(),
            insts: Vec::new(),
            info: Vec::new(),
            operands: Vec::new(),
            blocks: Vec::new(),
            vreg_bytes: vec![8],
            stack_slots: Default::default(),
            reaches_tail_call: false,
            convention: Convention::Saving,
        };
        Code { function, locations: Vec::new(), edits: Vec::new() }
    }

    /// An instruction with operands in locations, and registers that it destroys.
    fn inst(
        mut self,
        operands: &[(OperandKind, OperandPos, Allocation)],
        clobbers: &[Gpr],
    ) -> Code {
        let function = &mut self.function;
        let mut destroyed = PRegSet::empty();
        clobbers.iter().for_each(|reg| destroyed.add(reg.preg()));
        function.info.push(InstInfo {
            first: function.operands.len() as u32,
            count: operands.len() as u16,
            role: Role::Plain,
            clobbers: destroyed,
            origin: 0,
            recomputed: false,
        });
        function.insts.push(MInst::Args);
        for &(kind, pos, location) in operands {
            let value = VReg::new(0, RegClass::Int);
            function.operands.push(Operand::new(value, OperandConstraint::Any, kind, pos));
            self.locations.push(location);
        }
        self
    }

    /// A block of the instructions that are in none yet.
    fn block(mut self, succs: &[usize]) -> Code {
        let blocks = &mut self.function.blocks;
        let start = blocks.last().map_or(0, |block| block.end);
        let end = self.function.insts.len() as u32;
        let succs = succs.iter().map(|&succ| Block::new(succ)).collect();
        blocks.push(MachBlock { start, end, succs, ..MachBlock::default() });
        self
    }

    fn edit(
        mut self,
        point: fn(Inst) -> ProgPoint,
        inst: usize,
        to: Allocation,
        from: Allocation,
    ) -> Code {
        self.edits.push((point(Inst::new(inst)), Edit::Move { from, to }));
        self
    }

    fn located(&mut self) -> Located<'_> {
        predecessors(&mut self.function.blocks);
        Located::new(&self.function, &self.locations, &self.edits, &[])
    }
}

fn predecessors(blocks: &mut [MachBlock]) {
    for from in 0..blocks.len() {
        for succ in blocks[from].succs.clone() {
            blocks[succ.index()].preds.push(Block::new(from));
        }
    }
}

/// Moves at one point keep their order; those after an instruction come ahead of
/// those before the next one; a block has the moves at its own instructions.
#[test]
fn order() {
    let (a, b) = (reg(Gpr::RAX), reg(Gpr::RBX));
    let mut code = Code::new()
        .inst(&[], &[])
        .inst(&[], &[])
        .block(&[1])
        .block(&[2])
        .inst(&[], &[])
        .block(&[])
        .edit(BEFORE, 0, a, b)
        .edit(BEFORE, 0, b, slot(0))
        .edit(AFTER, 0, slot(1), a)
        .edit(BEFORE, 1, a, slot(1))
        .edit(BEFORE, 2, b, a);
    let located = code.located();
    let step = |edit, to, from| Step::Move { edit, from, to };
    let expected = [
        vec![
            step(0, a, b),
            step(1, b, slot(0)),
            Step::Inst(0),
            step(2, slot(1), a),
            step(3, a, slot(1)),
            Step::Inst(1),
        ],
        vec![],
        vec![step(4, b, a), Step::Inst(2)],
    ];
    for (block, expected) in expected.iter().enumerate() {
        let steps = located.steps(block);
        assert_eq!(steps.clone().collect::<Vec<_>>(), *expected, "block {block}");
        let mut backwards: Vec<Step> = steps.clone().rev().collect();
        backwards.reverse();
        assert_eq!(backwards, *expected, "block {block}");
        // From any number at the front, the rest is left for the back.
        for taken in 0..=expected.len() {
            let mut steps = steps.clone();
            steps.by_ref().take(taken).for_each(drop);
            let rest: Vec<Step> = steps.rev().collect();
            assert!(rest.iter().eq(expected[taken..].iter().rev()), "block {block}, {taken}");
        }
    }
    // Behind a move the next instruction is the one it is before, or the one after
    // that it is after.
    let next = expected[0].iter().map(|&step| located.next_inst(step));
    assert_eq!(next.collect::<Vec<_>>(), [0, 0, 1, 1, 1, 2]);
    let own = expected[0].iter().map(|&step| located.inst(step));
    assert_eq!(own.collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
}

/// Operands count as read or written whatever their positions; clobbers as written.
#[test]
fn accesses() {
    let operands = [
        (DEF, LATE, reg(Gpr::RAX)),
        (DEF, EARLY, reg(Gpr::RDX)),
        (USE, EARLY, reg(Gpr::RAX)),
        (USE, LATE, slot(3)),
    ];
    let mut code =
        Code::new().inst(&operands, &[Gpr::RCX]).block(&[]).edit(AFTER, 0, slot(7), reg(Gpr::RBX));
    let located = code.located();
    let found: Vec<Access> = located.steps(0).map(|step| Access::of(&located, step)).collect();
    let reads = set(&[reg(Gpr::RAX), slot(3)]);
    let writes = set(&[reg(Gpr::RAX), reg(Gpr::RCX), reg(Gpr::RDX)]);
    let moved = Access { reads: set(&[reg(Gpr::RBX)]), writes: set(&[slot(7)]) };
    assert_eq!(found, [Access { reads, writes }, moved]);
}

/// Slots beyond those that are told apart are in no set.
#[test]
fn slots_without_a_place() {
    assert!(!set(&[slot(127)]).is_empty());
    assert!(set(&[slot(128)]).is_empty());
}

/// What lives at the start of a block that is all there is, and what it touches.
fn live_and_touched(mut code: Code) -> (Locations, Locations) {
    let found = locations::uses(&code.located());
    assert_eq!(found[0].live_at_end, Locations::default());
    (found[0].live_at_start, found[0].accessed)
}

/// An instruction reads before it writes and before it destroys.
#[test]
fn read_and_written_at_once() {
    let [a, b, c] = [Gpr::RAX, Gpr::RDI, Gpr::RCX].map(reg);
    let operands = [(DEF, LATE, a), (USE, EARLY, a), (USE, EARLY, b)];
    let code = Code::new().inst(&operands, &[Gpr::RDI, Gpr::RCX]).block(&[]);
    assert_eq!(live_and_touched(code), (set(&[a, b]), set(&[a, b, c])));
}

/// Of two moves at one point the second reads what the first has written.
#[test]
fn moves_at_one_point() {
    let [a, b, c] = [Gpr::RAX, Gpr::RBX, Gpr::RCX].map(reg);
    let chain = |point| {
        let one = [(USE, EARLY, c)];
        Code::new().inst(&one, &[]).block(&[]).edit(point, 0, b, a).edit(point, 0, c, b)
    };
    assert_eq!(live_and_touched(chain(BEFORE)), (set(&[a]), set(&[a, b, c])));
    assert_eq!(live_and_touched(chain(AFTER)), (set(&[a, c]), set(&[a, b, c])));
}

/// A slot that is written above a loop and read below lives all through it.
#[test]
fn alive_round_a_loop() {
    let [a, b] = [Gpr::RAX, Gpr::RBX].map(reg);
    let mut code = Code::new()
        .inst(&[(USE, EARLY, a)], &[])
        .block(&[1])
        .inst(&[(USE, EARLY, b)], &[])
        .block(&[2, 3])
        .inst(&[(DEF, LATE, b)], &[])
        .block(&[1])
        .inst(&[(USE, EARLY, slot(0))], &[])
        .block(&[])
        .edit(AFTER, 0, slot(0), a);
    let found = locations::uses(&code.located());
    let starts = [set(&[a, b]), set(&[b, slot(0)]), set(&[slot(0)]), set(&[slot(0)])];
    assert_eq!(found.iter().map(|block| block.live_at_start).collect::<Vec<_>>(), starts);
    let ends = [starts[1], starts[2] | starts[3], starts[1], Locations::default()];
    assert_eq!(found.iter().map(|block| block.live_at_end).collect::<Vec<_>>(), ends);
}

/// A graph by the successors of its blocks; then, as bits, what leads to each block
/// and what each leads to.
struct Graph {
    succs: &'static [&'static [usize]],
    leading: &'static [u8],
    led_to: &'static [u8],
}

const GRAPHS: [Graph; 4] = [
    // A diamond.
    Graph {
        succs: &[&[1, 2], &[3], &[3], &[]],
        leading: &[0, 0b1, 0b1, 0b111],
        led_to: &[0b1110, 0b1000, 0b1000, 0],
    },
    // A loop of one block.
    Graph { succs: &[&[1], &[1, 2], &[]], leading: &[0, 0b11, 0b11], led_to: &[0b110, 0b110, 0] },
    // A chain that lies in another order than it is executed in: 0, 3, 2, 1, 4.
    Graph {
        succs: &[&[3], &[4], &[1], &[2], &[]],
        leading: &[0, 0b1101, 0b1001, 0b1, 0b1111],
        led_to: &[0b11110, 0b10000, 0b10010, 0b10110, 0],
    },
    // A loop in a loop.
    Graph {
        succs: &[&[1], &[2], &[2, 3], &[1, 4], &[]],
        leading: &[0, 0b1111, 0b1111, 0b1111, 0b1111],
        led_to: &[0b11110, 0b11110, 0b11110, 0b11110, 0],
    },
];

/// Each block adds its own bit; what comes to each is the blocks that lead to it, or
/// those that it leads to, whatever order they lie in.
#[test]
fn reachability() {
    for Graph { succs, leading, led_to } in GRAPHS {
        let block = |succs: &&[usize]| MachBlock {
            succs: succs.iter().map(|&succ| Block::new(succ)).collect(),
            ..MachBlock::default()
        };
        let mut blocks: Vec<MachBlock> = succs.iter().map(block).collect();
        predecessors(&mut blocks);
        let add = |block: usize, set: u8| set | 1 << block;
        assert_eq!(solve(Direction::Forward, &blocks, add), leading, "{succs:?}");
        assert_eq!(solve(Direction::Backward, &blocks, add), led_to, "{succs:?}");
    }
}
