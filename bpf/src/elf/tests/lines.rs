//! Line information.

use super::parse;
use super::write::{BtfWriter, Elf, header};
use crate::Object;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Two functions in one section and one in another; the second function of the
/// first starts at slot 3. `edit` changes the words of the line information.
fn object(edit: impl FnOnce(&mut Vec<u32>)) -> Object {
    let mut btf = BtfWriter::default();
    let [xdp, tc, file] = ["xdp", "tc", "src/a.c"].map(|name| btf.string(name));
    let [one, two, three] = ["  return 1;", "\treturn x + 2;", "return 3;"].map(|s| btf.string(s));
    // Lines above the ten bits of the column.
    let line = |number: u32, column: u32| number << 10 | column;
    // Out of order, as nothing says that they must be in order.
    let mut info = vec![16, xdp, 3];
    info.extend([8 * 3, file, two, line(70_000, 3)]);
    info.extend([0, file, one, line(12, 1023)]);
    info.extend([8, file, 0, line(0, 0)]);
    info.extend([tc, 1, 0, file, three, line(3, 1)]);
    edit(&mut info);
    let info = words(&info);
    let mut ext = header(&[0, 0, 0, info.len() as u32]);
    ext.extend(info);
    let mut elf = Elf::new();
    elf.data(".BTF", &btf.bytes());
    elf.data(".BTF.ext", &ext);
    let text = "r0 = 1\nr0 += 2\nexit\nr0 = 2\nexit";
    let xdp = elf.code("xdp", text);
    let tc = elf.code("tc", "r0 = 3\nexit");
    elf.global("first", xdp, 0);
    elf.global("second", xdp, 3);
    elf.global("third", tc, 0);
    parse(&elf)
}

/// Of each function the number and the text of the line at each slot.
fn lines(object: &Object) -> Vec<Vec<Option<(u32, String)>>> {
    let line = |function: &crate::Function, slot| {
        let line = function.lines.at(slot as u32)?;
        assert_eq!(line.file, "src/a.c");
        Some((line.number, line.text.into_owned()))
    };
    let functions = object.functions.values();
    functions.map(|f| (0..f.ops.len()).map(|slot| line(f, slot)).collect()).collect()
}

fn expected() -> Vec<Vec<Option<(u32, String)>>> {
    let line = |number, text: &str| Some((number, text.to_string()));
    let one = line(12, "return 1;");
    let two = line(70_000, "return x + 2;");
    let three = line(3, "return 3;");
    vec![vec![one, None, None], vec![two.clone(), two], vec![three.clone(), three]]
}

#[test]
fn instructions_have_the_line_before_them() {
    assert_eq!(lines(&object(|_| ())), expected());
}

#[test]
fn records_may_grow() {
    // [size, section, 3, (4 words) x 3, section, 1, (4 words)]
    let grown = |info: &mut Vec<u32>| {
        let records = [3, 7, 11, 17].map(|at| info[at..at + 4].to_vec());
        let (xdp, tc) = (info[1], info[15]);
        *info = vec![20, xdp, 3];
        for (index, record) in records.into_iter().enumerate() {
            if index == 3 {
                info.extend([tc, 1]);
            }
            info.extend(record);
            info.push(0xffff_ffff);
        }
    };
    assert_eq!(lines(&object(grown)), expected());
}

/// Nothing that is wrong with lines spoils an object.
#[test]
fn damage_is_ignored() {
    let none = vec![vec![None; 3], vec![None; 2], vec![None; 2]];
    assert_eq!(lines(&object(|info| info.clear())), none);
    assert_eq!(lines(&object(|info| info[0] = 8)), none);
    assert_eq!(lines(&object(|info| info[0] = u32::MAX)), none);
    // More records than there are bytes: what is there is taken.
    let cut = |info: &mut Vec<u32>| {
        info[2] = u32::MAX;
        info.truncate(11);
    };
    let mut first = expected();
    first[2] = vec![None; 2];
    // Without the record that says that slot 1 comes from no line.
    first[0] = vec![first[0][0].clone(); 3];
    assert_eq!(lines(&object(cut)), first);
}
