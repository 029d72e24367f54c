import type { NativeProbe } from '../../lib/native';

/** Speeds of the machine itself. They move within minutes. */
export type Ceiling = Omit<NativeProbe, 'threads' | 'isa'>;

/** One line about the machine, for the head of a table. */
export function ceilingLine({ readGBs, int8GMACs, bf16GMACs, meetingNs }: Ceiling): string {
  const rates = `int8 ${int8GMACs.toFixed(0)} GMAC/s, bf16 ${bf16GMACs.toFixed(0)} GMAC/s`;
  return `read ${readGBs.toFixed(1)} GB/s, ${rates}, all threads meet in ${(meetingNs / 1000).toFixed(2)} µs`;
}
