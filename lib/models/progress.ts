/** How far a piece of work is. */
export interface Progress {
  /**
   * `download`: bytes are coming in; `verify`: a file is being hashed; `unpack`: it is being taken out of a package. Where there is a newer
   * model that can't be kept, a sentence that says so, once.
   */
  stage: 'download' | 'verify' | 'unpack' | `an older ${string}`;
  /** Name of the file, for people; none behind a sentence. */
  file?: string;
  /** Bytes done. */
  done: number;
  /** Bytes in all, or 0 if unknown. */
  total: number;
}

/** Told about progress, at most a few hundred times a file; it must not throw. */
export type OnProgress = (progress: Progress) => void;
