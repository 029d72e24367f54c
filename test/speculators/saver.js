// Saves versions and memories into a store, over and over, and says after each what has been saved. Made to be killed.
const { writeFile } = require('node:fs/promises');
const { join } = require('node:path');

const [root, cache, from] = process.argv.slice(2);
const { SpeculatorStore } = require(join(root, 'dist', 'speculators', 'store.js'));

async function save() {
  const store = new SpeculatorStore(cache, 'f'.repeat(32));
  for (let n = Number(from); ; ++n) {
    const head = Buffer.alloc(4096, n % 251);
    const write = (path) => writeFile(path, head);
    const { version } = await store.promote('a', { origin: 'learned', tenants: ['a'], evidence: { n }, write });
    process.stdout.write(`${JSON.stringify({ version, n })}\n`);
    const keys = Uint8Array.from({ length: 64 * 16 }, (_, i) => ((i + n) % 2 ? 16 : 240));
    await store.saveMemory('a', { tokens: new Int32Array(64).fill(n), keys }, await store.memoryStamp('a'));
    process.stdout.write(`${JSON.stringify({ memory: n })}\n`);
  }
}

void save();
