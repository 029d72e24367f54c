import { spawnSync } from 'node:child_process';

const hasTerminals = spawnSync('python3', ['-c', 'import pty']).status === 0;

/** `test` for what runs in a terminal, which Python makes: skipped, with the reason in its title and on the console, where it can't. */
export function testInTerminal(name: string, body: () => Promise<void>): void {
  if (hasTerminals) return test(name, body);
  const reason = 'skipped: python3 -c "import pty" fails';
  process.stderr.write(`${name}: ${reason}\n`);
  test.skip(`${name} (${reason})`, body);
}
