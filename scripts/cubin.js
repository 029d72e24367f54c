// What a compiled kernel is made of: reads a cubin (ELF) without the CUDA tools, which not every machine has.
//
// Instructions are 16 bytes; the low 12 bits say which one it is. Only those that a gate asks for have names here; they
// were found by compiling kernels of one instruction each.
'use strict';

const instructionBytes = 16;

/** Opcodes by name; memory accesses of 16 bytes are told apart by their size field, tcgen05.mma by its elements. */
const opcodes = {
  HMMA: [0x23c],
  IMMA: [0x237],
  QGMMA: [0x9f3, 0xdf3],
  UTCMMA: [0x5ea, 0xdea],
  UTCCP: [0x9e7],
  F2FP: [0x23e],
  LDG: [0x981],
  STG: [0x986],
  LDS: [0x984],
  STS: [0x988],
  UTMALDG: [0x5b4],
  UBLKCP: [0x3ba],
};
const names = new Map(Object.entries(opcodes).flatMap(([name, codes]) => codes.map((code) => [code, name])));

function sections(elf) {
  const start = Number(elf.readBigUInt64LE(0x28));
  const [size, count, nameSection] = [elf.readUInt16LE(0x3a), elf.readUInt16LE(0x3c), elf.readUInt16LE(0x3e)];
  const headers = Array.from({ length: count }, (_, i) => {
    const at = start + i * size;
    return {
      name: elf.readUInt32LE(at),
      offset: Number(elf.readBigUInt64LE(at + 0x18)),
      size: Number(elf.readBigUInt64LE(at + 0x20)),
    };
  });
  const strings = headers[nameSection].offset;
  return headers.map(({ name, offset, size: bytes }) => {
    const end = elf.indexOf(0, strings + name);
    return { name: elf.toString('latin1', strings + name, end), bytes: elf.subarray(offset, offset + bytes) };
  });
}

/** Elements of 8 bits (Q), 4 bits with scales (O) or 16 and more (H). */
function tensorProduct(code, offset) {
  if ((code.readUInt16LE(offset + 8) & 0x300) === 0x300) return 'UTCQMMA';
  return code.readUInt8(offset + 7) & 0x80 ? 'UTCOMMA' : 'UTCHMMA';
}

/** The name of the instruction at `offset`, or its opcode in hexadecimal. */
function instruction(code, offset) {
  const opcode = code.readUInt16LE(offset) & 0xfff;
  const name = names.get(opcode);
  const sixteenBytes = ((code.readUInt16LE(offset + 8) >> 9) & 7) === 6;
  if ((name === 'LDG' || name === 'LDS' || name === 'STG' || name === 'STS') && sixteenBytes) return `${name}.128`;
  if (name === 'UTCMMA') return tensorProduct(code, offset);
  return name ?? `0x${opcode.toString(16)}`;
}

/** Mangled kernel name -> Map of instruction -> how often it occurs. */
function histograms(elf) {
  const kernels = sections(elf).filter(({ name }) => name.startsWith('.text.'));
  return new Map(
    kernels.map(({ name, bytes }) => {
      const counts = new Map();
      for (let offset = 0; offset < bytes.length; offset += instructionBytes) {
        const found = instruction(bytes, offset);
        counts.set(found, (counts.get(found) ?? 0) + 1);
      }
      return [name.slice('.text.'.length), counts];
    }),
  );
}

module.exports = { histograms };
