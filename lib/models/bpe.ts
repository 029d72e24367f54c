import { spellBytes } from './byte-alphabet';

/** A byte-pair-encoding vocabulary. */
export interface BpeOptions {
  /** Text of each token that text may turn into, to its id. */
  vocabulary: ReadonlyMap<string, number>;
  /** Pairs in order of priority. Pairs whose parts or result are not in the vocabulary are ignored. */
  merges: readonly (readonly [string, string])[];
  /** The vocabulary is spelled in GPT-2's byte alphabet, and pieces come as plain text. Defaults to false. */
  byteLevel?: boolean;
  /** Characters not in the vocabulary become `<0x..>` tokens where it has them. Defaults to false. */
  byteFallback?: boolean;
  /** A piece that is a token as a whole is that token, whatever its merges say. Defaults to false. */
  ignoreMerges?: boolean;
  /** What a character that nothing stands for becomes; without it, it is dropped, as Hugging Face's does. */
  unknownId?: number;
  /** Neighbouring unknown characters become one unknown token. Defaults to false. */
  fuseUnknown?: boolean;
}

/** Ranks and positions share a double exactly: rank * POSITIONS + position stays below 2^53. */
const POSITIONS = 2 ** 32;
const MAX_MERGES = 2 ** 21;
const CACHED_LENGTH = 48;
const CACHE_CAPACITY = 20_000;
/** Symbols and merges of a long piece that are dealt with between two chances to pause. */
const SYMBOLS_PER_STEP = 16_384;
const MERGES_PER_STEP = 4096;

/**
 * Byte-pair encoding on ids, with the rules of Hugging Face's Rust implementation: of all neighbouring pairs the one of
 * best rank is merged first, the leftmost among equals; characters that nothing stands for go before merging starts.
 */
export class Bpe {
  private readonly vocabulary: ReadonlyMap<string, number>;
  private readonly options: BpeOptions;
  /** left id * size + right id, to rank. */
  private readonly ranks = new Map<number, number>();
  private readonly results: number[] = [];
  private readonly size: number;
  /** No token is made of more symbols. */
  private readonly longest: number;
  private readonly byteIds: number[];
  private readonly cache = new Map<string, readonly number[]>();
  private readonly encoder = new TextEncoder();

  constructor(options: BpeOptions) {
    this.options = options;
    this.vocabulary = options.vocabulary;
    let largest = 0;
    for (const id of this.vocabulary.values()) largest = Math.max(largest, id);
    this.size = largest + 1;
    this.longest = 0;
    for (const text of this.vocabulary.keys()) this.longest = Math.max(this.longest, text.length);
    for (const [left, right] of options.merges) this.addMerge(left, right);
    this.byteIds = Array.from({ length: 256 }, (_, byte) => this.idOfByte(byte));
  }

  /**
   * Appends the ids of one piece to `out`. Yields now and then while at work on a long piece.
   *
   * @param most Of a long piece, no more is encoded than surely fills `out` up to so many ids. Defaults to all.
   */
  *encode(piece: string, out: number[], most = Infinity): Generator<void, void> {
    const cached = this.cache.get(piece);
    if (cached) {
      for (const id of cached) out.push(id);
      return;
    }
    if (this.options.ignoreMerges) {
      const spelled = this.options.byteLevel ? spellBytes(this.encoder.encode(piece)) : piece;
      const whole = this.vocabulary.get(spelled);
      if (whole !== undefined) {
        out.push(whole);
        return;
      }
    }
    const isShort = piece.length <= CACHED_LENGTH;
    const enough = isShort ? Infinity : (most - out.length) * this.longest;
    const ids = yield* this.merge(yield* this.symbols(piece, enough));
    for (const id of ids) out.push(id);
    if (!isShort) return;
    if (this.cache.size >= CACHE_CAPACITY) this.cache.clear();
    this.cache.set(piece, ids);
  }

  private addMerge(left: string, right: string): void {
    const leftId = this.vocabulary.get(left);
    const rightId = this.vocabulary.get(right);
    const result = this.vocabulary.get(left + right);
    if (leftId === undefined || rightId === undefined || result === undefined) return;
    const key = leftId * this.size + rightId;
    if (this.ranks.has(key) || this.results.length >= MAX_MERGES) return;
    this.ranks.set(key, this.results.length);
    this.results.push(result);
  }

  private idOfByte(byte: number): number {
    const name = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    const text = this.options.byteLevel ? spellBytes(Uint8Array.of(byte)) : name;
    return this.vocabulary.get(text) ?? -1;
  }

  /** The ids that merging starts from: one per byte or character, until there are enough. */
  private *symbols(piece: string, enough: number): Generator<void, number[]> {
    const ids: number[] = [];
    let afterUnknown = false;
    const push = (id: number | undefined): void => {
      const known = id !== undefined && id >= 0;
      if (known) ids.push(id);
      else if (this.options.unknownId !== undefined && !(afterUnknown && this.options.fuseUnknown)) {
        ids.push(this.options.unknownId);
      }
      afterUnknown = !known;
    };
    if (this.options.byteLevel) {
      let count = 0;
      for (const byte of this.encoder.encode(piece)) {
        if (ids.length >= enough) break;
        push(this.byteIds[byte]);
        if (++count % SYMBOLS_PER_STEP === 0) yield;
      }
      return ids;
    }
    let count = 0;
    for (const character of piece) {
      if (ids.length >= enough) break;
      if (++count % SYMBOLS_PER_STEP === 0) yield;
      const id = this.vocabulary.get(character);
      const bytes = id === undefined && this.options.byteFallback ? this.encoder.encode(character) : [];
      if (bytes.length > 0 && bytes.every((byte) => this.byteIds[byte] >= 0)) {
        for (const byte of bytes) push(this.byteIds[byte]);
      } else {
        push(id);
      }
    }
    return ids;
  }

  private rank(left: number, right: number): number | undefined {
    return this.ranks.get(left * this.size + right);
  }

  /** Merges neighbours until none can be merged. The symbols form a linked list; a heap says which pair is next. */
  private *merge(ids: number[]): Generator<void, number[]> {
    const count = ids.length;
    if (count < 2) return ids;
    const next = new Int32Array(count);
    const previous = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      next[i] = i + 1 < count ? i + 1 : -1;
      previous[i] = i - 1;
    }
    const gone = -1;
    const heap = new Heap();
    const offer = (at: number): void => {
      if (at < 0 || next[at] < 0) return;
      const rank = this.rank(ids[at], ids[next[at]]);
      if (rank !== undefined) heap.push(rank * POSITIONS + at);
    };
    for (let i = 0; i < count; i++) {
      offer(i);
      if (i % SYMBOLS_PER_STEP === SYMBOLS_PER_STEP - 1) yield;
    }
    for (let step = 1; heap.size > 0; step++) {
      const key = heap.pop();
      const at = key % POSITIONS;
      const rank = (key - at) / POSITIONS;
      const right = next[at];
      if (ids[at] !== gone && right >= 0 && this.rank(ids[at], ids[right]) === rank) {
        ids[at] = this.results[rank]!;
        ids[right] = gone;
        next[at] = next[right]!;
        if (next[at] >= 0) previous[next[at]] = at;
        offer(previous[at]);
        offer(at);
      }
      if (step % MERGES_PER_STEP === 0) yield;
    }
    return ids.filter((id) => id !== gone);
  }
}

/** A binary heap of numbers, the least first. */
class Heap {
  private readonly items: number[] = [];

  get size(): number {
    return this.items.length;
  }

  push(item: number): void {
    const items = this.items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (items[parent] <= item) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = item;
  }

  /** Removes the least; the heap must not be empty. */
  pop(): number {
    const items = this.items;
    const least = items[0];
    const last = items.pop()!;
    const size = items.length;
    if (size === 0) return least;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && items[child + 1] < items[child]) child++;
      if (items[child] >= last) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = last;
    return least;
  }
}
