/**
 * Cuts a text at the first stop string, however the text is chunked.
 *
 * The stop string that is complete first ends the text; of several complete at the same character the longest one does.
 * Text that may still become a stop string is held back, so that nothing of a stop string is ever shown.
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = '';
  #matched: string | undefined;

  /** @param stops Stop strings, none of them empty. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** The stop string that ended the text, if one did. */
  get matched(): string | undefined {
    return this.#matched;
  }

  /** Takes the next piece of text; returns what may be shown by now. After a match always ''. */
  push(text: string): string {
    if (this.#matched !== undefined) return '';
    if (this.#stops.length === 0) return text;
    const buffer = this.#held + text;
    const match = this.#firstMatch(buffer);
    if (match) {
      this.#matched = match.stop;
      this.#held = '';
      return buffer.slice(0, match.begin);
    }
    const shown = buffer.length - this.#heldBack(buffer);
    this.#held = buffer.slice(shown);
    return buffer.slice(0, shown);
  }

  /** The text has ended: returns what was held back. */
  flush(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }

  #firstMatch(buffer: string): { begin: number; stop: string } | undefined {
    let best: { begin: number; stop: string } | undefined;
    for (const stop of this.#stops) {
      const begin = buffer.indexOf(stop);
      if (begin < 0) continue;
      const end = begin + stop.length;
      const bestEnd = best ? best.begin + best.stop.length : Infinity;
      if (end < bestEnd || (end === bestEnd && begin < best!.begin)) best = { begin, stop };
    }
    return best;
  }

  /** Length of the longest end of `buffer` that begins a stop string. */
  #heldBack(buffer: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, buffer.length); length > longest; --length) {
        if (buffer.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
