import { openPool } from '../../src/index.ts';
import type { Event } from './histories.ts';
import { perform } from './model.ts';
import { randomNumbers, randomOperation } from './random-operations.ts';

/** A process that does random operations on a pool and says of each what came of it: POOL SEED COUNT inline|workers. */
const [path = '', seed = '0', count = '0', mode = 'inline'] = process.argv.slice(2);
const random = randomNumbers(Number(seed));
const pool = await openPool(path, { inline: mode === 'inline', lockTimeout: 60_000 });
for (let done = 0; done < Number(count); done++) {
  const operation = randomOperation(random);
  const started = process.hrtime.bigint();
  const outcome = await perform(pool, operation);
  const event: Event = { operation, outcome, started, ended: process.hrtime.bigint() };
  console.log(JSON.stringify(event, (_, value) => (typeof value === 'bigint' ? String(value) : value)));
}
await pool.close();
