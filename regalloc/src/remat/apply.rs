//! What is to be computed again, and the function in which it is.

use std::collections::HashSet;

use regalloc2::{Block, VReg};
use tailor_lower::edit::Place;
use tailor_lower::{Editor, MachFunction};

use super::candidates::{Use, definitions};

/// What is to be computed again, where, and for whom.
pub(super) struct Again {
    pub(super) value: VReg,
    pub(super) block: Block,
    /// Before this instruction.
    pub(super) at: u32,
    /// For the inputs that do not live there.
    pub(super) inputs: Inputs,
    pub(super) uses: Vec<Use>,
    /// With all others of this value, it is executed no more often than the
    /// definition was, which is gone.
    pub(super) moved: bool,
}

/// The inputs that something else stands in for.
pub(super) type Inputs = Vec<(VReg, Input)>;

/// Where an input comes from that does not live where it is needed.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// By number: computed again before, for uses of its own.
    Earlier(usize),
    /// Computed again for this purpose, from inputs of its own.
    Anew(Inputs),
}

/// The result: what is computed again, and the definitions that nobody needs then.
pub(super) struct Plan {
    pub(super) all: Vec<Again>,
    pub(super) removed: HashSet<usize>,
}

pub(super) fn apply(function: MachFunction, plan: &Plan) -> MachFunction {
    let definitions = definitions(&function);
    let mut maker = Maker { editor: Editor::new(function), definitions, made: Vec::new() };
    for again in &plan.all {
        let place = Place::before(again.at as usize);
        let vreg = maker.compute(place, again.value, &again.inputs, !again.moved);
        maker.made.push(vreg);
    }
    // Not before, as uses of definitions are among these.
    let Maker { mut editor, made, .. } = maker;
    for (again, vreg) in plan.all.iter().zip(made) {
        for used in &again.uses {
            let &Use { block, at, position } = used;
            if used.is_argument(editor.function()) {
                editor.set_argument(Block::new(block as usize), position as usize, vreg);
            } else {
                editor.set_operand(at as usize, position as usize, vreg);
            }
        }
    }
    plan.removed.iter().for_each(|&inst| editor.remove(inst));
    editor.finish()
}

pub(super) struct Maker {
    pub(super) editor: Editor,
    pub(super) definitions: Vec<u32>,
    /// The results so far.
    pub(super) made: Vec<VReg>,
}

impl Maker {
    fn compute(&mut self, place: Place, value: VReg, inputs: &Inputs, recomputed: bool) -> VReg {
        let mut instead = Vec::with_capacity(inputs.len());
        for (input, by) in inputs {
            let vreg = match by {
                Input::Earlier(number) => self.made[*number],
                Input::Anew(inputs) => self.compute(place, *input, inputs, true),
            };
            instead.push((*input, vreg));
        }
        let definition = self.definitions[value.vreg()] as usize;
        self.editor.compute_again(place, definition, recomputed, |input| {
            instead.iter().find(|(of, _)| *of == input).map_or(input, |&(_, vreg)| vreg)
        })
    }
}

/// The instructions that inputs take.
pub(super) fn chain(inputs: &[(VReg, Input)]) -> usize {
    let length = |input: &Input| match input {
        Input::Earlier(_) => 0,
        Input::Anew(inputs) => 1 + chain(inputs),
    };
    inputs.iter().map(|(_, input)| length(input)).sum()
}
