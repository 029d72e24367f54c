import { processName } from '../../lib/models/process-name';

/** The name of a process of this machine that has ended: its id is beyond the largest that Linux gives. */
export const deadProcess = processName.replace(/\d+$/, String(2 ** 22 + 1));
