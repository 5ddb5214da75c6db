/** Makes three deferred clones one after the other, for a trace of the system calls: clone-once.ts POOL PREFIX. */
import { library } from './pool.ts';

const [path = '', prefix = ''] = process.argv.slice(2);
await using pool = await library.openPool(path);
for (let index = 0; index < 3; index++) {
  await pool.clone('template', `${prefix}-${index}`, { durability: 'deferred' });
}
