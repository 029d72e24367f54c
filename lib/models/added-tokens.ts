/** A token that is found in text as a whole, before anything else happens to it. */
export interface AddedToken {
  id: number;
  /** Its text. */
  content: string;
  /** A control token: it structures prompts and has no business in people's text. */
  special: boolean;
  /** Blanks before it belong to it. Defaults to false. */
  lstrip?: boolean;
  /** Blanks after it belong to it. Defaults to false. */
  rstrip?: boolean;
  /** It counts only where no word character touches it. Defaults to false. */
  single_word?: boolean;
}

/** Children are keyed by UTF-16 unit. */
interface Node {
  children: Map<number, Node>;
  token?: AddedToken;
}

const WORD = /[\p{L}\p{M}\p{N}\p{Pc}]/u;

/** Finds added tokens in text: the leftmost first, of those that start together the longest. */
export class AddedTokens {
  private readonly root: Node = { children: new Map() };
  /** 1 for the units that some token starts with: most of a text is passed over by looking here. */
  private readonly firsts = new Uint8Array(1 << 16);

  /** @param tokens Those with empty text are ignored. */
  constructor(tokens: Iterable<AddedToken>) {
    for (const token of tokens) {
      let node = this.root;
      for (let at = 0; at < token.content.length; at++) {
        const unit = token.content.charCodeAt(at);
        if (at === 0) this.firsts[unit] = 1;
        let child = node.children.get(unit);
        if (!child) node.children.set(unit, (child = { children: new Map() }));
        node = child;
      }
      if (node !== this.root) node.token = token;
    }
  }

  /**
   * Cuts text at added tokens.
   *
   * @param text The text.
   * @param special Whether special tokens count.
   * @param mark No token starts with a character that this one follows.
   * @returns The tokens and the stretches of text between them, none empty.
   */
  split(text: string, special: boolean, mark?: string): (AddedToken | string)[] {
    const parts: (AddedToken | string)[] = [];
    let start = 0;
    for (let at = 0; at < text.length;) {
      const token = this.firsts[text.charCodeAt(at)] ? this.match(text, at, special) : undefined;
      if (!token || (mark && text[at + 1] === mark)) {
        at++;
        continue;
      }
      let before = text.slice(start, at);
      if (token.lstrip) before = before.trimEnd();
      if (before) parts.push(before);
      parts.push(token);
      at += token.content.length;
      if (token.rstrip) at = text.length - text.slice(at).trimStart().length;
      start = at;
    }
    if (start < text.length) parts.push(text.slice(start));
    return parts;
  }

  /**
   * Positions at which a token starts, or could start if other text followed: the text, with or without the blanks at
   * its end, ends within the token.
   */
  *starts(text: string): Generator<number> {
    const trimmed = text.trimEnd().length;
    for (let start = 0; start < text.length; start++) {
      if (!this.firsts[text.charCodeAt(start)]) continue;
      let node: Node | undefined = this.root;
      for (let at = start; ; at++) {
        if (at > start && (node.token || at === trimmed || at === text.length)) {
          yield start;
          break;
        }
        node = node.children.get(text.charCodeAt(at));
        if (!node) break;
      }
    }
  }

  private match(text: string, start: number, special: boolean): AddedToken | undefined {
    let found: AddedToken | undefined;
    let node: Node | undefined = this.root;
    for (let at = start; at < text.length; at++) {
      node = node.children.get(text.charCodeAt(at));
      if (!node) break;
      const token = node.token;
      if (token && (special || !token.special) && standsAlone(token, text, start)) found = token;
    }
    return found;
  }
}

function standsAlone(token: AddedToken, text: string, start: number): boolean {
  if (!token.single_word) return true;
  const before = Array.from(text.slice(Math.max(0, start - 2), start)).at(-1);
  const after = Array.from(text.slice(start + token.content.length, start + token.content.length + 2))[0];
  return !(before && WORD.test(before)) && !(after && WORD.test(after));
}
