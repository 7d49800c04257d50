//! BPF objects written instruction by instruction: what a measurement is held against must not depend on a compiler.

/// The return value of an XDP program that failed; the kernel drops the packet.
pub const XDP_ABORTED: u32 = 0;
/// The return value of an XDP program that drops.
pub const XDP_DROP: u32 = 1;
/// The return value of an XDP program that passes.
pub const XDP_PASS: u32 = 2;
/// The return value of an XDP program that redirects.
pub const XDP_REDIRECT: u32 = 4;
/// The return value of a classifier that lets the next one decide (`TC_ACT_UNSPEC`, `TCX_NEXT`), -1.
pub const TC_NEXT: u32 = u32::MAX;

/// The program's name in all objects written here.
pub const NAME: &str = "made";
/// The map in which [`scatter`]'s successor stands, at 0.
pub const SUCCESSOR: &str = "SUCCESSOR";

/// An instruction as the kernel takes it: `struct bpf_insn`.
const fn insn(op: u8, dst: u8, src: u8, offset: i16, imm: i32) -> [u8; 8] {
    let ([o0, o1], [i0, i1, i2, i3]) = (offset.to_le_bytes(), imm.to_le_bytes());
    [op, src << 4 | dst, o0, o1, i0, i1, i2, i3]
}

const MOV_IMM: u8 = 0xb7;
const MOV: u8 = 0xbf;
const AND32_IMM: u8 = 0x54;
const OR32_IMM: u8 = 0x44;
const ADD_IMM: u8 = 0x07;
const LOAD_U32: u8 = 0x61;
const STORE_U32: u8 = 0x63;
const IF_GREATER: u8 = 0x2d;
const LOAD_MAP: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const GET_PRANDOM_U32: i32 = 7;
const TAIL_CALL: i32 = 12;
/// `struct xdp_md`: data, data_end.
const DATA: i16 = 0;
const DATA_END: i16 = 4;

/// An object whose only program, in `section` (`xdp`, `classifier`), returns `code` and does nothing else.
pub fn returning(section: &str, code: u32) -> Vec<u8> {
    elf(section, &[insn(MOV_IMM, 0, 0, 0, code.cast_signed()), insn(EXIT, 0, 0, 0, 0)], None)
}

/// An object whose XDP program writes a source address into the packet, random in the bits of `mask` and `base` in the
/// others, and goes on with the program in [`SUCCESSOR`]. The packet is untagged IPv4.
pub fn scatter(mask: [u8; 4], base: [u8; 4]) -> Vec<u8> {
    /// Of the source address in an Ethernet frame.
    const SOURCE: i16 = 14 + 12;
    let (mask, base) = (i32::from_le_bytes(mask), i32::from_le_bytes(base));
    let code = [
        insn(MOV, 6, 1, 0, 0),
        insn(CALL, 0, 0, 0, GET_PRANDOM_U32),
        insn(AND32_IMM, 0, 0, 0, mask),
        insn(OR32_IMM, 0, 0, 0, base),
        insn(LOAD_U32, 2, 6, DATA, 0),
        insn(LOAD_U32, 3, 6, DATA_END, 0),
        insn(MOV, 4, 2, 0, 0),
        insn(ADD_IMM, 4, 0, 0, i32::from(SOURCE) + 4),
        insn(IF_GREATER, 4, 3, 6, 0),
        insn(STORE_U32, 2, 0, SOURCE, 0),
        insn(MOV, 1, 6, 0, 0),
        insn(LOAD_MAP, 2, 0, 0, 0),
        insn(0, 0, 0, 0, 0),
        insn(MOV_IMM, 3, 0, 0, 0),
        insn(CALL, 0, 0, 0, TAIL_CALL),
        // Only where that failed, or the packet is too short.
        insn(MOV_IMM, 0, 0, 0, XDP_ABORTED.cast_signed()),
        insn(EXIT, 0, 0, 0, 0),
    ];
    elf("xdp", &code, Some(11))
}

/// The parts of an ELF file that BPF loaders read. `successor` is the instruction that wants the map.
fn elf(section: &str, code: &[[u8; 8]], successor: Option<u64>) -> Vec<u8> {
    const PROGBITS: u32 = 1;
    const SYMTAB: u32 = 2;
    const STRTAB: u32 = 3;
    const REL: u32 = 9;
    const STRTAB_AT: u32 = 4;
    /// BPF_MAP_TYPE_PROG_ARRAY, key and value of 4 bytes, 1 entry, no flags.
    const MAP: [u32; 5] = [3, 4, 4, 1, 0];
    /// R_BPF_64_64 of symbol 2.
    const RELOCATION: u64 = 2 << 32 | 1;

    let code = code.concat();
    let mut names = Names(vec![0]);
    // Symbol 1 is the program, in section 1; 2 the map, in section 5. Both global: FUNC and OBJECT.
    let mut symbols = vec![0; 24];
    symbols.extend(symbol(names.add(NAME), 0x12, 1, code.len()));
    if successor.is_some() {
        symbols.extend(symbol(names.add(SUCCESSOR), 0x11, 5, size_of_val(&MAP)));
    }
    let [text, symtab, license, strtab] = [section, ".symtab", "license", ".strtab"].map(|name| names.add(name));
    let [maps, rel] = ["maps", ".rel"].map(|name| names.add(name));
    // name, type, flags, bytes, link, info, size of an entry
    let mut sections = vec![
        (text, PROGBITS, 6u64, code, 0u32, 0u32, 0u64),
        (symtab, SYMTAB, 0, symbols, STRTAB_AT, 1, 24),
        (license, PROGBITS, 3, b"GPL\0".to_vec(), 0, 0, 0),
        (strtab, STRTAB, 0, names.0, 0, 0, 0),
    ];
    if let Some(at) = successor {
        let relocation = [(at * 8).to_le_bytes(), RELOCATION.to_le_bytes()].concat();
        sections.push((maps, PROGBITS, 3, MAP.map(u32::to_le_bytes).concat(), 0, 0, 0));
        sections.push((rel, REL, 0, relocation, 2, 1, 16));
    }

    let count = sections.len() as u8 + 1;
    let mut body = Vec::new();
    let mut headers = vec![0; 64];
    for (name, kind, flags, bytes, link, info, entry) in sections {
        body.resize(body.len().next_multiple_of(8), 0);
        let at = 64 + body.len() as u64;
        headers.extend([name, kind].map(u32::to_le_bytes).concat());
        headers.extend([flags, 0, at, bytes.len() as u64].map(u64::to_le_bytes).concat());
        headers.extend([link, info].map(u32::to_le_bytes).concat());
        headers.extend([8, entry].map(u64::to_le_bytes).concat());
        body.extend(bytes);
    }
    body.resize(body.len().next_multiple_of(8), 0);
    // 64 bits, little-endian; relocatable; EM_BPF; the section headers behind everything.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0\x01\0\0\0".to_vec();
    file.extend([0, 0, 64 + body.len() as u64].map(u64::to_le_bytes).concat());
    file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, count, 0, STRTAB_AT as u8, 0]);
    file.extend(body);
    file.extend(headers);
    file
}

fn symbol(name: u32, info: u8, section: u16, size: usize) -> Vec<u8> {
    let [s0, s1] = section.to_le_bytes();
    [&name.to_le_bytes()[..], &[info, 0, s0, s1], &[0; 8], &(size as u64).to_le_bytes()].concat()
}

/// A string table.
struct Names(Vec<u8>);

impl Names {
    fn add(&mut self, name: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend(name.as_bytes());
        self.0.push(0);
        at
    }
}
