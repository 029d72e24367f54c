/**
 * GPT-2's spelling of bytes: each of the 256 bytes is written as one printable character (itself where it is printable
 * Latin-1, else the next free one from U+0100 on), so that byte-level vocabularies are made of readable strings.
 */
function makeAlphabet(): string[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
}

/** The character that stands for each byte. */
export const byteCharacters: readonly string[] = makeAlphabet();

/** Byte by character code, -1 where none is. */
const byteOf = new Int16Array(0x180).fill(-1);
for (const [byte, character] of byteCharacters.entries()) byteOf[character.charCodeAt(0)] = byte;

/** The bytes that a string in GPT-2's spelling stands for; undefined if it holds a character outside that alphabet. */
export function bytesOfSpelling(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = byteOf[text.charCodeAt(i)] ?? -1;
    if (byte < 0) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

/** Bytes in GPT-2's spelling. */
export function spellBytes(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byteCharacters[byte];
  return text;
}
