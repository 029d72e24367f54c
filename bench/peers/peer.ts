/** A prompt in both shapes that peers take. */
export interface PeerPrompt {
  group: string;
  text: string;
  tokens: number[];
  maxTokens: number;
}

/** One answer: tokens behind the first and their seconds, and tokens/s of reading the prompt. */
export interface PeerRun {
  tokens: number;
  seconds: number;
  prefillTokS: number;
}

/** A loaded peer in one setting, in a process of its own. */
export interface Peer {
  answer(prompt: PeerPrompt): Promise<PeerRun>;
  close(): Promise<void>;
}
