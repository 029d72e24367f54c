// What the worker scripts share: the first line of standard input is a job, every other one a prompt; each is answered by
// one line of JSON. The process ends with its input.
import { createInterface } from 'node:readline';

/** Serves with the function that `load(job)` resolves to; it turns a prompt into { tokens, seconds, prefillTokS }. */
export async function serve(load) {
  let answer;
  for await (const line of createInterface({ input: process.stdin })) {
    const question = JSON.parse(line);
    let result = {};
    if (answer === undefined) answer = await load(question);
    else result = await answer(question);
    process.stdout.write('\n' + JSON.stringify(result) + '\n');
  }
  process.exit(0);
}
