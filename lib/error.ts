/** Every error that foretoken throws on purpose: `code` is stable and made for programs, `message` for people. */
export class ForetokenError extends Error {
  /** Stable SCREAMING_SNAKE name of what went wrong. */
  readonly code: string;

  /**
   * @param code Stable name of what went wrong.
   * @param message What happened and, where there is one, what to do about it.
   * @param options `cause`: the error that led to this one.
   */
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'ForetokenError';
    this.code = code;
  }
}
