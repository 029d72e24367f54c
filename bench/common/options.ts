/** What every suite is given. */
export interface BenchOptions {
  /** Folder of prompts and texts; suites that need none run without. */
  data?: string;
  /** Model reference, as `Engine.load` takes it. */
  model: string;
  /** Weight formats to measure. */
  weights: string[];
  /** 0 = physical cores. */
  threads: number;
  /** At most so many prompts a group; 0 = all. */
  limit: number;
  /** Repeats of timed pairs. */
  repeats: number;
  /** Per-operation times (decode). */
  profile: boolean;
  /** Load the draft head that ships (spec, peers), let heads learn (learn). */
  head: boolean;
  /** Leave out the random 1.24 B model (decode). */
  small: boolean;
  /** Each stream once more with pauses (learn). */
  idle: boolean;
  /** Folder with llama.cpp's tools (peers). */
  llamaCpp?: string;
  /** Tokens a round that speculation is reckoned with (roofline). */
  acceptance: number;
  /** File of recorded answers (drift writes, sim reads). */
  recording?: string;
}
