/** How far a piece of work is. */
export interface Progress {
  /** `download`: bytes are coming in; `verify`: a file is being hashed; `unpack`: it is being taken out of a package. */
  stage: 'download' | 'verify' | 'unpack';
  /** Name of the file, for people. */
  file: string;
  /** Bytes done. */
  done: number;
  /** Bytes in all, or 0 if unknown. */
  total: number;
}

/** Told about progress, at most a few hundred times a file; it must not throw. */
export type OnProgress = (progress: Progress) => void;
